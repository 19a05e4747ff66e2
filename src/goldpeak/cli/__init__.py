"""The command line: thin, it reads arguments, calls the library and prints.

`entry` runs a command and turns whatever happens into an exit status; `app` holds the commands; `parse` reads what is
typed; `show` prints.
"""

from __future__ import annotations

from goldpeak.cli.entry import main

__all__ = ["main"]

"""The command line: thin, it reads arguments, calls the library and prints.

`entry` runs a command and turns whatever happens into an exit status; `app` lists the commands, each in the file of its
name (`next` and `allocate` in `plan`, `lab` in `demo`); `parse` reads what is typed; `log_options` and `posterior` hold
what several commands share; `show` prints.
"""

from __future__ import annotations

from goldpeak.cli.entry import main

__all__ = ["main"]

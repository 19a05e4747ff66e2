"""``python -m goldpeak``: the same as the command ``goldpeak``."""

from __future__ import annotations

import sys

from goldpeak.cli import main

if __name__ == "__main__":
    sys.exit(main())

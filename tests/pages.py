"""Tables that scripts write into pages, between ``<!-- NAME: ... -->`` and ``<!-- end -->``."""

from __future__ import annotations

import re
from pathlib import Path

TOP = Path(__file__).resolve().parents[1]
HOW_WE_KNOW, README = TOP / "notebooks" / "how_we_know.md", TOP / "README.md"


def marked(name: str) -> re.Pattern[str]:
    """Where a page holds a table: the second group."""
    return re.compile(rf"(<!-- {re.escape(name)}: .*? -->\n)(.*?)\n?(<!-- end -->)", re.DOTALL)


def table_of(name: str, page: Path = HOW_WE_KNOW) -> str:
    """A table as it stands on a page."""
    there = marked(name).search(page.read_text())
    if there is None:
        raise SystemExit(f"{page.name} has no table {name!r}")
    return there[2]


def put(name: str, made: str, page: Path = HOW_WE_KNOW) -> None:
    """Write a table between its markers."""
    page.write_text(marked(name).sub(lambda m: f"{m[1]}{made}\n{m[3]}", page.read_text()))

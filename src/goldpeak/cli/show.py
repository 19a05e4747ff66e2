"""Printing: results on stdout; errors, warnings and progress on stderr; plain tables where nobody watches."""

from __future__ import annotations

import functools
import json
import math
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from goldpeak.wording import decades, interval, number, size

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import Console
    from rich.table import Table

    from goldpeak.cli.progress import Line
    from goldpeak.gates import Gates

__all__ = [
    "be_quiet",
    "error",
    "gates",
    "growing_table",
    "interval",
    "json_text",
    "line",
    "note",
    "number",
    "outside",
    "records",
    "size",
    "table",
    "text",
    "warning",
    "working",
]

PIPED_WIDTH = 500
"""Columns where output goes to a file or pipe, so that nothing is wrapped or cut there."""

_quiet = False
_line: Line | None = None


def be_quiet(quiet: bool) -> None:
    """Whether notes, summaries and progress are left out; results, warnings and errors never are."""
    global _quiet
    _quiet = quiet
    if quiet:
        _results_follow()


@contextmanager
def working(*, verbose: bool = False) -> Iterator[None]:
    """Within the block, a line on a terminal's stderr says that work goes on, once it has taken 2 seconds.

    With `verbose`, messages of goldpeak's loggers are printed on stderr as well.
    """
    global _line
    from goldpeak.cli.progress import Line, logged

    _line = Line(_console(True))
    with logged(_line, _console(True) if verbose else None):
        if not _quiet:
            _line.start()
        yield
    _line = None


def _results_follow() -> None:
    if _line is not None:
        _line.stop()


@functools.cache
def _console(stderr: bool) -> Console:
    from rich.console import Console

    class Plain(Console):
        def on_broken_pipe(self) -> None:
            raise BrokenPipeError

    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else PIPED_WIDTH
    return Plain(stderr=stderr, highlight=False, markup=False, emoji=False, width=width)


def text(message: str = "") -> None:
    """Print text on stdout."""
    _results_follow()
    _console(False).print(message, soft_wrap=True)


def note(message: str) -> None:
    """Print text on stderr, unless quiet."""
    if not _quiet:
        _console(True).print(message, soft_wrap=True)


def error(message: str) -> None:
    """Print an error on stderr."""
    _labelled("Error:", "bold red", message)


def warning(message: str) -> None:
    """Print a warning on stderr, in one line."""
    _labelled("Warning:", "yellow", " ".join(message.split()))


def _labelled(label: str, style: str, message: str) -> None:
    from rich.text import Text

    _console(True).print(Text.assemble((label, style), " ", message), soft_wrap=True)


def gates(found: Gates, *, hint: str = "") -> None:
    """Say on stderr whether the gates passed; loudly where they did not."""
    if found.passed:
        note(found.summary())
        return
    _labelled("GATE FAILED:", "bold white on red", f"do not trust these numbers. {'; '.join(found.failures)}.")
    if hint:
        note(hint)


def table(
    columns: Sequence[str], rows: Iterable[Sequence[str]], *, stderr: bool = False, left: Sequence[str] = ()
) -> None:
    """Print a table; columns in `left` are set left, the others right."""
    if stderr and _quiet:
        return
    if not stderr:
        _results_follow()
    console = _console(stderr)
    console.print(_drawn(columns, rows, left, boxed=console.is_terminal))


def _drawn(columns: Sequence[str], rows: Iterable[Sequence[str]], left: Sequence[str], *, boxed: bool = True) -> Table:
    from rich import box
    from rich.table import Table

    # Two spaces between columns: with a box, one of them is its (invisible) divider.
    lines, padding = (box.SIMPLE_HEAD, (0, 1, 0, 0)) if boxed else (None, (0, 1))
    drawn = Table(box=lines, padding=padding, pad_edge=False, show_edge=False)
    for column in columns:
        drawn.add_column(column, justify="left" if column in left else "right", overflow="fold")
    for row in rows:
        drawn.add_row(*row)
    return drawn


@contextmanager
def growing_table(columns: Sequence[str], *, left: Sequence[str] = ()) -> Iterator[Callable[[Sequence[str]], None]]:
    """A table on stdout that rows are added to: drawn anew on a terminal, else a line of tabs for each row.

    It begins with its first row: before that there may be an error to tell.
    """
    from rich.live import Live

    console, rows = _console(False), list[Sequence[str]]()
    live = Live(console=console, auto_refresh=False)

    def add(row: Sequence[str]) -> None:
        rows.append(row)
        if not console.is_terminal:
            for cells in (columns, row) if len(rows) == 1 else (row,):
                line("\t".join(cells))
            return
        if len(rows) == 1:
            _results_follow()
            live.start()
        # What does not fit on the screen cannot be drawn anew.
        live.update(_drawn(columns, rows[-max(console.height - 6, 1) :], left), refresh=True)

    try:
        yield add
        if live.is_started:
            live.update(_drawn(columns, rows, left))
    finally:
        live.stop()


def outside(row: Mapping[Any, Any]) -> str:
    """How far a row's size lies outside the observed ones, for the column ``extrapolated``."""
    return decades(row["decades"]) if row["extrapolated"] else "no"


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows by column name."""
    return [dict(zip(map(str, table.columns), row, strict=True)) for row in table.itertuples(index=False, name=None)]


def line(message: str) -> None:
    """Print a line on stdout as it is, at once."""
    _results_follow()
    print(message, flush=True)


def json_text(items: Any) -> str:
    """JSON text of nested dictionaries and lists; an infinite number is ``"inf"``, what is not a number is null.

    Examples
    --------
    >>> print(json_text([{"kl": float("inf"), "level": float("nan")}]))
    [
      {
        "kl": "inf",
        "level": null
      }
    ]
    """
    return json.dumps(_plain(items), indent=2, allow_nan=False)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(v) for name, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    value = value.item() if hasattr(value, "item") else value
    if isinstance(value, float) and math.isnan(value):
        return None
    if isinstance(value, float) and math.isinf(value):
        return "inf" if value > 0 else "-inf"
    return value

"""Printing: results on stdout; errors, warnings and progress on stderr; plain tables where nobody watches."""

from __future__ import annotations

import functools
import json
import math
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import Console

    from goldpeak.gates import Gates

__all__ = ["error", "gates", "interval", "json_text", "note", "number", "peak_json", "size", "table", "text", "warning"]

PIPED_WIDTH = 500
"""Columns where output goes to a file or pipe, so that nothing is wrapped or cut there."""


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
    _console(False).print(message, soft_wrap=True)


def note(message: str) -> None:
    """Print text on stderr."""
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
    from rich import box
    from rich.table import Table

    console = _console(stderr)
    # Two spaces between columns: with a box, one of them is its (invisible) divider.
    lines, padding = (box.SIMPLE_HEAD, (0, 1, 0, 0)) if console.is_terminal else (None, (0, 1))
    drawn = Table(box=lines, padding=padding, pad_edge=False, show_edge=False)
    for column in columns:
        drawn.add_column(column, justify="left" if column in left else "right", overflow="fold")
    for row in rows:
        drawn.add_row(*row)
    console.print(drawn)


def number(value: float) -> str:
    """A number for people: three significant digits, infinity as ``inf``.

    Examples
    --------
    >>> number(1234.5), number(0.012345), number(float("inf"))
    ('1234', '0.0123', 'inf')
    """
    if not math.isfinite(value):
        return str(value)
    return f"{value:.0f}" if 1000 <= abs(value) < 1e6 else f"{value:.3g}"


def interval(lo: float, hi: float) -> str:
    """An interval for people.

    Examples
    --------
    >>> interval(3.21, float("inf"))
    '3.21 to inf'
    """
    return f"{number(lo)} to {number(hi)}"


def size(rm_params: float) -> str:
    """A number of parameters for people.

    Examples
    --------
    >>> [size(n) for n in (37.0, 4660.0, 999_999.0, 1.2e9)]
    ['37', '4.66k', '1M', '1.2B']
    """
    for factor, suffix in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if rm_params >= 0.9995 * factor:
            return f"{rm_params / factor:.3g}{suffix}" if rm_params < 1e12 else f"{rm_params / factor:.0f}{suffix}"
    return f"{rm_params:.3g}"


JSON_FIELDS = (
    "rm_params",
    "median",
    "lo",
    "hi",
    "prob",
    "interval",
    "p_peak_in_range",
    "extrapolated",
    "gold_median",
    "gold_lo",
    "gold_hi",
)


def peak_json(found: pd.DataFrame) -> str:
    """A peak's table as JSON text: a list with an object for each run or size; an infinite number is ``"inf"``.

    Parameters
    ----------
    found : pandas.DataFrame
        `Peak.table`.
    """
    items = []
    for label, row in found.iterrows():
        named = {"run": str(label)} if found.index.name == "run" else {}
        items.append(named | {name: row[name] for name in JSON_FIELDS})
    return json_text(items)


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

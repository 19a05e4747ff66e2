"""Numbers for people, and tables for notebooks: small, and without any import that takes time."""

from __future__ import annotations

import difflib
import html
import math
from collections.abc import Iterable, Sequence

__all__ = ["counted", "decades", "did_you_mean", "html_table", "interval", "listed", "number", "size"]


def number(value: float) -> str:
    """A number for people: three significant digits, infinity as ``inf``.

    Examples
    --------
    >>> number(1234.5), number(999.7), number(0.012345), number(-0.0), number(float("inf"))
    ('1234', '1000', '0.0123', '0', 'inf')
    """
    if not math.isfinite(value):
        return str(value)
    value += 0.0  # of -0.0 makes 0.0
    return f"{value:.0f}" if 999.5 <= abs(value) < 1e6 else f"{value:.3g}"


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
    >>> [size(n) for n in (37.0, 4660.0, 999_999.0, 1.2e9, 2e12)]
    ['37', '4.66k', '1M', '1.2B', '2T']
    """
    for factor, suffix in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if rm_params >= 0.9995 * factor:
            return f"{rm_params / factor:.3g}{suffix}"
    return f"{rm_params:.3g}"


def counted(count: int, noun: str) -> str:
    """So many of something.

    Examples
    --------
    >>> counted(1, "run"), counted(40, "run")
    ('1 run', '40 runs')
    """
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def listed(words: Sequence[str], most: int = 3) -> str:
    """Words one after another, the first `most` of them, and how many more there are.

    Examples
    --------
    >>> listed(["a", "b"]), listed(["a", "b", "c", "d"], most=2)
    ('a, b', 'a, b (and 2 more)')
    """
    more = f" (and {len(words) - most} more)" if len(words) > most else ""
    return ", ".join(words[:most]) + more


def did_you_mean(word: str, candidates: Iterable[str], question: str = "did you mean '{}'?") -> str:
    """The candidate that a word is likely to have meant, in brackets; nothing where none comes near.

    Examples
    --------
    >>> did_you_mean("Golds", ["gold", "proxy"]), did_you_mean("speed", ["gold", "proxy"])
    (" (did you mean 'gold'?)", '')
    """
    lowered = {candidate.lower(): candidate for candidate in candidates}
    close = difflib.get_close_matches(word.lower(), lowered, n=1)
    return f" ({question.format(lowered[close[0]])})" if close else ""


def decades(distance: float) -> str:
    """Powers of ten for people.

    Examples
    --------
    >>> decades(1.0), decades(1.23), decades(0.3)
    ('1 decade', '1.2 decades', '0.3 decades')
    """
    text = f"{distance:.2g}"
    return f"{text} decade" if text == "1" else f"{text} decades"


def html_table(columns: Sequence[str], rows: Iterable[Sequence[str]], *, caption: str = "") -> str:
    """A table for a notebook; all text is escaped, and the first column is set left.

    Examples
    --------
    >>> "&lt;script&gt;" in html_table(["run"], [["<script>"]])
    True
    """

    def line(tag: str, cells: Sequence[str]) -> str:
        style = ("left", *["right"] * (len(cells) - 1))
        return "".join(
            f'<{tag} style="text-align:{a}">{html.escape(c)}</{tag}>' for a, c in zip(style, cells, strict=True)
        )

    head = f"<thead><tr>{line('th', columns)}</tr></thead>"
    body = "".join(f"<tr>{line('td', row)}</tr>" for row in rows)
    words = f'<caption style="caption-side:top;text-align:left">{html.escape(caption)}</caption>' if caption else ""
    return f"<table>{words}{head}<tbody>{body}</tbody></table>"

"""Reward-model sizes as people write them."""

from __future__ import annotations

import re

__all__ = ["SIZE", "size_of"]

EXPONENTS = {"": 0, "k": 3, "m": 6, "b": 9}
SIZE = re.compile(r"([0-9][0-9_]*\.?[0-9_]*|\.[0-9]+)(?:e\+?([0-9]+)|([kmb]))?", re.IGNORECASE)


def size_of(word: str) -> float | None:
    """A number of parameters: 1e9, 3_000_000, or with a suffix k, M or B; None where it is not a number > 0.

    Examples
    --------
    >>> [size_of(word) for word in ("1e9", "3_000_000", "1.2B", "huge", "0")]
    [1000000000.0, 3000000.0, 1200000000.0, None, None]
    """
    match = SIZE.fullmatch(word)
    if match is None:
        return None
    digits, exponent, suffix = match.groups()
    # One decimal text for float() to read, so that 2.3M is exactly 2300000.
    size = float(f"{digits.replace('_', '')}e{exponent or EXPONENTS[(suffix or '').lower()]}")
    return size if 0 < size < float("inf") else None

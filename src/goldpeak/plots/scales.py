"""Ticks and labels: plain numbers that people read, on axes that are not linear."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from goldpeak.bon import kl_of_n, n_of_kl
from goldpeak.wording import number, size

__all__ = ["kl_ticks", "log_ticks", "n_label", "n_ticks", "number_label", "peak_text", "short", "size_ticks"]

Array = NDArray[np.float64]
_STEPS: tuple[Sequence[float], ...] = ((1, 1.5, 2, 3, 4, 5, 7), (1, 2, 5), (1, 3), (1,))


def kl_ticks(d_max: float, most: int = 7) -> Array:
    """Round KL values up to ``d_max**2`` whose square roots lie apart, starting with 0.

    Parameters
    ----------
    d_max : float
        Right end of the axis, in square-root nats.
    most : int
        How many ticks have room side by side.

    Returns
    -------
    ndarray
        KL in nats, increasing.

    Examples
    --------
    >>> kl_ticks(8.0, most=10).tolist()
    [0.0, 1.0, 5.0, 10.0, 20.0, 30.0, 50.0]
    """
    candidates = _round((1, 2, 3, 5), -6, max(d_max, 1e-2) ** 2)
    candidates = candidates[candidates <= d_max**2 * (1 + 1e-9)]
    return _apart(np.append(0.0, candidates), np.sqrt(np.append(0.0, candidates)), d_max / most)


def n_ticks(d_max: float, most: int = 7) -> Array:
    """Round n of best-of-n whose KL lies apart on the scale of its square root, starting with 1.

    Parameters
    ----------
    d_max : float
        Right end of the axis, in square-root nats.
    most : int
        How many ticks have room side by side.

    Returns
    -------
    ndarray
        Increasing.

    Examples
    --------
    >>> n_ticks(3.0).tolist()
    [1.0, 2.0, 5.0, 20.0, 100.0, 1000.0, 10000.0]
    """
    last = float(n_of_kl(d_max**2))
    candidates = _round((1, 2, 5), 0, min(last, 1e300))
    candidates = candidates[candidates <= last * (1 + 1e-9)]
    return _apart(candidates, np.sqrt(kl_of_n(candidates)), d_max / most)


def _round(steps: Sequence[float], exponent: int, largest: float) -> Array:
    """Round numbers, from a power of ten to the one above the largest."""
    exponents = np.arange(exponent, np.ceil(np.log10(largest)) + 1)
    return (np.array(steps) * 10.0 ** exponents[:, None]).ravel()


def _apart(values: Array, places: Array, least: float) -> Array:
    """The first value and, of the others, those whose places lie at least so far from that of the one kept before."""
    kept = [0]
    for i in range(1, len(values)):
        if places[i] - places[kept[-1]] >= least:
            kept.append(i)
    return np.array([float(f"{values[i]:.3g}") for i in kept])


def n_label(n: float) -> str:
    """An n of best-of-n for people.

    Examples
    --------
    >>> [n_label(n) for n in (5.0, 2e4, 1e15)]
    ['5', '20k', '1e+15']
    """
    return size(n) if n < 1e12 else f"{n:.0e}"


def log_ticks(low: float, high: float, most: int = 8) -> Array:
    """Round values between two positive ends, as many as have room: down to powers of ten where there are many.

    Examples
    --------
    >>> log_ticks(1.1, 5.5).tolist()
    [1.5, 2.0, 3.0, 4.0, 5.0]
    >>> log_ticks(4.0, 150.0).tolist()
    [5.0, 10.0, 20.0, 50.0, 100.0]
    >>> log_ticks(30.0, 2e6).tolist()
    [100.0, 1000.0, 10000.0, 100000.0, 1000000.0]
    """
    decades = 10.0 ** np.arange(np.floor(np.log10(low)), np.ceil(np.log10(high)) + 1)
    for steps in _STEPS:
        ticks = (np.array(steps) * decades[:, None]).ravel()
        ticks = ticks[(ticks >= low * (1 - 1e-9)) & (ticks <= high * (1 + 1e-9))]
        if len(ticks) <= most:
            return ticks
    return ticks[:: int(np.ceil(len(ticks) / most))]


def size_ticks(sizes: ArrayLike, low: float, high: float, most: int = 8) -> Array:
    """Ticks of an axis of sizes from `low` to `high`: round ones, or the only size that is drawn.

    Examples
    --------
    >>> size_ticks([561, 561], 488.0, 645.0).tolist()
    [561.0]
    """
    there = np.unique(np.asarray(sizes, dtype=float))
    return there if len(there) == 1 else log_ticks(low, high, most)


def number_label(value: float) -> str:
    """A number for people, with a sign for what has no end.

    Examples
    --------
    >>> [number_label(v) for v in (0.1234, 12.34, 123.4, float("inf"))]
    ['0.123', '12.3', '123', '∞']
    """
    return "∞" if value == np.inf else number(value)


def peak_text(lo: float, median: float, hi: float, kl_max: float) -> str:
    """A peak's median and interval in one line.

    Examples
    --------
    >>> peak_text(9.5, 12.0, float("inf"), kl_max=120.0)
    'peak at KL 12 [9.5, ∞]'
    >>> peak_text(float("inf"), float("inf"), float("inf"), kl_max=120.0)
    'no peak up to KL 120'
    >>> peak_text(9.5, float("inf"), float("inf"), kl_max=120.0)
    'likelier no peak up to KL 120 [9.5, ∞]'
    """
    if np.isinf(lo):
        return f"no peak up to KL {number_label(kl_max)}"
    if np.isinf(median):
        return f"likelier no peak up to KL {number_label(kl_max)} [{number_label(lo)}, {number_label(hi)}]"
    return f"peak at KL {number_label(median)} [{number_label(lo)}, {number_label(hi)}]"


def short(text: str, most: int) -> str:
    """A text of at most `most` characters: of a longer one the middle is left out, where names differ least.

    Examples
    --------
    >>> short("a-long-run-name_seed0 (1M)", 16)
    'a-long-…d0 (1M)'
    """
    if len(text) <= most:
        return text
    return f"{text[: most // 2 - 1]}…{text[-(most // 2 - 1) :]}"

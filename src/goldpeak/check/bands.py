"""Is a sample uniform on (0, 1)? Empirical distributions with simultaneous bands.

After Säilynoja, Bürkner & Vehtari 2022 (doi:10.1007/s11222-022-10090-6): at each point the count of values below it is
binomial; the most extreme of these binomial tail probabilities over all points is the statistic, and its distribution
under uniformity is simulated. A band is where that statistic has a given probability; the test and the band are one.
"""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["ecdf_band", "uniformity"]

Array = NDArray[np.float64]

SIMULATIONS = 10_000
"""Uniform samples behind a band: a p-value of .01 is known to .001."""
POINTS = 200
"""Points at most at which the counts are looked at."""


def uniformity(values: ArrayLike) -> float:
    """P-value of uniformity on (0, 1): the share of uniform samples of that length at least as extreme.

    Parameters
    ----------
    values : array_like, shape (n,)
        In [0, 1], from a continuous distribution (ties broken at random beforehand).

    Returns
    -------
    float
        1 / (number of simulations) at least.

    Examples
    --------
    >>> uniformity((np.arange(100) + 0.5) / 100) > 0.9, uniformity(np.linspace(0.4, 0.6, 100)) < 0.001
    (True, True)
    """
    values = np.sort(np.asarray(values, dtype=float))
    null = _null(len(values))
    found = _extreme(_counts(values[None], _points(len(values))), len(values))[0]
    return float(max(np.mean(null <= found * (1 + 1e-9)), 1.0 / len(null)))


def ecdf_band(n: int, prob: float = 0.95) -> tuple[Array, Array, Array]:
    """Points and the band that the empirical distribution of n uniform values stays within with probability `prob`.

    Returns
    -------
    points, lower, upper : ndarray, shape (point,)

    Examples
    --------
    >>> points, lower, upper = ecdf_band(50)
    >>> bool(np.all((lower <= points) & (points <= upper)))
    True
    """
    # A count is inside where its tail is larger than the level that the smallest of them rarely falls below.
    inside = _tails(n) >= np.quantile(_null(n), 1.0 - prob)
    return _points(n), np.argmax(inside, axis=0) / n, (n - np.argmax(inside[::-1], axis=0)) / n


@functools.lru_cache(maxsize=32)
def _null(n: int) -> Array:
    """The statistic's distribution under uniformity."""
    # Sorted uniform values are partial sums of exponential gaps.
    gaps = np.random.default_rng(2022).standard_exponential((SIMULATIONS, n + 1)).cumsum(axis=1)
    return _extreme(_counts(gaps[:, :-1] / gaps[:, -1:], _points(n)), n)


def _points(n: int) -> Array:
    count = min(n, POINTS)
    return np.arange(1.0, count + 1.0) / (count + 1.0)


def _counts(values: Array, points: Array) -> NDArray[np.int64]:
    """Values not above each point, of sorted rows."""
    return np.stack([np.searchsorted(row, points, side="right") for row in values])


def _extreme(counts: NDArray[np.int64], n: int) -> Array:
    """The smallest two-sided tail probability of any count of a row."""
    return np.asarray(_tails(n)[counts, np.arange(counts.shape[1])].min(axis=1))


@functools.lru_cache(maxsize=32)
def _tails(n: int) -> Array:
    """Two-sided tail probability of each count 0 to n at each point, (n + 1, point), under uniformity."""
    from scipy.special import bdtr

    points = _points(n)
    below = bdtr(np.arange(n + 1)[:, None], n, points)
    above = np.vstack([np.ones(len(points)), 1.0 - below[:-1]])
    return np.asarray(2.0 * np.minimum(below, above))

"""Weights of the unbiased best-of-n estimator, and the geometric grids of the experiment (numpy only)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln

__all__ = ["average_ties", "bon_weights", "spaced"]


def spaced(last: int, count: int) -> NDArray[np.int64]:
    """Whole numbers from 1 to `last`, geometrically spaced and all different: `count` of them, or one or two more.

    Examples
    --------
    >>> spaced(100, 8)
    array([  1,   2,   4,   7,  14,  27,  52, 100])
    """
    target = min(count, last)
    points = target
    grid = np.array([1], dtype=np.int64)
    while grid.size < target:  # rounding merges the small numbers: ask for more until enough differ
        grid = np.unique(np.round(np.geomspace(1, last, points)).astype(np.int64))
        points += 1
    return grid


def bon_weights(n: NDArray[np.int64], samples: int) -> NDArray[np.float64]:
    """Weights of samples sorted by proxy, ascending, in the unbiased estimate of best-of-n gold reward.

    ``gold(n) = sum_i C(i-1, n-1) / C(samples, n) gold_(i)``: the i-th smallest proxy is the best of a random subset of
    size n if the other n-1 come from below (Nakano et al. 2021, appendix I).

    Parameters
    ----------
    n : int array (n,)
        Each from 1 to `samples`.
    samples : int
        Samples in the pool.

    Returns
    -------
    array (n, samples)
        Rows sum to 1.

    Raises
    ------
    ValueError
        For an n outside 1..samples.

    Examples
    --------
    >>> bon_weights(np.array([1, 2, 3]), 3).round(3)
    array([[0.333, 0.333, 0.333],
           [0.   , 0.333, 0.667],
           [0.   , 0.   , 1.   ]])
    """
    n = np.asarray(n)[:, None]
    if np.any(n < 1) or np.any(n > samples):
        raise ValueError(f"every n must lie in 1..{samples} (the samples of a pool), got {n.ravel().tolist()}")
    rank = np.arange(1, samples + 1)
    below = np.maximum(rank - n, 0)
    log_subsets = gammaln(samples + 1) - gammaln(n + 1) - gammaln(samples - n + 1)
    log_weight = gammaln(rank) - gammaln(n) - gammaln(below + 1) - log_subsets
    return np.where(rank >= n, np.exp(log_weight), 0.0)


def average_ties(values: NDArray[Any], ranked: NDArray[Any]) -> NDArray[np.float64]:
    """Replace each value by the mean over its tie group: what best-of-n gets on average if ties are broken at random.

    ReLU networks do have ties: where all units of a layer are off, the output is constant.

    Parameters
    ----------
    values : array (sample,)
        In the order of `ranked`.
    ranked : array (sample,)
        Proxy rewards, ascending.

    Returns
    -------
    array (sample,)

    Examples
    --------
    >>> average_ties(np.array([4.0, 1.0, 3.0]), np.array([0.0, 0.0, 2.0]))
    array([2.5, 2.5, 3. ])
    """
    group = np.concatenate([[0], np.cumsum(np.diff(ranked) > 0)])
    return (np.bincount(group, weights=values) / np.bincount(group))[group]

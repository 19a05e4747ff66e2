"""Observation noise and the sufficient statistics of run curves.

With noise variance ``se^2 + sigma^2`` a run enters its likelihood only through the weighted Gram matrix of its columns
and gold. Points of one run with the same standard error share a weight, so their Gram matrices are added up once: for
``iid`` noise one matrix a run remains, and the cost of the posterior does not depend on the number of points.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from goldpeak.errors import FitError

__all__ = ["Statistics", "gather", "merge", "variance"]

Array = NDArray[np.float64]

FLOOR = 1e-6
"""Least standard deviation of the noise, in units of the gold scale: data without noise would be infinitely certain."""


@dataclass(frozen=True)
class Statistics:
    """Additive statistics of runs, grouped by standard error.

    Attributes
    ----------
    gram : ndarray, shape (run, group, q, q)
        Sum of z z^T over the points of a group, z = (columns, gold); zero in unused groups.
    count : ndarray, shape (run, group)
        Points in each group.
    se : ndarray, shape (run, group)
        Their standard error.
    """

    gram: Array
    count: Array
    se: Array

    def __add__(self, other: Statistics) -> Statistics:
        """Statistics of the points of both, see `merge`."""
        return merge(self, other)

    def weights(self, sigma: Array) -> Array:
        """1 / (se^2 + sigma^2), shape (draw, run, group), for sigma of shape (draw,)."""
        return 1.0 / variance(self.se, sigma[:, None, None])

    def weighted(self, sigma: Array) -> Array:
        """Weighted Gram matrices, shape (draw, run, q, q)."""
        runs, groups, q, _ = self.gram.shape
        flat = self.gram.reshape(runs, groups, q * q)
        if groups == 1:
            return (self.weights(sigma) * flat[:, 0]).reshape(len(sigma), runs, q, q)
        by_run = np.matmul(self.weights(sigma).transpose(1, 0, 2), flat)
        return by_run.transpose(1, 0, 2).reshape(len(sigma), runs, q, q)

    def log_determinant(self, sigma: Array) -> Array:
        """log |V| summed over all points, shape (draw,)."""
        return -np.einsum("rg,srg->s", self.count, np.log(self.weights(sigma)))

    def take(self, runs: NDArray[np.int64]) -> Statistics:
        """Statistics of some runs, in that order."""
        count = self.count[runs]
        groups = max(1, int(np.count_nonzero(count, axis=1).max(initial=0)))
        return Statistics(self.gram[runs, :groups], count[:, :groups], self.se[runs, :groups])


def variance(se: Array, sigma: Array) -> Array:
    """Noise variance of a point, with its floor."""
    return se**2 + sigma**2 + FLOOR**2


def gather(columns: Array, y: Array, se: Array, run_index: NDArray[np.int64], runs: int) -> Statistics:
    """Statistics of points.

    Parameters
    ----------
    columns : ndarray, shape (point, p)
    y, se : ndarray, shape (point,)
    run_index : ndarray of int, shape (point,)
    runs : int
        Number of runs, also of those without a point here.

    Returns
    -------
    Statistics
        With q = p + 1.
    """
    z = np.column_stack([columns, y])
    q = z.shape[1]
    keys, member = np.unique(np.column_stack([run_index, se]), axis=0, return_inverse=True)
    owner = keys[:, 0].astype(np.int64)
    sizes = np.bincount(owner, minlength=runs)
    slot = np.arange(len(keys)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    gram = np.zeros((runs, max(int(sizes.max(initial=0)), 1), q, q))
    count, errors = np.zeros(gram.shape[:2]), np.ones(gram.shape[:2])
    order = np.argsort(member, kind="stable")
    starts = np.searchsorted(member[order], np.arange(len(keys)))
    for key, block in enumerate(np.split(z[order], starts)[1:]):
        gram[owner[key], slot[key]] = block.T @ block
        count[owner[key], slot[key]] = len(block)
        errors[owner[key], slot[key]] = keys[key, 1]
    return Statistics(gram, count, errors)


def merge(a: Statistics, b: Statistics) -> Statistics:
    """Statistics of the points of `a` and `b` together: the same runs and columns, each point in one of them only.

    Raises
    ------
    FitError
        If the numbers of runs or columns differ.
    """
    runs, _, q, _ = a.gram.shape
    if (runs, q) != (b.gram.shape[0], b.gram.shape[2]):
        raise FitError(
            f"statistics of {runs} runs and {q - 1} columns do not add to those of {b.gram.shape[0]} runs and "
            f"{b.gram.shape[2] - 1} columns"
        )
    groups: list[dict[float, tuple[Array, float]]] = [{} for _ in range(runs)]
    for part in (a, b):
        for r, g in zip(*np.nonzero(part.count), strict=True):
            gram, count = groups[r].get(part.se[r, g], (np.zeros((q, q)), 0.0))
            groups[r][part.se[r, g]] = (gram + part.gram[r, g], count + part.count[r, g])
    width = max(1, *(len(g) for g in groups))
    gram, count, se = np.zeros((runs, width, q, q)), np.zeros((runs, width)), np.ones((runs, width))
    for r, group in enumerate(groups):
        for slot, (error, (matrix, number)) in enumerate(sorted(group.items())):
            gram[r, slot], count[r, slot], se[r, slot] = matrix, number, error
    return Statistics(gram, count, se)

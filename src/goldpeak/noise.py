r"""Observation noise and the sufficient statistics of run curves.

With noise variance ``se^2 + sigma^2`` a run enters its likelihood only through the weighted Gram matrix of its columns
and gold. Points of one run with the same standard error share a weight, so their Gram matrices are added up once: for
``iid`` noise one matrix a run remains, and the cost of the posterior does not depend on the number of points.

Where standard errors are many, a dozen *nodes* stand in for them. With u = log se^2 the weight

.. math:: w(u; \sigma) = 1 / (e^u + \sigma^2)

is analytic in u but for poles at distance pi from the real line, whatever sigma is. So its polynomial interpolation at
Chebyshev points converges geometrically (Trefethen 2013, Approximation Theory and Approximation Practice, theorem 8.2),
and w at every point is a fixed combination of w at the nodes, to rounding. The same goes for log(se^2 + sigma^2).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray

from goldpeak.errors import FitError

__all__ = ["FLOOR", "Statistics", "choose_nodes", "gather", "merge", "variance"]

Array = NDArray[np.float64]

FLOOR = 1e-6
"""Least standard deviation of the noise, in units of the gold scale: data without noise would be infinitely certain."""
PRECISION = 1e-12
"""Error of the interpolated weights, relative to the largest, that the number of nodes is chosen for."""


@dataclass(frozen=True)
class Statistics:
    """Additive statistics of runs, grouped by standard error.

    Attributes
    ----------
    gram : ndarray, shape (run, group, q, q)
        Sum of z z^T over the points of a group, z = (columns, gold); zero in unused groups. Where groups are nodes,
        every point has a share in each.
    count : ndarray, shape (run, group)
        Points in each group; the shares in a node add up to any number.
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
        found = np.empty((len(sigma), runs, q, q))
        by_run = found.reshape(len(sigma), runs, q * q).transpose(1, 0, 2)
        np.matmul(self.weights(sigma).transpose(1, 0, 2), flat, out=by_run)
        return found

    def log_determinant(self, sigma: Array) -> Array:
        """log |V| summed over all points, shape (draw,)."""
        return cast(Array, -np.einsum("rg,srg->s", self.count, np.log(self.weights(sigma))))

    def take(self, runs: NDArray[np.int64]) -> Statistics:
        """Statistics of some runs, in that order."""
        used = np.flatnonzero(self.count[runs].any(axis=0))
        groups = int(used.max(initial=0)) + 1
        return Statistics(self.gram[runs, :groups], self.count[runs, :groups], self.se[runs, :groups])


def variance(se: Array, sigma: Array) -> Array:
    """Noise variance of a point, with its floor."""
    return se**2 + sigma**2 + FLOOR**2


def choose_nodes(se: Array, run_index: NDArray[np.int64]) -> Array | None:
    """Standard errors that can stand in for all others, or None where no run has more of them than nodes it takes.

    Parameters
    ----------
    se : ndarray, shape (point,)
    run_index : ndarray of int, shape (point,)

    Returns
    -------
    ndarray or None
        Chebyshev points in log se^2, of a common number for all runs.

    Examples
    --------
    >>> se = np.linspace(0.02, 0.04, 100)
    >>> len(choose_nodes(se, np.zeros(100, dtype=np.int64)))
    13
    >>> choose_nodes(np.full(100, 0.02), np.zeros(100, dtype=np.int64)) is None
    True
    """
    distinct = np.unique(np.column_stack([run_index, se]), axis=0)
    most = int(np.bincount(distinct[:, 0].astype(np.int64)).max(initial=0))
    u = _log_variance(np.array([se.min(initial=np.inf), se.max(initial=0.0)]))
    half = 0.5 * (u[1] - u[0])
    if half <= 0:
        return None
    # The ellipse with its ends at the range's through the nearest pole.
    pole = np.pi / half
    needed = int(np.ceil(-np.log(PRECISION) / np.log(pole + np.hypot(pole, 1.0))))
    if not 2 <= needed < most:
        return None
    at = u.mean() - half * np.cos(np.pi * np.arange(needed) / (needed - 1))
    return np.asarray(np.sqrt(np.maximum(np.exp(at) - FLOOR**2, 0.0)))


def gather(
    columns: Array, y: Array, se: Array, run_index: NDArray[np.int64], runs: int, nodes: Array | None = None
) -> Statistics:
    """Statistics of points.

    Parameters
    ----------
    columns : ndarray, shape (point, p)
    y, se : ndarray, shape (point,)
    run_index : ndarray of int, shape (point,)
    runs : int
        Number of runs, also of those without a point here.
    nodes : ndarray, optional
        Of `choose_nodes`: the groups, instead of one for each standard error.

    Returns
    -------
    Statistics
        With q = p + 1.
    """
    z = np.column_stack([columns, y])
    return _by_error(z, se, run_index, runs) if nodes is None else _by_node(z, se, run_index, runs, nodes)


def _by_error(z: Array, se: Array, run_index: NDArray[np.int64], runs: int) -> Statistics:
    """A group for each standard error of a run."""
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


def _by_node(z: Array, se: Array, run_index: NDArray[np.int64], runs: int, nodes: Array) -> Statistics:
    """The nodes' groups, in which each point has its share."""
    q = z.shape[1]
    share = _shares(se, nodes)
    gram, count = np.zeros((runs, len(nodes), q, q)), np.zeros((runs, len(nodes)))
    order = np.argsort(run_index, kind="stable")
    for rows in np.split(order, np.flatnonzero(np.diff(run_index[order])) + 1):
        if rows.size:
            of_run = gram[run_index[rows[0]]]
            count[run_index[rows[0]]] = share[rows].sum(axis=0)
            for k in range(len(nodes)):
                of_run[k] = (z[rows].T * share[rows, k]) @ z[rows]
    return Statistics(gram, count, np.broadcast_to(nodes, count.shape).copy())


def _shares(se: Array, nodes: Array) -> Array:
    """Lagrange polynomials of the nodes at every point, shape (point, node), by the barycentric formula."""
    weights = (-1.0) ** np.arange(len(nodes))
    weights[[0, -1]] *= 0.5
    away = _log_variance(se)[:, None] - _log_variance(nodes)
    hit = away == 0.0
    terms = weights / np.where(hit, 1.0, away)
    found = terms / terms.sum(axis=1, keepdims=True)
    return np.where(hit.any(axis=1, keepdims=True), hit, found)


def _log_variance(se: Array) -> Array:
    return np.log(variance(se, np.zeros(())))


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
        for r, g in zip(*np.nonzero(part.gram.any(axis=(2, 3)) | (part.count != 0)), strict=True):
            gram, count = groups[r].get(part.se[r, g], (np.zeros((q, q)), 0.0))
            groups[r][part.se[r, g]] = (gram + part.gram[r, g], count + part.count[r, g])
    width = max(1, *(len(g) for g in groups))
    gram, count, se = np.zeros((runs, width, q, q)), np.zeros((runs, width)), np.ones((runs, width))
    for r, group in enumerate(groups):
        for slot, (error, (matrix, number)) in enumerate(sorted(group.items())):
            gram[r, slot], count[r, slot], se[r, slot] = matrix, number, error
    return Statistics(gram, count, se)

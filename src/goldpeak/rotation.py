"""Correlated noise, turned: for each run an orthogonal matrix that makes it independent.

With a run's covariance S = Q diag(se^2) Q^T the noise Q^T e has covariance diag(se^2), and adding sigma^2 I to S
changes nothing but to add sigma^2 to each of these. So once gold and the columns of a run's model are multiplied by
Q^T, its points are as good as independent, whatever the parameters: that is done once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Turn", "points_of_runs"]

Array = NDArray[np.float64]


def points_of_runs(run_index: NDArray[np.int64], runs: int) -> list[NDArray[np.int64]]:
    """The points of each run, in their order.

    Examples
    --------
    >>> [points.tolist() for points in points_of_runs(np.array([1, 0, 1]), 2)]
    [[1], [0, 2]]
    """
    order = np.argsort(run_index, kind="stable")
    return np.split(order, np.cumsum(np.bincount(run_index, minlength=runs))[:-1])


@dataclass(frozen=True)
class Turn:
    """An orthogonal matrix for each run.

    Attributes
    ----------
    members : list of ndarray of int
        The points of each run.
    vectors : list of ndarray, shape (n, n) each
        Q, its columns the eigenvectors of the run's covariance.
    se : ndarray, shape (point,)
        Roots of the eigenvalues: standard errors of what is turned.
    """

    members: list[NDArray[np.int64]]
    vectors: list[Array]
    se: Array

    @classmethod
    def of(cls, members: list[NDArray[np.int64]], covariances: Sequence[Array]) -> Turn:
        """Diagonalise one covariance for each run; a singular one has standard errors of 0.

        Examples
        --------
        >>> turn = Turn.of([np.arange(2)], [np.ones((2, 2))])
        >>> turn.se.round(6).tolist()
        [0.0, 1.414214]
        """
        se = np.empty(sum(map(len, members)))
        vectors = []
        for mine, covariance in zip(members, covariances, strict=True):
            values, q = np.linalg.eigh(covariance)
            # Of eigenvalues that are 0 rounding may leave something below.
            se[mine] = np.sqrt(np.maximum(values, 0.0))
            vectors.append(q)
        return cls(members, vectors, se)

    def run(self, run: int, values: Array) -> Array:
        """What belongs to one run's points, along the last axis, turned: (..., n)."""
        return np.asarray(values @ self.vectors[run])

    def points(self, values: Array) -> Array:
        """What belongs to all points, along the first axis, turned."""
        found = np.empty(values.shape)
        for mine, q in zip(self.members, self.vectors, strict=True):
            found[mine] = q.T @ values[mine]
        return found

    def padded(self) -> Array:
        """The matrices as one array, shape (run, n, n) with n the most points of one run; 0 where a run has fewer."""
        most = max(map(len, self.members))
        found = np.zeros((len(self.vectors), most, most))
        for q, into in zip(self.vectors, found, strict=True):
            into[: len(q), : len(q)] = q
        return found

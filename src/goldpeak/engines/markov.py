r"""Noise that is an Ornstein-Uhlenbeck process plus independent noise, at a cost linear in the points.

Along a run's points, in the order of their times, the process has correlation rho_i = exp(-(t_i - t_{i-1}) / l) from
one to the next. With B z = (z_1, z_2 - rho_2 z_1, z_3 - rho_3 z_2, ...) its covariance becomes diagonal, B K B^T =
diag(1, 1 - rho_i^2), and that of the independent noise, diag(v), tridiagonal. So

.. math:: V = \sigma^2 K + \mathrm{diag}(v) = B^{-1} W B^{-T}, \qquad \log|V| = \log|W|,

with W tridiagonal and positive definite: W_ii = sigma^2 (1 - rho_i^2) + v_i + rho_i^2 v_{i-1} and W_{i,i-1} = -rho_i
v_{i-1}. No inverse of v is needed, so that v may be 0, nor one of the gaps, so that times may tie. To factor W is what
the Kalman filter does, here by LAPACK's `dptsv` instead of a loop over points; runs, and draws, are one long matrix
with zeros between them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from goldpeak.design import Design
from goldpeak.errors import FitError
from goldpeak.noise import FLOOR

__all__ = ["MarkovPoints", "log_density"]

Array = NDArray[np.float64]
Outer = dict[str, Array]

PARAMETERS = ("sigma", "nugget", "noise_lengthscale")
"""Outer parameters of the noise; the second where the card has it."""


@dataclass(frozen=True)
class MarkovPoints:
    """The points of a design whose noise is correlated along time: a run's points next to each other, in time.

    Attributes
    ----------
    z : ndarray, shape (q, point)
        Columns and gold.
    d, se : ndarray, shape (point,)
    gap : ndarray, shape (point,)
        Time since the run's point before; infinite at its first.
    ends : ndarray of int
        Where each run's points end.
    """

    design: Design
    z: Array
    d: Array
    se: Array
    gap: Array
    ends: NDArray[np.int64]

    @classmethod
    def of(cls, design: Design) -> MarkovPoints:
        time = design.measurement.time
        assert time is not None
        ends = np.cumsum(np.bincount(design.run_index))
        order = np.lexsort((time, design.run_index))
        gap = np.diff(time[order], prepend=0.0)
        gap[np.append(0, ends[:-1])] = np.inf
        z = np.ascontiguousarray(np.column_stack([design.columns(), design.y])[order].T)
        return cls(design, z, design.d[order], design.se[order], gap, ends)

    @property
    def count(self) -> int:
        """Number of points."""
        return int(self.z.shape[1])

    def take(self, runs: NDArray[np.int64]) -> MarkovPoints:
        """The points of some runs, in that order."""
        starts = np.append(0, self.ends[:-1])
        each = [np.arange(starts[r], self.ends[r]) for r in runs]
        points, ends = np.concatenate(each), np.cumsum([len(points) for points in each])
        z = np.ascontiguousarray(self.z[:, points])
        return MarkovPoints(self.design, z, self.d[points], self.se[points], self.gap[points], ends)

    def gram(self, h: Outer) -> tuple[Array, Array]:
        """Augmented Gram matrices (draw, run, q, q) and log |V| (draw,)."""
        q, draws = len(self.z), len(h["sigma"])
        gram, log_v = np.empty((draws, len(self.ends), q, q)), np.empty(draws)
        for s in range(draws):
            rho, diagonal, off = _whitening(self.gap, self.se, {name: h[name][s] for name in PARAMETERS if name in h})
            z = self._columns(h, s)
            change = z.copy()
            change[:, 1:] -= rho[1:] * z[:, :-1]
            pivots, solved = _solve(diagonal, off, change.T)
            log_v[s] = np.sum(np.log(pivots))
            for r, (start, end) in enumerate(zip(np.append(0, self.ends[:-1]), self.ends, strict=True)):
                np.matmul(change[:, start:end], solved[start:end], out=gram[s, r])
        return gram, log_v

    def _columns(self, h: Outer, draw: int) -> Array:
        if not self.design.columns_move:
            return self.z
        z = self.z.copy()
        z[1] = self.design.form.basis(self.d, h["gamma"][draw])[..., 1]
        return z


def log_density(residual: Array, time: Array, se: Array, h: Outer) -> Array:
    """Log density of one run's noise, (draw,), for residuals (draw, point) and parameters (draw,).

    Examples
    --------
    >>> h = {"sigma": np.ones(1), "noise_lengthscale": np.full(1, 1e-9)}
    >>> log_density(np.zeros((1, 2)), np.arange(2.0), np.zeros(2), h).round(4).tolist()  # independent
    [-1.8379]
    """
    order = np.argsort(time, kind="stable")
    gap = np.diff(time[order], prepend=0.0)
    gap[0] = np.inf
    columns = {name: h[name][:, None] for name in PARAMETERS if name in h}
    rho, diagonal, off = _whitening(gap, se[order], columns)
    change = residual[:, order]
    change[:, 1:] -= rho[:, 1:] * residual[:, order[:-1]]
    pivots, solved = _solve(diagonal.ravel(), off.ravel(), change.reshape(-1, 1))
    log_v = np.log(pivots).reshape(change.shape).sum(axis=1)
    misfit = np.sum(change * solved.reshape(change.shape), axis=1)
    return np.asarray(-0.5 * (len(time) * np.log(2 * np.pi) + log_v + misfit))


def _whitening(gap: Array, se: Array, h: Outer) -> tuple[Array, Array, Array]:
    """rho, and diagonal and lower diagonal of W: all (..., point), the first entry of the last without meaning."""
    steps = -gap / h["noise_lengthscale"]
    rho = np.exp(steps)
    v = se**2 + h.get("nugget", np.zeros(())) ** 2 + FLOOR**2
    # The noise of the point before; a run's first has none before it.
    before = np.zeros(np.broadcast_shapes(v.shape, rho.shape))
    before[..., 1:] = rho[..., 1:] * np.broadcast_to(v, before.shape)[..., :-1]
    diagonal = -np.expm1(2.0 * steps) * h["sigma"] ** 2 + v + rho * before
    return rho, diagonal, -before


def _solve(diagonal: Array, off: Array, columns: Array) -> tuple[Array, Array]:
    """Pivots of W and W^-1 times columns (point, k); `off` is 0 where a run or a draw begins."""
    from scipy.linalg.lapack import dptsv

    pivots, _, solved, info = dptsv(diagonal, off[1:], columns)
    if info:
        raise FitError("noise 'ou' is singular: points at the same time have no independent noise")
    return pivots, solved

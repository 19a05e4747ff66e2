"""Where a run's own points say that it peaked, without any model of the curve: a smoothing spline and its bootstrap."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray
from scipy.interpolate import CubicSpline

from goldpeak.errors import FitError, problems_of_counts
from goldpeak.names import GOLD_COV, PEER, POINT, RUN, RUN_INDEX

__all__ = ["MeasuredPeak", "spline_peaks"]

Array = NDArray[np.float64]

GRID = 1001
STRENGTHS = 60
"""How many degrees of smoothness are tried."""
MOST = 300
"""Points at most: of more, neighbours are averaged first."""
LEAST = 5
"""Points (the start included) that a spline needs."""


@dataclass(frozen=True)
class MeasuredPeak:
    """The peak of one run, as its points show it.

    Attributes
    ----------
    kl_peak : float
        Highest point of the smoothing spline (nats); NaN where there are too few points for one. Within [`lowest`,
        `highest`]: a run that was still rising at its end is known only to peak at `highest` or beyond.
    bootstrap : ndarray, shape (replicate,)
        The same of splines through the smoothed curve plus noise.
    lowest, highest : float
        Smallest (above 0) and largest KL of the run's points.
    d, gold : ndarray, shape (grid,)
        The spline itself, d in square-root nats.

    Examples
    --------
    >>> peak = MeasuredPeak(4.0, np.array([3.0, 5.0]), 1.0, 9.0, np.array([0.0, 2.0, 3.0]), np.array([0.0, 2.0, 1.0]))
    >>> peak.regret(9.0), peak.turned
    (0.5, True)
    """

    kl_peak: float
    bootstrap: Array
    lowest: float
    highest: float
    d: Array
    gold: Array

    @property
    def turned(self) -> bool:
        """Whether the curve was highest before its last point."""
        return self.kl_peak < self.highest

    def clip(self, kl: ArrayLike) -> Array:
        """KL within what this run's points can tell."""
        return cast(Array, np.clip(np.asarray(kl, dtype=float), self.lowest, self.highest))

    def log_estimates(self, kl: Array) -> Array:
        """Log of what this run's spline would find where draws (draw,) of the peak are right: its error is added.

        What lies beyond the run's points, at infinity included, counts as their end.
        """
        error = np.resize(np.log(self.bootstrap) - np.log(self.kl_peak), len(kl))
        return np.asarray(np.log(self.clip(kl * np.exp(np.where(np.isfinite(error), error, 0.0)))))

    def regret(self, kl: float) -> float:
        """Share of the spline's best gold that is lost by stopping at `kl`; NaN where gold never rose above 0.

        A `kl` beyond the run's last point counts as that point.
        """
        best = self.gold.max() if len(self.gold) else np.nan
        if not best > 0:
            return np.nan
        return float((best - np.interp(np.sqrt(self.clip(kl)), self.d, self.gold)) / best)


def spline_peaks(runs: xr.Dataset, *, replicates: int = 200, seed: int = 0) -> dict[str, MeasuredPeak]:
    """Peak of a smoothing spline through each run's points, with a bootstrap of its error.

    The spline is cubic in sqrt(KL), through the initial policy (0, 0), its smoothness such that Mallows' C_p, which
    allows for correlated noise, is smallest. Bootstrap samples are the spline plus noise: from ``gold_cov``, or else
    ``gold_se``, or, where the runs say neither, of the variance that second differences of neighbouring points show
    (Gasser, Sroka & Jennen-Steinmetz 1986, doi:10.1093/biomet/73.3.625).

    Parameters
    ----------
    runs : xarray.Dataset
        As returned by `read_runs`.
    replicates : int
    seed : int

    Returns
    -------
    dict of str to MeasuredPeak
        By run.

    Raises
    ------
    FitError
        If `replicates` is not a whole number >= 1.

    Examples
    --------
    >>> from goldpeak.datasets import lab
    >>> from goldpeak.subset import select
    >>> runs = lab("rl")
    >>> found = spline_peaks(select(runs, runs["rm_params"] < 50), replicates=20)
    >>> [round(peak.kl_peak, 1) for peak in found.values()]
    [3.6, 4.0, 3.7, 4.2]
    """
    if problems := problems_of_counts(1, replicates=replicates):
        raise FitError("; ".join(problems))
    children = np.random.default_rng(seed).spawn(runs.sizes[RUN])
    found = {}
    for r, (name, rng) in enumerate(zip(runs[RUN].values.astype(str), children, strict=True)):
        found[str(name)] = _of_run(_after_start(runs, r), replicates, rng)
    return found


def _after_start(runs: xr.Dataset, run: int) -> xr.Dataset:
    """A run's points at kl > 0, in ascending KL as the peers of ``gold_cov`` are, and their covariance."""
    mine = runs.isel({POINT: runs[RUN_INDEX].values == run})
    mine = mine.isel({POINT: np.argsort(mine["kl"].values, kind="stable")})
    kept = mine["kl"].values > 0
    if GOLD_COV in mine:
        mine = mine.isel({PEER: np.flatnonzero(kept)})
    return mine.isel({POINT: kept})


def _of_run(run: xr.Dataset, replicates: int, rng: np.random.Generator) -> MeasuredPeak:
    # Points at one KL say one thing together; a spline needs ascending d.
    kl, group = _grouped(run["kl"].values)
    share = np.zeros((len(kl), len(group)))
    share[group, np.arange(len(group))] = 1.0
    share /= share.sum(axis=1, keepdims=True)
    if len(kl) + 1 < LEAST:
        return MeasuredPeak(np.nan, np.full(replicates, np.nan), *_ends(kl), np.empty(0), np.empty(0))
    gold, d = share @ run["gold"].values, np.sqrt(kl)
    root = _root_of_noise(run, share, d, gold)
    se = np.sqrt(np.sum(root**2, axis=1))
    # The start is exact: gold counts from there.
    floor = max(float(se.min()), 1e-9 * float(np.ptp(gold)), 1e-300)
    smoother = _Smoother.of(np.append(0.0, d), np.append(floor / 10.0, np.maximum(se, floor)))
    root = np.vstack([np.zeros(root.shape[1]), root])
    grid = np.linspace(0.0, d[-1], GRID)
    fitted = smoother.smooth(np.append(0.0, gold)[None], root)
    noise = rng.standard_normal((replicates, root.shape[1])) @ root.T
    curves = smoother.between(np.vstack([fitted, smoother.smooth(fitted + noise, root)]), grid)
    tops = np.clip(grid[np.argmax(curves, axis=1)] ** 2, kl[0], kl[-1])
    return MeasuredPeak(float(tops[0]), tops[1:], *_ends(kl), grid, curves[0])


@dataclass(frozen=True)
class _Smoother:
    """Natural cubic smoothing splines in the basis in which all of them are diagonal (Demmler & Reinsch 1975).

    Attributes
    ----------
    at : ndarray, shape (point,)
    scale : ndarray, shape (point,)
        Standard errors that the points are weighted by.
    basis : ndarray, shape (point, point)
        Orthonormal columns, of the weighted points.
    rough : ndarray, shape (point,)
        Roughness of each.
    """

    at: Array
    scale: Array
    basis: Array
    rough: Array

    @classmethod
    def of(cls, at: Array, scale: Array) -> _Smoother:
        h = np.diff(at)
        inner = np.arange(len(at) - 2)
        second = np.zeros((len(at), len(inner)))
        second[inner, inner], second[inner + 2, inner] = 1.0 / h[:-1], 1.0 / h[1:]
        second[inner + 1, inner] = -1.0 / h[:-1] - 1.0 / h[1:]
        product = np.diag((h[:-1] + h[1:]) / 3.0) + np.diag(h[1:-1] / 6.0, 1) + np.diag(h[1:-1] / 6.0, -1)
        penalty = second @ np.linalg.solve(product, second.T)
        rough, basis = np.linalg.eigh(scale[:, None] * penalty * scale)
        return cls(at, scale, basis, np.maximum(rough, 0.0))

    def smooth(self, values: Array, root: Array) -> Array:
        """Smoothed values, shape (curve, point), each curve as smooth as makes its estimated risk smallest.

        Mallows' C_p: residual sum of squares plus twice the covariance of fit and points, which noise of covariance
        ``root @ root.T`` has (correlated or not).
        """
        z = (values / self.scale) @ self.basis
        own = np.sum((self.basis.T @ (root / self.scale[:, None])) ** 2, axis=1)
        top = self.rough.max()
        strength = np.append(0.0, np.geomspace(1e-3 / top, 1e3 / max(self.rough[2], 1e-12 * top), STRENGTHS))
        kept = 1.0 / (1.0 + strength[:, None] * self.rough)
        risk = z**2 @ ((1.0 - kept) ** 2).T + 2.0 * kept @ own
        return np.asarray(((z * kept[np.argmin(risk, axis=1)]) @ self.basis.T) * self.scale)

    def between(self, values: Array, grid: Array) -> Array:
        """The natural cubic spline through smoothed values (curve, point), on a grid: (curve, grid)."""
        return np.asarray(CubicSpline(self.at, values, axis=1, bc_type="natural")(grid))


def _grouped(kl: Array) -> tuple[Array, NDArray[np.int64]]:
    """Distinct KL values, and to which each point belongs; neighbours share one where there are too many."""
    values, group = np.unique(kl, return_inverse=True)
    if len(values) <= MOST:
        return values, group
    d = np.sqrt(values)
    cell = np.minimum((d / d[-1] * MOST).astype(np.int64), MOST - 1)
    _, cell = np.unique(cell, return_inverse=True)
    mean = np.bincount(cell, weights=d) / np.bincount(cell)
    return mean**2, cell[group]


def _ends(kl: Array) -> tuple[float, float]:
    return (float(kl[0]), float(kl[-1])) if len(kl) else (np.nan, np.nan)


def _root_of_noise(run: xr.Dataset, share: Array, d: Array, gold: Array) -> Array:
    """A matrix whose square is the covariance of the (averaged) points' errors."""
    if GOLD_COV in run:
        values, vectors = np.linalg.eigh(run[GOLD_COV].values)
        return np.asarray(share @ (vectors * np.sqrt(np.maximum(values, 0.0))))
    if "gold_se" in run and np.isfinite(run["gold_se"].values).all():
        return np.asarray(share * run["gold_se"].values)
    left, right = (d[1:-1] - d[:-2]) / (d[2:] - d[:-2]), (d[2:] - d[1:-1]) / (d[2:] - d[:-2])
    miss = right * gold[:-2] + left * gold[2:] - gold[1:-1]
    return cast(Array, np.sqrt(np.mean(miss**2 / (left**2 + right**2 + 1.0))) * np.eye(len(d)))

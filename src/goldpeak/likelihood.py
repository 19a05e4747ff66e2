"""Log likelihood of the data at every posterior draw: for each run, and for each point where that stays small."""

from __future__ import annotations

from typing import cast

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from goldpeak.design import Design
from goldpeak.engines import markov
from goldpeak.engines.columns import Points
from goldpeak.engines.stretches import stretched_gold
from goldpeak.names import POINT, RUN
from goldpeak.noise import variance

__all__ = ["log_likelihood"]

Array = NDArray[np.float64]

POINTWISE = 10_000_000
"""Largest draws x points for which the log likelihood of every point is kept."""


def log_likelihood(design: Design, posterior: xr.Dataset) -> xr.Dataset:
    """Log density of the data given the coefficients of each run.

    Parameters
    ----------
    design : Design
    posterior : xarray.Dataset
        In standardised units, dims (chain, draw, ...).

    Returns
    -------
    xarray.Dataset
        ``gold_run`` (chain, draw, run) and, unless draws x points is beyond `POINTWISE` or the noise of a run's points
        is correlated, ``gold`` (chain, draw, point); densities in the user's units of gold. Correlated points have no
        density of their own, independent of the others'.
    """
    # Views of (sample, ...): the coefficients of many runs are the largest arrays there are.
    flat = {str(name): posterior[name].values.reshape(-1, *posterior[name].shape[2:]) for name in posterior.data_vars}
    draws, runs = len(flat["sigma"]), range(len(design.run))
    shape = (posterior.sizes["chain"], posterior.sizes["draw"], -1)
    found = {}
    if design.measurement.correlated:
        by_run = np.stack([_correlated_run(design, r, flat) for r in runs], axis=1)
    elif draws * len(design.y) <= POINTWISE:
        by_point = np.empty((draws, len(design.y)))
        for r in runs:
            by_point[:, design.run_index == r] = _points_of_run(design, r, flat)
        by_run = np.stack([by_point[:, design.run_index == r].sum(axis=1) for r in runs], axis=1)
        found[POINT] = by_point
    elif design.shape or design.columns_move or _is_student(design) or not _statistics_are_fewer(design):
        by_run = np.stack([_points_of_run(design, r, flat).sum(axis=1) for r in runs], axis=1)
    else:
        by_run = _runs_from_statistics(design, flat)
    found[RUN] = by_run
    names = {POINT: "gold", RUN: "gold_run"}
    variables = {names[dim]: (("chain", "draw", dim), values.reshape(shape)) for dim, values in found.items()}
    return xr.Dataset(variables, coords={name: posterior[name] for name in ("chain", "draw", RUN)})


def _statistics_are_fewer(design: Design) -> bool:
    """Whether a matrix for each run and standard error holds fewer numbers than the points' columns."""
    columns = 3 + (design.sines.count if design.sines else 0)
    groups = np.unique(np.column_stack([design.run_index, design.se]), axis=0)
    return len(groups) * columns < len(design.y)


def _is_student(design: Design) -> bool:
    return design.card.noise.kind == "student_t"


def _points_of_run(design: Design, run: int, flat: dict[str, Array]) -> Array:
    """Shape (draw, points of the run)."""
    residual = _residual(design, run, flat)
    spread = variance(design.se[design.run_index == run], flat["sigma"][:, None])
    if _is_student(design):
        return cast(Array, _student(residual, spread, design.card.noise.degrees(flat)) - np.log(design.scale))
    return cast(Array, _normal(residual, spread) - np.log(design.scale))


def _correlated_run(design: Design, run: int, flat: dict[str, Array]) -> Array:
    """Density of all points of a run together, (draw,)."""
    known, mine = design.measurement, design.run_index == run
    residual = _residual(design, run, flat)
    if known.time is not None:
        density = markov.log_density(residual, known.time[mine], design.se[mine], flat)
        return cast(Array, density - mine.sum() * np.log(design.scale))
    spread = variance(known.independent_se[mine], flat["sigma"][:, None])
    by_point = _normal(known.independent_of_run(run, residual), spread) - np.log(design.scale)
    return np.asarray(by_point.sum(axis=1))


def _normal(residual: Array, spread: Array) -> Array:
    return np.asarray(-0.5 * (np.log(2 * np.pi * spread) + residual**2 / spread))


def _student(residual: Array, spread: Array, nu: Array | float) -> Array:
    """Log density of a Student-t with squared scales `spread` and nu degrees of freedom, (draw,) or one."""
    from scipy.special import gammaln

    nu = np.broadcast_to(nu, len(residual))[:, None]
    constant = gammaln((nu + 1) / 2) - gammaln(nu / 2) - 0.5 * np.log(nu * np.pi * spread)
    return np.asarray(constant - (nu + 1) / 2 * np.log1p(residual**2 / (nu * spread)))


def _residual(design: Design, run: int, flat: dict[str, Array]) -> Array:
    """A run's gold less its curve and offset, (draw, points of the run)."""
    mine = design.run_index == run
    curve = _curve(design, run, flat)
    if "delta" in flat and design.sines is not None:
        curve += flat["delta"][:, run] @ design.sines.columns(design.d[mine]).T
    if "offset" in flat:
        curve += flat["offset"][:, [run]] * (design.d[mine] > 0)
    return np.asarray(design.y[mine] - curve)


def _curve(design: Design, run: int, flat: dict[str, Array]) -> Array:
    """A run's gold but for what is smooth in d, (draw, points of the run)."""
    if design.shape is None:
        gamma = flat.get("gamma", np.zeros(len(flat["sigma"])))
        phi = design.form.basis(design.d[design.run_index == run], gamma[:, None])
        return np.asarray(flat["alpha"][:, [run]] * phi[..., 0] + flat["beta"][:, [run]] * phi[..., 1])
    return stretched_gold(design, run, flat)


def _runs_from_statistics(design: Design, flat: dict[str, Array]) -> Array:
    """Shape (draw, run), from the runs' Gram matrices: for iid noise at a cost that many points do not raise."""
    statistics = Points.of(design).fixed
    sigma, delta = flat["sigma"], flat.get("delta")
    found = np.empty((len(sigma), len(design.run)))
    for r in range(len(design.run)):
        own = [flat["alpha"][:, [r]], flat["beta"][:, [r]], *([] if delta is None else [delta[:, r]])]
        own += [flat["offset"][:, [r]]] if "offset" in flat else []
        z = np.concatenate([*own, np.full((len(sigma), 1), -1.0)], axis=1)
        squares = (z[:, :, None] * z[:, None, :]).reshape(len(z), -1)
        count, gram = statistics.count[r], statistics.gram[r].reshape(len(statistics.count[r]), -1)
        spread = variance(statistics.se[r], sigma[:, None])
        misfit = np.sum(squares @ gram.T / spread, axis=1)
        found[:, r] = -0.5 * (np.log(2 * np.pi * spread) @ count + misfit) - count.sum() * np.log(design.scale)
    return found

"""The reference engine: a readable PyMC model of card and runs, sampled by nutpie.

Only this module and `nuts_peak`, which has the model in peak coordinates, import pymc. The models are written in
standardised units (see `design`). Where a card on coefficients has a smooth discrepancy, the points are one Gaussian
process given the outer parameters (and a coefficient with link ``log``, where there is one): all other coefficients are
integrated out of the likelihood and drawn afterwards.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pymc as pm
import pytensor
import pytensor.tensor as pt
import xarray as xr
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from goldpeak.design import CoefficientDesign, Design
from goldpeak.discrepancy import matern52_density
from goldpeak.engines.columns import GlobalColumns, Points
from goldpeak.engines.linear_model import LinearModel
from goldpeak.engines.nuts_noise import gram_of_points
from goldpeak.engines.nuts_peak import stretched_curves, stretches_are_centred, with_own_parts
from goldpeak.engines.tensors import basis, trend_sd, weigh
from goldpeak.noise import variance
from goldpeak.priors import LKJ, HalfNormal, LogNormal, Prior

__all__ = ["build_model", "compile_cache", "sample"]

TARGET_ACCEPT = 0.98
"""Small steps: hierarchical scales near zero diverge otherwise."""
COLLAPSED_ACCEPT = 0.95
"""Where coefficients are integrated out the few parameters left are smooth, and larger steps do."""


def sample(
    design: Design, *, seed: int, draws: int = 1000, tune: int = 1000, chains: int = 4
) -> tuple[xr.Dataset, xr.Dataset]:
    """Draw from the posterior of a design with NUTS.

    Parameters
    ----------
    design : Design
    seed : int
    draws, tune, chains : int
        Draws kept and tuning draws per chain; number of chains.

    Returns
    -------
    posterior, sample_stats : xarray.Dataset
        In standardised units, dims (chain, draw, ...).
    """
    model = build_model(design)
    # The matrices are small and the chains run side by side: BLAS threads would only get in their way.
    with model, threadpool_limits(1, user_api="blas"):
        tree = pm.sample(
            draws=draws,
            tune=tune,
            chains=chains,
            # As many as the machine runs threads: PyMC by itself counts physical cores.
            cores=min(chains, os.cpu_count() or 1),
            random_seed=seed,
            nuts_sampler="nutpie",
            target_accept=_target_accept(design),
            progressbar=sys.stderr.isatty(),
            quiet=not sys.stderr.isatty(),
            compute_convergence_checks=False,
        )
    # Interrupted, nutpie gives back nothing or the draws so far, which would pass for a finished posterior.
    if tree is None or tree["posterior"].sizes["draw"] < draws:
        raise KeyboardInterrupt
    posterior = tree["posterior"].to_dataset()
    posterior = posterior[[name for name in posterior.data_vars if not str(name).endswith("_raw")]]
    if design.shape is not None:
        posterior = with_own_parts(design, posterior, seed)
    elif _is_collapsed(design):
        posterior = _with_coefficients(design, posterior, seed)
    return posterior, tree["sample_stats"].to_dataset()


def compile_cache() -> Path:
    """Folder in which compiled models are kept between processes; it need not exist yet."""
    return Path(str(pytensor.config.base_compiledir))


def _target_accept(design: Design) -> float:
    """Small steps where coefficients are sampled that scatter about a trend."""
    sampled = bool(design.logged) or not _is_collapsed(design)
    if design.shape:
        sampled = stretches_are_centred(design)
    return TARGET_ACCEPT if sampled else COLLAPSED_ACCEPT


def build_model(design: Design) -> pm.Model:
    """The PyMC model of a design; nothing is sampled.

    Returns
    -------
    pymc.Model
        With one observed variable, ``gold``, in standardised units.

    Examples
    --------
    >>> from goldpeak.datasets import lab
    >>> from goldpeak.library import load_card
    >>> from goldpeak.design import make_design
    >>> model = build_model(make_design(lab("rl"), load_card("rl_paper")))
    >>> "beta_coef" in model.named_vars
    True
    """
    coords: dict[str, Any] = dict(design.coords)
    with pm.Model(coords=coords) as model:
        outer = {name: _prior(name, prior) for name, prior in design.outer.items()}
        if design.shape is not None:
            stretched_curves(design, outer)
        elif _is_collapsed(design):
            _one_gaussian(design, outer)
        else:
            _independent_points(design, outer)
    return model


def _is_collapsed(design: Design) -> bool:
    """Whether coefficients are integrated out: where they are many, or the points of a run are correlated."""
    return design.sines is not None or design.has_offset or design.measurement.correlated


def _typical(name: str, c: CoefficientDesign, design: Design, outer: dict[str, Any]) -> Any:
    """A coefficient of each run before the run's own deviation: the trend and the RM's deviation."""
    level = c.columns @ pm.Normal(f"{name}_coef", c.mean, trend_sd(name, c, outer), dims=f"{name}_term")
    if f"{name}_sd_rm" in outer:
        raw = pm.Normal(f"{name}_rm_raw", dims="rm")
        level = level + pm.Deterministic(f"{name}_rm", raw * outer[f"{name}_sd_rm"], dims="rm")[design.rm_index]
    return level


def _independent_points(design: Design, outer: dict[str, Any]) -> None:
    """Every run's coefficients are parameters, every point is one normal observation."""
    theta = [_own(name, c, design, outer, _typical(name, c, design, outer)) for name, c in design.coefficients.items()]
    phi = basis(design, outer, design.d)
    curve = sum(t[design.run_index] * column for t, column in zip(theta, phi, strict=True))
    # Shared variables: other gold at the same points needs no other compilation (nutpie's `with_data`).
    se, y = pm.Data("gold_se", design.se), pm.Data("gold_observed", design.y)
    scale = pt.sqrt(se**2 + outer["sigma"] ** 2)
    if design.card.noise.kind == "student_t":
        pm.StudentT("gold", design.card.noise.degrees(outer), mu=curve, sigma=scale, observed=y)
    else:
        pm.Normal("gold", curve, scale, observed=y)


def _own(name: str, c: CoefficientDesign, design: Design, outer: dict[str, Any], level: Any) -> Any:
    """A coefficient of each run: centred where the runs are informative, else not."""
    if f"{name}_sd_run" in outer:
        sd = outer[f"{name}_sd_run"]
        if c.spec.link == "identity" and runs_are_informative(name, design):
            return pm.Normal(name, level, sd, dims="run")
        level = level + sd * pm.Normal(f"{name}_run_raw", dims="run")
    return pm.Deterministic(name, pt.exp(level) if c.spec.link == "log" else level, dims="run")


def _one_gaussian(design: Design, outer: dict[str, Any]) -> None:
    """All points are one multivariate normal observation: every linear coefficient is in its mean and covariance."""
    logged = {
        name: _own(name, c, design, outer, _typical(name, c, design, outer))
        for name, c in design.coefficients.items()
        if name in design.logged
    }
    given = outer | logged
    core = ",".join("(run)" if name in logged else "()" for name in given)
    if design.card.noise.kind == "student_t":
        # A mixture of Gaussians: given a weight for each point the coefficients integrate out as ever.
        half = design.card.noise.degrees(outer) / 2.0
        given, core = given | {"weight": pm.Gamma("weight", half, half, shape=len(design.y))}, f"{core},(point)"

    def logp(*values: Any) -> Any:
        # Gold comes in as sums over points, which its density does not need one by one; nor does it need d, which only
        # tells pymc how many points there are.
        return _log_density(design, dict(zip(given, values[2:], strict=True)))

    pm.CustomDist("gold", design.d, *given.values(), logp=logp, signature=f"(point),{core}->(point)", observed=design.y)


def _log_density(design: Design, h: dict[str, Any]) -> Any:
    """Log density of all points, from augmented Gram matrices as in `gaussian`, level by level.

    The mathematics of the exact engine, written to be differentiated.
    """
    root = pt.sqrt(matern52_density(design.sines.frequencies, h["lengthscale"])) if design.sines else None
    gram, log_v = _weighted_gram(design, h)
    for i, name in enumerate(design.coefficients):
        if name in h:
            gram = _shift_gold(gram, i, h[name])
    smooth = h["eta_run"] * root if "eta_run" in h else None
    gram, log_run = _integrate(gram, *_scatter(design, h, "run", smooth))
    member = (design.rm_index == np.arange(len(design.rm))[:, None]).astype(float)
    by_rm = (member @ gram.reshape((len(design.run), -1))).reshape((len(design.rm), *gram.shape[1:]))
    by_rm, log_rm = _integrate(by_rm, *_scatter(design, h, "rm"))
    columns = GlobalColumns.of(design)
    place = columns.place()
    total = (np.swapaxes(place, -1, -2) @ by_rm @ place).sum(axis=0)
    top, log_global = _integrate(total, np.arange(len(columns.column)), _global_scale(design, h, root))
    return -0.5 * (len(design.y) * np.log(2.0 * np.pi) + log_v + log_run + log_rm + log_global + top[-1, -1])


def _weighted_gram(design: Design, h: dict[str, Any]) -> tuple[Any, Any]:
    """Augmented Gram matrix of each run, (run, q, q), and log |V|."""
    if design.measurement.correlated or "weight" in h:
        return gram_of_points(design, h)
    points = Points.of(design)
    fixed = points.fixed
    noise = variance(fixed.se, h["sigma"])
    gram = weigh(fixed.gram, noise)
    log_v = (fixed.count * pt.log(noise)).sum()
    if points.padded is None:
        return gram, log_v
    d, se, here, z = points.padded
    beta = basis(design, h, d)[1]
    weighted = beta * here / variance(se, h["sigma"])
    unit = np.eye(fixed.gram.shape[-1])[1]
    cross = (weighted[:, None, :] @ z)[:, 0] + 0.5 * (weighted * beta).sum(axis=1)[:, None] * unit
    return gram + cross[:, :, None] * unit + cross[:, None, :] * unit[:, None], log_v


def _shift_gold(gram: Any, column: int, value: Any) -> Any:
    """The Gram matrices when gold is less `value` (run,) times a column."""
    q = gram.shape[-1]
    change = pt.eye(q) - value[:, None, None] * pt.outer(pt.eye(q)[column], pt.eye(q)[q - 1])
    return change.mT @ gram @ change


def _scatter(design: Design, h: dict[str, Any], level: str, sines: Any = None) -> tuple[NDArray[np.int64], Any]:
    """Columns that scatter on a level, and their sds: the counterpart of the exact engine's."""
    names = [n for n in design.coefficients if f"{n}_sd_{level}" in h and n not in design.logged]
    cols = [list(design.coefficients).index(n) for n in names]
    sds = [h[f"{n}_sd_{level}"] for n in names]
    if sines is not None and design.sines:
        cols += design.own_columns
        sds += [sines[j] for j in range(design.sines.count)]
    if level == "run" and design.has_offset:
        cols.append(design.width - 1)
        sds.append(h["offset_sd"])
    return np.array(cols, dtype=np.int64), pt.stack(sds) if sds else None


def _global_scale(design: Design, h: dict[str, Any], root: Any) -> Any:
    """Prior sds of the global coefficients, in the order of `GlobalColumns`, shape (g,)."""
    parts = [h[part.scale] * root for part in design.shared]
    linear = [(name, c) for name, c in design.coefficients.items() if name not in design.logged]
    parts += [trend_sd(name, c, h) for name, c in linear]
    return pt.concatenate(parts) if parts else None


def _integrate(gram: Any, cols: NDArray[np.int64], scale: Any) -> tuple[Any, Any]:
    """Integrate the coefficients of some columns out of augmented Gram matrices; and what that adds to log |V|."""
    if scale is None:
        return gram, 0.0
    rows = scale[:, None] * gram[..., cols, :]
    factor = pt.linalg.cholesky(rows[..., cols] * scale + np.eye(len(cols)), on_error="nan")
    white = pt.linalg.solve_triangular(factor, rows, lower=True, b_ndim=2)
    return gram - white.mT @ white, 2.0 * pt.log(pt.diagonal(factor, axis1=-2, axis2=-1)).sum()


def _with_coefficients(design: Design, outer: xr.Dataset, seed: int) -> xr.Dataset:
    """Draw the coefficients that `_one_gaussian` integrated out, given each draw of the outer parameters."""
    rng = np.random.default_rng([seed, 2])
    shape = (outer.sizes["chain"], outer.sizes["draw"])
    names = [name for name in (*design.outer, *design.logged, "weight") if name in outer]
    given = {name: outer[name].transpose("chain", "draw", ...) for name in names}
    h = {name: values.values.reshape(-1, *values.shape[2:]) for name, values in given.items()}
    drawn = LinearModel(design).draw(h, np.arange(outer["sigma"].size), rng)
    variables = {name: (("chain", "draw", *dims), x.reshape(*shape, *x.shape[1:])) for name, (dims, x) in drawn.items()}
    dims = {dim for names, _ in variables.values() for dim in names}
    # A weight for each point has served its purpose, and there may be many.
    outer = outer.drop_vars(["weight", "weight_dim_0"], errors="ignore")
    return outer.assign(variables).assign_coords({dim: c for dim, c in design.coords.items() if dim in dims})


def _prior(name: str, prior: Prior) -> Any:
    if isinstance(prior, HalfNormal):
        return pm.HalfNormal(name, prior.sigma)
    if isinstance(prior, LogNormal):
        return pm.LogNormal(name, prior.mu, prior.sigma)
    if isinstance(prior, LKJ):
        return pm.Deterministic(name, 2.0 * pm.Beta(f"{name}_raw", prior.eta, prior.eta) - 1.0)
    return pm.Normal(name, prior.mu, prior.sigma)


def runs_are_informative(name: str, design: Design) -> bool:
    """Whether each run measures its coefficient better than the runs scatter about the trend.

    Then the centred parametrisation mixes well, otherwise the non-centred one. Judged by least squares per run: the
    median standard error against half the scatter of the estimates about the trend.
    """
    index = list(design.coefficients).index(name)
    estimates, errors = zip(*(_least_squares(design, r) for r in range(len(design.run))), strict=True)
    columns = design.coefficients[name].columns
    values = np.array([e[index] for e in estimates])
    if len(values) <= columns.shape[1]:
        return False
    fitted = columns @ np.linalg.lstsq(columns, values, rcond=None)[0]
    return bool(np.median([e[index] for e in errors]) < 0.5 * np.std(values - fitted))


def _least_squares(design: Design, run: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Coefficients of one run alone and their standard errors."""
    mine = design.run_index == run
    phi, y = design.form.basis(design.d[mine]), design.y[mine]
    theta = np.linalg.lstsq(phi, y, rcond=None)[0]
    residual = np.sum((y - phi @ theta) ** 2) / max(len(y) - phi.shape[1], 1)
    return theta, np.sqrt(residual * np.diag(np.linalg.pinv(phi.T @ phi)))

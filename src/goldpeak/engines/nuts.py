"""The reference engine: a readable PyMC model of card and runs, sampled by nutpie.

The only module that imports pymc. The model is written in standardised units (see `design`). Where the card has a
smooth discrepancy, the points are one Gaussian process given the outer parameters: the coefficients are integrated out
of the likelihood and drawn afterwards.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pymc as pm
import pytensor.tensor as pt
import xarray as xr
from numpy.typing import NDArray

from goldpeak.design import CoefficientDesign, Design
from goldpeak.discrepancy import Sines
from goldpeak.engines.exact import LinearModel
from goldpeak.priors import HalfNormal, LogNormal, Prior

__all__ = ["build_model", "sample"]

TARGET_ACCEPT = 0.98
"""Small steps: hierarchical scales near zero diverge otherwise."""


def sample(
    design: Design, *, seed: int, draws: int = 1000, tune: int = 1000, chains: int = 4, cores: int | None = None
) -> tuple[xr.Dataset, xr.Dataset]:
    """Draw from the posterior of a design with NUTS.

    Parameters
    ----------
    design : Design
    seed : int
    draws, tune, chains : int
        Draws kept and tuning draws per chain; number of chains.
    cores : int, optional
        Processes at once; all by default.

    Returns
    -------
    posterior, sample_stats : xarray.Dataset
        In standardised units, dims (chain, draw, ...).
    """
    model = build_model(design)
    with model:
        tree = pm.sample(
            draws=draws,
            tune=tune,
            chains=chains,
            cores=cores,
            random_seed=seed,
            nuts_sampler="nutpie",
            target_accept=TARGET_ACCEPT,
            progressbar=sys.stderr.isatty(),
            quiet=not sys.stderr.isatty(),
            compute_convergence_checks=False,
        )
    # Interrupted, nutpie gives back nothing or the draws so far, which would pass for a finished posterior.
    if tree is None or tree["posterior"].sizes["draw"] < draws:
        raise KeyboardInterrupt
    posterior = tree["posterior"].to_dataset()
    posterior = posterior[[name for name in posterior.data_vars if not str(name).endswith("_raw")]]
    if design.sines is not None:
        posterior = _with_coefficients(design, posterior, seed)
    return posterior, tree["sample_stats"].to_dataset()


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
        if design.sines is None:
            _independent_points(design, outer)
        else:
            _one_gaussian(design, design.sines, outer)
    return model


def _typical(name: str, c: CoefficientDesign, design: Design, outer: dict[str, Any]) -> Any:
    """A coefficient of each run before the run's own deviation: the trend and the RM's deviation."""
    drift = outer.get(f"{name}_drift", 1.0)
    coef = pm.Normal(f"{name}_coef", c.mean, pt.where(c.drift, c.sd * drift, c.sd), dims=f"{name}_term")
    level = c.columns @ coef
    if f"{name}_sd_rm" in outer:
        raw = pm.Normal(f"{name}_rm_raw", dims="rm")
        level = level + pm.Deterministic(f"{name}_rm", raw * outer[f"{name}_sd_rm"], dims="rm")[design.rm_index]
    return level


def _independent_points(design: Design, outer: dict[str, Any]) -> None:
    """Every run's coefficients are parameters, every point is one normal observation."""
    theta = [_own(name, c, design, outer, _typical(name, c, design, outer)) for name, c in design.coefficients.items()]
    phi = _basis(design, outer)
    curve = sum(t[design.run_index] * column for t, column in zip(theta, phi, strict=True))
    pm.Normal("gold", curve, pt.sqrt(design.se**2 + outer["sigma"] ** 2), observed=design.y)


def _own(name: str, c: CoefficientDesign, design: Design, outer: dict[str, Any], level: Any) -> Any:
    """A coefficient of each run: centred where the runs are informative, else not."""
    if f"{name}_sd_run" in outer:
        sd = outer[f"{name}_sd_run"]
        if c.spec.link == "identity" and runs_are_informative(name, design):
            return pm.Normal(name, level, sd, dims="run")
        level = level + sd * pm.Normal(f"{name}_run_raw", dims="run")
    return pm.Deterministic(name, pt.exp(level) if c.spec.link == "log" else level, dims="run")


def _one_gaussian(design: Design, sines: Sines, outer: dict[str, Any]) -> None:
    """All points are one multivariate normal observation: every linear coefficient is in its mean and covariance."""
    run, rm, x = design.run_index, design.rm_index[design.run_index], design.x[design.run_index]
    same_run, same_rm = run[:, None] == run, rm[:, None] == rm
    mean = np.zeros(len(design.y))
    covariance = pt.diag(design.se**2 + outer["sigma"] ** 2)
    for (name, c), column in zip(design.coefficients.items(), _basis(design, outer), strict=True):
        upright = pt.as_tensor(column)[:, None]
        drift = outer.get(f"{name}_drift", 1.0)
        trend = c.columns[run] * upright
        mean = mean + trend @ c.mean
        covariance = covariance + (trend * pt.where(c.drift, c.sd * drift, c.sd) ** 2) @ trend.T
        scatter = outer.get(f"{name}_sd_rm", 0.0) ** 2 * same_rm + outer.get(f"{name}_sd_run", 0.0) ** 2 * same_run
        covariance = covariance + (upright * upright.T) * scatter
    columns = sines.columns(design.d)
    amplitude = (
        outer.get("eta_shared", 0.0) ** 2
        + outer.get("eta_shared_trend", 0.0) ** 2 * np.outer(x, x)
        + outer.get("eta_run", 0.0) ** 2 * same_run
    )
    covariance = covariance + amplitude * ((columns * _spectral(sines, outer["lengthscale"])) @ columns.T)
    pm.MvNormal("gold", mean, cov=covariance, observed=design.y)


def _basis(design: Design, outer: dict[str, Any]) -> list[Any]:
    """The form's two columns at every point."""
    phi = design.form.basis(design.d)
    if not design.form.has_gamma:
        return [phi[:, 0], phi[:, 1]]
    log_d = np.log(np.where(design.d > 0, design.d, 1.0))
    z = outer["gamma"] * log_d
    ratio = pt.where(pt.abs(z) < 1e-6, 1.0 + z / 2.0, pt.expm1(z) / pt.where(pt.abs(z) < 1e-6, 1.0, z))
    return [phi[:, 0], -design.d * log_d * ratio]


def _spectral(basis: Sines, lengthscale: Any) -> Any:
    """Matern-5/2 spectral density at the sines' frequencies, see `discrepancy`."""
    return (16.0 / 3.0) * 5.0**2.5 * lengthscale / (5.0 + (basis.frequencies * lengthscale) ** 2) ** 3


def _with_coefficients(design: Design, outer: xr.Dataset, seed: int) -> xr.Dataset:
    """Draw the coefficients that `_one_gaussian` integrated out, given each draw of the outer parameters."""
    rng = np.random.default_rng([seed, 2])
    h = {name: outer[name].values.ravel() for name in design.outer}
    drawn = LinearModel(design).draw(h, np.arange(outer["sigma"].size), rng)
    shape = (outer.sizes["chain"], outer.sizes["draw"])
    variables = {name: (("chain", "draw", *dims), x.reshape(*shape, *x.shape[1:])) for name, (dims, x) in drawn.items()}
    dims = {dim for names, _ in variables.values() for dim in names}
    return outer.assign(variables).assign_coords({dim: c for dim, c in design.coords.items() if dim in dims})


def _prior(name: str, prior: Prior) -> Any:
    if isinstance(prior, HalfNormal):
        return pm.HalfNormal(name, prior.sigma)
    if isinstance(prior, LogNormal):
        return pm.LogNormal(name, prior.mu, prior.sigma)
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

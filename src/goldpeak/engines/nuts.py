"""The reference engine: a readable PyMC model of card and runs, sampled by nutpie.

The only module that imports pymc. The model is written in standardised units (see `design`).
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
from goldpeak.errors import FitError
from goldpeak.priors import HalfNormal, LogNormal, Normal, Prior

__all__ = ["build_model", "sample"]

TARGET_ACCEPT = 0.9


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
    return tree["posterior"].to_dataset(), tree["sample_stats"].to_dataset()


def build_model(design: Design) -> pm.Model:
    """The PyMC model of a design; nothing is sampled.

    Returns
    -------
    pymc.Model
        With one observed variable, ``gold`` (point), in standardised units.

    Raises
    ------
    FitError
        If the card asks for something this engine has not got.

    Examples
    --------
    >>> from goldpeak.datasets import lab
    >>> from goldpeak.library import load_card
    >>> from goldpeak.design import make_design
    >>> model = build_model(make_design(lab("rl"), load_card("rl_paper")))
    >>> sorted(v.name for v in model.free_RVs)[:3]
    ['alpha', 'alpha_coef', 'alpha_sd_run']
    """
    with pm.Model(coords=design.coords | {"point": np.arange(len(design.y))}) as model:
        theta = {name: _coefficient(name, c, design) for name, c in design.coefficients.items()}
        phi = design.form.basis(design.d)
        curve = sum(theta[name][design.run_index] * phi[:, i] for i, name in enumerate(design.coefficients))
        sigma = _prior("sigma", design.card.noise.sigma)
        pm.Normal("gold", curve, pt.sqrt(design.se**2 + sigma**2), observed=design.y, dims="point")
    return model


def _coefficient(name: str, c: CoefficientDesign, design: Design) -> Any:
    """A coefficient of each run: trend + the RM's deviation + the run's own."""
    sd = c.sd
    if c.drift.any():
        sd = pt.where(c.drift, c.sd * _prior(f"{name}_drift", c.spec.trend.drift), c.sd)
    coef = pm.Normal(f"{name}_coef", c.mean, sd, dims=f"{name}_term")
    level = c.columns @ coef
    if c.spec.sd_rm is not None:
        sd_rm = _prior(f"{name}_sd_rm", c.spec.sd_rm)
        # What lies off the trend by RM is drawn as a whole, so that RMs with one run each do not form a funnel.
        level = level + _deviation(f"{name}_rm", sd_rm, "rm", False)[design.rm_index]
    if c.spec.sd_run is not None:
        sd_run = _prior(f"{name}_sd_run", c.spec.sd_run)
        if c.spec.link == "identity" and runs_are_informative(name, design):
            return pm.Normal(name, level, sd_run, dims="run")
        level = level + _deviation(f"{name}_run", sd_run, "run", True)
    return pm.Deterministic(name, pt.exp(level) if c.spec.link == "log" else level, dims="run")


def _deviation(name: str, sd: Any, dim: str, internal: bool) -> Any:
    raw = pm.Normal(f"{name}_raw", 0.0, 1.0, dims=dim)
    return raw * sd if internal else pm.Deterministic(name, raw * sd, dims=dim)


def _prior(name: str, prior: Prior, **kwargs: Any) -> Any:
    if isinstance(prior, HalfNormal):
        return pm.HalfNormal(name, prior.sigma, **kwargs)
    if isinstance(prior, LogNormal):
        return pm.LogNormal(name, prior.mu, prior.sigma, **kwargs)
    if isinstance(prior, Normal):
        return pm.Normal(name, prior.mu, prior.sigma, **kwargs)
    raise FitError(f"engine 'nuts' knows no prior {prior!r}")


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

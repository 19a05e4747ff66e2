"""The reference engine: a readable PyMC model of card and runs, sampled by nutpie.

The only module that imports pymc. The model is written in standardised units (see `design`). Where the card has a
smooth discrepancy, each run's own coefficients are integrated out of the likelihood and drawn afterwards.
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
from goldpeak.engines.columns import pad
from goldpeak.engines.exact import LinearModel
from goldpeak.priors import HalfNormal, LogNormal, Prior

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
    # Interrupted, nutpie gives back nothing or the draws so far, which would pass for a finished posterior.
    if tree is None or tree["posterior"].sizes["draw"] < draws:
        raise KeyboardInterrupt
    posterior = tree["posterior"].to_dataset()
    posterior = posterior[[name for name in posterior.data_vars if not str(name).endswith("_raw")]]
    return _with_runs(design, posterior, seed), tree["sample_stats"].to_dataset()


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
    >>> sorted(v.name for v in model.free_RVs)[:3]
    ['alpha', 'alpha_coef', 'alpha_sd_run']
    """
    coords: dict[str, Any] = dict(design.coords)
    with pm.Model(coords=coords) as model:
        outer = {name: _prior(name, prior) for name, prior in design.outer.items()}
        typical = {name: _typical(name, c, design, outer) for name, c in design.coefficients.items()}
        if design.sines is None:
            _independent_points(design, outer, typical)
        else:
            _collapsed_runs(design, design.sines, outer, typical)
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


def _independent_points(design: Design, outer: dict[str, Any], typical: dict[str, Any]) -> None:
    """Every run's coefficients are parameters, every point is one normal observation."""
    theta = [_own(name, c, design, outer, typical[name]) for name, c in design.coefficients.items()]
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


def _collapsed_runs(design: Design, basis: Sines, outer: dict[str, Any], typical: dict[str, Any]) -> None:
    """Each run is one multivariate normal observation: its own coefficients and discrepancy are in the covariance."""
    d, se, here, y = pad(design, design.y[:, None])
    phi = _basis(design, outer)
    padded = [pt.set_subtensor(pt.zeros(d.shape)[np.nonzero(here)], column) for column in phi]
    sines = basis.columns(d) * here[..., None]
    mean = typical["alpha"][:, None] * padded[0] + typical["beta"][:, None] * padded[1]
    prior_sd = pt.sqrt(_spectral(basis, outer["lengthscale"]))
    for name, weight in (("shared", np.ones_like(design.x)), ("trend", design.x)):
        amplitude = outer.get("eta_shared" if name == "shared" else "eta_shared_trend")
        if amplitude is not None:
            raw = pm.Normal(f"delta_{name}_raw", dims="sine")
            delta = pm.Deterministic(f"delta_{name}", raw * amplitude * prior_sd, dims="sine")
            mean = mean + weight[:, None] * pt.dot(sines, delta)
    # Padded entries are observations of 0 with mean 0 and variance 1: a constant factor.
    noise = pt.where(here > 0, se**2 + outer["sigma"] ** 2, 1.0)
    covariance = noise[..., None] * np.eye(d.shape[1])
    for i, name in enumerate(design.coefficients):
        if f"{name}_sd_run" in outer:
            covariance = covariance + outer[f"{name}_sd_run"] ** 2 * padded[i][:, :, None] * padded[i][:, None, :]
    if "eta_run" in outer:
        scaled = sines * (outer["eta_run"] * prior_sd)
        covariance = covariance + scaled @ pt.matrix_transpose(scaled)
    pm.MvNormal("gold", mean, cov=covariance, observed=y[..., 0])


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


def _with_runs(design: Design, posterior: xr.Dataset, seed: int) -> xr.Dataset:
    """Draw the runs' own coefficients and discrepancies that `_collapsed_runs` integrated out."""
    if design.sines is None:
        return posterior
    model = LinearModel(design)
    stacked = {name: posterior[name].values.reshape(-1, *posterior[name].shape[2:]) for name in posterior.data_vars}
    coef = np.concatenate([stacked[name] for name in model.global_names], axis=1)
    v = np.zeros((len(coef), len(design.rm), model.width))
    for i, name in enumerate(design.coefficients):
        v[..., i] = stacked.get(f"{name}_rm", 0.0)
    h = {name: stacked[name] for name in model.names}
    theta = model.draw_runs(h, coef, v, np.random.default_rng([seed, 2]))
    shape = (posterior.sizes["chain"], posterior.sizes["draw"])
    drawn = {name: (("chain", "draw", *dims), x.reshape(*shape, *x.shape[1:])) for name, (dims, x) in theta.items()}
    return posterior.assign(drawn)


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

"""The exact engine: what is Gaussian is integrated out in closed form, the few outer parameters are sampled.

Given the outer parameters (noise, scatter, discrepancy scales, gamma) a card with identity links is one Gaussian linear
model. Its marginal likelihood costs a few small Cholesky factorisations a run. Adaptive importance sampling draws the
outer parameters, and the coefficients follow from their Gaussian conditionals: independent draws of the exact joint
posterior, and the marginal likelihood besides.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from goldpeak.design import Design
from goldpeak.engines import importance
from goldpeak.engines.linear_model import LinearModel, as_dataset
from goldpeak.engines.threads import one_thread_each
from goldpeak.errors import FitError

__all__ = ["Draws", "refusal", "sample", "sample_outer"]

Array = NDArray[np.float64]
LogDensity = Callable[[Array], Array]

MANY_RUNS = 20
"""From so many runs on the proposal is first shaped with half of the sines."""


@dataclass(frozen=True)
class Draws:
    """What the exact engine returns.

    Attributes
    ----------
    posterior, sample_stats : xarray.Dataset
        In standardised units, dims (chain, draw, ...).
    khat, ess : float
        Pareto shape and effective number of the outer draws.
    log_marginal_likelihood, log_marginal_likelihood_se : float
        Of the standardised data; the second is its Monte Carlo error.
    """

    posterior: xr.Dataset
    sample_stats: xr.Dataset
    khat: float
    ess: float
    log_marginal_likelihood: float
    log_marginal_likelihood_se: float


def refusal(design: Design) -> str | None:
    """Why this engine cannot run a design, or None if it can."""
    if design.shape:
        return "in peak coordinates a curve is not linear in its coefficients"
    if design.card.noise.kind == "student_t":
        return "noise 'student_t' is not Gaussian"
    named = " and ".join(design.logged)
    return f"{named} has link 'log': not linear in its Gaussian terms" if named else None


def sample(design: Design, *, seed: int, draws: int = 1000, chains: int = 4) -> Draws:
    """Draw independently from the posterior of a design.

    Parameters
    ----------
    design : Design
    seed : int
    draws, chains : int
        ``draws * chains`` draws are made; the chains only give them the same shape as the other engine's.

    Returns
    -------
    Draws
        Look at ``khat`` and ``ess`` before use: below 0.7 and above 400.

    Raises
    ------
    FitError
        If the card is not conditionally Gaussian, or the data are too ill-conditioned.
    """
    reason = refusal(design)
    if reason:
        other = "laplace_is" if design.shape else "nuts"
        raise FitError(f"engine 'exact' cannot run card {design.card.name!r}: {reason}; use engine={other!r}")
    rng = np.random.default_rng(seed)
    model = LinearModel(design)
    with one_thread_each():
        found = sample_outer(model, rng, draws * chains)
        index = importance.resample(found.weights, draws * chains, rng)
        variables = model.draw(model.outer(found.z), index, rng)
    posterior = as_dataset(variables, design.coords, chains, draws)
    weight = as_dataset({"log_weight": ((), np.log(found.weights[index]))}, {}, chains, draws)
    return Draws(posterior, weight, found.khat, found.ess, found.log_z, found.log_z_se)


def sample_outer(
    model: LinearModel, rng: np.random.Generator, total: int, counted: LogDensity | None = None
) -> importance.Weighted:
    """Weighted draws of the outer parameters' coordinates z, enough for `total` draws of the rest.

    `counted` as in `importance.sample`.
    """
    design = model.design
    coarse = LinearModel(design.with_fewer_sines()) if len(design.run) >= MANY_RUNS and design.sines else None
    return importance.sample(
        model.log_density,
        len(model.names),
        rng,
        target_ess=max(1000.0, total / 4),
        rough=(coarse or model).rough(),
        near=coarse.log_density if coarse else None,
        counted=counted,
    )

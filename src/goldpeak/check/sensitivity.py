"""Does the peak hang on the prior or on the data? Power-scaling of both.

The prior, or the likelihood, is raised to a power a little off 1 by reweighting the posterior's draws, and the distance
between the reweighted and the plain distribution of the peak is divided by the change of the power's logarithm
(Kallioinen, Paananen, Bürkner & Vehtari 2024, doi:10.1007/s11222-023-10366-5). Only the priors that a card states are
scaled, those of trends, scatter, discrepancy, shape and noise: the distributions of runs given these are the model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from goldpeak.check.standard import Flat, by_card, in_standard_units
from goldpeak.curves import Include
from goldpeak.design import Design
from goldpeak.engines.importance import finish
from goldpeak.errors import FitError
from goldpeak.mixture import is_mixture, weights_of
from goldpeak.names import RUN
from goldpeak.peaks import kl_limit, peak
from goldpeak.priors import LKJ, HalfNormal, LogNormal, Normal, Prior

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Sensitivity", "log_prior", "sensitivity"]

Array = NDArray[np.float64]
Rows = NDArray[np.int64]

SCALED = ("prior", "likelihood")
"""What is scaled as a whole, beside the priors by group."""
ALPHAS = (0.99, 1.01)
"""Powers for the distances, which are a derivative: ArviZ's."""
WEAK, STRONG = 0.8, 1.25
"""Powers of the prior for the medians: as far as reweighting goes well."""
NOTABLE = 0.05
"""Distance per doubling from which on a distribution counts as sensitive (Kallioinen et al. 2024, section 3.3)."""


@dataclass(frozen=True)
class Sensitivity:
    """How the peak answers to the priors and to the data.

    Attributes
    ----------
    table : pandas.DataFrame
        One row for each run or size: the distance per doubling for all priors together (``prior``), for the
        ``likelihood``, and for the groups of priors ``trend``, ``scatter``, ``discrepancy``, ``shape`` and ``noise``;
        ``median`` of the peak (nats), and ``median_weak_prior`` and ``median_strong_prior`` with the priors to the
        powers 0.8 and 1.25, and ``pareto_k``, the worse of the two's weights (of a mixture, of its worst card);
        ``diagnosis``. A group that a card does not have is not scaled there.
    sentences : tuple of str
        For each kind of diagnosis one.
    by_card : dict of str to Sensitivity
        Of a mixture, each card by itself; else empty.
    weights : dict of str to float
        Their weights.

    Examples
    --------
    >>> import goldpeak
    >>> found = goldpeak.sensitivity(goldpeak.fit(goldpeak.datasets.lab("rl"), "rl_paper", draws=250), [1e5])
    >>> found.table["diagnosis"].tolist()
    ['data']
    """

    table: pd.DataFrame
    sentences: tuple[str, ...]
    by_card: Mapping[str, Sensitivity] = field(default_factory=dict)
    weights: Mapping[str, float] = field(default_factory=dict)


def sensitivity(
    post: xr.DataTree,
    rm_params: Sequence[float] | None = None,
    *,
    include: Include = "new_run",
    kl_max: float | None = None,
) -> Sensitivity:
    """Power-scaling sensitivity of ``kl_peak`` to the priors and to the likelihood.

    Parameters
    ----------
    post : xarray.DataTree
        As returned by `fit`, of one card or of several combined.
    rm_params : sequence of float, optional
        Sizes; without it, the observed runs.
    include : {"typical", "new_rm", "new_run"}
        What a prediction at a size includes.
    kl_max : float, optional
        See `peak`. A peak beyond it counts as at its end: the distance is on d = sqrt(KL) between 0 and there.

    Returns
    -------
    Sensitivity

    Raises
    ------
    FitError
        If it is no posterior, or the sizes cannot be predicted.

    Notes
    -----
    Of a mixture the draws of every card are reweighted among themselves, and the cards keep their weights. Under
    Bayesian model averaging these would move with the evidence; here they come from predictions of larger runs by fits
    to smaller ones, and how a power of the priors would change those the posterior cannot tell.

    Examples
    --------
    >>> import goldpeak
    >>> post = goldpeak.fit(goldpeak.datasets.lab("rl"), "rl_paper", draws=250)
    >>> goldpeak.sensitivity(post, [1e5]).sentences
    ('100000 parameters: the peak is known from the data; the priors matter little.',)
    """
    cards = by_card(post)
    limit = kl_limit(post, kl_max)
    densities = {name: _densities(each) for name, (_, each) in cards.items()}
    found = _of_draws(post, list(densities.values()), rm_params, include, limit)
    if len(cards) == 1:
        return found
    alone = {name: _of_draws(each, [densities[name]], rm_params, include, limit) for name, (_, each) in cards.items()}
    return replace(found, by_card=alone, weights={name: weight for name, (weight, _) in cards.items()})


def _densities(post: xr.DataTree) -> dict[str, Array]:
    """Log densities at the draws of a posterior of one card, (draw,): of the priors by group, and what is scaled."""
    design, flat = in_standard_units(post)
    groups = log_prior(design, flat)
    likelihood = post["log_likelihood"].to_dataset()["gold_run"].sum(RUN).values.ravel()
    return {"prior": sum(groups.values(), np.zeros(len(likelihood))), "likelihood": likelihood, **groups}


def _of_draws(
    post: xr.DataTree,
    densities: Sequence[dict[str, Array]],
    rm_params: Sequence[float] | None,
    include: Include,
    limit: float,
) -> Sensitivity:
    """Of all draws of a posterior together; `densities` of each card that has weight."""
    import pandas as pd

    found = peak(post, rm_params, include=include, kl_max=limit)
    kl = found.draws["kl_peak"].values.reshape(-1, len(found.table))
    d = np.sqrt(np.minimum(kl, limit))
    origin = _origin(post)

    def weights(name: str, power: float) -> tuple[Array, float]:
        return _reweighted(origin, [each.get(name) for each in densities], power)

    groups = [name for name in dict.fromkeys(name for each in densities for name in each) if name not in SCALED]
    columns = {name: _distances(d, [weights(name, power)[0] for power in ALPHAS]) for name in (*SCALED, *groups)}
    table = pd.DataFrame(columns, index=found.table.index)
    if rm_params is not None:
        table.insert(0, "rm_params", found.table["rm_params"])
    table["median"] = found.table["median"]
    table["pareto_k"] = 0.0
    for name, power in (("median_weak_prior", WEAK), ("median_strong_prior", STRONG)):
        weight, khat = weights("prior", power)
        table[name] = np.quantile(kl, 0.5, axis=0, weights=weight, method="inverted_cdf")
        table["pareto_k"] = np.maximum(table["pareto_k"], khat)
    table["diagnosis"] = [_diagnosis(p, w) for p, w in zip(table["prior"], table["likelihood"], strict=True)]
    return Sensitivity(table, tuple(_sentences(table, groups)))


def _origin(post: xr.DataTree) -> list[tuple[Rows, Rows]]:
    """For each card that has weight: where its draws stand among all draws, and which of its own they are."""
    posterior = post["posterior"].to_dataset()
    if not is_mixture(post):
        every = np.arange(posterior.sizes["chain"] * posterior.sizes["draw"])
        return [(every, every)]
    component, row = (posterior[name].transpose("chain", "draw").values.ravel() for name in ("component", "row"))
    with_weight = [k for k, weight in enumerate(weights_of(post).values()) if weight > 0]
    return [(np.flatnonzero(component == k), row[component == k]) for k in with_weight]


def _reweighted(
    origin: Sequence[tuple[Rows, Rows]], log_densities: Sequence[Array | None], power: float
) -> tuple[Array, float]:
    """Weights of all draws with densities to that power, each card's share as it was; and the worst Pareto k."""
    weights, worst = np.ones(sum(len(place) for place, _ in origin)), 0.0
    for (place, row), log_density in zip(origin, log_densities, strict=True):
        # A card of little weight may have no draw.
        if log_density is not None and len(place):
            of_card, khat = _weights(power, log_density)
            weights[place] = of_card[row] / of_card[row].mean()
            worst = max(worst, khat)
    return weights / weights.sum(), worst


def log_prior(design: Design, flat: Flat) -> dict[str, Array]:
    """Log density of the priors that a card states, by group, (draw,), at draws in standardised units."""
    found: dict[str, Array] = {}

    def add(group: str, values: Array) -> None:
        found[group] = found.get(group, np.zeros(len(flat["sigma"]))) + values

    for name, prior in design.outer.items():
        add(_group(name), _density(prior, flat[name]))
    for name, c in design.coefficients.items():
        fixed = ~c.drift
        # What drifts is given the drift's own sd: part of the model, not a prior.
        z = (flat[f"{name}_coef"][:, fixed] - c.mean[fixed]) / c.sd[fixed]
        add("trend", -0.5 * np.sum(z**2, axis=1))
    if design.shape:
        form = design.card.form
        for name, normal in (("gamma", form.gamma), ("gamma_slope", form.gamma_slope), ("bend", form.bend)):
            if normal is not None:
                add("shape", _density(normal, flat[name]))
    return found


def _group(name: str) -> str:
    if "_sd_rm" in name or "_sd_run" in name or name == "correlation":
        return "scatter"
    if name.endswith("_drift"):
        return "trend"
    if name.startswith("eta_") or name in ("lengthscale", "run_lengthscale"):
        return "discrepancy"
    return "shape" if name == "gamma" else "noise"


def _density(prior: Prior, x: Array) -> Array:
    """Log density up to a constant."""
    match prior:
        case Normal(mu, sigma):
            return -0.5 * ((x - mu) / sigma) ** 2
        case HalfNormal(sigma):
            return -0.5 * (x / sigma) ** 2
        case LogNormal(mu, sigma):
            log_x = np.log(np.maximum(x, np.finfo(float).tiny))
            return -log_x - 0.5 * ((log_x - mu) / sigma) ** 2
        case LKJ(eta):
            return (eta - 1.0) * np.log(np.maximum(1.0 - x**2, np.finfo(float).tiny))
    raise FitError(f"no density for prior {prior!r}")


def _weights(power: float, log_density: Array) -> tuple[Array, float]:
    """Weights of the draws for a density to that power, and their Pareto k."""
    found = finish(np.empty((len(log_density), 0)), (power - 1.0) * log_density)
    return found.weights, found.khat


def _distances(d: Array, weights: Sequence[Array]) -> Array:
    """Distance per doubling of each column's distribution, the mean of both directions."""
    from arviz_stats.base import array_stats

    lower, upper = (each[None] for each in weights)

    def of(column: Array) -> float:
        return float(array_stats.power_scale_sense(column[None], lower, upper, ALPHAS[0], ALPHAS[1]))

    return np.array([of(column) if np.ptp(column) > 0 else 0.0 for column in d.T])


def _diagnosis(prior: float, likelihood: float) -> str:
    if prior < NOTABLE:
        return "data" if likelihood >= NOTABLE else "insensitive"
    return "conflict" if likelihood >= NOTABLE else "prior"


def _sentences(table: pd.DataFrame, groups: list[str]) -> list[str]:
    words = {
        "data": "the peak is known from the data; the priors matter little.",
        "insensitive": "neither the priors nor the data, made somewhat stronger or weaker, move the peak.",
        "prior": "the peak hangs on the priors: the data say little of it. State them with care, or measure more.",
        "conflict": "the peak moves with the priors and with the data: both count, and they may pull apart. Look at "
        "what the prior expects (goldpeak models CARD --prior).",
    }
    found = []
    for kind, text in words.items():
        rows = table[table["diagnosis"] == kind]
        if len(rows):
            most = f" Of the priors those of {rows[groups].mean().idxmax()} move it most."
            most = most if kind in ("prior", "conflict") else ""
            found.append(f"{_which(rows, len(table))}: {text}{most}")
    return found


def _which(rows: pd.DataFrame, total: int) -> str:
    if "rm_params" in rows:
        return ", ".join(f"{size:g}" for size in rows["rm_params"].head(5)) + " parameters"
    return f"{len(rows)} of {total} runs"

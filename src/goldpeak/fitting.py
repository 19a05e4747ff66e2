"""Fit a card to run curves: validate, sample, gate, stamp."""

from __future__ import annotations

import importlib
import json
import logging
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Literal, get_args

import numpy as np
import xarray as xr

from goldpeak.card import Card
from goldpeak.design import Design, make_design
from goldpeak.engines.propagated import propagate
from goldpeak.errors import ConvergenceWarning, FitError, problems_of_counts
from goldpeak.gates import Gates, check_chains, check_importance, warn_if_failed
from goldpeak.library import load_card
from goldpeak.likelihood import log_likelihood
from goldpeak.names import POINT, RUN, describe
from goldpeak.runs import digest
from goldpeak.stack import versions
from goldpeak.store import SCHEMA
from goldpeak.units import stamp_of, to_gold_units

__all__ = ["ENGINES", "Engine", "fast_engine", "fit"]

Engine = Literal["auto", "exact", "laplace_is", "nuts"]
ENGINES = get_args(Engine)
FAST = {
    "exact": "the card is Gaussian given its outer parameters",
    "laplace_is": "the card is in peak coordinates",
}
"""Engines that draw independently, and when ``auto`` takes them."""
STATS = ("diverging", "depth", "n_steps", "step_size", "energy", "logp")
_log = logging.getLogger(__name__)


def fit(
    runs: xr.Dataset,
    card: str | Path | Card,
    *,
    engine: Engine = "auto",
    seed: int = 0,
    draws: int = 1000,
    tune: int = 1000,
    chains: int = 4,
    kl_max: float | None = None,
) -> xr.DataTree:
    """Sample the posterior of a card given run curves.

    Parameters
    ----------
    runs : xarray.Dataset
        As returned by `read_runs`: runs of one method.
    card : str, path or Card
        Name of a shipped card, path of a TOML file, or a `Card`.
    engine, seed, draws, tune, chains, kl_max
        As for `automatic.fit`, which is `goldpeak.fit`.

    Returns
    -------
    xarray.DataTree
        Groups ``posterior`` (in the user's units of gold), ``sample_stats``, ``observed_data``, ``constant_data`` and
        ``log_likelihood`` (per run, and per point unless that would be huge); attributes ``card`` (TOML),
        ``card_hash``, ``data_digest``, ``engine``, ``seed``, ``versions``, ``gates``, the scales used and, from
        the first two engines, ``log_marginal_likelihood`` with its Monte Carlo error.

    Raises
    ------
    FitError
        If the runs and the card do not fit together, or an argument is out of range.
    CardError
        If there is no such card or it is not valid.

    Warns
    -----
    ConvergenceWarning
        If a gate fails. ``nuts``: R-hat < 1.01, bulk and tail ESS > 400, no divergences. The others: Pareto k < 0.7 and
        more than 400 effective draws.

    Notes
    -----
    Coefficients alpha and beta are per square-root nat: gold = d (alpha - beta f(d)) with d = sqrt(KL), after Gao,
    Schulman & Hilton 2022 (arXiv:2210.10760), section 3.

    Examples
    --------
    >>> import goldpeak
    >>> post = goldpeak.fit(goldpeak.datasets.lab("rl"), "rl_paper", draws=100)
    >>> post.attrs["engine"], post["posterior"]["alpha"].dims
    ('exact', ('chain', 'draw', 'run'))
    """
    card = load_card(card)
    if engine not in ENGINES:
        raise FitError(f"engine is {engine!r}; allowed: {', '.join(ENGINES)}")
    if problems := problems_of_counts(1, draws=draws, chains=chains) + problems_of_counts(0, tune=tune, seed=seed):
        raise FitError("; ".join(problems))
    _log.info("fitting card %s to %d runs, %d points", card.name, runs.sizes[RUN], runs.sizes[POINT])
    design = propagate(make_design(runs, card, kl_max=kl_max))
    found = _sample(design, engine, seed=seed, draws=draws, tune=tune, chains=chains)
    _log.info("engine %s: %s", found.engine, found.gates.summary())
    post = _assemble(runs, design, found)
    post.attrs |= _stamp(runs, design, found, seed)
    warn_if_failed(found.gates)
    return post


def fast_engine(card: Card) -> Engine:
    """The engine that draws independently and is made for a card's coordinates; it may still refuse the card.

    Examples
    --------
    >>> fast_engine(load_card("rl")), fast_engine(load_card("similar"))
    ('exact', 'laplace_is')
    """
    return "laplace_is" if card.coordinates == "peak" else "exact"


@dataclass(frozen=True)
class _Sampled:
    """What an engine made of a design."""

    posterior: xr.Dataset
    stats: xr.Dataset
    gates: Gates
    engine: str
    reason: str
    extra: dict[str, float] = field(default_factory=dict)


def _sample(design: Design, engine: Engine, *, seed: int, draws: int, tune: int, chains: int) -> _Sampled:
    fast = fast_engine(design.card)
    why = "asked for" if engine != "auto" else FAST[fast]
    refused = _fast(fast).refusal(design) if engine == "auto" else None
    if engine in FAST or (engine == "auto" and refused is None):
        found = _independent(engine if engine in FAST else fast, design, why, seed, draws, chains)
        if engine != "auto" or found.gates.passed:
            return found
        refused = f"the gate of engine {fast!r} failed: {'; '.join(found.gates.failures)}"
        warnings.warn(f"{refused}; falling back to nuts, which is slower", ConvergenceWarning, stacklevel=3)
    return _nuts(design, refused or why, seed, draws, tune, chains)


def _fast(name: str) -> ModuleType:
    """An engine that draws independently."""
    return importlib.import_module(f"goldpeak.engines.{name}")


def _independent(name: str, design: Design, reason: str, seed: int, draws: int, chains: int) -> _Sampled:
    _log.info("engine %s samples (%s)", name, reason)
    found = _fast(name).sample(design, seed=seed, draws=draws, chains=chains)
    extra = {
        # In the user's units of gold the density of the data is lower by scale to the number of points.
        "log_marginal_likelihood": found.log_marginal_likelihood - len(design.y) * float(np.log(design.scale)),
        "log_marginal_likelihood_se": found.log_marginal_likelihood_se,
    }
    gates = check_importance(found.khat, found.ess)
    return _Sampled(found.posterior, found.sample_stats, gates, name, reason, extra)


def _nuts(design: Design, reason: str, seed: int, draws: int, tune: int, chains: int) -> _Sampled:
    from goldpeak.engines import nuts

    logging.getLogger(nuts.__name__).info("engine nuts compiles and samples (%s)", reason)
    posterior, stats = nuts.sample(design, seed=seed, draws=draws, tune=tune, chains=chains)
    gates = check_chains(posterior, stats["diverging"])
    return _Sampled(posterior, stats[[v for v in STATS if v in stats]], gates, "nuts", reason)


def _assemble(runs: xr.Dataset, design: Design, found: _Sampled) -> xr.DataTree:
    # First, for it needs the posterior in standardised units.
    likelihood = log_likelihood(design, found.posterior)
    groups = {
        "posterior": describe(_without_attrs(to_gold_units(found.posterior, design, overwrite=True))),
        "sample_stats": _without_attrs(found.stats),
        "observed_data": runs[["gold"]],
        "constant_data": runs.drop_vars("gold"),
        "log_likelihood": likelihood,
    }
    return xr.DataTree.from_dict(groups)


def _without_attrs(data: xr.Dataset) -> xr.Dataset:
    """The sampling libraries stamp times and settings, which would make equal posteriors differ on disk."""
    data = data.copy()
    data.attrs = {}
    return data


def _stamp(runs: xr.Dataset, design: Design, found: _Sampled, seed: int) -> dict[str, str | int | float]:
    return {
        "goldpeak_schema": SCHEMA,
        "card_name": design.card.name,
        "card_hash": design.card.hash(),
        "data_digest": digest(runs),
        "engine": found.engine,
        "engine_reason": found.reason,
        "seed": int(seed),
        "versions": json.dumps(versions()),
        "gates": found.gates.to_json(),
        **stamp_of(design),
        **found.extra,
    }

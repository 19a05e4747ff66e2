"""Fit a card to run curves: validate, sample, gate, stamp."""

from __future__ import annotations

import importlib.metadata
import json
import platform
from pathlib import Path
from typing import Literal

import numpy as np
import xarray as xr

from goldpeak.card import Card
from goldpeak.design import Design, make_design, to_gold_units
from goldpeak.errors import FitError
from goldpeak.gates import Gates, check_chains, warn_if_failed
from goldpeak.library import load_card
from goldpeak.names import POINT, RUN_INDEX, describe
from goldpeak.runs import digest
from goldpeak.store import SCHEMA

__all__ = ["Engine", "fit"]

Engine = Literal["nuts"]
STATS = ("diverging", "depth", "n_steps", "step_size", "energy", "logp")
STACK = ("goldpeak", "pymc", "nutpie", "arviz", "numpy", "scipy", "xarray")


def fit(
    runs: xr.Dataset,
    card: str | Path | Card,
    *,
    engine: Engine = "nuts",
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
    engine : {"nuts"}
        Which sampler; never chosen by what happens to be installed.
    seed : int
        Same seed, same engine, same answer.
    draws, tune, chains : int
        Draws kept per chain, tuning draws per chain, number of chains.
    kl_max : float, optional
        Largest KL (nats) that will be asked about; twice the largest observed by default.

    Returns
    -------
    xarray.DataTree
        Groups ``posterior`` (in the user's units of gold), ``sample_stats``, ``observed_data``, ``constant_data`` and
        ``log_likelihood``; attributes ``card`` (TOML), ``card_hash``, ``data_digest``, ``engine``, ``seed``,
        ``versions``, ``gates`` and the scales used.

    Raises
    ------
    FitError
        If the runs and the card do not fit together, or an argument is out of range.
    CardError
        If there is no such card or it is not valid.

    Warns
    -----
    ConvergenceWarning
        If a gate fails: R-hat < 1.01, bulk and tail ESS > 400, no divergences.

    Notes
    -----
    Coefficients alpha and beta are per square-root nat: gold = d (alpha - beta f(d)) with d = sqrt(KL), after Gao,
    Schulman & Hilton 2022 (arXiv:2210.10760), section 3.
    """
    card = load_card(card)
    if engine != "nuts":
        raise FitError(f"engine is {engine!r}; allowed: nuts")
    _refuse_counts(draws=draws, tune=tune, chains=chains)
    limit = _kl_limit(runs, kl_max)
    design = make_design(runs, card)

    from goldpeak.engines import nuts

    posterior, stats = nuts.sample(design, seed=seed, draws=draws, tune=tune, chains=chains)
    posterior = posterior.drop_vars([v for v in posterior.data_vars if str(v).endswith("_raw")])
    gates = check_chains(posterior, stats["diverging"])
    post = _assemble(runs, design, posterior, stats[[v for v in STATS if v in stats]])
    post.attrs |= _stamp(runs, design, gates, engine, seed, limit)
    warn_if_failed(gates)
    return post


def _refuse_counts(**counts: int) -> None:
    for name, value in counts.items():
        least = 0 if name == "tune" else 1
        if not (isinstance(value, int | np.integer) and value >= least):
            raise FitError(f"{name} is {value!r}; allowed: a whole number >= {least}")


def _kl_limit(runs: xr.Dataset, kl_max: float | None) -> float:
    largest = float(runs["kl"].max())
    if kl_max is None:
        return 2.0 * largest
    if not (np.isfinite(kl_max) and kl_max >= largest):
        raise FitError(f"kl_max is {kl_max}; allowed: a finite number of nats >= {largest:g}, the largest KL observed")
    return float(kl_max)


def _assemble(runs: xr.Dataset, design: Design, posterior: xr.Dataset, stats: xr.Dataset) -> xr.DataTree:
    groups = {
        "posterior": describe(_without_attrs(to_gold_units(posterior, design))),
        "sample_stats": _without_attrs(stats),
        "observed_data": runs[["gold"]],
        "constant_data": runs.drop_vars("gold"),
        "log_likelihood": _log_likelihood(design, posterior),
    }
    return xr.DataTree.from_dict(groups)


def _without_attrs(data: xr.Dataset) -> xr.Dataset:
    """The sampling libraries stamp times and settings, which would make equal posteriors differ on disk."""
    data = data.copy()
    data.attrs = {}
    return data


def _log_likelihood(design: Design, posterior: xr.Dataset) -> xr.Dataset:
    """Log density of every point in the user's units of gold, dims (chain, draw, point)."""
    phi = design.form.basis(design.d)
    alpha, beta = (posterior[name].transpose("chain", "draw", "run").values for name in ("alpha", "beta"))
    curve = alpha[..., design.run_index] * phi[:, 0] + beta[..., design.run_index] * phi[:, 1]
    variance = design.se**2 + posterior["sigma"].values[..., None] ** 2
    density = -0.5 * (np.log(2 * np.pi * variance) + (design.y - curve) ** 2 / variance) - np.log(design.scale)
    coords = {"chain": posterior["chain"], "draw": posterior["draw"], RUN_INDEX: (POINT, design.run_index)}
    return xr.Dataset({"gold": (("chain", "draw", POINT), density)}, coords=coords)


def _stamp(
    runs: xr.Dataset, design: Design, gates: Gates, engine: str, seed: int, kl_max: float
) -> dict[str, str | int | float]:
    versions = {name: importlib.metadata.version(name) for name in STACK} | {"python": platform.python_version()}
    return {
        "goldpeak_schema": SCHEMA,
        "card": design.card.to_toml(),
        "card_name": design.card.name,
        "card_hash": design.card.hash(),
        "data_digest": digest(runs),
        "engine": engine,
        "seed": int(seed),
        "versions": json.dumps(versions),
        "gates": gates.to_json(),
        "gold_scale": design.scale,
        "n0": design.n0,
        "kl_max": kl_max,
    }

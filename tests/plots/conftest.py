"""Posteriors made by hand, as `fit` would return them: no sampler, so that pictures are tested in milliseconds."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from goldpeak.design import centred_log_size
from goldpeak.library import load_card
from goldpeak.names import describe
from goldpeak.runs import digest, read_runs
from goldpeak.store import SCHEMA

ALPHA, BETA, SLOPE = 0.55, 0.22, -0.025
"""Truth: peak at KL exp(2 (alpha / beta - 1)), about 20 at the middle size and more at larger ones."""
PROXY = 0.5
"""Slope of the proxy reward in √KL, of all runs."""


def fake_runs(
    sizes: list[float], *, points: int = 20, gold_se: bool = True, kl_top: float = 60.0, name: str = "run{:03d}"
) -> xr.Dataset:
    """One run for each entry of `sizes` under the paper's RL form, with noise."""
    rng = np.random.default_rng(len(sizes))
    _, x = centred_log_size(sizes)
    kl = np.geomspace(0.3, kl_top, points)
    d = np.sqrt(kl)
    rows = []
    for i, size in enumerate(sizes):
        beta = BETA + SLOPE * x[i] + 0.008 * rng.standard_normal()
        gold = d * (ALPHA - beta * np.log(d)) + 0.03 * rng.standard_normal(points)
        row = {"run": name.format(i), "rm_params": size, "kl": kl, "gold": gold, "proxy": PROXY * d + 0.2}
        rows.append(pd.DataFrame(row))
    table = pd.concat(rows, ignore_index=True)
    return read_runs(table.assign(gold_se=0.03) if gold_se else table)


def fake_posterior(
    sizes: list[float],
    *,
    draws: int = 250,
    chains: int = 4,
    width: float = 1.0,
    kl_max: float | None = None,
    **kwargs: object,
) -> xr.DataTree:
    """A DataTree with the groups, names, dims and attributes of `fit`; draws scatter about the truth by `width`."""
    runs, card = fake_runs(sizes, **kwargs), load_card("rl_paper")  # type: ignore[arg-type]
    n0, x = centred_log_size(runs["rm_params"].values)
    rng = np.random.default_rng(1)

    def scatter(centre: np.ndarray | list[float], sd: np.ndarray | list[float]) -> np.ndarray:
        shape = (chains, draws, len(centre))
        return np.asarray(centre) + width * np.asarray(sd) * rng.standard_normal(shape)

    count = len(sizes)
    posterior = xr.Dataset(
        {
            "alpha_coef": (("chain", "draw", "alpha_term"), scatter([ALPHA], [0.01])),
            "beta_coef": (("chain", "draw", "beta_term"), scatter([BETA, SLOPE], [0.005, 0.004])),
            "alpha": (("chain", "draw", "run"), scatter(np.full(count, ALPHA), np.full(count, 0.01))),
            "beta": (("chain", "draw", "run"), scatter(BETA + SLOPE * x, np.full(count, 0.008))),
            "alpha_sd_run": (("chain", "draw"), np.full((chains, draws), 0.01 * width)),
            "beta_sd_run": (("chain", "draw"), np.full((chains, draws), 0.01 * width)),
            "sigma": (("chain", "draw"), np.full((chains, draws), 0.03)),
        },
        coords={
            "chain": np.arange(chains),
            "draw": np.arange(draws),
            "run": runs["run"].values,
            "alpha_term": ["intercept"],
            "beta_term": ["intercept", "slope"],
        },
    )
    post = xr.DataTree.from_dict(
        {
            "posterior": describe(posterior),
            "sample_stats": xr.Dataset({"diverging": (("chain", "draw"), np.zeros((chains, draws), bool))}),
            "observed_data": runs[["gold"]],
            "constant_data": runs.drop_vars("gold"),
        }
    )
    post.attrs |= {
        "goldpeak_schema": SCHEMA,
        "card": card.to_toml(),
        "card_name": card.name,
        "card_hash": card.hash(),
        "data_digest": digest(runs),
        "engine": "nuts",
        "seed": 0,
        "gold_scale": 1.0,
        "n0": n0,
        "kl_max": 2.0 * float(runs["kl"].max()) if kl_max is None else kl_max,
    }
    return post


def sizes_of(count: int) -> list[float]:
    """1 run; 9 runs of 9 sizes; 200 runs of 20 sizes."""
    if count == 200:
        return np.repeat(np.geomspace(1e6, 1e9, 20), 10).tolist()
    return np.geomspace(1e6, 1e9, count).tolist()


@pytest.fixture
def posterior() -> Callable[..., xr.DataTree]:
    return fake_posterior


@pytest.fixture(scope="session")
def nine() -> xr.DataTree:
    return fake_posterior(sizes_of(9))


LONG_NAME = "a-rather-long-run-name/with/slashes_seed{:04d}_lr1e-5"


@pytest.fixture(scope="session", params=[1, 9, 200, LONG_NAME], ids=lambda n: f"{n}_runs" if n != LONG_NAME else "long")
def any_count(request: pytest.FixtureRequest) -> xr.DataTree:
    if request.param == LONG_NAME:
        return fake_posterior(sizes_of(200), name=LONG_NAME)
    return fake_posterior(sizes_of(request.param))

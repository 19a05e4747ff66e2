"""Runs of four sizes fitted with two cards, and their mixture; refits are kept in a folder of the tests' own."""

from __future__ import annotations

import joblib
import numpy as np
import pytest
import simulate
import xarray as xr

import goldpeak

CARDS = ("rl_paper", "bon_paper")


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """Refits are shared by all that ask for this, touch no user's cache, and start no processes."""
    folder = tmp_path_factory.getbasetemp() / "refits"
    with pytest.MonkeyPatch.context() as patch, joblib.parallel_config(n_jobs=1):
        patch.setenv("GOLDPEAK_CACHE", str(folder))
        yield


@pytest.fixture(scope="module")
def runs() -> xr.Dataset:
    sizes = (1e6, 4e6, 1.6e7, 6.4e7)
    return simulate.runs(np.random.default_rng(3), sizes=sizes, noise=0.01, runs_per_size=3)


@pytest.fixture(scope="module")
def posts(runs) -> list[xr.DataTree]:
    return [goldpeak.fit(runs, card, draws=250, seed=1) for card in CARDS]


@pytest.fixture(scope="module")
def mixed(cache, posts) -> xr.DataTree:
    return goldpeak.combine(posts)

"""Predicted gold: dims, values and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import simulate
import xarray as xr

import goldpeak
from goldpeak.curves import new_curves, observed_curves
from goldpeak.errors import FitError


@pytest.fixture(scope="module")
def post() -> xr.DataTree:
    runs = simulate.runs(np.random.default_rng(0), points=6, kl_max=40.0)
    return goldpeak.fit(runs, "rl", engine="exact", draws=50, chains=3)


def test_observed_runs(post: xr.DataTree) -> None:
    found = goldpeak.predict(post, [0.0, 1.0, 80.0])
    assert found["gold"].dims == ("chain", "draw", "run", "kl")
    assert found["gold"].shape == (3, 50, 6, 3)
    assert found["kl"].values.tolist() == [0.0, 1.0, 80.0]
    assert found["run"].values.tolist() == post["posterior"]["run"].values.tolist()
    assert (found["gold"].attrs["units"], found["kl"].attrs["units"]) == ("gold", "nat")
    np.testing.assert_array_equal(found["gold"].values, observed_curves(post).gold(np.sqrt([0.0, 1.0, 80.0])))
    assert np.all(found["gold"].sel(kl=0.0) == 0)


def test_new_sizes(post: xr.DataTree) -> None:
    found = goldpeak.predict(post, 4.0, rm_params=[1e6, 1e9], include="new_rm", seed=5)
    assert found["gold"].dims == ("chain", "draw", "rm_params", "kl")
    assert found["rm_params"].values.tolist() == [1e6, 1e9]
    wanted = new_curves(post, [1e6, 1e9], include="new_rm", seed=5).gold([2.0])
    np.testing.assert_array_equal(found["gold"].values, wanted)


@pytest.mark.parametrize(
    ("kl", "message"),
    [
        ([], "kl holds nothing"),
        ([1.0, -1.0], "kl holds -1.0; allowed: finite numbers >= 0"),
        ([np.nan], "kl holds nan"),
        ([[1.0, 2.0]], r"kl has shape \(1, 2\); allowed: one KL"),
        ([np.inf], "kl holds inf"),
        ([81.0], "reaches only to 80 nats; fit again with kl_max=81"),
    ],
)
def test_bad_kl_is_refused(post: xr.DataTree, kl: list[float], message: str) -> None:
    with pytest.raises(FitError, match=message):
        goldpeak.predict(post, kl)

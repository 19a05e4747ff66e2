"""Gates pass what is good, fail what is not, and survive the way through a file."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import xarray as xr

from goldpeak.errors import ConvergenceWarning
from goldpeak.gates import Gates, check_chains, check_importance, gates_of, warn_if_failed


def chains(seed: int = 0, shift: float = 0.0, draws: int = 1000, memory: float = 0.0) -> xr.Dataset:
    noise = np.random.default_rng(seed).standard_normal((2, 4, draws))
    for t in range(1, draws):
        noise[..., t] = memory * noise[..., t - 1] + np.sqrt(1 - memory**2) * noise[..., t]
    noise[1, 0] += shift
    return xr.Dataset({"a": (("chain", "draw"), noise[0]), "b": (("chain", "draw", "k"), noise[1][..., None])})


def diverging(count: int) -> xr.DataArray:
    return xr.DataArray(np.arange(4000).reshape(4, 1000) < count, dims=("chain", "draw"))


def test_good_chains_pass() -> None:
    gates = check_chains(chains(), diverging(0))
    assert gates.passed
    assert gates.measured["rhat_max"] == pytest.approx(1.0, abs=0.005)
    assert gates.measured["ess_bulk_min"] > 3000


def test_the_worst_variable_counts() -> None:
    gates = check_chains(chains(shift=1.0), diverging(0))
    assert not gates.passed
    assert any(text.startswith("R-hat reaches 1.") for text in gates.failures)


def test_slow_chains_fail_by_their_effective_size() -> None:
    gates = check_chains(chains(memory=0.98), diverging(0))
    assert any(text.startswith("bulk effective sample size falls to") for text in gates.failures)
    assert any(text.startswith("tail effective sample size falls to") for text in gates.failures)


def test_one_divergence_fails() -> None:
    gates = check_chains(chains(), diverging(1))
    assert gates.failures == ("1 divergent transitions; wanted: none",)


def test_nan_fails() -> None:
    broken = chains()
    broken["a"][0, 0] = np.nan
    assert not check_chains(broken, diverging(0)).passed
    assert not check_importance(np.nan, 1000.0).passed
    assert not check_importance(0.1, np.nan).passed


def test_a_constant_is_not_a_chain_that_is_stuck() -> None:
    data = chains().assign(c=(("chain", "draw"), np.ones((4, 1000))))
    assert check_chains(data, diverging(0)).passed


@pytest.mark.parametrize(("khat", "ess", "failures"), [(0.69, 401, 0), (0.7, 401, 1), (0.2, 400, 1), (np.inf, 1, 2)])
def test_importance_limits(khat: float, ess: float, failures: int) -> None:
    assert len(check_importance(khat, ess).failures) == failures


def test_failures_are_loud_and_passes_silent() -> None:
    with pytest.warns(ConvergenceWarning, match=r"do not trust these numbers: Pareto k is 0.90"):
        warn_if_failed(check_importance(0.9, 1000))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_if_failed(check_importance(0.1, 1000))


def test_gates_are_stored_and_read() -> None:
    gates = check_importance(0.9, 300.0)
    tree = xr.DataTree()
    tree.attrs["gates"] = gates.to_json()
    assert gates_of(tree) == gates
    assert gates.summary() == "gates FAILED: pareto_k 0.9, ess 300"
    assert Gates(True, {"ess": 1234.5678}).summary() == "gates passed: ess 1235"

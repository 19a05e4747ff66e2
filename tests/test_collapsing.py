"""Whether one shape, stretched, fits all sizes: what is said of simulated, digitised and published curves."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest
import simulate
import traces
import xarray as xr

import goldpeak
from goldpeak import collapsing
from goldpeak.collapsing import collapse
from goldpeak.errors import FitError
from goldpeak.shapes import shape_at


def test_a_card_on_coefficients_is_refused():
    told = "card 'rl_paper' has coordinates 'coefficients', collapse needs 'peak': "
    with pytest.raises(FitError) as refused:
        collapse(goldpeak.fit(simulate.runs(np.random.default_rng(0)), "rl_paper", draws=50))
    assert str(refused.value) == told + "fit the runs with card 'similar', or give collapse the run curves themselves"
    with pytest.raises(FitError) as refused:
        collapse(simulate.runs(np.random.default_rng(0)), "rl_paper")
    assert str(refused.value) == told + "take card 'similar'"


@pytest.mark.parametrize("data", [None, "fit.nc", xr.DataTree()], ids=["nothing", "a path", "a bare tree"])
def test_what_is_neither_posterior_nor_runs_is_refused(data):
    with pytest.raises(FitError, match=f"what fit or read_runs returned; found {type(data).__name__} without a card"):
        collapse(data)


def stretched_table(gammas: tuple[float, ...], runs_per_size: int = 3) -> pd.DataFrame:
    """Runs of one size per gamma, with the same scatter of place and height."""
    rng = np.random.default_rng(0)
    rows = []
    for i, gamma in enumerate(gammas):
        for k in range(runs_per_size):
            kl = np.geomspace(0.1, 30.0, 14)
            place, height = 2.4 * np.exp(0.1 * i + 0.05 * rng.standard_normal(2)), np.exp(0.1 * i)
            gold = height * shape_at(np.sqrt(kl) / place[0], gamma) + 0.01 * rng.standard_normal(14)
            size = 10.0 ** (6 + i)
            rows.append(pd.DataFrame({"run": f"{i}-{k}", "rm_params": size, "kl": kl, "gold": gold, "gold_se": 0.01}))
    return pd.concat(rows)


def test_one_shape_for_all_sizes_is_told_from_one_that_drifts():
    same = collapse(goldpeak.read_runs(stretched_table((0.6,) * 3, runs_per_size=2)))
    drifting = collapse(goldpeak.read_runs(stretched_table((0.0, 0.6, 1.2))))
    assert same.explained.lo > 0.95
    assert 0.02 < same.p_value < 0.99
    assert same.gamma_slope is not None
    assert abs(same.gamma_slope.median) < 0.02
    assert drifting.gamma_slope is not None
    assert drifting.gamma_slope.lo > 0.1
    assert drifting.p_gamma_rises > 0.99
    assert drifting.p_value < 0.02
    assert same.p_value > drifting.p_value
    assert "posterior predictive p-value" in same.summary()
    np.testing.assert_allclose(same.shape["median"].to_numpy()[1:30], same.shape["rl"].to_numpy()[1:30], atol=0.2)


def test_one_size_has_no_drift_and_says_so():
    runs = simulate.runs(np.random.default_rng(0), sizes=(1e6,), runs_per_size=3, points=8)
    found = collapse(runs)
    assert np.isnan(found.p_value)
    assert found.gamma_slope is None
    assert np.isnan(found.p_gamma_rises)
    assert np.isfinite(found.explained.median)
    assert len(found.points) == 24
    said = "one size: no test whether the shape moves with size, and no drift of gamma to estimate"
    assert found.gaps == (said,)
    assert found.summary().splitlines()[-1] == said


def drawn(**fleet):
    """Curves and the one draw that made them, in the place of a posterior: a fit of such runs takes long."""
    return goldpeak.simulate("similar", goldpeak.Fleet(**fleet), seed=1).truth


def test_one_run_has_nothing_to_be_compared_with_and_says_so():
    found = collapse(drawn(rm_params=(1e6,)), drift=False)
    assert np.isnan([found.explained.median, found.explained.lo, found.explained.hi, found.p_value]).all()
    assert found.gaps[0].startswith("one run: ")
    assert "nan" not in found.summary()


def test_two_runs_have_no_p_value():
    """A line through two own parts explains all of their variance, in every draw."""
    found = collapse(drawn(rm_params=(1e6, 1e8)), drift=False)
    assert np.isnan(found.p_value)
    assert found.gaps[0].startswith("two runs: ")
    assert 0.0 < found.explained.hi <= 1.0


def test_runs_that_have_not_turned_over_are_drawn_up_to_the_peak():
    found = collapse(drawn(kl_min=0.01, kl_max=0.5), drift=False)
    assert found.points["u"].max() < 1.0
    assert found.shape["u"].iloc[-1] == 1.0
    assert np.isfinite(found.shape.to_numpy()).all()
    assert np.isfinite([found.explained.lo, found.explained.hi, found.p_value]).all()
    assert found.gaps[0].startswith("no run is seen at its peak")


def test_draws_in_parts_give_what_all_at_once_give(monkeypatch):
    post = goldpeak.fit(simulate.runs(np.random.default_rng(0)), "similar", draws=50)
    whole = collapse(post, drift=False).explained
    monkeypatch.setattr(collapsing, "AT_ONCE", 4 * 6 * collapsing.GRID * 7)
    parts = collapse(post, drift=False).explained
    np.testing.assert_allclose(dataclasses.astuple(parts), dataclasses.astuple(whole), rtol=1e-12)


def test_probability_out_of_range_is_refused():
    with pytest.raises(FitError, match="prob is 2"):
        collapse(simulate.runs(np.random.default_rng(0)), prob=2)


def assert_finite(found, runs):
    assert found.points["run"].nunique() == runs
    assert np.isfinite(found.points[["u", "gold"]].to_numpy()).all()
    assert np.isfinite(found.shape.to_numpy()).all()
    for interval in (found.explained, found.gamma, found.gamma_slope):
        assert interval.lo < interval.median < interval.hi
        assert interval.prob == 0.9
    assert 0.0 <= found.p_value <= 1.0
    assert 0.0 <= found.p_gamma_rises <= 1.0
    assert found.gaps == ()
    lines = found.summary().splitlines()
    assert [line.count("(90% eti)") for line in lines] == [1, 0, 1, 1]


@traces.needed
def test_the_digitised_curves_collapse():
    found = collapse(goldpeak.read_runs(traces.bon_gold()))
    assert_finite(found, 3)
    assert found.explained.median > 0.9
    assert found.p_gamma_rises < 0.2
    assert found.points["u"].max() > 1.3


@pytest.mark.slow
def test_the_curves_of_the_published_coefficients_collapse():
    """They are d (alpha - beta d) without scatter: gamma is 1 and does not drift."""
    kl = np.linspace(0.75, np.sqrt(10.0), 20) ** 2
    curves = [
        pd.DataFrame({"run": f"{n:g}", "rm_params": n, "kl": kl, "gold": goldpeak.datasets.gao2022_gold(kl, n)})
        for n in goldpeak.datasets.gao2022()["rm_params"]
    ]
    found = collapse(goldpeak.read_runs(pd.concat(curves).assign(method="bon", gold_se=0.01)))
    assert_finite(found, 9)
    assert found.explained.median > 0.99
    assert found.gamma.lo < 1.0 < found.gamma.hi
    assert found.gamma_slope.lo < 0.0 < found.gamma_slope.hi

"""From card and runs to arrays: standardisation, limits, and what is refused."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest
import simulate
import xarray as xr

from goldpeak.card import Card, Coefficient, Noise, RandomWalk
from goldpeak.design import MAX_SINES, centred_log_size, make_design
from goldpeak.errors import FitError, RunsWarning
from goldpeak.library import load_card
from goldpeak.priors import HalfNormal, Normal
from goldpeak.runs import read_runs
from goldpeak.units import to_gold_units

PAPER = load_card("rl_paper")
SMOOTH = load_card("rl")


def table(**settings: object) -> pd.DataFrame:
    return simulate.table(np.random.default_rng(0), points=5, **settings)


def test_arrays_are_the_runs_in_standard_units() -> None:
    runs = read_runs(table(), gold_scale=4.0)
    design = make_design(runs, SMOOTH)
    np.testing.assert_allclose(design.y, runs["gold"] / 4.0)
    np.testing.assert_allclose(design.se, runs["gold_se"] / 4.0)
    np.testing.assert_allclose(design.d**2, runs["kl"])
    assert design.run == tuple(runs["run"].values)
    # Three sizes a factor of ten apart, N0 in the middle.
    assert design.n0 == pytest.approx(1e7)
    np.testing.assert_allclose(design.x, np.repeat([-1, 0, 1], 2) * np.log(10), atol=1e-12)


def test_known_errors_only_where_the_card_asks_for_them() -> None:
    assert np.all(make_design(read_runs(table()), PAPER).se == 0)
    assert np.all(make_design(read_runs(table()), SMOOTH).se > 0)


def test_without_a_scale_it_is_the_median_highest_gold() -> None:
    frame = table()
    wanted = frame.groupby("run")["gold"].max().median()
    assert make_design(read_runs(frame), PAPER).scale == pytest.approx(wanted)
    low = frame.assign(gold=-frame["gold"].abs())
    assert make_design(read_runs(low), PAPER).scale == pytest.approx(low.groupby("run")["gold"].min().abs().median())
    assert make_design(read_runs(frame.assign(gold=0.0)), PAPER).scale == 1.0


def test_n0_is_the_mean_of_sizes_not_of_runs() -> None:
    n0, x = centred_log_size([1e6, 1e6, 1e6, 1e8])
    assert n0 == pytest.approx(1e7)
    np.testing.assert_allclose(x, np.log(10) * np.array([-1, -1, -1, 1]))


def test_runs_of_one_reward_model_share_its_entry() -> None:
    design = make_design(read_runs(table(share_rm=True)), SMOOTH)
    assert len(design.rm) == 3
    assert design.rm_index.tolist() == [0, 0, 1, 1, 2, 2]
    np.testing.assert_allclose(design.x_rm[design.rm_index], design.x)


@pytest.mark.parametrize("kl_max", [None, 40.0, 500.0])
def test_kl_max_is_twice_the_largest_observed_unless_given(kl_max: float | None) -> None:
    design = make_design(read_runs(table(kl_max=40.0)), SMOOTH, kl_max=kl_max)
    assert design.kl_max == pytest.approx(kl_max or 80.0)
    assert design.sines.length == pytest.approx(1.2 * np.sqrt(design.kl_max))


@pytest.mark.parametrize("kl_max", [39.0, 0.0, -1.0, np.nan, np.inf])
def test_a_kl_max_below_the_data_is_refused(kl_max: float) -> None:
    with pytest.raises(FitError, match=r"kl_max is .*>= 40, the largest KL observed"):
        make_design(read_runs(table(kl_max=40.0)), PAPER, kl_max=kl_max)


def test_mixed_methods_are_refused() -> None:
    frame = table().assign(method=lambda t: np.where(t["rm_params"] > 1e7, "bon", "rl"), n=2.0)
    with pytest.warns(RunsWarning), pytest.raises(FitError, match=r"mix methods \(bon, rl\).*method='rl'"):
        make_design(read_runs(frame), PAPER)


def test_an_rm_with_two_sizes_is_refused() -> None:
    # read_runs refuses it in tables; runs that were merged or edited as arrays come here unchecked.
    runs = read_runs(table(share_rm=True))
    runs = runs.assign(rm_params=("run", [5e6, *runs["rm_params"].values[1:]]))
    with pytest.raises(FitError, match=r"rm 1e\+06: runs that share a reward model differ in rm_params"):
        make_design(runs, PAPER)


def test_known_noise_without_errors_is_iid_and_says_so() -> None:
    with pytest.warns(RunsWarning, match=r"noise 'known', and the runs have no column gold_se"):
        design = make_design(read_runs(table().drop(columns="gold_se")), SMOOTH)
    assert not design.se.any()


def test_a_range_too_long_for_the_discrepancy_is_refused() -> None:
    frame = table().assign(kl=lambda t: t["kl"] * 1e5)
    with pytest.raises(FitError, match=f"allowed: {MAX_SINES}. Is kl in nats per response"):
        make_design(read_runs(frame), SMOOTH)
    assert make_design(read_runs(frame), PAPER).kl_max == pytest.approx(8e6)


def test_outer_parameters_are_those_the_card_has() -> None:
    runs = read_runs(table())
    assert list(make_design(runs, PAPER).outer) == ["sigma", "alpha_sd_run", "beta_sd_run"]
    walk = dataclasses.replace(
        PAPER, beta=Coefficient(RandomWalk(Normal(0.0, 1.0), Normal(0.0, 1.0), HalfNormal(0.02)))
    )
    assert list(make_design(runs, walk).outer) == ["sigma", "alpha_sd_run", "beta_drift"]
    one_size = read_runs(table(sizes=(1e6,)))
    assert "beta_drift" not in make_design(one_size, walk).outer
    assert {"gamma", "lengthscale", "eta_shared", "eta_run"} < set(make_design(runs, load_card("boxcox")).outer)


def posterior(**values: float) -> xr.Dataset:
    data = {name: ((), value) for name, value in values.items()}
    coef = {f"{name}_coef": (f"{name}_term", [2.0, 3.0]) for name in ("alpha", "beta")}
    return xr.Dataset(data | coef, coords={f"{name}_term": ["intercept", "slope"] for name in ("alpha", "beta")})


def with_log_beta(card: Card) -> Card:
    return dataclasses.replace(card, beta=dataclasses.replace(card.beta, link="log"), noise=Noise("iid", HalfNormal(1)))


def test_gold_units() -> None:
    design = make_design(read_runs(table(), gold_scale=10.0), with_log_beta(PAPER))
    found = to_gold_units(
        posterior(alpha=1.0, beta=1.0, sigma=1.0, delta=1.0, eta_run=1.0, gamma=1.0, lengthscale=1.0,
                  alpha_sd_run=1.0, beta_sd_run=1.0),
        design,
    )  # fmt: skip
    scaled = {"alpha": 10, "beta": 10, "sigma": 10, "delta": 10, "eta_run": 10, "alpha_sd_run": 10}
    same = {"gamma": 1, "lengthscale": 1, "beta_sd_run": 1}
    for name, value in (scaled | same).items():
        assert float(found[name]) == value, name
    assert found["alpha_coef"].values.tolist() == [20.0, 30.0]
    # exp of the trend is multiplied by 10: its intercept moves by log 10, its slope not at all.
    np.testing.assert_allclose(found["beta_coef"], [2.0 + np.log(10.0), 3.0])

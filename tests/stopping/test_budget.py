"""Budgets of a posterior: what a row holds, observed runs, best-of-n, and what is refused."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import simulate
import xarray as xr
from scipy import stats

import goldpeak
from goldpeak.bon import kl_of_n
from goldpeak.curves import new_curves
from goldpeak.errors import FitError
from goldpeak.stopping.rules import RULES

SIZES = [1e6, 1e7, 1e9]


@pytest.fixture(scope="module")
def post() -> xr.DataTree:
    return goldpeak.fit(simulate.runs(np.random.default_rng(0)), "rl_paper", engine="exact", draws=500)


@pytest.fixture(scope="module")
def bon_post() -> xr.DataTree:
    frame = simulate.table(np.random.default_rng(0), form="bon", alpha=0.6, beta=0.15, beta_slope=0.0, kl_max=6.0)
    n = np.exp(frame["kl"] + 1.0).round()
    frame = frame.assign(method="bon", n=n, kl=kl_of_n(n)).drop_duplicates(["run", "n"])
    runs = goldpeak.read_runs(frame[frame["kl"] > 0])
    return goldpeak.fit(runs, "bon_paper", engine="exact", draws=250)


def test_a_row_is_read_off_the_same_draws_as_peak_and_predict(post: xr.DataTree) -> None:
    found = goldpeak.budget(post, SIZES, "chance", 0.1)
    peaks = goldpeak.peak(post, SIZES).draws
    for i, row in found.table.iterrows():
        kl_peak, gold_peak = (peaks[name].values[..., i].ravel() for name in ("kl_peak", "gold_peak"))
        gold = goldpeak.predict(post, [row["kl"]], SIZES)["gold"].values[..., i, 0].ravel()
        assert row["p_past_peak"] == np.mean(kl_peak < row["kl"]) == pytest.approx(0.1, abs=1e-3)
        lo, median, hi = np.quantile(gold, [0.05, 0.5, 0.95])
        assert row[["gold_lo", "gold_median", "gold_hi"]].tolist() == pytest.approx([lo, median, hi], rel=0.01)
        regret = np.sort(gold_peak - gold)
        assert row["regret_mean"] == pytest.approx(regret.mean(), rel=1e-6)
        assert row["regret_cvar"] == pytest.approx(regret[-len(regret) // 4 :].mean(), rel=1e-6)
        assert row["regret_share"] == pytest.approx(regret.mean() / gold_peak.mean(), rel=1e-6)
    assert found.table["extrapolated"].tolist() == [False, False, True]
    assert found.include == "new_run"


def test_expected_is_best_among_all_kl(post: xr.DataTree) -> None:
    row = goldpeak.budget(post, [1e9], "expected").table.iloc[0]
    kl = np.linspace(0, post.attrs["kl_max"], 4001)
    gold = new_curves(post, [1e9]).gold(np.sqrt(kl)).mean(axis=(0, 1))[0]
    assert np.isnan(row["level"])
    assert row["kl"] == pytest.approx(kl[np.argmax(gold)], rel=0.02)
    least = {rule: goldpeak.budget(post, [1e9], rule, 1.0 if rule in ("regret", "cvar") else 0.25).table.iloc[0]
             for rule in RULES}  # fmt: skip
    assert all(row["regret_mean"] <= other["regret_mean"] + 1e-9 for other in least.values())


def test_all_rules_stand_side_by_side_and_are_those_asked_for_one_by_one(post: xr.DataTree) -> None:
    both = goldpeak.budget(post, SIZES, "all", 0.2)
    assert both.table["rule"].tolist() == list(RULES) * 3
    for rule in RULES:
        alone = goldpeak.budget(post, SIZES, rule, 0.2)
        pd.testing.assert_frame_equal(
            both.table[both.table["rule"] == rule].reset_index(drop=True), alone.table, check_dtype=False
        )
        levels = [0.1, 0.2, 0.4] if rule != "expected" else [np.nan]
        np.testing.assert_allclose(alone.sensitivity["level"], levels * 3)
        middle = alone.sensitivity["kl"].to_numpy()[len(levels) // 2 :: len(levels)]
        np.testing.assert_array_equal(middle, alone.table["kl"])


def test_what_is_included_widens_and_a_seed_is_a_seed(post: xr.DataTree) -> None:
    typical, run, again, other = (
        goldpeak.budget(post, [1e7], "chance", 0.1, **more).table.iloc[0]
        for more in ({"include": "typical"}, {}, {}, {"seed": 5})
    )
    assert run["kl"] < typical["kl"]
    assert run["kl"] == again["kl"] != other["kl"]
    assert goldpeak.budget(post, [1e7], include="typical").include == "typical"


def test_observed_runs_have_budgets_in_the_units_of_the_file(post: xr.DataTree) -> None:
    found = goldpeak.budget(post).table
    assert found["run"].tolist() == post["posterior"]["run"].values.tolist()
    shifted = post.copy()
    shifted["constant_data"] = post["constant_data"].to_dataset().assign(baseline=("run", np.full(6, 100.0)))
    moved = goldpeak.budget(shifted).table
    for name in ("gold_median", "gold_lo", "gold_hi"):
        np.testing.assert_allclose(moved[name], found[name] + 100.0)
    for name in ("kl", "regret_mean", "regret_cvar", "regret_share"):
        np.testing.assert_allclose(moved[name], found[name])


def test_where_no_reason_to_stop_was_found_kl_is_inf_and_the_rest_is_at_kl_max(post: xr.DataTree) -> None:
    found = goldpeak.budget(post, [1e7], "all", kl_max=2.0).table
    assert np.isinf(found["kl"]).all()
    assert (found["kl_at"] == 2.0).all()
    gold = goldpeak.predict(post, [2.0], [1e7])["gold"].values.ravel()
    np.testing.assert_allclose(found["gold_median"], np.quantile(gold, 0.5, method="inverted_cdf"))
    peaks = goldpeak.peak(post, [1e7], kl_max=2.0).draws["kl_peak"].values
    assert (found["p_past_peak"] == np.mean(np.isfinite(peaks))).all()
    assert (found["regret_mean"] < 1e-3).all()


def test_best_of_n_gets_the_largest_whole_n_within_the_kl(bon_post: xr.DataTree, post: xr.DataTree) -> None:
    found = goldpeak.budget(bon_post, [1e7], "all").table
    for _, row in found.iterrows():
        assert isinstance(row["n"], int)
        assert kl_of_n(row["n"]) <= row["kl"] < kl_of_n(row["n"] + 1)
    assert goldpeak.budget(bon_post, [1e7], "chance", kl_max=0.5).table["n"].tolist() == [np.inf]
    assert goldpeak.budget(post, [1e7]).table["n"].tolist() == [None]


def test_a_fall_that_counts_is_five_percent_of_the_median_peak(post: xr.DataTree) -> None:
    default = goldpeak.budget(post, [1e7], "drawdown").table.iloc[0]
    peaks = goldpeak.peak(post, [1e7]).draws["gold_peak"].values
    assert default["drop"] == pytest.approx(0.05 * np.median(peaks), rel=1e-3)
    named = goldpeak.budget(post, [1e7], "drawdown", drop=default["drop"]).table.iloc[0]
    assert named["kl"] == default["kl"]
    assert goldpeak.budget(post, [1e7], "drawdown", drop=0.0).table["kl"].item() == pytest.approx(
        goldpeak.budget(post, [1e7], "chance").table["kl"].item(), rel=0.01
    )


def test_coverage_of_the_stated_risk_on_fresh_runs() -> None:
    """Fleets drawn with known scatter: a new run is past its peak at the `chance` budget about as often as stated."""
    past = []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        runs = simulate.runs(rng, sizes=(1e6, 1e7, 1e8), runs_per_size=4, sd=0.02)
        kl = goldpeak.budget(goldpeak.fit(runs, "rl_paper", draws=250), [1e7], "chance", 0.25).table["kl"].item()
        theta = np.array([0.6, 0.3]) + 0.02 * rng.standard_normal((400, 2))
        past.append(np.mean(np.exp(theta[:, 0] / theta[:, 1] - 1) ** 2 < kl))
    # The mean over fleets; the bound allows for four standard errors of twelve fleets.
    error = np.std(past) / np.sqrt(len(past))
    assert abs(np.mean(past) - 0.25) < 4 * max(error, 0.01)
    assert stats.sem(past) < 0.1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"rule": "best"}, "rule is 'best'; allowed: expected, chance, cvar, regret, drawdown, all"),
        ({"level": 0.0}, "level is 0.0; allowed: a number above 0 and at most 1"),
        ({"level": np.nan}, "level is nan"),
        ({"level": 1.0, "rule": "chance"}, "level is 1, which any KL keeps"),
        ({"level": 1.0, "rule": "all"}, "level is 1, which any KL keeps"),
        ({"kl_max": -1.0, "drop": -1.0, "level": 2.0}, "level is 2.0.*; kl_max is -1.0.*; drop is -1.0"),
        ({"prob": 1.0}, "prob is 1.0"),
        ({"rm_params": [-1.0]}, "rm_params holds -1.0"),
        ({"include": "all"}, "include is 'all'"),
    ],
)
def test_bad_arguments_are_refused(post: xr.DataTree, arguments: dict[str, object], message: str) -> None:
    with pytest.raises(FitError, match=message):
        goldpeak.budget(post, **({"rm_params": [1e7]} | arguments))

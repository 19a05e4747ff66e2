"""Splitting a budget: the cost model (`cost`) by hand, the best split by brute force, what comes next."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import simulate
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

import goldpeak
from goldpeak import CostModel
from goldpeak.bon import kl_of_n
from goldpeak.errors import FitError

SIZES = [1e6, 1e7, 1e8, 1e9]
RL = CostModel(rm_tokens=1e6, policy_params=1e8, response_tokens=100, samples=64, kl_per_step=0.01, kl_power=2.0)
BON = CostModel(rm_tokens=1e6, policy_params=1e8, response_tokens=100, samples=1000)


@pytest.fixture(scope="module")
def post() -> xr.DataTree:
    runs = simulate.runs(np.random.default_rng(0), beta=0.2, beta_slope=-0.005, kl_max=60.0)
    return goldpeak.fit(runs, "rl_paper", engine="exact", draws=250)


def test_costs_by_hand() -> None:
    # One step: 64 samples x 100 tokens x (generation 2 P + scoring 2 N + training 6 P).
    step = 64 * 100 * (8 * 1e8 + 2 * 1e7)
    assert RL.rm_cost(1e7) == pytest.approx(6 * 1e7 * 1e6)
    assert RL.run_cost(4.0, 1e7) == pytest.approx(20 * step)
    each = 1000 * 100 * 2 * (1e8 + 1e7)
    assert BON.run_cost(float(kl_of_n(16)), 1e7) == pytest.approx(16 * each)
    assert BON.kl_within(0.9 * each, 1e7) != BON.kl_within(0.9 * each, 1e7)  # NaN: not even one sample
    assert np.isnan(RL.kl_within(-1.0, 1e7))
    priced = dataclasses.replace(RL, price=2e-18)
    assert priced.run_cost(4.0, 1e7) == pytest.approx(2e-18 * RL.run_cost(4.0, 1e7))
    assert (RL.method, BON.method) == ("rl", "bon")


@given(st.floats(1e-3, 300.0), st.floats(1e3, 1e12), st.sampled_from([RL, BON]))
def test_the_kl_within_a_cost_is_the_kl_of_that_cost(kl: float, size: float, cost: CostModel) -> None:
    assert cost.kl_within(cost.run_cost(kl, size) * (1 + 1e-12), size) == pytest.approx(kl, rel=1e-4)


def test_every_wrong_number_of_a_cost_model_is_named() -> None:
    with pytest.raises(
        FitError, match=r"cost: rm_tokens is -1, samples is nan, kl_power is 0; allowed: finite numbers"
    ):
        CostModel(rm_tokens=-1, policy_params=1, response_tokens=1, samples=np.nan, kl_power=0)


@pytest.mark.parametrize("level", [1.0, 0.3])
@pytest.mark.parametrize("budget", [3e13, 2e14, 1e15, 3e16])
def test_the_best_split_by_brute_force(post: xr.DataTree, budget: float, level: float) -> None:
    found = goldpeak.allocate(post, SIZES, RL, budget, level=level)
    kl = np.linspace(0, np.sqrt(post.attrs["kl_max"]) * (1 - 1e-12), 2000) ** 2
    gold = goldpeak.predict(post, kl, SIZES)["gold"].values.reshape(-1, len(SIZES), len(kl))
    worst = int(level * len(gold))
    worth = np.sort(gold, axis=0)[:worst].mean(axis=0)
    cost = np.array([[RL.rm_cost(size) + RL.run_cost(each, size) for each in kl] for size in SIZES])
    allowed = np.where(cost <= budget, worth, -np.inf)
    for i, row in found.table.iterrows():
        if not np.isfinite(allowed[i]).any():
            assert row["limited_by"] == "price"
            assert np.isnan(row["kl"])
            continue
        assert row["worth"] == pytest.approx(allowed[i].max(), rel=2e-3, abs=2e-3)
        at = int(np.argmax(allowed[i]))
        assert row["kl"] == pytest.approx(kl[at], rel=0.05, abs=0.1)
        limit = "kl_max" if at == len(kl) - 1 else "budget" if cost[i, at + 1] > budget else "peak"
        assert row["limited_by"] == limit
        assert row["cost"] <= budget * (1 + 1e-9)
    assert found.rm_params == SIZES[int(np.argmax(allowed.max(axis=1)))]
    assert found.table["p_best"].sum() == pytest.approx(1.0)


def test_what_is_best_and_what_is_right_are_counted_on_paired_draws(post: xr.DataTree) -> None:
    found = goldpeak.allocate(post, SIZES, RL, 2e15, extra=0.5)
    rows = found.table[found.table["kl"].notna()]
    gold = np.array(
        [
            goldpeak.predict(post, [row["kl"]], SIZES)["gold"].sel(rm_params=row["rm_params"]).values.ravel()
            for _, row in rows.iterrows()
        ]
    )
    np.testing.assert_allclose(rows["p_best"], np.bincount(gold.argmax(axis=0), minlength=len(gold)) / gold.shape[1])
    steps = found.steps.set_index("step")
    kl, size = steps["kl"].to_numpy(), steps["rm_params"].to_numpy()
    each = np.array(
        [
            goldpeak.predict(post, [a], SIZES)["gold"].sel(rm_params=b).values.ravel()
            for a, b in zip(kl, size, strict=True)
        ]
    )
    for i, name in enumerate(steps.index):
        right = np.mean(each[i] >= each.max(axis=0) - 1e-9)
        assert steps.loc[name, "p_right"] == pytest.approx(right)
        assert steps.loc[name, "gain"] == pytest.approx(each[i].mean() - each[0].mean())
        assert steps.loc[name, "cost"] <= found.budget + found.extra * (i > 0) + 1.0
    assert found.p_right == steps.loc[found.next_step, "p_right"]


def test_the_next_step_is_what_adds_most(post: xr.DataTree) -> None:
    poor = goldpeak.allocate(post, SIZES, RL, 1e14)
    assert (poor.next_step, poor.table["limited_by"].iloc[0]) == ("more_optimisation", "budget")
    rich = goldpeak.allocate(post, SIZES[:1], RL, 1e20)
    assert rich.next_step == "stay"
    assert rich.table["limited_by"].tolist() == ["peak"]
    assert rich.steps["step"].tolist() == ["stay", "more_optimisation"]
    assert rich.steps["gain"].tolist() == [0.0, 0.0]
    assert rich.p_right == 1.0
    # Just below the cost at which the frontier passes to a larger size.
    frontier = poor.frontier
    passes = np.flatnonzero(np.diff(frontier["rm_params"]) > 0)
    assert len(passes) >= 2
    for at in passes:
        before, after = frontier["cost"].iloc[[at, at + 1]]
        found = goldpeak.allocate(post, SIZES, RL, before, extra=after / before - 1)
        assert (found.rm_params, found.next_step) == (frontier["rm_params"].iloc[at], "larger_rm")
        assert found.steps["rm_params"].iloc[-1] == frontier["rm_params"].iloc[at + 1]


def test_the_frontier_is_what_allocate_finds_at_each_cost(post: xr.DataTree) -> None:
    frontier = goldpeak.allocate(post, SIZES, RL, 1e15).frontier
    assert (np.diff(frontier["worth"]) >= -1e-12).all()
    assert (np.diff(frontier["cost"]) > 0).all()
    for at in (10, 40, 70):
        row = frontier.iloc[at]
        found = goldpeak.allocate(post, SIZES, RL, row["cost"])
        assert found.rm_params == row["rm_params"]
        assert found.table["worth"].max() == pytest.approx(row["worth"], rel=2e-3)
        best = found.table.set_index("rm_params").loc[found.rm_params]
        assert (best["gold_lo"], best["gold_hi"]) == pytest.approx((row["gold_lo"], row["gold_hi"]), rel=0.02)


def test_best_of_n_gets_whole_n() -> None:
    frame = simulate.table(np.random.default_rng(0), form="bon", alpha=0.6, beta=0.15, beta_slope=0.0, kl_max=6.0)
    n = np.exp(frame["kl"] + 1.0).round()
    frame = frame.assign(method="bon", n=n, kl=kl_of_n(n)).drop_duplicates(["run", "n"])
    post = goldpeak.fit(goldpeak.read_runs(frame[frame["kl"] > 0]), "bon_paper", draws=100)
    found = goldpeak.allocate(post, [1e6, 1e7], BON, 1e15)
    row = found.table.iloc[0]
    assert kl_of_n(row["n"]) <= row["kl"] < kl_of_n(row["n"] + 1)
    with pytest.raises(FitError, match=r"the cost model has kl_per_step, so it is for rl, and the runs are bon"):
        goldpeak.allocate(post, [1e6], RL, 1e15)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"budget": 1.0}, r"budget is 1, which pays for none of the sizes; allowed: at least 6e\+12"),
        (
            {"budget": -1.0, "extra": 0.0, "level": 2.0, "kl_max": 0.0},
            "budget is -1.*extra is 0.*level is 2.*kl_max is 0",
        ),
        ({"cost": BON}, "the cost model has no kl_per_step, so it is for bon, and the runs are rl"),
        ({"rm_params": [-1.0]}, "rm_params holds -1.0"),
        ({"prob": 2.0}, "prob is 2.0"),
    ],
)
def test_bad_arguments_are_refused(post: xr.DataTree, arguments: dict[str, object], message: str) -> None:
    with pytest.raises(FitError, match=message):
        goldpeak.allocate(post, **({"rm_params": SIZES, "cost": RL, "budget": 1e15} | arguments))

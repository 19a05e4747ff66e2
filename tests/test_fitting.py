"""Fitting: what a change of units or order must not change, which engine runs and why, and hard input."""

from __future__ import annotations

import dataclasses
import json
import warnings
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
import simulate
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

import goldpeak
from goldpeak.card import Card
from goldpeak.curves import observed_curves
from goldpeak.design import Design
from goldpeak.engines import exact, nuts
from goldpeak.errors import CardError, ConvergenceWarning, FitError
from goldpeak.gates import gates_of
from goldpeak.library import load_card
from goldpeak.runs import read_runs

PAPER = load_card("rl_paper")
LOGGED = dataclasses.replace(PAPER, beta=dataclasses.replace(PAPER.beta, link="log"))


def table(**settings: object) -> pd.DataFrame:
    return simulate.table(np.random.default_rng(0), points=5, **settings)


def quick(frame: pd.DataFrame, card: str | Card = "rl_paper", **settings: object) -> xr.DataTree:
    return goldpeak.fit(read_runs(frame), card, **{"engine": "exact", "draws": 100, **settings})


def in_units(frame: pd.DataFrame, factor: float) -> pd.DataFrame:
    return frame.assign(gold=frame["gold"] * factor, gold_se=frame["gold_se"] * factor)


@settings(max_examples=4, deadline=None)
@given(power=st.integers(-12, 12), card=st.sampled_from(["rl_paper", "rl"]))
def test_other_units_of_gold_scale_every_answer(power: int, card: str) -> None:
    """By powers of two, so that not even rounding differs."""
    factor = 2.0**power
    post, other = quick(table(), card), quick(in_units(table(), factor), card)
    first, second = (goldpeak.peak(p).draws for p in (post, other))
    np.testing.assert_allclose(second["kl_peak"], first["kl_peak"], rtol=1e-9)
    np.testing.assert_allclose(second["gold_peak"], factor * first["gold_peak"], rtol=1e-9)
    for name in ("alpha", "beta", "sigma", "beta_coef", "beta_sd_run"):
        np.testing.assert_allclose(other["posterior"][name], factor * post["posterior"][name], rtol=1e-9)
    shifted = post.attrs["log_marginal_likelihood"] - len(table()) * np.log(factor)
    assert other.attrs["log_marginal_likelihood"] == pytest.approx(shifted, abs=1e-6)
    moved = other["log_likelihood"]["gold"] - post["log_likelihood"]["gold"]
    np.testing.assert_allclose(moved, -np.log(factor), atol=1e-6)


def test_units_that_are_no_power_of_two() -> None:
    first, second = (goldpeak.peak(quick(in_units(table(), factor))).table for factor in (1.0, 1234.5))
    np.testing.assert_allclose(second["median"], first["median"], rtol=0.01)
    np.testing.assert_allclose(second["gold_median"], 1234.5 * first["gold_median"], rtol=0.01)


@settings(max_examples=3, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_the_order_of_rows_within_runs_changes_nothing(seed: int) -> None:
    frame = table()
    names = list(dict.fromkeys(frame["run"]))
    shuffled = frame.sample(frac=1.0, random_state=seed)
    shuffled = shuffled.sort_values("run", key=lambda run: run.map(names.index), kind="stable")
    post, other = quick(frame), quick(shuffled)
    assert other["posterior"].to_dataset().identical(post["posterior"].to_dataset())
    assert other.attrs["data_digest"] == post.attrs["data_digest"]


def test_the_order_of_runs_changes_no_answer() -> None:
    frame = table()
    names = list(dict.fromkeys(frame["run"]))[::-1]
    post, other = quick(frame), quick(frame.sort_values("run", key=lambda run: run.map(names.index), kind="stable"))
    assert other["posterior"]["run"].values.tolist() == names
    first, second = (goldpeak.peak(p).table for p in (post, other))
    # The same outer draws; only the coefficients' own random numbers go to other runs.
    np.testing.assert_allclose(second["median"].loc[first.index], first["median"], rtol=0.1)
    error = np.hypot(post.attrs["log_marginal_likelihood_se"], other.attrs["log_marginal_likelihood_se"])
    assert abs(other.attrs["log_marginal_likelihood"] - post.attrs["log_marginal_likelihood"]) < 4 * error + 1e-6
    assert other.attrs["data_digest"] == post.attrs["data_digest"]


def test_the_same_seed_is_the_same_answer_and_another_is_not() -> None:
    first, again, other = (quick(table(), seed=seed) for seed in (1, 1, 2))
    assert first.identical(again)
    assert not np.any(first["posterior"]["alpha"].values == other["posterior"]["alpha"].values)


def test_the_log_likelihood_is_that_of_the_curves() -> None:
    frame = table()
    post = quick(frame, "rl", draws=50)
    runs = read_runs(frame)
    index = runs["run_index"].values
    gold = observed_curves(post).gold(np.sqrt(runs["kl"].values))[:, :, index, np.arange(len(index))]
    sd = np.hypot(post["posterior"]["sigma"].values[..., None], runs["gold_se"].values)
    wanted = norm(gold, sd).logpdf(runs["gold"].values)
    np.testing.assert_allclose(post["log_likelihood"]["gold"], wanted, rtol=1e-5, atol=1e-5)
    by_run = np.stack([wanted[..., index == r].sum(axis=-1) for r in range(runs.sizes["run"])], axis=-1)
    np.testing.assert_allclose(post["log_likelihood"]["gold_run"], by_run, rtol=1e-5, atol=1e-5)


def test_the_stamp_says_what_was_done() -> None:
    post = quick(table(), seed=3, kl_max=50.0)
    assert Card.from_toml(post.attrs["card"]) == PAPER
    assert post.attrs["card_hash"] == PAPER.hash()
    assert (post.attrs["card_name"], post.attrs["seed"], post.attrs["kl_max"]) == ("rl_paper", 3, 50.0)
    assert (post.attrs["engine"], post.attrs["engine_reason"]) == ("exact", "asked for")
    assert {"goldpeak", "numpy", "python"} < set(json.loads(post.attrs["versions"]))
    assert gates_of(post).measured["ess"] > 400


# Which engine runs, and why. No test here samples with nuts: `stand_in` returns what it would.


def stand_in(design: Design, *, seed: int, draws: int, tune: int, chains: int) -> tuple[xr.Dataset, xr.Dataset]:
    rng = np.random.default_rng(seed)
    shape = (chains, draws)
    own = {
        name: (("chain", "draw", "run"), rng.standard_normal((*shape, len(design.run)))) for name in ("alpha", "beta")
    }
    posterior = xr.Dataset(
        {**own, "sigma": (("chain", "draw"), rng.uniform(0.5, 1.0, shape))},
        coords={"chain": np.arange(chains), "draw": np.arange(draws), "run": list(design.run)},
    )
    return posterior, xr.Dataset({"diverging": (("chain", "draw"), np.zeros(shape, dtype=bool))})


@pytest.fixture
def no_nuts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nuts, "sample", stand_in)


@pytest.fixture
def failing_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    original: Callable[..., exact.Draws] = exact.sample
    monkeypatch.setattr(
        exact, "sample", lambda *args, **settings: dataclasses.replace(original(*args, **settings), khat=0.9)
    )


def test_auto_takes_exact_where_it_can() -> None:
    post = quick(table(), engine="auto")
    assert post.attrs["engine"] == "exact"
    assert post.attrs["engine_reason"] == "the card is Gaussian given its outer parameters"


def test_auto_takes_nuts_for_a_log_link(no_nuts: None) -> None:
    post = quick(table(), LOGGED, engine="auto", draws=500)
    assert post.attrs["engine"] == "nuts"
    assert post.attrs["engine_reason"] == "beta has link 'log': not linear in its Gaussian terms"
    assert gates_of(post).passed
    assert "log_marginal_likelihood" not in post.attrs


def test_exact_refuses_a_log_link() -> None:
    with pytest.raises(FitError, match=r"cannot run card 'rl_paper'.*use engine='nuts'"):
        quick(table(), LOGGED)


def test_auto_replaces_a_failed_exact_run_loudly(no_nuts: None, failing_exact: None) -> None:
    with pytest.warns(ConvergenceWarning, match=r"Pareto k is 0.90.*falling back to nuts"):
        post = quick(table(), engine="auto", draws=500)
    assert post.attrs["engine"] == "nuts"
    assert "the gate of engine 'exact' failed: Pareto k is 0.90" in post.attrs["engine_reason"]


def test_exact_that_was_asked_for_is_kept_with_a_warning(failing_exact: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nuts, "sample", lambda *args, **settings: pytest.fail("nuts was not asked for"))
    with pytest.warns(ConvergenceWarning, match=r"do not trust these numbers: Pareto k is 0.90"):
        post = quick(table())
    assert post.attrs["engine"] == "exact"
    assert not gates_of(post).passed


def test_nuts_that_fails_its_gate_warns(no_nuts: None) -> None:
    with pytest.warns(ConvergenceWarning, match="effective sample size"):
        post = quick(table(), engine="nuts", draws=20)
    assert (post.attrs["engine"], post.attrs["engine_reason"]) == ("nuts", "asked for")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"engine": "stan"}, "engine is 'stan'; allowed: auto, exact, laplace_is, nuts"),
        ({"draws": 0}, "draws is 0; allowed: a whole number >= 1"),
        ({"draws": 10.5}, "draws is 10.5"),
        ({"tune": -1}, "tune is -1; allowed: a whole number >= 0"),
        ({"chains": 0}, "chains is 0"),
        ({"seed": -1}, "seed is -1; allowed: a whole number >= 0"),
        ({"seed": None}, "seed is None"),
        ({"kl_max": 1.0}, "kl_max is 1.0"),
        ({"kl_max": "50"}, "kl_max is .50.; allowed: a finite number"),
    ],
)
def test_arguments_out_of_range(settings: dict[str, object], message: str) -> None:
    with pytest.raises(FitError, match=message):
        quick(table(), **settings)


@pytest.mark.parametrize("runs", [table(), read_runs(table()).to_dataframe(), None], ids=["table", "frame", "nothing"])
def test_what_is_no_set_of_run_curves_is_refused(runs: object) -> None:
    with pytest.raises(FitError, match="run curves are what read_runs returns; found"):
        goldpeak.fit(runs, "rl_paper")  # type: ignore[arg-type]


def test_cards_that_do_not_exist() -> None:
    with pytest.raises(CardError, match="did you mean 'rl_paper'"):
        quick(table(), "rl_papr")


# Input at the edge of what can be: an answer without NaN, or a clear error.


def stretched(kl: float = 1.0, gold: float = 1.0) -> pd.DataFrame:
    return in_units(table(), gold).assign(kl=lambda t: t["kl"] * kl)


HARD = {
    "one kl, different gold": stretched().assign(kl=lambda t: 5.0 + 1e-12 * np.arange(len(t))),
    "gold is zero": stretched().assign(gold=0.0),
    "gold in the thousands": stretched(gold=5000.0),
    "gold in billionths": stretched(gold=1e-9),
    "gold far beyond its errors": stretched().assign(gold=lambda t: 5000 * t["gold"]),
    "kl in billionths": stretched(kl=1e-9),
    "some runs in billionths": stretched().assign(
        kl=lambda t: t["kl"] * np.where(t["run"].str.endswith("0"), 1e-9, 1.0)
    ),
    "only rising": stretched().assign(gold=lambda t: np.sqrt(t["kl"])),
    "only falling": stretched().assign(gold=lambda t: -np.sqrt(t["kl"])),
    "one size": table(sizes=(1e6,)),
    "one run": table(sizes=(1e6,), runs_per_size=1),
    "no noise": table(noise=1e-12, sd=0.0),
}


@pytest.mark.filterwarnings("ignore::goldpeak.errors.RunsWarning")
@pytest.mark.parametrize("card", ["rl_paper", "rl"])
@pytest.mark.parametrize("name", HARD)
def test_hard_input_gives_an_answer_without_nan(name: str, card: str) -> None:
    with warnings.catch_warnings():
        # A gate may fail here, and says so; a number that is not one may not appear.
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.simplefilter("ignore", goldpeak.errors.NumericsWarning)
        post = quick(HARD[name], card, draws=50)
    for variable, values in post["posterior"].data_vars.items():
        assert np.isfinite(values).all(), variable
    for values in post["log_likelihood"].data_vars.values():
        assert np.isfinite(values).all()
    assert np.isfinite(post.attrs["log_marginal_likelihood"])
    found = goldpeak.peak(post)
    assert not found.table.drop(columns="interval").isna().to_numpy().any()
    assert not found.draws["kl_peak"].isnull().any()


def test_a_kl_of_a_million_is_an_answer_or_a_clear_refusal() -> None:
    frame = stretched(kl=2.5e4)
    post = quick(frame)
    assert all(np.isfinite(values).all() for values in post["posterior"].data_vars.values())
    with pytest.raises(FitError, match="nats per response"):
        quick(frame, "rl")

"""Criticism: what is wrong with a fit is found and named, and nothing in a right one."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from typer.testing import CliRunner

import goldpeak
from goldpeak.check import criticism
from goldpeak.errors import FitError
from goldpeak.library import load_card
from goldpeak.mixture import mix
from goldpeak.simulation import Fleet

FLEET = Fleet(rm_params=(1e6, 1e7, 1e8), rms_per_size=3, points=12, kl_max=20.0)


def changed(runs: xr.Dataset, run: int, by: np.ndarray) -> xr.Dataset:
    """Runs with something added to the gold of one."""
    mine = runs["run_index"].values == run
    gold = runs["gold"].values.copy()
    gold[mine] += by
    return runs.assign(gold=("point", gold))


def typical(seed: int = 0) -> xr.Dataset:
    """Runs whose curves are nearly alike: alpha .7, beta .3."""
    rng = np.random.default_rng(seed)
    runs = FLEET.runs()
    d, r = np.sqrt(runs["kl"].values), runs["run_index"].values
    theta = np.array([0.7, 0.3]) + 0.02 * rng.standard_normal((9, 2))
    gold = theta[r, 0] * d - theta[r, 1] * d * np.log(d) + 0.03 * rng.standard_normal(len(d))
    return runs.assign(gold=("point", gold))


def known() -> goldpeak.Card:
    """The paper's card with the noise that the runs state."""
    return dataclasses.replace(load_card("rl_paper"), name="known", noise=load_card("rl").noise)


def criticised(runs: xr.Dataset, card: str | goldpeak.Card | None = None, **settings: int) -> criticism.Criticism:
    return goldpeak.criticise(goldpeak.fit(runs, card or known(), draws=100, seed=1), draws=200, **settings)


def test_nothing_speaks_against_a_fit_of_the_right_model() -> None:
    found = criticised(typical())
    assert found.findings == ()
    assert found.recommendation == "Nothing speaks against this fit."
    assert found.table["residual_ratio"].between(0.6, 1.4).all()
    assert (found.table[["share_shared", "share_own"]] == 0).all(axis=None)


def test_a_run_that_is_off_is_named() -> None:
    runs = typical()
    d = np.sqrt(runs["kl"].values[runs["run_index"].values == 4])
    found = criticised(changed(runs, 4, 1.2 * d))
    name = str(runs["run"].values[4])
    assert found.table["p_off_trend"].idxmin() == name
    assert found.table["p_loo"].idxmin() == name
    assert any(name in each.what and "far off the trend" in each.what for each in found.findings)
    assert "goldpeak.select" in found.recommendation


def test_a_pattern_along_kl_is_found_and_a_smooth_card_recommended() -> None:
    runs = typical()
    bump = 0.15 * np.exp(-((np.sqrt(runs["kl"].values) - 2.0) ** 2))
    found = criticised(runs.assign(gold=runs["gold"] + bump))
    assert found.p_common < 1e-3
    assert "pattern along KL" in found.findings[0].what
    assert "'rl'" in found.recommendation


def test_standard_errors_that_are_too_small_or_too_large_show() -> None:
    runs = typical()
    loud = criticised(changed(runs, 2, 0.4 * np.random.default_rng(5).standard_normal(12)))
    assert loud.table["p_noise"].idxmin() == str(runs["run"].values[2])
    assert loud.table["residual_ratio"].idxmax() == str(runs["run"].values[2])
    calm = criticised(runs.assign(gold_se=3.0 * runs["gold_se"]))
    assert any("not as large as the noise" in each.what for each in calm.findings)


def test_one_size_one_run_and_what_is_no_posterior() -> None:
    alone = criticised(Fleet(rm_params=(1e6,), points=6).runs().assign(gold=("point", np.linspace(0.1, 0.5, 6))))
    assert np.isfinite(alone.table["p_loo"]).all()
    with pytest.raises(FitError, match="this is no posterior"):
        goldpeak.criticise(xr.DataTree())
    post = goldpeak.fit(typical(), known(), draws=10)
    for draws in (1, 2.5):
        with pytest.raises(FitError, match=f"draws is {draws}; allowed: a whole number >= 2"):
            goldpeak.criticise(post, draws=draws)


def test_the_command_prints_what_was_found_and_takes_no_options(tmp_path) -> None:
    from goldpeak.cli.app import app

    runs = typical()
    d = np.sqrt(runs["kl"].values[runs["run_index"].values == 4])
    goldpeak.save(goldpeak.fit(changed(runs, 4, 1.2 * d), known(), seed=1), tmp_path / "post.nc")
    found = CliRunner().invoke(app, ["check", str(tmp_path / "post.nc")])
    assert found.exit_code == 0
    assert "far off the trend" in found.output
    assert "goldpeak.select" in found.output
    refused = CliRunner().invoke(app, ["check", str(tmp_path / "post.nc"), "--method", "rl"])
    assert isinstance(refused.exception, FitError)


@pytest.fixture(scope="module")
def two() -> dict[str, xr.DataTree]:
    """A card that a bump in all curves speaks against, and one that takes it; not only in name."""
    runs = typical()
    bump = 0.15 * np.exp(-((np.sqrt(runs["kl"].values) - 2.0) ** 2))
    runs = runs.assign(gold=runs["gold"] + bump)
    return {name: goldpeak.fit(runs, card, draws=100, seed=1) for name, card in (("stiff", known()), ("rl", "rl"))}


def test_a_mixture_is_criticised_as_a_whole_and_by_card(two) -> None:
    found = goldpeak.criticise(mix(two, {"stiff": 0.4, "rl": 0.6}, how="by hand"), draws=200)
    alone = {name: goldpeak.criticise(post, draws=200) for name, post in two.items()}
    assert found.weights == {"stiff": 0.4, "rl": 0.6}
    for name, each in alone.items():
        pd.testing.assert_frame_equal(found.by_card[name].table, each.table)
        assert found.by_card[name].findings == each.findings
    # The quantile of a Cauchy distribution, averaged by weight.
    quantiles = {name: np.tan((0.5 - each.table["p_trend"]) * np.pi) for name, each in alone.items()}
    wanted = 0.5 - np.arctan(0.4 * quantiles["stiff"] + 0.6 * quantiles["rl"]) / np.pi
    np.testing.assert_allclose(found.table["p_trend"], wanted, atol=1e-9)
    low, high = np.sort([each.table["residual_ratio"] for each in alone.values()], axis=0)
    assert found.table["residual_ratio"].between(low, high).all()
    assert "pattern" in {each.kind for each in alone["stiff"].findings} - {each.kind for each in alone["rl"].findings}
    (pattern,) = (each for each in found.findings if each.kind == "pattern")
    assert pattern.what.endswith("have a pattern along KL under stiff (weight 0.40)")
    assert "goldpeak.compare" in found.recommendation


def test_a_card_without_weight_has_no_say(two) -> None:
    found = goldpeak.criticise(mix(two, {"stiff": 0.0, "rl": 1.0}, how="by hand"), draws=200)
    pd.testing.assert_frame_equal(found.table, goldpeak.criticise(two["rl"], draws=200).table)
    assert not found.by_card
    assert found.findings == goldpeak.criticise(two["rl"], draws=200).findings


def test_the_command_criticises_a_mixture(two, tmp_path) -> None:
    from goldpeak.cli.app import app

    goldpeak.save(mix(two, {"stiff": 0.4, "rl": 0.6}, how="by hand"), tmp_path / "post.nc")
    found = CliRunner().invoke(app, ["check", str(tmp_path / "post.nc")])
    assert found.exit_code == 0, found.output
    assert "have a pattern along KL under stiff (weight 0.40)" in found.output
    assert "The card rl (weight 0.60) by itself:\nNothing speaks against this fit." in found.output
    whole, *parts = json.loads(CliRunner().invoke(app, ["check", str(tmp_path / "post.nc"), "--json"]).output)
    assert (whole["card"], whole["weight"]) == ("stiff + rl", 1.0)
    assert [(part["card"], part["weight"]) for part in parts] == [("stiff", 0.4), ("rl", 0.6)]
    for part, post in zip(parts, two.values(), strict=True):
        alone = goldpeak.criticise(post)
        assert pd.DataFrame(part["runs"]).set_index("run")["p_loo"].tolist() == alone.table["p_loo"].tolist()
        assert (part["recommendation"], part["p_common"]) == (alone.recommendation, alone.p_common)
        assert [finding["what"] for finding in part["findings"]] == [finding.what for finding in alone.findings]

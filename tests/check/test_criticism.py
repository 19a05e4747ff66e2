"""Criticism: its probabilities hold under the model, and what is wrong with a fit is found and named."""

from __future__ import annotations

import dataclasses

import noisy
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from typer.testing import CliRunner

import goldpeak
from goldpeak.check import criticism, p_values
from goldpeak.check.bands import uniformity
from goldpeak.check.standard import given_rest, in_standard_units
from goldpeak.errors import FitError
from goldpeak.library import load_card
from goldpeak.mixture import mix
from goldpeak.simulation import Fleet, simulate

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


def test_the_curve_of_a_run_is_the_posteriors() -> None:
    """What is put together here, in standard units, is what `observed_curves` says."""
    for card, engine in (("rl", "exact"), ("boxcox", "exact"), ("similar", "laplace_is")):
        made = simulate(card, Fleet(points=6, kl_max=20.0), seed=4)
        post = goldpeak.fit(made.runs, card, engine=engine, draws=5, chains=2, seed=1)
        design, flat = in_standard_units(post)
        one = given_rest(design, flat, 1)
        gold = goldpeak.curves.observed_curves(post).gold(one.d)[:, :, 1].reshape(10, -1)
        np.testing.assert_allclose(one.fitted() * design.scale, gold, atol=2e-5 * np.abs(gold).max())
        rows, at = np.arange(10), one.posterior()
        step = 1e-5 * np.eye(2)
        numeric = [(one.curve(at + h, rows) - one.curve(at - h, rows)) / 2e-5 for h in step]
        np.testing.assert_allclose(one.slopes(at, rows), np.stack(numeric, axis=-1), rtol=1e-4, atol=1e-5)


def test_the_density_of_a_run_given_the_rest_is_that_of_the_dense_normal() -> None:
    made = simulate("rl", Fleet(points=5, runs_per_rm=1, kl_max=20.0), seed=3)
    post = goldpeak.fit(made.runs, "rl", engine="exact", draws=3, chains=1, seed=1)
    design, flat = in_standard_units(post)
    one = given_rest(design, flat, 0)
    from scipy.stats import multivariate_normal

    for s, value in enumerate(p_values.log_density(one)):
        rows = np.array([s])
        phi = one.slopes(one.mean[rows], rows)[0]
        factor = np.column_stack([phi @ one.spread[s], one.columns * one.own[s]])
        covariance = factor @ factor.T + np.diag(one.noise_root(rows)[0] ** 2)
        mean = one.curve(one.mean[rows], rows)[0]
        wanted = multivariate_normal(mean, covariance).logpdf(one.y) + 0.5 * len(one.y) * np.log(2 * np.pi)
        assert value == pytest.approx(wanted, abs=1e-6)


@pytest.mark.parametrize("kind", ["cov", "ou", "student_t", "offset"])
def test_every_kind_of_noise_is_whitened_to_standard_normals(kind: str) -> None:
    card = noisy.card_of(kind)
    runs = Fleet(points=6, gold_se=0.05).runs()
    if kind == "cov":
        runs = noisy.with_covariance(runs, [noisy.shared_samples(6)] * 3)
    found = []
    for seed in range(40):
        made = simulate(card, runs, seed=seed)
        tree = made.truth.copy()
        design, flat = in_standard_units(tree)
        one = given_rest(design, flat, 1)
        found.append(p_values.whitened(one, one.y - one.fitted())[0])
    assert np.cov(np.array(found).T) == pytest.approx(np.eye(6), abs=0.9)
    assert np.mean(np.square(found)) == pytest.approx(1.0, abs=4 * np.sqrt(2 / 240))


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


def test_what_is_nan_counts_for_nothing() -> None:
    nothing = np.full(3, np.nan)
    assert p_values.together([nothing, np.full(5, 0.02)], [0.5, 0.5]) == pytest.approx(0.02)
    assert np.isnan(p_values.together([nothing]))


def test_the_command_criticises_a_mixture(two, tmp_path) -> None:
    from goldpeak.cli.app import app

    goldpeak.save(mix(two, {"stiff": 0.4, "rl": 0.6}, how="by hand"), tmp_path / "post.nc")
    found = CliRunner().invoke(app, ["check", str(tmp_path / "post.nc")])
    assert found.exit_code == 0, found.output
    assert "have a pattern along KL under stiff (weight 0.40)" in found.output
    assert "The card rl (weight 0.60) by itself:\nNothing speaks against this fit." in found.output


@pytest.mark.slow
def test_probabilities_hold_under_the_model() -> None:
    """p_loo is uniform; of the others small values are no more frequent than they say. Of one run of each fleet."""
    found: dict[str, list[float]] = {}
    for seed in range(120):
        made = simulate(known(), Fleet(rms_per_size=2, points=8, kl_max=20.0), seed=seed)
        post = goldpeak.fit(made.runs, known(), engine="exact", draws=50, seed=seed)
        design, flat = in_standard_units(post, 100)
        each = [given_rest(design, flat, run) for run in range(6)]
        white = [p_values.whitened(one, one.y - one.fitted()) for one in each]
        waves = [p_values.slow_waves(values) for values in white]
        run = seed % 6
        drawn = p_values.pivots(each[run], white[run], waves[run]) | {"p_common": p_values.of_common_waves(waves)}
        for name, values in drawn.items():
            found.setdefault(name, []).append(p_values.together([values]))
        p_loo, _ = p_values.against_the_others(each[run], np.random.default_rng([seed, 3]))
        found.setdefault("p_loo", []).append(p_loo)
    assert uniformity(found["p_loo"]) > 0.005
    for name, values in found.items():
        for level in (0.05, 0.1):
            assert np.mean(np.array(values) <= level) <= level + 3 * np.sqrt(level / 120), name

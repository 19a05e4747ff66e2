"""Draws from the prior: the variables of a posterior, and the moments that the model written out in full has."""

from __future__ import annotations

import warnings
from dataclasses import replace

import dense
import noisy
import numpy as np
import pandas as pd
import pytest
import xarray as xr

import goldpeak
from goldpeak.card import Card
from goldpeak.design import make_design
from goldpeak.errors import FitError, RunsWarning
from goldpeak.library import load_card
from goldpeak.priors import LKJ, HalfNormal, LogNormal
from goldpeak.simulation import Fleet, noise_of, peak_before_data, prior, simulate

FLEET = Fleet(rms_per_size=2, runs_per_rm=2, points=4)


def fixed(card: Card, sigma: float = 1e-9) -> Card:
    """The same with every scale all but known: its prior is then one normal distribution."""
    narrow = {name: LogNormal(np.log(0.1 + 0.05 * i), sigma) for i, name in enumerate("abcd")}
    a, b, c, d = narrow.values()
    alpha = replace(card.alpha, sd_rm=a, sd_run=b)
    smooth = replace(card.discrepancy, lengthscale=LogNormal(0.9, sigma), shared=c, shared_trend=a, run=d)
    return replace(card, alpha=alpha, beta=replace(card.beta, sd_rm=b, sd_run=a), discrepancy=smooth)


@pytest.mark.parametrize("name", ["rl_paper", "rl", "boxcox", pytest.param("similar", marks=pytest.mark.slow)])
def test_the_prior_has_the_variables_of_a_posterior(name: str) -> None:
    made = simulate(name, Fleet(runs_per_rm=2, points=6), seed=1)
    engine = "laplace_is" if name == "similar" else "exact"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        post = goldpeak.fit(made.runs, name, engine=engine, draws=10, chains=1)
    drawn, true = post["posterior"].to_dataset(), made.truth["posterior"].to_dataset()
    assert set(true.data_vars) == set(drawn.data_vars)
    for variable in true.data_vars:
        # The shared shape's basis follows the data.
        assert true[variable].dims == drawn[variable].dims
        if variable != "delta_shape":
            assert true[variable].shape[2:] == drawn[variable].shape[2:]


def test_moments_are_those_of_the_model_written_out_in_full() -> None:
    card = fixed(dense.FULL)
    runs = FLEET.runs()
    total = 20_000
    tree = prior(card, runs, draws=total, seed=3)
    design = make_design(runs.assign(gold=("point", np.ones(runs.sizes["point"]))), card)
    curves = goldpeak.curves.observed_curves(tree)
    gold = curves.gold(design.d)[0][:, design.run_index, np.arange(len(design.d))]
    h = {name: float(tree["posterior"][name].values[0, 0]) for name in design.outer}
    mean, covariance = dense.dense_moments(design, h)
    covariance -= dense.noise_covariance(design, h)
    sd = np.sqrt(np.diag(covariance))
    np.testing.assert_allclose((gold.mean(axis=0) - mean) / sd, 0.0, atol=5.0 / np.sqrt(total))
    found = np.corrcoef(gold.T)
    np.testing.assert_allclose(found, covariance / np.outer(sd, sd), atol=5.0 / np.sqrt(total))
    np.testing.assert_allclose(gold.std(axis=0), sd, rtol=5.0 / np.sqrt(total))


@pytest.mark.parametrize("kind", ["iid", "known", "ou", "student_t", "cov"])
def test_noise_has_the_covariance_of_its_kind(kind: str) -> None:
    card = noisy.card_of(kind)
    runs = Fleet(rm_params=(1e6, 1e7), points=4, gold_se=0.05).runs()
    if kind == "cov":
        runs = noisy.with_covariance(runs, [noisy.shared_samples(4)] * 2)
    design = make_design(runs.assign(gold=("point", np.ones(8))), card)
    h = {"sigma": 0.1, "noise_lengthscale": 2.0, "nugget": 0.03, "nu": 50.0}
    rng = np.random.default_rng(0)
    drawn = np.array([noise_of(design, h, rng) for _ in range(20_000)])
    wanted = np.eye(8) * {"iid": 0.1**2, "known": 0.1**2 + 0.05**2}.get(kind, 0.0)
    same_run = design.run_index[:, None] == design.run_index
    if kind == "ou":
        gap = np.abs(design.d[:, None] - design.d)
        wanted = same_run * 0.1**2 * np.exp(-gap / 2.0) + np.eye(8) * (0.05**2 + 0.03**2)
    if kind == "student_t":
        wanted = np.eye(8) * (0.1**2 + 0.05**2) * 50.0 / 48.0
    if kind == "cov":
        wanted = np.kron(np.eye(2), noisy.shared_samples(4)) + 0.1**2 * np.eye(8)
    np.testing.assert_allclose(np.cov(drawn.T), wanted, atol=0.04 * wanted.max())


def test_correlated_scatter_in_peak_coordinates() -> None:
    card = load_card("similar")
    spread = replace(card.d_star, sd_rm=None, sd_run=HalfNormal(0.3))
    tall = replace(card.gold_star, sd_rm=None, sd_run=HalfNormal(0.3))
    card = replace(card, d_star=spread, gold_star=tall, correlation=LKJ(1.0))
    tree = prior(card, Fleet(rms_per_size=50), draws=50, seed=2)["posterior"].to_dataset()
    x = np.log([1e6, 1e7, 1e8]).repeat(50) - np.log(1e7)
    off = []
    for name in ("d_star", "gold_star"):
        coef = tree[f"{name}_coef"].values[0]
        off.append(np.log(tree[name].values[0]) - coef[:, :1] - coef[:, 1:] * x)
    found = [np.corrcoef(a, b)[0, 1] for a, b in zip(*off, strict=True)]
    np.testing.assert_allclose(found, tree["correlation"].values[0], atol=0.35)


def test_same_seed_same_fleet_and_another_seed_another() -> None:
    first, again, other = (simulate("similar", FLEET, seed=seed) for seed in (1, 1, 2))
    assert first.runs.identical(again.runs)
    assert not np.allclose(first.runs["gold"], other.runs["gold"])


def test_runs_may_be_the_design_and_their_unit_of_gold_is_kept() -> None:
    lab = goldpeak.datasets.lab("rl")
    made = simulate("similar", lab, seed=1)
    assert made.runs["kl"].identical(lab["kl"])
    assert made.runs.attrs["gold_scale"] == pytest.approx(float(made.truth.attrs["gold_scale"]))
    post = goldpeak.fit(made.runs, "rl_paper", draws=10)
    assert post.attrs["gold_scale"] == made.runs.attrs["gold_scale"]


def test_peaks_before_data_are_those_of_the_cards_priors() -> None:
    found = peak_before_data("rl_paper", Fleet(rm_params=(1e7, 1e9)), [1e8], draws=4000, seed=1)
    card = load_card("rl_paper")
    rng = np.random.default_rng(0)
    terms = [card.alpha.trend.intercept, card.beta.trend.intercept]
    scatter = [abs(rng.standard_normal(4000)) * c.sd_run.sigma for c in (card.alpha, card.beta)]
    alpha, beta = (
        t.mu + t.sigma * rng.standard_normal(4000) + s * rng.standard_normal(4000)
        for t, s in zip(terms, scatter, strict=True)
    )
    with np.errstate(all="ignore"):
        kl = np.where(beta > 0, np.exp(2 * (alpha / beta - 1)), np.inf)
    assert float(found["p_peak_below_kl_max"][0]) == pytest.approx(np.mean(kl <= found.attrs["kl_max"]), abs=0.05)


def test_a_plan_that_makes_no_sense_is_refused_with_all_problems() -> None:
    with pytest.raises(FitError, match=r"points is 0.*rm_params.*kl_min, kl_max.*gold_se.*method"):
        Fleet(rm_params=(), points=0, kl_min=2.0, kl_max=1.0, gold_se=-1.0, method="x").runs()
    with pytest.raises(FitError, match="draws is 0"):
        prior("rl", draws=0)
    with pytest.raises(FitError, match=r"rms_per_size is '2'.*points is 3\.5.*a size twice"):
        Fleet(rm_params=(1e6, 1e6), rms_per_size="2", points=3.5).runs()  # type: ignore[arg-type]


def test_the_unit_of_priors_is_that_of_a_fit_where_gold_only_falls() -> None:
    table = pd.DataFrame({"run": "a", "rm_params": 1e6, "kl": [1.0, 4, 9], "gold": [-5.0, -7, -9]})
    runs = goldpeak.read_runs(table)
    assert prior("rl_paper", runs, draws=2).attrs["gold_scale"] == make_design(runs, load_card("rl_paper")).scale == 9.0


def test_one_size_has_a_prior_and_no_trend() -> None:
    made = simulate("rl", Fleet(rm_params=(1e6,)), seed=0)
    assert isinstance(made.runs, xr.Dataset)
    with pytest.raises(FitError, match="same rm_params"):
        goldpeak.peak(made.truth, [1e7])


def test_without_standard_errors_the_card_says_so() -> None:
    with pytest.warns(RunsWarning, match="gold_se"):
        simulate("rl", Fleet(gold_se=None), seed=0)

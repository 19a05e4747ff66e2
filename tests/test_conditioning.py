"""Densities of new runs given the fleet: against brute force, and against differences of log marginal likelihoods."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from scipy.special import logsumexp
from scipy.stats import multivariate_normal

import goldpeak
from goldpeak.card import Card
from goldpeak.conditioning import condition, log_mean_density, log_predictive
from goldpeak.curves import new_curves
from goldpeak.errors import FitError
from goldpeak.newrun import Known, new_runs
from goldpeak.priors import HalfNormal, LogNormal
from goldpeak.subset import as_table

DRAWS = 40
"""Draws of the fleet that are checked one by one."""


@pytest.fixture(scope="module")
def fleet() -> xr.Dataset:
    """One run of each reward model of the lab's smaller half, in fixed units of gold."""
    runs = goldpeak.datasets.lab("rl")
    keep = np.zeros(runs.sizes["run"], dtype=bool)
    keep[:20:2] = True
    few = goldpeak.select(runs, keep)
    few.attrs["gold_scale"] = 1.0
    return few


def noisy(post: xr.DataTree, sd: float = 0.3) -> xr.Dataset:
    """A run about where it is expected, with so much noise that plain Monte Carlo meets its points."""
    kl = np.array([0.5, 3.0, 8.0, 15.0, 25.0])
    expected = np.median(goldpeak.predict(post, kl, [1500.0])["gold"].values[0, :, 0], axis=0)
    gold = expected + sd * np.random.default_rng(7).standard_normal(len(kl))
    table = pd.DataFrame({"run": "new", "rm_params": 1500.0, "kl": kl, "gold": gold, "gold_se": sd})
    return goldpeak.read_runs(table, baseline="none")


def brute_force(post: xr.DataTree, run: xr.Dataset, replicates: int = 400) -> tuple[np.ndarray, np.ndarray]:
    """Log predictive density of each draw, and its standard error: the mean over many curves of the draw."""
    few = post.copy()
    draws = few["posterior"].sizes["draw"]
    repeat = few["posterior"].to_dataset().isel(draw=np.repeat(np.arange(draws), replicates))
    few["posterior"] = xr.DataTree(repeat.assign_coords(draw=np.arange(draws * replicates)))
    curves = new_curves(few, run["rm_params"].values, seed=3)
    misfit = run["gold"].values - curves.gold(np.sqrt(run["kl"].values))[0, :, 0]
    spread = run["gold_se"].values ** 2 + repeat["sigma"].values[0][:, None] ** 2
    density = np.exp(-0.5 * np.sum(np.log(2 * np.pi * spread) + misfit**2 / spread, axis=1))
    density = density.reshape(draws, replicates)
    mean = density.mean(axis=1)
    return np.log(mean), density.std(axis=1) / np.sqrt(replicates) / mean


def thinned(post: xr.DataTree) -> xr.DataTree:
    """A few draws of the first chain."""
    few = post.copy()
    few["posterior"] = xr.DataTree(post["posterior"].to_dataset().isel(chain=[0], draw=slice(DRAWS)))
    return few


@pytest.fixture(scope="module")
def fitted(fleet: xr.Dataset) -> Callable[[str], xr.DataTree]:
    """Few draws of a card's posterior; fitted once."""
    return functools.cache(lambda card: goldpeak.fit(fleet, card, draws=50, chains=1, seed=1))


def with_log_links(post: xr.DataTree, *names: str) -> xr.DataTree:
    """A posterior of card ``rl`` made over into one whose coefficients are logs: any numbers will do here."""
    card = Card.from_toml(post.attrs["card"])
    logs = {name: dataclasses.replace(card.coefficients[name], link="log") for name in names}
    posterior = post["posterior"].to_dataset()
    for name in names:
        coef = posterior[f"{name}_coef"]
        level = np.maximum(coef.sel({f"{name}_term": "intercept"}), 0.1)
        posterior[f"{name}_coef"] = xr.where(coef[f"{name}_term"] == "intercept", np.log(level), coef / level)
        posterior[f"{name}_sd_rm"] = 3.0 * posterior[f"{name}_sd_rm"]
    found = post.copy()
    found["posterior"] = xr.DataTree(posterior)
    found.attrs["card"] = dataclasses.replace(card, **logs).to_toml()
    return found


def with_gamma(post: xr.DataTree) -> xr.DataTree:
    """A posterior of card ``rl`` made over into one whose form has a gamma."""
    card = Card.from_toml(post.attrs["card"])
    found = post.copy()
    posterior = post["posterior"].to_dataset()
    found["posterior"] = xr.DataTree(
        posterior.assign(gamma=0.2 + 0.3 * abs(posterior["sigma"] / posterior["sigma"].max()))
    )
    found.attrs["card"] = dataclasses.replace(card, form=goldpeak.load_card("boxcox").form).to_toml()
    return found


def of_card(fitted: Callable[[str], xr.DataTree], card: str) -> xr.DataTree:
    """A few draws of a card, or of one made over from ``rl``."""
    if card == "gamma":
        return thinned(with_gamma(fitted("rl")))
    if card.startswith("log"):
        return thinned(with_log_links(fitted("rl"), *card.removeprefix("log ").split(", ")))
    return thinned(fitted(card))


@pytest.mark.parametrize("card", ["rl", "gamma", "similar", "log beta", "log alpha", "log alpha, beta"])
def test_density_is_the_mean_over_curves(fitted: Callable[[str], xr.DataTree], card: str) -> None:
    post = of_card(fitted, card)
    run = noisy(post)
    expected, se = brute_force(post, run)
    found = log_predictive(post, run).values[0, :, 0]
    met = se < 0.1  # elsewhere too few of the curves come near the points to know their mean
    assert met.sum() > DRAWS / 2
    away = ((found - expected) / se)[met]
    assert np.abs(away).max() < 4.5
    assert abs(away.mean()) < 4.0 / np.sqrt(DRAWS)


@pytest.mark.parametrize(
    "card", ["rl_paper", *(pytest.param(card, marks=pytest.mark.slow) for card in ("rl", "similar"))]
)
def test_density_is_the_gain_in_marginal_likelihood(fleet: xr.Dataset, card: str) -> None:
    keep = np.arange(fleet.sizes["run"]) != 5
    kl_max = 2.0 * float(fleet["kl"].max())
    whole, part = (
        goldpeak.fit(runs, card, seed=seed, draws=500, kl_max=kl_max)
        for seed, runs in ((1, fleet), (2, goldpeak.select(fleet, keep)))
    )
    found = log_predictive(part, goldpeak.select(fleet, ~keep)).values.ravel()
    weights = np.exp(found - found.max())
    gain = whole.attrs["log_marginal_likelihood"] - part.attrs["log_marginal_likelihood"]
    errors = [post.attrs["log_marginal_likelihood_se"] for post in (whole, part)]
    errors.append(weights.std() / weights.mean() / np.sqrt(len(weights)))
    assert logsumexp(found) - np.log(len(found)) == pytest.approx(gain, abs=4.0 * np.linalg.norm(errors))


def test_correlated_noise_counts(fleet: xr.Dataset) -> None:
    """Each draw's density is that of a normal whose covariance is written out: an OU process, an offset, a block."""
    rl = goldpeak.load_card("rl_paper")
    noise = dataclasses.replace(
        rl.noise, kind="ou", lengthscale=LogNormal(0.0, 0.3), time="d", offset_sd=HalfNormal(0.05)
    )
    post = goldpeak.fit(fleet, dataclasses.replace(rl, noise=noise), draws=50, chains=1)
    (run,) = new_runs(post, [1e3])
    d, gold, se = np.array([0.5, 1.0, 3.0]), np.array([0.2, 0.4, 0.8]), np.array([0.1, 0.2, 0.1])
    block = 0.01 * np.exp(-np.abs(d[:, None] - d))
    found = condition(run, d, gold, Known(se, block, time=d)).log_density
    h = {name: values[3] for name, values in run.noise.h.items()}
    z = run.linear.columns(d)[0]
    covariance = z * run.linear.sd[3] ** 2 @ z.T + block + np.diag(se**2) + h["offset_sd"] ** 2
    covariance += h["sigma"] ** 2 * np.exp(-np.abs(d[:, None] - d) / h["noise_lengthscale"])
    assert found[3] == pytest.approx(multivariate_normal(z @ run.linear.mean[3], covariance).logpdf(gold), abs=1e-6)


def test_draws_of_the_peak_agree_with_weighted_ones(fitted: Callable[[str], xr.DataTree]) -> None:
    """Place and height of the peak given points: drawn directly, or from the prior with weights."""
    (run,) = new_runs(thinned(fitted("similar")), [500.0])
    one = run.take(np.zeros(200_000, dtype=np.int64))
    d, gold, known = np.array([1.0, 3.0]), np.array([0.5, 0.9]), Known(np.array([0.2, 0.2]))
    found = condition(run.take(np.zeros(1, dtype=np.int64)), d, gold, known)
    direct = np.stack(found.draw_bent(np.zeros(4_000, dtype=np.int64), np.random.default_rng(1)))
    rng = np.random.default_rng(2)
    prior = one.bent.prior
    t = prior.mean[:, 0] + prior.sd_d * rng.standard_normal(one.draws)
    height = prior.mean[:, 1] + prior.lean * (t - prior.mean[:, 0]) + prior.sd_gold * rng.standard_normal(one.draws)
    _, curve = one.bent.parts(t[:, None], d)
    z = one.linear.columns(d)[0]
    covariance = z * one.linear.sd[0] ** 2 @ z.T + one.noise.take(np.zeros(1, dtype=np.int64)).covariance(known, d)[0]
    weights = multivariate_normal(np.zeros(2), covariance).pdf(gold - np.exp(height)[:, None] * curve[:, 0])
    for values, drawn in ((t, direct[0]), (height, direct[1])):
        mean = np.average(values, weights=weights)
        sd = np.sqrt(np.average((values - mean) ** 2, weights=weights))
        assert drawn.mean() == pytest.approx(mean, abs=4.5 * sd / np.sqrt(len(drawn)))
        assert drawn.std() == pytest.approx(sd, rel=0.06)


def test_units_of_gold_shift_the_density(fleet: xr.Dataset) -> None:
    run = goldpeak.select(fleet, np.arange(fleet.sizes["run"]) == 9)
    found = []
    for unit in (1.0, 1000.0):
        tables = [as_table(part) for part in (fleet, run)]
        scaled = [
            goldpeak.read_runs(
                table.assign(gold=table["gold"] * unit, gold_se=table["gold_se"] * unit), gold_scale=unit
            )
            for table in tables
        ]
        found.append(log_predictive(goldpeak.fit(scaled[0], "rl_paper", draws=50, chains=1), scaled[1]).values)
    shift = run.sizes["point"] * np.log(1000.0)
    np.testing.assert_allclose(found[1], found[0] - shift, rtol=0, atol=1e-4)


def test_what_cannot_be_said_is_refused(fleet: xr.Dataset, fitted: Callable[[str], xr.DataTree]) -> None:
    post = fitted("rl")
    far = fleet.assign(kl=fleet["kl"] * 5.0)
    with pytest.raises(FitError, match="discrepancy reaches only to"):
        log_predictive(post, far)
    with pytest.raises(FitError, match="include is 'all'"):
        log_predictive(post, fleet, include="all")  # type: ignore[arg-type]


@pytest.mark.parametrize("card", ["rl", "gamma", "similar", "log beta"])
def test_many_points_take_another_way_to_the_same(
    fitted: Callable[[str], xr.DataTree], monkeypatch: pytest.MonkeyPatch, card: str
) -> None:
    (run,) = new_runs(of_card(fitted, card), [500.0])
    offset = {"offset_sd": np.full(run.draws, 0.05)}
    run = dataclasses.replace(run, noise=dataclasses.replace(run.noise, h=run.noise.h | offset))
    rng = np.random.default_rng(4)
    d = np.sort(rng.uniform(0.1, 6.0, 150))
    gold, known = 0.6 * d - 0.1 * d**2 + 0.1 * rng.standard_normal(len(d)), Known(rng.uniform(0.05, 0.15, len(d)))
    many = condition(run, d, gold, known).log_density
    monkeypatch.setattr("goldpeak.conditioning.MANY", 1000)
    np.testing.assert_allclose(many, condition(run, d, gold, known).log_density, atol=1e-5)


def test_the_log_of_a_mean_density_and_its_error():
    rng = np.random.default_rng(0)
    values = xr.DataArray(rng.normal(size=(4, 500, 1)) - 2000.0, dims=("chain", "draw", "run"))
    found, se = log_mean_density(values)
    assert found[0] == pytest.approx(-1999.5, abs=4 * se[0])
    assert se[0] == pytest.approx(np.sqrt((np.e - 1) / 2000), rel=0.3)

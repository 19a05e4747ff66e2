"""Power-scaling: densities of priors, distances, and diagnoses that follow the information there is."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from scipy import stats

import goldpeak
from goldpeak.check.sensitivity import _density, _origin, _reweighted, _weights, log_prior
from goldpeak.check.standard import in_standard_units
from goldpeak.errors import FitError
from goldpeak.mixture import mix
from goldpeak.priors import LKJ, HalfNormal, LogNormal, Normal
from goldpeak.simulation import Fleet, simulate

X = np.array([0.1, 0.5, 0.9])


@pytest.mark.parametrize(
    ("prior", "law"),
    [
        (Normal(0.3, 0.7), stats.norm(0.3, 0.7)),
        (HalfNormal(0.4), stats.halfnorm(scale=0.4)),
        (LogNormal(-1.0, 0.6), stats.lognorm(0.6, scale=np.exp(-1.0))),
        (LKJ(2.0), stats.beta(2.0, 2.0, loc=-1.0, scale=2.0)),
    ],
)
def test_densities_are_scipys_up_to_a_constant(prior, law) -> None:
    off = _density(prior, X) - law.logpdf(X)
    np.testing.assert_allclose(off, off[0], atol=1e-12)


def test_every_stated_prior_is_in_a_group_and_a_scaled_unit_changes_nothing() -> None:
    made = simulate("similar", Fleet(points=6), seed=1)
    design, flat = in_standard_units(made.truth)
    assert set(log_prior(design, flat)) == {"trend", "scatter", "discrepancy", "shape", "noise"}
    post = goldpeak.fit(goldpeak.datasets.lab("rl"), "rl_paper", draws=20)
    design, flat = in_standard_units(post)
    sd = goldpeak.load_card("rl_paper").alpha.sd_run.sigma
    scaled = post["posterior"]["alpha_sd_run"].values.ravel() / design.scale
    np.testing.assert_allclose(flat["alpha_sd_run"], scaled)
    assert set(log_prior(design, flat)) == {"trend", "scatter", "noise"}
    assert sd > 0


def test_reweighting_a_normal_prior_is_a_normal_of_another_width() -> None:
    """Prior to the power a: its variance is divided by a."""
    rng = np.random.default_rng(0)
    z = rng.standard_normal(40_000)
    weights, khat = _weights(1.25, -0.5 * z**2)
    assert np.average(z**2, weights=weights) == pytest.approx(0.8, rel=0.03)
    assert khat < 0.7


def test_few_and_noisy_data_leave_the_peak_to_the_prior_and_many_do_not() -> None:
    words = {}
    for label, fleet in {
        "much": Fleet(points=20, rms_per_size=3, gold_se=0.02),
        "little": Fleet(points=3, kl_min=0.05, kl_max=0.2, gold_se=1.0),
    }.items():
        runs = fleet.runs()
        d = np.sqrt(runs["kl"].values)
        runs = runs.assign(gold=("point", 0.7 * d - 0.3 * d * np.log(d)))
        post = goldpeak.fit(runs, "rl", engine="exact", draws=250, kl_max=80.0, seed=1)
        words[label] = goldpeak.sensitivity(post)
    assert (words["much"].table["diagnosis"] == "data").all()
    assert (words["little"].table["prior"] > words["much"].table["prior"].max()).all()
    little = words["little"].table
    assert (little["likelihood"] < 0.5 * little["prior"]).all()
    assert "hangs on the priors" in " ".join(words["little"].sentences)
    assert "known from the data" in words["much"].sentences[0]


def test_a_mixture_is_reweighted_card_by_card_and_keeps_its_weights() -> None:
    """Of two copies of a posterior it says what it says of the posterior; of two cards it lies where their draws do."""
    runs, sizes = goldpeak.datasets.lab("rl"), [1e5]
    first, second = (goldpeak.fit(runs, card, seed=1) for card in ("rl_paper", "bon_paper"))
    once = goldpeak.sensitivity(first, sizes).table.iloc[0]
    twice = goldpeak.sensitivity(mix({"a": first, "b": first}, {"a": 0.3, "b": 0.7}, how="by hand"), sizes)
    for name in ("prior", "scatter", "noise"):
        assert twice.table[name].iloc[0] == pytest.approx(once[name], rel=0.15, abs=0.005), name
    assert twice.table["median_weak_prior"].iloc[0] == pytest.approx(once["median_weak_prior"], rel=0.01)
    mixed = mix({"rl": first, "bon": second}, {"rl": 0.25, "bon": 0.75}, how="by hand")
    found = goldpeak.sensitivity(mixed, sizes)
    assert found.weights == {"rl": 0.25, "bon": 0.75}
    assert found.by_card["rl"].table.iloc[0].equals(once)
    origin = _origin(mixed)
    for place, row in origin:
        assert_same_draws(mixed, place, row, (first, second)[int(len(place) > 2000)])
    densities = [np.random.default_rng(k).standard_normal(4000) for k in range(2)]
    weights, khat = _reweighted(origin, densities, 1.25)
    assert weights[origin[0][0]].sum() == pytest.approx(0.25, abs=1e-3)
    assert weights.sum() == pytest.approx(1.0)
    assert np.corrcoef(weights[origin[1][0]], densities[1][origin[1][1]])[0, 1] > 0.9
    assert khat < 0.7
    # What a card does not have is not scaled there.
    still, _ = _reweighted(origin, [densities[0], None], 1.25)
    assert np.ptp(still[origin[1][0]]) == 0.0


def assert_same_draws(mixed: xr.DataTree, place: np.ndarray, row: np.ndarray, post: xr.DataTree) -> None:
    """Draws of the mixture are draws of a card, in that order."""
    here, there = (goldpeak.peak(each, kl_max=10.0).draws["kl_peak"].values for each in (mixed, post))
    runs = here.shape[-1]
    np.testing.assert_array_equal(here.reshape(-1, runs)[place], there.reshape(-1, runs)[row])


def test_a_card_of_little_weight_may_have_no_draw() -> None:
    post = goldpeak.fit(goldpeak.datasets.lab("rl"), "rl_paper", draws=50)
    found = goldpeak.sensitivity(mix({"a": post, "b": post}, {"a": 1e-7, "b": 1.0 - 1e-7}, how="by hand"), [1e5])
    assert found.table["prior"].iloc[0] == pytest.approx(goldpeak.sensitivity(post, [1e5]).table["prior"].iloc[0])
    assert list(found.by_card) == ["a", "b"]


def test_what_is_no_posterior_is_refused() -> None:
    with pytest.raises(FitError, match="this is no posterior; allowed: what fit, combine or load returned"):
        goldpeak.sensitivity(xr.DataTree())


def test_what_a_card_expects_is_shown_before_any_data() -> None:
    from typer.testing import CliRunner

    from goldpeak.cli.app import app

    found = CliRunner().invoke(app, ["models", "rl_paper", "--prior"])
    assert found.exit_code == 0
    assert "Before any data" in found.output
    assert "10 N0" in found.output
    assert isinstance(CliRunner().invoke(app, ["models", "--prior"]).exception, FitError)

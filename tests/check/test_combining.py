"""Mixtures of cards with stacking weights: what they hold, and what does not belong together."""

from __future__ import annotations

import json

import numpy as np
import pytest
import simulate
from numpy.testing import assert_allclose

import goldpeak
from goldpeak.errors import ConvergenceWarning, FitError, RunsWarning
from goldpeak.mixture import weights_of

CARDS = ("rl_paper", "bon_paper")
pytestmark = pytest.mark.usefixtures("cache")


def test_a_combined_posterior_says_how_it_was_made_and_survives_the_disk(mixed, tmp_path):
    goldpeak.save(mixed, tmp_path / "post.nc")
    back = goldpeak.load(tmp_path / "post.nc")
    assert back.identical(mixed)
    assert weights_of(back) == weights_of(mixed)
    assert sum(weights_of(mixed).values()) == pytest.approx(1.0)
    assert "2 origins" in mixed.attrs["engine_reason"]
    assert back["stacking"]["log_predictive"].dims == ("card", "fold", "run")
    drawn = mixed["posterior"]["component"].values
    assert abs(np.mean(drawn == 0) - weights_of(mixed)["rl_paper"]) <= 1 / drawn.size


def test_its_intervals_are_those_of_weighted_draws(mixed, posts):
    size = [2.5e8]
    found = goldpeak.peak(mixed, size, "typical").table.iloc[0]
    each = [goldpeak.peak(post, size, "typical").draws["kl_peak"].values.ravel() for post in posts]
    weight = np.concatenate([np.full(1000, w / 1000) for w in weights_of(mixed).values()])
    values = np.concatenate(each)
    order = np.argsort(values)
    below = np.cumsum(weight[order])
    # A thousand draws: quantiles within three standard errors of their probability.
    for name, level in (("lo", 0.05), ("median", 0.5), ("hi", 0.95)):
        place = np.interp(found[name], values[order], below)
        assert place == pytest.approx(level, abs=3 * np.sqrt(level * (1 - level) / 1000) + 1e-3)


def test_weights_given_are_taken_as_they_are(posts):
    post = goldpeak.combine(posts, weights={"rl_paper": 1.0, "bon_paper": 0.0})
    assert (post["posterior"]["component"] == 0).all()
    assert post.attrs["engine_reason"] == "weights as given"
    one = goldpeak.peak(post).table["median"]
    assert_allclose(one, goldpeak.peak(posts[0]).table["median"], rtol=0.02)


def test_posteriors_that_do_not_belong_together_are_refused(posts, runs):
    other = goldpeak.select(runs, np.arange(runs.sizes["run"]) > 0)
    with pytest.raises(FitError, match=r"different runs \(digests: rl_paper .*bon_paper"):
        goldpeak.combine([posts[0], goldpeak.fit(other, "bon_paper", draws=100)])
    with pytest.raises(FitError, match=r"digests: .*the runs given"):
        goldpeak.combine(posts, other)
    with pytest.raises(FitError, match="two posteriors are of card 'rl_paper'"):
        goldpeak.combine([posts[0], posts[0]])
    best_of_n = goldpeak.fit(goldpeak.datasets.lab("bon"), "bon_paper", draws=100)
    with pytest.raises(FitError, match=r"methods differ \(rl_paper: rl, bon_paper: bon\)"):
        goldpeak.combine([posts[0], best_of_n])
    with pytest.raises(FitError, match="entry 2 is str"):
        goldpeak.combine([posts[0], "rl"])  # type: ignore[list-item]
    with pytest.raises(FitError, match="sequence of cards"):
        goldpeak.combine([])
    with pytest.raises(FitError, match="needs the runs"):
        goldpeak.combine(CARDS)


def test_two_sizes_say_nothing_of_how_cards_extrapolate(runs):
    few = goldpeak.select(runs, runs["rm_params"].values < 1e7)
    with pytest.raises(FitError, match="needs 3 sizes at least; the runs have 2"):
        goldpeak.combine(CARDS, few, draws=100)


def test_a_card_that_cannot_be_fitted_is_left_out_and_named(runs):
    falling = simulate.table(np.random.default_rng(3), sizes=(1e6, 4e6, 1.6e7), noise=0.01)
    falling.loc[falling["run"] == falling["run"].iloc[0], "gold"] = -falling["kl"]
    data = goldpeak.read_runs(falling)
    with pytest.warns(RunsWarning, match="left out: similar: .*gold never rises"):
        post = goldpeak.combine(["rl_paper", "similar"], data, draws=100)
    assert list(weights_of(post)) == ["rl_paper"]
    assert "gold never rises" in json.loads(post.attrs["notes"])[0]
    with pytest.raises(FitError, match="every card was refused"):
        goldpeak.combine(["similar"], data, draws=100)


def test_a_failed_gate_of_a_component_is_loud(posts):
    damaged = posts[1].copy()
    damaged.attrs = dict(damaged.attrs)
    damaged.attrs["gates"] = json.dumps({"passed": False, "measured": {"pareto_k": 1.2}, "failures": ["Pareto k"]})
    with pytest.warns(ConvergenceWarning, match="bon_paper: Pareto k"):
        post = goldpeak.combine([posts[0], damaged], weights={"rl_paper": 0.5, "bon_paper": 0.5})
    assert not json.loads(post.attrs["gates"])["passed"]


@pytest.mark.slow
def test_the_recommended_cards_together_on_bundled_runs():
    """What README says of them: `similar` weighs most, and all of the larger runs' peaks are covered."""
    small, large = goldpeak.split_by_size(goldpeak.datasets.lab("rl"))
    post = goldpeak.fit(small, seed=1, draws=500)
    assert weights_of(post)["similar"] == pytest.approx(0.78, abs=0.03)
    measured = goldpeak.datasets.measured_peaks(large)
    sizes = np.unique(large["rm_params"].values)
    table = goldpeak.peak(post, sizes).table.set_index("rm_params").loc[large["rm_params"].values]
    inside = (table["lo"].values <= measured["kl_peak"].values) & (measured["kl_peak"].values <= table["hi"].values)
    assert inside.mean() == pytest.approx(1.0, abs=0.051)

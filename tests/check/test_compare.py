"""Cards side by side: leave-one-run-out, tables, where they disagree, and the command."""

from __future__ import annotations

import json

import numpy as np
import pytest
import simulate
from typer.testing import CliRunner

import goldpeak
from goldpeak.check.compare import distance, leave_one_run_out
from goldpeak.cli.app import app
from goldpeak.conditioning import log_mean_density
from goldpeak.errors import FitError

CARDS = ("rl_paper", "bon_paper")
pytestmark = pytest.mark.usefixtures("cache")


def test_leaving_out_a_run_is_what_fitting_without_it_says(runs, posts):
    post = goldpeak.fit(runs, "rl_paper", draws=1000, seed=4)
    found = leave_one_run_out(post, draws=4000)
    trusted = found["run"].values[found["pareto_k"].values < 0.5]
    assert len(trusted) > 6
    names = runs["run"].values
    for name in trusted[::3]:
        without = goldpeak.fit(goldpeak.select(runs, names != name), "rl_paper", draws=1000, seed=5)
        exact, se = log_mean_density(
            goldpeak.conditioning.log_predictive(without, goldpeak.select(runs, names == name))
        )
        assert float(found["elpd_loo"].sel(run=name)) == pytest.approx(float(exact[0]), abs=4 * float(se[0]) + 0.1)


def test_runs_that_share_a_reward_model_have_no_loo_and_the_comparison_says_so(mixed):
    shared = simulate.runs(np.random.default_rng(3), share_rm=True, noise=0.01)
    posts = [goldpeak.fit(shared, card, draws=250) for card in CARDS]
    with pytest.raises(FitError, match="share a reward model"):
        leave_one_run_out(posts[0])
    post = goldpeak.combine(posts, weights={"rl_paper": 0.5, "bon_paper": 0.5})
    found = goldpeak.compare(post)
    assert found.table["elpd_loo"].isna().all()
    assert any("no PSIS-LOO" in note for note in found.notes)


def test_a_comparison_says_what_speaks_for_each_card_and_where_they_disagree(mixed):
    found = goldpeak.compare(mixed, rm_params=[1e7, 1e9])
    table = found.table
    assert table.loc["rl_paper", "weight"] > table.loc["bon_paper", "weight"]
    assert table.loc["rl_paper", "log_score"] > table.loc["bon_paper", "log_score"]
    assert table.loc["rl_paper", "elpd_loo"] > table.loc["bon_paper", "elpd_loo"]
    assert table.loc["rl_paper", "log_marginal_likelihood"] > table.loc["bon_paper", "log_marginal_likelihood"]
    assert found.peaks["card"].tolist() == [*CARDS, "combined"] * 2
    assert found.disagreement.index.tolist() == [1e7, 1e9]
    assert found.disagreement["distance"].between(0, 1).all()


def test_by_default_the_largest_size_and_ten_times_that_are_asked_about(mixed):
    assert goldpeak.compare(mixed, loo=False).disagreement.index.tolist() == [6.4e7, 6.4e8]


def test_of_a_mixture_runs_and_options_are_settled(mixed):
    with pytest.raises(FitError, match="not allowed: runs, draws"):
        goldpeak.compare(mixed, [1e7, 1e9], draws=100)


def test_distance_counts_peaks_at_infinity():
    rising = np.full(100, np.inf)
    assert distance(rising, rising) == 0.0
    assert distance(np.ones(100), rising) == 1.0
    assert distance(np.repeat([1.0, np.inf], 50), rising) == 0.5


def test_compare_on_the_command_line(mixed, tmp_path):
    goldpeak.save(mixed, tmp_path / "post.nc")
    done = CliRunner().invoke(app, ["compare", str(tmp_path / "post.nc"), "--rm-params", "1e9"])
    assert done.exit_code == 0, done.output
    for words in ("PSIS-LOO", "rl_paper", "combined", "At 1B rl_paper and bon_paper lie furthest apart", "2 origins"):
        assert words in done.stdout
    done = CliRunner().invoke(app, ["compare", str(tmp_path / "post.nc"), "--rm-params", "1e9", "--json", "--no-loo"])
    found = json.loads(done.stdout)
    assert [row["card"] for row in found["cards"]] == list(CARDS)
    assert found["cards"][0]["elpd_loo"] is None
    assert found["interval"] == "eti"


def test_compare_of_runs_fits_the_cards_named(tmp_path):
    table = simulate.table(np.random.default_rng(3), noise=0.01)
    table.to_csv(tmp_path / "runs.csv", index=False)
    command = ["compare", str(tmp_path / "runs.csv"), "--cards", "rl_paper, bon_paper", "--no-loo", "--json"]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["cards"][0]["weight"] > 0.5
    wrong = CliRunner().invoke(app, ["compare", str(tmp_path / "runs.csv"), str(tmp_path / "post.nc")])
    assert isinstance(wrong.exception, FitError)

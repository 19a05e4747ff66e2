"""What `fit` does where no card is chosen."""

from __future__ import annotations

import joblib
import numpy as np
import pytest
import simulate
import xarray as xr
from typer.testing import CliRunner

import goldpeak
from goldpeak import automatic
from goldpeak.cli.app import app
from goldpeak.errors import RunsWarning
from goldpeak.mixture import weights_of

CARDS = ("rl_paper", "bon_paper")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """Refits touch no user's cache and start no processes."""
    monkeypatch.setenv("GOLDPEAK_CACHE", str(tmp_path / "refits"))
    with joblib.parallel_config(n_jobs=1):
        yield


@pytest.fixture(scope="module")
def runs() -> xr.Dataset:
    sizes = (1e6, 4e6, 1.6e7, 6.4e7)
    return simulate.runs(np.random.default_rng(3), sizes=sizes, noise=0.01, runs_per_size=3)


def test_auto_combines_the_recommended_cards(runs, monkeypatch):
    monkeypatch.setitem(automatic.RECOMMENDED, "rl", CARDS)
    post = goldpeak.fit(runs, "auto", draws=100, seed=2)
    assert tuple(weights_of(post)) == CARDS
    assert "rl_paper, bon_paper" in post.attrs["card_reason"]


def test_auto_with_two_sizes_takes_the_first_card_and_says_so(runs, monkeypatch, tmp_path):
    monkeypatch.setitem(automatic.RECOMMENDED, "rl", CARDS)
    few = goldpeak.select(runs, runs["rm_params"].values < 1e7)
    with pytest.warns(RunsWarning, match="card 'rl_paper' alone: .* takes 3 sizes .* the runs have 2"):
        post = goldpeak.fit(few, draws=100)
    assert post.attrs["card_name"] == "rl_paper"
    assert "alone" in post.attrs["card_reason"]
    table = simulate.table(np.random.default_rng(3), sizes=(1e6, 4e6), noise=0.01)
    table.to_csv(tmp_path / "runs.csv", index=False)
    command = ["fit", str(tmp_path / "runs.csv"), "--card", "auto", "--out", str(tmp_path / "post.nc")]
    with pytest.warns(RunsWarning):
        done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    assert done.stdout == ""
    assert "card 'rl_paper' alone" in done.stderr
    assert goldpeak.load(tmp_path / "post.nc").attrs["card_reason"] in done.stderr


def test_auto_falls_back_to_a_card_that_takes_the_runs():
    falling = simulate.table(np.random.default_rng(3), sizes=(1e6, 4e6), noise=0.01)
    falling.loc[falling["run"] == falling["run"].iloc[0], "gold"] = -falling["kl"]
    with pytest.warns(RunsWarning, match="card 'rl' alone.*similar: run .* gold never rises"):
        post = goldpeak.fit(goldpeak.read_runs(falling), draws=100)
    assert post.attrs["card_name"] == "rl"


def test_auto_for_best_of_n_takes_one_card(recwarn):
    runs = goldpeak.datasets.lab("bon")
    few = goldpeak.select(runs, (runs["rm_params"].values < 60) & (np.arange(40) % 2 == 0))
    post = goldpeak.fit(few, draws=100)
    assert post.attrs["card_name"] == automatic.RECOMMENDED["bon"][0]
    assert post.attrs["card_reason"] == "card 'similar_bon' alone, as recommended for bon"
    assert not [each for each in recwarn if each.category is RunsWarning]
    falling = few.assign(gold=few["gold"] * np.where(few["run_index"] == 0, -1.0, 1.0))
    with pytest.warns(RunsWarning, match="card 'boxcox' alone.*similar_bon: run .* gold never rises"):
        post = goldpeak.fit(falling, draws=100)
    assert post.attrs["card_name"] == "boxcox"


def test_every_recommended_card_is_there():
    for cards in automatic.RECOMMENDED.values():
        assert set(cards) <= set(goldpeak.models().index)

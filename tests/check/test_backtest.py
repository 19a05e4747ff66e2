"""Backtests: scores against brute force, the picture and the command."""

from __future__ import annotations

import json
import warnings
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.figure import Figure

import goldpeak
from goldpeak.check.backtest import PROBS, _scores_of, crps
from goldpeak.check.folds import Fold, folds
from goldpeak.check.model_free import MeasuredPeak
from goldpeak.cli import main
from goldpeak.conditioning import log_predictive
from goldpeak.errors import FitError, RunsError, RunsWarning
from goldpeak.subset import as_table

RUNS = goldpeak.datasets.lab("rl")
FEW = goldpeak.select(RUNS, (RUNS["rm_params"] > 1000) & (RUNS["seed"] < 2))


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    cache = tmp_path_factory.mktemp("refits")
    return goldpeak.backtest(FEW, ["rl_paper", "bon_paper"], engine="fast", draws=150, cache=cache, jobs=1)


def test_crps_is_the_integral_of_the_brier_score():
    rng = np.random.default_rng(0)
    draws, truth = rng.standard_normal(500), 0.7
    at = np.linspace(-8, 8, 200_001)
    below = np.searchsorted(np.sort(draws), at, side="right") / 500
    assert crps(draws, truth) == pytest.approx(np.trapezoid((below - (at >= truth)) ** 2, at), rel=1e-3)


def test_draws_at_infinity_count_as_beyond_the_run():
    exact = MeasuredPeak(9.0, np.full(50, 9.0), 1.0, 16.0, np.array([0.0, 3.0, 4.0]), np.array([0.0, 1.0, 0.5]))
    kl = np.array([4.0, 9.0, 400.0, np.inf])
    np.testing.assert_allclose(np.exp(exact.log_estimates(kl)), [4.0, 9.0, 16.0, 16.0])
    assert _scores_of(np.full(100, np.inf), exact)["crps"] == pytest.approx(np.log(16 / 9))
    still = MeasuredPeak(16.0, np.full(50, 16.0), 1.0, 16.0, np.array([0.0, 4.0]), np.array([0.0, 1.0]))
    all_beyond = _scores_of(np.full(100, np.inf), still)
    assert float(all_beyond["crps"]) == 0.0
    assert all_beyond["inside"].values.tolist() == [1.0] * len(PROBS)
    assert _scores_of(np.full(100, 9.0), still)["inside"].values.tolist() == [0.0] * len(PROBS)


def test_right_predictions_of_uncertain_peaks_have_the_coverage_that_they_say():
    rng = np.random.default_rng(3)
    inside = []
    for _ in range(400):
        truth = np.exp(2.0 + 0.3 * rng.standard_normal())
        seen = truth * np.exp(0.3 * rng.standard_normal())
        boot = seen * np.exp(0.3 * rng.standard_normal(300))
        peak = MeasuredPeak(seen, boot, 1e-3, 1e3, np.array([0.0, 1.0]), np.array([0.0, 1.0]))
        inside.append(_scores_of(np.exp(2.0 + 0.3 * rng.standard_normal(1000)), peak)["inside"].values)
    np.testing.assert_allclose(np.mean(inside, axis=0), PROBS, atol=0.06)


def test_scores_have_labels_and_the_table_is_their_mean(found):
    scores, names = found.scores, [fold.name for fold in folds(FEW, "small_to_large")]
    assert scores["fold"].values.tolist() == names
    held = scores["kl_peak_median"].notnull()
    for fold in found.folds:
        for run in FEW["run"].values.astype(str):
            assert bool(held.sel(card="rl_paper", fold=fold.name, run=run)) == (run in fold.held_out)
    assert (scores["decades"].where(held.any("card")).fillna(1) > 0).all()
    assert found.table.loc["rl_paper", "predictions"] == sum(len(fold.held_out) for fold in found.folds)
    inside = scores["inside"].sel(card="rl_paper", prob=0.8)
    assert found.table.loc["rl_paper", "coverage_80"] == pytest.approx(float(inside.mean()))
    assert scores["kl_peak"].attrs["units"] == "nat"


def test_density_is_that_of_the_fit_for_a_new_run(found):
    fold = found.folds[-1]
    small, large = fold.split(FEW)
    limit = 2 * float(FEW["kl"].max())
    post = goldpeak.fit(small, "rl_paper", engine="exact", draws=150, seed=0, kl_max=limit)
    by_draw = log_predictive(post, large, seed=0).values.reshape(-1, large.sizes["run"])
    expected = np.log(np.mean(np.exp(by_draw - by_draw.max(0)), axis=0)) + by_draw.max(0)
    got = found.scores["log_predictive"].sel(card="rl_paper", fold=fold.name, run=large["run"].values)
    np.testing.assert_allclose(got, expected, rtol=1e-9)
    at = found.scores.sel(card="rl_paper", fold=fold.name, prob=0.9, run=large["run"].values)
    told = goldpeak.peak(post, np.unique(large["rm_params"]), seed=0).table.set_index("rm_params")
    np.testing.assert_allclose(at["kl_peak_hi"], told["hi"].loc[large["rm_params"].values])


def test_a_refused_fit_is_told_and_the_others_stand():
    runs = FEW.copy(deep=True)
    first = runs["run_index"].values == 0
    runs["gold"][first] = -np.arange(1.0, first.sum() + 1)
    last = folds(runs, "small_to_large")[-1:]
    with pytest.warns(RunsWarning, match="1 fits were refused: similar .*gold never rises"):
        both = goldpeak.backtest(runs, ["similar", "rl_paper"], last, engine="fast", draws=100, cache=False, jobs=1)
    assert both.table["refused"].tolist() == [1, 0]
    assert both.table["predictions"].tolist() == [0, 2]
    with pytest.raises(FitError, match="every fit was refused:\n  - similar"):
        goldpeak.backtest(runs, ["similar"], last, engine="fast", draws=100, cache=False, jobs=1)


def test_picture(found):
    figure = goldpeak.plots.backtest(found)
    panels = [panel for panel in figure.axes if panel.get_title("left")]
    assert [panel.get_title("left").split(":")[0] for panel in panels] == ["rl_paper", "bon_paper"]
    drawn = {artist.get_gid(): artist for artist in panels[0].collections}
    held = found.scores["kl_peak_median"].sel(card="rl_paper").notnull().sum()
    assert len(drawn["predicted"].get_segments()) == held
    assert not any(panel.child_axes for panel in panels)
    bon = replace(found, scores=found.scores.assign(method=found.scores["method"].str.replace("rl", "bon")))
    above = [child for panel in goldpeak.plots.backtest(bon).axes for child in panel.child_axes]
    assert [child.get_xlabel() for child in above] == ["n of best-of-n"] * 2
    one = goldpeak.plots.backtest(found, fold=found.folds[-1].name, prob=0.5)
    assert "inside 50 %" in one.axes[0].get_title("left")
    with pytest.raises(FitError, match=r"fold is 'x'; allowed: up to .*; prob is 0.7; allowed: 0.5, 0.8, 0.9, 0.95"):
        goldpeak.plots.backtest(found, fold="x", prob=0.7)
    ax = Figure().add_subplot()
    with pytest.raises(FitError, match="ax takes one panel, and there are 2 cards"):
        goldpeak.plots.backtest(found, ax=ax)
    alone = replace(found, scores=found.scores.sel(card=["rl_paper"]))
    assert goldpeak.plots.backtest(alone, ax=ax) is ax.figure
    assert ax.get_xlabel() == "measured KL at the peak (nats)"
    assert ax.get_legend() is not None


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "runs.csv"
    as_table(FEW).to_csv(path, index=False)
    return path


def test_command(table, tmp_path, capsys):
    words = ["backtest", str(table), "--cards", "rl_paper", "--draws", "100", "--jobs", "1", "--cache", str(tmp_path)]
    assert main([*words, "--plot", str(tmp_path / "b.png"), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert set(result) == {"cards", "predictions", "refused"}
    assert 0 <= result["cards"]["rl_paper"]["coverage_90"] <= 1
    assert len(result["predictions"]) == result["cards"]["rl_paper"]["predictions"]
    assert (tmp_path / "b.png").read_bytes()[1:4] == b"PNG"
    assert main(words) == 0
    out = capsys.readouterr()
    assert "rl_paper" in out.out
    assert "CRPS" in out.err
    assert main([*words, "--scheme", "often"]) == 2
    assert "scheme is 'often'; allowed: small_to_large" in capsys.readouterr().err
    assert main([*words[:3], "nonsense"]) == 2
    assert main(["backtest", str(tmp_path / "none.csv"), "--cards", "rl"]) == 2


def test_bad_runs_are_refused_before_any_fit():
    with warnings.catch_warnings(), pytest.raises((FitError, RunsError)):
        goldpeak.backtest(goldpeak.select(FEW, FEW["rm_params"] < 2000), ["rl_paper"], cache=False)


def test_folds_that_cannot_be_scored_are_refused_before_any_fit():
    first, second = FEW["run"].values.astype(str)[:2].tolist()
    odd = [Fold("mine", (first,), ()), Fold("mine", (first, second), (second,))]
    with pytest.raises(FitError) as error:
        goldpeak.backtest(FEW, ["rl_paper"], odd, include="everything", cache=False)
    for text in (
        "two folds have the name 'mine'",
        "fold 'mine' holds out no run",
        f"fold 'mine' fits what it holds out: {second}",
        "include is 'everything'; allowed: typical",
    ):
        assert text in str(error.value)
    with pytest.raises(FitError, match="replicates is 0; allowed: a whole number >= 1"):
        goldpeak.backtest(FEW, ["rl_paper"], replicates=0, cache=False)

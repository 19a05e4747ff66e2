"""Weights of cards, their mixture, and cards side by side."""

from __future__ import annotations

import json

import joblib
import numpy as np
import pytest
import simulate
import xarray as xr
from numpy.testing import assert_allclose
from typer.testing import CliRunner

import goldpeak
from goldpeak import automatic
from goldpeak.check import stacking
from goldpeak.check.compare import distance, leave_one_run_out
from goldpeak.check.stacking import stack, stacking_weights
from goldpeak.cli.app import app
from goldpeak.conditioning import log_mean_density
from goldpeak.errors import ConvergenceWarning, FitError, RunsWarning
from goldpeak.mixture import weights_of

CARDS = ("rl_paper", "bon_paper")


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    """Refits of these tests are shared among them, touch no user's cache, and start no processes."""
    with pytest.MonkeyPatch.context() as patch, joblib.parallel_config(n_jobs=1):
        patch.setenv("GOLDPEAK_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def runs() -> xr.Dataset:
    sizes = (1e6, 4e6, 1.6e7, 6.4e7)
    return simulate.runs(np.random.default_rng(3), sizes=sizes, noise=0.01, runs_per_size=3)


@pytest.fixture(scope="module")
def posts(runs) -> list[xr.DataTree]:
    return [goldpeak.fit(runs, card, draws=250, seed=1) for card in CARDS]


@pytest.fixture(scope="module")
def mixed(posts) -> xr.DataTree:
    return goldpeak.combine(posts)


def objective(weight: np.ndarray, density: np.ndarray, share: np.ndarray, prior: float) -> float:
    return float(share @ np.log(np.exp(density) @ weight) + prior / len(weight) * np.log(weight).sum())


@pytest.mark.parametrize("prior", [0.1, 1.0, 5.0])
def test_weights_are_the_mode_of_their_posterior(prior):
    rng = np.random.default_rng(1)
    density, share = rng.normal(size=(9, 3)), rng.uniform(0.1, 1.0, 9)
    found = stacking_weights(density, share, prior)
    corner = np.arange(0.005, 1.0, 0.005)
    first, second = (v.ravel() for v in np.meshgrid(corner, corner))
    inside = first + second < 0.999
    lattice = np.stack([first, second, 1.0 - first - second], axis=1)[inside]
    best = max(objective(each, density, share, prior) for each in lattice)
    assert objective(found, density, share, prior) >= best
    assert found.sum() == pytest.approx(1.0)


def test_cards_that_predict_alike_share_the_weight_evenly():
    assert_allclose(stacking_weights(np.full((4, 5), -7.0), np.ones(4)), 0.2)


def test_weights_stay_away_from_0_and_1_by_the_prior():
    density = np.array([[0.0, -1e6, -np.inf]] * 3)
    assert_allclose(stacking_weights(density, np.ones(3)), [(3 + 1 / 3) / 4, 1 / 12, 1 / 12], atol=1e-6)


def test_more_runs_of_an_origin_make_weights_no_surer():
    once = stacking_weights(np.array([[0.0, -30.0]]), np.ones(1))
    often = stacking_weights(np.array([[0.0, -30.0]] * 10), np.full(10, 0.1))
    assert_allclose(once, often)


def test_shares_sum_to_one_for_each_origin_and_sizes_count_alike(runs):
    found = stack(runs, CARDS, draws=100)
    assert_allclose(found.scores["share"].sum("run"), 1.0)
    assert found.scores.sizes["fold"] == 2
    first = found.scores["share"].isel(fold=0)
    by_size = first.groupby("rm_params").sum()
    assert_allclose(by_size.values[by_size.values > 0], 0.5)
    assert np.isnan(found.scores["log_predictive"].values[:, found.scores["share"].values == 0]).all()


def test_of_many_origins_some_are_taken_and_the_last_is_among_them():
    taken = stacking._at_even_steps(tuple(range(50)), 6)  # type: ignore[arg-type]
    assert len(taken) == 6
    assert (taken[0], taken[-1]) == (0, 49)


def test_the_log_of_a_mean_density_and_its_error():
    rng = np.random.default_rng(0)
    values = xr.DataArray(rng.normal(size=(4, 500, 1)) - 2000.0, dims=("chain", "draw", "run"))
    found, se = log_mean_density(values)
    assert found[0] == pytest.approx(-1999.5, abs=4 * se[0])
    assert se[0] == pytest.approx(np.sqrt((np.e - 1) / 2000), rel=0.3)


@pytest.mark.parametrize("form", ["rl", "bon"])
def test_the_card_that_made_the_runs_has_the_most_weight(form):
    coefficients = {"alpha": 0.6, "beta": 0.3} if form == "rl" else {"alpha": 0.6, "beta": 0.08, "beta_slope": -0.005}
    sizes = (1e6, 4e6, 1.6e7, 6.4e7)
    rng = np.random.default_rng(5)
    data = simulate.runs(rng, form=form, sizes=sizes, noise=0.01, sd=0.01, runs_per_size=3, **coefficients)
    found = stack(data, CARDS, draws=200)
    assert max(found.weights, key=lambda card: found.weights[card]) == f"{form}_paper"
    # All it can have after two origins.
    assert found.weights[f"{form}_paper"] == pytest.approx((2 + 0.5) / 3, abs=0.01)
    assert found.table.loc[f"{form}_paper", "best"] == 1.0


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
    assert done.stdout.startswith("card 'rl_paper' alone")
    assert goldpeak.load(tmp_path / "post.nc").attrs["card_reason"] in done.stdout


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


@pytest.mark.slow
def test_the_recommended_cards_together_on_bundled_runs():
    """What README says of them: `similar` weighs most, and all of the larger runs' peaks are covered."""
    small, large = goldpeak.split_by_size(goldpeak.datasets.lab("rl"))
    post = goldpeak.fit(small, seed=1, draws=500)
    assert weights_of(post)["similar"] == pytest.approx(0.63, abs=0.03)
    measured = goldpeak.datasets.measured_peaks(large)
    sizes = np.unique(large["rm_params"].values)
    table = goldpeak.peak(post, sizes).table.set_index("rm_params").loc[large["rm_params"].values]
    inside = (table["lo"].values <= measured["kl_peak"].values) & (measured["kl_peak"].values <= table["hi"].values)
    assert inside.mean() == pytest.approx(1.0, abs=0.051)

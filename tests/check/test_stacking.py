"""Weights of cards by their predictions of larger sizes."""

from __future__ import annotations

import numpy as np
import pytest
import simulate
import xarray as xr
from numpy.testing import assert_allclose

from goldpeak.check import stacking
from goldpeak.check.stacking import stack, stacking_weights

CARDS = ("rl_paper", "bon_paper")
pytestmark = pytest.mark.usefixtures("cache")


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


def test_where_no_card_could_be_fitted_none_was_best():
    """Of two origins the first says nothing: then the second's is half of what there is to be best at."""
    density = np.array([[[-np.inf, -np.inf], [np.nan, 1.0]], [[-np.inf, -np.inf], [np.nan, 2.0]]])
    scores = xr.Dataset(
        {
            "log_predictive": (("card", "fold", "run"), density),
            "share": (("fold", "run"), [[0.5, 0.5], [0.0, 1.0]]),
            "weight": ("card", [0.5, 0.5]),
        },
        coords={"card": ["a", "b"]},
    )
    table = stacking._table(scores)
    assert table["best"].tolist() == [0.0, 0.5]
    assert (table["log_score"] == -np.inf).all()

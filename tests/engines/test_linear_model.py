"""The Gaussian linear model against dense Gaussian computations."""

from __future__ import annotations

import numpy as np
import pytest
import simulate
from dense import FULL, dense_moments
from scipy.stats import multivariate_normal

from goldpeak.card import Card
from goldpeak.design import Design, make_design
from goldpeak.engines.linear_model import LinearModel
from goldpeak.library import load_card
from goldpeak.noise import variance

DRAWS = 20_000


def small_design(card: Card, **settings: object) -> Design:
    rng = np.random.default_rng(3)
    return make_design(simulate.runs(rng, **{"points": 5, "share_rm": True} | settings), card)


CARDS = [FULL, *(load_card(name) for name in ("rl_paper", "bon_paper", "rl"))]


@pytest.mark.parametrize("share_rm", [True, False])
@pytest.mark.parametrize("card", CARDS, ids=lambda card: card.name)
def test_marginal_likelihood_is_the_dense_one(card: Card, share_rm: bool) -> None:
    design = small_design(card, share_rm=share_rm)
    model = LinearModel(design)
    z = np.random.default_rng(0).standard_normal((6, len(model.names)))
    h = model.outer(z)
    found = model.marginal(h)
    for s in range(len(z)):
        mean, covariance = dense_moments(design, {name: values[s] for name, values in h.items()})
        assert found[s] == pytest.approx(multivariate_normal(mean, covariance).logpdf(design.y), rel=1e-8, abs=1e-6)


def test_coefficients_given_outer_parameters_are_the_dense_conditional() -> None:
    design = small_design(FULL)
    model = LinearModel(design)
    z = np.random.default_rng(1).standard_normal((1, len(model.names)))
    h = {name: float(v[0]) for name, v in model.outer(z).items()}
    draws = model.draw(model.outer(z), np.zeros(DRAWS, dtype=np.int64), np.random.default_rng(2))
    mean, covariance = dense_moments(design, h)
    # Covariance of one run's curve value with the data: the data's covariance without that run's measurement noise.
    smooth = covariance - np.diag(variance(design.se, h["sigma"]))
    conditional = mean + smooth @ np.linalg.solve(covariance, design.y - mean)
    spread = smooth - smooth @ np.linalg.solve(covariance, smooth)
    phi, s = design.form.basis(design.d), design.sines.columns(design.d)
    curve = (
        draws["alpha"][1][:, design.run_index] * phi[:, 0]
        + draws["beta"][1][:, design.run_index] * phi[:, 1]
        + np.einsum("spj,pj->sp", draws["delta"][1][:, design.run_index], s)
    )
    sd = np.sqrt(np.diag(spread))
    assert np.all(np.abs(curve.mean(axis=0) - conditional) < 5 * sd / np.sqrt(len(curve)))
    np.testing.assert_allclose(np.cov(curve.T), spread, atol=0.06 * sd.max() ** 2)


@pytest.mark.parametrize("share_rm", [True, False])
def test_deviations_of_reward_models_are_the_dense_conditional(share_rm: bool) -> None:
    """Also where each reward model has one run, and its deviation is drawn apart from the run's only afterwards."""
    design = small_design(FULL, share_rm=share_rm)
    model = LinearModel(design)
    h = model.outer(np.zeros((1, len(model.names))))
    draws = model.draw(h, np.zeros(DRAWS, dtype=np.int64), np.random.default_rng(4))
    mean, covariance = dense_moments(design, {name: float(v[0]) for name, v in h.items()})
    rm = design.rm_index[design.run_index]
    phi = design.form.basis(design.d)
    for i, name in enumerate(design.coefficients):
        variance_rm = h[f"{name}_sd_rm"][0] ** 2
        reach = variance_rm * phi[:, i, None] * (rm[:, None] == np.arange(len(design.rm)))
        conditional = reach.T @ np.linalg.solve(covariance, design.y - mean)
        spread = variance_rm * np.eye(len(design.rm)) - reach.T @ np.linalg.solve(covariance, reach)
        found = draws[f"{name}_rm"][1]
        assert np.all(np.abs(found.mean(axis=0) - conditional) < 5 * np.sqrt(np.diag(spread) / len(found)))
        np.testing.assert_allclose(np.cov(found.T), spread, atol=0.06 * spread.max())


def test_trend_terms_given_outer_parameters_are_the_dense_conditional() -> None:
    design = small_design(FULL)
    model = LinearModel(design)
    z = np.zeros((1, len(model.names)))
    h = {name: float(v[0]) for name, v in model.outer(z).items()}
    draws = model.draw(model.outer(z), np.zeros(DRAWS, dtype=np.int64), np.random.default_rng(2))
    mean, covariance = dense_moments(design, h)
    c = design.coefficients["beta"]
    reach = c.columns[design.run_index] * design.form.basis(design.d)[:, [1]] * c.sd**2
    conditional = c.mean + reach.T @ np.linalg.solve(covariance, design.y - mean)
    spread = np.diag(c.sd**2) - reach.T @ np.linalg.solve(covariance, reach)
    found = draws["beta_coef"][1]
    assert np.all(np.abs(found.mean(axis=0) - conditional) < 5 * np.sqrt(np.diag(spread) / len(found)))
    np.testing.assert_allclose(np.cov(found.T), spread, rtol=0.05, atol=0.03 * spread.max())

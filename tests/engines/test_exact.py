"""The exact engine against dense Gaussian computations, quadrature and a dense Gaussian process."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import simulate
from dense import FULL, dense_moments
from scipy.stats import multivariate_normal

from goldpeak.card import Card, Coefficient, Constant
from goldpeak.design import Design, make_design
from goldpeak.discrepancy import Sines
from goldpeak.engines import exact
from goldpeak.engines.exact import LinearModel
from goldpeak.errors import FitError
from goldpeak.library import load_card
from goldpeak.noise import variance
from goldpeak.priors import HalfNormal, Normal


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
    draws = model.draw(model.outer(z), np.zeros(40_000, dtype=np.int64), np.random.default_rng(2))
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
    draws = model.draw(h, np.zeros(40_000, dtype=np.int64), np.random.default_rng(4))
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
    draws = model.draw(model.outer(z), np.zeros(40_000, dtype=np.int64), np.random.default_rng(2))
    mean, covariance = dense_moments(design, h)
    c = design.coefficients["beta"]
    reach = c.columns[design.run_index] * design.form.basis(design.d)[:, [1]] * c.sd**2
    conditional = c.mean + reach.T @ np.linalg.solve(covariance, design.y - mean)
    spread = np.diag(c.sd**2) - reach.T @ np.linalg.solve(covariance, reach)
    found = draws["beta_coef"][1]
    assert np.all(np.abs(found.mean(axis=0) - conditional) < 5 * np.sqrt(np.diag(spread) / len(found)))
    np.testing.assert_allclose(np.cov(found.T), spread, rtol=0.05, atol=0.03 * spread.max())


def test_log_marginal_likelihood_is_the_quadrature() -> None:
    card = dataclasses.replace(
        load_card("bon_paper"),
        alpha=Coefficient(Constant(Normal(0.5, 0.7))),
        beta=Coefficient(Constant(Normal(0.1, 0.2)), sd_run=HalfNormal(0.05)),
    )
    design = small_design(card, form="bon", sizes=(1e6,), kl_max=8.0)
    model = LinearModel(design)
    assert model.names == ("sigma", "beta_sd_run")
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    nodes, weights = nodes[abs(nodes) < 7], weights[abs(nodes) < 7]
    z = np.stack(np.meshgrid(nodes, nodes, indexing="ij"), axis=-1).reshape(-1, 2)
    log_w = np.log(np.outer(weights, weights).ravel()) - np.log(2 * np.pi)
    terms = model.marginal(model.outer(z)) + log_w
    quadrature = np.logaddexp.reduce(terms)
    found = exact.sample(design, seed=0, draws=500, chains=4)
    assert found.log_marginal_likelihood_se < 0.1
    assert abs(found.log_marginal_likelihood - quadrature) < 5 * found.log_marginal_likelihood_se + 0.02


def test_sines_approximate_the_matern_process() -> None:
    """Prior covariance of the basis against Matern 5/2 pinned to zero at d = 0 by reflection, inside the range."""
    sines, ell = Sines(length=12.0, count=60), 2.0
    d = np.linspace(1.0, 8.0, 15)
    s = sines.columns(d)
    found = (s * sines.variances(ell)) @ s.T

    def matern(r: np.ndarray) -> np.ndarray:
        a = np.sqrt(5) * np.abs(r) / ell
        return (1 + a + a**2 / 3) * np.exp(-a)

    # The odd reflection at 0 is exact for a sine basis on a long interval.
    wanted = matern(d[:, None] - d) - matern(d[:, None] + d)
    np.testing.assert_allclose(found, wanted, atol=0.02)


def test_log_link_is_refused_with_the_way_out() -> None:
    card = dataclasses.replace(load_card("rl_paper"), beta=dataclasses.replace(load_card("rl_paper").beta, link="log"))
    with pytest.raises(FitError, match=r"link 'log'.*engine='nuts'"):
        exact.sample(small_design(card), seed=0)


def test_same_seed_same_answer() -> None:
    design = small_design(load_card("rl_paper"))
    first, second = (exact.sample(design, seed=7, draws=50, chains=2).posterior for _ in range(2))
    assert first.identical(second)

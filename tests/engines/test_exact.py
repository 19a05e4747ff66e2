"""The exact engine: its evidence against quadrature, what it refuses, and seeds."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import simulate

from goldpeak.card import Card, Coefficient, Constant
from goldpeak.design import Design, make_design
from goldpeak.engines import exact
from goldpeak.engines.linear_model import LinearModel
from goldpeak.errors import FitError
from goldpeak.library import load_card
from goldpeak.priors import HalfNormal, Normal


def small_design(card: Card, **settings: object) -> Design:
    rng = np.random.default_rng(3)
    return make_design(simulate.runs(rng, **{"points": 5, "share_rm": True} | settings), card)


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


def test_a_card_in_peak_coordinates_is_refused_with_the_way_out() -> None:
    with pytest.raises(FitError, match=r"in peak coordinates .*use engine='laplace_is'"):
        exact.sample(small_design(load_card("similar")), seed=0)


def test_log_link_is_refused_with_the_way_out() -> None:
    card = dataclasses.replace(load_card("rl_paper"), beta=dataclasses.replace(load_card("rl_paper").beta, link="log"))
    with pytest.raises(FitError, match=r"link 'log'.*engine='nuts'"):
        exact.sample(small_design(card), seed=0)


def test_same_seed_same_answer() -> None:
    design = small_design(load_card("rl_paper"))
    first, second = (exact.sample(design, seed=7, draws=50, chains=2).posterior for _ in range(2))
    assert first.identical(second)

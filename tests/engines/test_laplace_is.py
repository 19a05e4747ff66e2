"""What `laplace_is` does where the linear model's mode is not in the middle of the posterior."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

import goldpeak
from goldpeak.design import make_design
from goldpeak.engines import laplace_is
from goldpeak.engines.linearised import Linearised
from goldpeak.engines.threads import one_thread_each
from goldpeak.library import load_card

DRAWS = 400


def design() -> laplace_is.Design:
    runs = goldpeak.datasets.lab("bon")
    few = goldpeak.select(runs, runs["rm_params"] < 60)
    return make_design(few, load_card("similar_bon"))


def corrected(log_weight: np.ndarray) -> laplace_is._Corrected:
    d = np.linspace(1.0, 3.0, DRAWS)[:, None] * np.ones(2)
    variables = {"d_star": (("run",), d), "gold_star": (("run",), 2.0 * d), "delta_shape": (("shape_sine",), d)}
    return laplace_is._Corrected(log_weight, variables)


def test_the_middle_is_the_weighted_mean() -> None:
    # Of the upper half of the draws only.
    log_weight = np.where(np.arange(DRAWS) < DRAWS // 2, -np.inf, 3.0)
    middle = corrected(log_weight).middle(design())
    upper = np.linspace(1.0, 3.0, DRAWS)[DRAWS // 2 :]
    np.testing.assert_allclose(middle.log_d, np.log(upper).mean())
    np.testing.assert_allclose(middle.log_gold, np.log(2 * upper).mean())
    np.testing.assert_allclose(middle.shape, upper.mean())
    assert middle.gamma == 1.0


def test_few_weights_are_tempered_until_they_are_enough() -> None:
    steep = corrected(np.linspace(-900.0, 0.0, DRAWS)).middle(design())
    assert steep.log_d[0] < np.log(2.9)
    flat = corrected(np.linspace(-0.1, 0.0, DRAWS)).middle(design())
    assert flat.log_d[0] < steep.log_d[0]


@pytest.mark.slow
def test_a_linearisation_far_from_the_posterior_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """From a start where all runs peak an eighth too late, the engine comes to where a good start leads."""
    problem = design()
    with one_thread_each():
        _, first = laplace_is._best_attempt(problem, np.random.default_rng(1), 400)

        def badly(design: laplace_is.Design) -> Linearised:
            at = first.middle(design)
            return laplace_is.linearise(design, dataclasses.replace(at, log_d=at.log_d + 0.12))

        monkeypatch.setattr(laplace_is, "_settle", badly)
        bad_start = laplace_is._Attempt.at(problem, badly(problem), np.random.default_rng(2), 400)
        before = laplace_is._worth(bad_start.batch(laplace_is.FIRST).log_weight)[0]
        _, found = laplace_is._best_attempt(problem, np.random.default_rng(2), 400)
    after = laplace_is._worth(found.log_weight)[0]
    assert before < laplace_is.SHARE * laplace_is.FIRST < after
    np.testing.assert_allclose(found.middle(problem).log_d, first.middle(problem).log_d, atol=0.02)


def test_a_card_on_coefficients_is_refused_with_the_way_out() -> None:
    runs = goldpeak.select(goldpeak.datasets.lab("rl"), np.arange(40) < 4)
    with pytest.raises(goldpeak.FitError, match=r"coordinates = 'peak'; use engine='auto'"):
        laplace_is.sample(make_design(runs, load_card("rl")), seed=0)

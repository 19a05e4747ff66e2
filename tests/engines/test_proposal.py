"""Proposals of the importance sampler: bends undo themselves, densities integrate to one, weights are tempered."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import cumulative_trapezoid

from goldpeak.engines.proposal import Proposal, Warp, effective, refit, relative, tempered

WARP = Warp(np.array([0.3]), np.array([0.5]), np.array([0.8]))
ONE = Proposal(np.array([0.4, 0.6]), np.array([[-1.0], [1.0]]), np.array([[[0.5]], [[1.2]]]), WARP)


def test_a_bend_undoes_itself_and_says_how_much_it_stretches() -> None:
    w = np.linspace(-4.0, 4.0, 50)[:, None]
    z = WARP.back(w)
    found, jacobian = WARP.bend(z)
    np.testing.assert_allclose(found, w, atol=1e-10)
    step = 1e-6
    slope = (WARP.bend(z + step)[0] - WARP.bend(z - step)[0])[:, 0] / (2 * step)
    np.testing.assert_allclose(np.exp(jacobian), slope, rtol=1e-5)


def test_a_bend_makes_quantiles_a_standard_normals() -> None:
    z = np.random.default_rng(0).gamma(2.0, size=(20_000, 1))
    w = Warp.of(z, np.full(len(z), 1.0 / len(z))).bend(z)[0]
    np.testing.assert_allclose(np.quantile(w, [0.05, 0.5, 0.95]), [-1.645, 0.0, 1.645], atol=0.03)


def test_a_density_integrates_to_one_and_draws_follow_it() -> None:
    grid = np.linspace(-40.0, 60.0, 200_001)
    below = cumulative_trapezoid(np.exp(ONE.log_density(grid[:, None])), grid, initial=0.0)
    assert below[-1] == pytest.approx(1.0, abs=2e-3)
    drawn = np.sort(ONE.draw(20_000, np.random.default_rng(1))[:, 0])
    share = (np.arange(20_000) + 0.5) / 20_000
    assert np.abs(np.interp(drawn, grid, below) - share).max() < 1.63 / np.sqrt(20_000) + 2e-3


def test_a_refit_comes_near_to_what_the_weights_say() -> None:
    rng = np.random.default_rng(2)
    first = Proposal(np.ones(1), np.zeros((1, 2)), 3.0 * np.eye(2)[None], Warp.none(2))
    z = first.draw(4000, rng)
    target = -0.5 * np.sum(((z - [1.0, -2.0]) / [0.3, 0.6]) ** 2, axis=1)
    log_weight = target - first.log_density(z)
    better = refit(z, log_weight, first, rng)
    again = better.draw(4000, rng)
    after = -0.5 * np.sum(((again - [1.0, -2.0]) / [0.3, 0.6]) ** 2, axis=1) - better.log_density(again)
    assert effective(relative(log_weight)) < 400 < 2000 < effective(relative(after))


def test_weights_are_tempered_no_more_than_it_takes() -> None:
    even = np.log(np.full(50, 3.0))
    np.testing.assert_allclose(tempered(even, 10.0), 0.02)
    steep = -np.arange(1000.0)
    assert 100.0 <= effective(tempered(steep, 100.0)) < 126.0
    # Of densities a million nats apart only what may go further leaves so many.
    steeper = 1e5 * steep
    assert effective(tempered(steeper, 100.0)) < 2.0 < 100.0 <= effective(tempered(steeper, 100.0, lowest=1e-9))

"""The gold reward: its closed forms against quadrature and sampling."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm

from goldpeak.lab import LabConfig
from goldpeak.lab.gold import exact_mean, hump, hump_mean, make_gold, value


@pytest.mark.parametrize("m", [-4.0, -0.7, 0.0, 1.3, 2.0, 6.0])
@pytest.mark.parametrize("shape", [(0.8, 0.06, 2.0), (0.5, 0.5, 1.0), (2.0, 0.0, 0.0)])
def test_hump_mean_equals_quadrature(m: float, shape: tuple[float, float, float]) -> None:
    truth, _ = quad(lambda z: hump(z, *shape) * norm.pdf(z, m), m - 12, m + 12, points=[shape[2], 0.0], epsabs=1e-11)
    assert hump_mean(m, *shape) == pytest.approx(truth, abs=1e-9)


def test_standardised_under_the_initial_policy_by_quadrature() -> None:
    gold = make_gold(LabConfig(dim=2, humps=5, seed=3))
    axis = np.linspace(-9, 9, 901)
    x = np.stack(np.meshgrid(axis, axis), axis=-1)
    weight = norm.pdf(x[..., 0]) * norm.pdf(x[..., 1]) * (axis[1] - axis[0]) ** 2
    values = value(gold, x)
    assert np.sum(weight * values) == pytest.approx(0, abs=1e-6)
    assert np.sum(weight * values**2) == pytest.approx(1, abs=1e-5)


def test_default_world_by_sampling() -> None:
    gold = make_gold(LabConfig())
    x = np.random.default_rng(0).standard_normal((200_000, 16))
    np.testing.assert_allclose(np.linalg.norm(gold.directions, axis=1), 1)
    assert gold.directions.shape == (24, 16)
    assert gold.amplitudes.min() >= 0.5
    assert gold.amplitudes.max() <= 1.5
    assert value(gold, x).std() == pytest.approx(1, abs=0.02)  # 8 standard errors at kurtosis 5
    for shift in (0.0, 0.5, 2.0):
        mu = np.full(16, shift)
        sampled = value(gold, x + mu)
        assert exact_mean(gold, mu) == pytest.approx(sampled.mean(), abs=5 * sampled.std() / np.sqrt(len(x)))


def test_good_in_moderation_and_bad_in_excess() -> None:
    gold = make_gold(LabConfig())
    direction = gold.amplitudes @ gold.directions
    along = np.linspace(0, 12, 200)[:, None] * direction / np.linalg.norm(direction)
    curve = exact_mean(gold, along)
    assert 0 < curve.argmax() < 199
    assert curve[-1] < 0


def test_worlds_differ_by_seed_only_where_asked() -> None:
    one, same, other = (make_gold(LabConfig(seed=s)) for s in (5, 5, 6))
    np.testing.assert_array_equal(one.directions, same.directions)
    assert not np.allclose(one.directions, other.directions)

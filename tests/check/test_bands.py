"""Tests of uniformity: they hold as often as they say, and are ArviZ's."""

from __future__ import annotations

import numpy as np
import pytest
from arviz_stats import ecdf_utils

from goldpeak.check.bands import ecdf_band, uniformity
from goldpeak.simulation import Fleet

SMALL = Fleet(rm_params=(1e6, 1e7, 1e8), rms_per_size=1, runs_per_rm=1, points=8)


def test_the_test_of_uniformity_is_uniform_itself() -> None:
    rng = np.random.default_rng(1)
    found = np.array([uniformity(rng.random(60)) for _ in range(400)])
    for level in (0.05, 0.2, 0.5):
        assert abs(np.mean(found <= level) - level) < 4 * np.sqrt(level * (1 - level) / 400)


@pytest.mark.parametrize("n", [10, 150])
def test_the_band_is_the_test_and_holds_as_often_as_it_says(n: int) -> None:
    points, lower, upper = ecdf_band(n, 0.9)
    rng = np.random.default_rng(2)
    inside, p_values = [], []
    for _ in range(300):
        values = np.sort(rng.random(n))
        ecdf = np.searchsorted(values, points, side="right") / n
        inside.append(bool(np.all((lower <= ecdf) & (ecdf <= upper))))
        p_values.append(uniformity(values))
    assert abs(np.mean(inside) - 0.9) < 0.05
    disagree = np.array(inside) != (np.array(p_values) > 0.1)
    assert np.mean(disagree) < 0.02


def test_the_band_is_arviz_s() -> None:
    n = 100
    values = np.random.default_rng(0).random(n)
    at, _, lower, upper = ecdf_utils.ecdf_pit(values, 0.95, 5000)
    points, low, high = ecdf_band(n, 0.95)
    np.testing.assert_allclose(np.interp(points, at, lower), low, atol=0.025)
    np.testing.assert_allclose(np.interp(points, at, upper), high, atol=0.025)

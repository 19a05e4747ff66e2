"""Sine basis: slopes, boundary, density, resolution. (Its covariance is tested in engines/test_exact.py.)"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from goldpeak.discrepancy import BOUNDARY, SHORTEST_Z, Sines, choose_sines, matern52_density
from goldpeak.priors import HalfNormal, LogNormal


@settings(deadline=None)
@given(length=st.floats(0.1, 100.0), count=st.integers(1, 30), share=st.floats(0.01, 0.99))
def test_slopes_are_the_derivative(length: float, count: int, share: float) -> None:
    sines, d, h = Sines(length, count), share * length, 1e-6 * length
    numeric = (sines.columns(d + h) - sines.columns(d - h)) / (2 * h)
    np.testing.assert_allclose(sines.slopes(d), numeric, atol=1e-5 * np.abs(sines.frequencies).max() * length**-0.5)


def test_columns_are_orthonormal_and_vanish_at_the_initial_policy() -> None:
    sines = Sines(7.0, 12)
    assert np.all(sines.columns(0.0) == 0)
    d = np.linspace(0, 7.0, 20_001)
    columns = sines.columns(d)
    gram = np.trapezoid(columns[:, :, None] * columns[:, None, :], d, axis=0)
    np.testing.assert_allclose(gram, np.eye(12), atol=1e-8)


@pytest.mark.parametrize("ell", [0.3, 2.0])
@pytest.mark.parametrize("lag", [0.0, 0.5, 2.0])
def test_density_is_the_transform_of_the_matern_covariance(ell: float, lag: float) -> None:
    omega = np.linspace(-400, 400, 800_001)
    found = np.trapezoid(matern52_density(omega, ell) * np.cos(omega * lag), omega) / (2 * np.pi)
    a = np.sqrt(5) * lag / ell
    assert found == pytest.approx((1 + a + a**2 / 3) * np.exp(-a), abs=1e-5)


@pytest.mark.parametrize("prior", [LogNormal(0.9, 0.4), LogNormal(0.0, 0.2), HalfNormal(20.0)], ids=str)
@pytest.mark.parametrize("d_max", [1.0, 7.0, 15.0])
def test_the_basis_reaches_far_and_fine_enough(prior: LogNormal | HalfNormal, d_max: float) -> None:
    """At the shortest length scale the basis keeps nearly all of the process's variance inside the range."""
    sines = choose_sines(d_max, prior)
    assert sines.length == BOUNDARY * d_max
    shortest = float(prior.from_normal(SHORTEST_Z))
    beyond = sines.frequencies[-1] * (1 + np.linspace(0, 200, 200_001))
    missing = np.trapezoid(matern52_density(beyond, shortest), beyond) / np.pi
    assert missing < 0.002


@settings(deadline=None)
@given(d_max=st.floats(1e-6, 1e3))
def test_a_tiny_range_still_has_a_basis(d_max: float) -> None:
    sines = choose_sines(d_max, LogNormal(0.9, 0.4))
    assert sines.count >= 4
    assert np.isfinite(sines.columns(d_max)).all()

"""Peak coordinates: the shape is the paper's forms, its derivatives are derivatives, the window holds the peak."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from goldpeak.discrepancy import Sines
from goldpeak.forms import FORMS, gold_at, peak_of
from goldpeak.shapes import FAR, Shape, psi, psi_slope, shape_at, shape_gamma_slope, shape_slope

U = np.linspace(0.05, 5.0, 100)
STEP = 1e-6


@given(gamma=st.floats(-0.5, 2.5), alpha=st.floats(0.3, 2.0), beta=st.floats(0.1, 1.0))
def test_a_stretched_shape_is_the_boxcox_form(gamma: float, alpha: float, beta: float) -> None:
    """d* and R* of the form, and the shape between them: the same curve."""
    d_star = float(peak_of(FORMS["boxcox"], alpha, beta, gamma))
    if not 1e-3 < d_star < 1e3:
        return
    height = float(gold_at(FORMS["boxcox"], d_star, alpha, beta, gamma))
    wanted = gold_at(FORMS["boxcox"], U * d_star, alpha, beta, gamma)
    np.testing.assert_allclose(height * shape_at(U, gamma), wanted, rtol=1e-7, atol=1e-7 * abs(wanted).max())


@pytest.mark.parametrize(("form", "gamma"), [("rl", 0.0), ("bon", 1.0)])
def test_the_papers_forms_are_shapes_of_a_fixed_gamma(form: str, gamma: float) -> None:
    d_star = float(peak_of(FORMS[form], 1.0, 0.4))
    height = float(gold_at(FORMS[form], d_star, 1.0, 0.4))
    np.testing.assert_allclose(height * shape_at(U, gamma), gold_at(FORMS[form], U * d_star, 1.0, 0.4), atol=1e-12)


@given(gamma=st.floats(-0.9, 3.0))
def test_derivatives_are_those_of_differences(gamma: float) -> None:
    by_u = (shape_at(U + STEP, gamma) - shape_at(U - STEP, gamma)) / (2 * STEP)
    np.testing.assert_allclose(shape_slope(U, gamma), by_u, rtol=1e-5, atol=1e-5)
    by_gamma = (shape_at(U, gamma + STEP) - shape_at(U, gamma - STEP)) / (2 * STEP)
    np.testing.assert_allclose(shape_gamma_slope(U, gamma), by_gamma, rtol=1e-4, atol=1e-4)


def test_a_bend_leaves_value_and_slope_at_the_peak_and_its_derivatives_are_those_of_differences() -> None:
    np.testing.assert_allclose(psi_slope(U), (psi(U + STEP) - psi(U - STEP)) / (2 * STEP), atol=1e-8)
    assert psi(1.0) == psi(0.0) == float(psi_slope(np.array(1.0))) == 0.0
    shape, d = Shape(0.5, None, pivot=0.4), 3.0 * U

    def at(log_d: float) -> np.ndarray:
        return np.asarray(shape.bend(log_d, d * np.exp(-log_d)))

    assert np.all(at(0.4) == 0.0)
    wanted = (at(1.0 + STEP) - at(1.0 - STEP)) / (2 * STEP)
    np.testing.assert_allclose(shape.bend_slope(np.array(1.0), d * np.exp(-1.0)), wanted, atol=1e-8)


def test_the_shape_starts_at_0_and_its_highest_point_is_1() -> None:
    for gamma in (-0.5, 0.0, 1e-9, 0.5, 1.0, 2.0):
        fine = np.linspace(0.0, 3.0, 30_001)
        values = shape_at(fine, gamma)
        assert values[0] == 0.0
        assert values.max() == pytest.approx(1.0)
        assert fine[values.argmax()] == pytest.approx(1.0, abs=1e-3)


def test_the_window_holds_value_and_slope_at_the_peak_and_fades_far_beyond_it() -> None:
    shape = Shape(None, Sines(4.2, 20))
    coefficients = np.random.default_rng(0).standard_normal(20)
    assert shape.columns(1.0) @ coefficients == pytest.approx(0.0, abs=1e-14)
    assert shape.slopes(1.0) @ coefficients == pytest.approx(0.0, abs=1e-14)
    assert shape.columns(0.0) @ coefficients == 0.0
    assert np.all(shape.columns([4.2, 5.0, 100.0]) == 0.0)
    assert np.all(shape.slopes([4.2, 5.0, 100.0]) == 0.0)
    near, far = (np.abs(shape.columns(u) @ coefficients).max() for u in (np.linspace(1.5, 2.0, 50), np.array([4.0])))
    assert far < 0.05 * near
    assert FAR > 2.0


def test_slopes_of_the_shared_discrepancy_are_those_of_differences() -> None:
    shape = Shape(None, Sines(4.2, 20))
    inside = np.linspace(0.01, 4.19, 200)
    differences = (shape.columns(inside + STEP) - shape.columns(inside - STEP)) / (2 * STEP)
    np.testing.assert_allclose(shape.slopes(inside), differences, atol=1e-7)

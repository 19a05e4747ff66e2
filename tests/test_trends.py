"""Trends: columns, knots, and what a drifting slope means."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from goldpeak.trends import KNOT_STEP, TRENDS, knots_between, trend_columns


def test_polynomial_columns() -> None:
    x = np.array([-1.0, 0.0, 2.0])
    np.testing.assert_array_equal(trend_columns(TRENDS["constant"], x), np.ones((3, 1)))
    np.testing.assert_array_equal(trend_columns(TRENDS["log_quadratic"], x), np.column_stack([x**0, x, x**2]))


@settings(deadline=None)
@given(start=st.floats(-20.0, 20.0), steps=st.floats(0.0, 30.0))
def test_knots_are_even_and_strictly_inside(start: float, steps: float) -> None:
    end = start + steps * KNOT_STEP
    knots = knots_between(start, end)
    assert np.all((knots > start) & (knots < end))
    np.testing.assert_allclose(np.diff(np.concatenate([[start], knots])), KNOT_STEP, rtol=1e-9)
    # None is missing: the last gap is not longer than a step.
    assert end - (knots[-1] if len(knots) else start) <= KNOT_STEP * (1 + 1e-6) + 1e-9


@settings(deadline=None)
@given(start=st.floats(-5.0, 5.0), inner=st.floats(0.0, 10.0), more=st.floats(0.0, 10.0))
def test_a_wider_range_keeps_the_knots_there_were(start: float, inner: float, more: float) -> None:
    first = knots_between(start, start + inner)
    wider = knots_between(start, start + inner + more)
    np.testing.assert_array_equal(wider[: len(first)], first)


def test_slope_changes_at_the_knots_only() -> None:
    walk, knots = TRENDS["random_walk"], np.array([0.7, 1.4])
    coef = np.array([0.5, 0.1, -0.3, 0.4])
    x = np.linspace(0.0, 2.1, 22)
    slopes = np.diff(trend_columns(walk, x, knots) @ coef) / np.diff(x)
    np.testing.assert_allclose(slopes[:7], 0.1, atol=1e-12)
    np.testing.assert_allclose(slopes[7:14], -0.2, atol=1e-12)
    np.testing.assert_allclose(slopes[14:], 0.2, atol=1e-12)


def test_random_walk_before_its_first_knot_is_a_line() -> None:
    x = np.array([-3.0, 0.0])
    found = trend_columns(TRENDS["random_walk"], x, [0.7])
    assert found[:, 2].tolist() == [0.0, 0.0]
    assert found[:, :2] == pytest.approx(trend_columns(TRENDS["log_linear"], x))

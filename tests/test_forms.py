"""Functional forms: closed-form peaks against grids, slopes against differences, limits of the Box-Cox form."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from scipy.special import lambertw

from goldpeak.forms import FORMS, Form, gold_at, peak_of, slope_at

forms = st.sampled_from(list(FORMS.values()))
# A gold of the order of the ratio squared must be a normal float.
ratios = st.floats(-5.0, 12.0).filter(lambda ratio: ratio == 0 or abs(ratio) > 1e-100)
gammas = st.floats(-0.4, 2.5)
any_form = pytest.mark.parametrize("form", FORMS.values(), ids=lambda form: form.name)


@settings(deadline=None)
@given(form=forms, ratio=ratios, beta=st.floats(1e-3, 1e3), gamma=gammas)
@example(form=FORMS["boxcox"], ratio=3.0, beta=1.0, gamma=1e-12)
@example(form=FORMS["boxcox"], ratio=-0.5, beta=1.0, gamma=2.0)
@example(form=FORMS["boxcox"], ratio=2.5, beta=1.0, gamma=-0.4)
def test_closed_form_peak_is_the_highest_point_of_a_grid(form: Form, ratio: float, beta: float, gamma: float) -> None:
    alpha = ratio * beta
    d = float(peak_of(form, alpha, beta, gamma))
    assert d >= 0
    if d == 0:
        grid = np.geomspace(1e-8, 1e4, 4001)
        assert np.all(gold_at(form, grid, alpha, beta, gamma) <= 0)
    elif d > 1e30:
        assert np.all(np.diff(gold_at(form, np.geomspace(1e-3, 1e6, 4001), alpha, beta, gamma)) > 0)
    else:
        # Wide and fine: nowhere higher, and the highest grid point is the one next to d.
        wide = d * np.geomspace(1e-4, 1e4, 4001)
        near = d * (1.0 + np.linspace(-0.05, 0.05, 2001))
        top = gold_at(form, d, alpha, beta, gamma)
        tolerance = 1e-12 * (abs(alpha) + beta * abs(form.f(np.float64(d), np.float64(gamma)))) * d
        assert np.all(gold_at(form, wide, alpha, beta, gamma) <= top + tolerance)
        found = near[np.argmax(gold_at(form, near, alpha, beta, gamma))]
        assert found == pytest.approx(d, rel=1e-3)


@settings(deadline=None)
@given(
    form=forms,
    alpha=st.floats(-1e6, 1e6),
    beta=st.floats(-1e6, 1e6),
    gamma=st.floats(-5.0, 5.0),
)
@example(form=FORMS["boxcox"], alpha=1.0, beta=0.3, gamma=-1.0)
@example(form=FORMS["boxcox"], alpha=1.0, beta=0.3, gamma=-1.5)
@example(form=FORMS["boxcox"], alpha=1e300, beta=1e-8, gamma=2.5)
@example(form=FORMS["saturating"], alpha=0.0, beta=0.0, gamma=0.0)
@example(form=FORMS["rl_log1p"], alpha=1e6, beta=1e-300, gamma=0.0)
def test_a_peak_is_never_nan_and_infinite_without_a_falling_term(
    form: Form, alpha: float, beta: float, gamma: float
) -> None:
    d = float(peak_of(form, alpha, beta, gamma))
    assert d >= 0
    if beta <= 0:
        assert d == np.inf


@settings(deadline=None)
@given(form=forms, d=st.floats(0.05, 100.0), gamma=gammas)
def test_slope_is_the_derivative_of_the_basis(form: Form, d: float, gamma: float) -> None:
    h = 1e-5 * d
    numeric = (form.basis(d + h, gamma) - form.basis(d - h, gamma)) / (2 * h)
    found = form.slope_basis(d, gamma)
    scale = np.maximum(np.abs(found), np.abs(form.basis(d, gamma)) / d)
    np.testing.assert_allclose(found, numeric, atol=1e-7 * float(scale.max()), rtol=1e-6)


@settings(deadline=None)
@given(form=forms, ratio=st.floats(0.1, 0.9), gamma=gammas)
def test_slope_vanishes_at_the_peak(form: Form, ratio: float, gamma: float) -> None:
    d = peak_of(form, ratio, 1.0, gamma)
    assume(0 < d < 1e6)
    assert float(slope_at(form, d, ratio, 1.0, gamma)) == pytest.approx(0.0, abs=1e-9)


@any_form
@pytest.mark.parametrize("gamma", [-0.4, 0.0, 0.7, 2.5])
def test_gold_is_zero_at_the_initial_policy(form: Form, gamma: float) -> None:
    assert form.basis(0.0, gamma).tolist() == [0.0, 0.0]
    assert form.basis([0.0, 1.0], gamma).shape == (2, 2)


@settings(deadline=None)
@given(d=st.floats(1e-3, 1e3), alpha=st.floats(-2.0, 2.0), beta=st.floats(-2.0, 2.0))
def test_boxcox_is_rl_at_zero_and_bon_at_one(d: float, alpha: float, beta: float) -> None:
    boxcox = FORMS["boxcox"]
    rl = gold_at(FORMS["rl"], d, alpha, beta)
    assert gold_at(boxcox, d, alpha, beta, 0.0) == pytest.approx(rl, rel=1e-12, abs=1e-12)
    assert gold_at(boxcox, d, alpha, beta, 1e-9) == pytest.approx(rl, rel=1e-6, abs=1e-6 * d)
    bon = gold_at(FORMS["bon"], d, alpha + beta, beta)
    assert gold_at(boxcox, d, alpha, beta, 1.0) == pytest.approx(bon, rel=1e-9, abs=1e-9 * d * (1 + d))


@settings(deadline=None)
@given(ratio=st.floats(-5.0, 20.0), gamma=st.floats(-1e-7, 1e-7))
def test_boxcox_peak_is_continuous_at_gamma_zero(ratio: float, gamma: float) -> None:
    found = float(peak_of(FORMS["boxcox"], ratio, 1.0, gamma))
    assert found == pytest.approx(np.exp(ratio - 1.0), rel=1e-4)


def test_rl_log1p_peak_is_the_lambert_w_of_the_method() -> None:
    ratio = np.array([0.2, 1.0, 2.0, 5.0])
    u = lambertw(np.exp(1 - ratio)).real
    np.testing.assert_allclose(peak_of(FORMS["rl_log1p"], ratio, 1.0), 1 / u - 1, rtol=1e-12)


@any_form
def test_the_papers_gold_at_peak(form: Form) -> None:
    """Gold at the peak in closed form where the paper's table has one: bon alpha^2 / 4 beta, rl beta d."""
    alpha, beta = 0.9, 0.4
    d = peak_of(form, alpha, beta)
    gold = float(gold_at(form, min(float(d), 1e6), alpha, beta))
    wanted = {"bon": alpha**2 / (4 * beta), "rl": beta * d, "boxcox": beta * d}
    if form.name in wanted:
        assert gold == pytest.approx(float(wanted[form.name]), rel=1e-12)
    elif form.name == "saturating":
        assert d == np.inf
    else:
        assert gold > 0


def test_arguments_broadcast() -> None:
    d = peak_of(FORMS["boxcox"], np.ones((3, 1)), 0.5, np.array([0.0, 1.0]))
    assert d.shape == (3, 2)
    assert FORMS["boxcox"].basis(np.ones(4), np.zeros((3, 1))).shape == (3, 4, 2)

"""The rules against closed forms, and their monotony for any draws."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from goldpeak.curves import Curves
from goldpeak.discrepancy import BOUNDARY, Sines
from goldpeak.errors import FitError
from goldpeak.forms import FORMS
from goldpeak.stopping.rules import RULES, CurveDraws, GridDraws, above_share, draws_of, stop_at, stops, worst_mean

KL_MAX, MEAN, SD, BETA = 64.0, 0.8, 0.12, 0.1
COUNT = 20_000
LEVELS = (0.05, 0.25, 0.5)


def normal_draws(count: int = COUNT) -> np.ndarray:
    """A standard normal, by its quantiles: sums over it are integrals."""
    return stats.norm.ppf((np.arange(count) + 0.5) / count)


def bon(alpha: np.ndarray, beta: np.ndarray | float, kl_max: float = KL_MAX) -> CurveDraws:
    """Gold d (alpha - beta d): peak at d = alpha / 2 beta, and beta (d - peak)^2 below it at d."""
    shape = (1, len(alpha), 1)
    both = (alpha.reshape(shape), np.broadcast_to(beta, len(alpha)).reshape(shape))
    (draws,) = draws_of(Curves(FORMS["bon"], "run", np.array(["a"]), *both, np.zeros(shape[:2])), kl_max)
    return draws


@pytest.fixture(scope="module")
def gaussian() -> CurveDraws:
    return bon(MEAN + SD * normal_draws(), BETA)


@pytest.mark.parametrize("level", LEVELS)
def test_every_rule_is_its_closed_form_where_alpha_is_gaussian(gaussian: CurveDraws, level: float) -> None:
    z, drop = stats.norm.ppf(level), 0.05
    lower, worst = MEAN + SD * z, MEAN - SD * stats.norm.pdf(z) / level
    wanted = {
        "expected": MEAN / (2 * BETA),
        "chance": lower / (2 * BETA),
        "cvar": worst / (2 * BETA),
        # The loss is a squared Gaussian deviation: its worst share is least at the centre.
        "regret": MEAN / (2 * BETA),
        "drawdown": lower / (2 * BETA) + np.sqrt(drop / BETA),
    }
    assert set(wanted) == set(RULES)
    for rule, d in wanted.items():
        assert stop_at(gaussian, rule, level, drop) == pytest.approx(d**2, rel=1e-3), rule


def test_a_skewed_regret_by_quadrature() -> None:
    """Beta a shifted exponential: the mean worst share of the loss, integrated and minimised by itself."""
    alpha, beta = 0.8, 0.06 + 0.05 * stats.expon.ppf((np.arange(4000) + 0.5) / 4000)
    d = np.linspace(2.0, 7.0, 2001)
    loss = np.sort(beta * (d[:, None] - alpha / (2 * beta)) ** 2, axis=1)
    wanted = [d[np.argmin(loss[:, -round(level * 4000) :].mean(axis=1))] for level in (0.05, 0.25, 1.0)]
    found = np.sqrt(stops(bon(np.full(4000, alpha), beta), "regret", (0.05, 0.25, 1.0)))
    np.testing.assert_allclose(found, wanted, atol=0.01)
    assert abs(wanted[0] - wanted[2]) > 0.1


def test_whole_and_no_risk_aversion_agree(gaussian: CurveDraws) -> None:
    assert stop_at(gaussian, "cvar", 1.0) == pytest.approx(stop_at(gaussian, "expected", 0.1))
    # E[R*] does not depend on where one stops.
    assert stop_at(gaussian, "regret", 1.0) == pytest.approx(stop_at(gaussian, "expected", 0.1), rel=1e-6)


def test_weights_are_repeats() -> None:
    rng = np.random.default_rng(0)
    alpha, beta, times = rng.uniform(0.3, 1.2, 40), rng.uniform(0.05, 0.2, 40), rng.integers(0, 4, 40)
    repeated = bon(np.repeat(alpha, times), np.repeat(beta, times))
    single = bon(alpha, beta)
    weighted = GridDraws(KL_MAX, single.gold, single.kl_peak, single.gold_peak, weights=times / times.sum())
    for rule in RULES:
        np.testing.assert_allclose(stops(weighted, rule, LEVELS), stops(repeated, rule, LEVELS), err_msg=rule)


def test_draws_without_a_peak_and_draws_that_only_fall() -> None:
    """Three of ten still rise at the end, one only falls."""
    draws = bon(np.r_[np.full(6, 0.8), np.full(3, 5.0), -0.2], 0.1)
    assert draws.kl_peak.tolist() == [pytest.approx(16.0)] * 6 + [np.inf] * 3 + [0.0]
    assert [stop_at(draws, "chance", level) for level in (0.05, 0.2, 0.65, 0.72)] == [
        0.0,
        *[pytest.approx(16)] * 2,
        np.inf,
    ]
    # The one that falls has lost .05 at d (.2 + .1 d) = .05.
    early = (-1 + np.sqrt(1 + 0.5)) ** 2
    assert stop_at(draws, "drawdown", 0.05, drop=0.05) == pytest.approx(early, rel=0.05)
    assert stop_at(draws, "drawdown", 0.72, drop=0.05) == np.inf
    # The mean still rises at the end; the worst tenth only falls.
    assert stop_at(draws, "expected", 0.1) == np.inf
    assert stop_at(draws, "cvar", 0.1) == 0.0


def test_of_two_humps_the_fall_between_them_does_not_count_before_the_higher_one() -> None:
    d = np.linspace(0, 8, 2000)
    gold = np.exp(-(((d - 2) / 0.5) ** 2)) + 1.2 * np.exp(-(((d - 5) / 0.5) ** 2)) + np.exp(-(((d - 7) / 0.3) ** 2))
    sines = Sines(BOUNDARY * 8.0, 120)
    delta = np.linalg.lstsq(sines.columns(d), gold, rcond=None)[0].reshape(1, 1, 1, -1)
    zero = np.zeros((1, 1, 1))
    (draws,) = draws_of(Curves(FORMS["bon"], "run", np.array(["a"]), zero, zero, zero[0], sines, delta), 64.0)
    assert stop_at(draws, "chance", 0.5) == pytest.approx(25.0, rel=0.01)
    # Past 5 the gold is first half a unit down at 5 + .5 sqrt(log(1.2 / .7)); the third hump is not waited for.
    assert np.sqrt(stop_at(draws, "drawdown", 0.5, drop=0.5)) == pytest.approx(
        5 + 0.5 * np.sqrt(np.log(1.2 / 0.7)), 3e-3
    )


many = st.lists(st.tuples(st.floats(-0.5, 3.0), st.floats(0.01, 0.5)), min_size=1, max_size=40)
levels = st.lists(st.floats(0.01, 0.99), min_size=2, max_size=2).map(sorted)


@given(many, levels)
@settings(max_examples=100, deadline=None)
def test_stops_are_monotone_in_the_level(pairs: list[tuple[float, float]], two: list[float]) -> None:
    draws = bon(*(np.array(values) for values in zip(*pairs, strict=True)))
    for rule in ("chance", "drawdown"):
        early, late = stops(draws, rule, two, drop=0.1)
        assert early <= late, rule
    less, more = (stop_at(draws, "drawdown", two[0], drop=drop) for drop in (0.01, 0.5))
    assert less <= more
    # Of the others it is what is attained: more of the draws are less bad.
    for gain in (draws.gold, draws.gold - draws.gold_peak):
        careful, bold = (worst_mean(gain, level).max() for level in two)
        assert careful <= bold + 1e-9


@given(st.lists(st.floats(0.02, 0.5), min_size=1, max_size=40), levels)
@settings(max_examples=100, deadline=None)
def test_cvar_is_monotone_where_one_number_orders_the_curves(beta: list[float], two: list[float]) -> None:
    early, late = stops(bon(np.full(len(beta), 0.8), np.array(beta)), "cvar", two)
    assert early <= late * (1 + 1e-9)


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=30), st.floats(0.01, 1.0))
def test_worst_mean_lies_between_the_least_and_the_mean(values: list[float], share: float) -> None:
    found = float(worst_mean(np.array(values), share))
    assert min(values) - 1e-9 <= found <= np.mean(values) + 1e-9
    weights = np.full(len(values), 1 / len(values))
    assert found == pytest.approx(float(worst_mean(np.array(values), share, weights)), abs=1e-9)


@given(st.lists(st.floats(0, 5) | st.just(np.inf), min_size=1, max_size=30), st.floats(0.0, 0.99))
def test_no_more_than_the_share_lies_below(values: list[float], share: float) -> None:
    found, drawn = above_share(np.array(values), share), np.array(values)
    assert np.mean(drawn < found) <= share + 1e-9
    # A little further and it would be too many.
    assert found == np.inf or np.mean(drawn <= found) > share - 1e-9


def test_an_unknown_rule_is_refused(gaussian: CurveDraws) -> None:
    with pytest.raises(FitError, match="rule is 'best'; allowed: expected, chance, cvar, regret, drawdown"):
        stop_at(gaussian, "best", 0.25)  # type: ignore[arg-type]


@pytest.mark.parametrize("kl_max", [1e3, 1e5, 1e6])
def test_a_far_kl_max_changes_no_stop(kl_max: float) -> None:
    """A grid that ends at d = 1000 must still see a peak at d = 4."""
    near, far = (bon(0.8 + 0.05 * normal_draws(200), BETA, limit) for limit in (KL_MAX, kl_max))
    for rule in RULES:
        assert stop_at(far, rule, 0.25) == pytest.approx(stop_at(near, rule, 0.25), rel=0.02), rule

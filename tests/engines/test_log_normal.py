"""A Gaussian likelihood of what is log-normal: integrals against quadrature, draws against the density."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from goldpeak.engines.log_normal import draw_log_normal, draw_on_grid, log_normal_integral

Array = NDArray[np.float64]
CASES = {
    "informative": (400.0, 300.0, 0.2, 0.3),
    "not": (0.1, 0.05, 0.2, 0.3),
    "pulled below": (50.0, -20.0, 0.0, 0.4),
    "far from the prior": (100.0, 300.0, 0.0, 0.15),
}
cases = pytest.mark.parametrize("case", CASES)


def density(case: str) -> tuple[Array, Array]:
    a, b, middle, sd = CASES[case]
    rho = np.linspace(middle - 9 * sd, middle + 9 * sd, 20_001)
    gold = np.exp(rho)
    log = b * gold - 0.5 * a * gold**2 - 0.5 * ((rho - middle) / sd) ** 2 - np.log(sd * np.sqrt(2 * np.pi))
    return rho, log


@cases
def test_integrals_are_those_of_quadrature(case: str) -> None:
    rho, log = density(case)
    wanted = log.max() + np.log(np.trapezoid(np.exp(log - log.max()), rho))
    found = log_normal_integral(*(np.array([value]) for value in CASES[case]))
    assert float(found[0]) == pytest.approx(wanted, abs=0.003)


@cases
def test_draws_have_the_densitys_moments(case: str) -> None:
    rho, log = density(case)
    share = np.exp(log - log.max())
    share /= share.sum()
    mean = share @ rho
    sd = np.sqrt(share @ (rho - mean) ** 2)
    count = 20_000
    drawn = draw_log_normal(*(np.full(count, value) for value in CASES[case]), np.random.default_rng(0))
    assert drawn.mean() == pytest.approx(mean, abs=4.5 * sd / np.sqrt(count))
    assert drawn.std() == pytest.approx(sd, rel=0.03)


def test_between_points_a_density_is_exponential() -> None:
    """Falling by a nat a unit: the distribution function is 1 - exp(-t), cut off at the end."""
    t = np.tile(np.linspace(0.0, 4.0, 3), (20_000, 1))
    drawn = np.sort(draw_on_grid(t, -t, np.random.default_rng(1)))
    wanted = -np.expm1(-drawn) / -np.expm1(-4.0)
    assert np.abs(wanted - (np.arange(20_000) + 0.5) / 20_000).max() < 1.63 / np.sqrt(20_000)

"""Priors as maps from a standard normal: against scipy's distributions."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from goldpeak.priors import HalfNormal, LogNormal, Normal, Prior

PAIRS = [
    (Normal(0.3, 2.0), stats.norm(0.3, 2.0)),
    (LogNormal(0.9, 0.4), stats.lognorm(0.4, scale=np.exp(0.9))),
    (HalfNormal(0.2), stats.halfnorm(scale=0.2)),
]
ids = [type(prior).__name__ for prior, _ in PAIRS]


@pytest.mark.parametrize(("prior", "reference"), PAIRS, ids=ids)
def test_quantiles_are_the_distributions(prior: Prior, reference: stats.rv_continuous) -> None:
    z = np.linspace(-5, 5, 41)
    np.testing.assert_allclose(prior.from_normal(z), reference.isf(stats.norm.sf(z)), rtol=1e-9)


@pytest.mark.parametrize(("prior", "reference"), PAIRS, ids=ids)
def test_far_tails_stay_finite_and_ordered(prior: Prior, reference: stats.rv_continuous) -> None:
    z = np.linspace(-30, 30, 601)
    values = prior.from_normal(z)
    assert np.isfinite(values).all()
    # A half-normal reaches 0 in double precision far to the left: a scale of exactly 0 is one that engines can take.
    assert np.all(np.diff(values) >= 0)
    assert np.all(np.diff(values[np.abs(z) < 5]) > 0)
    if not isinstance(prior, Normal):
        assert np.all(values >= 0)


@pytest.mark.parametrize("bad", [0.0, -1.0, np.nan, np.inf])
def test_a_spread_must_be_positive_and_finite(bad: float) -> None:
    for prior in (Normal(0.0, bad), LogNormal(0.0, bad), HalfNormal(bad)):
        assert any("sigma" in problem for problem in prior.problems())
    assert Normal(np.nan, 1.0).problems() == ["mu is nan; allowed: a finite number"]
    assert Normal(0.0, 1.0).problems() == []

"""Eliminating Gaussian blocks: against dense algebra, level upon level, and drawn back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from goldpeak.engines.gaussian import eliminate
from goldpeak.errors import NumericsWarning

Array = NDArray[np.float64]


def problem(rng: np.random.Generator, width: int, points: int = 9) -> tuple[Array, Array, Array, Array]:
    """Columns, data, noise variances, and their augmented Gram matrix."""
    x, y, v = rng.standard_normal((points, width)), rng.standard_normal(points), rng.uniform(0.1, 2.0, points)
    z = np.column_stack([x, y])
    return x, y, v, (z.T / v) @ z


@settings(deadline=None, max_examples=50)
@given(seed=st.integers(0, 2**32), width=st.integers(1, 12), data=st.data())
def test_elimination_is_a_larger_noise_covariance(seed: int, width: int, data: st.DataObject) -> None:
    cols = np.array(sorted(data.draw(st.sets(st.integers(0, width - 1)))), dtype=np.int64)
    rng = np.random.default_rng(seed)
    x, y, v, gram = problem(rng, width)
    scale = rng.uniform(0.0, 3.0, len(cols))
    found, log_determinant, _ = eliminate(gram[None], cols, scale[None])
    covariance = np.diag(v) + (x[:, cols] * scale**2) @ x[:, cols].T
    z = np.column_stack([x, y])
    np.testing.assert_allclose(found[0], z.T @ np.linalg.solve(covariance, z), rtol=1e-7, atol=1e-8)
    added = np.linalg.slogdet(covariance)[1] - np.log(v).sum()
    np.testing.assert_allclose(log_determinant, added, rtol=1e-9, atol=1e-9)


def test_two_blocks_in_either_order_are_both_at_once() -> None:
    rng = np.random.default_rng(0)
    _, _, _, gram = problem(rng, 7)
    first, second = np.array([0, 2, 3]), np.array([5, 6])
    s1, s2 = rng.uniform(0.1, 2, 3), rng.uniform(0.1, 2, 2)
    both, log_both, _ = eliminate(gram[None], np.concatenate([first, second]), np.concatenate([s1, s2])[None])
    for (a, sa), (b, sb) in [((first, s1), (second, s2)), ((second, s2), (first, s1))]:
        step, log_a, _ = eliminate(gram[None], a, sa[None])
        found, log_b, _ = eliminate(step, b, sb[None])
        np.testing.assert_allclose(found, both, rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(log_a + log_b, log_both, rtol=1e-9)


def test_nothing_eliminated_changes_nothing() -> None:
    gram = problem(np.random.default_rng(0), 3)[3][None]
    found, log_determinant, block = eliminate(gram, np.empty(0, dtype=np.int64), np.empty((1, 0)))
    np.testing.assert_array_equal(found, gram)
    assert log_determinant.tolist() == [0.0]
    assert block.draw(np.zeros(2, dtype=np.int64), np.random.default_rng(0)).given(np.zeros((2, 3))).shape == (2, 0)


def test_draws_have_the_conditional_mean_and_covariance() -> None:
    rng = np.random.default_rng(1)
    x, y, v, gram = problem(rng, 5)
    cols, scale = np.array([1, 3, 4]), np.array([0.5, 1.0, 2.0])
    _, _, block = eliminate(gram[None], cols, scale[None])
    above = rng.standard_normal(5)
    count = 200_000
    found = block.draw(np.zeros(count, dtype=np.int64), rng).given(np.tile(above, (count, 1)))
    # The block's coefficients are deviations: what the levels above give to its own columns stays in the mean.
    precision = (x[:, cols].T / v) @ x[:, cols] + np.diag(scale**-2.0)
    covariance = np.linalg.inv(precision)
    mean = covariance @ (x[:, cols].T @ ((y - x @ above) / v))
    sd = np.sqrt(np.diag(covariance))
    assert np.all(np.abs(found.mean(axis=0) - mean) < 5 * sd / np.sqrt(count))
    np.testing.assert_allclose(np.cov(found.T), covariance, atol=5 * sd.max() ** 2 * np.sqrt(2 / count))


def test_draws_belong_to_the_entry_that_was_asked_for() -> None:
    rng = np.random.default_rng(2)
    grams = np.stack([problem(rng, 2)[3] for _ in range(2)])
    # The second entry's scale is nearly zero: so are its draws.
    _, _, block = eliminate(grams, np.array([0, 1]), np.array([[5.0, 5.0], [1e-9, 1e-9]]))
    found = block.draw(np.array([0, 0, 1, 1]), rng).given(np.zeros((4, 2)))
    assert np.abs(found[2:]).max() < 1e-6 < 1e-3 < np.abs(found[:2]).min()


def test_rounding_beyond_positive_definite_gets_jitter_and_a_warning() -> None:
    # Equal columns of enormous information: 1 + 1e18 is 1e18, and the precision is singular in double precision.
    gram = np.full((1, 3, 3), 1e18)
    gram[0, 0, 1] = gram[0, 1, 0] = 1e18 * (1 + 1e-15)
    with pytest.warns(NumericsWarning, match="relative jitter of"):
        found, log_determinant, _ = eliminate(gram, np.array([0, 1]), np.ones((1, 2)))
    assert np.isfinite(log_determinant).all()
    assert np.isfinite(found).all()


def test_what_no_jitter_can_mend_is_nan_and_leaves_the_others_alone() -> None:
    good = problem(np.random.default_rng(0), 3)[3]
    cols, scale = np.array([0, 1]), np.ones((2, 2))
    found, log_determinant, _ = eliminate(np.stack([-1e6 * np.eye(4), good]), cols, scale)
    alone, log_alone, _ = eliminate(good[None], cols, scale[:1])
    assert np.isnan(log_determinant[0])
    np.testing.assert_array_equal(found[1], alone[0])
    assert log_determinant[1] == log_alone[0]

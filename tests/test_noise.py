"""Sufficient statistics: against the sums they stand for, and additive."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from goldpeak.noise import FLOOR, Statistics, choose_nodes, gather, merge, variance

Array = NDArray


def points(rng: np.random.Generator, count: int, runs: int, errors: int) -> tuple[np.ndarray, ...]:
    columns = rng.standard_normal((count, 3))
    return columns, rng.standard_normal(count), rng.integers(errors, size=count) / 10, rng.integers(runs, size=count)


def assert_describes(found: Statistics, columns: Array, y: Array, se: Array, run_index: Array, runs: int) -> None:
    sigma = np.array([0.0, 0.05, 2.0])
    weighted = found.weighted(sigma + 0.01)
    for s, value in enumerate(sigma + 0.01):
        spread = variance(se, value)
        for r in range(runs):
            z = np.column_stack([columns, y])[run_index == r]
            np.testing.assert_allclose(weighted[s, r], (z.T / spread[run_index == r]) @ z, rtol=1e-9, atol=1e-6)
        np.testing.assert_allclose(found.log_determinant(sigma + 0.01)[s], np.log(spread).sum(), rtol=1e-9, atol=1e-9)


@settings(deadline=None)
@given(seed=st.integers(0, 2**32), count=st.integers(0, 40), runs=st.integers(1, 5), errors=st.integers(1, 4))
def test_statistics_are_the_weighted_sums(seed: int, count: int, runs: int, errors: int) -> None:
    columns, y, se, run_index = points(np.random.default_rng(seed), count, runs, errors)
    assert_describes(gather(columns, y, se, run_index, runs), columns, y, se, run_index, runs)


@settings(deadline=None)
@given(seed=st.integers(0, 2**32), count=st.integers(0, 30), cut=st.integers(0, 30), errors=st.integers(1, 4))
def test_statistics_of_two_chunks_merge_to_those_of_the_whole(seed: int, count: int, cut: int, errors: int) -> None:
    columns, y, se, run_index = points(np.random.default_rng(seed), count, 3, errors)
    first, second = (
        gather(columns[part], y[part], se[part], run_index[part], 3) for part in (slice(cut), slice(cut, None))
    )
    assert_describes(merge(first, second), columns, y, se, run_index, 3)


@settings(deadline=None)
@given(seed=st.integers(0, 2**32), spread=st.floats(1.05, 30.0), cut=st.integers(0, 400))
def test_a_few_nodes_stand_in_for_any_standard_errors(seed: int, spread: float, cut: int) -> None:
    rng = np.random.default_rng(seed)
    columns, y, _, run_index = points(rng, 400, 3, 1)
    se = 0.02 * spread ** rng.random(400)
    nodes = choose_nodes(se, run_index)
    assert nodes is not None
    assert len(nodes) < 60
    whole, first, second = (
        gather(columns[part], y[part], se[part], run_index[part], 3, nodes)
        for part in (slice(None), slice(cut), slice(cut, None))
    )
    for sigma in (1e-4, 0.03, 1.0):
        weighted, log_determinant = whole.weighted(np.array([sigma])), whole.log_determinant(np.array([sigma]))
        spread_of = variance(se, np.array(sigma))
        z = np.column_stack([columns, y])
        for r in range(3):
            mine = run_index == r
            wanted = (z[mine].T / spread_of[mine]) @ z[mine]
            np.testing.assert_allclose(weighted[0, r], wanted, rtol=0, atol=1e-10 * np.abs(wanted).max())
        np.testing.assert_allclose(log_determinant, np.log(spread_of).sum(), rtol=1e-11, atol=1e-9)
    np.testing.assert_allclose(merge(first, second).gram, whole.gram, rtol=0, atol=1e-10 * np.abs(whole.gram).max())


def test_nodes_are_taken_only_where_they_are_fewer() -> None:
    few, run = np.array([0.02, 0.03, 0.04]), np.zeros(3, dtype=np.int64)
    assert choose_nodes(few, run) is None
    # A run each: one group each, whatever the others' standard errors are.
    many = np.linspace(0.02, 0.04, 500)
    assert choose_nodes(many, np.arange(500)) is None
    assert choose_nodes(np.empty(0), np.empty(0, dtype=np.int64)) is None
    # Beyond so many orders of magnitude no few nodes do.
    assert choose_nodes(np.geomspace(1e-9, 1e9, 40), np.zeros(40, dtype=np.int64)) is None


def test_iid_points_take_one_matrix_a_run_however_many_they_are() -> None:
    rng = np.random.default_rng(0)
    found = gather(rng.standard_normal((5000, 2)), rng.standard_normal(5000), np.zeros(5000), np.arange(5000) % 4, 4)
    assert found.gram.shape == (4, 1, 3, 3)
    assert found.count.tolist() == [[1250.0]] * 4


def test_the_variance_has_a_floor() -> None:
    assert variance(np.float64(0.0), np.float64(0.0)) == FLOOR**2 > 0

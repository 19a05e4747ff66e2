"""The unbiased best-of-n estimator against brute force."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from goldpeak.lab.estimator import average_ties, bon_weights, spaced


@pytest.mark.parametrize("proxy", [[3, 1, 2, 5, 4, 0, 6], [0, 0, 1, 1, 1, 2, 2], [0, 0, 0, 0, 0, 0, 0]])
def test_equals_the_mean_over_all_subsets(proxy: list[float]) -> None:
    scores = np.array(proxy, dtype=float)
    gold = np.random.default_rng(1).standard_normal(7)
    order = np.argsort(scores, kind="stable")
    n = np.arange(1, 8)
    estimate = bon_weights(n, 7) @ average_ties(gold[order], scores[order])
    for size, found in zip(n, estimate, strict=True):
        # A tie within a subset is broken at random: the mean over those that share the best score.
        best = [
            np.mean([gold[i] for i in subset if scores[i] == max(scores[list(subset)])])
            for subset in combinations(range(7), int(size))
        ]
        assert found == pytest.approx(np.mean(best), abs=1e-12)


def test_weights_of_a_large_pool() -> None:
    n = spaced(20_000, 27)
    weights = bon_weights(n, 20_000)
    np.testing.assert_allclose(weights.sum(axis=1), 1, rtol=1e-8)
    np.testing.assert_allclose(weights[0], 1 / 20_000)
    assert weights[-1, -1] == pytest.approx(1)
    # The expected best rank of n is n (M + 1) / (n + 1).
    np.testing.assert_allclose(weights @ np.arange(1, 20_001), n * 20_001 / (n + 1), rtol=1e-8)


@pytest.mark.parametrize("n", [0, 6])
def test_refuses_n_outside_the_pool(n: int) -> None:
    with pytest.raises(ValueError, match=r"1\.\.5"):
        bon_weights(np.array([n]), 5)


@pytest.mark.parametrize(("last", "count"), [(20_000, 27), (500, 45), (3, 45), (1, 2), (10, 10)])
def test_spaced(last: int, count: int) -> None:
    grid = spaced(last, count)
    assert grid[0] == 1
    assert grid[-1] == last
    assert np.all(np.diff(grid) > 0)
    assert min(count, last) <= grid.size <= min(count + 2, last)

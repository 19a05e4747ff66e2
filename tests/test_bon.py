"""Best-of-n from samples: against brute force, against a closed form, and its covariance against fresh prompts."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.integrate import quad
from scipy.special import comb

from goldpeak import bon
from goldpeak.errors import RunsError
from goldpeak.shrinkage import mean_covariance, sampling_correlation


def brute(proxy: np.ndarray, gold: np.ndarray, n: int) -> float:
    """Mean over all subsets of the gold of their best; a tie within a subset is broken at random."""
    best = []
    for subset in combinations(range(len(proxy)), n):
        scores = proxy[list(subset)]
        best.append(gold[list(subset)][scores == scores.max()].mean())
    return float(np.mean(best))


def problems(*arguments, **keywords) -> list[str]:
    with pytest.raises(RunsError) as caught:
        bon.estimate(*arguments, **keywords)
    return list(caught.value.problems)


# --- the estimate -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("proxy", [[3, 1, 2, 5, 4, 0, 6], [0, 0, 1, 1, 1, 2, 2], [0, 0, 0, 0, 0, 0, 0]])
def test_equals_the_mean_over_all_subsets(proxy: list[float]) -> None:
    rng = np.random.default_rng(1)
    gold = rng.standard_normal((3, 7))
    proxies = np.array([rng.permutation(proxy) for _ in range(3)], dtype=float)
    found = bon.estimate(proxies, gold)
    assert found.n.tolist() == [1, 2, 3, 4, 5, 6, 7]
    expected = [np.mean([brute(p, g, n) for p, g in zip(proxies, gold, strict=True)]) for n in range(1, 8)]
    np.testing.assert_allclose(found.gold, expected, atol=1e-12)
    best = [np.mean([brute(p, p, n) for p in proxies]) for n in range(1, 8)]
    np.testing.assert_allclose(found.proxy, best, atol=1e-12)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_equals_brute_force_in_ragged_pools_with_ties(data: st.DataObject) -> None:
    sizes = data.draw(st.lists(st.integers(1, 7), min_size=2, max_size=4))
    pools = [data.draw(st.lists(st.integers(-2, 2), min_size=m, max_size=m)) for m in sizes]
    golds = [data.draw(st.lists(st.floats(-5, 5), min_size=m, max_size=m)) for m in sizes]
    found = bon.estimate(pools, golds)
    assert found.n.tolist() == list(range(1, min(sizes) + 1))
    for n, value in zip(found.n, found.gold, strict=True):
        each = [brute(np.array(p), np.array(g), n) for p, g in zip(pools, golds, strict=True)]
        assert value == pytest.approx(np.mean(each), abs=1e-9)


def test_ragged_pools_and_a_rectangle_agree() -> None:
    rng = np.random.default_rng(2)
    proxy, gold = rng.standard_normal((2, 5, 50))
    alike, mixed = (
        bon.estimate(proxy, gold),
        bon.estimate([*proxy, proxy[0, :40]], [*gold, gold[0, :40]], alike_n := [1, 7]),
    )
    np.testing.assert_array_equal(bon.estimate(list(proxy), list(gold)).gold, alike.gold)
    curves, _ = bon.pool_curves(proxy[0, :40], gold[0, :40], np.array([40]), np.array(alike_n))
    weighted = (5 * bon.estimate(proxy, gold, alike_n).gold + curves[0]) / 6
    np.testing.assert_allclose(mixed.gold, weighted)


def test_order_of_samples_and_of_n_does_not_matter() -> None:
    rng = np.random.default_rng(3)
    proxy, gold = rng.integers(0, 9, (4, 30)), rng.standard_normal((4, 30))
    shuffled = rng.permuted(np.arange(30) + np.zeros((4, 1), dtype=int), axis=1)
    one = bon.estimate(proxy, gold, [1, 5, 30])
    two = bon.estimate(np.take_along_axis(proxy, shuffled, 1), np.take_along_axis(gold, shuffled, 1), [30, 1, 5, 5])
    np.testing.assert_array_equal(one.n, two.n)
    np.testing.assert_allclose(one.gold, two.gold, atol=1e-12)


def expected_maximum(n: int) -> float:
    """Of n standard normals, by numerical integration."""
    density = lambda z: z * n * stats.norm.pdf(z) * stats.norm.cdf(z) ** (n - 1)  # noqa: E731
    return quad(density, -10, 12, limit=200)[0]


def test_a_bivariate_normal_has_a_closed_form() -> None:
    """Gold = rho x proxy + noise: gold(n) = rho E max of n normals."""
    rng, rho = np.random.default_rng(4), 0.6
    proxy = rng.standard_normal((60, 4000))
    gold = rho * proxy + np.sqrt(1 - rho**2) * rng.standard_normal(proxy.shape)
    found = bon.estimate(proxy, gold, [1, 2, 4, 16, 64, 256])
    truth = np.array([expected_maximum(n) for n in found.n])
    miss = found.gold - rho * truth
    assert (np.abs(miss) < 4 * found.gold_se).all()
    # All six together: chi-square with 6 degrees of freedom, a little wider for 60 prompts.
    assert miss @ np.linalg.solve(found.gold_cov, miss) < stats.chi2(6).ppf(0.9999)
    np.testing.assert_allclose(found.proxy, truth, atol=0.03)


@pytest.mark.parametrize("samples", [1, 2, 57, 300])
def test_weights_are_ratios_of_binomial_coefficients(samples: int) -> None:
    for n in {1, 2, samples // 2, samples - 1, samples} & set(range(1, samples + 1)):
        exact = [comb(i - 1, n - 1, exact=True) / comb(samples, n, exact=True) for i in range(1, samples + 1)]
        np.testing.assert_allclose(bon.weights(n, samples), exact, rtol=1e-12)


@pytest.mark.parametrize("samples", [20_000, 1_000_000])
def test_weights_of_a_large_pool(samples: int) -> None:
    for n in (*bon.default_n(samples), samples // 2, samples - 1):
        found = bon.weights(n, samples)
        assert np.isfinite(found).all()
        assert (found >= 0).all()
        assert found.sum() == pytest.approx(1, rel=1e-10)
        # The expected best rank of n is n (M + 1) / (n + 1).
        assert found @ np.arange(1, samples + 1) == pytest.approx(n * (samples + 1) / (n + 1), rel=1e-9)


@pytest.mark.parametrize("n", [0, 6])
def test_weights_refuse_n_outside_the_pool(n: int) -> None:
    with pytest.raises(ValueError, match=r"1\.\.5"):
        bon.weights(n, 5)


@pytest.mark.parametrize(("last", "count"), [(20_000, 27), (500, 45), (3, 45), (1, 2), (10, 10)])
def test_spaced(last: int, count: int) -> None:
    grid = bon.spaced(last, count)
    assert grid[0] == 1
    assert grid[-1] == last
    assert np.all(np.diff(grid) > 0)
    assert min(count, last) <= grid.size <= min(count + 2, last)


# --- what is refused --------------------------------------------------------------------------------------------------


def test_refuses_n_above_the_smallest_pool() -> None:
    (text,) = problems([[1, 2, 3], [1, 2]], [[1, 2, 3], [1, 2]], n=[1, 2, 3])
    assert text == "n holds 3; allowed: whole numbers from 1 to 2, the number of samples in the smallest pool"


@pytest.mark.parametrize("n", [[0], [1.5], [-1, 2], [np.nan], [np.inf]])
def test_refuses_an_n_that_is_not_a_count(n: list[float]) -> None:
    (text,) = problems(np.ones((2, 9)), np.ones((2, 9)), n=n)
    assert "allowed: whole numbers from 1 to 9" in text


@pytest.mark.parametrize("n", [[], "4", [[1, 2]], 3])
def test_refuses_an_n_that_is_no_list_of_numbers(n: object) -> None:
    (text,) = problems(np.ones((2, 9)), np.ones((2, 9)), n=n)
    assert "list of one or more whole numbers" in text


def test_refuses_one_prompt() -> None:
    (text,) = problems(np.ones((1, 9)), np.ones((1, 9)))
    assert text.startswith("fewer than 2 prompts; allowed: at least 2")


def test_lists_everything_that_is_wrong() -> None:
    found = problems([[1, np.nan], [1, 2, 3], []], [[1, 2], [1, 2], [], [np.inf]])
    assert found == [
        "proxy has 3 prompts, gold 4; allowed: the same number",
        "prompt 1: proxy of shape (3,), gold of shape (2,); allowed: one number per sample in each",
        "prompt 2: no samples; allowed: at least one",
        "prompt 0: proxy holds nan or inf; allowed: numbers",
        "prompt 3: gold holds nan or inf; allowed: numbers",
    ]


@pytest.mark.parametrize("samples", [3.0, [1.0, 2.0], [["a", "b"], ["c", "d"]], None])
def test_refuses_what_is_no_table_of_samples(samples: object) -> None:
    assert problems(samples, samples)


# --- the covariance ---------------------------------------------------------------------------------------------------


def sampled(rng: np.random.Generator, prompts: int, samples: int = 200) -> tuple[np.ndarray, np.ndarray]:
    """Proxy and gold of prompts that differ in difficulty."""
    proxy = rng.standard_normal((prompts, samples))
    difficulty = 0.3 * rng.standard_normal((prompts, 1))
    return proxy, difficulty + 0.5 * proxy - 0.1 * proxy**2 + rng.standard_normal(proxy.shape)


N = np.array([1, 2, 4, 8, 16, 32, 64, 128])


def correlation(cov: np.ndarray) -> np.ndarray:
    sd = np.sqrt(np.diag(cov))
    return cov / np.outer(sd, sd)


def test_covariance_against_fresh_prompts() -> None:
    """The covariance of estimates from ever new prompts, against what single data sets say on average."""
    rng = np.random.default_rng(5)
    found = [bon.estimate(*sampled(rng, 40), n=N) for _ in range(300)]
    truth = np.cov([one.gold for one in found], rowvar=False)
    said = np.mean([one.gold_cov for one in found], axis=0)
    np.testing.assert_allclose(np.diag(said), np.diag(truth), rtol=0.25)
    np.testing.assert_allclose(correlation(said), correlation(truth), atol=0.1)
    # What neighbours differ by, which a diagonal covariance gets wrong several times over.
    step = np.diff(np.eye(len(N)), axis=0)
    ratio = np.diag(step @ said @ step.T) / np.diag(step @ truth @ step.T)
    assert (ratio > 0.75).all()
    assert (ratio < 1.35).all()
    miss = np.array([one.gold for one in found]) - np.mean([one.gold for one in found], axis=0)
    squares = [m @ np.linalg.solve(one.gold_cov, m) for m, one in zip(miss, found, strict=True)]
    assert np.mean(squares) == pytest.approx(len(N), rel=0.2)
    alone = np.diag(step @ np.diag(np.diag(truth)) @ step.T) / np.diag(step @ truth @ step.T)
    assert alone.min() > 1.9


@pytest.mark.parametrize("prompts", [2, 3, 5, 27, 28])
def test_positive_definite_with_few_prompts(prompts: int) -> None:
    rng = np.random.default_rng(prompts)
    found = bon.estimate(*sampled(rng, prompts, 20_000))
    assert len(found.n) == 27
    np.linalg.cholesky(found.gold_cov)
    assert np.linalg.eigvalsh(correlation(found.gold_cov)).min() > 1e-12
    np.testing.assert_array_equal(found.gold_cov, found.gold_cov.T)
    assert 0 < found.shrinkage <= 1


def test_variances_are_not_shrunk() -> None:
    proxy, gold = sampled(np.random.default_rng(6), 10)
    curves, _ = bon.pool_curves(proxy.ravel(), gold.ravel(), np.full(10, 200), N)
    found = bon.estimate(proxy, gold, N)
    np.testing.assert_allclose(found.gold_se, curves.std(axis=0, ddof=1) / np.sqrt(10), rtol=1e-12)


def test_many_prompts_are_hardly_shrunk() -> None:
    rng = np.random.default_rng(7)
    mixing = rng.standard_normal((4, 4))
    curves = rng.standard_normal((4000, 4)) @ mixing
    found = mean_covariance(curves, np.array([1.0, 2.0, 4.0, 8.0]))
    np.testing.assert_allclose(found.cov * 4000, mixing.T @ mixing, atol=0.4)
    assert found.strength < 0.01


def test_the_target_is_chosen_by_the_data() -> None:
    rng = np.random.default_rng(8)
    n = np.arange(1.0, 9.0)
    assert mean_covariance(rng.standard_normal((20, 8)), n).target == "independent"
    related = rng.multivariate_normal(np.zeros(8), sampling_correlation(n), 20)
    assert mean_covariance(related, n).target == "sampling"


def test_left_out_density_is_that_of_leaving_out() -> None:
    """The closed form against doing it: the strength with the best score is the same."""
    from goldpeak import shrinkage

    rng = np.random.default_rng(9)
    n = np.arange(1.0, 6.0)
    curves = rng.multivariate_normal(np.zeros(5), sampling_correlation(n), 7)
    scaled = (curves - curves.mean(axis=0)) / curves.std(axis=0, ddof=1)
    target, floor = 0.9 * sampling_correlation(n) + 0.1 * np.eye(5), np.linspace(0.01, 0.05, 5)
    for strength in (0.05, 0.4, 1.0):
        total = 0.0
        for k in range(7):
            others = np.delete(scaled, k, axis=0)
            covariance = (1 - strength) * np.cov(others, rowvar=False) + strength * target + np.diag(floor)
            # A new prompt against the mean of six varies by 7/6 of that; the code leaves the constant out.
            density = stats.multivariate_normal(others.mean(axis=0), 7 / 6 * covariance)
            total += density.logpdf(scaled[k])
        constant = -0.5 * 7 * 5 * np.log(2 * np.pi * 7 / 6)
        assert shrinkage._left_out(
            scaled, np.corrcoef(curves, rowvar=False), floor, strength, target
        ) + constant == pytest.approx(total, rel=1e-9)


def test_sampling_correlation_is_that_of_the_weights() -> None:
    weights = np.array([bon.weights(n, 100_000) for n in (1, 2, 10, 300)])
    length = np.linalg.norm(weights, axis=1)
    expected = weights @ weights.T / np.outer(length, length)
    np.testing.assert_allclose(sampling_correlation(np.array([1.0, 2, 10, 300])), expected, atol=5e-3)


@pytest.mark.parametrize("pool", [50, 2000])
def test_sampling_correlation_knows_the_end_of_the_pool(pool: int) -> None:
    n = np.unique(np.geomspace(1, pool, 9).astype(int))
    weights = np.array([bon.weights(one, pool) for one in n])
    length = np.linalg.norm(weights, axis=1)
    found = sampling_correlation(n.astype(float), pool)
    np.testing.assert_allclose(found, weights @ weights.T / np.outer(length, length), atol=0.1 / pool)
    # Differences from n = 1 are correlated in the same way.
    rest = weights[1:] - weights[0]
    length = np.linalg.norm(rest, axis=1)
    np.testing.assert_allclose(found[1:, 1:], rest @ rest.T / np.outer(length, length), atol=0.5 / pool)


def test_gold_that_does_not_vary_has_no_error() -> None:
    found = bon.estimate(np.arange(8.0).reshape(2, 4), np.ones((2, 4)))
    assert (found.gold_se == 0).all()
    assert (found.gold_cov == 0).all()


@pytest.mark.parametrize("n", [1, 1 + 1e-9, 1.001, 2, 64, 1e6, 1e300])
def test_n_and_kl_invert_each_other(n):
    np.testing.assert_allclose(bon.n_of_kl(bon.kl_of_n(n)), n, rtol=1e-12)


def test_kl_of_n_at_its_ends():
    assert bon.kl_of_n(np.inf) == bon.n_of_kl(np.inf) == np.inf
    assert bon.kl_of_n(1) == 0
    assert bon.n_of_kl(0) == 1
    assert np.isnan(bon.kl_of_n(np.nan))
    assert np.isnan(bon.n_of_kl(np.nan))
    np.testing.assert_allclose(bon.n_of_kl([[1e-20, 0.5 * 1e-4]]), [[1 + np.sqrt(2e-20), 1.0101333]], rtol=1e-4)
    assert bon.n_of_kl(np.array([[1.0, 2.0]])).shape == (1, 2)
    with pytest.raises(ValueError, match="n must be >= 1"):
        bon.kl_of_n([2, 0.5])
    with pytest.raises(ValueError, match="kl must be >= 0"):
        bon.n_of_kl(-1)


@given(st.floats(1e-12, 700))
def test_kl_survives_the_way_there_and_back(kl):
    np.testing.assert_allclose(bon.kl_of_n(bon.n_of_kl(kl)), kl, rtol=1e-8, atol=1e-15)

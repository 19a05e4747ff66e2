"""Best-of-n from samples: the unbiased estimate at many n at once, with its covariance; and n against KL."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from goldpeak.errors import RunsError
from goldpeak.shrinkage import mean_covariance
from goldpeak.wording import listed

__all__ = [
    "BestOfN",
    "average_ties",
    "default_n",
    "estimate",
    "kl_of_n",
    "n_of_kl",
    "n_problems",
    "pool_curves",
    "spaced",
    "summarise_pools",
    "weights",
]

Array = NDArray[np.float64]
Whole = NDArray[np.int64]

_VALUES_OF_N = 27
_BLOCK = 1 << 20
"""Samples that are sorted and weighed together: bounds the memory beside the samples themselves."""


@dataclass(frozen=True)
class BestOfN:
    """A best-of-n curve and how its points vary together.

    Attributes
    ----------
    n : ndarray of int, shape (n,)
        Ascending.
    kl : ndarray, shape (n,)
        Nats per response, see `kl_of_n`.
    gold, proxy : ndarray, shape (n,)
        Means over prompts; gold is not recentred.
    gold_se : ndarray, shape (n,)
        Standard error of gold over prompts: the root of the diagonal of `gold_cov`.
    gold_cov : ndarray, shape (n, n)
        Covariance of gold between the values of n.
    prompts : int
        How many prompts it is a mean over.
    shrinkage : float
        Strength of the shrinkage of the correlations, from 0 to 1.
    target : str
        What they were shrunk towards, ``sampling`` or ``independent``, see `goldpeak.shrinkage`.
    """

    n: Whole
    kl: Array
    gold: Array
    gold_se: Array
    gold_cov: Array
    proxy: Array
    prompts: int
    shrinkage: float
    target: str


def estimate(
    proxy: ArrayLike | Sequence[ArrayLike], gold: ArrayLike | Sequence[ArrayLike], n: ArrayLike | None = None
) -> BestOfN:
    """Gold reward of best-of-n sampling, estimated without bias from pools of samples, one pool for each prompt.

    Of a pool of M samples, sorted by proxy, the i-th is the best of a random subset of size n with probability
    C(i-1, n-1) / C(M, n); its mean over all subsets is the estimate. Samples whose proxies tie share their mean gold,
    as if ties were broken at random. Every prompt counts the same, however many samples it has.

    Parameters
    ----------
    proxy, gold : array_like, shape (prompt, sample), or list of one-dimensional arrays
        The reward that selects, and the one that is reported, of the same samples. Pools of a list may differ in size.
    n : array_like of int, optional
        Which n, in any order, each from 1 to the size of the *smallest* pool; by default `default_n` of that size.

    Returns
    -------
    BestOfN
        Covariance between the n: that of the prompts' own curves over prompts, divided by their number, with its
        correlations shrunk so that it is positive definite however few the prompts (`goldpeak.shrinkage` says how). It
        holds both what varies between prompts and what sampling adds. It can only be singular where gold does not vary
        over prompts at some n (then ``gold_se`` is 0 there). With fewer than ten prompts it is too small.

    Raises
    ------
    RunsError
        With every problem: shapes that differ, fewer than two prompts, values that are not finite, n out of range.

    References
    ----------
    Nakano et al. 2021, "WebGPT", appendix I (the estimator). Hoffbeck & Landgrebe 1996; Warton 2008 (the shrinkage).

    Examples
    --------
    >>> rng = np.random.default_rng(1)
    >>> proxy = rng.standard_normal((40, 500))
    >>> gold = 0.6 * proxy + 0.8 * rng.standard_normal((40, 500))
    >>> found = estimate(proxy, gold, n=[4, 16])
    >>> found.kl.round(2).tolist(), found.gold.round(2).tolist()  # the truth: 0.6 x (1.03, 1.77) = (0.62, 1.06)
    ([0.64, 1.84], [0.6, 1.05])
    """
    problems: list[str] = []
    proxies, golds = _pools("proxy", proxy, problems), _pools("gold", gold, problems)
    problems = problems or _pool_problems(proxies, golds)
    sizes = np.array([pool.size for pool in proxies])
    smallest = int(sizes.min(initial=np.iinfo(np.int64).max))
    problems += [] if n is None else n_problems(np.asarray(n), smallest)
    if problems:
        raise RunsError("samples for best-of-n", problems)
    wanted = default_n(smallest) if n is None else np.unique(n).astype(np.int64)
    gold_curves, proxy_curves = pool_curves(np.concatenate(proxies), np.concatenate(golds), sizes, wanted)
    return summarise_pools(gold_curves, proxy_curves, wanted, smallest)


def _pools(name: str, samples: ArrayLike | Sequence[ArrayLike], problems: list[str]) -> list[Array]:
    try:
        return [np.asarray(pool, dtype=float) for pool in samples]  # type: ignore[union-attr]
    except (TypeError, ValueError):
        problems.append(f"{name} is no table of numbers; allowed: an array (prompt, sample), or a list of arrays")
        return []


def _pool_problems(proxies: list[Array], golds: list[Array]) -> list[str]:
    problems = []
    if len(proxies) != len(golds):
        problems.append(f"proxy has {len(proxies)} prompts, gold {len(golds)}; allowed: the same number")
    if min(len(proxies), len(golds)) < 2:
        problems.append(
            "fewer than 2 prompts; allowed: at least 2, for the covariance is that over prompts (independent samples "
            "of one prompt may be split into several pools)"
        )
    for i, (proxy, gold) in enumerate(zip(proxies, golds, strict=False)):
        if proxy.ndim != 1 or proxy.shape != gold.shape:
            shapes = f"proxy of shape {proxy.shape}, gold of shape {gold.shape}"
            problems.append(f"prompt {i}: {shapes}; allowed: one number per sample in each")
        elif proxy.size == 0:
            problems.append(f"prompt {i}: no samples; allowed: at least one")
    for name, pools in (("proxy", proxies), ("gold", golds)):
        bad = [i for i, pool in enumerate(pools) if not np.isfinite(pool).all()]
        if bad:
            problems.append(f"prompt {listed([str(i) for i in bad])}: {name} holds nan or inf; allowed: numbers")
    return problems


def n_problems(n: NDArray[np.number], smallest: int) -> list[str]:
    """What is wrong with the values of n where the smallest pool has so many samples."""
    if n.ndim != 1 or n.size == 0 or n.dtype.kind not in "iuf":
        return ["n: allowed is a list of one or more whole numbers"]
    bad = n[~((n >= 1) & (n <= smallest) & (n == np.floor(n)))]
    if not bad.size:
        return []
    found = listed([f"{value:g}" for value in bad])
    return [f"n holds {found}; allowed: whole numbers from 1 to {smallest}, the number of samples in the smallest pool"]


def summarise_pools(gold: Array, proxy: Array, n: Whole, pool: int, start: int | None = None) -> BestOfN:
    """Mean and covariance over prompts of their best-of-n curves, each of shape (prompt, n), n ascending.

    `pool` is the number of samples of a prompt, the smallest where they differ. With `start`, the covariance is made
    for gold that counts from that n, see `goldpeak.shrinkage`.
    """
    found = mean_covariance(gold, n.astype(float), start, pool)
    return BestOfN(
        n=n,
        kl=kl_of_n(n),
        gold=gold.mean(axis=0),
        gold_se=np.sqrt(np.diag(found.cov)),
        gold_cov=found.cov,
        proxy=proxy.mean(axis=0),
        prompts=len(gold),
        shrinkage=found.strength,
        target=found.target,
    )


def pool_curves(proxy: Array, gold: Array, sizes: Whole, n: Whole) -> tuple[Array, Array]:
    """Best-of-n curves of gold and proxy of each pool.

    Parameters
    ----------
    proxy, gold : ndarray, shape (sample,)
        The pools one after another.
    sizes : ndarray of int, shape (pool,)
        Samples in each, at least the largest n.
    n : ndarray of int, shape (n,)

    Returns
    -------
    gold, proxy : ndarray, shape (pool, n)

    Examples
    --------
    >>> pool_curves(np.array([1.0, 3.0, 2.0]), np.array([0.0, 5.0, 1.0]), np.array([3]), np.array([1, 3]))
    (array([[2., 5.]]), array([[2., 3.]]))
    """
    curves = np.empty((2, len(sizes), len(n)))
    starts = np.cumsum(sizes) - sizes
    for size in np.unique(sizes):
        same = np.flatnonzero(sizes == size)
        for block in np.array_split(same, -(-len(same) * size // _BLOCK)):
            rows = starts[block][:, None] + np.arange(size)
            curves[:, block] = _equal_pools(proxy[rows], gold[rows], n)
    return curves[0], curves[1]


def _equal_pools(proxy: Array, gold: Array, n: Whole) -> Array:
    """The same for pools of one size, (pool, sample) each: gold and proxy, (2, pool, n)."""
    order = np.argsort(proxy, axis=1)
    proxy = np.take_along_axis(proxy, order, axis=1)
    gold = average_ties(np.take_along_axis(gold, order, axis=1), proxy)
    curves = np.empty((2, len(proxy), len(n)))
    for k, one in enumerate(n):
        weight = weights(one, proxy.shape[1])
        curves[0, :, k], curves[1, :, k] = gold @ weight, proxy @ weight
    return curves


def weights(n: int | np.int64, samples: int) -> Array:
    """Weights of samples sorted by proxy, ascending, in the unbiased estimate of best-of-n gold reward.

    ``gold(n) = sum_i C(i-1, n-1) / C(samples, n) gold_(i)``: the i-th smallest proxy is the best of a random subset of
    size n if the other n-1 come from below (Nakano et al. 2021, appendix I). Computed from the top down, where the
    weight is n / samples, by the ratio (i-n) / (i-1) of neighbours: products of numbers below 1, so no overflow, no
    cancellation, and no logarithm.

    Parameters
    ----------
    n : int
        From 1 to `samples`.
    samples : int
        Samples in the pool.

    Returns
    -------
    ndarray, shape (samples,)
        They add up to 1.

    Raises
    ------
    ValueError
        For an n outside 1..samples.

    Examples
    --------
    >>> weights(2, 3).round(3)
    array([0.   , 0.333, 0.667])
    """
    if not 1 <= n <= samples:
        raise ValueError(f"n must lie in 1..{samples} (the samples of a pool), got {n}")
    found = np.zeros(samples)
    found[-1] = n / samples
    rank = np.arange(samples, n, -1, dtype=float)
    np.cumprod((rank - n) / (rank - 1), out=rank)
    found[n - 1 : -1] = found[-1] * rank[::-1]
    return found


def average_ties(values: Array, ranked: Array) -> Array:
    """Replace each value by the mean over its tie group: what best-of-n gets on average if ties are broken at random.

    Parameters
    ----------
    values : ndarray, shape (pool, sample)
        In the order of `ranked`.
    ranked : ndarray, shape (pool, sample)
        Proxy rewards, ascending within each pool.

    Returns
    -------
    ndarray, shape (pool, sample)

    Examples
    --------
    >>> average_ties(np.array([[4.0, 1.0, 3.0]]), np.array([[0.0, 0.0, 2.0]]))
    array([[2.5, 2.5, 3. ]])
    """
    new = np.ones(ranked.shape, dtype=bool)
    new[:, 1:] = np.diff(ranked, axis=1) > 0
    if new.all():
        return values
    group = np.cumsum(new) - 1
    return cast(Array, ((np.bincount(group, weights=values.ravel()) / np.bincount(group))[group]).reshape(values.shape))


def default_n(samples: int) -> Whole:
    """The n that are estimated where none are given: about 27 from 1 to the smallest pool's size, evenly in log n.

    Examples
    --------
    >>> default_n(8)
    array([1, 2, 3, 4, 5, 6, 7, 8])
    >>> len(default_n(20_000))
    27
    """
    return spaced(samples, _VALUES_OF_N)


def spaced(last: int, count: int) -> Whole:
    """Whole numbers from 1 to `last`, geometrically spaced and all different: `count` of them, or one or two more.

    Examples
    --------
    >>> spaced(100, 8)
    array([  1,   2,   4,   7,  14,  27,  52, 100])
    """
    target = min(count, last)
    points = target
    grid = np.array([1], dtype=np.int64)
    while grid.size < target:  # rounding merges the small numbers: ask for more until enough differ
        grid = np.unique(np.round(np.geomspace(1, last, points)).astype(np.int64))
        points += 1
    return grid


def kl_of_n(n: ArrayLike) -> np.ndarray:
    """KL divergence of best-of-n sampling from the initial policy: log n - (n - 1)/n.

    Parameters
    ----------
    n : array_like
        How many samples the best is taken of, >= 1 (any real number; inf gives inf).

    Returns
    -------
    numpy.ndarray
        Nats per response, same shape as `n`. Exact if no two samples of a prompt tie; where outputs repeat it is an
        upper bound (Beirami et al. 2024).

    Raises
    ------
    ValueError
        If an n is below 1.

    References
    ----------
    Stiennon et al. 2020, "Learning to summarize from human feedback", appendix G.3.

    Examples
    --------
    >>> kl_of_n([1, 2, 100]).round(4).tolist()
    [0.0, 0.1931, 3.6152]
    """
    n = np.asarray(n, dtype=float)
    if (n < 1).any():
        raise ValueError("n must be >= 1")
    log_n = np.log(n)
    # With x = log n, (n - 1)/n = 1 - exp(-x): no cancellation near n = 1, and inf stays inf.
    return log_n + np.expm1(-log_n)


def n_of_kl(kl: ArrayLike) -> np.ndarray:
    """The n at which best-of-n reaches `kl`: the inverse of :func:`kl_of_n`, a real number.

    Parameters
    ----------
    kl : array_like
        Nats per response, >= 0 (inf gives inf).

    Returns
    -------
    numpy.ndarray
        n >= 1, same shape as `kl`; inf also where n is too large for a float (kl above 708).

    Raises
    ------
    ValueError
        If a kl is negative.

    Examples
    --------
    >>> n_of_kl([0.0, 3.6151701859880916]).round(6).tolist()
    [1.0, 100.0]
    """
    kl = np.asarray(kl, dtype=float)
    if (kl < 0).any():
        raise ValueError("kl must be >= 0")
    # Newton's method for x + exp(-x) - 1 = kl, x = log n: the left side is convex and increasing and the start lies
    # to the right of the root, so the steps go down to it monotonically.
    inner = (kl > 0) & np.isfinite(kl)
    target = np.where(inner, kl, 1.0)
    x = target + np.minimum(1.0, np.sqrt(2 * target))
    for _ in range(8):
        x = x + (x + np.expm1(-x) - target) / np.expm1(-x)
    with np.errstate(over="ignore"):
        return np.where(inner, np.exp(x), np.exp(kl))

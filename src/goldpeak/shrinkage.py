r"""Covariance between the points of a run whose gold is a mean over prompts.

The points of a run share their prompts (and best-of-n points their samples), so their errors are correlated. The
prompts are the independent unit: the covariance of the mean is the sample covariance of the prompts' own curves,
divided by their number (the jackknife over prompts gives the same).

With few prompts the sample correlation matrix R is singular. It is shrunk, and the variances are left alone:

.. math:: (1 - \lambda) R + \lambda T

Its strength and its target are those under which prompts that are left out are most probable (leave-one-out normal
likelihood: Hoffbeck & Landgrebe 1996; for ridge-regularised correlation matrices Warton 2008). The likelihood, not the
squared error of Ledoit & Wolf 2004 or Schäfer & Strimmer 2005, because the matrix will stand in a likelihood: what
matters is how much *neighbours differ*, a small eigenvalue that a squared error does not see. For the same reason the
identity alone is a poor target: with 10 of the 40 prompts of the bundled best-of-n runs, shrinking to it as Schäfer &
Strimmer do makes the variance of the difference of two neighbours 11 times what all 40 prompts say. The targets:

* ``sampling``: what sampling alone would give best-of-n if gold did not depend on the proxy. The estimates at n and m
  from a pool of M samples weigh its ranks by C(i-1, n-1) and C(i-1, m-1); to order 1/M their correlation is
  h(n) h(m) / (n + m - 1 - nm/M) with h(n)^2 = 2n - 1 - n^2/M. Of tables that do not tell M, it is either large or the
  largest n. (The mean correlations of the 40 bundled runs are the target's to .01 at every lag; without the pool's end
  those of the three largest n are not, and the likelihood then asks for half the strength.)
* ``independent``: the identity, for runs whose points share prompts but no samples.

In both, a part of the variance may be *shared* by all points: prompts are easy or hard at every n. It is a constant,
a share of the smallest variance, also chosen by the likelihood.

A thousandth of each point's variance counts as independent whatever the target. On a grid of n the target is nearly
singular: a dozen directions hold all but a thousandth of it. Without this floor the likelihood would choose the
strength by the other directions, in which curves as smooth as those of a fit never differ.

Where gold will be counted from a start (n = 1), it is the prompts' *differences* from it whose correlations are shrunk:
so their standard errors are those of paired differences, to the last digit, and what prompts share drops out. The
target stays the same, for in the setting of ``sampling`` the differences have the same correlations as the estimates
themselves, whatever M: their covariance is (n-1)(m-1) / (n + m - 1 - nm/M).

What is estimated is then taken for known. Against the truth of five worlds of the lab experiment (200 runs, 40
prompts) chi squared over its degrees of freedom is .8 to .95 in the dozen leading directions, and less in the others.
For few prompts it is too confident: simulated (curves of 20 points of the target ``sampling`` with a shared part, 60
sets), that mean is 4.7 with 3 prompts, 2.2 with 5, 1.6 with 8, 1.4 with 10 and .9 to 1.0 with 15 to 40; single points'
90 % intervals cover .80, .86, .84, .79 and .89 to .90. A t factor would widen the single points and not mend the whole,
so nothing is corrected, and `few_prompts` says so.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from goldpeak.wording import listed

__all__ = ["MeanCovariance", "few_prompts", "mean_covariance", "sampling_correlation"]

Array = NDArray[np.float64]

_STRENGTHS = np.array([*np.geomspace(1e-4, 0.5, 12), 0.75, 1.0])
_SHARED = (0.0, 0.5, 0.8, 0.9, 0.97, 0.99, 0.997)
_ROUNDING = 1e-13
_LEFT_OUT = 400
"""Prompts that are left out in turn at most, evenly chosen: with so many the strength is small whatever it is."""
_FEW = 10
_FLOOR = 1e-3
"""Share of each point's variance that counts as independent."""
_LARGEST = 1e300
"""An n beyond it, as long RL runs may have, counts as this."""


@dataclass(frozen=True)
class MeanCovariance:
    """Covariance of a mean over prompts.

    Attributes
    ----------
    cov : ndarray, shape (point, point)
        Positive definite where every point varies over prompts.
    strength : float
        How far the correlations were shrunk, from 0 to 1.
    target : str
        Towards what: ``sampling`` or ``independent``.
    shared : float
        What the target's points share, as a part of the smallest variance.
    """

    cov: Array
    strength: float
    target: str
    shared: float


def few_prompts(counts: Mapping[Hashable, int]) -> str | None:
    """What to say of runs, given by name with their numbers of prompts, that have too few; None where none has.

    Examples
    --------
    >>> few_prompts({"a": 40, "b": 5})
    "run 'b' (5) has fewer than 10 prompts: covariances from so few are too small, and intervals too narrow"
    """
    few = [f"'{run}' ({count})" for run, count in counts.items() if count < _FEW]
    if not few:
        return None
    have = "s {} have" if len(few) > 1 else " {} has"
    text = f"fewer than {_FEW} prompts: covariances from so few are too small, and intervals too narrow"
    return f"run{have.format(listed(few))} {text}"


def sampling_correlation(n: Array, pool: float = np.inf) -> Array:
    """Correlation of best-of-n estimates from one pool where gold does not depend on the proxy, to order 1 / pool.

    Parameters
    ----------
    n : ndarray, shape (point,)
        Any real numbers >= 1.
    pool : float
        Samples in the pool, at least the largest n.

    Returns
    -------
    ndarray, shape (point, point)

    Examples
    --------
    >>> sampling_correlation(np.array([1.0, 2.0])).round(3).tolist()
    [[1.0, 0.866], [0.866, 1.0]]
    >>> sampling_correlation(np.array([500.0, 1000.0]), pool=1000).round(3).tolist()
    [[1.0, 0.866], [0.866, 1.0]]
    """
    n, pool = np.minimum(n, _LARGEST), max(pool, 2.0)
    both = n[:, None] * (1 - n / pool) + n - 1
    root = np.sqrt(np.diag(both))
    return np.asarray(root[:, None] / both * root)


def mean_covariance(curves: Array, n: Array, start: int | None = None, pool: float | None = None) -> MeanCovariance:
    """Covariance between the points of the mean of several prompts' curves.

    Parameters
    ----------
    curves : ndarray, shape (prompt, point)
        At least two prompts; each counts the same.
    n : ndarray, shape (point,)
        The n of each point, or the n at which best-of-n would have the point's KL.
    start : int, optional
        The point that gold will be counted from: variances of the differences from it (and its own) are exact, and not
        those of the other points. The result is still the covariance of the points themselves.
    pool : float, optional
        Samples in a prompt's pool; by default not known.

    Returns
    -------
    MeanCovariance
        With two prompts, where nothing can be left out, all target.

    Examples
    --------
    >>> curves = np.random.default_rng(1).standard_normal((3, 1)) + np.zeros(5)
    >>> found = mean_covariance(curves + 0.01 * np.arange(15).reshape(3, 5) % 7, np.arange(1.0, 6.0))
    >>> bool(np.linalg.eigvalsh(found.cov).min() > 0)
    True
    """
    prompts, points = curves.shape
    back = np.eye(points)
    if start is not None:
        back[:, start] = 1.0
        curves = np.where(np.arange(points) == start, curves, curves - curves[:, [start]])
    centred = curves - curves.mean(axis=0)
    sd = np.sqrt((centred**2).sum(axis=0) / (prompts - 1))
    sd = np.where(sd > _ROUNDING * np.abs(curves).max(), sd, 0.0)
    scaled = centred / np.where(sd > 0, sd, 1.0)
    sharing = (sd > 0) & (np.arange(points) != start)
    floor = _floor(curves, sd)
    scaled *= np.sqrt(1 - floor)
    sample = scaled.T @ scaled / (prompts - 1)
    pools = (np.inf, n.max()) if pool is None else (pool,)
    kernels = [("sampling", sampling_correlation(n, size)) for size in pools] + [("independent", np.eye(points))]
    targets = [
        (name, shared, _target(kernel, sd, sharing, shared, floor)) for name, kernel in kernels for shared in _SHARED
    ]
    strength, chosen = _best(scaled, sample, floor, [matrix for *_, matrix in targets])
    name, shared, matrix = targets[chosen]
    correlation = (1 - strength) * sample + strength * matrix
    np.fill_diagonal(correlation, 1.0)
    cov = back @ (correlation * np.outer(sd, sd) / prompts) @ back.T
    return MeanCovariance(0.5 * (cov + cov.T), strength, name, shared)


def _floor(curves: Array, sd: Array) -> Array:
    """Share of each point's variance that counts as independent: of what prompts do not share, if that is less."""
    own = (curves - curves.mean(axis=1, keepdims=True)).std(axis=0, ddof=1)
    return np.asarray(_FLOOR * np.minimum(own / np.where(sd > 0, sd, np.inf), 1.0) ** 2)


def _target(kernel: Array, sd: Array, sharing: NDArray[np.bool_], shared: float, floor: Array) -> Array:
    """Correlations where some points share a constant and the rest is correlated by the kernel; others stand alone.

    Less the floor.
    """
    least = sd[sharing].min(initial=np.inf)
    common = np.where(sharing, np.sqrt(shared) * least / np.where(sharing, sd, 1.0), 0.0) if sharing.any() else 0 * sd
    rest = np.where(sharing, np.sqrt(1 - common**2), 0.0)
    target = np.outer(common, common) + np.outer(rest, rest) * kernel
    np.fill_diagonal(target, 1.0)
    return np.asarray(target * np.sqrt(np.outer(1 - floor, 1 - floor)))


def _best(scaled: Array, sample: Array, floor: Array, targets: Sequence[Array]) -> tuple[float, int]:
    """Strength and target under which prompts that are left out are most probable."""
    if len(scaled) == 2:
        return 1.0, 0
    scores = {
        (float(strength), i): _left_out(scaled, sample, floor, strength, target)
        for i, target in enumerate(targets)
        for strength in _STRENGTHS
    }
    return max(scores, key=lambda choice: scores[choice])


def _left_out(scaled: Array, sample: Array, floor: Array, strength: float, target: Array) -> float:
    """Log density of each prompt given the others, summed, up to a constant; `sample` is the covariance of all.

    Leaving prompt k out takes a multiple of z_k z_k' from the matrix: one factorisation serves all (Hoffbeck &
    Landgrebe 1996, section 3). The standard deviations stay those of all prompts.
    """
    prompts = len(scaled)
    kept = (1 - strength) / (prompts - 2)
    try:
        factor = np.linalg.cholesky(kept * (prompts - 1) * sample + strength * target + np.diag(floor))
    except np.linalg.LinAlgError:
        return -np.inf
    tried = scaled[:: -(-prompts // _LEFT_OUT)]
    distance = (np.linalg.solve(factor, tried.T) ** 2).sum(axis=0)
    left = 1 - kept * prompts / (prompts - 1) * distance
    if (left <= 0).any():
        return -np.inf
    log_determinants = 2 * len(tried) * np.log(np.diag(factor)).sum() + np.log(left).sum()
    return float(-0.5 * (log_determinants + prompts / (prompts - 1) * (distance / left).sum()))

"""P-values of the points of one run under a fit: against the other runs, and at every draw.

Every probability here is one under the fitted model:

- `against_the_others`: a run's points, taken together, against what the *other* runs predict for it (LOO-PIT, jointly
  per run). The other runs' posterior is this one reweighted by 1 / p(run | what runs share), the run's own parameters
  integrated out, with Pareto-smoothed weights. The statistic is the Mahalanobis distance in the predictive
  distribution.
- the others are pivots: at a draw from the posterior, whitened residuals are independent standard normals, and so are
  the standardised deviations from the trend, whatever the model's parameters are (Johnson 2007,
  doi:10.1214/07-BA217). Each draw gives an exact p-value; the draws' are brought together by the Cauchy combination
  (Liu & Xie 2020, doi:10.1080/01621459.2018.1554485), whose small values are honest; large ones say nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from goldpeak.check.standard import RunGivenRest, root, trend_at
from goldpeak.engines.importance import finish, resample
from goldpeak.engines.scatter import level_covariance

__all__ = [
    "against_the_others",
    "log_density",
    "of_common_waves",
    "pivots",
    "slow_waves",
    "together",
    "whitened",
]

Array = NDArray[np.float64]

WAVES = 5
"""Residuals are compared with so many slow waves along KL, a constant included."""
CHUNK = 50
"""Draws whose covariances are factored at once."""


def together(p_values: Sequence[Array], weights: Sequence[float] = (1.0,)) -> float:
    """One p-value of those of many draws, by the Cauchy combination.

    Parameters
    ----------
    p_values : sequence of ndarray, shape (draw,)
        Of the draws of each component of a posterior; of one that is NaN nothing is said, and it counts for nothing.
    weights : sequence of float
        Of the components.

    Examples
    --------
    >>> round(together([np.full(3, 0.2)]), 3), together([np.full(3, 0.5), np.full(9, 0.5)], [0.7, 0.3])
    (0.2, 0.5)
    """
    said = [(weight, p) for weight, p in zip(weights, p_values, strict=True) if not np.isnan(p).any()]
    total = sum(weight for weight, _ in said)
    if total == 0:
        return float("nan")
    # The quantile of a Cauchy distribution at 1 - p.
    mean = sum(weight * _cauchy(p).mean() for weight, p in said) / total
    return float(0.5 - np.arctan(mean) / np.pi)


def _cauchy(p: Array) -> Array:
    return np.asarray(np.tan((0.5 - np.clip(p, 1e-15, 1.0 - 1e-15)) * np.pi))


def against_the_others(one: RunGivenRest, rng: np.random.Generator) -> tuple[float, float]:
    """P-value of all points of a run given the other runs, and Pareto k of its weights."""
    found = finish(np.empty((len(one.mean), 0)), -log_density(one))
    count = 2 * max(400, 4 * len(one.d))
    chosen = resample(found.weights, count, rng)
    curves, noisy, noise = _predictive(one, chosen, rng)
    half = count // 2
    centre = curves[:half].mean(axis=0)
    covariance = np.cov(curves[:half].T) + noise
    factor = np.linalg.cholesky(np.atleast_2d(covariance))
    off = np.column_stack([one.y, noisy[half:].T]) - centre[:, None]
    distance = np.sum(np.linalg.solve(factor, off) ** 2, axis=0)
    return float((1.0 + np.sum(distance[1:] >= distance[0])) / (half + 1.0)), found.khat


def _predictive(one: RunGivenRest, rows: NDArray[np.int64], rng: np.random.Generator) -> tuple[Array, Array, Array]:
    """Curves of a new run in place of this one, the same with noise, (draw, n), and the noise's mean covariance."""
    theta = one.mean[rows] + np.einsum("sij,sj->si", one.spread[rows], rng.standard_normal((len(rows), 2)))
    own = (one.own[rows] * rng.standard_normal((len(rows), one.own.shape[1]))) @ one.columns.T
    curves = one.curve(theta, rows) + own
    white, heavy = rng.standard_normal(curves.shape), np.ones(1)
    if one.design.card.noise.kind == "student_t":
        nu = np.broadcast_to(one.design.card.noise.degrees(one.flat), len(one.mean))[rows][:, None]
        heavy = np.sqrt(nu / rng.chisquare(np.broadcast_to(nu, curves.shape)))
    factor = one.noise_root(rows)
    if factor.ndim == 2:
        return curves, curves + heavy * factor * white, np.diag(np.mean(factor**2, axis=0))
    noise = np.einsum("sij,sj->si", factor, white)
    return curves, curves + noise, np.einsum("sij,skj->ik", factor, factor) / len(rows)


def log_density(one: RunGivenRest) -> Array:
    """Log density of a run's points given what it shares with others, (draw,), its own parameters integrated out."""
    at = one.posterior().mean(axis=0)
    found = np.empty(len(one.mean))
    for start in range(0, len(found), CHUNK):
        rows = np.arange(start, min(start + CHUNK, len(found)))
        theta = np.broadcast_to(at, (len(rows), 2))
        slopes = one.slopes(theta, rows)
        residual = one.y - one.curve(theta, rows) - np.einsum("snk,sk->sn", slopes, one.mean[rows] - at)
        columns = np.concatenate([slopes @ one.spread[rows], one.columns * one.own[rows][:, None]], axis=-1)
        factor = one.noise_root(rows)
        both = np.concatenate([columns, residual[..., None]], axis=-1)
        if factor.ndim == 2:
            white, log_det = both / factor[..., None], np.log(factor).sum(axis=1)
        else:
            white = np.linalg.solve(factor, both)
            log_det = np.log(np.einsum("sii->si", factor)).sum(axis=1)
        u, e = white[..., :-1], white[..., -1]
        inner = np.eye(u.shape[-1]) + u.swapaxes(-1, -2) @ u
        lower = np.linalg.cholesky(inner)
        taken = np.linalg.solve(lower, (u.swapaxes(-1, -2) @ e[..., None]))[..., 0]
        log_det += np.log(np.einsum("sii->si", lower)).sum(axis=1)
        found[rows] = -log_det - 0.5 * (np.sum(e**2, axis=1) - np.sum(taken**2, axis=1))
    return found


def whitened(one: RunGivenRest, residual: Array) -> Array:
    """Residuals (draw, n) as independent standard normals, in the order of KL."""
    rows = np.arange(len(residual))
    factor = one.noise_root(rows)
    if factor.ndim == 3:
        return np.asarray(np.linalg.solve(factor, residual[..., None])[..., 0])
    white = residual / factor
    if one.design.card.noise.kind == "student_t":
        from scipy.special import ndtri, stdtr

        nu = np.broadcast_to(one.design.card.noise.degrees(one.flat), len(residual))[:, None]
        tail = np.maximum(stdtr(nu, -np.abs(white)), 1e-300)
        return np.asarray(-np.sign(white) * ndtri(tail))
    return white


def slow_waves(white: Array) -> Array:
    """Orthonormal slow waves in whitened residuals (draw, n): a constant and cosines, (draw, WAVES or n)."""
    n = white.shape[1]
    k = np.arange(min(WAVES, n))[:, None]
    waves = np.cos(np.pi * k * (np.arange(n) + 0.5) / n)
    return np.asarray(white @ (waves / np.linalg.norm(waves, axis=1, keepdims=True)).T)


def pivots(one: RunGivenRest, white: Array, slow: Array) -> dict[str, Array]:
    """P-values at every draw, (draw,) each: of slow waves, of the size of residuals (two-sided), off the trend."""
    from scipy.special import chdtr, chdtrc

    n, size = white.shape[1], np.sum(white**2, axis=1)
    return {
        "p_trend": chdtrc(slow.shape[1], np.sum(slow**2, axis=1)),
        "p_noise": 2.0 * np.minimum(chdtrc(n, size), chdtr(n, size)),
        "p_off_trend": _off_trend(one),
    }


def _off_trend(one: RunGivenRest) -> Array:
    """Of a run's deviation from the trend, its RM's included; NaN where the card lets none scatter."""
    from scipy.special import chdtrc

    design, flat = one.design, one.flat
    covariance = level_covariance(design, flat, "rm") + level_covariance(design, flat, "run")
    varies = np.flatnonzero(np.einsum("sii->si", covariance).min(axis=0) > 0)
    if not varies.size:
        return np.full(len(covariance), np.nan)
    off = (one.posterior() - trend_at(design, flat, one.run))[:, varies]
    factor = root(covariance[:, varies[:, None], varies])
    white = np.linalg.solve(factor, off[..., None])[..., 0]
    return np.asarray(chdtrc(len(varies), np.sum(white**2, axis=1)))


def of_common_waves(waves: Sequence[Array]) -> Array:
    """P-values at every draw, (draw,), of slow waves that all runs have, from each run's (draw, wave)."""
    from scipy.special import chdtrc

    width = max(each.shape[1] for each in waves)
    total, counts = np.zeros((len(waves[0]), width)), np.zeros(width)
    for each in waves:
        total[:, : each.shape[1]] += each
        counts[: each.shape[1]] += 1
    return np.asarray(chdtrc(width, np.sum(total**2 / counts, axis=1)))

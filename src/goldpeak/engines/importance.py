"""Adaptive mixture importance sampling of a posterior whose prior is a standard normal.

Starts from Student-t components at the modes and refits the mixture to all draws so far (population Monte Carlo:
Cappe, Douc, Guillin, Marin & Robert 2008, doi:10.1007/s11222-008-9059-x), each draw weighted by the mixture of all
proposals used (AMIS: Cornuet, Marin, Mira & Robert 2012, doi:10.1111/j.1467-9469.2011.00756.x). The final weights are
Pareto-smoothed (Vehtari et al. 2024, arXiv:1507.02646).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Weighted", "resample", "sample"]

Array = NDArray[np.float64]
LogDensity = Callable[[Array], Array]

FREEDOM = 6.0
"""Degrees of freedom of the components: tails heavier than any posterior under a normal prior."""
SCOUTS = 256
STEP = 1e-3
COMPONENTS = 6
DEFENSIVE = 0.1
"""Share of the proposals drawn from one wide component, whatever the fit says."""


@dataclass(frozen=True)
class Weighted:
    """Weighted draws.

    Attributes
    ----------
    z : ndarray, shape (draw, dim)
    weights : ndarray, shape (draw,)
        Pareto-smoothed, sum 1.
    khat : float
        Pareto shape of the largest weights; below 0.7 they can be trusted.
    ess : float
        Effective number of draws, 1 / sum of squared weights.
    log_z, log_z_se : float
        Log of the integral of the density, and its Monte Carlo standard error.
    """

    z: Array
    weights: Array
    khat: float
    ess: float
    log_z: float
    log_z_se: float


@dataclass(frozen=True)
class _Mixture:
    """Student-t mixture with shared degrees of freedom."""

    share: Array
    mean: Array
    cholesky: Array

    def draw(self, count: int, rng: np.random.Generator) -> Array:
        which = rng.choice(len(self.share), size=count, p=self.share)
        normal = rng.standard_normal((count, self.mean.shape[1]))
        radius = np.sqrt(FREEDOM / rng.chisquare(FREEDOM, count))
        return self.mean[which] + radius[:, None] * np.einsum("nij,nj->ni", self.cholesky[which], normal)

    def parts(self, z: Array) -> tuple[Array, Array]:
        """Log density of every component (with its share) and squared distance, shape (component, draw)."""
        from scipy.special import gammaln

        dim = z.shape[1]
        whitened = np.linalg.solve(self.cholesky, (z[None] - self.mean[:, None]).swapaxes(1, 2))
        distance = np.sum(whitened**2, axis=1)
        constant = gammaln((FREEDOM + dim) / 2) - gammaln(FREEDOM / 2) - dim / 2 * np.log(FREEDOM * np.pi)
        volume = np.sum(np.log(np.diagonal(self.cholesky, axis1=1, axis2=2)), axis=1)
        density = constant - volume[:, None] - (FREEDOM + dim) / 2 * np.log1p(distance / FREEDOM)
        return np.log(self.share)[:, None] + density, distance

    def log_density(self, z: Array) -> Array:
        return np.logaddexp.reduce(self.parts(z)[0], axis=0)


def sample(
    log_density: LogDensity,
    dim: int,
    rng: np.random.Generator,
    *,
    target_ess: float,
    batch: int = 1000,
    max_batches: int = 30,
) -> Weighted:
    """Draw from exp(`log_density`) until the effective sample size reaches `target_ess` or the batches run out.

    Parameters
    ----------
    log_density : callable
        Maps (draw, dim) to (draw,); includes the standard normal prior. May be -inf, never NaN.
    dim : int
    rng : numpy.random.Generator
    target_ess : float
    batch, max_batches : int
        Draws per round and number of rounds at most.

    Returns
    -------
    Weighted
        Look at ``khat`` and ``ess`` before use.
    """
    proposals = [_start(log_density, dim, rng)]
    z = proposals[0].draw(batch, rng)
    log_p = log_density(z)
    # Sum over proposals of their density at every draw so far, in logs.
    log_q = proposals[0].log_density(z)
    for _ in range(max_batches - 1):
        log_weight = log_p - log_q
        if _ess(log_weight) >= target_ess:
            break
        proposals.append(_refit(z, log_weight, proposals[-1], rng))
        log_q = np.logaddexp(log_q, proposals[-1].log_density(z))
        new = proposals[-1].draw(batch, rng)
        log_q = np.append(log_q, np.logaddexp.reduce([q.log_density(new) for q in proposals], axis=0))
        log_p = np.append(log_p, log_density(new))
        z = np.vstack([z, new])
    return _finish(z, log_p - log_q + np.log(len(proposals)))


def resample(weights: Array, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Systematic resampling: `count` indices, each weight met to within one, in random order."""
    edges = np.cumsum(weights)
    points = (rng.random() + np.arange(count)) / count * edges[-1]
    return rng.permutation(np.minimum(np.searchsorted(edges, points), len(weights) - 1))


def _finish(z: Array, log_weight: Array) -> Weighted:
    from arviz_stats.base import array_stats

    top = log_weight.max()
    raw = np.exp(log_weight - top)
    relative = float(np.std(raw) / np.mean(raw) / np.sqrt(len(raw)))
    # The library smooths importance ratios of leave-one-out, 1 / likelihood: it wants minus the log weight.
    smoothed, khat = array_stats.psislw(-log_weight)
    weights = np.exp(smoothed - np.logaddexp.reduce(smoothed))
    ess = 1.0 / float(np.sum(weights**2))
    return Weighted(z, weights, float(khat), ess, float(top + np.log(np.mean(raw))), relative)


def _ess(log_weight: Array) -> float:
    weights = np.exp(log_weight - log_weight.max())
    return float(np.sum(weights) ** 2 / np.sum(weights**2))


def _start(log_density: LogDensity, dim: int, rng: np.random.Generator) -> _Mixture:
    """Student-t components at the modes that a few climbs from scattered scouts find."""
    scouts = 0.7 * rng.standard_normal((SCOUTS, dim))
    best = scouts[np.argsort(-log_density(scouts))]
    modes: list[Array] = []
    for start in (best[0], best[1], best[2]):
        mode = _climb(log_density, start)
        if all(np.linalg.norm(mode - other) > 0.2 for other in modes):
            modes.append(mode)
    covariances = np.array([_laplace(log_density, mode) for mode in modes])
    heights = log_density(np.array(modes))
    mass = heights + 0.5 * np.linalg.slogdet(covariances)[1]
    share = np.exp(mass - np.logaddexp.reduce(mass)) + 1e-3
    means, wide = np.vstack([modes, modes]), np.concatenate([covariances, 3.0 * covariances])
    shares = np.concatenate([0.7 * share, 0.3 * share])
    return _Mixture(shares / shares.sum(), means, np.linalg.cholesky(wide))


def _gradient(log_density: LogDensity, z: Array) -> Array:
    """Central differences at every row of z, in one batch; shape (draw, dim)."""
    count, dim = z.shape
    offsets = STEP * np.concatenate([np.eye(dim), -np.eye(dim)])
    values = log_density((z[:, None] + offsets).reshape(-1, dim)).reshape(count, 2, dim)
    return (values[:, 0] - values[:, 1]) / (2.0 * STEP)


def _climb(log_density: LogDensity, start: Array) -> Array:
    from scipy.optimize import minimize

    def objective(z: Array) -> tuple[float, Array]:
        offsets = STEP * np.concatenate([np.zeros((1, len(z))), np.eye(len(z)), -np.eye(len(z))])
        values = log_density(z + offsets)
        ahead, behind = np.split(values[1:], 2)
        return -float(values[0]), -(ahead - behind) / (2.0 * STEP)

    found = minimize(
        objective,
        start,
        jac=True,
        method="L-BFGS-B",
        bounds=[(-6.0, 6.0)] * len(start),
        options={"maxiter": 100, "ftol": 1e-9},
    )
    return np.asarray(found.x)


def _laplace(log_density: LogDensity, mode: Array) -> Array:
    """Inverse of minus the Hessian; directions flatter than half the prior's precision are cut there."""
    dim = len(mode)
    moves = 10.0 * STEP * np.eye(dim)
    gradients = _gradient(log_density, np.vstack([mode + moves, mode - moves]))
    hessian = (gradients[:dim] - gradients[dim:]) / (20.0 * STEP)
    values, vectors = np.linalg.eigh(-(hessian + hessian.T) / 2.0)
    return (vectors / np.maximum(values, 0.5)) @ vectors.T


def _refit(z: Array, log_weight: Array, last: _Mixture, rng: np.random.Generator) -> _Mixture:
    """Refit the mixture to the weighted draws by a few rounds of expectation-maximisation."""
    dim = z.shape[1]
    weights = _tempered(log_weight, 10.0 * dim)
    centre = weights @ z
    overall = (z - centre).T @ (weights[:, None] * (z - centre)) + 1e-6 * np.eye(dim)
    strength = dim * float(np.sum(weights**2))
    mixture = last if len(last.share) == COMPONENTS + 1 else _scatter(z, weights, overall, rng)
    for _ in range(5):
        parts, distance = mixture.parts(z)
        member = weights * np.exp(parts - np.logaddexp.reduce(parts, axis=0))
        pull = member * (FREEDOM + dim) / (FREEDOM + distance)
        share = member[:-1].sum(axis=1) + 1e-9
        mean = (pull[:-1] @ z) / (pull[:-1].sum(axis=1, keepdims=True) + 1e-300)
        away = z[None] - mean[:, None]
        spread = np.einsum("cn,cni,cnj->cij", pull[:-1], away, away, optimize=True) / share[:, None, None]
        # Shrunk towards the whole, more so the fewer effective draws a component rests on.
        mix = (strength / (strength + share))[:, None, None]
        covariance = (1 - mix) * spread + mix * overall
        shares = np.append((1 - DEFENSIVE) * share / share.sum(), DEFENSIVE)
        mixture = _Mixture(
            shares,
            np.vstack([mean, centre]),
            np.linalg.cholesky(np.concatenate([covariance, 2.5 * overall[None]]) + 1e-9 * np.eye(dim)),
        )
    return mixture


def _scatter(z: Array, weights: Array, overall: Array, rng: np.random.Generator) -> _Mixture:
    seeds = rng.choice(len(z), size=COMPONENTS, p=weights)
    covariance = np.concatenate([np.repeat(0.5 * overall[None], COMPONENTS, axis=0), 2.5 * overall[None]])
    shares = np.append(np.full(COMPONENTS, (1 - DEFENSIVE) / COMPONENTS), DEFENSIVE)
    return _Mixture(shares, np.vstack([z[seeds], weights @ z]), np.linalg.cholesky(covariance))


def _tempered(log_weight: Array, least: float) -> Array:
    """Weights raised to the largest power at most 1 that leaves `least` effective draws, so that a fit is possible."""
    power = 1.0
    while _ess(power * log_weight) < least and power > 1e-3:
        power *= 0.8
    scaled = power * log_weight
    return np.exp(scaled - np.logaddexp.reduce(scaled))

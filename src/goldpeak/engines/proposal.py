"""Proposals of the importance sampler: a Student-t mixture behind a bend of each axis.

Outer parameters have long one-sided tails: a scale that the data bound from above may be anything below. A few
symmetric components cover that badly, so each axis is first bent until its margin is symmetric.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray

__all__ = ["Proposal", "Warp", "effective", "refit", "relative", "tempered"]

Array = NDArray[np.float64]

FREEDOM = 6.0
"""Degrees of freedom of the components: tails heavier than any posterior under a normal prior."""
COMPONENTS = 6
DEFENSIVE = 0.1
"""Share of the proposals drawn from one wide component, whatever the fit says."""
TAIL_Z = 1.645
"""Standard normal quantile of the margin's quantiles that a bend is fitted to, 5 % and 95 %."""


@dataclass(frozen=True)
class Warp:
    """A bend of each axis: w = sinh(arcsinh((z - centre) / spread) - skew).

    The sinh-arcsinh transformation of Jones & Pewsey (2009, doi:10.1093/biomet/asp053) with unit tail weight: the tails
    of z are those of w, wider on one side by exp(skew) and narrower on the other.

    Attributes
    ----------
    centre, spread, skew : ndarray, shape (dim,)
    """

    centre: Array
    spread: Array
    skew: Array

    @classmethod
    def none(cls, dim: int) -> Warp:
        """No bend: w = z."""
        return cls(np.zeros(dim), np.ones(dim), np.zeros(dim))

    @classmethod
    def of(cls, z: Array, weights: Array) -> Warp:
        """The bend under which the 5 %, 50 % and 95 % quantiles of weighted draws are a standard normal's."""
        order = np.argsort(z, axis=0)
        share = np.cumsum(weights[order], axis=0)
        low, middle, high = (
            np.take_along_axis(np.take_along_axis(z, order, 0), np.argmax(share >= p * share[-1], axis=0)[None], 0)[0]
            for p in (0.05, 0.5, 0.95)
        )
        range_ = np.maximum(high - low, 1e-9)
        lean = (high + low - 2.0 * middle) / range_
        skew = np.arctanh(np.clip(lean * TAIL_Z / (np.sqrt(1.0 + TAIL_Z**2) - 1.0), -0.9, 0.9))
        spread = range_ / (2.0 * TAIL_Z * np.cosh(skew))
        return cls(middle - spread * np.sinh(skew), spread, skew)

    def bend(self, z: Array) -> tuple[Array, Array]:
        """w and the log of the Jacobian's determinant dw/dz."""
        u = (z - self.centre) / self.spread
        w = np.sinh(np.arcsinh(u) - self.skew)
        jacobian = 0.5 * (np.log1p(w**2) - np.log1p(u**2)) - np.log(self.spread)
        return w, jacobian.sum(axis=-1)

    def back(self, w: Array) -> Array:
        """z."""
        return self.centre + self.spread * np.sinh(np.arcsinh(w) + self.skew)


@dataclass(frozen=True)
class Proposal:
    """Student-t mixture with shared degrees of freedom in the bent axes.

    Attributes
    ----------
    share : ndarray, shape (component,)
    mean : ndarray, shape (component, dim)
    cholesky : ndarray, shape (component, dim, dim)
    warp : Warp
    """

    share: Array
    mean: Array
    cholesky: Array
    warp: Warp

    def draw(self, count: int, rng: np.random.Generator) -> Array:
        """Independent draws, shape (count, dim)."""
        which = rng.choice(len(self.share), size=count, p=self.share)
        normal = rng.standard_normal((count, self.mean.shape[1]))
        radius = np.sqrt(FREEDOM / rng.chisquare(FREEDOM, count))
        return self.warp.back(
            self.mean[which] + radius[:, None] * np.einsum("nij,nj->ni", self.cholesky[which], normal)
        )

    def parts(self, w: Array) -> tuple[Array, Array]:
        """Log density in bent axes of each component, with its share, and squared distance, (component, draw)."""
        from scipy.special import gammaln

        dim = w.shape[1]
        whitened = np.linalg.solve(self.cholesky, (w[None] - self.mean[:, None]).swapaxes(1, 2))
        distance = np.sum(whitened**2, axis=1)
        constant = gammaln((FREEDOM + dim) / 2) - gammaln(FREEDOM / 2) - dim / 2 * np.log(FREEDOM * np.pi)
        volume = np.sum(np.log(np.diagonal(self.cholesky, axis1=1, axis2=2)), axis=1)
        density = constant - volume[:, None] - (FREEDOM + dim) / 2 * np.log1p(distance / FREEDOM)
        return np.log(self.share)[:, None] + density, distance

    def log_density(self, z: Array) -> Array:
        """Log density at z, shape (draw,)."""
        w, jacobian = self.warp.bend(z)
        return cast(Array, np.logaddexp.reduce(self.parts(w)[0], axis=0) + jacobian)


def relative(log_weight: Array) -> Array:
    """Weights over the largest of them; 0 where none has any.

    Examples
    --------
    >>> relative(np.array([-1e4, -1e4, -np.inf])).tolist()
    [1.0, 1.0, 0.0]
    """
    if not np.isfinite(log_weight).any():
        return np.zeros(len(log_weight))
    return np.asarray(np.exp(log_weight - log_weight.max()))


def effective(weights: Array) -> float:
    """Effective number of weighted draws; 0 where none has any weight.

    Examples
    --------
    >>> effective(np.full(4, 3.0)), effective(np.zeros(4))
    (4.0, 0.0)
    """
    total = float(np.sum(weights))
    return total**2 / float(np.sum(weights**2)) if total else 0.0


def refit(z: Array, log_weight: Array, last: Proposal, rng: np.random.Generator) -> Proposal:
    """Refit bends and mixture to weighted draws, the latter by a few rounds of expectation-maximisation."""
    dim = z.shape[1]
    weights = tempered(log_weight, 10.0 * dim)
    warp = Warp.of(z, weights)
    w = warp.bend(z)[0]
    centre = weights @ w
    overall = (w - centre).T @ (weights[:, None] * (w - centre)) + 1e-6 * np.eye(dim)
    strength = dim * float(np.sum(weights**2))
    mixture = last if len(last.share) == COMPONENTS + 1 else _scatter(w, weights, overall, warp, rng)
    for _ in range(5):
        parts, distance = mixture.parts(w)
        member = weights * np.exp(parts - np.logaddexp.reduce(parts, axis=0))
        pull = member * (FREEDOM + dim) / (FREEDOM + distance)
        share = member[:-1].sum(axis=1) + 1e-9
        mean = (pull[:-1] @ w) / (pull[:-1].sum(axis=1, keepdims=True) + 1e-300)
        away = w[None] - mean[:, None]
        spread = np.einsum("cn,cni,cnj->cij", pull[:-1], away, away, optimize=True) / share[:, None, None]
        # Shrunk towards the whole, more so the fewer effective draws a component rests on.
        mix = (strength / (strength + share))[:, None, None]
        covariance = (1 - mix) * spread + mix * overall
        shares = np.append((1 - DEFENSIVE) * share / share.sum(), DEFENSIVE)
        mixture = Proposal(
            shares,
            np.vstack([mean, centre]),
            np.linalg.cholesky(np.concatenate([covariance, 2.5 * overall[None]]) + 1e-9 * np.eye(dim)),
            warp,
        )
    return mixture


def _scatter(w: Array, weights: Array, overall: Array, warp: Warp, rng: np.random.Generator) -> Proposal:
    seeds = rng.choice(len(w), size=COMPONENTS, p=weights)
    covariance = np.concatenate([np.repeat(0.5 * overall[None], COMPONENTS, axis=0), 2.5 * overall[None]])
    shares = np.append(np.full(COMPONENTS, (1 - DEFENSIVE) / COMPONENTS), DEFENSIVE)
    return Proposal(shares, np.vstack([w[seeds], weights @ w]), np.linalg.cholesky(covariance), warp)


def tempered(log_weight: Array, least: float, lowest: float = 1e-3) -> Array:
    """Weights to the largest power at most 1 that leaves `least` effective draws; they sum to 1.

    Powers fall in steps of a fifth, and no further than to `lowest`.

    Examples
    --------
    >>> log_weight = np.array([0.0, *[-50.0] * 7])
    >>> effective(relative(log_weight)), round(effective(tempered(log_weight, 2.0)), 2)
    (1.0, 2.04)
    """
    power = 1.0
    while effective(relative(power * log_weight)) < least and power > lowest:
        power *= 0.8
    weights = relative(power * log_weight)
    return np.asarray(weights / weights.sum())

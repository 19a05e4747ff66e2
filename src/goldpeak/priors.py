"""Prior distributions that a card may name, each as a map from a standard normal.

``from_normal`` turns z ~ N(0, 1) into a draw of the prior. With it every outer parameter of the exact engine is a
priori standard normal, scales near zero sit at moderate z instead of minus infinity, and prior draws are one line.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["LKJ", "Fixed", "HalfNormal", "LogNormal", "Normal", "Prior", "ScalePrior", "correlated_pair"]

Array = NDArray[np.float64]


def _positive(name: str, value: float) -> list[str]:
    return [] if np.isfinite(value) and value > 0 else [f"{name} is {value}; allowed: a finite number > 0"]


@dataclass(frozen=True)
class Normal:
    """Normal with mean `mu` and standard deviation `sigma`.

    Examples
    --------
    >>> float(Normal(1.0, 2.0).from_normal(1.0))
    3.0
    """

    kind: ClassVar[str] = "normal"
    mu: float
    sigma: float

    def problems(self) -> list[str]:
        """What is wrong with the parameters, one sentence each."""
        finite = [] if np.isfinite(self.mu) else [f"mu is {self.mu}; allowed: a finite number"]
        return finite + _positive("sigma", self.sigma)

    def from_normal(self, z: ArrayLike) -> Array:
        """The prior's quantile at the standard normal quantile `z` (any shape)."""
        return self.mu + self.sigma * np.asarray(z, dtype=float)


@dataclass(frozen=True)
class LogNormal:
    """exp(Normal(mu, sigma)).

    Examples
    --------
    >>> float(LogNormal(0.0, 1.0).from_normal(0.0))
    1.0
    """

    kind: ClassVar[str] = "log_normal"
    mu: float
    sigma: float

    def problems(self) -> list[str]:
        """What is wrong with the parameters, one sentence each."""
        return Normal(self.mu, self.sigma).problems()

    def from_normal(self, z: ArrayLike) -> Array:
        """The prior's quantile at the standard normal quantile `z` (any shape)."""
        return np.exp(self.mu + self.sigma * np.asarray(z, dtype=float))


@dataclass(frozen=True)
class HalfNormal:
    """|Normal(0, sigma)|.

    Examples
    --------
    >>> round(float(HalfNormal(1.0).from_normal(0.0)), 4)  # the median
    0.6745
    """

    kind: ClassVar[str] = "half_normal"
    sigma: float

    def problems(self) -> list[str]:
        """What is wrong with the parameters, one sentence each."""
        return _positive("sigma", self.sigma)

    def from_normal(self, z: ArrayLike) -> Array:
        """The prior's quantile at the standard normal quantile `z` (any shape)."""
        from scipy.special import ndtr, ndtri

        return cast(Array, -self.sigma * ndtri(ndtr(-np.asarray(z, dtype=float)) / 2.0))


@dataclass(frozen=True)
class LKJ:
    """Prior of one correlation r: density proportional to (1 - r^2)^(eta - 1).

    What Lewandowski, Kurowicka & Joe (2009, doi:10.1016/j.jmva.2009.04.008) give for a 2 x 2 correlation matrix:
    (r + 1) / 2 is Beta(eta, eta).

    Examples
    --------
    >>> float(LKJ(2.0).from_normal(0.0))
    0.0
    """

    kind: ClassVar[str] = "lkj"
    eta: float

    def problems(self) -> list[str]:
        """What is wrong with the parameters, one sentence each."""
        return _positive("eta", self.eta)

    def from_normal(self, z: ArrayLike) -> Array:
        """The prior's quantile at the standard normal quantile `z` (any shape)."""
        from scipy.special import betaincinv, ndtr

        return cast(Array, 2.0 * betaincinv(self.eta, self.eta, ndtr(np.asarray(z, dtype=float))) - 1.0)


@dataclass(frozen=True)
class Fixed:
    """A positive number that is not learned.

    Examples
    --------
    >>> Fixed(-1.0).problems()
    ['value is -1.0; allowed: a finite number > 0']
    """

    kind: ClassVar[str] = "fixed"
    value: float

    def problems(self) -> list[str]:
        """What is wrong with the parameters, one sentence each."""
        return _positive("value", self.value)


Prior = Normal | LogNormal | HalfNormal | LKJ
ScalePrior = LogNormal | HalfNormal


def correlated_pair(correlation: Array, shape: tuple[int, ...], rng: np.random.Generator) -> tuple[Array, Array]:
    """Two arrays of standard normal numbers whose entries correlate pair by pair.

    Examples
    --------
    >>> first, second = correlated_pair(np.array(-1.0), (3,), np.random.default_rng(0))
    >>> np.allclose(first, -second)
    True
    """
    first, second = rng.standard_normal(shape), rng.standard_normal(shape)
    return first, correlation * first + np.sqrt(1.0 - correlation**2) * second

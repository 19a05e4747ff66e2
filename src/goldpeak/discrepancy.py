r"""The smooth deviation of a gold curve from its form.

.. math:: \delta(d) = \sum_{j=1}^m c_j \sqrt{2/L}\,\sin(j\pi d/L), \qquad c_j \sim N(0, \eta^2 S(j\pi/L)),

with S the spectral density of a Matern-5/2 process of unit variance: the Hilbert-space approximation of a Gaussian
process (Solin & Sarkka 2020, doi:10.1007/s11222-019-09886-w, equations 54-56), pinned to 0 at d = 0. Given the
amplitude and the length scale these are just more columns of the form and more Gaussian coefficients.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from goldpeak.priors import ScalePrior

__all__ = ["BOUNDARY", "OWN_RESOLUTION", "Sines", "choose_sines", "matern52_density"]

Array = NDArray[np.float64]

BOUNDARY = 1.2
"""The basis reaches this many times the largest d in question: it is pinned to 0 at its far end too."""
SHORTEST_Z = -1.645
"""Standard normal quantile of the shortest length scale that the basis resolves: the prior's 5 % quantile."""
RESOLUTION = 12.0
"""Highest frequency times that length scale; a Matern-5/2 process has 0.01 % of its variance beyond.

With half of it peaks of the bundled RL runs still moved by a fifth of their interval when the basis was doubled.
"""
OWN_RESOLUTION = 8.0
"""The same for what runs add to a shared shape, which is small and long: peaks of the bundled RL runs move by no more
than Monte Carlo error (a twentieth of their interval) when the basis is made three times as fine."""
FEWEST = 24
"""Sines at least, for data that want a shorter length scale than the prior expects."""


@dataclass(frozen=True)
class Sines:
    """A sine basis on [0, `length`], `length` in square-root nats.

    Examples
    --------
    >>> Sines(length=2.0, count=1).columns([0.0, 1.0]).round(6)
    array([[0.],
           [1.]])
    """

    length: float
    count: int

    @property
    def frequencies(self) -> Array:
        """j pi / L, shape (count,)."""
        return np.arange(1.0, self.count + 1.0) * (np.pi / self.length)

    def columns(self, d: ArrayLike) -> Array:
        """The basis at d, shape (..., count)."""
        angle = np.asarray(d, dtype=float)[..., None] * self.frequencies
        return cast(Array, np.sqrt(2.0 / self.length) * np.sin(angle))

    def slopes(self, d: ArrayLike) -> Array:
        """Derivative of the basis in d, shape (..., count)."""
        angle = np.asarray(d, dtype=float)[..., None] * self.frequencies
        return cast(Array, np.sqrt(2.0 / self.length) * self.frequencies * np.cos(angle))

    def variances(self, lengthscale: ArrayLike) -> Array:
        """Prior variances of the coefficients at unit amplitude, shape (..., count)."""
        return np.asarray(matern52_density(self.frequencies, np.asarray(lengthscale, dtype=float)[..., None]))


def matern52_density(omega: Any, lengthscale: Any) -> Any:
    """Spectral density of a unit-variance Matern-5/2 process (Rasmussen & Williams 2006, equation 4.15).

    Any arithmetic will do, numpy's or pytensor's.

    Examples
    --------
    >>> omega = np.linspace(-200, 200, 400_001)
    >>> float(np.trapezoid(matern52_density(omega, 1.3), omega) / (2 * np.pi)).__round__(4)
    1.0
    """
    return (16.0 / 3.0) * 5.0**2.5 * lengthscale / (5.0 + (omega * lengthscale) ** 2) ** 3


def choose_sines(d_max: float, lengthscale: ScalePrior, resolution: float = RESOLUTION) -> Sines:
    """The basis for curves up to `d_max`: long enough for the range, fine enough for the length scale's prior.

    Examples
    --------
    >>> from goldpeak.priors import LogNormal
    >>> choose_sines(10.0, LogNormal(1.0, 0.3)).count
    28
    """
    length = BOUNDARY * d_max
    shortest = float(lengthscale.from_normal(SHORTEST_Z))
    return Sines(length, max(int(np.ceil(resolution * length / (np.pi * shortest))), FEWEST))

r"""Peak coordinates: the forms as one shape, stretched.

With :math:`d_*` and :math:`R_*` the place and the height of the peak and :math:`u = d / d_*`, the forms ``rl``, ``bon``
and ``boxcox`` are all

.. math:: \mathrm{gold}(d) = R_* f_\gamma(u), \qquad f_\gamma(u) = u\,(1 + \gamma - u^\gamma) / \gamma ,

with :math:`\gamma = 0` for ``rl`` (u (1 - log u)) and 1 for ``bon`` (u (2 - u)): a shape-invariant model (Lawton,
Sylvestre & Maggio 1972, doi:10.1080/00401706.1972.10488942). The shared shape is f plus a smooth part,

.. math:: \delta(u) = w(u) \sum_j c_j s_j(u), \qquad
          w(u) = \frac{(u - 1)^2}{\kappa^2 + (u - 1)^2} \cdot \frac{1}{1 + (u / u_c)^8},

with the sines of `discrepancy` in u. The window w and its slope are 0 at u = 1, so that whatever the c_j the shape has
value 1 and slope 0 there: d* stays its peak, or a turning point at least. Far beyond the peak, from about u_c on (KL
more than six times that of the peak), the shape is f alone and what a curve does there is its own: it says little of
the peak.

Curves whose peak lies further out rise more roundly: gold itself saturates, however good the reward model. The bend b
adds, to a curve with its peak at d*,

.. math:: b\,(\log d_* - \log d_0)\,\psi(u), \qquad \psi(u) = u (1 - u)^2 / (1 + u^4),

which leaves value and slope at the peak as they are; d_0 is the prior mean of d*.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from goldpeak.discrepancy import Sines
from goldpeak.forms import box_cox

__all__ = [
    "REACH",
    "SHAPE_FORMULA",
    "SHAPE_GAMMA",
    "Shape",
    "psi",
    "psi_slope",
    "shape_at",
    "shape_gamma_slope",
    "shape_slope",
    "window",
]

Array = NDArray[np.float64]

SHAPE_GAMMA: dict[str, float | None] = {"boxcox": None, "rl": 0.0, "bon": 1.0}
"""Forms that are this shape, and their gamma; None where it is learned."""
SHAPE_FORMULA = {
    "boxcox": "R* u (1 + gamma - u^gamma) / gamma, u = d / d*",
    "rl": "R* u (1 - log u), u = d / d*",
    "bon": "R* u (2 - u), u = d / d*",
}
"""The same in words, for people."""
WINDOW = 0.5
"""kappa: so far from the peak, in u, the window is one half."""
FAR = 2.5
"""u_c: there the window is halved."""
REACH = 4.2
"""Largest u that a basis needs to cover: the window is 2 % there."""


def shape_at(u: ArrayLike, gamma: ArrayLike) -> Array:
    """f at u >= 0, for gamma > -1 (any broadcastable shapes).

    Examples
    --------
    >>> shape_at([0.0, 1.0, 2.0], 1.0)
    array([0., 1., 0.])
    >>> bool(np.isclose(shape_at(np.e, 0.0), 0.0))
    True
    """
    u = np.asarray(u, dtype=float)
    return u * (1.0 - _box_cox(u, gamma))


def shape_slope(u: ArrayLike, gamma: ArrayLike) -> Array:
    """Derivative of f in u, for u > 0.

    Examples
    --------
    >>> float(abs(shape_slope(1.0, 0.3)))
    0.0
    """
    return -(1.0 + np.asarray(gamma, dtype=float)) * _box_cox(np.asarray(u, dtype=float), gamma)


def shape_gamma_slope(u: ArrayLike, gamma: ArrayLike) -> Array:
    """Derivative of f in gamma.

    Examples
    --------
    >>> step = (shape_at(2.0, 0.301) - shape_at(2.0, 0.299)) / 0.002
    >>> bool(np.isclose(shape_gamma_slope(2.0, 0.3), step))
    True
    """
    u = np.asarray(u, dtype=float)
    log_u = np.log(np.where(u > 0, u, 1.0))
    return cast(Array, -u * log_u**2 * _exprel_slope(np.asarray(gamma, dtype=float) * log_u))


def psi(u: Any) -> Any:
    """What a bend adds at u >= 0; any arithmetic will do, numpy's or pytensor's.

    Examples
    --------
    >>> psi(np.array([0.0, 0.5, 1.0, 2.0])).round(3)
    array([0.   , 0.118, 0.   , 0.118])
    """
    return u * (1.0 - u) ** 2 / (1.0 + u**4)


def psi_slope(u: Array) -> Array:
    """Derivative of psi in u.

    Examples
    --------
    >>> psi_slope(np.array([0.0, 2.0])).round(3)
    array([1.   , 0.073])
    """
    bottom = 1.0 + u**4
    return np.asarray((1.0 - u) * ((1.0 - 3.0 * u) * bottom - 4.0 * u**4 * (1.0 - u)) / bottom**2)


def _box_cox(u: Array, gamma: ArrayLike) -> Array:
    """0 at u = 0 too, where it is multiplied by u."""
    return box_cox(np.where(u > 0, u, 1.0), gamma)


def _exprel_slope(z: Array) -> Array:
    """Derivative of (e^z - 1) / z."""
    small = np.abs(z) < 1e-3
    safe = np.where(small, 1.0, z)
    exact = (np.exp(safe) * (safe - 1.0) + 1.0) / safe**2
    return np.where(small, 0.5 + z / 3.0 + z**2 / 8.0, exact)


@dataclass(frozen=True)
class Shape:
    """The shared shape but for its parameters.

    Attributes
    ----------
    gamma : float or None
        Where the form fixes it.
    sines : Sines or None
        Basis of the shared discrepancy in u = d / d*; beyond its length the discrepancy is 0.
    pivot : float
        log d_0: curves with their peak there have no bend.
    """

    gamma: float | None
    sines: Sines | None
    pivot: float = 0.0

    def bend(self, log_d: Any, u: Any) -> Any:
        """What a bend of 1 adds at u to curves with their peak at log d*; any arithmetic will do."""
        return (log_d - self.pivot) * psi(u)

    def bend_slope(self, log_d: Array, u: Array) -> Array:
        """Derivative of `bend` in log d*, where u = d / d* and d stays as it is."""
        return np.asarray(psi(u) - (log_d - self.pivot) * u * psi_slope(u))

    def columns(self, u: ArrayLike) -> Array:
        """Windowed sines at u, shape (..., count)."""
        assert self.sines
        u = np.asarray(u, dtype=float)
        inside = u < self.sines.length
        return cast(Array, (window(u) * inside)[..., None] * self.sines.columns(np.where(inside, u, 0.0)))

    def slopes(self, u: ArrayLike) -> Array:
        """Derivative of `columns` in u."""
        assert self.sines
        u = np.asarray(u, dtype=float)
        inside = u < self.sines.length
        safe = np.where(inside, u, 0.0)
        away = safe - 1.0
        near, far = away**2 / (WINDOW**2 + away**2), 1.0 / (1.0 + (safe / FAR) ** 8)
        turn = far * 2.0 * away * WINDOW**2 / (WINDOW**2 + away**2) ** 2
        turn -= near * far**2 * 8.0 * safe**7 / FAR**8
        both = turn[..., None] * self.sines.columns(safe) + window(safe)[..., None] * self.sines.slopes(safe)
        return cast(Array, both * inside[..., None])


def window(u: Any) -> Any:
    """What holds the discrepancy and its slope at 0 at u = 1; any arithmetic will do, numpy's or pytensor's."""
    away = (u - 1.0) ** 2
    return away / (WINDOW**2 + away) / (1.0 + (u / FAR) ** 8)

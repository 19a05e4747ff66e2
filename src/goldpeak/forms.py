r"""Functional forms of the over-optimisation law: basis, slope and closed-form peak.

Every form is linear in its two coefficients: with :math:`d = \sqrt{\mathrm{KL}}`,

.. math:: \mathrm{gold}(d) = \alpha\,d - \beta\,d\,f(d) = \Phi(d)\,(\alpha, \beta)^T .

That one fact carries the rest of the package. All functions are pure and broadcast; `d` is in square-root nats.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["COEFFICIENTS", "FORMS", "Form", "box_cox", "gold_at", "peak_of", "slope_at"]

Array = NDArray[np.float64]
COEFFICIENTS = ("alpha", "beta")


@dataclass(frozen=True)
class Form:
    """One functional form.

    Attributes
    ----------
    name : str
        Its key in :data:`FORMS` and in model cards.
    formula : str
        gold(d), for people.
    citation : str
        Where the form comes from.
    f : callable
        ``f(d, gamma)`` of the module's equation, for ``d > 0``.
    f_slope : callable
        d f'(d), for ``d > 0``.
    peak : callable
        ``peak(ratio, gamma)``: d at the peak for ``beta > 0``, where ``ratio = alpha / beta``.
    has_gamma : bool
        Whether the form has the shape parameter gamma.
    """

    name: str
    formula: str
    citation: str
    f: Callable[[Array, Array], Array]
    f_slope: Callable[[Array, Array], Array]
    peak: Callable[[Array, Array], Array]
    has_gamma: bool = False

    def basis(self, d: ArrayLike, gamma: ArrayLike = 0.0) -> Array:
        """Columns (d, -d f(d)) along a new last axis; zero at d = 0.

        Parameters
        ----------
        d : array_like
            Square root of KL, in nats to the one half; at least 0.
        gamma : array_like
            Shape parameter of ``boxcox``; other forms ignore it. Broadcasts against `d`.

        Returns
        -------
        ndarray, shape (..., 2)

        Examples
        --------
        >>> FORMS["bon"].basis([0.0, 2.0])
        array([[ 0.,  0.],
               [ 2., -4.]])
        """
        d, gamma, safe = _prepare(d, gamma)
        second = np.where(d > 0, -safe * self.f(safe, gamma), 0.0)
        return np.stack([d, second], axis=-1)

    def slope_basis(self, d: ArrayLike, gamma: ArrayLike = 0.0) -> Array:
        """Derivative of :meth:`basis` in d, for d > 0.

        Examples
        --------
        >>> FORMS["bon"].slope_basis([2.0])
        array([[ 1., -4.]])
        """
        d, gamma, safe = _prepare(d, gamma)
        return np.stack([np.ones_like(d), -(self.f(safe, gamma) + self.f_slope(safe, gamma))], axis=-1)


def _prepare(d: ArrayLike, gamma: ArrayLike) -> tuple[Array, Array, Array]:
    d, gamma = np.broadcast_arrays(np.asarray(d, dtype=float), np.asarray(gamma, dtype=float))
    return d, gamma, np.where(d > 0, d, 1.0)


def gold_at(form: Form, d: ArrayLike, alpha: ArrayLike, beta: ArrayLike, gamma: ArrayLike = 0.0) -> Array:
    """Gold reward of a form at d (any broadcastable shapes).

    Examples
    --------
    >>> float(gold_at(FORMS["bon"], 2.0, alpha=1.0, beta=0.25))
    1.0
    """
    phi = form.basis(d, gamma)
    return np.asarray(alpha) * phi[..., 0] + np.asarray(beta) * phi[..., 1]


def slope_at(form: Form, d: ArrayLike, alpha: ArrayLike, beta: ArrayLike, gamma: ArrayLike = 0.0) -> Array:
    """Derivative of gold in d (any broadcastable shapes), for d > 0.

    Examples
    --------
    >>> float(slope_at(FORMS["bon"], 2.0, alpha=1.0, beta=0.25))
    0.0
    """
    phi = form.slope_basis(d, gamma)
    return np.asarray(alpha) * phi[..., 0] + np.asarray(beta) * phi[..., 1]


def peak_of(form: Form, alpha: ArrayLike, beta: ArrayLike, gamma: ArrayLike = 0.0) -> Array:
    """D at which a form's gold peaks: 0 where gold only falls, +inf where it has no interior peak.

    Parameters
    ----------
    form : Form
    alpha, beta, gamma : array_like
        Coefficients; broadcast against one another.

    Returns
    -------
    ndarray
        d at the peak (the peak's KL is its square), never NaN for finite coefficients. Draws with beta <= 0 have no
        interior peak and get +inf.

    Examples
    --------
    >>> float(peak_of(FORMS["bon"], 1.0, 0.25))
    2.0
    >>> float(peak_of(FORMS["rl"], 1.0, -0.1))
    inf
    """
    alpha, beta, gamma = np.broadcast_arrays(*(np.asarray(a, dtype=float) for a in (alpha, beta, gamma)))
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        ratio = np.divide(alpha, beta, out=np.full(alpha.shape, np.inf), where=beta > 0)
        finite = np.isfinite(ratio)
        inner = form.peak(np.where(finite, ratio, 0.0), gamma)
    return np.where(finite, np.maximum(inner, 0.0), np.inf)


def _log1p_over(ratio: Array, gamma: Array) -> Array:
    """log(1 + gamma ratio) / gamma, and its limit at gamma = 0; NaN below gamma ratio = -1."""
    z = gamma * ratio
    small = np.abs(z) < 1e-8
    return np.where(small, ratio * (1.0 - z / 2.0), np.log1p(np.where(small, 0.0, z)) / np.where(small, 1.0, gamma))


def box_cox(d: Array, gamma: ArrayLike) -> Array:
    """(d^gamma - 1) / gamma for d > 0, and log d at gamma = 0.

    Examples
    --------
    >>> box_cox(np.array([4.0]), 0.5)
    array([2.])
    """
    from scipy.special import exprel

    log_d = np.log(d)
    return np.asarray(log_d * exprel(np.asarray(gamma, dtype=float) * log_d))


def _boxcox_peak(ratio: Array, gamma: Array) -> Array:
    # From gamma = -1 down the form has no limit at d = 0 and its only turning point is a minimum.
    proper = gamma > -1.0
    shape = np.where(proper, gamma, 0.0)
    inside = proper & (1.0 + shape * ratio > 0)
    interior = np.exp(_log1p_over(np.where(inside, ratio, 0.0), shape) - _log1p_over(np.ones_like(shape), shape))
    # Outside, gold has one direction: gamma > 0 falls from the start, gamma < 0 rises for ever.
    return np.where(inside, interior, np.where(gamma > 0, 0.0, np.inf))


def _rl_log1p_peak(ratio: Array, gamma: Array) -> Array:
    from scipy.special import lambertw

    # For a large ratio exp underflows to u = 0 and the peak is infinitely far off, as it should be.
    ratio = np.maximum(ratio, 0.0)
    d = 1.0 / np.real(lambertw(np.exp(1.0 - ratio))) - 1.0
    # Near u = 1 the subtraction leaves few digits; one step of Newton's method on the slope brings them back.
    near = np.where(np.isfinite(d), d, 0.0)
    step = (np.log1p(near) + near / (1.0 + near) - ratio) / (1.0 / (1.0 + near) + 1.0 / (1.0 + near) ** 2)
    return np.where(np.isfinite(d), near - step, d)


def _saturating_peak(ratio: Array, gamma: Array) -> Array:
    return np.where(ratio < 1.0, np.expm1(-0.5 * np.log1p(-np.where(ratio < 1.0, ratio, 0.0))), np.inf)


_GAO = "Gao, Schulman & Hilton 2022, arXiv:2210.10760"

FORMS: dict[str, Form] = {
    form.name: form
    for form in [
        Form(
            "bon",
            "d (alpha - beta d)",
            f"{_GAO}, section 3.1 (best-of-n)",
            f=lambda d, gamma: d,
            f_slope=lambda d, gamma: d,
            peak=lambda ratio, gamma: ratio / 2.0,
        ),
        Form(
            "rl",
            "d (alpha - beta log d)",
            f"{_GAO}, section 3.1 (RL)",
            f=lambda d, gamma: np.log(d),
            f_slope=lambda d, gamma: np.ones_like(d),
            peak=lambda ratio, gamma: np.exp(ratio - 1.0),
        ),
        Form(
            "rl_log1p",
            "d (alpha - beta log(1 + d))",
            f"{_GAO}, appendix B",
            f=lambda d, gamma: np.log1p(d),
            f_slope=lambda d, gamma: d / (1.0 + d),
            peak=_rl_log1p_peak,
        ),
        Form(
            "boxcox",
            "d (alpha - beta (d^gamma - 1) / gamma)",
            "goldpeak: rl at gamma = 0, bon at gamma = 1 (alpha shifted by beta)",
            f=box_cox,
            f_slope=lambda d, gamma: d**gamma,
            peak=_boxcox_peak,
            has_gamma=True,
        ),
        Form(
            "saturating",
            "d (alpha - beta d / (1 + d))",
            "goldpeak: rises for ever unless beta > alpha",
            f=lambda d, gamma: d / (1.0 + d),
            f_slope=lambda d, gamma: d / (1.0 + d) ** 2,
            peak=_saturating_peak,
        ),
    ]
}

r"""Trends: how a coefficient moves with reward-model size.

A trend gives columns :math:`T(x)` in :math:`x = \log(N / N_0)`; the coefficient of a typical RM is :math:`T(x)\,g`.
`constant`, `log_linear` (the paper's choice for beta) and `log_quadratic` are polynomials. `random_walk` is a local
linear trend: its slope may change at knots a fixed step apart, so that extrapolation widens with distance.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["KNOT_STEP", "TRENDS", "Trend", "knots_between", "trend_columns"]

KNOT_STEP = 0.7
"""Distance between knots of ``random_walk`` in log(N): a factor of two in size."""


@dataclass(frozen=True)
class Trend:
    """One trend: the names of its fixed terms, and whether its slope drifts at knots."""

    name: str
    terms: tuple[str, ...]
    drifts: bool = False


TRENDS: dict[str, Trend] = {
    t.name: t
    for t in [
        Trend("constant", ("intercept",)),
        Trend("log_linear", ("intercept", "slope")),
        Trend("log_quadratic", ("intercept", "slope", "quadratic")),
        Trend("random_walk", ("intercept", "slope"), drifts=True),
    ]
}


def knots_between(x_min: float, x_max: float) -> NDArray[np.float64]:
    """Knots of ``random_walk`` strictly between two sizes, ``KNOT_STEP`` apart, counted from the smaller.

    Examples
    --------
    >>> knots_between(0.0, 2.0)
    array([0.7, 1.4])
    """
    count = max(int(np.ceil((x_max - x_min) / KNOT_STEP - 1e-9)) - 1, 0)
    return x_min + KNOT_STEP * np.arange(1.0, count + 1.0)


def trend_columns(trend: Trend, x: ArrayLike, knots: ArrayLike = ()) -> NDArray[np.float64]:
    """Columns of a trend at sizes x = log(N / N0), along a new last axis.

    Parameters
    ----------
    trend : Trend
    x : array_like
    knots : array_like
        Positions at which the slope may change; used by ``random_walk`` only.

    Returns
    -------
    ndarray, shape (..., terms + knots)

    Examples
    --------
    >>> trend_columns(TRENDS["log_linear"], [0.0, 2.0])
    array([[1., 0.],
           [1., 2.]])
    """
    x = np.asarray(x, dtype=float)[..., None]
    columns: NDArray[np.float64] = x ** np.arange(float(len(trend.terms)))
    if not trend.drifts:
        return columns
    return np.concatenate([columns, np.maximum(x - np.asarray(knots, dtype=float), 0.0)], axis=-1)

r"""KL measured with error: what that makes of gold, to first order.

A point whose KL is off by s lies on the curve at another place, so its gold is off by as much as the curve changes on
the way. To first order that is one more standard error of gold,

.. math:: \tfrac12 \left| g(\sqrt{k + s}) - g\bigl(\sqrt{\max(k - s, 0)}\bigr) \right| ,

the slope as a secant over one standard error to each side, which stays finite where the curve starts as sqrt(KL). It is
the *effective variance* of errors in variables (Orear 1982, doi:10.1119/1.12972). The curve that it takes is first each
run's own least squares, and then, where the exact engine can say it, the one that fits all runs best with the first
variances (see `engines.propagated`). What bends within a standard error is lost: a shift of s^2/2 times the curvature.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

__all__ = ["first_guess", "secant"]

Array = NDArray[np.float64]

ENOUGH = 5
"""Points that a third column takes."""


def secant(gold: Callable[[Array], Array], kl: Array, kl_se: Array) -> Array:
    """Standard error of gold from that of KL, on a curve gold(d).

    Examples
    --------
    >>> secant(lambda d: 2.0 * d, np.array([4.0, 0.0]), np.array([0.4, 0.01])).round(4).tolist()
    [0.2003, 0.1]
    """
    return np.asarray(0.5 * np.abs(gold(np.sqrt(kl + kl_se)) - gold(np.sqrt(np.maximum(kl - kl_se, 0.0)))))


def first_guess(kl: Array, kl_se: Array, gold: Array, members: list[NDArray[np.int64]]) -> Array:
    """The standard errors on a curve d (a + b log d + c d) of each run alone, by least squares, shape (point,)."""
    found = np.zeros(len(kl))
    for mine in members:
        width = 3 if len(mine) >= ENOUGH else 2
        fitted = np.linalg.lstsq(_columns(np.sqrt(kl[mine]), width), gold[mine], rcond=None)[0]

        def curve(d: Array, fitted: Array = fitted, width: int = width) -> Array:
            return np.asarray(_columns(d, width) @ fitted)

        found[mine] = secant(curve, kl[mine], kl_se[mine])
    return found


def _columns(d: Array, width: int) -> Array:
    return np.stack([d, d * np.log(np.where(d > 0, d, 1.0)), d**2], axis=-1)[:, :width]

"""Densities exp(b R - a R^2 / 2) N(rho; middle, sd^2) of rho, R = exp(rho): integrals of them, and draws from them.

A likelihood that is Gaussian in R meets a prior that is normal in log R.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["draw_log_normal", "draw_on_grid", "log_normal_integral"]

Array = NDArray[np.float64]

NEWTON = 7
"""Steps to the mode; the first guess is off by little."""
HERMITE = np.polynomial.hermite_e.hermegauss(5)
ACROSS = 36
"""Points from which rho is drawn."""


def _mode(a: Array, b: Array, middle: Array, sd: Array) -> tuple[Array, Array]:
    """Mode and sd of the normal density there."""
    precision = sd**-2
    with np.errstate(divide="ignore", invalid="ignore"):
        peak = np.log(np.maximum(b, 0.0) / a)
        bend = np.where(b > 0, b**2 / a, 0.0)
    guess = np.where(b > 0, (bend * np.where(b > 0, peak, 0.0) + precision * middle) / (bend + precision), middle)
    rho = np.clip(guess, middle - 8.0 * sd, middle + 8.0 * sd)
    for _ in range(NEWTON):
        gold = np.exp(rho)
        slope = b * gold - a * gold**2 - precision * (rho - middle)
        curvature = 2.0 * a * gold**2 - b * gold + precision
        # Where the density bends upwards the prior's and the square's curvature alone still point uphill.
        safe = np.maximum(curvature, a * gold**2 + precision)
        rho = rho + np.clip(slope / np.where(curvature > 0.1 * safe, curvature, safe), -1.0, 1.0)
    gold = np.exp(rho)
    return rho, 1.0 / np.sqrt(np.maximum(2.0 * a * gold**2 - b * gold + precision, 0.1 * precision))


def log_normal_integral(a: Array, b: Array, middle: Array, sd: Array) -> Array:
    """Log of the integral over rho; all arguments broadcast.

    Examples
    --------
    >>> float(log_normal_integral(np.zeros(1), np.zeros(1), np.ones(1), np.ones(1))[0].round(9))  # N integrates to 1
    0.0
    """
    mode, width = _mode(a, b, middle, sd)
    at, weights = HERMITE
    terms = []
    for z, w in zip(at, weights, strict=True):
        rho = mode + width * z
        gold = np.exp(rho)
        density = b * gold - 0.5 * a * gold**2 - 0.5 * ((rho - middle) / sd) ** 2
        terms.append(density + 0.5 * z**2 + np.log(w))
    return np.asarray(np.logaddexp.reduce(terms, axis=0) + np.log(width / sd) - 0.5 * np.log(2 * np.pi))


def draw_log_normal(a: Array, b: Array, middle: Array, sd: Array, rng: np.random.Generator) -> Array:
    """One draw of rho from each density; all shape (draw,)."""
    mode, width = _mode(a, b, middle, sd)
    grid = mode[:, None] + width[:, None] * np.linspace(-6.0, 6.0, ACROSS)
    gold = np.exp(grid)
    density = b[:, None] * gold - 0.5 * a[:, None] * gold**2
    density -= 0.5 * ((grid - middle[:, None]) / sd[:, None]) ** 2
    return draw_on_grid(grid, density, rng)


def draw_on_grid(t: Array, log_density: Array, rng: np.random.Generator) -> Array:
    """One draw per row from a density whose log (draw, k) is known at equidistant t: exponential between them.

    Examples
    --------
    >>> t = np.linspace(0.0, 1.0, 3)[None]
    >>> bool(draw_on_grid(t, np.array([[0.0, -50.0, -50.0]]), np.random.default_rng(0))[0] < 0.2)
    True
    """
    left, right = log_density[:, :-1], log_density[:, 1:]
    top = np.maximum(left, right)
    fall = np.abs(right - left)
    # Integral of exp of a straight line over a cell.
    mass = top + np.log(-np.expm1(-np.maximum(fall, 1e-9)) / np.maximum(fall, 1e-9))
    mass = np.exp(mass - mass.max(axis=1, keepdims=True))
    edges = np.cumsum(mass, axis=1)
    pick = rng.random(len(t)) * edges[:, -1]
    cell = np.minimum(np.sum(edges < pick[:, None], axis=1), mass.shape[1] - 1)
    rows = np.arange(len(t))
    rise = (right - left)[rows, cell]
    share = rng.random(len(t))
    steep = np.abs(rise) > 1e-9
    safe = np.where(steep, rise, 1.0)
    # Inverse of the distribution function of exp(rise s) on [0, 1], written for the larger end.
    down = -np.log1p(share * np.expm1(-np.abs(safe))) / np.abs(safe)
    within = np.where(steep, np.where(rise > 0, 1.0 - down, down), share)
    return np.asarray(t[rows, cell] + within * (t[:, 1] - t[:, 0]))

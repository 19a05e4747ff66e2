"""How coefficients scatter on the levels of the hierarchy, given the outer parameters of a batch of draws."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from goldpeak.design import Design

__all__ = ["Scatter", "level_covariance", "scatter_of", "share_of_rm"]

Array = NDArray[np.float64]
Outer = dict[str, Array]
Scatter = tuple[NDArray[np.int64], Array, Array | None]
"""Columns, sds of shape (draw, k), and tilt of shape (draw,), see `gaussian.condition`."""


def scatter_of(design: Design, h: Outer, levels: tuple[str, ...]) -> Scatter:
    """Columns of the coefficients that scatter on some levels, their sds, (draw, k), and their tilt, (draw,)."""
    cols, scale = [], []
    for i, name in enumerate(design.coefficients):
        sds = [h[f"{name}_sd_{level}"] for level in levels if f"{name}_sd_{level}" in h]
        if sds and name not in design.logged:
            cols.append(i)
            scale.append(sds[0] if len(sds) == 1 else np.hypot(sds[0], sds[1]))
    where = np.array(cols, dtype=np.int64)
    if not scale:
        return where, np.empty((len(h["sigma"]), 0)), None
    if len(cols) < 2 or "correlation" not in h:
        return where, np.stack(scale, axis=1), None
    tilt = covariance_of(design, h, levels) / np.maximum(scale[0], np.finfo(float).tiny)
    scale[1] = np.sqrt(np.maximum(scale[1] ** 2 - tilt**2, 0.0))
    return where, np.stack(scale, axis=1), tilt


def covariance_of(design: Design, h: Outer, levels: tuple[str, ...]) -> Array:
    """Covariance of the two coefficients' deviations on some levels, (draw,)."""
    names = list(design.coefficients)
    pairs = [[h.get(f"{name}_sd_{level}", np.zeros(1)) for name in names] for level in levels]
    return np.asarray(h.get("correlation", np.zeros(1)) * sum(a * b for a, b in pairs))


def share_of_rm(design: Design, h: Outer, both: Array, repeat: NDArray[np.int64], rng: np.random.Generator) -> Array:
    """Draw the RM's part of deviations (draw, run, coefficient) that are its own and the run's together."""
    rm, run = (level_covariance(design, h, level)[repeat, None] for level in ("rm", "run"))
    share = rm @ np.linalg.pinv(rm + run, hermitian=True)
    # Of eigenvalues rounding may leave something below 0.
    values, vectors = np.linalg.eigh(share @ run)
    root = vectors * np.sqrt(np.maximum(values, 0.0))[..., None, :]
    return np.asarray((share @ both[..., None] + root @ rng.standard_normal((*both.shape, 1)))[..., 0])


def level_covariance(design: Design, h: Outer, level: str) -> Array:
    """Covariance of the coefficients' deviations on one level, (draw, coefficient, coefficient)."""
    found = np.zeros((len(h["sigma"]), 2, 2))
    for i, name in enumerate(design.coefficients):
        found[:, i, i] = h.get(f"{name}_sd_{level}", np.zeros(1)) ** 2
    found[:, 0, 1] = found[:, 1, 0] = covariance_of(design, h, (level,))
    return found

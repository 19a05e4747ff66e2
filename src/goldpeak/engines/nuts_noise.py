"""Noise in the reference model: written out as a dense covariance of each run, or with a weight for each point.

Nothing here is fast: it is what the exact engine's shortcuts are held against.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytensor.tensor as pt
from numpy.typing import NDArray

from goldpeak.design import Design
from goldpeak.engines.padding import pad
from goldpeak.engines.tensors import basis
from goldpeak.noise import FLOOR, variance

__all__ = ["gram_of_points"]

Array = NDArray[np.float64]


def gram_of_points(design: Design, h: dict[str, Any]) -> tuple[Any, Any]:
    """Augmented Gram matrix of each run, (run, q, q), and log |V|."""
    values = np.column_stack([design.columns(), design.y])
    values, d, se, here = pad(design.run_index, len(design.run), values, design.d, design.se, np.ones(len(values)))
    z = pt.as_tensor(values)
    if design.columns_move:
        z = z[..., 1].set(basis(design, h, d)[1])
    if "weight" in h:
        noise = variance(se, h["sigma"])
        weight = pt.zeros(here.shape)[np.nonzero(here)].set(h["weight"][np.argsort(design.run_index, kind="stable")])
        log_v = (here * pt.log(noise)).sum() - pt.log(h["weight"]).sum()
        return (z * (weight / noise)[..., None]).mT @ z, log_v
    covariance = _covariance(design, h, se, here)
    factor = pt.linalg.cholesky(covariance, on_error="nan")
    white = pt.linalg.solve_triangular(factor, z, lower=True, b_ndim=2)
    return white.mT @ white, 2.0 * pt.log(pt.diagonal(factor, axis1=-2, axis2=-1)).sum()


def _covariance(design: Design, h: dict[str, Any], se: Array, here: Array) -> Any:
    """Noise covariance of each run, (run, n, n), with a 1 on the diagonal of what is padding."""
    both = here[:, :, None] * here[:, None, :]
    unit = np.eye(here.shape[1])
    padding = (1.0 - here)[:, :, None] * unit
    time, blocks = design.measurement.time, design.measurement.blocks
    if time is None:
        assert blocks is not None
        known = np.zeros(both.shape)
        for r, block in enumerate(blocks):
            known[r, : len(block), : len(block)] = block
        return known + padding + _diagonal(_from_kl(design) + h["sigma"] ** 2 + FLOOR**2, here)
    (when,) = pad(design.run_index, len(design.run), time)
    apart = np.abs(when[:, :, None] - when[:, None, :])
    process = h["sigma"] ** 2 * pt.exp(-apart / h["noise_lengthscale"]) * both
    return process + padding + _diagonal(variance(se, h.get("nugget", 0.0)), here)


def _from_kl(design: Design) -> Array:
    """Variance of gold from errors of KL, (run, n)."""
    (found,) = pad(design.run_index, len(design.run), design.measurement.from_kl**2)
    return found


def _diagonal(values: Any, here: Array) -> Any:
    return (here * values)[:, :, None] * np.eye(here.shape[1])

"""What the two PyMC models have in common, in pytensor."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytensor.tensor as pt
from numpy.typing import NDArray

from goldpeak.design import CoefficientDesign, Design

__all__ = ["basis", "box_cox", "trend_sd", "weigh"]


def box_cox(log_d: Any, gamma: Any) -> Any:
    """(d^gamma - 1) / gamma, and log d at gamma = 0: the counterpart of `forms.box_cox`."""
    z = gamma * log_d
    small = pt.abs(z) < 1e-6
    return log_d * pt.where(small, 1.0 + z / 2.0, pt.expm1(z) / pt.where(small, 1.0, z))


def basis(design: Design, outer: dict[str, Any], d: NDArray[np.float64]) -> list[Any]:
    """The form's two columns at d."""
    phi = design.form.basis(d)
    if not design.form.has_gamma:
        return [phi[..., 0], phi[..., 1]]
    log_d = np.log(np.where(d > 0, d, 1.0))
    return [phi[..., 0], -d * box_cox(log_d, outer["gamma"])]


def trend_sd(name: str, c: CoefficientDesign, outer: dict[str, Any]) -> Any:
    """Prior sds of the terms of a coefficient's trend, given how far it drifts."""
    return pt.where(c.drift, c.sd * outer.get(f"{name}_drift", 1.0), c.sd)


def weigh(gram: NDArray[Any], noise: Any) -> Any:
    """Gram matrices (run, group, q, q), summed over groups with weights 1 / noise: (run, q, q)."""
    runs, groups, q, _ = gram.shape
    return ((1.0 / noise)[:, None, :] @ gram.reshape(runs, groups, q * q)).reshape((runs, q, q))

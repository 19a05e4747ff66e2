"""Errors of KL, propagated a second time: through the curves that fit all runs best with the first variances."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from goldpeak.design import Design
from goldpeak.engines import exact, importance
from goldpeak.engines.linear_model import LinearModel
from goldpeak.engines.threads import one_thread_each
from goldpeak.slopes import secant

__all__ = ["propagate"]

Array = NDArray[np.float64]


def propagate(design: Design) -> Design:
    """The design with the standard errors that its own curves make of ``kl_se``.

    The curves are the conditional mean at the mode of the outer parameters. Where the exact engine cannot say what that
    is, or there are no errors of KL, the design stays as it is: with what each run's own least squares gave.
    """
    known = design.measurement
    if known.kl_se is None or exact.refusal(design):
        return design
    with one_thread_each():
        model = LinearModel(design)
        z = importance.mode_uphill(model.log_density, np.zeros(len(model.names)), np.eye(len(model.names)))
        mean = model.mean(z)
    from_kl = secant(lambda d: _gold(design, mean, d), design.d**2, known.kl_se)
    return replace(design, measurement=known.with_kl_errors(from_kl))


def _gold(design: Design, mean: dict[str, Array], d: Array) -> Array:
    """Curve of every point's run at d, shape (point,)."""
    r = design.run_index
    phi = design.form.basis(d, mean.get("gamma", np.zeros(())))
    gold = mean["alpha"][r] * phi[..., 0] + mean["beta"][r] * phi[..., 1]
    return np.asarray(gold + np.sum(mean["delta"][r] * design.sines.columns(d), axis=1) if design.sines else gold)

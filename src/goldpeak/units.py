"""From standardised units back to the user's gold, and what else of a design its posterior must say."""

from __future__ import annotations

import numpy as np
import xarray as xr

from goldpeak.design import Design

__all__ = ["stamp_of", "to_gold_units"]

UNSCALED = (
    "gamma",
    "gamma_slope",
    "bend",
    "lengthscale",
    "run_lengthscale",
    "noise_lengthscale",
    "nu",
    "correlation",
    "d_star",
    "delta_shape",
)


def to_gold_units(posterior: xr.Dataset, design: Design, *, overwrite: bool = False) -> xr.Dataset:
    """Bring a standardised posterior to the user's units of gold: every answer scales with gold.

    With `overwrite` the given posterior's arrays may be used for the result: they can be most of a fit's memory.

    Under the link ``log`` a coefficient's trend and scatter live on the log scale, where a change of units is a shift
    of the intercept.
    """
    scaled = posterior.copy()
    of_log_scale = {
        f"{name}_{part}"
        for name, c in design.coefficients.items()
        if c.spec.link == "log"
        for part in ("coef", "rm", "sd_rm", "sd_run", "drift")
    }
    for name in map(str, posterior.data_vars):
        if name in UNSCALED or (design.shape and name == "eta_shared"):
            continue
        if name in of_log_scale:
            prefix = name.removesuffix("_coef")
            if prefix != name and prefix != "d_star":
                is_intercept = posterior[f"{prefix}_term"] == "intercept"
                scaled[name] = posterior[name] + is_intercept * np.log(design.scale)
            continue
        values = posterior[name].values
        reuse = overwrite and values.flags.writeable
        scaled[name] = posterior[name].copy(data=np.multiply(values, design.scale, out=values if reuse else None))
    return scaled


def stamp_of(design: Design) -> dict[str, str | int | float]:
    """What curves need to know of the design besides the posterior: card, scales and the bases of what is smooth."""
    stamp: dict[str, str | int | float] = {
        "card": design.card.to_toml(),
        "gold_scale": design.scale,
        "n0": design.n0,
        "kl_max": design.kl_max,
    }
    if design.sines is not None:
        stamp |= {"sines_length": design.sines.length, "sines_count": design.sines.count}
    if design.shape and design.shape.sines:
        basis = design.shape.sines
        stamp |= {"shape_sines_length": float(basis.length), "shape_sines_count": basis.count}
    return stamp

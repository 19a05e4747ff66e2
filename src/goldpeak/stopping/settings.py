"""What a stopper was asked for: checks of its arguments, and what of a posterior they go with."""

from __future__ import annotations

import numpy as np
import xarray as xr

from goldpeak.curves import card_of
from goldpeak.errors import FitError
from goldpeak.mixture import components
from goldpeak.stopping.rules import RULES

__all__ = ["identity", "refuse", "usual_se"]


def identity(post: xr.DataTree) -> str:
    """What tells a posterior from others."""
    cards = [f"{share:g} {each.attrs['card_hash']} {each.attrs['seed']}" for share, each in components(post)]
    return ", ".join([str(post.attrs["data_digest"]), *cards])


def usual_se(post: xr.DataTree) -> float:
    """Median standard error of the fleet's gold, where the noise of some card counts it."""
    data = post["constant_data"].to_dataset()
    counts = any(card_of(each).noise.kind != "iid" for _, each in components(post))
    return float(np.nanmedian(data["gold_se"].values)) if counts and "gold_se" in data else 0.0


def refuse(
    rm_params: float,
    rule: str,
    level: float,
    kl_max: float,
    patience: int | None,
    drop: float | None,
    baseline: float | None,
    alpha: float,
    draws: int,
) -> None:
    """Raise `FitError` that names every argument out of range."""
    top = 1.0 if rule in ("chance", "drawdown") else np.nextafter(1.0, 2.0)
    checks = (
        ("rm_params", rm_params, np.isscalar(rm_params) and rm_params > 0, "one finite number > 0"),
        ("rule", repr(rule), rule in RULES, ", ".join(RULES)),
        ("level", level, 0 < level < top, "a number above 0 and at most 1 (chance, drawdown: below 1)"),
        ("kl_max", kl_max, np.isfinite(kl_max) and kl_max > 0, "a finite number of nats > 0"),
        (
            "patience",
            patience,
            patience is None or (isinstance(patience, int) and patience >= 1),
            "a whole number >= 1",
        ),
        ("drop", drop, drop is None or (np.isfinite(drop) and drop >= 0), "a finite amount of gold >= 0"),
        ("baseline", baseline, baseline is None or np.isfinite(baseline), "a finite number"),
        ("alpha", alpha, 0 < alpha < 1, "a number between 0 and 1"),
        ("draws", draws, isinstance(draws, int) and draws >= 100, "a whole number >= 100"),
    )
    problems = [f"{name} is {value}; allowed: {allowed}" for name, value, fine, allowed in checks if not fine]
    if problems:
        raise FitError("; ".join(problems))

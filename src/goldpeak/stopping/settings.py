"""What was asked for: checks that rules, budgets and stoppers share, and what of a posterior arguments go with."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr

from goldpeak.curves import card_of
from goldpeak.errors import FitError, is_number, is_whole, refusal
from goldpeak.mixture import components
from goldpeak.stopping.rules import RULES

__all__ = ["identity", "refuse", "refuse_rule", "usual_se", "wrong_limits"]


def wrong_limits(rules: Sequence[str], level: float, kl_max: float | None, drop: float | None = None) -> list[str]:
    """What is wrong with the limits of some rules: a sentence for each.

    Examples
    --------
    >>> wrong_limits(["regret"], level=2.0, kl_max=-1.0)[1]
    'kl_max is -1.0; allowed: a finite number of nats > 0'
    """
    problems = []
    if not (is_number(level) and 0 < level <= 1):
        problems.append(refusal("level", level, "a number above 0 and at most 1, e.g. 0.25"))
    elif level == 1 and {"chance", "drawdown"} & set(rules):
        problems.append("level is 1, which any KL keeps; allowed for chance and drawdown: a number below 1, e.g. 0.25")
    if kl_max is not None and not (is_number(kl_max) and kl_max > 0):
        problems.append(refusal("kl_max", kl_max, "a finite number of nats > 0"))
    if drop is not None and not (is_number(drop) and drop >= 0):
        problems.append(refusal("drop", drop, "a finite amount of gold >= 0"))
    return problems


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
    checks = (
        ("rm_params", rm_params, is_number(rm_params) and rm_params > 0, "one finite number > 0"),
        ("patience", patience, patience is None or is_whole(patience, 1), "a whole number >= 1"),
        ("baseline", baseline, baseline is None or is_number(baseline), "a finite number"),
        ("alpha", alpha, is_number(alpha) and 0 < alpha < 1, "a number between 0 and 1"),
        ("draws", draws, is_whole(draws, 100), "a whole number >= 100"),
    )
    problems = [refusal(name, value, allowed) for name, value, fine, allowed in checks if not fine]
    refuse_rule(rule, level, kl_max, drop, problems)


def refuse_rule(
    rule: str, level: float, kl_max: float | None = None, drop: float | None = None, others: Sequence[str] = ()
) -> None:
    """Raise `FitError` that names what of a rule is out of range, after `others`."""
    problems = [*others, *([] if rule in RULES else [refusal("rule", rule, ", ".join(RULES))])]
    problems += wrong_limits([rule], level, kl_max, drop)
    if problems:
        raise FitError("; ".join(problems))

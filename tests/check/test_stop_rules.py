"""Stopping rules without a posterior."""

from __future__ import annotations

import numpy as np
import pytest

from goldpeak.check.stop_rules import (
    StopRule,
    fixed_budget,
    hedge_tune,
    hindsight,
    patience,
    plug_in,
    smoothed_patience,
)

RULES = {
    "patience": patience(2),
    "means": smoothed_patience(),
    "budget": fixed_budget(5.0),
    "plug-in": plug_in("rl"),
    "hindsight": hindsight,
    "HedgeTune": hedge_tune,
}


@pytest.mark.parametrize("name", RULES)
def test_rules_are_functions_of_the_points_seen(name: str) -> None:
    """What comes later, and the order in which they are asked, changes nothing."""
    rule: StopRule = RULES[name]
    rng = np.random.default_rng(0)
    kl = np.linspace(0.3, 12.0, 15)
    gold = np.sqrt(kl) * (1.0 - 0.25 * np.sqrt(kl)) + 0.05 * rng.standard_normal(15)
    once = [rule(kl[:i], gold[:i]) for i in range(1, 16)]
    again = [rule(kl[:i].copy(), gold[:i].copy()) for i in reversed(range(1, 16))]
    assert once == again[::-1]
    assert all(0 <= answer.keep <= i for i, answer in enumerate(once))


def test_plug_in_finds_the_papers_peak() -> None:
    d = np.linspace(0.4, 6.0, 30)
    gold = d * (1.0 - 0.5 * np.log(d))
    stops = [plug_in("rl")(d[:i] ** 2, gold[:i]).stop for i in range(1, 31)]
    assert d[stops.index(True)] == d[np.searchsorted(d, np.exp(1.0 / 0.5 - 1.0))]

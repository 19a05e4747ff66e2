"""The model-free audit: its error probability over a whole run, and what it can see."""

from __future__ import annotations

import numpy as np
import pytest

from goldpeak.stopping.audit import Audit, DropAudit


def audited(gold: np.ndarray, se: np.ndarray, alpha: float) -> list[Audit]:
    audit = DropAudit(alpha)
    return [audit.update(float(i), float(g), float(s)) for i, (g, s) in enumerate(zip(gold, se, strict=True))]


def share_of_alarms(runs: int, checkpoints: int, truth: np.ndarray, alpha: float) -> float:
    rng = np.random.default_rng(0)
    found = 0
    for _ in range(runs):
        se = rng.uniform(0.05, 0.15, checkpoints)
        found += audited(truth + se * rng.standard_normal(checkpoints), se, alpha)[-1].fallen
    return found / runs


def test_gold_that_never_falls_raises_no_more_than_alpha() -> None:
    """Flat gold is the hardest case; looked at after every checkpoint, at an alpha where errors can be counted."""
    assert share_of_alarms(300, 40, np.zeros(40), 0.2) <= 0.2
    assert share_of_alarms(100, 40, np.linspace(0.0, 1.0, 40), 0.2) == 0.0


@pytest.mark.slow
def test_type_one_error_over_many_runs() -> None:
    share = share_of_alarms(1_500, 40, np.zeros(40), 0.05)
    assert share <= 0.05
    assert share > 0.0


def test_a_drop_is_seen_and_bounded() -> None:
    truth = np.r_[np.linspace(0.0, 1.0, 10), np.linspace(1.0, 0.0, 10)]
    rng = np.random.default_rng(1)
    seen = 0
    for _ in range(50):
        found = audited(truth + 0.05 * rng.standard_normal(20), np.full(20, 0.05), 0.05)
        last = found[-1]
        seen += last.fallen
        best = int(last.since_kl)
        assert last.drop < truth[best] - truth[best + 1 :].mean() + 1e-9
        assert not any(one.fallen for one in found[:10])
    assert seen == 50


def test_an_alarm_stays() -> None:
    gold = np.r_[0.0, 1.0, np.zeros(6), np.full(40, 1.2)]
    found = audited(gold, np.full(len(gold), 0.05), 0.05)
    assert found[7].fallen
    assert found[-1].fallen
    assert found[0] == Audit(False, -np.inf, pytest.approx(np.nan, nan_ok=True), 0.05, 1)

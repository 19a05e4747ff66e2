"""The divergence monitor: false alarms as stated, change points seen, hacking named."""

from __future__ import annotations

import monitor_rates as rates
import numpy as np
import pytest

from goldpeak.stopping.monitor import FALSE_ALARMS, FALSE_HACKING, THRESHOLD, Monitor, is_spike


def test_the_table_judges_as_the_monitor_does() -> None:
    values = rates.noises(40, seed=1)["Student t, 3 degrees of freedom"]
    by_monitor = [any(is_spike(run[: i + 1]) for i in range(len(run))) for run in values]
    np.testing.assert_array_equal(rates.largest(values) > THRESHOLD, by_monitor)
    assert 0 < sum(by_monitor) < len(by_monitor)


def test_false_alarms_are_as_stated() -> None:
    """Of each of two series half the stated rate, under the noise that it is stated for; fewer under normal noise."""
    noises = rates.noises(1_200, seed=2)
    share = {name: np.mean(rates.largest(values) > THRESHOLD) for name, values in noises.items()}
    error = np.sqrt(FALSE_ALARMS / 2 / 1_200)
    assert share["Student t, 5 degrees of freedom"] == pytest.approx(FALSE_ALARMS / 2, abs=4 * error)
    assert share["normal"] < FALSE_ALARMS / 2
    assert share["random walk"] < FALSE_ALARMS / 2


def test_lab_runs_are_quiet_and_a_jump_is_seen() -> None:
    alarms, runs = rates.lab_alarms()
    assert alarms <= 2 * FALSE_ALARMS * runs
    seen, _ = rates.lab_alarms(0.5)
    assert seen >= 0.9 * runs


def test_a_jump_of_the_proxy_per_nat_is_seen() -> None:
    rng = np.random.default_rng(0)
    d = 0.1 * np.arange(1, 31)
    proxy = d + 0.01 * rng.standard_normal(30)
    proxy[20:] += 2.0
    monitor = Monitor()
    found = [monitor.update(float(k), float(p), i + 1.0) for i, (k, p) in enumerate(zip(d**2, proxy, strict=True))]
    assert [i for i, one in enumerate(found) if one.proxy_spike] == [20]
    assert found[-1].kl_power == pytest.approx(2.0, abs=0.3)


def test_a_checkpoint_without_a_step_is_no_change_point() -> None:
    """As far from the last as checkpoints usually are, not one step: growth per step would be tenfold."""
    d = 0.1 * np.arange(1, 31)
    steps = [None if i == 25 else 10.0 * i for i in range(1, 31)]
    monitor = Monitor()
    found = [monitor.update(float(k), step=step) for k, step in zip(d**2, steps, strict=True)]
    assert not any(one.kl_spike for one in found)
    assert found[-1].kl_power == pytest.approx(2.0, abs=0.1)


def test_hacking_needs_a_rising_proxy_and_falling_gold() -> None:
    monitor = Monitor()
    found = [
        monitor.update(k, proxy, p_falling=p)
        for k, proxy, p in ((1, 1, 0.95), (2, 2, 0.95), (3, 3, 0.95), (4, 4, 0.85))
    ]
    assert [one.hacking for one in found] == [False, False, True, False]
    falling = Monitor()
    assert not [falling.update(k, -k, p_falling=0.95) for k in (1.0, 2.0, 3.0)][-1].hacking


def test_hacking_comes_before_the_peak_no_more_often_than_stated() -> None:
    """From KL alone, with a proxy that always rises, on runs of which the posterior is true."""
    runs = 60
    found = rates.drawn_hacking(runs, with_gold=False)
    early = np.mean(found <= 1.0)
    assert 0.0 < early < FALSE_HACKING + 2 * np.sqrt(FALSE_HACKING * (1 - FALSE_HACKING) / runs)
    assert np.mean(np.isfinite(found)) > 0.9


@pytest.mark.slow
def test_hacking_on_the_labs_runs() -> None:
    for with_gold in (False, True):
        found = rates.lab_hacking("lab", with_gold, draws=500)
        assert np.sum(found <= 1.0) <= 4, with_gold
        assert np.isfinite(found).all(), with_gold


def test_odd_numbers_do_no_harm() -> None:
    monitor = Monitor()
    rows = [(0.0, None, None), (0.0, np.nan, 0.0), (1.0, 1.0, 0.0), (1.0, 1.0, 5.0), (1.0, 1.0, 5.0)] * 5
    assert not any(monitor.update(kl, proxy, step).kl_spike for kl, proxy, step in rows)

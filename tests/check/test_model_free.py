"""Peaks without a model: their bootstrap is as wide as their error."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from noisy import shared_samples, with_covariance

from goldpeak.check.model_free import spline_peaks
from goldpeak.runs import read_runs
from goldpeak.subset import as_table


def hump(kl_peak=9.0, sigma=0.02, points=30, runs=60, seed=0, top=25.0):
    """Runs of gold = u (2 - u) with known independent noise."""
    rng = np.random.default_rng(seed)
    kl = np.geomspace(0.2, top, points)
    u = np.sqrt(kl / kl_peak)
    table = [
        pd.DataFrame(
            {
                "run": f"r{i}",
                "rm_params": 1e6 * 2**i,
                "kl": kl,
                "gold": u * (2 - u) + sigma * rng.standard_normal(points),
            }
        )
        for i in range(runs)
    ]
    return read_runs(pd.concat(table).assign(gold_se=sigma))


@pytest.mark.parametrize("known", [True, False])
def test_bootstrap_of_a_measured_peak_is_as_wide_as_its_error(known):
    runs = hump() if known else hump().drop_vars("gold_se")
    peaks = spline_peaks(runs).values()
    error = np.array([np.log(peak.kl_peak / 9.0) for peak in peaks])
    spread = np.array([np.std(np.log(peak.bootstrap)) for peak in peaks])
    assert abs(error.mean()) < 3 * error.std() / np.sqrt(len(error))
    assert 0.7 < np.sqrt(np.mean(spread**2)) / error.std() < 1.5
    covered = np.mean([np.quantile(p.bootstrap, 0.05) <= 9.0 <= np.quantile(p.bootstrap, 0.95) for p in peaks])
    assert covered >= 0.78


def test_correlated_noise_is_not_smoothed_away_nor_taken_for_signal():
    runs = hump()
    kl = runs["kl"].values[:30]
    d = np.sqrt(kl)
    cov = 0.05**2 * np.exp(-np.abs(d[:, None] - d) / 1.0)
    rng = np.random.default_rng(1)
    noise = (rng.standard_normal((60, 30)) @ np.linalg.cholesky(cov).T).ravel()
    u = np.sqrt(runs["kl"] / 9.0)
    runs = runs.assign(gold=u * (2 - u) + noise, gold_cov=(("point", "peer"), np.tile(cov, (60, 1))))
    peaks = spline_peaks(runs).values()
    covered = np.mean([np.quantile(p.bootstrap, 0.05) <= 9.0 <= np.quantile(p.bootstrap, 0.95) for p in peaks])
    assert covered >= 0.75


def test_points_in_any_order_have_the_same_peak_and_error():
    """Rows of gold_cov go with the points, its columns with their ranks in KL."""
    table = as_table(hump(points=10, runs=1)).drop(columns=["gold_se"])
    table.loc[0, ["kl", "gold"]] = 0.0
    runs = read_runs(table, baseline="none")
    runs = with_covariance(runs, [shared_samples(10)])
    mixed = runs.isel(point=np.random.default_rng(1).permutation(10))
    first, second = (spline_peaks(each)["r0"] for each in (runs, mixed))
    assert first.kl_peak == pytest.approx(second.kl_peak)
    np.testing.assert_allclose(first.bootstrap, second.bootstrap)


def test_a_run_that_rises_to_its_end_peaks_there_or_beyond():
    peaks = spline_peaks(hump(kl_peak=400.0, runs=3))
    assert all(peak.kl_peak == peak.highest == pytest.approx(25.0) and not peak.turned for peak in peaks.values())
    assert all(peak.regret(np.inf) == peak.regret(25.0) == 0.0 for peak in peaks.values())


def test_many_and_few_points():
    many = spline_peaks(hump(points=2000, runs=1))["r0"]
    assert many.kl_peak == pytest.approx(9.0, rel=0.1)
    few = spline_peaks(hump(points=3, runs=1))["r0"]
    assert np.isnan(few.kl_peak)
    assert np.isnan(few.regret(1.0))

"""Coverage of the peak's interval, a few cells of `peak_coverage` computed again."""

from __future__ import annotations

import functools

import numpy as np
import peak_coverage
import pytest

score = functools.cache(peak_coverage.score)


def coverage(name: str, column: str, key: str, sets: int) -> float:
    found = [score(name, column, seed) for seed in range(sets)]
    return float(np.mean([np.mean(each[key][0]) for each in found]))


def test_true_peaks_are_the_forms_own_and_infinite_beyond_the_range() -> None:
    runs, truth, beyond, new = peak_coverage.data_set(peak_coverage.WORLDS["as assumed"], 0)
    assert runs.sizes["run"] == len(truth) == 10
    assert beyond == pytest.approx(1e10)
    assert len(new) == peak_coverage.NEW
    curve = peak_coverage.rl(alpha=0.7, beta=0.3, slope=0.0)(0.0, np.zeros(2))
    assert peak_coverage.peak_of(curve) == pytest.approx(np.exp(2 * (0.7 / 0.3 - 1)), rel=0.01)
    _, none, _, _ = peak_coverage.data_set(peak_coverage.WORLDS["no peak: beta near 0"], 0)
    assert np.isinf(none).all()


@pytest.mark.slow
def test_the_peak_is_covered_where_the_model_is_right_and_not_where_it_is_wrong() -> None:
    """Of ten runs and 25 sets: a standard error of about .02; at ten times the largest size of five new runs each."""
    assert 0.83 <= coverage("as assumed", "paper", "fitted", 25) <= 0.97
    new_run, typical = (coverage("as assumed", "paper", include, 25) for include in ("new_run", "typical"))
    assert new_run >= 0.8
    # Only if their scatter is counted.
    assert typical < new_run - 0.08
    assert coverage("wrong form: two humps", "paper", "fitted", 10) < 0.6
    told, not_told = (
        coverage(f"best-of-n, correlation .9{words}", "paper", "fitted", 20) for words in ("", ", not told")
    )
    assert told >= 0.83
    assert not_told < told - 0.04

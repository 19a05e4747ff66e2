"""Folds: what is fitted and what is held out."""

from __future__ import annotations

import numpy as np
import pytest

import goldpeak
from goldpeak.check.folds import Fold, folds
from goldpeak.errors import FitError

RUNS = goldpeak.datasets.lab("rl")
FEW = goldpeak.select(RUNS, (RUNS["rm_params"] > 1000) & (RUNS["seed"] < 2))


@pytest.mark.parametrize("scheme", ["small_to_large", "leave_one_size_out", "leave_one_run_out"])
def test_no_run_is_fitted_and_held_out(scheme):
    for fold in folds(RUNS, scheme):
        assert fold.held_out
        assert not set(fold.fitted) & set(fold.held_out)
        small, large = fold.split(RUNS)
        assert sorted(small["run"].values) == sorted(fold.fitted)
        assert sorted(large["run"].values) == sorted(fold.held_out)
        if scheme == "small_to_large":
            assert small["rm_params"].max() < large["rm_params"].min()
        else:
            assert len(fold.fitted) + len(fold.held_out) == RUNS.sizes["run"]


def test_rolling_origin_can_hold_out_the_next_size_only():
    for fold in folds(RUNS, "small_to_large", least=4, ahead=1):
        small, large = fold.split(RUNS)
        sizes = np.unique(RUNS["rm_params"])
        assert len(np.unique(large["rm_params"])) == 1
        assert large["rm_params"].min() == sizes[len(np.unique(small["rm_params"]))]


def test_folds_say_what_is_wrong():
    with pytest.raises(FitError, match="scheme is 'k_fold'; allowed: small_to_large, leave_one_size_out, leave_one_r"):
        folds(RUNS, "k_fold")
    one = goldpeak.select(RUNS, RUNS["rm_params"] == RUNS["rm_params"].max())
    with pytest.raises(FitError, match="needs 3 sizes at least; the runs have 1"):
        folds(one, "small_to_large")
    with pytest.raises(FitError, match="needs 2 sizes at least; the runs have 1"):
        folds(one, "leave_one_run_out")
    with pytest.raises(FitError, match="least is 1"):
        folds(RUNS, "small_to_large", least=1)
    with pytest.raises(FitError, match="not there: nobody"):
        Fold("mine", ("nobody",), (str(RUNS["run"].values[0]),)).split(RUNS)

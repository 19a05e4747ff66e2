"""Parts of a set of run curves."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from goldpeak.errors import FitError
from goldpeak.runs import method_of, read_runs
from goldpeak.subset import select, split_by_size


@pytest.fixture(scope="module")
def runs() -> xr.Dataset:
    table = pd.DataFrame({"run": list("aaabbbccc"), "rm_params": np.repeat([1e6, 1e7, 1e8], 3)})
    return read_runs(table.assign(kl=[1.0, 4, 9] * 3, gold=[0.5, 0.75, 0.5] * 3))


def test_the_middle_size_counts_as_small(runs: xr.Dataset) -> None:
    small, large = split_by_size(runs)
    assert (small["run"].values.tolist(), large["run"].values.tolist()) == (["a", "b"], ["c"])


def test_of_one_size_the_larger_half_is_empty(runs: xr.Dataset) -> None:
    one, none = split_by_size(select(runs, [True, False, False]))
    assert (one.sizes["run"], none.sizes["run"], none.sizes["point"]) == (1, 0, 0)
    for ask in (split_by_size, method_of):
        with pytest.raises(FitError, match="there are no runs"):
            ask(none)


@pytest.mark.parametrize("keep", [["a"], [0, 2], [1, 1, 0], [True, False], []])
def test_what_is_no_mask_of_the_runs_is_refused(runs: xr.Dataset, keep: list[object]) -> None:
    with pytest.raises(FitError, match="allowed: True or False for each of 3 runs"):
        select(runs, keep)

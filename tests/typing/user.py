"""A user's program, for the type checker only: what the public API takes and returns is known to it."""

from __future__ import annotations

from pathlib import Path
from typing import assert_type

import pandas as pd
import xarray as xr
from matplotlib.figure import Figure

import goldpeak


def whole_way(path: Path) -> float:
    runs = assert_type(goldpeak.read_runs(path), xr.Dataset)
    small, large = goldpeak.split_by_size(runs)
    assert_type(large, xr.Dataset)
    card = assert_type(goldpeak.load_card("similar"), goldpeak.Card)
    post = assert_type(goldpeak.fit(small, card, seed=1, engine="exact"), xr.DataTree)
    goldpeak.save(post, path.with_suffix(".nc"))
    found = assert_type(goldpeak.peak(post, rm_params=[1e9], include="new_run"), goldpeak.Peak)
    assert_type(found.table, pd.DataFrame)
    assert_type(goldpeak.summary(post), goldpeak.Summary)
    assert_type(goldpeak.predict(post, kl=[1.0]), xr.Dataset)
    assert_type(goldpeak.plots.peak_vs_size(post), Figure)
    assert_type(goldpeak.datasets.lab("rl"), xr.Dataset)
    return found.prob

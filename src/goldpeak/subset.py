"""Parts of a set of run curves, and the way back to a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from goldpeak.errors import FitError
from goldpeak.names import COLUMNS, GOLD_COV, PEER, POINT, RUN, RUN_INDEX

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["as_table", "select", "split_by_size"]


def split_by_size(runs: xr.Dataset) -> tuple[xr.Dataset, xr.Dataset]:
    """The runs of the smaller half of the sizes, and those of the larger half (the middle one counts as small).

    Of runs that all have one size the second part is empty.

    Raises
    ------
    FitError
        If there are no runs.

    Examples
    --------
    >>> import pandas as pd
    >>> from goldpeak.runs import read_runs
    >>> table = pd.DataFrame({"run": list("aaabbb"), "rm_params": [1e6] * 3 + [1e7] * 3, "kl": [1.0, 4, 9] * 2})
    >>> small, large = split_by_size(read_runs(table.assign(gold=1.0)))
    >>> small["run"].values.tolist(), large["run"].values.tolist(), large["run_index"].values.tolist()
    (['a'], ['b'], [0, 0, 0])
    """
    sizes = np.unique(runs["rm_params"].values)
    if not sizes.size:
        raise FitError("there are no runs to split")
    small = runs["rm_params"].values <= sizes[(len(sizes) - 1) // 2]
    return select(runs, small), select(runs, ~small)


def select(runs: xr.Dataset, keep: ArrayLike) -> xr.Dataset:
    """Some of the runs, with their points.

    Parameters
    ----------
    runs : xarray.Dataset
        As returned by `read_runs`.
    keep : array_like of bool, shape (run,)

    Returns
    -------
    xarray.Dataset

    Raises
    ------
    FitError
        If `keep` is anything else, such as numbers or names of runs.

    Examples
    --------
    >>> from goldpeak.datasets import lab
    >>> runs = lab("rl")
    >>> select(runs, runs["rm_params"] < 50).sizes["run"]
    4
    """
    keep = np.asarray(keep)
    if keep.dtype != bool or keep.shape != (runs.sizes[RUN],):
        raise FitError(
            f"keep holds {keep.dtype} in shape {keep.shape}; allowed: True or False for each of {runs.sizes[RUN]} "
            "runs, e.g. runs['rm_params'] < 1e8"
        )
    index = runs[RUN_INDEX].values
    points = keep[index]
    new_index = (np.cumsum(keep) - 1)[index[points]]
    chosen = runs.isel({RUN: keep, POINT: points}).assign_coords({RUN_INDEX: (POINT, new_index)})
    if PEER in chosen.dims:
        return chosen.isel({PEER: slice(int(np.bincount(new_index, minlength=1).max()))})
    return chosen


def as_table(runs: xr.Dataset) -> pd.DataFrame:
    """Run curves as a table that `read_runs` takes: one row per point, gold recentred.

    Parameters
    ----------
    runs : xarray.Dataset
        As returned by `read_runs` or `read_samples`.

    Returns
    -------
    pandas.DataFrame
        The columns of ``goldpeak.names.COLUMNS`` that are there, ``baseline`` among them, and where there are
        covariances ``gold_cov_1``, ``gold_cov_2``, .... Reading it gives the same runs (the same `digest`); runs that
        kept a point at kl 0 (``baseline="none"``) must be read in the same way. ``attrs`` and variables of one's own
        are not in it.

    Examples
    --------
    >>> import pandas as pd
    >>> from goldpeak.runs import digest, read_runs
    >>> runs = read_runs(pd.DataFrame({"run": "a", "rm_params": 1e6, "kl": [0.0, 1, 4, 9], "gold": [3.0, 4, 5, 4]}))
    >>> as_table(runs)[["kl", "gold", "baseline"]].iloc[0].tolist()
    [1.0, 1.0, 3.0]
    >>> digest(read_runs(as_table(runs))) == digest(runs)
    True
    """
    import pandas as pd

    from goldpeak.covariances import block_columns

    index = runs[RUN_INDEX].values
    columns = {
        name: runs[name].values[index] if column.per == "run" else runs[name].values
        for name, column in COLUMNS.items()
        if name in runs.variables
    }
    pairs = block_columns(runs[GOLD_COV].values) if GOLD_COV in runs else {}
    return pd.DataFrame({**columns, **pairs})

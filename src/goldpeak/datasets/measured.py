"""The measured result of ``goldpeak lab`` with its default settings, and the peaks of its true gold curves.

The defaults were chosen among a few worlds and learning rates for a visible effect of reward-model size: an example of
over-optimisation, not evidence of how often it happens. The five smallest sizes rank held-out pairs about equally well,
so their peaks hardly differ.
"""

from __future__ import annotations

import functools
from typing import Literal

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from goldpeak.datasets._files import open_bundled
from goldpeak.names import GOLD_COV, POINT, RUN, RUN_INDEX, describe
from goldpeak.runs import read_runs

__all__ = ["lab", "lab_frame", "lab_prompts", "lab_rms", "measured_peaks"]

Method = Literal["rl", "bon"]

# Along a run: what tells its points apart.
_KEYS = {"rl": "step", "bon": "n"}
_EXACT = ("gold_exact", "gold_exact_se")
_NEIGHBOURS = 9
_GRID = 401


def lab_frame(method: Method) -> pd.DataFrame:
    """The bundled table of one method, as ``goldpeak lab`` wrote it.

    Parameters
    ----------
    method : {"rl", "bon"}

    Returns
    -------
    pandas.DataFrame
        One row a point: ``run``, ``rm``, ``method``, ``rm_params``, ``rm_data``, ``seed``, ``step`` (rl) or ``n``
        (bon), ``kl`` (nats), ``gold`` and ``gold_se`` and ``gold_exact`` (units of the initial policy's gold sd, its
        mean being 0), ``proxy`` (likewise in the proxy's), and for bon ``gold_exact_se``.

    Raises
    ------
    ValueError
        For another method.

    Examples
    --------
    >>> lab_frame("bon")["n"].max()
    np.int64(20000)
    """
    if method not in _KEYS:
        raise ValueError(f"method must be one of {list(_KEYS)}, got {method!r}")
    return pd.read_parquet(open_bundled(f"lab/{method}.parquet"))


def lab_prompts() -> pd.DataFrame:
    """Best-of-n curves of the single pools ("prompts") that the bundled best-of-n table averages over.

    Returns
    -------
    pandas.DataFrame
        ``run``, ``rm_params``, ``prompt`` (0..39), ``n``, ``gold`` (float32, not recentred).

    Examples
    --------
    >>> lab_prompts()["prompt"].nunique()
    40
    """
    return pd.read_parquet(open_bundled("lab/bon_prompts.parquet"))


def lab_rms() -> pd.DataFrame:
    """The bundled experiment's reward models.

    Returns
    -------
    pandas.DataFrame
        ``rm``, ``rm_params``, ``rm_data`` (comparisons), ``seed``, ``val_loss`` (nats) and ``val_accuracy`` on held-out
        comparisons, whose labels are themselves random.

    Examples
    --------
    >>> lab_rms()["rm_params"].nunique()
    10
    """
    return pd.read_csv(open_bundled("lab/rms.csv"))


def lab(method: Method) -> xr.Dataset:
    """The bundled runs of one method, with the true gold curve next to the sampled one.

    Parameters
    ----------
    method : {"rl", "bon"}

    Returns
    -------
    xarray.Dataset
        As `goldpeak.read_runs` returns it, plus along ``point``: ``gold_exact`` (rl: closed form; bon: the mean over
        160 fresh pools, recentred by its own value at n = 1) and for bon its standard error ``gold_exact_se``. For bon
        also ``gold_cov`` (dims ``point``, ``peer``), from the single pools of `lab_prompts`.

    Raises
    ------
    ValueError
        For another method.

    Examples
    --------
    >>> sorted(lab("bon").data_vars)[:3]
    ['baseline', 'gold', 'gold_cov']
    """
    frame = lab_frame(method)
    key = _KEYS[method]
    exact = frame.set_index(["run", key])[[c for c in _EXACT if c in frame]]
    if method == "bon":
        exact["gold_exact"] -= exact["gold_exact"].xs(1, level="n").reindex(exact.index, level="run")
    runs = read_runs(frame.drop(columns=list(exact.columns)))
    if method == "bon":
        runs = runs.drop_vars("gold_se").assign(_shared_errors())
    # read_runs drops the points it takes as baselines, so align by name and not by position.
    names = runs[RUN].values[runs[RUN_INDEX].values]
    aligned = exact.reindex(pd.MultiIndex.from_arrays([names, runs[key].values.astype(np.int64)]))
    return describe(runs.assign({name: (POINT, aligned[name].to_numpy()) for name in aligned}))


@functools.cache
def _shared_errors() -> dict[str, xr.DataArray]:
    """What the single pools say of the errors of best-of-n, which the points of a run share."""
    by_pool = read_runs(lab_prompts(), method="bon")
    return {str(name): by_pool[name].reset_coords(drop=True) for name in ("gold_se", GOLD_COV) if name in by_pool}


def measured_peaks(runs: xr.Dataset) -> pd.DataFrame:
    """Where the true gold curve of each run peaks, read off the curve without any model of it.

    ``gold_exact`` is smoothed over sqrt(kl) by local quadratics (tricube weights, the nine nearest points, and
    1/``gold_exact_se``^2 where known); the highest point of the smooth on a fine grid is refined by a parabola.

    Parameters
    ----------
    runs : xarray.Dataset
        With ``gold_exact`` along ``point``, as `lab` returns it; at least three points a run where it is finite.

    Returns
    -------
    pandas.DataFrame
        One row a run: ``run``, ``rm_params``, ``kl_peak`` (nats), ``gold_peak``, ``turned``. Where the curve is
        highest at its last point, it had not turned: ``kl_peak`` is inf, ``turned`` False and ``gold_peak`` the value
        reached. Near the largest n of best-of-n, ``gold_exact`` itself is noisy (``gold_exact_se`` up to 0.07), so a
        peak there, or its absence, is uncertain.

    Raises
    ------
    ValueError
        Where ``gold_exact`` is missing, or finite at fewer than three points of a run.

    Examples
    --------
    >>> peaks = measured_peaks(lab("rl"))
    >>> bool(peaks["turned"].all())
    True
    """
    if "gold_exact" not in runs:
        raise ValueError("these runs have no gold_exact; measured_peaks needs the true gold curve")
    rows = []
    for i, name in enumerate(runs[RUN].values):
        one = runs.isel({POINT: np.flatnonzero((runs[RUN_INDEX].values == i) & np.isfinite(runs["gold_exact"].values))})
        if one.sizes[POINT] < 3:
            found = f"{one.sizes[POINT]} points with a finite gold_exact"
            raise ValueError(f"run {name} has {found}; measured_peaks needs at least 3")
        se = one["gold_exact_se"].values if "gold_exact_se" in one else np.ones(one.sizes[POINT])
        d_peak, gold_peak, turned = _peak(np.sqrt(one["kl"].values), one["gold_exact"].values, se)
        kl_peak = d_peak**2 if turned else np.inf
        rows.append((str(name), float(runs["rm_params"].values[i]), kl_peak, gold_peak, turned))
    return pd.DataFrame(rows, columns=["run", "rm_params", "kl_peak", "gold_peak", "turned"])


def _peak(d: NDArray[np.float64], gold: NDArray[np.float64], se: NDArray[np.float64]) -> tuple[float, float, bool]:
    """Place (in d) and height of the smoothed curve's top, and whether it lies before the last point."""
    order = np.argsort(d)
    d, gold, se = d[order], gold[order], se[order]
    grid = np.linspace(d[0], d[-1], _GRID)
    smooth = np.array([_local_quadratic(at, d, gold, se) for at in grid])
    top = int(np.argmax(smooth))
    if top in (0, _GRID - 1):
        return float(grid[top]), float(smooth[top]), top == 0
    left, middle, right = smooth[top - 1 : top + 2]
    curvature = left - 2 * middle + right
    shift = 0.5 * (left - right) / curvature if curvature < 0 else 0.0
    return float(grid[top] + shift * (grid[1] - grid[0])), float(middle - 0.25 * (left - right) * shift), True


def _local_quadratic(at: float, d: NDArray[np.float64], gold: NDArray[np.float64], se: NDArray[np.float64]) -> float:
    distance = np.abs(d - at)
    # Of k + 1 neighbours the farthest has weight 0, so k enter; short runs use all their points.
    reach = np.sort(distance)[_NEIGHBOURS] if d.size > _NEIGHBOURS else 1.01 * distance.max()
    near = distance < reach
    weight = (1 - (distance[near] / reach) ** 3) ** 1.5 / se[near]
    columns = np.vander(d[near] - at, 3, increasing=True)
    return float(np.linalg.lstsq(columns * weight[:, None], gold[near] * weight, rcond=None)[0][0])

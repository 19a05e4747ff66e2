"""The numbers behind a picture of the peak against size: intervals of runs and of a grid of sizes; nothing is drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from goldpeak.curves import Include
from goldpeak.errors import FitError
from goldpeak.peaks import peak

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["KlAxis", "PeakView", "default_sizes", "kl_axis", "peak_view", "spread"]

GRID = 25
GAP = 1.35
"""Factor between the largest KL that means something and the arrows above it, and again to the edge of the axis."""


@dataclass(frozen=True)
class PeakView:
    """What `peak_vs_size` draws.

    Attributes
    ----------
    runs : pandas.DataFrame
        ``peak(post).table`` of the observed runs, and ``x``: where a run is drawn, its size or close beside it.
    sizes : pandas.DataFrame or None
        ``peak(post, rm_params).table``, by increasing size; None where the posterior saw a single size.
    measured : pandas.DataFrame or None
        rm_params and kl_peak as given, and ``x``.
    observed : tuple of float
        Smallest and largest size that was fitted.
    prob, kl_max : float
        Probability of the intervals; largest KL at which a peak was looked for.
    include : str
        What `sizes` includes.
    """

    runs: pd.DataFrame
    sizes: pd.DataFrame | None
    measured: pd.DataFrame | None
    observed: tuple[float, float]
    prob: float
    kl_max: float
    include: Include


@dataclass(frozen=True)
class KlAxis:
    """Ends of the KL axis, and the heights of the arrows for what lies beyond them.

    Attributes
    ----------
    bottom, low_arrow, high_arrow, top : float
        KL in nats, increasing.
    shows_limit : bool
        Whether an interval reaches ``kl_max``.
    """

    bottom: float
    low_arrow: float
    high_arrow: float
    top: float
    shows_limit: bool


def peak_view(
    post: xr.DataTree,
    rm_params: Sequence[float] | ArrayLike | None = None,
    *,
    include: Include = "new_run",
    prob: float = 0.9,
    kl_max: float | None = None,
    measured: pd.DataFrame | None = None,
) -> PeakView:
    """Compute what `peak_vs_size` draws; the parameters are the same.

    Raises
    ------
    FitError
        If an argument is out of range, `measured` lacks a column, or sizes are asked of a posterior that saw one size.

    Examples
    --------
    >>> import goldpeak
    >>> post = goldpeak.fit(goldpeak.datasets.lab("rl"), "rl_paper", engine="exact", draws=100)
    >>> view = peak_view(post)
    >>> bool(view.sizes["rm_params"].max() > 9.9 * view.observed[1])
    True
    """
    found = peak(post, kl_max=kl_max, prob=prob)
    fitted = found.table["rm_params"].to_numpy(dtype=float)
    grid = default_sizes(fitted) if rm_params is None else np.unique(np.asarray(rm_params, dtype=float))
    sizes = peak(post, grid, include=include, kl_max=kl_max, prob=prob).table if grid.size else None
    return PeakView(
        runs=found.table.assign(x=spread(fitted)),
        sizes=sizes,
        measured=None if measured is None else _checked(measured, found.table),
        observed=(float(fitted.min()), float(fitted.max())),
        prob=prob,
        kl_max=found.kl_max,
        include=include,
    )


def default_sizes(fitted: ArrayLike) -> NDArray[np.float64]:
    """A grid over the observed sizes and one power of ten beyond; empty if there is one size only.

    Examples
    --------
    >>> grid = default_sizes([1e6, 1e8, 1e8])
    >>> f"{grid[0]:g} {grid[-1]:g}"
    '1e+06 1e+09'
    >>> default_sizes([1e6, 1e6]).size
    0
    """
    sizes = np.unique(np.asarray(fitted, dtype=float))
    return np.geomspace(sizes[0], 10.0 * sizes[-1], GRID) if len(sizes) > 1 else np.empty(0)


def spread(rm_params: ArrayLike) -> NDArray[np.float64]:
    """Where to draw runs, so that those of one size stand side by side: within a third of the gap to the next size.

    Examples
    --------
    >>> spread([1.0, 100.0]).tolist()
    [1.0, 100.0]
    >>> bool(spread([1.0, 1.0, 100.0])[1] > 1.0)
    True
    """
    sizes = np.asarray(rm_params, dtype=float)
    distinct, which = np.unique(np.log10(sizes), return_inverse=True)
    widest = min(0.1, float(np.diff(distinct).min()) / 3.0 if len(distinct) > 1 else 0.1)
    shift = np.zeros(len(sizes))
    for i in range(len(distinct)):
        here = np.flatnonzero(which == i)
        width = min(0.012 * (len(here) - 1), widest)
        shift[here] = np.linspace(-width, width, len(here))
    return sizes * 10.0**shift


def kl_axis(view: PeakView) -> KlAxis:
    """Choose the KL axis: every median and measured peak is inside, intervals unless they dwarf everything else."""
    tables = [table for table in (view.runs, view.sizes) if table is not None]
    ends = np.concatenate([table[["lo", "median", "hi"]].to_numpy(dtype=float).ravel() for table in tables])
    centres = np.concatenate([table["median"].to_numpy(dtype=float) for table in tables])
    if view.measured is not None:
        known = view.measured["kl_peak"].to_numpy(dtype=float)
        ends, centres = np.append(ends, known), np.append(centres, known)
    inside = ends[(ends > 0) & np.isfinite(ends)]
    centres = centres[(centres > 0) & np.isfinite(centres)]
    highest = float(inside.max()) if inside.size else view.kl_max
    reaches = bool(np.isinf(ends).any() or highest > 0.8 * view.kl_max)
    highest = max(highest, view.kl_max) if reaches else highest
    lowest = float(inside.min()) if inside.size else highest / 10.0
    # One draw with a peak next to 0 must not squeeze all the rest into the top of the picture.
    lowest = max(lowest, (float(centres.min()) if centres.size else highest) / 30.0)
    return KlAxis(lowest / GAP**2, lowest / GAP, highest * GAP, highest * GAP**2, reaches)


def _checked(measured: pd.DataFrame, runs: pd.DataFrame) -> pd.DataFrame:
    missing = [name for name in ("rm_params", "kl_peak") if name not in measured]
    if missing:
        raise FitError(f"measured lacks the column {', '.join(missing)}; it has {', '.join(map(str, measured))}")
    given = measured.reset_index(drop=measured.index.name != "run")
    values = given[["rm_params", "kl_peak"]].to_numpy(dtype=float)
    if not ((values[:, 0] > 0) & (values[:, 0] < np.inf) & (values[:, 1] >= 0)).all():
        raise FitError("measured holds an rm_params that is no number > 0, or a kl_peak that is negative or missing")
    x = spread(values[:, 0])
    if "run" in given and runs.index.name == "run":
        # A run's measured peak belongs on the same line as its posterior interval.
        drawn = dict(zip(runs.index, spread(runs["rm_params"]), strict=True))
        x = np.array([drawn.get(run, own) for run, own in zip(given["run"], x, strict=True)])
    return given.assign(x=x)

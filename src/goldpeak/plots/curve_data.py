"""The numbers behind a picture of curves: bands, measured points and peaks; nothing is drawn here."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, cast

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from goldpeak.curves import AnyCurves, Include, new_curves, observed_curves
from goldpeak.errors import FitError
from goldpeak.names import RUN, RUN_INDEX
from goldpeak.peaks import peak, quantiles
from goldpeak.store import stored_runs
from goldpeak.wording import size as size_label

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["CurveView", "choice_note", "choose_runs", "curve_view", "gold_bands", "measured_points", "thinned"]

By = Literal["run", "rm_params"]
BAND_DRAWS = 1000
BAND_POINTS = 120
MOST_SIZES = 6
MOST_VALUES = 2_000_000
"""Gold values held at once while a band is computed: 16 MB."""


@dataclass(frozen=True)
class CurveView:
    """What `curves` draws.

    Attributes
    ----------
    by : str
        ``run`` or ``rm_params``: what an item is.
    bands : xarray.Dataset
        ``lo``, ``median``, ``hi`` of the gold curve (without measurement noise), dims (`by`, d); d in square-root nats.
    points : pandas.DataFrame
        The measured points of the drawn runs or sizes: run, rm_params, kl, d, gold, gold_se (NaN where not given).
    peaks : pandas.DataFrame
        The rows of ``peak(...).table`` that belong to the items of `bands`, in their order.
    labels : tuple of str
        One for each item.
    note : str
        What was left out, in words; empty if nothing was.
    prob, kl_max : float
        Probability of all intervals; largest KL at which a peak was looked for.
    """

    by: By
    bands: xr.Dataset
    points: pd.DataFrame
    peaks: pd.DataFrame
    labels: tuple[str, ...]
    note: str
    prob: float
    kl_max: float

    def points_of(self, item: int) -> pd.DataFrame:
        """Measured points that belong to one item of `bands`."""
        return cast("pd.DataFrame", self.points[self.points[self.by] == self.bands[self.by].values[item]])


def curve_view(
    post: xr.DataTree,
    *,
    by: By = "run",
    rm_params: Sequence[float] | ArrayLike | None = None,
    prob: float = 0.9,
    include: Include = "new_run",
    max_panels: int = 12,
) -> CurveView:
    """Compute what `curves` draws; the parameters are the same.

    Raises
    ------
    FitError
        If an argument is out of range, or no run has a size asked for.

    Examples
    --------
    >>> import goldpeak
    >>> post = goldpeak.fit(goldpeak.datasets.lab("rl"), "rl_paper", engine="exact", draws=100)
    >>> view = curve_view(post, by="run", max_panels=2)
    >>> view.bands["median"].dims, len(view.peaks)
    (('run', 'd'), 2)
    """
    if by not in ("run", "rm_params"):
        raise FitError(f"by is {by!r}; allowed: run, rm_params")
    if not (isinstance(max_panels, int | np.integer) and max_panels >= 1):
        raise FitError(f"max_panels is {max_panels!r}; allowed: a whole number >= 1")
    if by == "run":
        return _view_of_runs(post, rm_params, prob, max_panels)
    return _view_of_sizes(post, rm_params, prob, include)


def _view_of_runs(
    post: xr.DataTree, rm_params: Sequence[float] | ArrayLike | None, prob: float, max_panels: int
) -> CurveView:
    found = peak(post, prob=prob)
    sizes = found.table["rm_params"].to_numpy(dtype=float)
    usable = np.arange(len(sizes)) if rm_params is None else _of_sizes(sizes, np.atleast_1d(rm_params))
    chosen = usable[choose_runs(sizes[usable], max_panels)]
    curves = observed_curves(thinned(post))
    points = measured_points(post)
    names = curves.items[chosen]
    points = points[points["run"].isin(names)]
    return CurveView(
        by="run",
        bands=gold_bands(curves, _grid(post, points["d"].to_numpy()), prob, chosen),
        points=points,
        peaks=found.table.iloc[chosen],
        labels=tuple(f"{name} ({size_label(size)})" for name, size in zip(names, sizes[chosen], strict=True)),
        note=choice_note(len(chosen), len(usable)),
        prob=prob,
        kl_max=found.kl_max,
    )


def _view_of_sizes(
    post: xr.DataTree, rm_params: Sequence[float] | ArrayLike | None, prob: float, include: Include
) -> CurveView:
    points = measured_points(post)
    observed = np.unique(points["rm_params"])
    note = ""
    if rm_params is None and len(observed) == 1:
        view = _view_of_runs(post, None, prob, MOST_SIZES)
        return dataclasses.replace(view, note=", ".join(filter(None, ["one size only", view.note])))
    if rm_params is None:
        sizes = observed[_evenly(len(observed), MOST_SIZES)]
        if len(sizes) < len(observed):
            note = f"{len(sizes)} of {len(observed)} sizes, chosen evenly"
    else:
        sizes = np.unique(np.asarray(rm_params, dtype=float))
    found = peak(post, sizes, include=include, prob=prob)
    curves = new_curves(thinned(post), sizes, include=include)
    shown = points[points["rm_params"].isin(sizes)]
    # Sizes without a run are drawn as far as the other runs went.
    reach = shown if set(sizes) <= set(observed) else points
    return CurveView(
        by="rm_params",
        bands=gold_bands(curves, _grid(post, reach["d"].to_numpy()), prob),
        points=shown,
        peaks=found.table,
        labels=tuple(map(size_label, sizes)),
        note=note,
        prob=prob,
        kl_max=found.kl_max,
    )


def gold_bands(curves: AnyCurves, d: ArrayLike, prob: float, items: NDArray[np.int64] | None = None) -> xr.Dataset:
    """Median and equal-tailed interval of gold curves, pointwise in d.

    Parameters
    ----------
    curves : Curves
    d : array_like, shape (d,)
        Square root of KL.
    prob : float
    items : ndarray of int, optional
        Positions of the items that are wanted; all by default.

    Returns
    -------
    xarray.Dataset
        ``lo``, ``median``, ``hi``, dims (``curves.dim``, d).

    Notes
    -----
    A few values of d at a time, so that the draws of many runs never lie in memory for the whole grid.
    """
    d = np.asarray(d, dtype=float)
    items = np.arange(len(curves.items)) if items is None else items
    chain_draws = int(np.prod(curves.gold(d[:1]).shape[:2]))
    step = max(1, MOST_VALUES // (chain_draws * len(curves.items)))
    parts = []
    for start in range(0, len(d), step):
        gold = curves.gold(d[start : start + step])[:, :, items]
        parts.append(np.stack(quantiles(gold.reshape(-1, *gold.shape[2:]), prob)))
    lo, median, hi = np.concatenate(parts, axis=-1)
    dims = (curves.dim, "d")
    return xr.Dataset(
        {"lo": (dims, lo), "median": (dims, median), "hi": (dims, hi)}, coords={curves.dim: curves.items[items], "d": d}
    )


def thinned(post: xr.DataTree, most: int = BAND_DRAWS) -> xr.DataTree:
    """Every k-th draw of each chain, so that at most about `most` draws are left: enough for a band.

    Examples
    --------
    >>> import goldpeak
    >>> post = goldpeak.fit(goldpeak.datasets.lab("rl"), "rl_paper", engine="exact", draws=100)
    >>> few = thinned(post, most=40)
    >>> few["posterior"].sizes["chain"] * few["posterior"].sizes["draw"] <= 60
    True
    """
    posterior = post["posterior"].to_dataset()
    step = int(np.ceil(posterior.sizes["chain"] * posterior.sizes["draw"] / most))
    few = post.copy()
    few["posterior"] = xr.DataTree(posterior.isel(draw=slice(None, None, step)))
    return few


def measured_points(post: xr.DataTree) -> pd.DataFrame:
    """One row for each point that was fitted: run, rm_params, kl, d, gold, gold_se (NaN where not given)."""
    import pandas as pd

    runs = stored_runs(post)
    index = runs[RUN_INDEX].values
    kl = runs["kl"].values
    return pd.DataFrame(
        {
            "run": runs[RUN].values.astype(str)[index],
            "rm_params": runs["rm_params"].values[index],
            "kl": kl,
            "d": np.sqrt(kl),
            "gold": runs["gold"].values,
            "gold_se": runs["gold_se"].values if "gold_se" in runs else np.nan,
        }
    )


def choose_runs(rm_params: ArrayLike, most: int) -> NDArray[np.int64]:
    """Positions of at most `most` runs, as evenly spread over sizes as can be, ordered by size.

    One run of each size first, then a second of each, and so on; where not all sizes have room, evenly spaced ones.

    Examples
    --------
    >>> choose_runs([1, 1, 1, 10, 10, 100], most=4).tolist()
    [0, 3, 4, 5]
    >>> choose_runs([1, 2, 3, 4, 5], most=3).tolist()
    [0, 2, 4]
    """
    sizes = np.asarray(rm_params, dtype=float)
    order = np.argsort(sizes, kind="stable")
    first = np.searchsorted(sizes[order], sizes[order])
    rank = np.arange(len(order)) - first
    chosen: list[int] = []
    for turn in range(int(rank.max()) + 1):
        here = order[rank == turn]
        chosen += here[_evenly(len(here), most - len(chosen))].tolist()
    return np.array(sorted(chosen, key=lambda i: (sizes[i], i)), dtype=np.int64)


def choice_note(kept: int, total: int) -> str:
    """What a picture says of the runs that `choose_runs` kept; nothing if they are all.

    Examples
    --------
    >>> choice_note(10, 40)
    '10 of 40 runs, chosen evenly over sizes'
    """
    return "" if kept == total else f"{kept} of {total} runs, chosen evenly over sizes"


def _evenly(count: int, most: int) -> NDArray[np.int64]:
    """At most `most` of `count` positions, evenly spaced, both ends included where there is room."""
    if count <= most:
        return np.arange(count)
    if most == 1:
        return np.array([count // 2])
    return np.round(np.linspace(0, count - 1, max(most, 0))).astype(np.int64)


def _of_sizes(sizes: NDArray[np.float64], wanted: ArrayLike) -> NDArray[np.int64]:
    usable = np.flatnonzero(np.isin(sizes, wanted))
    if not usable.size:
        there = ", ".join(f"{size:g}" for size in np.unique(sizes))
        raise FitError(f"no run has rm_params {', '.join(map(str, np.asarray(wanted)))}; observed: {there}")
    return usable


def _grid(post: xr.DataTree, d: NDArray[np.float64]) -> NDArray[np.float64]:
    """From 0 to somewhat beyond the last point, but not beyond what the posterior was made for."""
    return np.linspace(0.0, min(1.15 * float(d.max()), np.sqrt(float(post.attrs["kl_max"]))), BAND_POINTS)

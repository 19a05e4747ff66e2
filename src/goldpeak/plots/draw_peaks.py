"""Picture: the KL at the peak against reward-model size, where it was observed and beyond."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from goldpeak.curves import Include
from goldpeak.plots.peak_data import KlAxis, PeakView, kl_axis, peak_view
from goldpeak.plots.scales import log_ticks, number_label
from goldpeak.plots.style import (
    COLOUR,
    Picture,
    d_on_right,
    figure_of,
    label_ticks,
    legend_below,
    n_across,
    shade_extrapolated,
    size_axis,
    style,
)
from goldpeak.runs import is_bon

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["peak_vs_size"]

WORDS = {
    "typical": "typical run at each size",
    "new_rm": "new reward model at each size",
    "new_run": "new run at each size",
}
FEW = 5
ARROWS = 8


def peak_vs_size(
    post: xr.DataTree,
    rm_params: Sequence[float] | ArrayLike | None = None,
    *,
    include: Include = "new_run",
    prob: float = 0.9,
    kl_max: float | None = None,
    measured: pd.DataFrame | None = None,
    ax: Axes | None = None,
) -> Figure:
    """Draw the KL at which gold reward peaks against reward-model size, both on log axes.

    Parameters
    ----------
    post : xarray.DataTree
        As returned by `fit`.
    rm_params : array_like, optional
        Sizes to predict for; by default a grid over the observed sizes and one power of ten beyond (nothing where a
        single size was observed). Fewer than five are drawn as bars instead of a band.
    include : {"typical", "new_rm", "new_run"}
        What a prediction at a size includes, see `peak`.
    prob : float
        Probability of the equal-tailed intervals.
    kl_max : float, optional
        Largest KL (nats) at which a peak counts; the posterior's own by default. Drawn where an interval reaches it.
    measured : pandas.DataFrame, optional
        Peaks to compare with: columns ``rm_params`` and ``kl_peak`` (nats; inf where the curve never turned) and, if
        they are of fitted runs, ``run``. As `goldpeak.datasets.measured_peaks` gives it.
    ax : matplotlib.axes.Axes, optional
        Draw here instead of into a new figure.

    Returns
    -------
    matplotlib.figure.Figure
        An end of an interval at infinity (no peak up to `kl_max`) is an arrow at the top edge. Runs of the same size
        stand side by side.

    Raises
    ------
    FitError
        If an argument is out of range, `measured` lacks a column, or sizes are asked of a posterior that saw one size.

    Notes
    -----
    KL is on a log scale, not on one of √KL as in the pictures of curves: what a larger reward model changes is a
    factor (a power law is a straight line here, and so is the trend of the default cards), and the interval of a peak
    is about as wide upwards as downwards as a factor. √KL is on the other side, to read a peak against the curves; of
    best-of-n it is n.

    Examples
    --------
    >>> import goldpeak
    >>> post = goldpeak.fit(goldpeak.datasets.lab("rl"), "rl_paper", engine="exact", draws=100)
    >>> figure = goldpeak.plots.peak_vs_size(post)
    >>> figure.axes[0].get_ylabel()
    'KL at the peak (nats)'
    """
    view = peak_view(post, rm_params, include=include, prob=prob, kl_max=kl_max, measured=measured)
    with style(ax):
        own = ax is None
        if ax is None:
            ax = Picture(figsize=(7.4, 5.2), layout="constrained").add_subplot()
        figure = figure_of(ax)
        handles = _draw(ax, view, kl_axis(view), is_bon(post))
        title = f"Median and {100 * prob:g} % equal-tailed interval; an arrow says that it goes on"
        legend_below(ax, own=own, ncols=2, handles=handles, title=title, alignment="left")
        return figure


def _draw(ax: Axes, view: PeakView, axis: KlAxis, bon: bool) -> list[Any]:
    """Draw everything; return the legend's entries."""
    sizes, runs = _all_sizes(view), view.runs["x"]
    ends = size_axis(ax, sizes, runs)
    ax.set(yscale="log", ylim=(axis.bottom, axis.top), ylabel="KL at the peak (nats)")
    top = min(axis.top, view.kl_max) if axis.shows_limit else axis.top
    label_ticks(ax.yaxis, log_ticks(axis.bottom, top), number_label)
    if bon:
        n_across(ax, "right", axis.bottom, top)
    else:
        d_on_right(ax, axis.bottom, top)
    for side in shade_extrapolated(ax, sizes, view.observed, runs, ends):
        _region_name(ax, *side, "extrapolated")
    _region_name(ax, runs.min(), runs.max(), "observed sizes" if runs.min() < runs.max() else "observed size")
    handles: list[Any] = []
    if view.sizes is not None:
        what = WORDS[view.include]
        if len(view.sizes) < FEW:
            x = view.sizes["rm_params"].to_numpy(dtype=float)
            _intervals(ax, x, view.sizes, axis, COLOUR["band"], "size", big=True)
            handles.append(_key(COLOUR["band"], "D", what))
        else:
            handles.append(_band(ax, view.sizes, axis, what))
    _intervals(ax, view.runs["x"].to_numpy(), view.runs, axis, COLOUR["peak"], "run", big=False)
    handles.append(_key(COLOUR["peak"], "o", "each fitted run"))
    if view.measured is not None:
        handles += _measured(ax, view.measured, axis)
    if axis.shows_limit:
        text = f"no peak looked for beyond KL {number_label(view.kl_max)}"
        handles.append(ax.axhline(view.kl_max, color=COLOUR["limit"], ls="--", lw=1.1, label=text, gid="kl_max"))
    return handles


def _all_sizes(view: PeakView) -> Any:
    tables = [table for table in (view.runs, view.sizes, view.measured) if table is not None]
    return np.concatenate([table["rm_params"].to_numpy(dtype=float) for table in tables])


def _region_name(ax: Axes, start: float, end: float, text: str) -> None:
    middle = float(np.sqrt(start * end))
    ax.text(
        middle,
        0.015,
        text,
        transform=ax.get_xaxis_transform(),
        ha="center",
        va="bottom",
        color=COLOUR["words"],
        style="italic",
    )


def _band(ax: Axes, table: pd.DataFrame, axis: KlAxis, label: str) -> Any:
    """Band and median over a grid of sizes; where the upper end is infinite the band goes to the edge, with arrows."""
    x = table["rm_params"].to_numpy(dtype=float)
    lo, median, hi = (table[name].to_numpy(dtype=float) for name in ("lo", "median", "hi"))
    line: dict[str, Any] = {"color": COLOUR["band"], "lw": 1.8, "gid": "median"}
    ax.fill_between(
        x,
        np.clip(lo, axis.bottom, axis.top),
        np.minimum(hi, axis.top),
        color=COLOUR["band"],
        alpha=0.22,
        lw=0,
        gid="band",
    )
    (drawn,) = ax.plot(x, np.where(np.isfinite(median), median, np.nan), label=label, **line)
    endless = np.flatnonzero(np.isinf(hi))
    shown = endless[:: max(1, len(x) // ARROWS)]
    ax.plot(
        x[shown],
        np.full(len(shown), axis.high_arrow),
        ls="",
        marker="^",
        ms=7,
        color=COLOUR["band"],
        mew=0,
        gid="endless",
    )
    return drawn


def _intervals(ax: Axes, x: Any, table: pd.DataFrame, axis: KlAxis, colour: str, gid: str, *, big: bool) -> None:
    """Bars from lower to upper end; arrows where an end lies beyond the axis; a dot at a median inside it."""
    lo, median, hi = (table[name].to_numpy(dtype=float) for name in ("lo", "median", "hi"))
    crowd = len(table) > 60
    alpha = 0.55 if crowd else 0.9
    bottom, top = np.clip(lo, axis.low_arrow, axis.high_arrow / 1.12), np.clip(hi, axis.low_arrow, axis.high_arrow)
    ax.vlines(x, bottom, top, color=colour, alpha=alpha, lw=2.2 if big else (0.7 if crowd else 1.2), gid=f"{gid}:bars")
    inside = (median >= axis.low_arrow) & (median <= axis.high_arrow)
    size = 7.0 if big else (2.5 if crowd else 4.0)
    points: dict[str, Any] = {"ls": "", "color": colour, "alpha": alpha, "mew": 0}
    ax.plot(x[inside], median[inside], marker="D" if big else "o", ms=size, gid=f"{gid}:medians", **points)
    for beyond, height, marker in (
        (hi > axis.high_arrow, axis.high_arrow, "^"),
        (lo < axis.low_arrow, axis.low_arrow, "v"),
    ):
        heights = np.full(int(beyond.sum()), height)
        ax.plot(x[beyond], heights, marker=marker, ms=size + 1.5, gid=f"{gid}:{marker}", **points)


def _measured(ax: Axes, measured: pd.DataFrame, axis: KlAxis) -> list[Any]:
    x, kl = measured["x"].to_numpy(dtype=float), measured["kl_peak"].to_numpy(dtype=float)
    finite = np.isfinite(kl)
    look: dict[str, Any] = {"ls": "", "color": COLOUR["measured"], "zorder": 4}
    inside = np.maximum(kl[finite], axis.low_arrow)
    handles = ax.plot(x[finite], inside, marker="x", ms=4.5, mew=1.1, label="measured peak", gid="measured", **look)
    if not finite.all():
        heights = np.full(int((~finite).sum()), axis.high_arrow)
        text = "measured: had not turned"
        handles += ax.plot(x[~finite], heights, marker="^", ms=8, mfc="none", label=text, gid="not turned", **look)
    return handles


def _key(colour: str, marker: str, label: str) -> Any:
    from matplotlib.lines import Line2D

    return Line2D([], [], color=colour, marker=marker, ms=4.5, lw=1.4, label=label)

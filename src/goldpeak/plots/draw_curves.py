"""Picture: measured gold against the square root of KL, with posterior bands and where the peak lies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from goldpeak.curves import Include
from goldpeak.errors import FitError
from goldpeak.plots.curve_data import By, CurveView, curve_view
from goldpeak.plots.scales import number_label, peak_text, short
from goldpeak.plots.style import (
    BELOW,
    COLOUR,
    D_LABEL,
    Picture,
    figure_of,
    kl_on_top,
    legend_below,
    size_colours,
    style,
)
from goldpeak.runs import is_bon

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["curves"]

GOLD_LABEL = "gold reward (initial policy = 0)"
MARK_STEP = 0.045
"""Height of one peak mark, as a share of the axes."""
LONGEST = 30
"""Characters of a panel's title."""
WORDS = {
    "observed": "Gold curves of the observed runs",
    "typical": "Gold curve of a typical run, by reward-model parameters",
    "new_rm": "Gold curve of a new reward model's typical run, by reward-model parameters",
    "new_run": "Gold curve of a new run, by reward-model parameters",
}


def curves(
    post: xr.DataTree,
    *,
    by: By = "run",
    rm_params: Sequence[float] | ArrayLike | None = None,
    prob: float = 0.9,
    include: Include = "new_run",
    max_panels: int = 12,
    ax: Axes | None = None,
) -> Figure:
    """Draw measured points and posterior bands of the gold curve against the square root of KL.

    Parameters
    ----------
    post : xarray.DataTree
        As returned by `fit`.
    by : {"run", "rm_params"}
        A panel for each observed run, or one panel with a band for each reward-model size.
    rm_params : array_like, optional
        Sizes: with ``by="run"`` only runs of these sizes, with ``by="rm_params"`` a band for each of these (observed or
        not); by default all runs, or up to six of the observed sizes.
    prob : float
        Probability of the equal-tailed intervals.
    include : {"typical", "new_rm", "new_run"}
        What a band for a size includes, see `peak`.
    max_panels : int
        With more runs than this, as many are drawn, spread evenly over sizes; the title says so.
    ax : matplotlib.axes.Axes, optional
        Draw here instead of into a new figure; one panel only.

    Returns
    -------
    matplotlib.figure.Figure
        A stripe, and a bar at the bottom of a panel, mark the peak: its interval and median; an arrow at the bar's end
        says that it goes on beyond the axis.

    Raises
    ------
    FitError
        If an argument is out of range, no run has a size asked for, or `ax` is given for several panels.

    Notes
    -----
    Bands are pointwise and of the true curve: measured points scatter about it by their noise. They use at most 1,000
    draws; the peak's interval uses all.

    Examples
    --------
    >>> import goldpeak
    >>> post = goldpeak.fit(goldpeak.datasets.lab("rl"), "rl_paper", engine="exact", draws=100)
    >>> figure = goldpeak.plots.curves(post, by="rm_params")
    >>> figure.axes[0].get_xlabel()
    '√KL (square-root nats)'
    """
    view = curve_view(post, by=by, rm_params=rm_params, prob=prob, include=include, max_panels=max_panels)
    if by == "run" and ax is not None and len(view.labels) > 1:
        raise FitError(f"ax takes one panel, and there are {len(view.labels)} runs; set max_panels=1 or leave ax out")
    with style(ax):
        if by == "rm_params":
            return _draw_together(view, WORDS[include if view.by == "rm_params" else "observed"], ax, is_bon(post))
        return _draw_panels(view, ax, is_bon(post))


def _draw_panels(view: CurveView, ax: Axes | None, bon: bool) -> Figure:
    figure, panels, columns = _panels(len(view.labels), ax, bon)
    limits = _gold_limits(view, marks=1)
    few, right = len(panels) == 1, float(view.bands["d"].values[-1])
    for i, panel in enumerate(panels):
        row = view.peaks.iloc[i]
        _band(panel, view, i, COLOUR["band"])
        _points(panel, view.points_of(i), COLOUR["point"])
        panel.set_ylim(*limits)
        kl_on_top(panel, right, 12 if few else 7, labelled=i < columns, bon=bon)
        _mark(panel, row, COLOUR["peak"], at=0.05, name=view.labels[i], right=right)
        _stripe(panel, row, COLOUR["peak"], right)
        panel.set_title(f"{short(view.labels[i], LONGEST)}\n{_peak_text(row, view)}")
    if ax is None:
        figure.supylabel(GOLD_LABEL, fontsize=10)
        if view.note:
            figure.suptitle(view.note, x=0.01, ha="left", fontsize=10)
        figure.legend(handles=_legend(view, COLOUR["band"], COLOUR["peak"]), loc="outside lower center", ncols=1)
    else:
        panel.set(xlabel=D_LABEL, ylabel=GOLD_LABEL)
        panel.legend(handles=_legend(view, COLOUR["band"], COLOUR["peak"]), **BELOW)
    return figure


def _draw_together(view: CurveView, title: str, ax: Axes | None, bon: bool) -> Figure:
    own = ax is None
    if ax is None:
        ax = Picture(figsize=(7.4, 5.6), layout="constrained").add_subplot()
    figure, right = figure_of(ax), float(view.bands["d"].values[-1])
    cmap, norm = size_colours(view.peaks["rm_params"])
    count = len(view.labels)
    # Runs of a single size would all have one colour.
    shades = norm(view.peaks["rm_params"].to_numpy()) if view.by == "rm_params" else np.linspace(0.0, 1.0, count)
    handles = []
    for i, (label, (_, row)) in enumerate(zip(view.labels, view.peaks.iterrows(), strict=True)):
        colour = cmap(float(shades[i]))
        line = _band(ax, view, i, colour, alpha=0.22)
        _points(ax, view.points_of(i), colour)
        _mark(ax, row, colour, MARK_STEP * (count - i - 0.3), label, right)
        line.set_label(f"{label}: {_peak_text(row, view)}")
        handles.append(line)
    ax.set_ylim(*_gold_limits(view, marks=count))
    kl_on_top(ax, right, bon=bon)
    ax.set(xlabel=D_LABEL, ylabel=GOLD_LABEL)
    handles += _legend(view, COLOUR["words"], COLOUR["words"])
    ax.set_title(f"{title} ({view.note})" if view.note else title)
    legend_below(ax, own=own, ncols=1 if count < 3 else 2, handles=handles)
    return figure


def _panels(count: int, ax: Axes | None, bon: bool) -> tuple[Figure, list[Axes], int]:
    if ax is not None:
        return figure_of(ax), [ax], 1
    columns = min(4, int(np.ceil(np.sqrt(count))))
    rows = int(np.ceil(count / columns))
    size = (6.6, 5.0) if count == 1 else (max(2.7 * columns, 6.0), (2.7 if bon else 2.5) * rows + 1.2)
    figure = Picture(figsize=size, layout="constrained")
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    panels = list(grid.ravel())
    for empty in panels[count:]:
        empty.remove()
    for above in panels[max(count - columns, 0) : count]:
        above.tick_params(labelbottom=True)
        above.set_xlabel(D_LABEL)
    return figure, panels[:count], columns


def _peak_text(row: pd.Series, view: CurveView) -> str:
    return peak_text(row["lo"], row["median"], row["hi"], view.kl_max)


def _band(ax: Axes, view: CurveView, item: int, colour: Any, alpha: float = 0.25) -> Any:
    band = view.bands.isel({view.by: item})
    d = band["d"].values
    ax.fill_between(d, band["lo"].values, band["hi"].values, color=colour, alpha=alpha, lw=0, gid="band")
    (line,) = ax.plot(d, band["median"].values, color=colour, lw=1.6, gid="median")
    return line


def _points(ax: Axes, points: pd.DataFrame, colour: Any) -> None:
    """Points with one standard error; many points are smaller and paler, so that the band stays visible."""
    if points.empty:
        return
    crowd = len(points) > 60
    se = points["gold_se"].to_numpy()
    ax.errorbar(
        points["d"].to_numpy(),
        points["gold"].to_numpy(),
        yerr=se if np.isfinite(se).any() else None,
        fmt="o",
        ms=1.8 if crowd else 3.0,
        mew=0,
        elinewidth=0.7,
        color=colour,
        alpha=0.45 if crowd else 0.8,
        gid="points",
    )


def _mark(ax: Axes, row: pd.Series, colour: Any, at: float, name: str, right: float) -> None:
    """A bar over the interval at height `at` (share of the axes), a dot at its median, an arrow if it goes on."""
    low, median, high = (float(np.sqrt(row[key])) for key in ("lo", "median", "hi"))
    beyond = high > right
    end = 0.985 * right if beyond else high
    line: dict[str, Any] = {"transform": ax.get_xaxis_transform(), "color": colour}
    # An interval that starts beyond the axis still needs a stub for its arrow.
    start = min(low, 0.94 * end) if beyond else low
    ax.plot([start, end], [at, at], lw=2.5, solid_capstyle="butt", gid=f"peak:{name}", **line)
    if beyond:
        ax.plot([end], [at], marker=">", ms=7, mew=0, gid=f"beyond:{name}", **line)
    if median <= right:
        ax.plot([median], [at], marker="o", ms=5.5, mec="white", mew=0.8, gid=f"median:{name}", **line)


def _stripe(ax: Axes, row: pd.Series, colour: Any, right: float) -> None:
    """The peak's interval over the whole height: the mark below is wider than a narrow one."""
    low, high = (float(np.sqrt(row[key])) for key in ("lo", "hi"))
    if low < right:
        ax.axvspan(low, min(high, right), color=colour, alpha=0.16, lw=0, zorder=0.5, gid="stripe")


def _gold_limits(view: CurveView, marks: int) -> tuple[float, float]:
    """Limits of the gold axis: all points and medians, the bands as far as they stay near, room for the marks below."""
    se = view.points["gold_se"].fillna(0.0)
    known: NDArray[np.float64] = np.concatenate(
        [view.points["gold"] - se, view.points["gold"] + se, view.bands["median"].values.ravel(), [0.0]]
    )
    low, high = float(known.min()), float(known.max())
    span = (high - low) or 1.0
    low = max(float(view.bands["lo"].min()), low - 0.25 * span) if view.bands["lo"].min() < low else low
    high = min(max(float(view.bands["hi"].max()), high), high + 0.25 * span)
    span = high - low
    room = min(MARK_STEP * (marks + 0.6), 0.5)
    return low - span * room / (1.0 - room), high + 0.04 * span


def _legend(view: CurveView, band: Any, mark: Any) -> list[Any]:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    percent = f"{100 * view.prob:g} %"
    bars = " (bar: one standard error)" if view.points["gold_se"].notna().any() else ""
    handles: list[Any] = [
        Patch(color=band, alpha=0.3, lw=0, label=f"gold curve: median, {percent} equal-tailed interval")
    ]
    if len(view.points):
        handles.insert(0, Line2D([], [], ls="", marker="o", ms=3, color=COLOUR["point"], label=f"measured{bars}"))
    text = f"peak: median, {percent} equal-tailed interval"
    if np.isinf(view.peaks[["lo", "median", "hi"]].to_numpy()).any():
        text += f" (∞: none up to KL {number_label(view.kl_max)})"
    return [*handles, Line2D([], [], marker="o", ms=4, lw=2.5, color=mark, label=text)]

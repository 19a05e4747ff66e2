"""Picture: proxy and gold reward of the same runs, and the gap that opens between them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from goldpeak.errors import FitError
from goldpeak.names import RUN, RUN_INDEX
from goldpeak.plots.curve_data import choice_note, choose_runs
from goldpeak.plots.style import (
    COLOUR,
    D_LABEL,
    Picture,
    figure_of,
    kl_on_top,
    legend_below,
    size_bar,
    size_colours,
    style,
)
from goldpeak.runs import is_bon
from goldpeak.store import stored_runs

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["gap", "gap_view"]

REWARD_LABEL = "reward (start of each run = 0)"
GAP_LABEL = "proxy − gold"


def gap(data: xr.Dataset | xr.DataTree, *, max_runs: int = 40, ax: Axes | None = None) -> Figure:
    """Draw proxy and gold reward against √KL, and below them the gap, coloured by reward-model size.

    Parameters
    ----------
    data : xarray.Dataset or xarray.DataTree
        Run curves with ``proxy``, or a posterior of such.
    max_runs : int
        With more runs than this, as many are drawn, spread evenly over sizes; the title says so.
    ax : matplotlib.axes.Axes, optional
        Draw proxy and gold here, without the panel of the gap, instead of into a new figure.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    FitError
        If no run has a proxy reward, or `ax` belongs to no figure.

    Notes
    -----
    Both rewards count from a run's point of least KL, each in its own unit. What the gap is worth depends on their
    being comparable: a proxy is known up to a shift and, unless it was calibrated, a scale.

    Examples
    --------
    >>> import goldpeak
    >>> figure = goldpeak.plots.gap(goldpeak.datasets.lab("rl"))
    >>> [axes.get_ylabel() for axes in figure.axes[:2]]
    ['reward (start of each run = 0)', 'proxy − gold']
    """
    view, note = gap_view(data, max_runs=max_runs)
    with style(ax):
        own = ax is None
        figure: Figure
        if ax is None:
            figure = Picture(figsize=(7.2, 6.4), layout="constrained")
            above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
        else:
            figure, above, below = figure_of(ax), ax, None
        colours = size_colours(view["rm_params"])
        for name, run in view.groupby("run", sort=False):
            _draw_run(above, below, str(name), run, colours)
        d_max = 1.03 * float(view["d"].max())
        kl_on_top(above, d_max, bon=is_bon(data))
        above.set_ylabel(REWARD_LABEL)
        above.set_title(note)
        lowest = above
        if below is not None:
            below.axhline(0.0, color=COLOUR["limit"], lw=0.8)
            below.set_ylabel(GAP_LABEL)
            lowest = below
        lowest.set_xlabel(D_LABEL)
        size_bar(above if below is None else [above, below], view["rm_params"])
        legend_below(above, own=own, ncols=2, handles=_legend(view, colours))
    return figure


def gap_view(data: xr.Dataset | xr.DataTree, *, max_runs: int = 40) -> tuple[pd.DataFrame, str]:
    """What `gap` draws: run, rm_params, d, proxy, gold and gap by run and ascending d; and what was left out, in words.

    Raises
    ------
    FitError
        If no run has a proxy reward.
    """
    import pandas as pd

    runs = stored_runs(data) if isinstance(data, xr.DataTree) else data
    if "proxy" not in runs:
        raise FitError("these runs have no proxy reward: give read_runs a column 'proxy'")
    index = runs[RUN_INDEX].values
    table = pd.DataFrame(
        {
            "run": runs[RUN].values.astype(str)[index],
            "rm_params": runs["rm_params"].values[index],
            "d": np.sqrt(runs["kl"].values),
            "proxy": runs["proxy"].values,
            "gold": runs["gold"].values,
        }
    ).dropna()
    if table.empty:
        raise FitError("these runs have no proxy reward: the column 'proxy' is empty")
    first = table.drop_duplicates("run")
    kept = first["run"].to_numpy()[choose_runs(first["rm_params"], max_runs)]
    note = choice_note(len(kept), len(first))
    table = table[table["run"].isin(kept)].sort_values(["rm_params", "run", "d"], ignore_index=True)
    start = table.groupby("run")[["proxy", "gold"]].transform("first")
    table[["proxy", "gold"]] -= start
    return table.assign(gap=table["proxy"] - table["gold"]), note


def _draw_run(above: Axes, below: Axes | None, name: str, run: pd.DataFrame, colours: tuple[Any, Any]) -> None:
    cmap, norm = colours
    line: dict[str, Any] = {"color": cmap(float(norm(run["rm_params"].iloc[0]))), "lw": 1.2, "alpha": 0.85}
    d = run["d"].to_numpy()
    above.plot(d, run["proxy"], ls=(0, (4, 2)), gid=f"proxy:{name}", **line)
    above.plot(d, run["gold"], ls="-", gid=f"gold:{name}", **line)
    if below is not None:
        below.plot(d, run["gap"], gid=f"gap:{name}", **line)
    else:
        above.fill_between(d, run["gold"], run["proxy"], color=line["color"], alpha=0.05, lw=0, gid=f"gap:{name}")


def _legend(view: pd.DataFrame, colours: tuple[Any, Any]) -> list[Any]:
    from matplotlib.lines import Line2D

    one = view["rm_params"].nunique() == 1
    cmap, norm = colours
    colour = cmap(float(norm(view["rm_params"].iloc[0]))) if one else COLOUR["point"]
    return [
        Line2D([], [], color=colour, ls=(0, (4, 2)), label="proxy reward: what is optimised"),
        Line2D([], [], color=colour, label="gold reward: what is wanted"),
    ]

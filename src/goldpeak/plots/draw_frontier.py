"""Picture: the most gold to be had for each cost, and with which reward-model size."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from goldpeak.plots.scales import number_label
from goldpeak.plots.style import COLOUR, Picture, figure_of, legend_below, size_colours, style
from goldpeak.stopping.planning import Allocation
from goldpeak.wording import size as size_label

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["frontier"]


def frontier(found: Allocation, *, ax: Axes | None = None) -> Figure:
    """Draw the efficient frontier of an allocation: gold against cost, coloured by the size that attains it.

    Parameters
    ----------
    found : Allocation
        As returned by `goldpeak.allocate`.
    ax : matplotlib.axes.Axes, optional
        Draw here instead of into a new figure.

    Returns
    -------
    matplotlib.figure.Figure
        The frontier with the interval of gold on it; a dot for each affordable size at its best within the budget, the
        best one ringed.

    Examples
    --------
    >>> import goldpeak
    >>> post = goldpeak.fit(goldpeak.datasets.lab("rl"), "rl_paper", draws=100)
    >>> cost = goldpeak.CostModel(rm_tokens=1e6, policy_params=1e4, response_tokens=1, samples=1e4, kl_per_step=0.02)
    >>> found = goldpeak.allocate(post, [1e2, 1e3, 1e4], cost, budget=5e11)
    >>> goldpeak.plots.frontier(found).axes[0].get_xscale()
    'log'
    """
    with style(ax):
        own = ax is None
        if ax is None:
            ax = Picture(figsize=(7.0, 4.8), layout="constrained").add_subplot()
        figure = figure_of(ax)
        legend_below(ax, own=own, ncols=2, handles=_draw(ax, found))
        return figure


def _draw(ax: Axes, found: Allocation) -> list[Any]:
    """Draw everything; return the legend's entries."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    cmap, norm = size_colours(found.table["rm_params"])
    colour_of = {size: cmap(float(norm(size))) for size in found.table["rm_params"]}
    _line(ax, found, colour_of)
    _sizes(ax, found, colour_of)
    ax.axvline(found.budget, color=COLOUR["limit"], ls="--", lw=1.1, gid="budget")
    mean = "mean gold" if found.level == 1 else f"mean gold, worst {100 * found.level:g} %"
    ax.set_ylabel(f"{mean} (initial policy = 0)")
    (p_best,) = found.table.loc[found.table["rm_params"] == found.rm_params, "p_best"]
    ax.set_title(
        f"best for {found.budget:.3g}: {size_label(found.rm_params)} parameters, KL {number_label(found.kl)} "
        f"(most gold with probability {p_best:.2f})"
    )
    return [
        *(
            Line2D([], [], color=colour, lw=2.2, marker="o", ms=5, label=f"{size_label(size)} parameters")
            for size, colour in colour_of.items()
        ),
        Patch(color="0.5", alpha=0.25, lw=0, label=f"gold: {100 * found.prob:g} % equal-tailed interval"),
        Line2D([], [], color=COLOUR["limit"], ls="--", lw=1.1, label="budget"),
    ]


def _line(ax: Axes, found: Allocation, colour_of: dict[float, Any]) -> None:
    """The frontier, in the colour of the size that attains it."""
    line = found.frontier
    cost, size = line["cost"].to_numpy(), line["rm_params"].to_numpy()
    edges = [0, *(np.flatnonzero(np.diff(size)) + 1), len(size)]
    for start, end in pairwise(edges):
        # One point further, so that the line has no gaps.
        part, colour = line.iloc[start : end + 1], colour_of[size[start]]
        ax.fill_between(part["cost"], part["gold_lo"], part["gold_hi"], color=colour, alpha=0.18, lw=0, gid="band")
        ax.plot(part["cost"], part["worth"], color=colour, lw=2.2, gid=f"frontier:{size[start]:g}")
    ax.set(xscale="log", xlim=(cost[0], cost[-1]), xlabel="cost of reward model and run (FLOPs × price)")


def _sizes(ax: Axes, found: Allocation, colour_of: dict[float, Any]) -> None:
    """A dot for each affordable size, and a ring around the best."""
    dot: dict[str, Any] = {"ls": "", "marker": "o", "clip_on": False}
    for _, row in found.table[found.table["kl"].notna()].iterrows():
        at, size = ([row["cost"]], [row["worth"]]), row["rm_params"]
        ax.plot(*at, **dot, ms=6, mec=COLOUR["ground"], color=colour_of[size], gid="size", zorder=3)
        if size == found.rm_params:
            ax.plot(*at, **dot, ms=11, mfc="none", mec=COLOUR["measured"], mew=1.2, gid="best", zorder=4)

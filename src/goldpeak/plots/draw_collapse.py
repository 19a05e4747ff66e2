"""Picture: curves of all sizes, each stretched to its peak, on the shape they share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from goldpeak.collapsing import Collapse
from goldpeak.collapsing import collapse as find_collapse
from goldpeak.plots.style import COLOUR, Picture, figure_of, legend_below, size_bar, size_colours, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["collapse"]

DASHES, DOTS = (0, (6, 2.5)), (0, (1, 1.8))
FORMS = {
    "rl": ("paper's form for RL: u (1 − log u), γ = 0", DASHES),
    "bon": ("paper's form for best-of-n: u (2 − u), γ = 1", DOTS),
}
CROWD = 400
"""More points than this are drawn smaller, paler and behind the shape, which would otherwise hide a few."""


def collapse(data: Collapse | xr.DataTree | xr.Dataset, *, prob: float = 0.9, ax: Axes | None = None) -> Figure:
    """Draw R / R* against d / d* of all runs, coloured by size, with the shape they share and the paper's two forms.

    Parameters
    ----------
    data : Collapse, xarray.DataTree or xarray.Dataset
        What `goldpeak.collapse` returned; or a posterior or run curves, which are then given to it.
    prob : float
        Probability of the intervals, where they are still to be computed.
    ax : matplotlib.axes.Axes, optional
        Draw here instead of into a new figure.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    FitError
        If the card of the posterior is not in peak coordinates, or `ax` belongs to no figure.

    Notes
    -----
    Points carry their noise: they scatter about the shape even where the curves collapse onto it.

    Examples
    --------
    >>> import goldpeak
    >>> some = goldpeak.select(goldpeak.datasets.lab("rl"), [True] * 2 + [False] * 36 + [True] * 2)
    >>> post = goldpeak.fit(some, "similar", draws=100)
    >>> goldpeak.plots.collapse(post).axes[0].get_xlabel()
    'u = d / d*  (d = √KL, d* at the peak)'
    """
    found = data if isinstance(data, Collapse) else find_collapse(data, prob=prob, drift=False)
    with style(ax):
        own = ax is None
        if ax is None:
            ax = Picture(figsize=(7.2, 5.2), layout="constrained").add_subplot()
        figure = figure_of(ax)
        _points(found, ax)
        _shape(found, ax)
        reach = float(found.shape["u"].iloc[-1])
        ax.set(xlabel="u = d / d*  (d = √KL, d* at the peak)", ylabel="gold / R*  (R* at the peak)")
        ax.set_xlim(-0.02 * reach, 1.03 * reach)
        ax.set_ylim(*_limits(found))
        ax.set_title(_title(found))
        legend_below(ax, own=own)
    return figure


def _shape(found: Collapse, ax: Axes) -> None:
    shape = found.shape
    ax.fill_between(shape["u"], shape["lo"], shape["hi"], color=COLOUR["peak"], alpha=0.25, lw=0, gid="band", zorder=3)
    label = f"shared shape: median, {_percent(found)} equal-tailed interval"
    ax.plot(shape["u"], shape["median"], color=COLOUR["peak"], lw=2.2, gid="shape", label=label, zorder=4)
    for form, (words, dashes) in FORMS.items():
        # On top and thin: where gamma is near 0 or 1 the shape runs along one of them.
        ax.plot(shape["u"], shape[form], color=COLOUR["measured"], lw=1.0, ls=dashes, gid=form, label=words, zorder=5)


def _percent(found: Collapse) -> str:
    return f"{100 * found.explained.prob:g} %"


def _points(found: Collapse, ax: Axes) -> None:
    points = found.points
    cmap, norm = size_colours(points["rm_params"])
    crowd = len(points) > CROWD
    ax.scatter(
        points["u"],
        points["gold"],
        c=points["rm_params"],
        cmap=cmap,
        norm=norm,
        s=5 if crowd else 12,
        lw=0,
        alpha=0.45 if crowd else 0.8,
        gid="points",
        zorder=1 if crowd else 4.5,
    )
    ax.plot([], [], "o", color=COLOUR["point"], ms=3.5, gid="point", label=_point_label(found))
    size_bar(ax, points["rm_params"])


def _point_label(found: Collapse) -> str:
    low, high = _limits(found)
    outside = int(np.sum(~found.points["gold"].between(low, high)))
    label = "observed points, each divided by its run's R* and d* (posterior medians)"
    return f"{label}; {outside} outside the picture" if outside else label


def _limits(found: Collapse) -> tuple[float, float]:
    """All points but the most extreme, and the shape; the forms and the interval may leave the picture."""
    values: Any = np.concatenate([found.points["gold"].quantile([0.002, 0.998]), found.shape["median"], [0.0, 1.0]])
    low, high = float(values.min()), float(values.max())
    room = 0.06 * (high - low)
    return low - room, high + room


def _title(found: Collapse) -> str:
    share = found.explained
    lines = ["Gold curves, stretched to their peaks"]
    if np.isfinite(share.median):
        interval = f"{100 * share.median:.1f} % [{100 * share.lo:.1f}, {100 * share.hi:.1f}] ({_percent(found)} eti)"
        lines.append(f"the two stretches explain {interval} of the variance between curves")
    if np.isfinite(found.p_value):
        lines.append(f"posterior predictive p-value of one shape for all sizes: {found.p_text}")
    return "\n".join([*lines, *found.gaps])

"""Picture: the gold curve to be expected at a size, and where each rule would stop."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from goldpeak.curves import Include, new_curves
from goldpeak.errors import FitError
from goldpeak.plots.curve_data import BAND_POINTS, gold_bands
from goldpeak.plots.scales import number_label
from goldpeak.plots.style import COLOUR, D_LABEL, Picture, figure_of, kl_on_top, legend_below, style
from goldpeak.runs import is_bon
from goldpeak.stopping.budget import Budget
from goldpeak.stopping.budget import budget as budget_of
from goldpeak.wording import decades
from goldpeak.wording import size as size_label

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["BudgetView", "budget", "budget_view"]

RULE_COLOUR = {
    "expected": ("#0072B2", "#56B4E9"),
    "chance": ("#B07A00", "#E69F00"),
    "cvar": ("#00785A", "#2FBF97"),
    "regret": ("#C1440E", "#FF8A50"),
    "drawdown": ("#A0468A", "#E29AC9"),
}
"""Okabe and Ito's: darkened for text on a light ground, lightened on a dark one."""
MOST_PANELS = 6
ROW, ROOM = 0.06, 0.36
"""Height of one rule's row at the bottom of a panel, and of all of them, as shares of the axes."""
BEYOND = 1.7
"""A panel goes so many times as far in d as the latest stop."""


@dataclass(frozen=True)
class BudgetView:
    """What `budget` draws.

    Attributes
    ----------
    found : Budget
        Every rule at every size.
    bands : tuple of xarray.Dataset
        One for each size: ``lo``, ``median``, ``hi`` of gold, dim d, as far as its stops are worth a look.
    """

    found: Budget
    bands: tuple[xr.Dataset, ...]

    def rows_of(self, item: int) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Stops and their neighbours of one size."""
        each, around = len(RULE_COLOUR), len(self.found.sensitivity) // len(self.bands)
        stops = self.found.table.iloc[item * each : (item + 1) * each]
        return stops, self.found.sensitivity.iloc[item * around : (item + 1) * around]


def budget_view(
    post: xr.DataTree,
    rm_params: Sequence[float] | ArrayLike,
    *,
    level: float = 0.25,
    include: Include = "new_run",
    kl_max: float | None = None,
    drop: float | None = None,
    prob: float = 0.9,
) -> BudgetView:
    """Compute what `budget` draws; the parameters are the same.

    Raises
    ------
    FitError
        If an argument is out of range, or there are more than six sizes.

    Examples
    --------
    >>> import goldpeak
    >>> post = goldpeak.fit(goldpeak.datasets.lab("rl"), "rl_paper", draws=100)
    >>> len(budget_view(post, [1e5]).found.table)
    5
    """
    sizes = np.unique(np.asarray(rm_params, dtype=float))
    if len(sizes) > MOST_PANELS:
        raise FitError(f"rm_params holds {len(sizes)} sizes; a picture has room for {MOST_PANELS}")
    found = budget_of(post, sizes, "all", level, include, kl_max, drop=drop, prob=prob)
    # The draws are those of the rules: marks lie on the median.
    curves = new_curves(post, sizes, include=include).flat()
    bands = []
    for item, size in enumerate(sizes):
        of_size = curves.part(slice(item, None, len(sizes)))
        d = np.linspace(0.0, _right(found, float(size)), BAND_POINTS)
        bands.append(gold_bands(of_size, d, prob).isel({of_size.dim: 0}, drop=True).assign_attrs(rm_params=float(size)))
    return BudgetView(found, tuple(bands))


def _right(found: Budget, size: float) -> float:
    """Right end of √KL in a size's panel: somewhat beyond its latest stop."""
    stops, around = (table.loc[table["rm_params"] == size, "kl"] for table in (found.table, found.sensitivity))
    latest = float(max(stops.max(), around.max()))
    return float(min(found.kl_max, BEYOND**2 * latest if latest > 0 else np.inf) ** 0.5)


def budget(
    post: xr.DataTree,
    rm_params: Sequence[float] | ArrayLike,
    *,
    level: float = 0.25,
    include: Include = "new_run",
    kl_max: float | None = None,
    drop: float | None = None,
    prob: float = 0.9,
    ax: Axes | None = None,
) -> Figure:
    """Draw gold against KL at reward-model sizes, and where each rule would stop.

    Parameters
    ----------
    post : xarray.DataTree
        As returned by `fit`.
    rm_params : array_like
        Up to six sizes, a panel for each.
    level, include, kl_max, drop
        As for `goldpeak.budget`.
    prob : float
        Probability of the band.
    ax : matplotlib.axes.Axes, optional
        Draw here instead of into a new figure; one size only.

    Returns
    -------
    matplotlib.figure.Figure
        Below the curve each rule has a row: a dot at its stop and a bar over its stops at half and twice the level; an
        arrow at the right edge where it found no reason to stop.

    Raises
    ------
    FitError
        If an argument is out of range, there are more than six sizes, or `ax` is given for several.

    Examples
    --------
    >>> import goldpeak
    >>> post = goldpeak.fit(goldpeak.datasets.lab("rl"), "rl_paper", draws=100)
    >>> goldpeak.plots.budget(post, [1e5]).axes[0].get_xlabel()
    '√KL (square-root nats)'
    """
    view = budget_view(post, rm_params, level=level, include=include, kl_max=kl_max, drop=drop, prob=prob)
    count = len(view.bands)
    if ax is not None and count > 1:
        raise FitError(f"ax takes one panel, and there are {count} sizes; leave ax out")
    with style(ax):
        panels = [ax] if ax is not None else _panels(count)
        figure = figure_of(panels[0])
        for item, panel in enumerate(panels):
            _panel(panel, view, item, is_bon(post))
        legend_below(panels[0], own=ax is None, handles=_legend(view))
        return figure


def _panels(count: int) -> list[Axes]:
    columns = min(3, count)
    rows = -(-count // columns)
    size = (6.8, 5.4) if count == 1 else (3.6 * columns + 0.6, 3.9 * rows + 0.7)
    figure = Picture(figsize=size, layout="constrained")
    panels = list(figure.subplots(rows, columns, squeeze=False).ravel())
    for empty in panels[count:]:
        empty.remove()
    return panels[:count]


def _panel(ax: Axes, view: BudgetView, item: int, bon: bool) -> None:
    band, (stops, around) = view.bands[item], view.rows_of(item)
    d, right = band["d"].values, float(band["d"].values[-1])
    ax.fill_between(d, band["lo"].values, band["hi"].values, color=COLOUR["band"], alpha=0.2, lw=0, gid="band")
    ax.plot(d, band["median"].values, color=COLOUR["band"], lw=1.6, gid="median")
    low, high = _gold_limits(band)
    ax.set(xlim=(0.0, right), ylim=(low - (high - low) * ROOM / (1.0 - ROOM), high))
    ax.set(xlabel=D_LABEL, ylabel="gold reward (initial policy = 0)")
    for row, (_, stop) in enumerate(stops[::-1].iterrows()):
        neighbours = around[around["rule"] == stop["rule"]]["kl"].to_numpy()
        _stop(ax, stop, neighbours, ROW * (row + 0.6), right, float(np.interp(np.sqrt(stop["kl"]), d, band["median"])))
    first = stops.iloc[0]
    far = f"\n{decades(first['decades'])} outside the fitted sizes" if first["extrapolated"] else ""
    kl_on_top(ax, right, 8, bon=bon)
    ax.set_title(f"{size_label(band.attrs['rm_params'])} parameters{far}")


def _stop(ax: Axes, stop: pd.Series, around: Any, at: float, right: float, median: float) -> None:
    """One rule's row, and its mark on the curve."""
    rule = stop["rule"]
    colour = RULE_COLOUR[rule][COLOUR["ground"] != "white"]
    place: dict[str, Any] = {"transform": ax.get_xaxis_transform(), "color": colour}
    d, endless = float(np.sqrt(stop["kl"])), bool(np.isinf(stop["kl"]))
    start, end = (float(min(np.sqrt(kl), right)) for kl in (around.min(), around.max()))
    ax.plot([start, end], [at, at], lw=2.2, solid_capstyle="butt", alpha=0.55, gid=f"around:{rule}", **place)
    if endless:
        ax.plot([0.985 * right], [at], marker=">", ms=7, mew=0, gid=f"endless:{rule}", **place)
    else:
        ax.plot([d], [at], marker="o", ms=5.5, mec=COLOUR["ground"], mew=0.8, gid=f"stop:{rule}", **place)
        ax.plot(
            [d],
            [median],
            marker="o",
            ms=5,
            mec=COLOUR["ground"],
            mew=0.8,
            color=colour,
            gid=f"on curve:{rule}",
            zorder=4,
        )
        ax.axvline(d, color=colour, lw=0.8, ls=":", alpha=0.7, zorder=1)
    text = f"{rule} {number_label(stop['kl'])}"
    # To the right of the bar where there is room, else to its left.
    before = max(end, d if not endless else right) > 0.7 * right
    anchor = min(start, d, 0.97 * right) - 0.02 * right if before else max(end, d) + 0.02 * right
    if before and anchor < 0.3 * right:
        anchor, before = 0.97 * right, True
    box = {"facecolor": COLOUR["ground"], "edgecolor": "none", "pad": 0.6, "alpha": 0.8}
    ax.text(
        anchor,
        at,
        text,
        ha="right" if before else "left",
        va="center",
        fontsize=8,
        bbox=box,
        gid=f"name:{rule}",
        **place,
    )


def _gold_limits(band: xr.Dataset) -> tuple[float, float]:
    """The median and the initial policy, and the band as far as it stays near."""
    median = np.append(band["median"].values, 0.0)
    low, high = float(median.min()), float(median.max())
    span = (high - low) or 1.0
    low, high = max(float(band["lo"].min()), low - 0.3 * span), min(float(band["hi"].max()), high + 0.6 * span)
    return min(low, 0.0), high + 0.03 * span


def _legend(view: BudgetView) -> list[Any]:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    levels = view.found.sensitivity["level"].dropna()
    return [
        Patch(
            color=COLOUR["band"],
            alpha=0.3,
            lw=0,
            label=f"gold of {WHAT[view.found.include]}: median, {100 * view.found.prob:g} % equal-tailed interval",
        ),
        Line2D(
            [],
            [],
            marker="o",
            ms=4.5,
            lw=2.2,
            color="0.45",
            label=f"KL where a rule stops at level {levels.median():g}; bar: at {levels.min():g} to {levels.max():g}; "
            f"arrow: no reason to stop up to KL {number_label(view.found.kl_max)}",
        ),
    ]


WHAT = {"typical": "a typical run", "new_rm": "a new reward model's typical run", "new_run": "a new run"}

"""Picture: cards side by side, what each weighs and where it puts the peak."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from goldpeak.check.compare import MIXTURE, Comparison
from goldpeak.plots.scales import log_ticks, number_label
from goldpeak.plots.style import BELOW, COLOUR, Picture, figure_of, label_ticks, n_across, style
from goldpeak.wording import size as size_label

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["comparison"]

MARGIN = 1.2
"""Room at both ends of the axis of KL, as a factor."""
GAP = 1.6
"""Rows between two sizes: for the heading."""
CERTAIN = 0.995
"""Above it the probability of a peak is not worth a word."""


def comparison(found: Comparison, *, ax: Axes | None = None) -> Figure:
    """Draw the interval of the peak by size and card, beside the cards' weights.

    Parameters
    ----------
    found : Comparison
        As returned by `goldpeak.compare`.
    ax : matplotlib.axes.Axes, optional
        Draw the intervals here, with the weights in the rows' names, instead of into a new figure.

    Returns
    -------
    matplotlib.figure.Figure
        A row for each card and for their mixture, at each size; an end at infinity (no peak up to `kl_max`) is an arrow
        at the edge. A heading names the two cards that lie furthest apart; sizes beyond the fitted ones are shaded.

    Examples
    --------
    >>> import goldpeak
    >>> runs = goldpeak.datasets.lab("rl")
    >>> posts = [goldpeak.fit(runs, card, draws=100) for card in ("rl_paper", "bon_paper")]
    >>> post = goldpeak.combine(posts, weights={"rl_paper": 0.75, "bon_paper": 0.25})
    >>> figure = comparison(goldpeak.compare(post, loo=False))
    >>> [label.get_text() for label in figure.axes[0].get_yticklabels()]
    ['rl_paper', 'bon_paper']
    """
    groups = list(found.peaks.groupby("rm_params", sort=True))
    with style(ax):
        if ax is not None:
            handles = _intervals(ax, found, groups, weighed=True)
            ax.legend(handles=handles, **BELOW)
            return figure_of(ax)
        height = 1.9 + 0.27 * sum(len(rows) + GAP for _, rows in groups)
        figure = Picture(figsize=(8.2, max(height, 3.0)), layout="constrained")
        left, right = figure.subplots(1, 2, width_ratios=(1, 2.6))
        _weights(left, found.table["weight"])
        figure.legend(handles=_intervals(right, found, groups, weighed=False), loc="outside lower left", ncols=2)
        return figure


def _weights(ax: Axes, weight: pd.Series) -> None:
    at = np.arange(len(weight))
    ax.barh(at, weight.to_numpy(), color=COLOUR["peak"], alpha=0.85, height=0.6, gid="weights")
    for y, value in enumerate(weight):
        # Inside where the bar leaves no room beside it.
        beside = value < 0.8
        ax.text(
            value + 0.02 if beside else value - 0.02,
            y,
            f"{value:.2f}",
            va="center",
            ha="left" if beside else "right",
            fontsize=8,
            color=COLOUR["measured"] if beside else COLOUR["ground"],
        )
    ax.set_yticks(at, [str(card) for card in weight.index])
    ax.set(xlim=(0.0, 1.0), ylim=(len(weight) - 0.4, -0.6), xlabel="weight", title="weight of each card")
    ax.grid(False, axis="y")


def _intervals(ax: Axes, found: Comparison, groups: list[Any], *, weighed: bool) -> list[Any]:
    """Draw the rows from the top down; return the legend's entries."""
    low, high, edge = _limits(found)
    ax.set(xscale="log", xlim=(low, high), xlabel="KL at the peak (nats)")
    label_ticks(ax.xaxis, log_ticks(low, high, most=7), number_label)
    if found.method == "bon":
        n_across(ax, "top", low, high)
    y, at, names = 0.0, [], []
    for size, rows in groups:
        y += GAP
        if rows["extrapolated"].iloc[0]:
            ends = (y - GAP + 0.15, y + len(rows) - 0.35)
            ax.axhspan(*ends, color=COLOUR["region"], lw=0, zorder=0, gid="extrapolated")
        _heading(ax, found, float(size), y - 0.85)
        for _, row in rows.iterrows():
            _row(ax, row, y, (low, edge))
            card = str(row["card"])
            own = weighed and card != MIXTURE
            names.append(f"{card} ({found.table['weight'].loc[card]:.2f})" if own else card)
            at.append(y)
            y += 1.0
    ax.set_yticks(at, names)
    ax.set_ylim(y - 0.3, 0.1)
    ax.grid(False, axis="y")
    ax.set_title("where each puts the peak" + (" (weight)" if weighed else ""))
    return _keys(found)


def _limits(found: Comparison) -> tuple[float, float, float]:
    """Ends of the axis, and where the arrows of what goes on stand."""
    low = float(found.peaks["lo"].clip(upper=found.kl_max).min())
    ends = found.peaks["hi"].to_numpy(dtype=float)
    high = found.kl_max if np.isinf(ends).any() else float(ends.max())
    low = max(low, 1e-4 * high) / MARGIN
    return low, high * MARGIN**1.5, high * MARGIN**0.75


def _heading(ax: Axes, found: Comparison, size: float, y: float) -> None:
    text = f"{size_label(size)} parameters"
    if size in found.disagreement.index:
        apart = found.disagreement.loc[size]
        text += f"; furthest apart: {apart['first']} and {apart['second']} ({apart['distance']:.2f})"
    where: dict[str, Any] = {"transform": ax.get_yaxis_transform(), "fontsize": 8, "color": COLOUR["words"]}
    ax.text(0.01, y, text, va="center", style="italic", gid="heading", **where)


def _row(ax: Axes, row: pd.Series, y: float, limits: tuple[float, float]) -> None:
    low, edge = limits
    mixed = row["card"] == MIXTURE
    colour, gid = COLOUR["band" if mixed else "peak"], str(row["card"])
    lo, median, hi = (float(row[name]) for name in ("lo", "median", "hi"))
    ax.hlines(y, np.clip(lo, low, edge), min(hi, edge), color=colour, lw=2.2 if mixed else 1.4, gid=f"{gid}:bar")
    if median <= edge:
        shape: dict[str, Any] = {"marker": "D" if mixed else "o", "ms": 6.0 if mixed else 4.5}
        ax.plot([max(median, low)], [y], ls="", color=colour, mew=0, gid=f"{gid}:median", **shape)
    if hi > edge:
        ax.plot([edge], [y], ls="", marker=">", ms=6.5, color=colour, mew=0, gid=f"{gid}:endless")
    if row["p_peak_below_kl_max"] < CERTAIN:
        text = f"P(no peak) {1.0 - row['p_peak_below_kl_max']:.2f}"
        where: dict[str, Any] = {"ha": "left", "va": "center", "fontsize": 7.5, "color": COLOUR["words"]}
        ax.text(1.01, y, text, transform=ax.get_yaxis_transform(), gid="no peak", **where)


def _keys(found: Comparison) -> list[Any]:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    within = f"median, {100 * found.prob:g} % equal-tailed interval"
    endless = f"; arrow: no peak up to KL {number_label(found.kl_max)}"
    arrow = endless if np.isinf(found.peaks["hi"]).any() else ""
    keys: list[Any] = [
        Line2D([], [], color=COLOUR["peak"], marker="o", ms=4.5, lw=1.4, label=f"a card: {within}{arrow}"),
        Line2D([], [], color=COLOUR["band"], marker="D", ms=5.5, lw=2.2, label="all of them, by weight"),
    ]
    if found.peaks["extrapolated"].any():
        keys.append(Patch(color=COLOUR["region"], lw=0, label="outside the fitted sizes"))
    return keys

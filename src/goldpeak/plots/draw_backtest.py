"""Picture: predicted against measured peaks of held-out runs, with the intervals of both."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np
import xarray as xr
from matplotlib.colors import Normalize

from goldpeak.check.backtest import WIDTH_AT, Backtest
from goldpeak.errors import FitError
from goldpeak.names import RUN
from goldpeak.plots.scales import log_ticks, number_label
from goldpeak.plots.style import COLOUR, Picture, figure_of, label_ticks, legend_below, n_across, style, viridis
from goldpeak.runs import is_bon

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["backtest"]

MARGIN = 1.25
ASIDE = 1.02
"""Factor between the predictions of two folds for one run."""


def backtest(found: Backtest, *, fold: str | None = None, prob: float = WIDTH_AT, ax: Axes | None = None) -> Figure:
    """Draw predicted against measured peaks, a panel for each card, both axes logarithmic.

    Parameters
    ----------
    found : Backtest
        As `goldpeak.backtest` returns it.
    fold : str, optional
        Only the predictions of this fold, such as ``"up to 253"``; by default of all, so that a run that was held out
        several times is there several times.
    prob : float
        Probability of the intervals: one of 0.5, 0.8, 0.9 and 0.95.
    ax : matplotlib.axes.Axes, optional
        Draw here instead of into a new figure; one card only.

    Returns
    -------
    matplotlib.figure.Figure
        Upright bars: the prediction for a new run of that size; of a run that was held out several times they stand
        side by side, by fold. Level bars: 90 % of the bootstrap of the measured peak;
        an open triangle where the run had not turned at its last point. Filled triangles at the upper edge: the
        interval goes on, perhaps to infinity.

    Raises
    ------
    FitError
        If there is no such fold or probability, or `ax` is given for several cards.

    Examples
    --------
    >>> import goldpeak
    >>> runs = goldpeak.datasets.lab("rl")
    >>> last = goldpeak.check.folds.folds(runs, "small_to_large")[-1:]
    >>> found = goldpeak.backtest(runs, ["rl_paper"], last, cache=False, jobs=1)
    >>> goldpeak.plots.backtest(found).axes[0].get_title("left")
    'rl_paper: 4 of 4 inside 90 %'
    """
    scores = _chosen(found.scores, fold, prob)
    cards = scores["card"].values.astype(str)
    if ax is not None and len(cards) > 1:
        raise FitError(f"ax takes one panel, and there are {len(cards)} cards; leave ax out")
    columns = min(len(cards), 3)
    rows = -(-len(cards) // columns)
    with style(ax):
        if ax is None:
            figure: Figure = Picture(figsize=(1.2 + 3.6 * columns, 1.7 + 3.3 * rows), layout="constrained")
            panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel()
        else:
            figure, panels = figure_of(ax), np.array([ax])
        low, high = _limits(scores)
        shades = Normalize(0.0, max(float(scores["decades"].max()), 0.1))
        for panel, card in zip(panels, cards, strict=False):
            _panel(panel, scores.sel(card=card), prob, (low, high), shades)
        for panel in panels[len(cards) :]:
            panel.set_visible(False)
        for panel in panels[::columns]:
            panel.set_ylabel("predicted KL at the peak (nats)")
        for panel in panels[(rows - 1) * columns :]:
            panel.set_xlabel("measured KL at the peak (nats)")
        for panel in panels[: len(cards)] if is_bon(found.scores) else ():
            n_across(panel, "top", low, high)
        bar = matplotlib.cm.ScalarMappable(shades, viridis())
        figure.colorbar(bar, ax=panels.tolist(), label="powers of ten beyond the fitted sizes", shrink=0.8)
        legend_below(panels[0], own=ax is None, handles=_legend(prob))
        return figure


def _legend(prob: float) -> list[Any]:
    from matplotlib.lines import Line2D

    look: dict[str, Any] = {"color": "0.55", "lw": 1.1}
    return [
        Line2D(
            [],
            [],
            marker="|",
            ms=9,
            mew=1.1,
            ls="",
            color="0.55",
            label=f"predicted, {100 * prob:g} %; filled triangle: goes on",
        ),
        Line2D([], [], label="measured, 90 %", **look),
        Line2D([], [], marker=">", ms=5, mfc="none", label="had not turned at its last point", **look | {"ls": ""}),
    ]


def _chosen(scores: xr.Dataset, fold: str | None, prob: float) -> xr.Dataset:
    known, probs = scores["fold"].values.astype(str), scores["prob"].values
    problems = []
    if fold is not None and fold not in known:
        problems.append(f"fold is {fold!r}; allowed: {', '.join(known)}")
    if not np.isclose(probs, prob).any():
        problems.append(f"prob is {prob}; allowed: {', '.join(f'{p:g}' for p in probs)}")
    if problems:
        raise FitError("; ".join(problems))
    scores = scores.sel(prob=prob, method="nearest")
    return scores if fold is None else scores.sel(fold=[fold])


def _limits(scores: xr.Dataset) -> tuple[float, float]:
    """Both axes: what was measured and predicted medians, with room; intervals may go on beyond."""
    held = scores["kl_peak_median"].notnull()
    medians = scores["kl_peak_median"].clip(max=scores["kl_observed"]).where(held)
    measured = scores["kl_peak"].where(held.any(("card", "fold")))
    values = np.concatenate([medians.values.ravel(), measured.values.ravel()])
    values = values[np.isfinite(values) & (values > 0)]
    return float(values.min()) / MARGIN**2, float(values.max()) * MARGIN**2


def _aside(table: xr.Dataset) -> Any:
    """Factors on the measured KL, so that the predictions of several folds for one run do not hide one another."""
    name, fold = table[RUN].values.astype(str), np.unique(table["fold"].values.astype(str), return_inverse=True)[1]
    rank, count = np.zeros(len(name)), np.zeros(len(name))
    for run in np.unique(name):
        here = name == run
        rank[here], count[here] = fold[here].argsort().argsort(), here.sum()
    return ASIDE ** (rank - 0.5 * (count - 1))


def _panel(panel: Axes, scores: xr.Dataset, prob: float, limits: tuple[float, float], shades: Normalize) -> None:
    low, high = limits
    panel.set(xscale="log", yscale="log", xlim=limits, ylim=limits)
    for axis in (panel.xaxis, panel.yaxis):
        label_ticks(axis, log_ticks(low, high, most=6), number_label)
    panel.plot(limits, limits, color=COLOUR["limit"], lw=1.0, ls="--", gid="diagonal")
    table = scores.stack(at=("fold", RUN)).dropna("at", subset=["kl_peak_median", "kl_peak"])
    if not table.sizes["at"]:
        panel.set_title(f"{scores['card'].item()}: nothing measured")
        return
    x, median = table["kl_peak"].values * _aside(table), table["kl_peak_median"].values
    lo, hi = table["kl_peak_lo"].values, table["kl_peak_hi"].values
    edge = high / 1.06
    colours = viridis()(shades(table["decades"].values))
    panel.hlines(
        np.clip(median, low, edge),
        table["kl_measured_lo"].values,
        table["kl_measured_hi"].values,
        color="0.7",
        lw=0.9,
        gid="measured",
    )
    panel.vlines(x, np.clip(lo, low, edge), np.clip(hi, low, edge), colors=list(colours), lw=1.1, gid="predicted")
    inside, turned = median < edge, table["turned"].values.astype(bool)
    panel.scatter(x[inside & turned], median[inside & turned], c=colours[inside & turned], s=16, zorder=3, gid="turned")
    still = inside & ~turned
    panel.scatter(
        x[still], median[still], edgecolors=colours[still], facecolors="none", s=26, marker=">", zorder=3, gid="rising"
    )
    endless = hi > edge
    panel.scatter(x[endless], np.full(endless.sum(), edge), c=colours[endless], s=18, marker="^", gid="endless")
    count = int(np.nansum(table["inside"].values))
    panel.set_title(f"{scores['card'].item()}: {count} of {table.sizes['at']} inside {100 * prob:g} %")

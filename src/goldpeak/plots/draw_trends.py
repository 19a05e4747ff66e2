"""Picture: each coefficient against reward-model size: every run's, and the trend through them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from goldpeak.curves import AnyCurves, StretchedCurves, card_of, new_curves, observed_curves
from goldpeak.errors import FitError
from goldpeak.peaks import quantiles, refuse_prob
from goldpeak.plots.peak_data import default_sizes, spread
from goldpeak.plots.style import COLOUR, Picture, figure_of, legend_below, shade_extrapolated, size_axis, style

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["TrendView", "trend_view", "trends"]

LABELS = {
    "alpha": "alpha (gold per √nat)",
    "gamma": "gamma (shape)",
    "d_star": "d* (√KL of the shape's peak, √nats)",
    "gold_star": "R* (gold at the shape's peak)",
}
BETA_PER = {"bon": "nat", "boxcox": "nat^((1 + γ)/2)"}
"""beta's unit depends on the form: gold / d is alpha - beta d for best-of-n, alpha - beta log d for RL."""
OF_FORM = ("alpha", "beta")
OF_SHAPE = ("d_star", "gold_star", "gamma")


@dataclass(frozen=True)
class TrendView:
    """What `trends` draws.

    Attributes
    ----------
    runs : pandas.DataFrame
        A row for each coefficient and run: ``coefficient``, ``run``, ``rm_params``, ``x`` (where it is drawn),
        ``median``, ``lo``, ``hi``.
    sizes : pandas.DataFrame
        The same for the trend (what all runs share) by coefficient and size; empty where one size was observed.
    coefficients : tuple of str
        ``alpha``, ``beta``; or ``d_star``, ``gold_star`` and, where it moves, ``gamma``.
    labels : tuple of str
        What is written at the axis of each, with its unit.
    observed : tuple of float
        Smallest and largest size that was fitted.
    prob : float
        Probability of the equal-tailed intervals.
    """

    runs: pd.DataFrame
    sizes: pd.DataFrame
    coefficients: tuple[str, ...]
    labels: tuple[str, ...]
    observed: tuple[float, float]
    prob: float


def trends(
    post: xr.DataTree,
    coefficients: Sequence[str] | None = None,
    *,
    rm_params: Sequence[float] | ArrayLike | None = None,
    prob: float = 0.9,
    ax: Axes | None = None,
) -> Figure:
    """Draw coefficients against reward-model size: each run's with its interval, and the trend with its band.

    Parameters
    ----------
    post : xarray.DataTree
        As returned by `fit`.
    coefficients : sequence of str, optional
        Which: of ``alpha`` and ``beta``, or of a card in peak coordinates ``d_star``, ``gold_star`` and ``gamma``. All
        by default.
    rm_params : array_like, optional
        Sizes of the trend; by default over the observed ones and one power of ten beyond.
    prob : float
        Probability of the equal-tailed intervals.
    ax : matplotlib.axes.Axes, optional
        Draw here instead of into a new figure; one coefficient only.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    FitError
        If an argument is out of range, a coefficient is unknown, or `ax` is given for several.

    Examples
    --------
    >>> import goldpeak
    >>> post = goldpeak.fit(goldpeak.datasets.lab("rl"), "rl_paper", engine="exact", draws=100)
    >>> [axes.get_ylabel() for axes in goldpeak.plots.trends(post).axes]
    ['alpha (gold per √nat)', 'beta (gold per √nat)']
    """
    view = trend_view(post, coefficients, rm_params=rm_params, prob=prob)
    count = len(view.coefficients)
    if ax is not None and count > 1:
        raise FitError(f"ax takes one coefficient, and there are {', '.join(view.coefficients)}; ask for one of them")
    with style(ax):
        figure: Figure
        if ax is None:
            figure = Picture(figsize=(3.7 * count + 0.6 if count > 1 else 6.0, 4.2), layout="constrained")
            panels = list(figure.subplots(1, count, squeeze=False).ravel())
        else:
            figure, panels = figure_of(ax), [ax]
        for panel, name, label in zip(panels, view.coefficients, view.labels, strict=True):
            _draw(panel, view, name)
            panel.set_ylabel(label)
        legend_below(panels[0], own=ax is None, ncols=2, handles=_legend(view))
    return figure


def trend_view(
    post: xr.DataTree,
    coefficients: Sequence[str] | None = None,
    *,
    rm_params: Sequence[float] | ArrayLike | None = None,
    prob: float = 0.9,
) -> TrendView:
    """Compute what `trends` draws; the parameters are the same.

    Raises
    ------
    FitError
        If an argument is out of range or a coefficient is unknown.
    """
    refuse_prob(prob)
    card = card_of(post)
    curves = observed_curves(post)
    there = _coefficients(curves)
    names = tuple(there) if coefficients is None else tuple(coefficients)
    unknown = [name for name in names if name not in there]
    if unknown or not names:
        raise FitError(f"coefficients holds {', '.join(map(repr, unknown)) or 'nothing'}; allowed: {', '.join(there)}")
    fitted = post["constant_data"].to_dataset()["rm_params"].values.astype(float)
    grid = default_sizes(fitted) if rm_params is None else np.unique(np.asarray(rm_params, dtype=float))
    runs = _table(curves, names, prob).assign(rm_params=np.tile(fitted, len(names)))
    runs = runs.rename(columns={"item": "run"}).assign(x=np.tile(spread(fitted), len(names)))
    sizes = runs.iloc[:0]
    if grid.size:
        sizes = _table(new_curves(post, grid, include="typical"), names, prob).rename(columns={"item": "rm_params"})
    labels = LABELS | {"beta": f"beta (gold per {BETA_PER.get(card.form.kind, '√nat')})"}
    observed = (float(fitted.min()), float(fitted.max()))
    return TrendView(runs, sizes, names, tuple(labels[name] for name in names), observed, prob)


def _coefficients(curves: AnyCurves) -> dict[str, NDArray[np.float64]]:
    """Draws of each coefficient, shape (chain, draw, item), of those that are not the same everywhere."""
    if not isinstance(curves, StretchedCurves):
        return {name: getattr(curves, name) for name in OF_FORM}
    found = {name: getattr(curves, name) for name in OF_SHAPE}
    return {name: values for name, values in found.items() if name != "gamma" or float(np.ptp(values)) > 0}


def _table(curves: AnyCurves, names: Sequence[str], prob: float) -> pd.DataFrame:
    import pandas as pd

    draws, parts = _coefficients(curves), []
    for name in names:
        lo, median, hi = quantiles(draws[name].reshape(-1, len(curves.items)), prob)
        columns = {"coefficient": name, "item": curves.items, "median": median, "lo": lo, "hi": hi}
        parts.append(pd.DataFrame(columns))
    return pd.concat(parts, ignore_index=True)


def _draw(ax: Axes, view: TrendView, name: str) -> None:
    runs = view.runs[view.runs["coefficient"] == name]
    sizes = view.sizes[view.sizes["coefficient"] == name]
    crowd = len(runs) > 60
    x = runs["x"].to_numpy()
    asked = sizes["rm_params"].to_numpy(dtype=float)
    ends = size_axis(ax, np.append(runs["rm_params"], asked), x, most=6)
    shade_extrapolated(ax, asked, view.observed, x, ends)
    if len(sizes):
        ax.fill_between(asked, sizes["lo"], sizes["hi"], color=COLOUR["band"], alpha=0.22, lw=0, gid="band")
        ax.plot(asked, sizes["median"], color=COLOUR["band"], lw=1.8, gid="median")
    if len(sizes) and (runs[["lo", "median", "hi"]].nunique() == 1).all():
        ax.set_title("one for all runs")
        return
    bars: dict[str, Any] = {"color": COLOUR["peak"], "alpha": 0.5 if crowd else 0.9}
    ax.vlines(x, runs["lo"], runs["hi"], lw=0.7 if crowd else 1.2, gid="run:bars", **bars)
    ax.plot(x, runs["median"], ls="", marker="o", ms=2.5 if crowd else 4.0, mew=0, gid="run:medians", **bars)


def _legend(view: TrendView) -> list[Any]:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    within = f"median, {100 * view.prob:g} % equal-tailed interval"
    handles: list[Any] = [Line2D([], [], color=COLOUR["peak"], marker="o", ms=4, lw=1.2, label=f"each run: {within}")]
    if len(view.sizes):
        handles.append(Line2D([], [], color=COLOUR["band"], lw=4, alpha=0.5, label=f"trend: {within}"))
        if view.sizes["rm_params"].max() > view.observed[1] or view.sizes["rm_params"].min() < view.observed[0]:
            handles.append(Patch(color=COLOUR["region"], lw=0, label="beyond the observed sizes"))
    return handles

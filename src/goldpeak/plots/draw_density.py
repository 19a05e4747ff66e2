"""Picture: the posterior of the KL at the peak as a density, with its atom at infinity."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from goldpeak.curves import Include
from goldpeak.names import RUN
from goldpeak.peaks import Peak, peak
from goldpeak.plots.curve_data import choice_note, choose_runs
from goldpeak.plots.scales import number_label, short
from goldpeak.plots.style import (
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
from goldpeak.wording import size as size_label

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["DensityView", "density", "density_view"]

BINS = 2048
MOST = 10
HEIGHT = 0.85
"""Height of the highest density, in rows."""
ATOM = (1.02, 1.1)
"""Where the bars of the atoms stand, as shares of the KL axis up to kl_max."""
EDGE = 1.21
"""Right end of the axis, as such a share."""
NEARLY_ALL = 0.995
"""The axis goes a little beyond this share of every row's peaks, if that is short of kl_max."""
LONGEST = 26


@dataclass(frozen=True)
class DensityView:
    """What `density` draws.

    Attributes
    ----------
    d : ndarray, shape (point,)
        Square root of KL.
    density : ndarray, shape (item, point)
        Of the draws with a peak, per square-root nat; its integral is P(0 < kl_peak <= kl_max).
    peaks : pandas.DataFrame
        The rows of ``peak(...).table``, with ``p_none`` (no peak up to kl_max: the atom at infinity) and ``p_start``
        (gold only falls: the atom at 0).
    labels : tuple of str
        One for each item.
    note : str
        What was left out, in words.
    prob, kl_max : float
        Probability of the intervals; largest KL at which a peak was looked for.
    """

    d: NDArray[np.float64]
    density: NDArray[np.float64]
    peaks: pd.DataFrame
    labels: tuple[str, ...]
    note: str
    prob: float
    kl_max: float


def density(
    post: xr.DataTree,
    rm_params: Sequence[float] | ArrayLike | None = None,
    *,
    include: Include = "new_run",
    prob: float = 0.9,
    kl_max: float | None = None,
    ax: Axes | None = None,
) -> Figure:
    """Draw the posterior density of the KL at the peak, one row for each run or size, with P(no peak) as a bar.

    Parameters
    ----------
    post : xarray.DataTree
        As returned by `fit`.
    rm_params : array_like, optional
        Sizes to predict for; without it the observed runs, of many of them ten, spread evenly over sizes.
    include : {"typical", "new_rm", "new_run"}
        What a prediction at a size includes, see `peak`.
    prob : float
        Probability of the equal-tailed intervals.
    kl_max : float, optional
        Largest KL (nats) at which a peak counts; the posterior's own by default.
    ax : matplotlib.axes.Axes, optional
        Draw here instead of into a new figure.

    Returns
    -------
    matplotlib.figure.Figure
        All rows have one scale: equal areas are equal probabilities. The bar at the right edge is the atom at infinity,
        1 being the height of a row.

    Raises
    ------
    FitError
        If an argument is out of range, or sizes are asked of a posterior that saw one size.

    Examples
    --------
    >>> import goldpeak
    >>> post = goldpeak.fit(goldpeak.datasets.lab("rl"), "rl_paper", engine="exact", draws=100)
    >>> goldpeak.plots.density(post, rm_params=[1e4, 1e6]).axes[0].get_xlabel()
    '√KL at the peak (square-root nats)'
    """
    view = density_view(post, rm_params, include=include, prob=prob, kl_max=kl_max)
    rows = len(view.labels)
    with style(ax):
        own = ax is None
        if ax is None:
            ax = Picture(figsize=(7.2, 1.9 + 0.62 * rows), layout="constrained").add_subplot()
        figure = figure_of(ax)
        right = _right(view)
        cmap, norm = size_colours(view.peaks["rm_params"])
        highest = float(view.density.max()) or 1.0
        for i, (_, row) in enumerate(view.peaks.iterrows()):
            colour = cmap(float(norm(row["rm_params"])))
            _draw_row(ax, view, i, row, HEIGHT / highest, colour, right)
        kl_on_top(ax, right, bon=is_bon(post))
        _atoms_region(ax, right)
        ax.set(xlim=(0.0, EDGE * right), ylim=(-0.15, rows + 0.1))
        ax.set_xlabel(D_LABEL.replace("√KL", "√KL at the peak"))
        ax.set_yticks(np.arange(rows), view.labels)
        ax.grid(axis="y", visible=False)
        ax.set_title(view.note)
        legend_below(ax, own=own, handles=_legend(view))
    return figure


def density_view(
    post: xr.DataTree,
    rm_params: Sequence[float] | ArrayLike | None = None,
    *,
    include: Include = "new_run",
    prob: float = 0.9,
    kl_max: float | None = None,
) -> DensityView:
    """Compute what `density` draws; the parameters are the same.

    Raises
    ------
    FitError
        If an argument is out of range, or sizes are asked of a posterior that saw one size.
    """
    found = peak(post, rm_params, include=include, prob=prob, kl_max=kl_max)
    table = found.table
    chosen = choose_runs(table["rm_params"], MOST) if found.include == "observed" else np.arange(len(table))
    draws = found.draws["kl_peak"].values.reshape(-1, len(table))[:, chosen]
    edges = np.linspace(0.0, np.sqrt(found.kl_max), BINS + 1)
    finite = np.isfinite(draws) & (draws > 0)
    heights = np.stack(
        [_smooth(np.sqrt(column[there]), edges, len(column)) for column, there in zip(draws.T, finite.T, strict=True)]
    )
    atoms = {"p_none": np.mean(np.isinf(draws), axis=0), "p_start": np.mean(draws == 0, axis=0)}
    return DensityView(
        d=0.5 * (edges[1:] + edges[:-1]),
        density=heights,
        peaks=table.iloc[chosen].assign(**atoms),
        labels=_labels(found, chosen),
        note=choice_note(len(chosen), len(table)),
        prob=prob,
        kl_max=found.kl_max,
    )


def _smooth(d: NDArray[np.float64], edges: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """Gaussian kernel estimate on a grid, reflected at both ends, so that no probability is lost."""
    from scipy.ndimage import gaussian_filter1d

    step = edges[1] - edges[0]
    if not d.size:
        return np.zeros(len(edges) - 1)
    raw = np.histogram(d, edges)[0] / (count * step)
    spread = min(float(np.std(d)), float(np.subtract(*np.quantile(d, [0.75, 0.25]))) / 1.349) or float(np.std(d))
    width = 0.9 * spread * d.size**-0.2
    return np.asarray(gaussian_filter1d(raw.astype(float), max(width / step, 0.5), mode="reflect"))


def _labels(found: Peak, chosen: NDArray[np.int64]) -> tuple[str, ...]:
    table = found.table.iloc[chosen]
    sizes = [size_label(size) for size in table["rm_params"]]
    if found.table.index.name != RUN:
        return tuple(sizes)
    return tuple(f"{short(str(name), LONGEST)} ({size})" for name, size in zip(table.index, sizes, strict=True))


def _right(view: DensityView) -> float:
    """Right end of √KL: where next to no peak lies further out than `kl_max` allows, the rest is shown larger."""
    share = np.cumsum(view.density, axis=1)
    last = max((float(np.interp(NEARLY_ALL * row[-1], row, view.d)) for row in share if row[-1] > 0), default=np.inf)
    return min(1.25 * last, float(np.sqrt(view.kl_max)))


def _draw_row(ax: Axes, view: DensityView, i: int, row: pd.Series, scale: float, colour: Any, right: float) -> None:
    shown = view.d <= right
    d, top = view.d[shown], i + scale * view.density[i, shown]
    ax.fill_between(d, i, top, color=colour, alpha=0.35, lw=0, zorder=3 - i * 1e-3, gid=f"density:{i}")
    ax.plot(d, top, color=colour, lw=1.0, zorder=3 - i * 1e-3)
    low, median, high = (float(np.sqrt(row[name])) for name in ("lo", "median", "hi"))
    line: dict[str, Any] = {"color": COLOUR["peak"], "solid_capstyle": "butt", "zorder": 4}
    ax.plot([min(low, right), min(high, right)], [i, i], lw=2.2, gid=f"interval:{i}", **line)
    if median <= right:
        ax.plot([median], [i], marker="o", ms=5, mec=ax.get_facecolor(), mew=0.8, gid=f"median:{i}", **line)
    if high > right:
        ax.plot([0.99 * right], [i], marker=">", ms=6, mew=0, gid=f"endless:{i}", **line)
    start, end = (share * right for share in ATOM)
    bar: dict[str, Any] = {"facecolor": colour, "lw": 0, "alpha": 0.8, "gid": f"none:{i}"}
    ax.bar(0.5 * (start + end), HEIGHT * row["p_none"], end - start, bottom=i, **bar)
    percent = f"{100 * row['p_none']:.0f} %" if row["p_none"] >= 0.005 or row["p_none"] == 0 else "< 1 %"
    ax.text(
        (EDGE - 0.01) * right, i + 0.06, percent, ha="right", va="bottom", fontsize=7.5, zorder=5, gid=f"percent:{i}"
    )
    if row["p_start"] > 0:
        ax.bar(0.006 * right, HEIGHT * row["p_start"], 0.012 * right, bottom=i, facecolor=colour, gid=f"start:{i}")


def _atoms_region(ax: Axes, right: float) -> None:
    ax.axvspan(right, EDGE * right, color=COLOUR["region"], lw=0, zorder=0, gid="infinity")
    ticks = [tick for tick in ax.get_xticks() if tick <= right]
    ax.set_xticks(ticks)


def _legend(view: DensityView) -> list[Any]:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    within = f"median, {100 * view.prob:g} % equal-tailed interval"
    return [
        Patch(
            color=COLOUR["words"],
            alpha=0.4,
            lw=0,
            label="posterior density of the peak (equal area: equal probability)",
        ),
        Line2D([], [], color=COLOUR["peak"], marker="o", ms=4, lw=2.2, label=within),
        Patch(color=COLOUR["region"], lw=0, label=f"probability of no peak up to KL {number_label(view.kl_max)} nats"),
    ]

"""Picture: where the truth fell among posterior draws, as the difference of its distribution from a uniform one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from goldpeak.check.bands import ecdf_band
from goldpeak.check.sbc import ALLOWED, Calibration
from goldpeak.errors import FitError
from goldpeak.plots.style import COLOUR, Picture, figure_of, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["sbc"]

COLUMNS = 4
PLACE, DIFFERENCE = "place of the truth among the draws", "ECDF − uniform"


def sbc(found: Calibration, *, prob: float = 0.95, quantity: str | None = None, ax: Axes | None = None) -> Figure:
    """Draw ECDF differences with simultaneous bands, a panel for each quantity.

    Parameters
    ----------
    found : Calibration
        What `goldpeak.sbc` returned.
    prob : float
        Probability with which a right engine's line stays inside the inner band of one panel, everywhere. The outer
        band is that of all panels together.
    quantity : str, optional
        Only the panel of this one.
    ax : matplotlib.axes.Axes, optional
        Draw here instead of into a new figure; needs `quantity`.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    FitError
        If there is no such quantity, or `ax` is given without one.

    Notes
    -----
    A line above 0: truths lie low among the draws, so that posteriors are too high; below 0: too low. First above and
    then below 0: posteriors are too narrow; the other way round: too wide.

    Examples
    --------
    >>> import goldpeak
    >>> found = goldpeak.sbc("rl_paper", design=goldpeak.Fleet(points=8), n=20, n_jobs=1)
    >>> len(goldpeak.plots.sbc(found).axes) == len(found.table)
    True
    """
    names = list(found.table.index)
    if quantity is not None:
        if quantity not in names:
            raise FitError(f"quantity is {quantity!r}; allowed: {', '.join(map(str, names))}")
        names = [quantity]
    if ax is not None and quantity is None:
        raise FitError(f"ax takes one panel, and there are {len(names)} quantities; give quantity, or leave ax out")
    columns = min(COLUMNS, len(names))
    rows = -(-len(names) // columns)
    with style(ax):
        if ax is not None:
            _panel(found, names[0], prob, ax)
            ax.set(xlabel=PLACE, ylabel=DIFFERENCE)
            return figure_of(ax)
        size = (2.6 * columns, 0.7 + 1.7 * rows) if columns > 1 else (7.0, 4.0)
        figure = Picture(figsize=size, layout="constrained")
        panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel()
        for panel, name in zip(panels, names, strict=False):
            _panel(found, str(name), prob, panel)
        for panel in panels[len(names) :]:
            panel.remove()
        figure.suptitle(_title(found, prob), x=0.01, ha="left", fontsize=9)
        figure.supxlabel(PLACE, fontsize=9)
        figure.supylabel(DIFFERENCE, fontsize=9)
    return figure


def _panel(found: Calibration, name: str, prob: float, ax: Axes) -> None:
    values = np.sort(found.pit.sel(quantity=name).values)
    for level, alpha in ((1.0 - ALLOWED / len(found.table), 0.15), (prob, 0.3)):
        points, lower, upper = ecdf_band(len(values), level)
        ends = np.concatenate([[0.0], points, [1.0]])
        low, high = (np.concatenate([[0.0], side - points, [0.0]]) for side in (lower, upper))
        ax.fill_between(ends, low, high, color=COLOUR["band"], alpha=alpha, lw=0, gid="band")
    difference = np.searchsorted(values, points, side="right") / len(values) - points
    p_value = float(found.table["p_value"].loc[name])
    bad = p_value * len(found.table) < ALLOWED
    line = np.concatenate([[0.0], difference, [0.0]])
    ax.plot(ends, line, color=COLOUR["peak"] if bad else COLOUR["measured"], lw=1.2, gid="ecdf")
    ax.axhline(0.0, color=COLOUR["limit"], lw=0.6)
    ax.set_title(f"{name}\np {p_value:.2g}" + (", OUTSIDE" if bad else ""), fontsize=8)


def _title(found: Calibration, prob: float) -> str:
    return (
        f"Simulation-based calibration: {found.card}, engine {found.engine}, {found.pit.sizes['replication']} "
        f"replications; p {found.p_value:.2g} of all quantities together\n"
        f"bands: simultaneous {100 * prob:g} % of one panel, and 95 % of all panels together"
    )

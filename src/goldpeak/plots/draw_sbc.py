"""Picture: where the truth fell among posterior draws, as the difference of its distribution from a uniform one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from goldpeak.check.bands import ecdf_band
from goldpeak.check.sbc import ALLOWED, Calibration
from goldpeak.plots.style import COLOUR, Picture, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["sbc"]

COLUMNS = 4


def sbc(found: Calibration, *, prob: float = 0.95) -> Figure:
    """Draw ECDF differences with simultaneous bands, a panel for each quantity.

    Parameters
    ----------
    found : Calibration
        What `goldpeak.sbc` returned.
    prob : float
        Probability with which a right engine's line stays inside the inner band of one panel, everywhere. The outer
        band is that of all panels together.

    Returns
    -------
    matplotlib.figure.Figure

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
    rows = -(-len(names) // COLUMNS)
    with style():
        figure = Picture(figsize=(2.6 * COLUMNS, 0.7 + 1.7 * rows), layout="constrained")
        panels = figure.subplots(rows, COLUMNS, sharex=True, sharey=True, squeeze=False).ravel()
        for panel, name in zip(panels, names, strict=False):
            _panel(found, str(name), prob, panel)
        for panel in panels[len(names) :]:
            panel.remove()
        figure.suptitle(_title(found, prob), x=0.01, ha="left", fontsize=9)
        figure.supxlabel("place of the truth among the draws", fontsize=9)
        figure.supylabel("ECDF − uniform", fontsize=9)
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
    ax.axhline(0.0, color="0.6", lw=0.6)
    ax.set_title(f"{name}\np {p_value:.2g}" + (", OUTSIDE" if bad else ""), fontsize=8)


def _title(found: Calibration, prob: float) -> str:
    return (
        f"Simulation-based calibration: {found.card}, engine {found.engine}, {found.pit.sizes['replication']} "
        f"replications; p {found.p_value:.2g} of all quantities together\n"
        f"bands: simultaneous {100 * prob:g} % of one panel, and 95 % of all panels together"
    )

"""How the pictures look, applied for the length of one drawing: the user's own settings stay as they were."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from goldpeak.errors import FitError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["BELOW", "COLOUR", "STYLE", "Picture", "figure_of", "size_colours", "style"]

STYLE: dict[Any, Any] = {
    "axes.axisbelow": True,
    "axes.edgecolor": "0.4",
    "axes.grid": True,
    "axes.labelsize": 10,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 9,
    "figure.dpi": 110,
    "figure.facecolor": "white",
    "font.family": ["DejaVu Sans"],
    "font.size": 9,
    "grid.color": "0.92",
    "grid.linewidth": 0.8,
    "legend.fontsize": 8.5,
    "legend.frameon": False,
    "text.usetex": False,
    "xtick.color": "0.3",
    "ytick.color": "0.3",
}

COLOUR = {"band": "#3b6fb6", "point": "0.25", "peak": "#c1440e", "measured": "black", "limit": "0.35"}
"""Blue and vermilion: told apart under every common colour blindness, and in grey by their lightness."""


BELOW: dict[str, Any] = {"loc": "upper left", "bbox_to_anchor": (0.0, 0.0), "borderaxespad": 4.5}
"""Where the legend goes in an axes of the user's: below it, as inside it would lie on the data."""


class Picture(Figure):
    """A matplotlib figure that a notebook displays although pyplot was never imported."""

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        self.savefig(buffer, format="png", dpi=self.dpi, bbox_inches="tight")
        return buffer.getvalue()


def figure_of(ax: Axes) -> Figure:
    """The figure that a user's axes belong to.

    Raises
    ------
    FitError
        If there is none.
    """
    figure = ax.get_figure(root=True)
    if figure is None:
        raise FitError("ax belongs to no figure")
    return figure


@contextmanager
def style() -> Iterator[None]:
    """Draw inside this context to get the house's style.

    Examples
    --------
    >>> before = matplotlib.rcParams["axes.grid"]
    >>> with style():
    ...     inside = matplotlib.rcParams["axes.grid"]
    >>> inside, matplotlib.rcParams["axes.grid"] == before
    (True, True)
    """
    with matplotlib.rc_context(STYLE):
        yield


def size_colours(rm_params: ArrayLike) -> tuple[Any, LogNorm]:
    """A colour-blind safe colour map and a log scale over sizes.

    Parameters
    ----------
    rm_params : array_like
        Sizes that are drawn.

    Returns
    -------
    cmap, norm
        ``cmap(norm(size))`` is a size's colour; the palest end of viridis is left out, as it vanishes on white.

    Examples
    --------
    >>> cmap, norm = size_colours([1e6, 1e8])
    >>> float(norm(1e7))
    0.5
    """
    sizes = np.asarray(rm_params, dtype=float)
    low, high = float(sizes.min()), float(sizes.max())
    if low == high:
        low, high = low / 2.0, high * 2.0
    colours = matplotlib.colormaps["viridis"](np.linspace(0.0, 0.88, 256))
    return matplotlib.colors.ListedColormap(colours, name="viridis_dark"), LogNorm(low, high)

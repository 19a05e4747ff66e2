"""How the pictures look, applied for the length of one drawing: the user's own settings stay as they were."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Literal

import matplotlib
import numpy as np
from matplotlib.colors import LogNorm, to_rgba
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from goldpeak.bon import kl_of_n, n_of_kl
from goldpeak.errors import FitError
from goldpeak.plots.scales import kl_ticks, log_ticks, n_label, n_ticks, number_label, size_ticks
from goldpeak.wording import size as size_label

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis

__all__ = [
    "BELOW",
    "COLOUR",
    "D_LABEL",
    "KL_LABEL",
    "N_LABEL",
    "SIZE_LABEL",
    "Picture",
    "d_on_right",
    "figure_of",
    "kl_on_top",
    "label_ticks",
    "legend_below",
    "n_across",
    "shade_extrapolated",
    "size_axis",
    "size_bar",
    "size_colours",
    "style",
    "viridis",
]

D_LABEL = "√KL (square-root nats)"
KL_LABEL = "KL (nats)"
N_LABEL = "n of best-of-n"
SIZE_LABEL = "reward-model parameters"
COMMON: dict[Any, Any] = {
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.labelsize": 10,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 9,
    "figure.dpi": 110,
    "font.family": ["DejaVu Sans"],
    "font.size": 9,
    "grid.linewidth": 0.8,
    "legend.fontsize": 8.5,
    "legend.frameon": False,
    "legend.labelcolor": "None",
    "savefig.facecolor": "auto",
    "text.usetex": False,
}
INK: dict[str, dict[str, str]] = {
    "light": {"face": "white", "edge": "0.4", "text": "black", "grid": "0.92", "ticks": "0.3"},
    "dark": {"face": "#15181c", "edge": "0.6", "text": "0.92", "grid": "0.27", "ticks": "0.75"},
}
PALETTES: dict[str, dict[str, str]] = {
    "light": {
        "band": "#3b6fb6",
        "point": "0.25",
        "peak": "#c1440e",
        "measured": "black",
        "limit": "0.35",
        "region": "0.93",
        "words": "0.4",
        "ground": "white",
    },
    "dark": {
        "band": "#7fb2f0",
        "point": "0.8",
        "peak": "#ff8a50",
        "measured": "white",
        "limit": "0.7",
        "region": "0.2",
        "words": "0.7",
        "ground": "#15181c",
    },
}
"""Blue and vermilion: told apart under every common colour blindness, and in grey by their lightness."""
_mode: ContextVar[str] = ContextVar("goldpeak_plots_mode", default="light")


class _Colours(Mapping[str, str]):
    """The colours of the picture that is being drawn, see `style`."""

    def __getitem__(self, name: str) -> str:
        return PALETTES[_mode.get()][name]

    def __iter__(self) -> Iterator[str]:
        return iter(PALETTES["light"])

    def __len__(self) -> int:
        return len(PALETTES["light"])


COLOUR: Mapping[str, str] = _Colours()
"""What has which colour: ``band``, ``point``, ``peak``, ``measured``, ``limit``, ``region``, ``words``, ``ground``."""


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


def legend_below(ax: Axes, *, own: bool, ncols: int = 1, **what: Any) -> None:
    """A legend under the picture where that is ours, else under the user's axes."""
    if own:
        figure_of(ax).legend(loc="outside lower left", ncols=ncols, **what)
    else:
        ax.legend(**what, **BELOW)


def label_ticks(axis: Axis, ticks: ArrayLike, label: Callable[[float], str]) -> None:
    """Ticks at these values with their labels, and no others."""
    values = [float(tick) for tick in np.asarray(ticks)]
    axis.set_ticks(values, [label(value) for value in values])
    axis.set_ticks([], minor=True)


def kl_on_top(ax: Axes, d_max: float, most: int = 12, *, labelled: bool = True, bon: bool = False) -> None:
    """KL in nats on the side across from an axis of √KL that goes from 0 to `d_max`; above it n, of best-of-n."""
    ax.set_xlim(0.0, d_max)
    top = ax.secondary_xaxis("top", zorder=3)
    top.grid(False)
    ticks = kl_ticks(d_max, most)
    top.set_xticks(np.sqrt(ticks), [number_label(kl) for kl in ticks])
    top.tick_params(length=2, pad=1, labelsize=8)
    if labelled:
        top.set_xlabel(KL_LABEL, fontsize=8, labelpad=2)
    if bon:
        _n_above(ax, d_max, most, labelled=labelled)


def _n_above(ax: Axes, d_max: float, most: int, *, labelled: bool) -> None:
    """n of best-of-n, in a row above that of KL."""
    above = ax.secondary_xaxis("top", zorder=3)
    above.grid(False)
    above.spines["top"].set_position(("outward", 24.0 if labelled else 12.0))
    above.spines["top"].set_visible(False)
    ticks = n_ticks(d_max, most)
    above.set_xticks(np.sqrt(kl_of_n(ticks)), [n_label(n) for n in ticks])
    above.tick_params(length=0, pad=1, labelsize=8)
    if labelled:
        above.set_xlabel(N_LABEL, fontsize=8, labelpad=2)


def d_on_right(ax: Axes, low: float, high: float) -> None:
    """√KL on the side across from a logarithmic axis of KL, from `low` to `high` nats."""
    right = ax.secondary_yaxis("right", zorder=3)
    right.grid(False)
    label_ticks(right.yaxis, log_ticks(low**0.5, high**0.5) ** 2, lambda kl: number_label(kl**0.5))
    right.tick_params(length=2, pad=1, labelsize=8)
    right.set_ylabel(D_LABEL, fontsize=8, labelpad=4)


def n_across(ax: Axes, side: Literal["top", "right"], low: float, high: float) -> None:
    """n of best-of-n on the side across from a logarithmic axis of KL, from `low` to `high` nats."""
    across = ax.secondary_xaxis("top", zorder=3) if side == "top" else ax.secondary_yaxis("right", zorder=3)
    across.grid(False)
    n = log_ticks(*n_of_kl([low, high]))
    name_of = dict(zip(kl_of_n(n).tolist(), map(n_label, n), strict=True))
    axis = across.xaxis if side == "top" else across.yaxis
    label_ticks(axis, list(name_of), lambda kl: name_of[kl])
    across.tick_params(length=2, pad=1, labelsize=8)
    axis.set_label_text(N_LABEL, fontsize=8)
    axis.labelpad = 2 if side == "top" else 4


def size_axis(ax: Axes, sizes: ArrayLike, drawn: ArrayLike, most: int = 8) -> tuple[float, float]:
    """A logarithmic axis of `sizes`, wide enough for where they are `drawn`; returns its ends."""
    places = np.concatenate([np.asarray(sizes, dtype=float), np.asarray(drawn, dtype=float)])
    low, high = float(places.min()), float(places.max())
    margin = max((high / low) ** 0.03, 1.15)
    left, right = low / margin, high * margin
    ax.set(xscale="log", xlabel=SIZE_LABEL, xlim=(left, right))
    label_ticks(ax.xaxis, size_ticks(sizes, left, right, most), size_label)
    return left, right


def shade_extrapolated(
    ax: Axes, sizes: ArrayLike, observed: tuple[float, float], drawn: ArrayLike, ends: tuple[float, float]
) -> list[tuple[float, float]]:
    """Shade an axis of sizes on the sides where there are sizes beyond the `observed` ones, whose runs are `drawn`."""
    asked, places = np.asarray(sizes, dtype=float), np.asarray(drawn, dtype=float)
    below, above = (ends[0], float(places.min())), (float(places.max()), ends[1])
    sides = [below] * bool((asked < observed[0]).any()) + [above] * bool((asked > observed[1]).any())
    for side in sides:
        ax.axvspan(*side, color=COLOUR["region"], lw=0, zorder=0, gid="extrapolated")
    return sides


def size_bar(ax: Axes | list[Axes], sizes: ArrayLike) -> None:
    """The scale of colours over sizes beside the axes; nothing where there is one size."""
    from matplotlib.cm import ScalarMappable

    there = np.unique(np.asarray(sizes, dtype=float))
    if len(there) == 1:
        return
    first = ax[0] if isinstance(ax, list) else ax
    cmap, norm = size_colours(there)
    bar = first.figure.colorbar(ScalarMappable(norm, cmap), ax=ax, pad=0.02, label=SIZE_LABEL)
    ticks = there if len(there) <= 5 else log_ticks(float(there[0]), float(there[-1]))
    bar.set_ticks(list(ticks), labels=[size_label(n) for n in ticks])
    bar.minorticks_off()


@contextmanager
def style(ax: Axes | None = None) -> Iterator[None]:
    """Draw inside this context to get the house's style: dark ink on a light ground, or the other way round.

    Parameters
    ----------
    ax : matplotlib.axes.Axes, optional
        Axes of the user's: their background decides. Without them the figure background of the user's settings does.

    Examples
    --------
    >>> before = matplotlib.rcParams["axes.grid"]
    >>> with style():
    ...     inside = matplotlib.rcParams["axes.grid"]
    >>> inside, matplotlib.rcParams["axes.grid"] == before
    (True, True)
    """
    mode = "dark" if _is_dark(_ground(ax)) else "light"
    ink = INK[mode]
    colours = {
        "axes.edgecolor": ink["edge"],
        "axes.facecolor": ink["face"],
        "axes.labelcolor": ink["text"],
        "axes.titlecolor": ink["text"],
        "figure.facecolor": ink["face"],
        "grid.color": ink["grid"],
        "text.color": ink["text"],
        "xtick.color": ink["ticks"],
        "ytick.color": ink["ticks"],
    }
    token = _mode.set(mode)
    try:
        with matplotlib.rc_context(COMMON | colours):
            yield
    finally:
        _mode.reset(token)


def _ground(ax: Axes | None) -> Any:
    """The colour that lies behind a picture."""
    if ax is None:
        return matplotlib.rcParams["figure.facecolor"]
    colour = ax.get_facecolor()
    return colour if to_rgba(colour)[3] > 0 else figure_of(ax).get_facecolor()


def _is_dark(colour: Any) -> bool:
    red, green, blue, opaque = to_rgba(colour)
    return opaque > 0 and 0.299 * red + 0.587 * green + 0.114 * blue < 0.5


def size_colours(rm_params: ArrayLike) -> tuple[Any, LogNorm]:
    """A colour-blind safe colour map and a log scale over sizes.

    Parameters
    ----------
    rm_params : array_like
        Sizes that are drawn.

    Returns
    -------
    cmap, norm
        ``cmap(norm(size))`` is a size's colour; the end of viridis that vanishes on the ground is left out.

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
    return viridis(), LogNorm(low, high)


def viridis() -> Any:
    """The colour map, without the end that vanishes on the ground."""
    ends = (0.0, 0.88) if _mode.get() == "light" else (0.25, 1.0)
    colours = matplotlib.colormaps["viridis"](np.linspace(*ends, 256))
    return matplotlib.colors.ListedColormap(colours, name="viridis_cut")

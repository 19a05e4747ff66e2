"""Small pictures in SVG whose points can be asked: by pointing at them, or with the arrow keys."""

from __future__ import annotations

import html
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from goldpeak.bon import kl_of_n
from goldpeak.plots.scales import kl_ticks, n_label, n_ticks, number_label, short

if TYPE_CHECKING:
    import pandas as pd

    from goldpeak.plots.curve_data import CurveView

__all__ = ["Plane", "run_panel", "stop_chart", "stop_plane"]

BAND, PEAK, POINT, STOP = "#3b6fb6", "#c1440e", "#404040", "#1a7a3c"
MOST_POINTS = 300
"""Points of a run that are drawn; of more, every k-th."""


@dataclass(frozen=True)
class Plane:
    """Where data lie on the picture: d from 0 to `d_max` across, gold from `low` to `high` upwards; n above if `bon`.

    Examples
    --------
    >>> plane = Plane(200, 100, 4.0, 0.0, 1.0)
    >>> bool(plane.x(0.0) < plane.x(4.0)), bool(plane.y(0.0) > plane.y(1.0))
    (True, True)
    """

    width: float
    height: float
    d_max: float
    low: float
    high: float
    left: float = 44.0
    right: float = 10.0
    top: float = 30.0
    bottom: float = 32.0
    bon: bool = False

    def x(self, d: ArrayLike) -> Any:
        """Across, in the picture's units."""
        return self.left + np.asarray(d) / self.d_max * (self.width - self.left - self.right)

    def y(self, gold: ArrayLike) -> Any:
        """Down, in the picture's units; what lies outside goes to the edge."""
        inside = np.clip(np.asarray(gold), self.low, self.high)
        return self.top + (self.high - inside) / (self.high - self.low) * (self.height - self.top - self.bottom)

    def path(self, d: ArrayLike, gold: ArrayLike) -> str:
        """A line through points."""
        return "M" + "L".join(f"{x:.1f},{y:.1f}" for x, y in zip(self.x(d), self.y(gold), strict=True))

    def area(self, d: ArrayLike, lo: ArrayLike, hi: ArrayLike) -> str:
        """The area between two lines."""
        back = self.path(np.asarray(d)[::-1], np.asarray(lo)[::-1])
        return f"{self.path(d, hi)}L{back[1:]}Z"

    def axes(self, ticks: int = 6, text: float = 10.0) -> str:
        """Frame, ticks and their numbers, `text` high: √KL below, KL (and over it n) above, gold to the left."""
        end, floor = self.width - self.right, self.height - self.bottom
        parts = [f'<path class="axis" d="M{self.left},{self.top}V{floor}H{end}M{self.left},{self.top}H{end}"/>']
        below = [(d, floor + 1.2 * text, number_label(d)) for d in _round_steps(0.0, self.d_max, ticks)]
        above = [(np.sqrt(kl), self.top - 0.5 * text, number_label(kl)) for kl in kl_ticks(self.d_max, ticks)]
        if self.bon:
            n_row = self.top - 1.8 * text
            above += [(np.sqrt(kl_of_n(n)), n_row, n_label(n)) for n in n_ticks(self.d_max, ticks)]
        parts += [_tick(float(self.x(d)), y, words, "middle") for d, y, words in (*below, *above)]
        for gold in _round_steps(self.low, self.high, 5):
            y = float(self.y(gold))
            parts.append(f'<path class="grid" d="M{self.left},{y:.1f}H{end}"/>')
            parts.append(_tick(self.left - 5, y + 0.35 * text, number_label(gold), "end"))
        parts.append(_tick(0.5 * (self.left + end), self.height - 4, "√KL (square-root nats)", "middle"))
        name = "n of best-of-n, and below it KL (nats)" if self.bon else "KL (nats)"
        parts.append(_tick(self.left, 1.1 * text, name, "start"))
        return "".join(parts)


def _tick(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{html.escape(text)}</text>'


def _round_steps(low: float, high: float, most: int) -> NDArray[np.float64]:
    """Round numbers between two ends, zero exactly where it is one of them."""
    rough = (high - low) / most
    unit = 10.0 ** np.floor(np.log10(rough))
    step = next(unit * k for k in (1, 2, 5, 10) if unit * k >= rough)
    ticks = np.arange(np.ceil(low / step - 1e-9), np.floor(high / step + 1e-9) + 1)
    return np.array([float(f"{tick * step:.6g}") + 0.0 for tick in ticks])


def run_panel(view: CurveView, item: int, limits: tuple[float, float], *, bon: bool) -> str:
    """One run: its points, the band of its curve, and its peak; all user text is escaped."""
    d = view.bands["d"].values
    band = view.bands.isel({view.by: item})
    height, top = (224.0, 44.0) if bon else (210.0, 30.0)
    plane = Plane(300, height, float(d[-1]), *limits, top=top, bon=bon)
    row, name = view.peaks.iloc[item], view.labels[item]
    parts = [
        plane.axes(5),
        f'<path class="band" d="{plane.area(d, band["lo"].values, band["hi"].values)}"/>',
        f'<path class="median" d="{plane.path(d, band["median"].values)}"/>',
        _peak_bar(plane, row),
        *_points(plane, view.points_of(item)),
    ]
    title = f"<title>{html.escape(name)}: measured gold and its curve; arrow keys go through the points</title>"
    picture = f'<svg viewBox="0 0 300 {height:g}" tabindex="0" role="img" class="panel">{title}{"".join(parts)}</svg>'
    return f"<figure>{picture}<figcaption>{html.escape(short(name, 44))}</figcaption></figure>"


def _points(plane: Plane, points: pd.DataFrame) -> list[str]:
    ordered = points.sort_values("kl")
    ordered = ordered.iloc[:: int(np.ceil(len(ordered) / MOST_POINTS)) or 1]
    parts = []
    for kl, d, gold, se in ordered[["kl", "d", "gold", "gold_se"]].itertuples(index=False, name=None):
        error = f" ± {number_label(se)}" if np.isfinite(se) else ""
        tip = f"KL {number_label(kl)} nats, gold {number_label(gold)}{error}"
        parts.append(f'<circle cx="{plane.x(d):.1f}" cy="{plane.y(gold):.1f}" r="2.2" data-tip="{html.escape(tip)}"/>')
    return parts


def _peak_bar(plane: Plane, row: pd.Series) -> str:
    low, high = (min(float(np.sqrt(row[name])), plane.d_max) for name in ("lo", "hi"))
    x, floor = float(plane.x(low)), plane.height - plane.bottom
    return (
        f'<rect class="peak" x="{x:.1f}" y="{plane.top}" width="{max(float(plane.x(high)) - x, 1.0):.1f}" '
        f'height="{floor - plane.top}"/>'
    )


def stop_plane(d_max: float, low: float, high: float, *, bon: bool) -> Plane:
    """Of the chart that the page's script fills, with room for text that a phone's page sets large."""
    height, top = (410.0, 74.0) if bon else (380.0, 44.0)
    return Plane(720, height, d_max, low, high, left=70.0, right=16.0, top=top, bottom=48.0, bon=bon)


def stop_chart(plane: Plane) -> str:
    """The frame of the chart that the page's script fills; `plane` must be told to the script too."""
    middle = 0.5 * (plane.top + plane.height - plane.bottom)
    inside = (
        f'<rect x="{plane.left:g}" y="{plane.top:g}" width="{plane.width - plane.left - plane.right:g}" '
        f'height="{plane.height - plane.top - plane.bottom:g}"/>'
    )
    return (
        f'<svg id="chart" viewBox="0 0 {plane.width:g} {plane.height:g}" role="img" aria-labelledby="said">'
        f'<clipPath id="inside">{inside}</clipPath>{plane.axes(8, 15.0)}'
        f'<text transform="rotate(-90)" x="{-middle:g}" y="16" text-anchor="middle">gold reward</text>'
        '<g clip-path="url(#inside)"><path id="band" class="band"/><path id="median" class="median"/>'
        '<rect id="peak" class="peak"/></g>'
        '<path id="stopline" class="stop"/><text id="stoptext" class="stop"></text></svg>'
    )

"""Where curves are highest: in closed form where there is one, else on a grid in d with local refinement."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from goldpeak.curves import AnyCurves, SingleCurves
from goldpeak.memory import keep_freed_memory
from goldpeak.mixture import MixedCurves

__all__ = ["peak_draws", "searching_once"]

Array = NDArray[np.float64]
GRID = 200
"""Intervals of the first grid in d on which a maximum is looked for."""
ZOOM = 4
"""Each of two refinements divides the grid's step by this."""
CHUNK = 4_000_000
"""Numbers held at once: bounds memory whatever the number of draws and sizes."""
_found: ContextVar[dict[Any, tuple[Array, Array]] | None] = ContextVar("goldpeak_summits_found", default=None)


@contextmanager
def searching_once() -> Iterator[None]:
    """Inside this block the summits of the same curves are looked for once: a report needs them again and again."""
    if _found.get() is not None:
        yield
        return
    token = _found.set({})
    try:
        yield
    finally:
        _found.reset(token)


def peak_draws(curves: AnyCurves, kl_max: float) -> tuple[Array, Array]:
    """KL and gold at the highest point of every curve.

    Without a discrepancy by the form's closed form, else on a grid in d with local refinement; of several maxima the
    highest counts.

    Returns
    -------
    kl_peak, gold_peak : ndarray, shape (chain, draw, item)
        +inf in ``kl_peak`` where gold still rises at `kl_max`, 0 where it only falls.
    """
    known = _found.get()
    if known is None:
        return _search(curves, kl_max)
    # Every draw's gold at three places tells curves apart, whatever they are made of.
    gold = curves.gold(np.array([0.31, 0.62, 1.0]) * np.sqrt(kl_max))
    key = hashlib.sha256(gold.tobytes()).hexdigest(), gold.shape, kl_max
    if key not in known:
        known[key] = _search(curves, kl_max)
        for values in known[key]:
            values.flags.writeable = False
    return known[key]


def _search(curves: AnyCurves, kl_max: float) -> tuple[Array, Array]:
    if isinstance(curves, MixedCurves):
        found = [peak_draws(part, kl_max) for part in curves.parts]
        return curves.gather([kl for kl, _ in found]), curves.gather([gold for _, gold in found])
    d_max = float(np.sqrt(kl_max))
    flat = curves.flat()
    if not curves.smooth:
        kl, gold = _closed_form(flat, d_max)
    else:
        count = flat.grid[1]
        step = max(1, CHUNK // (GRID * (curves.sines.count if curves.sines else 1)))
        lattice = _Lattice.of(curves, d_max)
        keep_freed_memory()
        parts = [_on_lattice(flat.part(slice(i, i + step)), lattice) for i in range(0, count, step)]
        kl, gold = (np.concatenate(values) for values in zip(*parts, strict=True))
    return kl.reshape(curves.grid), gold.reshape(curves.grid)


def _closed_form(curves: SingleCurves, d_max: float) -> tuple[Array, Array]:
    d = curves.form_peak().ravel()
    at_end = curves.gold([d_max]).ravel()
    # Without an interior peak the highest point is an end, and where gold has only fallen that is the start.
    d = np.where((d > d_max) & (at_end <= 0.0), 0.0, d)
    inside = np.minimum(d, d_max)
    gold = curves.form_gold(inside.reshape(*curves.grid, 1)).ravel()
    return np.where(d <= d_max, inside**2, np.inf), gold


@dataclass(frozen=True)
class _Lattice:
    """Where curves are looked at, and the columns they have in common there, tabulated once for all of them.

    Attributes
    ----------
    d : ndarray, shape (point,)
        From 0 to the largest d in question.
    columns : ndarray, shape (point, column)
        See the curves' `columns`.
    """

    d: Array
    columns: Array

    @classmethod
    def of(cls, curves: SingleCurves, d_max: float) -> _Lattice:
        d = np.linspace(0.0, d_max, GRID * ZOOM**2 + 1)
        return cls(d, curves.columns(d))

    def coarse(self, curves: SingleCurves) -> Array:
        """Gold on the first grid, shape (curve, GRID + 1)."""
        at = np.arange(0, len(self.d), ZOOM**2)
        return curves.weights[0, :, 0] @ self.columns[at].T + self._moving(curves, self.d[at])

    def near(self, curves: SingleCurves, at: NDArray[np.int64]) -> Array:
        """Gold of curve i at the points ``at[i]``, shape (curve, k)."""
        gold = np.matmul(self.columns[at], curves.weights[0, :, 0, :, None])[..., 0]
        return cast(Array, gold + self._moving(curves, self.d[at]))

    def _moving(self, curves: SingleCurves, d: Array) -> Array | float:
        """The part that has no common columns."""
        found = curves.moving(d if d.ndim == 1 else d[None, :, None])
        return found if isinstance(found, float) else found[0, :, 0]


def _highest(gold: Array) -> NDArray[np.int64]:
    """Where each row is highest between its points too: every summit counts with the parabola through its neighbours.

    Without that, of two nearly level humps the one whose top lies on a point would win.
    """
    left, middle, right = gold[:, :-2], gold[:, 1:-1], gold[:, 2:]
    bend = 2.0 * middle - left - right
    summit = (middle >= left) & (middle >= right) & (bend > 0)
    rise = np.divide((right - left) ** 2, 8.0 * bend, out=np.zeros_like(bend), where=summit)
    refined = gold.copy()
    refined[:, 1:-1] += rise
    return np.argmax(refined, axis=1)


def _on_lattice(curves: SingleCurves, lattice: _Lattice) -> tuple[Array, Array]:
    """KL and gold at the highest point of flat curves: of a grid, of finer ones around it, of a parabola."""
    end = len(lattice.d) - 1
    coarse = _highest(lattice.coarse(curves))
    centre, step, rows = coarse * ZOOM**2, ZOOM**2, np.arange(len(coarse))
    while step > 1:
        step //= ZOOM
        at = np.clip(centre[:, None] + step * np.arange(-ZOOM, ZOOM + 1), 0, end)
        gold = lattice.near(curves, at)
        best = np.clip(np.argmax(gold, axis=1), 1, 2 * ZOOM - 1)
        centre = at[rows, best]
    left, middle, right = (gold[rows, best + k] for k in (-1, 0, 1))
    bend = left - 2.0 * middle + right
    shift = np.clip(np.where(bend < 0, 0.5 * (left - right) / np.where(bend < 0, bend, -1.0), 0.0), -1.0, 1.0)
    peak_d = np.clip(lattice.d[centre] + shift * lattice.d[1], 0.0, lattice.d[-1])
    gold_peak = middle - 0.25 * (left - right) * shift
    rising, falling = (coarse == GRID) & (centre == end), (coarse == 0) & (gold.max(axis=1) <= 0.0)
    gold_end = lattice.near(curves, np.full((len(rows), 1), end))[:, 0]
    kl = np.where(rising, np.inf, np.where(falling, 0.0, peak_d**2))
    return kl, np.where(rising, gold_end, np.where(falling, 0.0, gold_peak))

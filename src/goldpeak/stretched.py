"""Draws of gold curves in peak coordinates: one shape for all runs of a draw, stretched to each curve's peak."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from goldpeak.discrepancy import Sines
from goldpeak.shapes import Shape, shape_at

__all__ = ["StretchedCurves"]

Array = NDArray[np.float64]

TABULATED = 400
"""Intervals of the table from which the shared discrepancy is interpolated; cubic, so that the error is rounding's."""


@dataclass(frozen=True)
class StretchedCurves:
    """Draws of gold curves R* (f(u; gamma) + bend + delta(u)) + own part, u = d / d*, one per item (a run, or a size).

    Attributes
    ----------
    shape : Shape
    dim : str
        ``run`` or ``rm_params``.
    items : ndarray, shape (item,)
        Labels along `dim`.
    d_star, gold_star, gamma : ndarray, shape (chain, draw, item)
        Place (square-root nats) and height of the shared shape's peak, and the shape parameter.
    shape_delta : ndarray, shape (draws of all chains, shape_sine), or None
        Coefficients of the shared discrepancy.
    sines : Sines or None
        Basis of the curves' own smooth part.
    delta : ndarray, shape (chain, draw, item, sine), or None
        Its coefficients, in the user's gold.
    bend : ndarray, shape (chain, draw, item), or None
        How much rounder curves with a later peak rise, see `shapes`.
    draw : ndarray of int, shape (chain, draw, item), optional
        Which row of `shape_delta` is a curve's; by default that of its draw.

    Examples
    --------
    One curve of the paper's best-of-n form with its peak at d = 2:

    >>> one = np.ones((1, 1, 1))
    >>> curves = StretchedCurves(Shape(1.0, None), "run", np.array(["a"]), 2 * one, one, one)
    >>> curves.gold([0.0, 2.0, 4.0]).ravel()
    array([0., 1., 0.])
    """

    shape: Shape
    dim: str
    items: NDArray[Any]
    d_star: Array
    gold_star: Array
    gamma: Array
    shape_delta: Array | None = None
    sines: Sines | None = None
    delta: Array | None = None
    bend: Array | None = None
    draw: NDArray[np.int64] | None = None

    @property
    def grid(self) -> tuple[int, ...]:
        """Numbers of chains, draws and items."""
        return self.d_star.shape

    @property
    def smooth(self) -> bool:
        """Whether anything is added to the form's closed shape."""
        return any(each is not None for each in (self.sines, self.shape_delta, self.bend))

    def gold(self, d: ArrayLike) -> Array:
        """Gold at d (square-root nats), shape (chain, draw, item, len(d))."""
        d = np.asarray(d, dtype=float)
        gold = self.form_gold(d)
        if self.sines is None or self.delta is None:
            return gold
        return gold + self.weights @ self.columns(d).T

    def form_peak(self) -> Array:
        """D at the peak of the shared shape, shape (chain, draw, item)."""
        return self.d_star

    def form_gold(self, d: Array) -> Array:
        """Gold of the stretched shape alone, of each curve at points of its own: (chain, draw, item, k) like d."""
        u = d / self.d_star[..., None]
        found = shape_at(u, self.gamma[..., None])
        if self.shape_delta is not None:
            found = found + self._shared_delta(u)
        if self.bend is not None:
            found = found + self.bend[..., None] * self.shape.bend(np.log(self.d_star[..., None]), u)
        return np.asarray(self.gold_star[..., None] * found)

    def shape_of(self, item: int, u: Array) -> Array:
        """The shape of one item's curve, the form's or the shared one, at u (point,): (chain, draw, point)."""
        one = self._each(lambda values: values[:, :, [item]])
        one = self.share(replace(one, gold_star=np.ones_like(one.gold_star)))
        return one.form_gold(u * one.d_star[..., None])[:, :, 0]

    def unit(self, d_star: Array, d: Array) -> Array:
        """Gold at d (point,) of flat curves with R* = 1 and other places of the peak, (draw, k): (draw, k, point)."""
        wide = self._each(lambda values: np.broadcast_to(values[0], d_star.shape)[None])
        moved = replace(wide, d_star=d_star[None], gold_star=np.ones_like(d_star)[None])
        return cast(Array, self.share(moved).form_gold(d)[0])

    def columns(self, d: Array) -> Array:
        """Columns that all curves have in common, at d: shape (len(d), sine)."""
        return self.sines.columns(d) if self.sines else np.empty((len(d), 0))

    @property
    def weights(self) -> Array:
        """Coefficients on `columns`, shape (chain, draw, item, sine)."""
        return np.empty((*self.grid, 0)) if self.delta is None else self.delta

    def moving(self, d: Array) -> Array:
        """Gold of what has no column in common: the stretched shape, see `form_gold`."""
        return self.form_gold(d)

    def flat(self) -> StretchedCurves:
        """The same curves with one long axis of (chain, draw, item): shape (1, all, 1)."""
        long = self._each(lambda values: values.reshape(1, -1, 1, *values.shape[3:]))
        return replace(long, items=self.items[:1])

    def one_chain(self) -> StretchedCurves:
        """The same curves, chains laid one after another: shape (1, all, item)."""
        return self.share(self._each(lambda values: values.reshape(1, -1, *values.shape[2:])))

    def part(self, draws: slice | NDArray[np.int64]) -> StretchedCurves:
        """Some of the draws."""
        return self.share(self._each(lambda values: values[:, draws]))

    def _each(self, change: Callable[[NDArray[Any]], NDArray[Any]]) -> StretchedCurves:
        """The same with every array changed that has (chain, draw, item)."""
        names = ("d_star", "gold_star", "gamma", "bend", "delta")
        values: dict[str, Any] = {name: change(old) for name in names if (old := getattr(self, name)) is not None}
        return replace(self, draw=change(self._draw), **values)

    def share(self, other: StretchedCurves) -> StretchedCurves:
        """Let other curves of the same draws use the table of the shared discrepancy: it belongs to all of them."""
        if self.shape_delta is not None:
            other.__dict__["_table"] = self._table
        return other

    @property
    def _draw(self) -> NDArray[np.int64]:
        if self.draw is not None:
            return self.draw
        chains, draws, items = self.grid
        return np.broadcast_to(np.arange(chains * draws).reshape(chains, draws, 1), (chains, draws, items))

    @cached_property
    def _table(self) -> tuple[Array, Array]:
        """The shared discrepancy and its slope times the step at equidistant points, (draw, TABULATED + 1)."""
        assert self.shape.sines
        assert self.shape_delta is not None
        length = self.shape.sines.length
        u = np.linspace(0.0, length, TABULATED + 1)
        # From the inside: beyond its length the discrepancy is 0.
        u[-1] = np.nextafter(length, 0.0)
        step = length / TABULATED
        return self.shape_delta @ self.shape.columns(u).T, step * (self.shape_delta @ self.shape.slopes(u).T)

    def _shared_delta(self, u: Array) -> Array:
        """The shared discrepancy at u (chain, draw, item, k), by cubic Hermite interpolation."""
        assert self.shape.sines
        values, slopes = self._table
        place = u * (TABULATED / self.shape.sines.length)
        inside = place < TABULATED
        cell = np.where(inside, place, 0.0).astype(np.int64)
        s = np.where(inside, place - cell, 0.0)
        at = self._draw[..., None] * (TABULATED + 1) + cell
        left, right, rise, fall = values.take(at), values.take(at + 1), slopes.take(at), slopes.take(at + 1)
        change = right - left
        bend = s * (1.0 - s) * ((1.0 - s) * (rise - change) - s * (fall - change))
        return np.where(inside, left + s * change + bend, 0.0)

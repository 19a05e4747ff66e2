"""A design in peak coordinates, linearised: the exact engine's model around given curves.

With y = R* (f(u; gamma) + s(u) c) + own part, u = d / d*, the derivatives in log d*, log R*, gamma and c are columns of
a linear model whose coefficients have the hierarchy's Gaussian priors.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from goldpeak.design import Design, Shared
from goldpeak.discrepancy import Sines
from goldpeak.shapes import shape_at, shape_gamma_slope, shape_slope

__all__ = ["FLOOR", "Linearised", "Point", "linearise", "start"]

Array = NDArray[np.float64]

FLOOR = 0.02**2
"""Variance added to the known one in the first guess, which does not know the noise's own part yet."""
REACH = 0.7
"""How far beyond the last point, in log d, the first guess looks for a run's peak."""


@dataclass(frozen=True)
class Point:
    """Where a design is linearised.

    Attributes
    ----------
    log_d, log_gold : ndarray, shape (run,)
        Logs of d* and R*.
    gamma, gamma_slope, bend : float
    shape : ndarray, shape (sine,)
        Coefficients of the shared discrepancy.
    """

    log_d: Array
    log_gold: Array
    gamma: float
    gamma_slope: float
    bend: float
    shape: Array


@dataclass(frozen=True, kw_only=True)
class Linearised(Design):
    """A design whose columns and response are those of the linear model.

    Columns of a run: log d* and log R*, what is learned of gamma and bend, the shape's sines, its own sines.

    Attributes
    ----------
    matrix : ndarray, shape (point, width)
    """

    matrix: Array

    @property
    def columns_move(self) -> bool:
        """No column changes with an outer parameter."""
        return False

    @property
    def width(self) -> int:
        """Columns of a run."""
        return int(self.matrix.shape[1])

    @property
    def own_columns(self) -> range:
        """Which columns of a run are its own sines."""
        return range(self.kept, self.width)

    @property
    def kept(self) -> int:
        """All but the run's own sines, which no other run has a part in."""
        return self.width - (self.sines.count if self.sines else 0)

    def columns(self) -> Array:
        """Shape (point, width)."""
        return self.matrix

    @property
    def shared(self) -> list[Shared]:
        """gamma, its slope, the bend and the shape's discrepancy."""
        assert self.shape
        form, learned, found = self.card.form, _learned(self), []
        every = np.ones(len(self.rm))
        if self.shape.sines:
            columns = range(2 + len(learned), self.kept)
            smooth = Shared(
                "delta_shape", columns, every, scale="eta_shared", lengthscale="lengthscale", sines=self.shape.sines
            )
            found.append(smooth)
        # Gamma is next to the trends: like these it is drawn with heavy tails, see `GlobalColumns.unbounded`.
        for name, column in reversed(learned.items()):
            prior = getattr(form, name)
            found.append(Shared(name, range(column, column + 1), every, prior.mu, prior.sigma))
        if form.gamma_slope:
            slope = form.gamma_slope
            found.append(Shared("gamma_slope", range(2, 3), self.x_rm, slope.mu, slope.sigma))
        return found

    def with_fewer_sines(self) -> Linearised:
        """Half of the run's own basis."""
        assert self.sines
        kept = -(-self.sines.count // 2)
        return replace(self, sines=Sines(self.sines.length, kept), matrix=self.matrix[:, : self.kept + kept])


def _learned(design: Design) -> dict[str, int]:
    """Which column of a run is that of gamma and of the bend, where they are learned."""
    form = design.card.form
    names = [name for name in ("gamma", "bend") if getattr(form, name) is not None]
    return {name: 2 + i for i, name in enumerate(names)}


def linearise(design: Design, at: Point) -> Linearised:
    """The linear model of a design in peak coordinates around a point."""
    curve, matrix = _derivatives(design, at)
    values: dict[str, Any] = {f.name: getattr(design, f.name) for f in fields(Design)}
    response = design.y - curve + np.sum(matrix * _coefficients(design, at)[design.run_index], axis=1)
    return Linearised(**(values | {"y": response, "matrix": matrix}))


def _derivatives(design: Design, at: Point) -> tuple[Array, Array]:
    """The curves at every point, (point,), and their derivatives, (point, width)."""
    assert design.shape
    shape, run = design.shape, design.run_index
    u = design.d * np.exp(-at.log_d[run])
    height = np.exp(at.log_gold[run])
    gamma = at.gamma + at.gamma_slope * design.x[run]
    smooth = shape.columns(u) if shape.sines else np.empty((len(u), 0))
    smooth_slope = shape.slopes(u) @ at.shape if shape.sines else 0.0
    log_d = at.log_d[run]
    by_bend = height * shape.bend(log_d, u)
    curve = height * (shape_at(u, gamma) + smooth @ at.shape) + at.bend * by_bend
    by_log_d = height * (at.bend * shape.bend_slope(log_d, u) - u * (shape_slope(u, gamma) + smooth_slope))
    sines = design.sines.columns(design.d) if design.sines else np.empty((len(u), 0))
    by = {"gamma": height * shape_gamma_slope(u, gamma), "bend": by_bend}
    return curve, np.column_stack(
        [by_log_d, curve, *(by[name] for name in _learned(design)), height[:, None] * smooth, sines]
    )


def _coefficients(design: Design, at: Point) -> Array:
    """The point as coefficients of the columns of each run, (run, width); the runs' own parts are 0."""
    assert design.shape
    runs = len(design.run)
    own = np.zeros((runs, design.sines.count if design.sines else 0))
    values = {"gamma": at.gamma + at.gamma_slope * design.x, "bend": np.full(runs, at.bend)}
    learned = [values[name] for name in _learned(design)]
    return np.column_stack([at.log_d, at.log_gold, *learned, np.broadcast_to(at.shape, (runs, len(at.shape))), own])


def start(design: Design) -> Point:
    """A first guess: each run alone by least squares, with gamma at its prior mean and nothing smooth."""
    assert design.shape
    gamma = design.shape.gamma if design.card.form.gamma is None else design.card.form.gamma.mu
    assert gamma is not None
    log_d, log_gold = zip(*(_fit_run(design, r, gamma) for r in range(len(design.run))), strict=True)
    sines = design.shape.sines.count if design.shape.sines else 0
    bend = design.card.form.bend.mu if design.card.form.bend else 0.0
    return Point(np.array(log_d), np.array(log_gold), gamma, 0.0, bend, np.zeros(sines))


def _fit_run(design: Design, run: int, gamma: float) -> tuple[float, float]:
    """log d* and log R* of one run."""
    mine = (design.run_index == run) & (design.d > 0)
    d, y = design.d[mine], design.y[mine]
    weight = 1.0 / (design.se[mine] ** 2 + FLOOR)
    grid = np.linspace(np.log(np.quantile(d, 0.2)), np.log(d.max()) + REACH, 60)
    f = shape_at(d * np.exp(-grid[:, None]), gamma)
    bottom = (f**2) @ weight
    height = np.maximum((f * y) @ weight / bottom, 1e-3)
    misfit = ((y - height[:, None] * f) ** 2) @ weight
    best = int(np.argmin(misfit))
    return float(grid[best]), float(np.log(height[best]))

"""What one run says of its two stretches, integrated: the importance correction of `laplace_is`.

Given the shared shape and the outer parameters a run's gold is R* F(d / d*) plus Gaussian noise and its own smooth
part, which integrate out. What is left is a function of (log d*, log R*): Gaussian in R* itself, with coefficients a
and b that are smooth functions of log d*. They are tabulated at Chebyshev points of log d* and interpolated; the
integral over the hierarchy's prior is then two sums, however one-sided the likelihood.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from goldpeak.design import Design
from goldpeak.engines.gaussian import invert_lower
from goldpeak.engines.linearised import Linearised
from goldpeak.engines.log_normal import draw_log_normal, draw_on_grid, log_normal_integral
from goldpeak.noise import variance
from goldpeak.shapes import shape_at

__all__ = ["Draws", "Prior", "RunTable", "Whitened", "stretched_gold"]

Array = NDArray[np.float64]
Outer = dict[str, Array]

ACROSS = 36
"""Points of the sum over log d*."""
FAR = 7.0
"""Prior sds of log d* that the sum reaches to."""
FALL = 30.0
"""Nats below its highest at which a likelihood is negligible."""
LEAST_SD = 1e-4
"""Least prior sd of log d* and log R*: the sums need some width where a card lets nothing scatter."""


@dataclass(frozen=True)
class Prior:
    """Normal prior of (log d*, log R*) of one run, for each draw.

    Attributes
    ----------
    mean : ndarray, shape (draw, 2)
    sd_d : ndarray, shape (draw,)
        Of log d*.
    lean : ndarray, shape (draw,)
        Regression of log R* on log d*.
    sd_gold : ndarray, shape (draw,)
        Of log R* given log d*.
    """

    mean: Array
    sd_d: Array
    lean: Array
    sd_gold: Array

    @classmethod
    def of(cls, mean: Array, covariance: Array) -> Prior:
        """From a mean (draw, 2) and a covariance (draw, 2, 2)."""
        sd_d = np.sqrt(np.maximum(covariance[:, 0, 0], LEAST_SD**2))
        lean = covariance[:, 0, 1] / sd_d**2
        rest = covariance[:, 1, 1] - lean**2 * sd_d**2
        return cls(mean, sd_d, lean, np.sqrt(np.maximum(rest, LEAST_SD**2)))

    def middle(self, t: Array) -> Array:
        """Mean of log R* given log d* = t, (draw,) or (draw, k)."""
        mean, lean = (self.mean, self.lean) if t.ndim == 1 else (self.mean[:, :, None], self.lean[:, None])
        return np.asarray(mean[:, 1] + lean * (t - mean[:, 0]))

    @property
    def root(self) -> Array:
        """Lower triangular root of the covariance, (draw, 2, 2)."""
        found = np.zeros((len(self.sd_d), 2, 2))
        found[:, 0, 0], found[:, 1, 0], found[:, 1, 1] = self.sd_d, self.lean * self.sd_d, self.sd_gold
        return found


@dataclass(frozen=True)
class Draws:
    """Draws of the shared parameters: arrays with draws along the first axis.

    Attributes
    ----------
    h : dict of str to ndarray
        Outer parameters.
    gamma, gamma_slope, bend : ndarray, shape (draw,)
    shape : ndarray, shape (draw, sine)
    """

    h: Outer
    gamma: Array
    gamma_slope: Array
    bend: Array
    shape: Array

    def take(self, rows: slice | NDArray[np.int64]) -> Draws:
        """Some of them."""
        h = {name: values[rows] for name, values in self.h.items()}
        return Draws(h, self.gamma[rows], self.gamma_slope[rows], self.bend[rows], self.shape[rows])


class RunTable:
    """One run at Chebyshev points of log d*.

    Parameters
    ----------
    design : Design
    linear : Linearised
        The same design, linearised.
    run : int
    low, high : float
        Range of log d*.
    count : int
        Number of points.
    """

    def __init__(self, design: Design, linear: Linearised, run: int, low: float, high: float, count: int) -> None:
        assert design.shape
        mine = design.run_index == run
        self.design, self.linear, self.run = design, linear, run
        known = design.measurement
        self.d, self.y = design.d[mine], known.independent_of_run(run, design.y[mine])
        self.x = design.x[run]
        self.matrix = known.independent_of_run(run, linear.matrix[mine, : linear.kept].T).T
        self.response = known.independent_of_run(run, linear.y[mine])
        self.low, self.high = low, high
        angle = np.pi * np.arange(count) / (count - 1)
        self.nodes = 0.5 * (low + high) - 0.5 * (high - low) * np.cos(angle)
        self.u = self.d * np.exp(-self.nodes[:, None])
        self.bend = design.shape.bend(self.nodes[:, None], self.u)
        columns = design.shape.columns(self.u) if design.shape.sines else np.empty((*self.u.shape, 0))
        self.columns = np.ascontiguousarray(columns.reshape(self.u.size, columns.shape[-1]).T)

    def with_nodes(self, count: int) -> RunTable:
        """The same run and range, at other points."""
        return RunTable(self.design, self.linear, self.run, self.low, self.high, count)

    def at(self, draws: Draws) -> Table:
        """The likelihood's coefficients given the shared parameters."""
        noise = Whitened.of(self.design, self.run, draws.h)
        gamma = draws.gamma + draws.gamma_slope * self.x
        curve = shape_at(self.u, gamma[:, None, None])
        if self.design.card.form.bend:
            curve += draws.bend[:, None, None] * self.bend
        if len(self.columns):
            curve += (draws.shape @ self.columns).reshape(curve.shape)
        curve = self.design.measurement.independent_of_run(self.run, curve)
        y = np.broadcast_to(self.y, (len(gamma), 1, len(self.y)))
        a = noise.products(curve, curve)
        b = noise.cross(curve, y)[..., 0]
        return Table(self, noise, curve, a, b, noise.products(y, y)[:, 0])

    def error(self, draws: Draws) -> float:
        """Largest error of interpolation where the likelihood is not negligible, in nats."""
        finer = self.with_nodes(2 * len(self.nodes))
        exact, table = finer.at(draws), self.at(draws)
        a, b = table.between(np.broadcast_to(finer.nodes, exact.a.shape))
        gold = np.maximum(exact.b, 0.0) / exact.a
        profile = 0.5 * gold * exact.b
        matters = profile > profile.max(axis=1, keepdims=True) - FALL
        off = np.abs((b - exact.b) * gold - 0.5 * (a - exact.a) * gold**2)
        return float(off[matters].max())

    def interpolate(self, t: Array, *values: Array) -> list[Array]:
        """Values at the nodes (draw, node, ...), interpolated at t (draw, k): (draw, k, ...)."""
        weight = (-1.0) ** np.arange(len(self.nodes))
        weight[[0, -1]] *= 0.5
        away = t[..., None] - self.nodes
        terms = weight / np.where(np.abs(away) < 1e-13, 1e-13, away)
        shares = terms / terms.sum(axis=-1, keepdims=True)
        return [np.matmul(shares, v if v.ndim == 3 else v[..., None]).reshape(*t.shape, *v.shape[2:]) for v in values]


@dataclass(frozen=True)
class Whitened:
    """Inverse of a run's noise covariance, its own smooth part included: W - (Z W)^T (Z W) by the Woodbury identity.

    Attributes
    ----------
    weight : ndarray, shape (draw, point)
    low_rank : ndarray, shape (draw, sine, point)
    inverse : ndarray, shape (draw, sine, sine)
        Of the Cholesky factor of the precision of the smooth part's coefficients in units of their prior sds.
    spread : ndarray, shape (draw, sine)
        Those sds.
    """

    weight: Array
    low_rank: Array
    inverse: Array
    spread: Array

    @classmethod
    def of(cls, design: Design, run: int, h: Outer) -> Whitened:
        """Of one run, given outer parameters of shape (draw,); of several draws with the same ones it is made once."""
        _, first, repeat = np.unique(h["sigma"], return_index=True, return_inverse=True)
        once = cls._of_each(design, run, {name: values[first] for name, values in h.items()})
        return cls(*(values[repeat] for values in (once.weight, once.low_rank, once.inverse, once.spread)))

    @classmethod
    def _of_each(cls, design: Design, run: int, h: Outer) -> Whitened:
        mine = design.run_index == run
        known = design.measurement
        weight = 1.0 / variance(known.independent_se[mine], h["sigma"][:, None])
        draws, sines = len(weight), design.sines
        if not sines:
            none = np.zeros((draws, 0))
            return cls(weight, np.zeros((draws, 0, weight.shape[1])), np.zeros((draws, 0, 0)), none)
        columns = known.independent_of_run(run, sines.columns(design.d[mine]).T).T
        spread = h["eta_run"][:, None] * np.sqrt(sines.variances(h[design.run_lengthscale]))
        weighted = spread[:, :, None] * (columns.T * weight[:, None, :])
        precision = (weighted @ columns) * spread[:, None, :] + np.eye(sines.count)
        inverse = invert_lower(np.linalg.cholesky(precision))
        return cls(weight, inverse @ weighted, inverse, spread)

    def products(self, first: Array, second: Array) -> Array:
        """f V^-1 g for each pair of (draw, k, point): (draw, k)."""
        direct = np.sum(first * second * self.weight[:, None], axis=-1)
        left = self.low_rank @ first.swapaxes(-1, -2)
        right = left if first is second else self.low_rank @ second.swapaxes(-1, -2)
        return np.asarray(direct - np.sum(left * right, axis=-2))

    def cross(self, first: Array, second: Array) -> Array:
        """F V^-1 G for (draw, k, point) and (draw, l, point): (draw, k, l)."""
        direct = (first * self.weight[:, None]) @ second.swapaxes(-1, -2)
        left, right = (self.low_rank @ v.swapaxes(-1, -2) for v in (first, second))
        return np.asarray(direct - left.swapaxes(-1, -2) @ right)

    def draw_smooth(self, residual: Array, rng: np.random.Generator) -> Array:
        """The smooth part's coefficients given what it and noise have to explain (draw, point): (draw, sine)."""
        white = (self.low_rank @ residual[..., None])[..., 0]
        white = white + rng.standard_normal(white.shape)
        return self.spread * (self.inverse.swapaxes(-1, -2) @ white[..., None])[..., 0]


@dataclass(frozen=True)
class Table:
    """The log likelihood b R - a R^2 / 2 + constant of one run, for each draw and at each point of log d*.

    Attributes
    ----------
    curve : ndarray, shape (draw, node, point)
        The shape, F.
    a, b : ndarray, shape (draw, node)
    square : ndarray, shape (draw,)
        y V^-1 y.
    """

    run: RunTable
    noise: Whitened
    curve: Array
    a: Array
    b: Array
    square: Array

    def between(self, t: Array) -> tuple[Array, Array]:
        """a and b at t, (draw, k). Of a the log is interpolated: it is positive, and spans many orders of magnitude."""
        log_a, b = self.run.interpolate(t, np.log(np.maximum(self.a, np.finfo(float).tiny)), self.b)
        return np.exp(log_a), b

    def integrate(self, prior: Prior) -> tuple[Array, Array, Array]:
        """Log integral over the prior, (draw,); and the points in log d* (draw, k) with their shares, logs."""
        t = self._across(prior)
        a, b = self.between(t)
        over_gold = log_normal_integral(a, b, prior.middle(t), prior.sd_gold[:, None])
        z = (t - prior.mean[:, :1]) / prior.sd_d[:, None]
        step = (t[:, 1] - t[:, 0]) / prior.sd_d
        shares = over_gold - 0.5 * z**2 - 0.5 * np.log(2 * np.pi)
        log_integral = np.logaddexp.reduce(shares, axis=1) + np.log(step) - 0.5 * self.square
        return log_integral, t, shares

    def _across(self, prior: Prior) -> Array:
        """Equidistant points over where prior and likelihood meet, (draw, ACROSS)."""
        nodes = self.run.nodes
        profile = 0.5 * np.maximum(self.b, 0.0) ** 2 / self.a
        alive = profile > profile.max(axis=1, keepdims=True) - FALL
        first, last = np.argmax(alive, axis=1), len(nodes) - 1 - np.argmax(alive[:, ::-1], axis=1)
        low, high = nodes[np.maximum(first - 1, 0)], nodes[np.minimum(last + 1, len(nodes) - 1)]
        reach = FAR * prior.sd_d
        # Where prior and likelihood do not meet the sum is over the likelihood's end nearest to the prior.
        start = np.clip(prior.mean[:, 0] - reach, low, high - 1e-6)
        stop = np.clip(prior.mean[:, 0] + reach, start + 1e-6, np.maximum(high, start + 1e-6))
        return start[:, None] + (stop - start)[:, None] * np.linspace(0.0, 1.0, ACROSS)

    def draw(self, prior: Prior, t: Array, shares: Array, rng: np.random.Generator) -> tuple[Array, Array, Array]:
        """log d* and log R* (draw,) and the coefficients of the run's own smooth part (draw, sine)."""
        log_d = draw_on_grid(t, shares, rng)
        a, b = (v[:, 0] for v in self.between(log_d[:, None]))
        curve = self.run.interpolate(log_d[:, None], self.curve)[0][:, 0]
        log_gold = draw_log_normal(a, b, prior.middle(log_d), prior.sd_gold, rng)
        return log_d, log_gold, self.noise.draw_smooth(self.run.y - np.exp(log_gold)[:, None] * curve, rng)

    def linear_integral(self, prior: Prior, draws: Draws) -> Array:
        """The same integral of the linearised model, (draw,)."""
        run = self.run
        form = run.design.card.form
        gamma = [draws.gamma + draws.gamma_slope * run.x] if form.gamma else []
        bend = [draws.bend] if form.bend else []
        fixed = np.column_stack([prior.mean, *gamma, *bend, draws.shape])
        residual = (run.response - fixed @ run.matrix.T)[:, None]
        both = prior.root.swapaxes(-1, -2) @ np.broadcast_to(run.matrix[:, :2].T, (len(self.a), 2, len(run.y)))
        precision = self.noise.cross(both, both) + np.eye(2)
        pull = self.noise.cross(both, residual)[..., 0]
        misfit = self.noise.products(residual, residual)[:, 0]
        explained = np.sum(pull * np.linalg.solve(precision, pull[..., None])[..., 0], axis=1)
        return np.asarray(-0.5 * (misfit - explained + np.linalg.slogdet(precision)[1]))


def stretched_gold(design: Design, run: int, flat: dict[str, Array]) -> Array:
    """A run's gold but for its own smooth part, (draw, points of the run), from variables with draws first."""
    assert design.shape
    nothing = np.zeros(len(flat["sigma"]))
    u = design.d[design.run_index == run] / flat["d_star"][:, [run]]
    gamma = flat.get("gamma", nothing + (design.shape.gamma or 0.0))
    gamma = gamma + flat.get("gamma_slope", nothing) * design.x[run]
    shape = shape_at(u, gamma[:, None])
    if "bend" in flat:
        shape += flat["bend"][:, None] * design.shape.bend(np.log(flat["d_star"][:, [run]]), u)
    if design.shape.sines:
        shape += np.einsum("spm,sm->sp", design.shape.columns(u), flat["delta_shape"], optimize=True)
    return np.asarray(flat["gold_star"][:, [run]] * shape)

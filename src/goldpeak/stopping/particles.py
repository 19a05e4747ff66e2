r"""A run under way, as weighted draws: each is a draw of the fleet together with a curve of the run itself.

Given a draw, and where the curve bends (t and R of `newrun`), the run's other coefficients w are normal. A point at d
with gold y updates them exactly: with P their covariance, z the columns at d and s = z'Pz + the noise's variance,

.. math:: w \leftarrow w + P z (y - \hat y) / s, \qquad P \leftarrow P - P z (P z)^T / s ,

and the draw's weight is multiplied by N(y; y-hat, s). A *draw* of w, not only its mean, moves in the same way once
noise of its own is added to its prediction (Matheron's rule), so that it stays a draw of the conditional distribution.

P is kept as its prior diagonal less A'A, a row of A for each point. When weights become uneven the particles are made
anew from *all* draws of the fleet: weights from `conditioning`, t and R from their conditional distribution, the rest
by replaying the points. So nothing degenerates, however often that happens.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from goldpeak.conditioning import condition
from goldpeak.engines.proposal import effective, relative, tempered
from goldpeak.errors import FitError
from goldpeak.mixture import systematic
from goldpeak.newrun import Known, NewRun

__all__ = ["Particles", "Point", "Prediction", "Single"]

Array = NDArray[np.float64]
Single = NDArray[np.float32]
Rows = NDArray[np.int64]

FEW = 100.0
"""Effective draws of the fleet that a run's points must leave; at most a quarter of them."""
LOWEST = 1e-9
"""Least power of weights that leaves so many: densities of a run far from all draws may lie a million nats apart."""
AT_ONCE = 100
"""Particles whose rows fit into a processor's cache."""
SHARE = 0.5
"""Particles are made anew when their effective number falls below this share of them."""


@dataclass(frozen=True)
class Point:
    """A measured point: d in square-root nats, gold and its standard error in the user's units."""

    d: float
    gold: float
    se: float


@dataclass(frozen=True)
class Prediction:
    """What particles expect of a point.

    Attributes
    ----------
    point : Point
    z : ndarray, shape (particle or 1, column)
        The columns there.
    predicted, spread : ndarray, shape (particle,)
        Mean and variance of the point's gold, noise included.
    linear : ndarray, shape (particle,)
        What of the mean comes from the coefficients.
    noise : ndarray, shape (particle,)
        The noise's variance.
    pull : ndarray, shape (particle, column)
        Pz.
    """

    point: Point
    z: Array
    predicted: Array
    spread: Array
    linear: Array
    noise: Array
    pull: Array

    @property
    def miss(self) -> Array:
        """The point's gold less what was expected."""
        return self.point.gold - self.predicted

    @cached_property
    def log_densities(self) -> Array:
        """Of the point's gold, shape (particle,)."""
        return np.asarray(-0.5 * (np.log(2.0 * np.pi * self.spread) + self.miss**2 / self.spread))

    def log_density(self, log_weights: Array) -> float:
        """Of the point's gold, averaged over the particles."""
        return log_total(log_weights + self.log_densities) - log_total(log_weights)

    def below(self, weights: Array) -> float:
        """P(gold <= the point's)."""
        from scipy.special import ndtr

        return float(weights @ ndtr(self.miss / np.sqrt(self.spread)))

    @property
    def away(self) -> float:
        """How many standard deviations the point lies off what is expected, by the particle nearest to it."""
        return float(np.min(np.abs(self.miss) / np.sqrt(self.spread)))


@dataclass
class Particles:
    """Draws of a run's curve given the fleet and the run's points so far.

    Attributes
    ----------
    fleet : NewRun
        The run given each draw of the fleet.
    d_grid : ndarray, shape (grid,)
        Where curves are tabulated (square-root nats), equidistant from 0.
    seed : int
        With the number of the point it makes every random number: the same points give the same state.
    counts_se : bool
        Whether standard errors count: under noise ``iid`` they do not.
    points : list of Point
    log_weights : ndarray, shape (particle,)
    log_evidence : float
        Log density of all points given the fleet.
    agreeing : float
        Effective number of the fleet's draws when the particles were last made anew, before any tempering.
    """

    fleet: NewRun
    d_grid: Array
    seed: int
    counts_se: bool = True
    points: list[Point] = field(default_factory=list)
    log_evidence: float = 0.0
    agreeing: float = np.inf

    def __post_init__(self) -> None:
        if "noise_lengthscale" in self.fleet.noise.h:
            raise FitError(
                "the posterior's card has noise 'ou', whose points cannot be taken one by one here; allowed: iid, "
                "known, cov (independent points)"
            )
        self._set(np.arange(self.fleet.draws), None)

    def _set(self, index: Rows, bent: tuple[Array, Array] | None) -> None:
        """Particles at draws `index` of the fleet, with t and R given or from their prior; the points not counted."""
        rng = np.random.default_rng([self.seed, len(self.points)])
        run = self.fleet.take(index)
        self._index, self._run, self._rng = index, run, rng
        self._variance = run.linear.sd**2
        if "offset_sd" in run.noise.h:
            self._variance = np.column_stack([self._variance, run.noise.h["offset_sd"] ** 2])
        self._mean = np.zeros_like(self._variance)
        self._mean[:, : run.linear.mean.shape[1]] = run.linear.mean
        self._draw = self._mean + np.sqrt(self._variance) * rng.standard_normal(self._mean.shape)
        width = self._mean.shape[1]
        # Room for twice as many as there are columns; memory that is not used costs nothing.
        self._rows, self._count = np.empty((len(index), 2 * width, width)), 0
        self._noise = run.noise.h["sigma"] ** 2 + run.noise.floor**2
        self.log_weights = np.zeros(len(index))
        if run.bent is not None and bent is None:
            prior = run.bent.prior
            t = prior.mean[:, 0] + prior.sd_d * rng.standard_normal(len(index))
            bent = t, prior.middle(t) + prior.sd_gold * rng.standard_normal(len(index))
        self._bent = bent
        self._tabulate()

    def _tabulate(self) -> None:
        """What of the curves on the grid does not change until the particles are made anew, (grid, particle)."""
        self._fixed = _single(self._bent_gold(self.d_grid).T)
        linear = self._run.linear
        self._moving: Single | None = None
        columns = linear.columns(self.d_grid)
        shared = columns[0].copy()
        if len(columns) > 1 and 1 in linear.picks:
            self._moving_column = linear.picks.index(1)
            self._moving = _single(columns[:, :, self._moving_column].T)
            shared[:, self._moving_column] = 0.0
        self._columns = _single(shared)

    def _bent_gold(self, d: Array) -> Array:
        """R F + o of each particle at d (point,), shape (particle, point)."""
        bent = self._run.bent
        if bent is None or self._bent is None:
            return np.zeros((len(self._index), len(d)))
        offset, curve = bent.parts(self._bent[0][:, None], d)
        gold = np.zeros((len(self._index), len(d)))
        if offset is not None:
            gold += offset[:, 0]
        if curve is not None:
            gold += np.exp(self._bent[1])[:, None] * curve[:, 0]
        return gold

    def _columns_at(self, d: float) -> Array:
        """z, shape (particle or 1, column), the offset's included."""
        z = self._run.linear.columns(np.array([d]))[:, 0]
        extra = self._mean.shape[1] - z.shape[1]
        return np.column_stack([z, np.full((len(z), extra), float(d > 0))]) if extra else z

    def look(self, point: Point) -> Prediction:
        """What is expected of a point, before it is taken in."""
        z = self._columns_at(point.d)
        pull = self._variance * z
        shared = np.broadcast_to(z, pull.shape)
        # Part by part, so that what the first product has read is still in the cache for the second.
        for part in [slice(i, i + AT_ONCE) for i in range(0, len(pull), AT_ONCE)] if self._count else []:
            rows = self._rows[part, : self._count]
            onto = np.matmul(rows, shared[part, :, None])
            pull[part] -= np.matmul(onto.swapaxes(-1, -2), rows)[:, 0]
        known = point.se if self.counts_se else 0.0
        noise = self._noise + known**2
        linear = predicted = _by_row(self._mean, z)
        if self._bent is not None:
            predicted = linear + self._bent_gold(np.array([point.d]))[:, 0]
        return Prediction(point, z, predicted, _by_row(pull, z) + noise, linear, noise, pull)

    def add(self, point: Point, found: Prediction | None = None) -> None:
        """Take a point in; `found` is what `look` said of it, where that is known."""
        found = found or self.look(point)
        self.log_evidence += found.log_density(self.log_weights)
        self._absorb(found)
        self.points.append(point)

    def _absorb(self, found: Prediction) -> None:
        miss = found.miss
        self.log_weights = self.log_weights + found.log_densities
        noise = np.sqrt(found.noise) * self._rng.standard_normal(len(miss))
        drawn = miss - (_by_row(self._draw, found.z) - found.linear) - noise
        step = np.empty_like(found.pull)
        for state, away in ((self._mean, miss), (self._draw, drawn)):
            state += np.multiply(found.pull, (away / found.spread)[:, None], out=step)
        if self._count == self._rows.shape[1]:
            # As many rows as columns say the same: A'A = R'R.
            self._count = self._rows.shape[2]
            self._rows[:, : self._count] = np.linalg.qr(self._rows, mode="r")
        np.multiply(found.pull, (found.spread**-0.5)[:, None], out=self._rows[:, self._count])
        self._count += 1

    @property
    def weights(self) -> Array:
        """Sum to 1, shape (particle,)."""
        weights = np.exp(self.log_weights - self.log_weights.max())
        return np.asarray(weights / weights.sum())

    @property
    def fleet_weights(self) -> Array:
        """Of the fleet's draws: several particles may share one. Sum to 1, shape (draw,)."""
        return np.bincount(self._index, weights=self.weights, minlength=self.fleet.draws)

    @property
    def uneven(self) -> bool:
        """Whether so few particles carry the weight that they had better be made anew."""
        return effective(self.weights) < SHARE * len(self._index)

    def rejuvenate(self) -> None:
        """Make the particles anew, from all draws of the fleet, given all points; their weights become equal.

        Where hardly any of the fleet's draws agree with the run, its say on which do is tempered until `FEW` are left:
        a posterior that rests on a handful of draws would be sure of too much.
        """
        d, gold, se = (np.array(v) for v in zip(*((p.d, p.gold, p.se) for p in self.points), strict=True))
        found = condition(self.fleet, d, gold, Known(se if self.counts_se else np.zeros_like(se)))
        self.agreeing = effective(relative(found.log_density))
        weights = tempered(found.log_density, min(FEW, 0.25 * len(found.log_density)), LOWEST)
        rng = np.random.default_rng([self.seed, len(self.points), 1])
        index = systematic(weights, self.fleet.draws, float(rng.random()))
        bent = found.draw_bent(index, rng) if self.fleet.bent is not None else None
        # The evidence of all points at once is better than the product of what each particle system said of one.
        self.log_evidence = log_total(found.log_density) - float(np.log(len(weights)))
        self._set(index, bent)
        for point in self.points:
            self._absorb(self.look(point))
        self.log_weights = np.zeros(len(index))

    def widened(self, factor: float) -> Particles:
        """The same with all that is a run's own `factor` times as wide, and no points yet."""
        linear, bent = self.fleet.linear, self.fleet.bent
        if bent is not None:
            prior = bent.prior
            bent = replace(bent, prior=replace(prior, sd_d=factor * prior.sd_d, sd_gold=factor * prior.sd_gold))
        wide = NewRun(replace(linear, sd=factor * linear.sd), bent, self.fleet.noise)
        return Particles(wide, self.d_grid, self.seed, self.counts_se)

    def gold(self) -> Single:
        """Curves on the grid, shape (grid, particle): six digits are enough for peaks, in half the time."""
        draw = _single(self._draw[:, : self._columns.shape[-1]].T)
        found = self._columns @ draw
        if self._bent is not None:
            found += self._fixed
        if self._moving is not None:
            found += self._moving * draw[self._moving_column]
        return np.asarray(found)


def _by_row(values: Array, z: Array) -> Array:
    """Inner product of each particle's values with its z, (particle, column) with (particle or 1, column)."""
    return np.asarray(values @ z[0] if len(z) == 1 else np.einsum("ij,ij->i", values, z))


def _single(values: Array) -> Single:
    return np.ascontiguousarray(values, dtype=np.float32)


def log_total(logs: Array) -> float:
    """Log of the sum of numbers given by their logs: ten times as fast as ``np.logaddexp.reduce``."""
    top = logs.max()
    return float(top + np.log(np.sum(np.exp(logs - top))))

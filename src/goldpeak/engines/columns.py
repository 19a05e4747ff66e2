"""The columns of the exact engine's linear model: those of the points, and the global ones.

Both are built once from a design; what changes with the outer parameters is computed for a batch of draws.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import cast

import numpy as np
from numpy.typing import NDArray

from goldpeak.design import Design
from goldpeak.engines.gaussian import explained
from goldpeak.engines.markov import MarkovPoints
from goldpeak.engines.padding import pad
from goldpeak.engines.student import StudentPoints
from goldpeak.noise import Statistics, choose_nodes, gather, variance

__all__ = ["GlobalColumns", "Points", "Tile", "points_of", "statistics", "tiles"]

Array = NDArray[np.float64]
Outer = dict[str, Array]
Padded = tuple[Array, Array, Array, Array]

TILE_RUNS = 16
"""Runs worked on at once: few enough for the cache, many enough that numpy's overhead does not matter."""


def statistics(design: Design, points: NDArray[np.int64] | None = None) -> Statistics:
    """Sums over all points of a design, or over some of them."""
    some = slice(None) if points is None else points
    columns, y, se = independent(design)
    # Of all points, so that the statistics of chunks have the same nodes.
    nodes = choose_nodes(se, design.run_index)
    return gather(columns[some], y[some], se[some], design.run_index[some], len(design.run), nodes)


def independent(design: Design) -> tuple[Array, Array, Array]:
    """Columns, gold and standard errors of points with independent noise: turned where they are correlated."""
    known = design.measurement
    return known.independent(design.columns()), known.independent(design.y), known.independent_se


@dataclass(frozen=True)
class Points:
    """The points of a design, as weighted Gram matrices of the outer parameters.

    Attributes
    ----------
    fixed : Statistics
        Of the columns that do not change.
    padded : tuple of ndarray, or None
        What the one that does is computed from: d, standard errors, which points there are, and the other columns.
    turn : ndarray, shape (run, n, n), or None
        What makes correlated points independent.
    """

    design: Design
    fixed: Statistics
    padded: Padded | None
    turn: Array | None = None

    @classmethod
    def of(cls, design: Design) -> Points:
        if not design.columns_move:
            return cls(design, statistics(design), None)
        columns, y, se = independent(design)
        z = np.column_stack([columns, y])
        padded = pad(design.run_index, len(design.run), design.d, se, np.ones(len(design.d)), z)
        turn = design.measurement.turn
        return cls(design, statistics(design), cast(Padded, padded), turn.padded() if turn else None)

    @property
    def count(self) -> int:
        """Number of points."""
        return round(self.fixed.count.sum())

    def take(self, runs: NDArray[np.int64]) -> Points:
        """The points of some runs, in that order."""
        padded = None if self.padded is None else tuple(values[runs] for values in self.padded)
        turn = None if self.turn is None else self.turn[runs]
        return Points(self.design, self.fixed.take(runs), cast(Padded | None, padded), turn)

    def gram(self, h: Outer) -> tuple[Array, Array]:
        """Augmented Gram matrices (draw, run, q, q) and log |V| (draw,)."""
        gram = self.fixed.weighted(h["sigma"])
        if self.padded is not None:
            self._add_gamma_column(self.padded, gram, h)
        return gram, self.fixed.log_determinant(h["sigma"])

    def _add_gamma_column(self, padded: Padded, gram: Array, h: Outer) -> None:
        d, se, here, z = padded
        phi = self.design.form.basis(d, h["gamma"][:, None, None])[..., 1]
        if self.turn is not None:
            phi = np.matmul(phi[:, :, None], self.turn)[:, :, 0]
        weighted = phi * here / variance(se, h["sigma"][:, None, None])
        cross = np.einsum("srn,rnq->srq", weighted, z, optimize=True)
        cross[..., 1] = np.einsum("srn,srn->sr", weighted, phi)
        gram[..., 1, :] = cross
        gram[..., :, 1] = cross


AnyPoints = Points | MarkovPoints | StudentPoints


def points_of(design: Design) -> AnyPoints:
    """The points of a design, as its noise wants them."""
    if design.card.noise.kind == "ou":
        return MarkovPoints.of(design)
    return StudentPoints.of(design) if design.card.noise.kind == "student_t" else Points.of(design)


@dataclass(frozen=True)
class Tile:
    """Some reward models with all their runs: what is worked on at once.

    Attributes
    ----------
    rms : slice
    runs : ndarray of int
        Grouped by reward model.
    first : ndarray of int
        Where each reward model's runs begin in `runs`.
    rm_of_run : ndarray of int
        Position of each run's reward model within the tile.
    points : Points, MarkovPoints or StudentPoints
    """

    rms: slice
    runs: NDArray[np.int64]
    first: NDArray[np.int64]
    rm_of_run: NDArray[np.int64]
    points: AnyPoints

    @property
    def single(self) -> bool:
        """Whether each reward model has one run: its scatter and the run's then count as one."""
        return len(self.first) == len(self.runs)


def tiles(design: Design) -> list[Tile]:
    """A design in tiles of about `TILE_RUNS` runs, more where one reward model alone has more."""
    points = points_of(design)
    by_rm = np.argsort(design.rm_index, kind="stable")
    starts = np.searchsorted(design.rm_index[by_rm], np.arange(len(design.rm) + 1))
    found, begin = [], 0
    for end in range(1, len(design.rm) + 1):
        if end < len(design.rm) and starts[end + 1] - starts[begin] <= TILE_RUNS:
            continue
        runs = by_rm[starts[begin] : starts[end]]
        first = starts[begin:end] - starts[begin]
        found.append(Tile(slice(begin, end), runs, first, design.rm_index[runs] - begin, points.take(runs)))
        begin = end
    return found


@dataclass(frozen=True)
class GlobalColumns:
    """Global coefficients: each multiplies one column of a run by a function of its RM's size. The trends' come last.

    Attributes
    ----------
    owner : ndarray of str, shape (g,)
        The posterior's variable, such as ``alpha_coef`` or ``delta_shared``.
    column : ndarray of int, shape (g,)
        Which column of a run.
    weight : ndarray, shape (g, rm)
    mean, sd : ndarray, shape (g,)
        Normal prior; the sd of discrepancy and drift terms is times their outer scale.
    drift : ndarray of bool, shape (g,)
    """

    design: Design
    owner: NDArray[np.str_]
    column: NDArray[np.int64]
    weight: Array
    mean: Array
    sd: Array
    drift: NDArray[np.bool_]

    @classmethod
    def of(cls, design: Design) -> GlobalColumns:
        owner: list[str] = []
        column: list[int] = []
        weight: list[Array] = []
        mean: list[float] = []
        sd: list[float] = []
        drift: list[bool] = []
        for part in design.shared:
            count = len(part.columns)
            owner += [part.name] * count
            column += list(part.columns)
            weight += [part.weight] * count
            mean += [part.mean] * count
            sd += [part.sd] * count
            drift += [False] * count
        for i, (name, c) in enumerate(design.coefficients.items()):
            if name in design.logged:
                continue
            count = len(c.terms)
            owner += [f"{name}_coef"] * count
            column += [i] * count
            weight += list(c.at(design.x_rm).T)
            mean += list(c.mean)
            sd += list(c.sd)
            drift += list(c.drift)
        return cls(
            design,
            np.array(owner, dtype=np.str_),
            np.array(column, dtype=np.int64),
            np.array(weight, dtype=float).reshape(-1, len(design.rm)),
            np.array(mean, dtype=float),
            np.array(sd, dtype=float),
            np.array(drift, dtype=bool),
        )

    @property
    def unbounded(self) -> int:
        """How many of the coefficients, the last ones, are the trends' and gamma's: no outer scale holds them."""
        return int(np.sum([name.endswith("_coef") or name.startswith("gamma") for name in self.owner]))

    @cached_property
    def _functions(self) -> tuple[Array, NDArray[np.int64], NDArray[np.int64]]:
        """Products of the distinct functions of size (pair, rm), and where each entry of the Gram matrix finds its own.

        The last two, shape (g + 1, g + 1), are the pair and the flat position in an RM's matrix.
        """
        rms = self.weight.shape[1]
        functions, which = np.unique(np.vstack([self.weight, np.ones(rms)]), axis=0, return_inverse=True)
        first, second = np.triu_indices(len(functions))
        pair = np.zeros((len(functions),) * 2, dtype=np.int64)
        pair[first, second] = pair[second, first] = np.arange(len(first))
        q = self.design.kept + 1
        column = np.append(self.column, q - 1)
        return functions[first] * functions[second], pair[which[:, None], which], column[:, None] * q + column

    def sums(self, by_rm: Array, rms: slice) -> Array:
        """What some RMs add to the sums that `gram` needs, shape (draw, pair, q * q); `by_rm` has (draw, rm, q, q)."""
        products = self._functions[0][:, rms]
        return cast(Array, np.matmul(products, by_rm.reshape(*by_rm.shape[:2], -1)))

    def explained(self, whitened: Array, rms: slice) -> Array:
        """What blocks of some RMs take from the Gram matrix of the global columns, shape (draw, g + 1, g + 1).

        `whitened` has shape (draw, rm, k, q). The blocks of all RMs are stacked: one product instead of one for each.
        """
        moving, position = self._moving
        draws, rm, k, q = whitened.shape
        plain = whitened.reshape(draws, rm * k, q)
        scaled = whitened[..., self.column[moving]] * self.weight.T[rms, None][..., moving]
        scaled = scaled.reshape(draws, rm * k, len(moving)).swapaxes(-1, -2)
        cross = scaled @ plain
        inner = scaled @ np.ascontiguousarray(scaled.swapaxes(-1, -2))
        whole = np.block([[explained(plain), cross.swapaxes(-1, -2)], [cross, inner]])
        return whole[:, position[:, None], position]

    @cached_property
    def _moving(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Global columns that change with size, and where each is found in (columns of a run, gold, those)."""
        moving = np.flatnonzero((self.weight != 1.0).any(axis=1))
        position = np.append(self.column, self.design.kept)
        position[moving] = self.design.kept + 1 + np.arange(len(moving))
        return moving, position

    def gram(self, sums: Array, taken: Array) -> Array:
        """Augmented Gram matrix of the global columns and gold less its prior mean, shape (draw, g + 1, g + 1).

        Parameters
        ----------
        sums : ndarray, shape (draw, pair, q * q)
            `sums` of all RMs.
        taken : ndarray, shape (draw, g + 1, g + 1)
            `explained` of all RMs.
        """
        _, pair, position = self._functions
        gram = sums[:, pair, position] - taken
        shift = np.eye(len(self.column) + 1)
        shift[:-1, -1] = -self.mean
        return shift.T @ gram @ shift

    def scale(self, h: Outer) -> tuple[NDArray[np.int64], Array]:
        """All of these columns and their prior sds, (draw, g), for `gaussian.eliminate`."""
        scale = np.repeat(self.sd[None], len(h["sigma"]), axis=0)
        for name in self.design.coefficients:
            if f"{name}_drift" in h:
                scale[:, (self.owner == f"{name}_coef") & self.drift] *= h[f"{name}_drift"][:, None]
        for part in self.design.shared:
            if part.sines:
                spread = np.sqrt(part.sines.variances(h[part.lengthscale]))
                scale[:, self.owner == part.name] = h[part.scale][:, None] * spread
        return np.arange(len(self.column)), scale

    def place(self) -> Array:
        """Global columns and gold less its prior mean, as combinations of an RM's columns and gold: (rm, q, g + 1)."""
        g = len(self.column)
        found = np.zeros((self.weight.shape[1], self.design.kept + 1, g + 1))
        found[:, self.column, np.arange(g)] = self.weight.T
        found[:, :, g] = -found[:, :, :g] @ self.mean
        found[:, -1, g] = 1.0
        return found

    def spread(self, coef: Array) -> Array:
        """What global coefficients (draw, g) give to every column of every RM, shape (draw, rm, p)."""
        selector = np.zeros((len(self.column), self.design.kept))
        selector[np.arange(len(self.column)), self.column] = 1.0
        return cast(Array, np.einsum("sg,gr,gp->srp", coef, self.weight, selector, optimize=True))

"""The Gaussian linear model of a design, given its outer parameters: its density, and draws of what is integrated out.

Of noise that is a mixture, ``student_t``, it is Gaussian given a weight for each point besides.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from goldpeak.design import Design
from goldpeak.engines.columns import GlobalColumns, Tile, tiles
from goldpeak.engines.gaussian import Block, Drawn, Still, condition, eliminate, square
from goldpeak.engines.scatter import Scatter, scatter_of, share_of_rm
from goldpeak.engines.threads import in_threads
from goldpeak.errors import FitError
from goldpeak.priors import HalfNormal

__all__ = ["EXCESS", "LinearModel", "Variables", "as_dataset"]

Array = NDArray[np.float64]
Outer = dict[str, Array]
Variables = dict[str, tuple[tuple[str, ...], Array]]

CHUNK_BYTES = 10e6
"""Working memory of one chunk of outer draws and one tile of runs, roughly: small enough for a processor's cache."""
EXCESS = "_excess"
"""Variable of a proposal: by how much its log density is above that of the conditional normal distribution."""
KEPT_BYTES = 160e6
"""Working memory of one chunk of draws, over all runs."""
ROUGH_RUNS = 64
"""So many runs are enough to find out where the posterior is, roughly."""


def as_dataset(variables: Variables, coords: dict[str, list[str]], chains: int, draws: int) -> xr.Dataset:
    """Variables with draws along their first axis, as a dataset with dims (chain, draw, ...)."""
    used = {dim for dims, _ in variables.values() for dim in dims}
    return xr.Dataset(
        {
            name: (("chain", "draw", *dims), values.reshape(chains, draws, *values.shape[1:]))
            for name, (dims, values) in variables.items()
        },
        coords={"chain": np.arange(chains), "draw": np.arange(draws)} | {d: c for d, c in coords.items() if d in used},
    )


@dataclass(frozen=True)
class _Levels:
    """Room for draws of every level.

    Attributes
    ----------
    coef : ndarray, shape (draw, g)
        Global coefficients.
    excess : ndarray, shape (draw,)
        See `Drawn`.
    v : ndarray, shape (draw, rm, coefficient)
        Deviations of the RMs.
    theta : ndarray, shape (draw, run, column)
        What the runs have; of a proposal for another model no run.
    """

    coef: Array
    excess: Array
    v: Array
    theta: Array

    @property
    def without_runs(self) -> bool:
        """Whether it is for a proposal."""
        return bool(self.theta.shape[1] == 0)


class LinearModel:
    """The Gaussian linear model of a design, given its outer parameters.

    Columns of a run are those of the form and the sines of the discrepancy. Three levels of coefficients add up on
    them: the run's own, the RM's, and the global ones (trend terms and shared discrepancy). A coefficient with link
    ``log`` is not among them: it must be given, for each run, with the outer parameters.

    Parameters
    ----------
    design : Design

    Attributes
    ----------
    names : tuple of str
        The outer parameters, in the order of z.
    global_names : tuple of str
        Variables of the global coefficients, in their order.
    width : int
        Columns of a run.
    """

    def __init__(self, design: Design) -> None:
        self.design = design
        self.names = tuple(design.outer)
        self.width = design.width
        self._global = GlobalColumns.of(design)
        self.global_names = tuple(dict.fromkeys(self._global.owner.tolist()))
        self._tiles = tiles(design)
        self._most = max(len(tile.runs) for tile in self._tiles)

    def outer(self, z: Array) -> Outer:
        """Outer parameters at standard normal coordinates z, shape (draw, parameter).

        Where a coefficient has both scatters, runs that have a reward model each identify only the sum of the
        variances: a narrow arc. So there the two coordinates are polar, and stand for size and angle: of two
        half-normals the size is Rayleigh and the angle uniform.
        """
        from scipy.special import log_ndtr, ndtr

        priors = self.design.outer
        h = {name: prior.from_normal(z[:, i]) for i, (name, prior) in enumerate(priors.items())}
        for name in self.design.coefficients:
            pair = [f"{name}_sd_rm", f"{name}_sd_run"]
            rm, run = (priors.get(each) for each in pair)
            if isinstance(rm, HalfNormal) and isinstance(run, HalfNormal):
                size, angle = (z[:, self.names.index(each)] for each in pair)
                radius, turn = np.sqrt(-2.0 * log_ndtr(-size)), 0.5 * np.pi * ndtr(angle)
                h |= {pair[0]: rm.sigma * radius * np.cos(turn), pair[1]: run.sigma * radius * np.sin(turn)}
        return h

    def log_density(self, z: Array, part: int = 1) -> Array:
        """Log marginal likelihood plus the standard normal prior of z, shape (draw,).

        With `part` of 2 and more only about every `part`-th reward model is looked at.
        """
        used = self._tiles[::part]
        return self._with_prior(z, [found for found, _ in self._tops(z, used)])

    def log_density_and_globals(self, z: Array) -> tuple[Array, Block]:
        """The same, and the conditional distribution of the global coefficients at each z."""
        found = self._tops(z, self._tiles)
        return self._with_prior(z, [each for each, _ in found]), Block.join([shared for _, shared in found])

    def _tops(self, z: Array, used: Sequence[Tile]) -> list[tuple[Array, Block]]:
        return in_threads(lambda h: self._top(h, used), [self.outer(z[chunk]) for chunk in self._chunks(len(z))])

    def _with_prior(self, z: Array, likelihoods: list[Array]) -> Array:
        likelihood = np.concatenate(likelihoods)
        prior = -0.5 * np.sum(z**2, axis=1) - 0.5 * z.shape[1] * np.log(2 * np.pi)
        return cast(Array, np.where(np.isfinite(likelihood), likelihood, -np.inf) + prior)

    def rough(self) -> Callable[[Array], Array] | None:
        """A cheaper density in about the same place: that of some of the reward models, where there are many."""
        part = sum(len(tile.runs) for tile in self._tiles) // ROUGH_RUNS
        return (lambda z: self.log_density(z, part)) if part >= 2 and len(self._tiles) >= 2 * part else None

    def marginal(self, h: Outer) -> Array:
        """Log marginal likelihood given the outer parameters, shape (draw,)."""
        return self._top(h, self._tiles)[0]

    def draw(
        self, outer: Outer, index: NDArray[np.int64], rng: np.random.Generator, *, proposal: bool = False
    ) -> Variables:
        """Posterior variables, name -> (dims, values), at draws `index` of the outer parameters; repeats allowed.

        Of coefficients with link ``log`` `outer` holds the runs' values, shape (draw, run); they are not returned.
        As a `proposal` for another model the trends' coefficients and gamma come from a distribution with heavier
        tails, variable `EXCESS` says by how much its log density is higher, and the runs are left out.
        """
        d, runs = self.design, 0 if proposal else len(self.design.run)
        drawn = _Levels(
            np.empty((len(index), len(self._global.column))),
            np.zeros(len(index)),
            np.zeros((len(index), len(d.rm), len(d.coefficients))),
            np.empty((len(index), runs, self.width)),
        )
        # Equal rows next to each other, so that a chunk factors each of them once.
        order = np.argsort(index, kind="stable")
        repeats = len(index) / len(np.unique(index))
        # What the tiles' blocks drew is kept until the levels above them are drawn.
        kept = 8.0 * len(d.run) * (self.width + 1) * (self.width + 1 + repeats)
        chunks = [order[chunk] for chunk in self._chunks(len(index), repeats, KEPT_BYTES / kept)]
        in_threads(lambda rows, own: self._fill(drawn, outer, index, rows, own), chunks, rng.spawn(len(chunks)))
        if not np.isfinite(drawn.theta.sum() + drawn.coef.sum()):
            raise FitError("the curves are too ill-conditioned for the exact engine: rounding left no coefficients")
        found = self._shared_variables(outer, index, drawn.coef)
        for i, (name, c) in enumerate(d.coefficients.items()):
            if c.spec.sd_rm is not None and name not in d.logged:
                found[f"{name}_rm"] = (("rm",), drawn.v[..., i])
        if proposal:
            return found | {EXCESS: ((), drawn.excess)}
        return found | self._run_variables(drawn.theta)

    def _fill(
        self, drawn: _Levels, outer: Outer, index: NDArray[np.int64], rows: NDArray[np.int64], rng: np.random.Generator
    ) -> None:
        """Draw all levels of some of the draws."""
        unique, repeat = np.unique(index[rows], return_inverse=True)
        h = {name: values[unique] for name, values in outer.items()}
        lower: list[tuple[Drawn | None, Drawn | None]] = []

        def keep(run: Block, rm: Block | None) -> None:
            runs = None if drawn.without_runs else run.draw(repeat, rng)
            lower.append((runs, rm.draw(repeat, rng) if rm else None))

        heavy = self._global.unbounded if drawn.without_runs else 0
        shared = self._top(h, self._tiles, keep)[1].draw(repeat, rng, heavy)
        drawn.excess[rows] = shared.excess
        drawn.coef[rows] = self._global.mean + shared.given(np.zeros((len(rows), drawn.coef.shape[1])))
        above = self._global.spread(drawn.coef[rows])
        v, width = drawn.v, drawn.v.shape[-1]
        for tile, (run, rm) in zip(self._tiles, lower, strict=True):
            trend = above[:, tile.rms]
            with_rm = trend if rm is None else _add(rm, trend, trend.shape[-1])
            v[rows, tile.rms] = (with_rm - trend)[..., :width]
            if run is None:
                continue
            below = _add(run, with_rm[:, tile.rm_of_run], self.width)
            drawn.theta[rows[:, None], tile.runs] = below
            if rm is None:
                off = below[..., :width] - trend[..., :width]
                v[rows, tile.rms] = share_of_rm(self.design, h, off, repeat, rng)

    def propose(self, outer: Outer, shared: Block, index: NDArray[np.int64], rng: np.random.Generator) -> Variables:
        """As `draw` for a proposal, from known conditionals of the global coefficients; without the RMs' deviations."""
        order = np.argsort(index, kind="stable")
        unique, repeat = np.unique(index[order], return_inverse=True)
        drawn = shared.take(unique).draw(repeat, rng, self._global.unbounded)
        coef, excess = np.empty((len(index), len(self._global.column))), np.empty(len(index))
        coef[order] = self._global.mean + drawn.given(np.zeros((len(index), coef.shape[1])))
        excess[order] = drawn.excess
        return self._shared_variables(outer, index, coef) | {EXCESS: ((), excess)}

    def _shared_variables(self, outer: Outer, index: NDArray[np.int64], coef: Array) -> Variables:
        found: Variables = {name: ((), outer[name][index]) for name in self.names}
        return found | {name: _as_variable(name, coef[:, self._global.owner == name]) for name in self.global_names}

    def mean(self, z: Array) -> dict[str, Array]:
        """Conditional mean of every variable at one z, (parameter,)."""
        drawn = self.draw(self.outer(z[None]), np.zeros(1, dtype=np.int64), cast(np.random.Generator, Still()))
        return {name: values[0] for name, (_, values) in drawn.items()}

    def _top(
        self, h: Outer, used: Sequence[Tile], keep: Callable[[Block, Block | None], None] | None = None
    ) -> tuple[Array, Block]:
        """Log marginal likelihood and the block of the global coefficients; a tile's own blocks go to `keep`."""
        log_det, sums, taken = np.zeros(len(h["sigma"])), np.zeros(()), np.zeros(())
        for tile in used:
            by_rm, log_tile, run, rm = self._levels(h, tile)
            if keep is not None:
                keep(run, rm)
            log_det, sums = log_det + log_tile, sums + self._global.sums(by_rm, tile.rms)
            taken = taken + self._global.explained((rm or run).whitened, tile.rms)
        top, log_global, shared = eliminate(self._global.gram(sums, taken), *self._global.scale(h))
        points = sum(tile.points.count for tile in used)
        return -0.5 * (points * np.log(2 * np.pi) + log_det + log_global + top[:, -1, -1]), shared

    def _levels(self, h: Outer, tile: Tile) -> tuple[Array, Array, Block, Block | None]:
        """The Gram matrices of a tile's RMs, log |V| below the trend, and the blocks of its runs and RMs.

        The last block is still to be integrated out. It is the RMs', or the runs' where that is one level, with both
        scatters.
        """
        gram, log_v = tile.points.gram(h)
        self._subtract_given(gram, h, tile)
        kept = self.design.kept
        if tile.single:
            log_both, both = condition(gram, *self._run_scale(h, ("run", "rm")), kept)
            return square(gram, kept), log_v + log_both.sum(axis=1), both, None
        gram, log_run, run = eliminate(gram, *self._run_scale(h, ("run",)), kept)
        by_rm = np.add.reduceat(gram, tile.first, axis=1)
        log_rm, rm = condition(by_rm, *_for_runs(*scatter_of(self.design, h, ("rm",))))
        return by_rm, log_v + log_run.sum(axis=1) + log_rm.sum(axis=1), run, rm

    def _subtract_given(self, gram: Array, h: Outer, tile: Tile) -> None:
        """Take what given coefficients explain from gold, in place."""
        for i, name in enumerate(self.design.coefficients):
            if name in self.design.logged:
                value = h[name][:, tile.runs, None]
                gram[..., -1] -= value * gram[..., i]
                gram[..., -1, :] -= value * gram[..., i, :]

    def _run_scale(self, h: Outer, levels: tuple[str, ...]) -> Scatter:
        cols, scale, tilt = scatter_of(self.design, h, levels)
        sines = self.design.sines
        if sines and "eta_run" in h:
            spread = h["eta_run"][:, None] * np.sqrt(sines.variances(h[self.design.run_lengthscale]))
            cols, scale = np.append(cols, self.design.own_columns), np.concatenate([scale, spread], axis=1)
        if self.design.has_offset:
            cols, scale = np.append(cols, self.width - 1), np.column_stack([scale, h["offset_sd"]])
        return _for_runs(cols, scale, tilt)

    def _run_variables(self, theta: Array) -> Variables:
        names = enumerate(self.design.coefficients)
        found: Variables = {name: (("run",), theta[..., i]) for i, name in names if name not in self.design.logged}
        own = self.design.own_columns
        if self.design.sines:
            found["delta"] = (("run", "sine"), theta[..., own.start : own.stop])
        return found | ({"offset": (("run",), theta[..., -1])} if self.design.has_offset else {})

    def _chunks(self, count: int, repeats: float = 1.0, most: float = np.inf) -> Iterator[slice]:
        """Slices of `count` draws; where each is met several times, of more, and of `most` different ones at most."""
        per_draw = 48.0 * self._most * (self.width + 1) ** 2 + 32.0 * (len(self._global.column) + 1) ** 2
        # Several draws even if a tile is large: its points are then read once for all of them.
        size = int(max(4, repeats * min(CHUNK_BYTES / per_draw, most)))
        return (slice(start, min(start + size, count)) for start in range(0, count, size))


def _for_runs(cols: NDArray[np.int64], scale: Array, tilt: Array | None) -> Scatter:
    """The same sds and tilt for every run or RM: with an axis for them."""
    return cols, scale[:, None, :], None if tilt is None else tilt[:, None]


def _as_variable(name: str, values: Array) -> tuple[tuple[str, ...], Array]:
    """Global coefficients (draw, k) with the dims of the posterior's variable."""
    if name in ("gamma", "gamma_slope", "bend"):
        return (), values[:, 0]
    if name.endswith("_coef"):
        return (f"{name.removesuffix('_coef')}_term",), values
    return ("shape_sine" if name == "delta_shape" else "sine",), values


def _add(drawn: Drawn, above: Array, width: int) -> Array:
    """What the levels above give to every one of `width` columns and, on its own columns, a block's coefficients."""
    below = np.zeros((*above.shape[:-1], width))
    below[..., : above.shape[-1]] = above
    below[..., drawn.cols] += drawn.given(above)
    return below

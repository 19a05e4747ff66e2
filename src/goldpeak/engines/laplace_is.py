"""The fast engine in peak coordinates: linearise, sample exactly, correct by importance.

1. The curves are linearised around their conditional mean, which is found by iterating (Gauss-Newton).
2. The exact engine samples the linear model: outer parameters, trends, gamma and the shared discrepancy.
3. Every draw of these is weighted by the ratio of the true likelihood to the linear model's, each run's stretches and
   own smooth part integrated out of both (`stretches`), and the weights are Pareto-smoothed. Then the runs' stretches
   are drawn from their true conditionals.
4. Where a pilot shows that few of the weights would matter, 1 to 3 are done again around the middle of what its weights
   say. Gauss-Newton finds the mode of the linear model; of runs that have not turned over the mean lies elsewhere.

All that the linear model has in common with the true one cancels, so that the weights are as even as the runs'
integrals are alike. A run that has not turned over has a one-sided likelihood: that is in its integral, not in the
weights.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from goldpeak.design import Design
from goldpeak.engines import exact, importance
from goldpeak.engines.gaussian import Block
from goldpeak.engines.linear_model import EXCESS, LinearModel, Variables, as_dataset
from goldpeak.engines.linearised import Linearised, Point, linearise, start
from goldpeak.engines.proposal import tempered
from goldpeak.engines.scatter import level_covariance, share_of_rm
from goldpeak.engines.stretches import Draws, Prior, RunTable
from goldpeak.engines.threads import in_threads, one_thread_each
from goldpeak.errors import FitError

__all__ = ["refusal", "sample"]

Array = NDArray[np.float64]

ROUNDS = 20
"""Linearisations at most."""
STILL = 0.02
"""Largest move of log d* at which the linearisation is good enough."""
TARGET = 1000.0
"""Effective draws at which no further batch is drawn."""
PILOT = 60
"""Draws that say where a run's log d* may be."""
CHUNK = 100
"""Draws worked on at once: little enough for a processor's cache."""
FIRST = 2000
"""Draws of the first batch."""
LEAST = 500
"""Draws of a batch at least."""
SHARE = 0.05
"""Effective share of the first batch with which its linearisation is kept."""
ATTEMPTS = 6
"""Linearisations that are sampled from at most."""
TEMPERED = 100.0
"""Effective draws at least that say where the middle is: weights are raised to a power that makes them so many."""
MOST = 16_000
"""Draws of the linear model at most."""
LONGEST = 0.5
"""Longest step of log d* and log R* in one round."""


def refusal(design: Design) -> str | None:
    """Why this engine cannot run a design, or None if it can."""
    return None if design.shape else "it is for cards with coordinates = 'peak'"


def sample(design: Design, *, seed: int, draws: int = 1000, chains: int = 4) -> exact.Draws:
    """Draw independently from the posterior of a design in peak coordinates.

    Parameters
    ----------
    design : Design
    seed : int
    draws, chains : int
        ``draws * chains`` draws are made; the chains only give them the same shape as the other engine's.

    Returns
    -------
    goldpeak.engines.exact.Draws
        Look at ``khat`` and ``ess`` before use: below 0.7 and above 400.

    Raises
    ------
    FitError
        If the card has other coordinates, or no draw of the linear model has any likelihood.
    """
    reason = refusal(design)
    if reason:
        raise FitError(f"engine 'laplace_is' cannot run card {design.card.name!r}: {reason}; use engine='auto'")
    rng = np.random.default_rng(seed)
    total = draws * chains
    with one_thread_each():
        attempt, first = _best_attempt(design, rng, total)
        corrected = _enough(attempt.batch, first)
    outer = attempt.proposal.outer
    if not np.isfinite(corrected.log_weight).any():
        raise FitError("the linearised curves are nowhere near the true ones: use engine='nuts'")
    count = len(corrected.log_weight)
    found = importance.finish(np.empty((count, 0)), corrected.log_weight)
    chosen = importance.resample(found.weights, total, rng)
    final = {name: (dims, values[chosen]) for name, (dims, values) in corrected.variables.items()}
    ess = 1.0 / (1.0 / outer.ess + 1.0 / found.ess - 1.0 / count)
    return exact.Draws(
        as_dataset(final, design.coords, chains, draws),
        as_dataset({"log_weight": ((), np.log(found.weights[chosen]))}, {}, chains, draws),
        max(outer.khat, found.khat),
        min(ess, outer.ess, found.ess),
        outer.log_z + found.log_z,
        float(np.hypot(outer.log_z_se, found.log_z_se)),
    )


@dataclass(frozen=True)
class _Proposal:
    """The linear model's posterior.

    Attributes
    ----------
    model : LinearModel
    outer : Weighted
        Draws of the outer parameters.
    shared : Block or None
        Conditional distributions of the global coefficients at these, where each RM has one run: what their density was
        computed from, and need not be computed again.
    """

    model: LinearModel
    outer: importance.Weighted
    shared: Block | None

    @classmethod
    def sample(cls, model: LinearModel, rng: np.random.Generator, total: int) -> _Proposal:
        """Draw the outer parameters, enough for `total` draws of the rest."""
        if not model.design.alone:
            return cls(model, exact.sample_outer(model, rng, total), None)
        blocks: list[Block] = []

        def log_density(z: Array) -> Array:
            value, block = model.log_density_and_globals(z)
            blocks.append(block)
            return value

        outer = exact.sample_outer(model, rng, total, log_density)
        return cls(model, outer, Block.join(blocks).take(slice(-len(outer.z), None)))

    def draw(self, count: int, rng: np.random.Generator) -> Variables:
        """Draws of the shared parameters, for `_Correction`."""
        index = importance.resample(self.outer.weights, count, rng)
        outer = self.model.outer(self.outer.z)
        if self.shared is None:
            return self.model.draw(outer, index, rng, proposal=True)
        return self.model.propose(outer, self.shared, index, rng)


@dataclass(frozen=True)
class _Attempt:
    """A linearisation that is sampled from."""

    design: Design
    linear: Linearised
    proposal: _Proposal
    tables: list[RunTable]
    rng: np.random.Generator

    @classmethod
    def at(cls, design: Design, linear: Linearised, rng: np.random.Generator, total: int) -> _Attempt:
        """Sample the linear model's outer parameters, and tabulate the runs where a few draws say they are."""
        proposal = _Proposal.sample(LinearModel(linear), rng, total)
        tables = _Correction(design, linear, proposal.draw(PILOT, rng)).tables()
        return cls(design, linear, proposal, tables, rng)

    def batch(self, count: int) -> _Corrected:
        """So many weighted draws."""
        drawn = self.proposal.draw(count, self.rng)
        return _Correction(self.design, self.linear, drawn).run(self.tables, self.rng)


def _best_attempt(design: Design, rng: np.random.Generator, total: int) -> tuple[_Attempt, _Corrected]:
    """The first linearisation whose weights are even enough, or the one where they are most even; its first batch."""
    attempt = _Attempt.at(design, _settle(design), rng, total)
    best, most = None, -1.0
    for left in reversed(range(ATTEMPTS)):
        first = attempt.batch(FIRST)
        ess, khat = _worth(first.log_weight)
        if ess > most:
            best, most = (attempt, first), ess
        if not left or most <= 0.0 or (ess >= SHARE * FIRST and khat < importance.TRUSTED):
            break
        attempt = _Attempt.at(design, linearise(design, first.middle(design)), rng, total)
    assert best
    return best


def _worth(log_weight: Array) -> tuple[float, float]:
    """Effective number and Pareto k of weighted draws; 0 and inf where none has any weight."""
    if not np.isfinite(log_weight).any():
        return 0.0, np.inf
    found = importance.finish(np.empty((len(log_weight), 0)), log_weight)
    return found.ess, found.khat


def _enough(batch: Callable[[int], _Corrected], first: _Corrected) -> _Corrected:
    """Batches of so many draws, joined, until their weights are worth enough and have no tail that matters."""
    batches, log_weight = [first], first.log_weight
    while (wanted := min(_still_wanted(log_weight), MOST - len(log_weight))) > 0:
        batches.append(batch(wanted))
        log_weight = np.append(log_weight, batches[-1].log_weight)
    joined = {
        name: (dims, np.concatenate([each.variables[name][1] for each in batches]))
        for name, (dims, _) in batches[0].variables.items()
    }
    return _Corrected(log_weight, joined)


def _still_wanted(log_weight: Array) -> int:
    """Draws that would bring the target; as many again where only a tail, of which few tell little, is in the way."""
    draws = len(log_weight)
    ess, khat = _worth(log_weight)
    if not ess:
        return draws
    return importance.still_wanted(ess, draws, TARGET, LEAST) or (draws if khat >= importance.TRUSTED else 0)


def _settle(design: Design) -> Linearised:
    """Linearise around the conditional mean at the mode of the outer parameters, until that no longer moves."""
    at = start(design)
    z = np.zeros(len(design.outer))
    for _ in range(ROUNDS):
        linear = linearise(design, at)
        model = LinearModel(linear)
        z = importance.mode_uphill(model.log_density, z, np.eye(len(z)))
        mean = model.mean(z)
        there = Point(
            mean["d_star"],
            mean["gold_star"],
            float(mean.get("gamma", at.gamma)),
            float(mean.get("gamma_slope", 0.0)),
            float(mean.get("bend", 0.0)),
            mean.get("delta_shape", at.shape),
        )
        moves = np.array([there.log_d - at.log_d, there.log_gold - at.log_gold])
        step = np.clip(moves, -LONGEST, LONGEST)
        at = replace(there, log_d=at.log_d + step[0], log_gold=at.log_gold + step[1])
        if np.abs(moves).max() < STILL:
            break
    return linearise(design, at)


@dataclass(frozen=True)
class _Corrected:
    """Log weights (draw,) and the posterior's variables, runs drawn from their true conditionals."""

    log_weight: Array
    variables: Variables

    def middle(self, design: Design) -> Point:
        """The mean of what the weights say; of few, of their power that makes them `TEMPERED`."""
        weight = tempered(self.log_weight, TEMPERED)
        found = {name: values for name, (_, values) in self.variables.items()}
        assert design.shape
        return Point(
            weight @ np.log(found["d_star"]),
            weight @ np.log(found["gold_star"]),
            float(weight @ found["gamma"]) if "gamma" in found else design.shape.gamma or 0.0,
            float(weight @ found["gamma_slope"]) if "gamma_slope" in found else 0.0,
            float(weight @ found["bend"]) if "bend" in found else 0.0,
            weight @ found["delta_shape"] if "delta_shape" in found else np.empty(0),
        )


class _Correction:
    """The importance correction of draws of the linear model."""

    def __init__(self, design: Design, linear: Linearised, variables: Variables) -> None:
        self.design, self.linear = design, linear
        self.variables = dict(variables)
        plain = {name: values for name, (_, values) in variables.items()}
        total = len(plain["sigma"])
        assert design.shape
        fixed = np.full(total, 0.0 if design.shape.gamma is None else design.shape.gamma)
        self.draws = Draws(
            {name: plain[name] for name in design.outer},
            plain.get("gamma", fixed),
            plain.get("gamma_slope", np.zeros(total)),
            plain.get("bend", np.zeros(total)),
            plain.get("delta_shape", np.zeros((total, 0))),
        )
        self.of_rm, self.of_run = (level_covariance(design, self.draws.h, level) for level in ("rm", "run"))
        counts = np.bincount(design.rm_index)
        self.alone = counts[design.rm_index] == 1
        self.trend = np.stack([plain[f"{name}_coef"] @ c.columns.T for name, c in design.coefficients.items()], axis=-1)
        self.by_rm = np.stack(
            [plain.get(f"{name}_rm", np.zeros((total, len(design.rm)))) for name in design.coefficients], axis=-1
        )

    def tables(self) -> list[RunTable]:
        """A table for each run, good for draws such as these."""
        return in_threads(self._table, range(len(self.design.run)))

    def run(self, tables: list[RunTable], rng: np.random.Generator) -> _Corrected:
        """Weigh all draws and draw the runs."""
        design = self.design
        total = len(self.draws.gamma)
        runs = range(len(design.run))
        log_weight = -self.variables.pop(EXCESS)[1]
        stretches = np.empty((total, len(runs), 2))
        own = np.empty((total, len(runs), design.sines.count if design.sines else 0))

        def fill(rows: NDArray[np.int64], mine: np.random.Generator) -> None:
            draws = self.draws.take(rows)
            for r in runs:
                prior = self._prior(r, rows)
                table = tables[r].at(draws)
                log_integral, t, shares = table.integrate(prior)
                log_weight[rows] += log_integral - table.linear_integral(prior, draws)
                stretches[rows, r, 0], stretches[rows, r, 1], own[rows, r] = table.draw(prior, t, shares, mine)

        # Draws with the same outer parameters next to each other.
        order = np.argsort(self.draws.h["sigma"], kind="stable")
        chunks = np.array_split(order, max(total // CHUNK, 1))
        in_threads(fill, chunks, rng.spawn(len(chunks)))
        gamma = self.draws.gamma[:, None] + self.draws.gamma_slope[:, None] * design.x
        possible = np.isfinite(log_weight) & (gamma > -1.0).all(axis=1)
        return _Corrected(np.where(possible, log_weight, -np.inf), self._variables(stretches, own, rng))

    def _prior(self, run: int, rows: NDArray[np.int64]) -> Prior:
        """What the hierarchy says of a run before its points are seen; of an RM's only run its own part included."""
        mean, of_run = self.trend[rows, run], self.of_run[rows]
        if self.alone[run]:
            return Prior.of(mean, of_run + self.of_rm[rows])
        return Prior.of(mean + self.by_rm[rows, self.design.rm_index[run]], of_run)

    def _table(self, run: int) -> RunTable:
        """The run's table, over where the draws say its log d* may be, and fine enough."""
        design, linear = self.design, self.linear
        d = design.d[(design.run_index == run) & (design.d > 0)]
        draws, prior = self.draws, self._prior(run, np.arange(len(self.draws.gamma)))
        wide = RunTable(design, linear, run, np.log(d.min()) - 0.5, np.log(d.max()) + 4.0, 97)
        _, t, shares = wide.at(draws).integrate(prior)
        near = shares > shares.max(axis=1, keepdims=True) - 25.0
        step = (t[:, 1] - t[:, 0]).max()
        low, high = t[near].min() - step, t[near].max() + step
        reach = 0.1 * (high - low)
        for count in (17, 25, 33, 49, 65):
            table = RunTable(design, linear, run, low - reach, high + reach, count)
            if count == 65 or table.error(draws.take(slice(0, 8))) < 0.01:
                return table
        raise AssertionError

    def _variables(self, stretches: Array, own: Array, rng: np.random.Generator) -> Variables:
        design = self.design
        found = dict(self.variables)
        off = stretches - self.trend
        v = self.by_rm.copy()
        singles = np.flatnonzero(self.alone)
        everyone = np.arange(len(off))
        v[:, design.rm_index[singles]] = share_of_rm(design, self.draws.h, off[:, singles], everyone, rng)
        for i, name in enumerate(design.coefficients):
            found[name] = (("run",), np.exp(stretches[..., i]))
            if design.coefficients[name].spec.sd_rm is not None:
                found[f"{name}_rm"] = (("rm",), v[..., i])
        if design.sines:
            found["delta"] = (("run", "sine"), own)
        return found

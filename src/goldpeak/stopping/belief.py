"""What is believed of a run under way: particles of every component of the fleet's posterior, weighted together."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from goldpeak.curves import card_of, new_curves, sines_of
from goldpeak.engines.proposal import effective
from goldpeak.memory import keep_freed_memory
from goldpeak.mixture import components, systematic
from goldpeak.newrun import new_runs
from goldpeak.peaks import refuse_basis_short_of
from goldpeak.stopping.particles import Particles, Point, Prediction, Single
from goldpeak.stopping.rules import Gold, GridDraws, Rule, highest, intervals, stop_at
from goldpeak.summits import peak_draws

__all__ = ["Belief", "Summary"]

Array = NDArray[np.float64]

GRID = 90
"""Intervals in d at which curves are tabulated; between their ends peaks are parabolas."""
COARSER = 2
"""The rule looks at every second point of the grid, and at parabolas between them: half the time of an update is its.
"""


@dataclass
class Belief:
    """Particles of each component; a component's weight is multiplied by the density that it gave to the points.

    Attributes
    ----------
    parts : list of Particles
    shares : list of float
        Weights of the components before any point.
    """

    parts: list[Particles]
    shares: list[float]

    @classmethod
    def of(cls, post: xr.DataTree, rm_params: float, kl_max: float, draws: int, seed: int) -> Belief:
        """Of a run at a size, before any point; `draws` in all, shared equally by the components that have weight."""
        keep_freed_memory()
        present = [(share, each) for share, each in components(post) if share > 0]
        count = -(-draws // len(present))
        d = np.linspace(0.0, np.sqrt(kl_max), _intervals(present, rm_params, kl_max) + 1)
        parts = []
        for _, each in present:
            refuse_basis_short_of(sines_of(each), kl_max)
            (run,) = new_runs(each, [rm_params], seed=seed)
            if count < run.draws:
                run = run.take((np.arange(count) + 0.5).astype(np.int64) * run.draws // count)
            parts.append(Particles(run, d, seed, card_of(each).noise.kind != "iid"))
        return cls(parts, [share for share, _ in present])

    @property
    def component_weights(self) -> Array:
        """Given the points so far; sum to 1."""
        logs = np.log(self.shares) + [part.log_evidence for part in self.parts]
        weights = np.exp(logs - logs.max())
        return np.asarray(weights / weights.sum())

    @property
    def weights(self) -> Array:
        """Of all particles, one component's after another's; sum to 1."""
        pairs = zip(self.component_weights, self.parts, strict=True)
        return np.concatenate([share * part.weights for share, part in pairs])

    @property
    def ess(self) -> float:
        """Effective number of the fleet's draws, before any tempering."""
        pairs = zip(self.component_weights, self.parts, strict=True)
        now = effective(np.concatenate([share * part.fleet_weights for share, part in pairs]))
        return min(now, sum(part.agreeing for part in self.parts))

    def look(self, point: Point) -> list[Prediction]:
        """What each component expects of a point."""
        return [part.look(point) for part in self.parts]

    def add(self, point: Point, found: list[Prediction] | None = None) -> float:
        """Take a point in; returns P(gold <= the point's) as it was expected."""
        found = found or self.look(point)
        below = [one.below(part.weights) for one, part in zip(found, self.parts, strict=True)]
        u = float(self.component_weights @ below)
        for part, one in zip(self.parts, found, strict=True):
            part.add(point, one)
            if part.uneven:
                part.rejuvenate()
        return u

    def widened(self, factor: float) -> Belief:
        """The same with all that is a run's own `factor` times as wide, and no points yet."""
        return Belief([part.widened(factor) for part in self.parts], self.shares)

    def summary(self, kl_max: float, rule: Rule, level: float, drop: float | None) -> Summary:
        """Curves, peaks, and where a rule would stop."""
        d, weights = self.parts[0].d_grid, self.weights
        gold = self.parts[0].gold() if len(self.parts) == 1 else np.hstack([part.gold() for part in self.parts])
        kl_peak, gold_peak = highest(d, gold)
        equal = (gold[::COARSER], kl_peak, gold_peak)
        if effective(weights) < len(weights) * (1.0 - 1e-9):
            # With equal weights the worst share of 2,000 draws takes a tenth of the time.
            even = systematic(weights, len(weights))
            equal = (gold[::COARSER].take(even, axis=1), kl_peak[even], gold_peak[even])
        rule_kl = stop_at(GridDraws(kl_max, *equal), rule, level, drop)
        return Summary(d, gold, kl_peak, gold_peak, weights, rule_kl)


def _intervals(parts: list[tuple[float, xr.DataTree]], rm_params: float, kl_max: float) -> int:
    """Of the grid: more than usual where `kl_max` lies far beyond what the fleet saw."""
    beyond = [each for _, each in parts if kl_max > each.attrs["kl_max"]]
    peaks = (peak_draws(new_curves(each, [rm_params]), kl_max)[0].ravel() for each in beyond)
    return max((intervals(kl, kl_max, GRID) for kl in peaks), default=GRID)


@dataclass(frozen=True)
class Summary:
    """Curves of the particles on the grid, and what follows from them.

    Attributes
    ----------
    d : ndarray, shape (grid,)
    gold : ndarray, shape (grid, particle)
    kl_peak, gold_peak, weights : ndarray, shape (particle,)
    rule_kl : float
        Where the rule would stop.
    """

    d: Array
    gold: Single
    kl_peak: Array
    gold_peak: Gold
    weights: Array
    rule_kl: float

    def gain_at(self, kl: float) -> Array:
        """Gold at the peak less gold at a KL, of each particle."""
        place = min(np.sqrt(kl), self.d[-1]) / self.d[1]
        cell = min(int(place), len(self.d) - 2)
        share = place - cell
        return np.asarray(self.gold_peak - (1.0 - share) * self.gold[cell] - share * self.gold[cell + 1])

    def best(self, kl: list[float]) -> float:
        """Of some KLs the one with the highest expected gold; NaN of none."""
        if not kl:
            return np.nan
        expected = self.gold @ self.weights.astype(self.gold.dtype)
        return float(kl[int(np.argmax(np.interp(np.sqrt(kl), self.d, expected)))])

"""The five rules that turn draws of one gold curve into a KL to stop at: array functions, nothing is fitted here.

They see the same draws and the same grid, so that they differ by their attitude to risk and by nothing else. Draws may
carry weights, as those of a run that is under way do.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from goldpeak.curves import AnyCurves
from goldpeak.errors import FitError
from goldpeak.summits import peak_draws

__all__ = [
    "RULES",
    "CurveDraws",
    "GridDraws",
    "Rule",
    "above_share",
    "draws_of",
    "highest",
    "intervals",
    "reached",
    "stop_at",
    "stops",
    "worst_mean",
]

Array = NDArray[np.float64]
Gold = NDArray[np.float64] | NDArray[np.float32]
Rule = Literal["expected", "chance", "cvar", "regret", "drawdown"]
RULES: tuple[Rule, ...] = get_args(Rule)
NEAREST: tuple[Rule, ...] = ("chance", "drawdown")
"""Rules that state a probability: a run under way stops at the nearest checkpoint, to meet it on average."""
GRID = 160
"""Intervals of the grid in d on which averages over draws are compared; between its points they are parabolas."""
TO_PEAK, MOST_INTERVALS = 10, 4000
"""At least so many of them lie below the peaks of all but a twentieth of the draws; and how many that may take."""
DROP = 0.05
"""By default a fall of this share of the median gold at the peak counts for ``drawdown``."""
ROUNDING = 1e-9


@dataclass(frozen=True)
class GridDraws:
    """Draws of one gold curve, as the rules see them.

    Attributes
    ----------
    kl_max : float
        The largest KL in question, nats.
    gold : ndarray, shape (point, draw)
        At `d`, relative to the initial policy.
    kl_peak, gold_peak : ndarray, shape (draw,)
        As `summits.peak_draws` gives them: inf, and gold at the largest KL, where gold still rises there; 0 and 0 where
        it only falls.
    weights : ndarray, shape (draw,), or None
        Sum to 1; None where all are equal.
    """

    kl_max: float
    gold: Gold
    kl_peak: Array
    gold_peak: Gold
    weights: Array | None = None

    @property
    def d(self) -> Array:
        """Equidistant points from 0 to the square root of `kl_max` (square-root nats)."""
        return np.linspace(0.0, np.sqrt(self.kl_max), len(self.gold))

    @property
    def usual_drop(self) -> float:
        """The fall of gold that counts for ``drawdown`` where none is named: 5 % of the median gold at the peak."""
        return max(DROP * above_share(self.gold_peak, 0.5, self.weights), 0.0)


@dataclass(frozen=True)
class CurveDraws(GridDraws):
    """The same with the curves, flat: to be asked for gold at any other d.

    Attributes
    ----------
    curves : Curves or StretchedCurves
    """

    gold: Array
    gold_peak: Array
    curves: AnyCurves = field(kw_only=True)

    def gold_at(self, kl: Array) -> Array:
        """Gold of every draw at KLs within the range, shape (draw, len(kl))."""
        return _gold(self.curves, np.sqrt(kl)).T


def draws_of(curves: AnyCurves, kl_max: float) -> Iterator[CurveDraws]:
    """What the rules need of each item of some curves, one after another: memory is that of one item."""
    count = curves.grid[-1]
    kl, gold = (values.reshape(-1, count) for values in peak_draws(curves, kl_max))
    flat = curves.flat()
    for i in range(count):
        item = flat.part(slice(i, None, count))
        d = np.linspace(0.0, np.sqrt(kl_max), intervals(kl[:, i], kl_max, GRID) + 1)
        yield CurveDraws(kl_max, _gold(item, d), kl[:, i], gold[:, i], curves=item)


def intervals(kl_peak: Array, kl_max: float, least: int) -> int:
    """How many intervals a grid in d needs for curves that peak there: more where `kl_max` lies far beyond.

    Examples
    --------
    >>> [intervals(np.array([4.0, np.inf]), kl_max, least=90) for kl_max in (100.0, 1e4, 1e9)]
    [90, 500, 4000]
    """
    finite = kl_peak[np.isfinite(kl_peak) & (kl_peak > 0)]
    if not len(finite):
        return least
    wanted = 0.5 * TO_PEAK * np.sqrt(kl_max / np.quantile(finite, 0.05))
    return max(least, 2 * int(np.ceil(min(wanted, MOST_INTERVALS / 2))))


def _gold(curves: AnyCurves, d: Array) -> Array:
    """Gold of flat curves, shape (point, draw): averages over draws run along memory."""
    return np.ascontiguousarray(curves.gold(d)[0, :, 0].T)


def stop_at(draws: GridDraws, rule: Rule, level: float, drop: float | None = None) -> float:
    """The KL (nats) at which a rule would stop, inf where it would not up to the largest KL in question.

    Parameters
    ----------
    draws : GridDraws
    rule : {"expected", "chance", "cvar", "regret", "drawdown"}
        See `goldpeak.budget`.
    level : float
        A probability or a share of the draws; ``expected`` has none and does not look at it.
    drop : float, optional
        Gold that may be lost, for ``drawdown``; by default `GridDraws.usual_drop`.

    Returns
    -------
    float

    Examples
    --------
    Gold d (1 - b d), peak at d = 1 / 2b, b being .1 or .125 with equal odds:

    >>> from goldpeak.curves import Curves
    >>> from goldpeak.forms import FORMS
    >>> beta = np.array([0.1, 0.125]).reshape(1, 2, 1)
    >>> curves = Curves(FORMS["bon"], "run", np.array(["a"]), np.ones((1, 2, 1)), beta, np.zeros((1, 2)))
    >>> (draws,) = draws_of(curves, kl_max=64.0)
    >>> [round(stop_at(draws, rule, 0.25), 3) for rule in ("chance", "expected", "cvar")]
    [16.0, 19.753, 16.0]
    """
    return stops(draws, rule, (level,), drop)[0]


def stops(draws: GridDraws, rule: Rule, levels: Sequence[float], drop: float | None = None) -> list[float]:
    """`stop_at` for several levels, for little more than one takes."""
    if rule in ("chance", "drawdown"):
        kl = draws.kl_peak if rule == "chance" else _first_drop(draws, draws.usual_drop if drop is None else drop)
        return [above_share(kl, level, draws.weights) for level in levels]
    if rule == "expected":
        return [_best_kl(draws.d, np.average(draws.gold, axis=-1, weights=draws.weights))] * len(levels)
    if rule not in RULES:
        raise FitError(f"rule is {rule!r}; allowed: {', '.join(RULES)}")
    gain = draws.gold if rule == "cvar" else draws.gold - draws.gold_peak
    return [_best_kl(draws.d, worst_mean(gain, level, draws.weights)) for level in levels]


def reached(rule: Rule, rule_kl: float, kl: float, next_kl: float) -> bool:
    """Whether a run at `kl`, with its next checkpoint expected at `next_kl`, has come to where a rule stops.

    Examples
    --------
    >>> [reached(rule, 4.0, kl=3.61, next_kl=5.29) for rule in ("regret", "chance")]
    [False, True]
    """
    nearer = rule in NEAREST and 2.0 * np.sqrt(rule_kl) <= np.sqrt(kl) + np.sqrt(next_kl)
    return bool(rule_kl <= kl or nearer)


def worst_mean(values: Gold, share: float, weights: Array | None = None) -> Array:
    """Mean of the lowest share of the draws along the last axis: the conditional value at risk of a gain.

    A draw that the share cuts through counts in part (Rockafellar & Uryasev 2002, J. Banking & Finance 26, 1443).

    Examples
    --------
    >>> values = np.array([4.0, 1.0, 3.0, 2.0])
    >>> [float(worst_mean(values, share)) for share in (0.25, 0.5, 1.0)]
    [1.0, 1.5, 2.5]
    >>> float(worst_mean(values, 0.5, np.array([0.0, 0.375, 0.25, 0.375])))  # .375 of 1 and .125 of 2
    1.25
    """
    if weights is not None:
        order = np.argsort(values, axis=-1)
        mass = weights[order]
        kept = np.clip(share - (np.cumsum(mass, axis=-1) - mass), 0.0, mass)
        return np.asarray(np.sum(kept * np.take_along_axis(values, order, -1), axis=-1) / share)
    wanted = share * values.shape[-1]
    whole = int(wanted + ROUNDING)
    if whole >= values.shape[-1]:
        return np.asarray(values.mean(axis=-1))
    parted = np.partition(values, whole, axis=-1)
    total = parted[..., :whole].sum(axis=-1) + (wanted - whole) * parted[..., whole]
    return np.asarray(total / wanted)


def above_share(values: Gold, share: float, weights: Array | None = None) -> float:
    """The largest t with P(value < t) <= share; inf where values of inf make up for the rest.

    Examples
    --------
    >>> above_share(np.array([1.0, 2.0, 3.0, np.inf]), 0.5), above_share(np.array([1.0, 2.0, 3.0, np.inf]), 0.75)
    (3.0, inf)
    """
    order = np.argsort(values)
    mass = np.full(len(values), 1.0 / len(values)) if weights is None else weights[order]
    place = int(np.searchsorted(np.cumsum(mass), share + ROUNDING, side="right"))
    return float(values[order[min(place, len(values) - 1)]])


def _first_drop(draws: GridDraws, drop: float) -> Array:
    """The KL past the peak at which gold first lies more than `drop` below it, of each draw; inf where it never does.

    Between points of the grid the square root of the fall is taken as linear: near a peak it is.
    """
    d, peak = draws.d, np.sqrt(draws.kl_peak)
    fall = np.sqrt(np.maximum(draws.gold_peak - draws.gold, 0.0))
    hit = (d[:, None] > peak) & (fall > np.sqrt(drop))
    at, each = np.argmax(hit, axis=0), np.arange(len(peak))
    found = hit[at, each]
    left = np.where(found, np.maximum(d[at - 1], np.where(found, peak, 0.0)), 0.0)
    start = np.where(d[at - 1] > peak, fall[at - 1, each], 0.0)
    rise = fall[at, each] - start
    part = np.clip((np.sqrt(drop) - start) / np.where(found & (rise > 0), rise, 1.0), 0.0, 1.0)
    return np.where(found, (left + part * (d[at] - left)) ** 2, np.inf)


def _best_kl(d: Array, worth: Array) -> float:
    """The KL at which something is most; inf at the end."""
    return float(highest(d, worth[:, None])[0][0])


def highest(d: Array, gold: Gold) -> tuple[Array, Gold]:
    """KL and gold at the highest point of curves (grid, particle), by a parabola; inf at the end, 0 at the start.

    Examples
    --------
    >>> d = np.linspace(0.0, 4.0, 9)
    >>> kl, gold = highest(d, np.stack([d * (2.2 - d), d, -d], axis=1))
    >>> kl.round(6).tolist(), gold[:2].round(6).tolist()
    ([1.21, inf, 0.0], [1.21, 4.0])
    """
    at, each = np.argmax(gold, axis=0), np.arange(gold.shape[1])
    inside = np.clip(at, 1, len(d) - 2)
    left, middle, right = (gold[inside + k, each] for k in (-1, 0, 1))
    bend = left - 2.0 * middle + right
    shift = np.clip(0.5 * (left - right) / np.where(bend < 0, bend, -1.0), -1.0, 1.0) * (bend < 0)
    kl = (d[inside] + shift * d[1]) ** 2
    top = middle - 0.25 * (left - right) * shift
    return np.where(at == len(d) - 1, np.inf, np.where(at == 0, 0.0, kl)), np.where(at == inside, top, gold[at, each])

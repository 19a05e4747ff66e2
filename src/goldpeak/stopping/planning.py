"""Where compute goes: a larger reward model, or more optimisation against the one there is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from goldpeak.curves import Include, new_curves
from goldpeak.errors import FitError, is_number, refusal
from goldpeak.peaks import kl_limit, quantiles, refuse_beyond_basis, refuse_prob, with_decades
from goldpeak.stopping.budget import whole_n
from goldpeak.stopping.cost import CostModel
from goldpeak.stopping.rules import ROUNDING, CurveDraws, draws_of, stop_at, worst_mean
from goldpeak.stopping.settings import wrong_limits

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Allocation", "allocate"]

Array = NDArray[np.float64]
FRONTIER = 80
"""Costs at which the frontier is tabulated."""


@dataclass(frozen=True)
class Allocation:
    """How a budget is best split between a reward model's size and optimisation against it.

    *Worth* is mean gold over the worst `level` of the draws: expected gold at level 1.

    Attributes
    ----------
    table : pandas.DataFrame
        One row per size: ``rm_params``, ``rm_cost``, ``run_cost``, ``cost`` (their sum), ``kl`` (nats; the KL of most
        worth within what is left after training; NaN where the size is not affordable), ``n`` (best-of-n),
        ``limited_by`` (``budget``, ``peak``: more KL would not add worth, ``kl_max``, or ``price``: no money left to
        optimise), ``worth``,
        ``gold_median, gold_lo, gold_hi``, ``p_best`` (that this size ends with the most gold of all affordable ones),
        ``p_past_peak``, ``extrapolated``, ``decades``.
    frontier : pandas.DataFrame
        The most worth to be had for each cost, and how: ``cost``, ``rm_params``, ``kl``, ``worth``, ``gold_lo``,
        ``gold_hi``.
    steps : pandas.DataFrame
        What more money could do: rows ``stay`` (the best size as it is), ``more_optimisation`` (of the same) and
        ``larger_rm`` (the best larger size; missing where none is affordable); columns ``rm_params``, ``kl``, ``n``,
        ``cost``, ``worth``, ``gain`` (of worth, over ``stay``) and ``p_right`` (that it ends with no less gold than
        each of the others).
    rm_params, kl : float
        The best size, and how far to optimise against it.
    next_step : str
        The step of most worth: ``stay`` says that neither adds any.
    p_right : float
        Probability that this choice is right: that it ends with no less gold than each of the others.
    budget, extra : float
        What can be spent, and how much more the steps cost, in the cost model's currency.
    level, prob, kl_max : float
        As asked for.
    include : str
        What a prediction at a size includes.

    Examples
    --------
    >>> import goldpeak
    >>> post = goldpeak.fit(goldpeak.datasets.lab("rl"), "rl_paper", draws=100)
    >>> cost = goldpeak.CostModel(rm_tokens=1e6, policy_params=1e4, response_tokens=1, samples=1e4, kl_per_step=0.02)
    >>> found = goldpeak.allocate(post, [1e2, 1e3, 1e4, 1e5], cost, budget=5e11)
    >>> found.table["limited_by"].tolist()
    ['peak', 'peak', 'peak', 'price']
    """

    table: pd.DataFrame
    frontier: pd.DataFrame
    steps: pd.DataFrame
    rm_params: float
    kl: float
    next_step: str
    p_right: float
    budget: float
    extra: float
    level: float
    prob: float
    kl_max: float
    include: str


def allocate(
    post: xr.DataTree,
    rm_params: Sequence[float] | ArrayLike,
    cost: CostModel,
    budget: float,
    *,
    extra: float = 0.1,
    level: float = 1.0,
    include: Include = "new_run",
    kl_max: float | None = None,
    prob: float = 0.9,
    seed: int | None = None,
) -> Allocation:
    """Split a budget between the size of the reward model and optimisation against it.

    Parameters
    ----------
    post : xarray.DataTree
        As returned by `fit`.
    rm_params : array_like
        Sizes that come into question.
    cost : CostModel
        What training and optimising cost.
    budget : float
        What can be spent on both, in the cost model's currency.
    extra : float
        How much more money the steps of ``Allocation.steps`` have, as a share of `budget`.
    level : float
        Worth is mean gold over the worst `level` of the draws; 1: expected gold.
    include : {"typical", "new_rm", "new_run"}
        What a prediction at a size includes, see `curves.new_curves`.
    kl_max : float, optional
        Largest KL (nats) in question; by default the posterior's own, twice the largest observed.
    prob : float
        Probability of the equal-tailed intervals.
    seed : int, optional
        Seed of the new RMs' and runs' deviations; the posterior's own by default.

    Returns
    -------
    Allocation

    Raises
    ------
    FitError
        If no size is affordable, the cost model is for another method than the runs', or an argument is out of range.

    Notes
    -----
    The posterior knows reward models as the fleet's were trained: a cost model with more `rm_tokens` makes them dearer,
    not better. ``p_best`` and ``p_right`` compare new runs, each with deviations of its own where `include` has them;
    all sizes share the fleet's draws.

    Examples
    --------
    >>> import goldpeak
    >>> post = goldpeak.fit(goldpeak.datasets.lab("rl"), "rl_paper", draws=100)
    >>> cost = goldpeak.CostModel(rm_tokens=1e6, policy_params=1e4, response_tokens=1, samples=1e4, kl_per_step=0.02)
    >>> goldpeak.allocate(post, [1e2, 1e3, 1e4, 1e5], cost, budget=1e11).next_step
    'more_optimisation'
    """
    refuse_prob(prob)
    _refuse(post, cost, budget, extra, level, kl_max)
    limit = kl_limit(post, kl_max)
    curves = new_curves(post, np.unique(np.asarray(rm_params, dtype=float)), include=include, seed=seed)
    refuse_beyond_basis(curves, limit)
    sizes, more = curves.items.astype(float), budget * (1.0 + extra)
    # Before anything is computed: an error here is about arguments.
    _refuse_unaffordable(sizes, cost, budget)
    options = [
        _Option.of(draws, float(size), cost, (budget, more), level, prob)
        for size, draws in zip(sizes, draws_of(curves, limit), strict=True)
    ]
    table = _table(options, cost, post, level, prob)
    best = options[int(np.nanargmax(table["worth"]))]
    steps, next_step, p_right = _steps(options, best, cost, level)
    return Allocation(
        table=table,
        frontier=_frontier(options, cost, budget),
        steps=steps,
        rm_params=best.rm_params,
        kl=best.kl[0],
        next_step=next_step,
        p_right=p_right,
        budget=budget,
        extra=budget * extra,
        level=level,
        prob=prob,
        kl_max=limit,
        include=include,
    )


@dataclass(frozen=True)
class _Option:
    """One size: what is best within the budget and within a little more, and the worth of every KL.

    Attributes
    ----------
    rm_params : float
    kl : tuple of float
        Of most worth within each budget; NaN where the size is not affordable.
    limited_by : str
        At the first budget.
    gold : ndarray, shape (2, draw)
        At `kl`.
    p_past_peak : float
        At the first.
    grid : ndarray, shape (4, point)
        KL, worth, and the interval of gold.
    """

    rm_params: float
    kl: tuple[float, float]
    limited_by: str
    gold: Array
    p_past_peak: float
    grid: Array

    @classmethod
    def of(
        cls, draws: CurveDraws, size: float, cost: CostModel, money: tuple[float, float], level: float, prob: float
    ) -> _Option:
        lo, _, hi = quantiles(draws.gold.T, prob)
        grid = np.stack([draws.d**2, worst_mean(draws.gold, level), lo, hi])
        top = stop_at(draws, "cvar", level)
        kl, limits = zip(*(_best(grid, top, cost.kl_within(m - cost.rm_cost(size), size)) for m in money), strict=True)
        gold = np.full((2, len(draws.kl_peak)), np.nan)
        reached = np.isfinite(kl)
        gold[reached] = draws.gold_at(np.array(kl)[reached]).T
        past = float(np.mean(draws.kl_peak < kl[0])) if reached[0] else np.nan
        return cls(size, kl, limits[0], gold, past, grid)


def _best(grid: Array, top: float, affordable: float) -> tuple[float, str]:
    """The KL of most worth up to an affordable one, `top` being that of all, and what keeps it from being larger."""
    if np.isnan(affordable):
        return np.nan, "price"
    if top <= affordable:
        return min(top, float(grid[0, -1])), "peak" if np.isfinite(top) else "kl_max"
    kl = _reached(grid, affordable)[0]
    limit = "budget" if affordable < grid[0, -1] else "kl_max"
    return kl, limit if kl == min(affordable, grid[0, -1]) else "peak"


def _table(options: list[_Option], cost: CostModel, post: xr.DataTree, level: float, prob: float) -> pd.DataFrame:
    import pandas as pd

    bon = cost.method == "bon"
    gold = np.stack([option.gold[0] for option in options])
    winner = np.argmax(np.where(np.isnan(gold), -np.inf, gold), axis=0)
    observed = np.unique(post["constant_data"].to_dataset()["rm_params"].values)
    rows = []
    for i, option in enumerate(options):
        kl, reached = option.kl[0], bool(np.isfinite(option.kl[0]))
        lo, median, hi = quantiles(option.gold[0], prob) if reached else (np.nan,) * 3
        rm_cost = cost.rm_cost(option.rm_params)
        run_cost = cost.run_cost(kl, option.rm_params) if reached else np.nan
        rows.append(
            {
                "rm_params": option.rm_params,
                "rm_cost": rm_cost,
                "run_cost": run_cost,
                "cost": rm_cost + run_cost,
                "kl": kl,
                "n": whole_n(kl) if bon and reached else None,
                "limited_by": option.limited_by,
                "worth": float(worst_mean(option.gold[0], level)),
                "gold_median": float(median),
                "gold_lo": float(lo),
                "gold_hi": float(hi),
                "p_best": float(np.mean(winner == i)) if reached else np.nan,
                "p_past_peak": option.p_past_peak,
            }
        )
    return with_decades(pd.DataFrame(rows), observed)


def _steps(options: list[_Option], best: _Option, cost: CostModel, level: float) -> tuple[pd.DataFrame, str, float]:
    """What a little more money could do, which of it is best, and the probability that it is."""
    import pandas as pd

    larger = [o for o in options if o.rm_params > best.rm_params and np.isfinite(o.kl[1])]
    choices = {"stay": (best, 0), "more_optimisation": (best, 1)}
    if larger:
        choices["larger_rm"] = (max(larger, key=lambda o: float(worst_mean(o.gold[1], level))), 1)
    gold = {name: option.gold[at] for name, (option, at) in choices.items()}
    worth = {name: float(worst_mean(values, level)) for name, values in gold.items()}
    most = np.max(list(gold.values()), axis=0)
    rows = []
    for name, (option, at) in choices.items():
        size, kl = option.rm_params, option.kl[at]
        rows.append(
            {
                "step": name,
                "rm_params": size,
                "kl": kl,
                "n": whole_n(kl) if cost.method == "bon" else None,
                "cost": cost.rm_cost(size) + cost.run_cost(kl, size),
                "worth": worth[name],
                "gain": worth[name] - worth["stay"],
                "p_right": float(np.mean(gold[name] >= most - ROUNDING * np.abs(most))),
            }
        )
    table = pd.DataFrame(rows)
    # Of equals the cheapest: a step that adds nothing is no step.
    tolerance = ROUNDING * max(abs(worth["stay"]), 1e-300)
    chosen = table.iloc[int(np.argmax(table["gain"] > table["gain"].max() - tolerance))]
    return table, str(chosen["step"]), float(chosen["p_right"])


def _frontier(options: list[_Option], cost: CostModel, budget: float) -> pd.DataFrame:
    """The most worth to be had for each cost, from the cheapest reward model's to where more adds nothing."""
    import pandas as pd

    start = min(cost.rm_cost(o.rm_params) + cost.run_cost(o.grid[0, 1], o.rm_params) for o in options)
    end = max(cost.rm_cost(o.rm_params) + cost.run_cost(o.grid[0, np.argmax(o.grid[1])], o.rm_params) for o in options)
    rows = []
    for money in np.geomspace(min(start, budget), max(end, 1.25 * budget), FRONTIER):
        offers = [
            (o, _reached(o.grid, cost.kl_within(money - cost.rm_cost(o.rm_params), o.rm_params))) for o in options
        ]
        option, found = max(offers, key=lambda offer: offer[1][1])
        if np.isfinite(found[1]):
            kl, worth, lo, hi = found
            rows.append(
                {
                    "cost": money,
                    "rm_params": option.rm_params,
                    "kl": kl,
                    "worth": worth,
                    "gold_lo": lo,
                    "gold_hi": hi,
                }
            )
    return pd.DataFrame(rows)


def _reached(grid: Array, affordable: float) -> tuple[float, ...]:
    """KL of most worth up to an affordable one, its worth and gold's interval, from the grid; -inf where none is."""
    if np.isnan(affordable):
        return np.nan, -np.inf, np.nan, np.nan
    end = min(affordable, float(grid[0, -1]))
    d = np.sqrt(grid[0])
    at_end = (end, *(float(np.interp(np.sqrt(end), d, row)) for row in grid[1:]))
    inside = grid[:, grid[0] <= end]
    best = inside[:, np.argmax(inside[1])]
    return at_end if at_end[1] >= best[1] else tuple(map(float, best))


def _refuse(
    post: xr.DataTree, cost: CostModel, budget: float, extra: float, level: float, kl_max: float | None
) -> None:
    methods = sorted(set(post["constant_data"].to_dataset()["method"].values.astype(str)))
    problems = []
    if methods != [cost.method]:
        says = "has no kl_per_step, so it is for bon" if cost.method == "bon" else "has kl_per_step, so it is for rl"
        problems.append(f"the cost model {says}, and the runs are {', '.join(methods)}")
    problems += [
        refusal(name, value, allowed)
        for name, value, allowed in (
            ("budget", budget, "a finite amount > 0"),
            ("extra", extra, "a finite share > 0, e.g. 0.1"),
        )
        if not (is_number(value) and value > 0)
    ]
    problems += wrong_limits(["cvar"], level, kl_max)
    if problems:
        raise FitError("; ".join(problems))


def _refuse_unaffordable(sizes: Array, cost: CostModel, budget: float) -> None:
    if all(np.isnan(cost.kl_within(budget - cost.rm_cost(size), size)) for size in sizes):
        least = min(cost.rm_cost(size) + cost.run_cost(0.0, size) for size in sizes)
        raise FitError(
            f"budget is {budget:g}, which pays for none of the sizes; allowed: at least {least:.3g}, what the cheapest "
            "reward model costs"
        )

"""How much KL the next run may use: the rules on draws of curves at reward-model sizes, or of the fitted runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from goldpeak.bon import n_of_kl
from goldpeak.curves import Include, new_curves, observed_curves
from goldpeak.errors import FitError
from goldpeak.names import RUN
from goldpeak.peaks import MOST_ROWS, kl_limit, quantiles, refuse_beyond_basis, refuse_prob, with_decades
from goldpeak.runs import is_bon
from goldpeak.stopping.rules import RULES, CurveDraws, Rule, draws_of, stops, worst_mean
from goldpeak.stopping.settings import wrong_limits
from goldpeak.wording import html_table, interval, number, size

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Budget", "budget", "whole_n"]

Array = NDArray[np.float64]
WORST = 0.25
"""Share of the draws in ``regret_cvar``: the worst quarter, whatever the rule's level."""


@dataclass(frozen=True)
class Budget:
    """How far to optimise.

    Attributes
    ----------
    table : pandas.DataFrame
        One row per size (or observed run) and rule: ``rm_params``, ``rule``, ``level`` (NaN for ``expected``), ``kl``
        (nats; inf where the rule would not stop up to `kl_max`), ``n`` (best-of-n: the largest whole n with KL(n) <=
        kl; else None), ``gold_median, gold_lo, gold_hi``, ``p_past_peak`` = P(kl_peak < kl), ``regret_mean`` and
        ``regret_cvar`` (mean over all draws, and over the worst quarter, of gold at the draw's own peak less gold
        here), ``regret_share`` (``regret_mean`` as a share of the mean gold at the peak), ``drop`` (what ``drawdown``
        counts as a fall), ``kl_at`` (where all this was read off: `kl`, or `kl_max` where that is inf),
        ``baseline``, ``extrapolated``, ``decades``, ``prob``, ``interval``. Gold of an observed run is in the file's
        units: what was subtracted as the initial policy's gold is added again (``baseline``). Gold at a size, and all
        regrets, are relative to the initial policy.
    sensitivity : pandas.DataFrame
        The same rules at half their level, at it, and at twice it: ``rm_params`` (and ``run``), ``rule``, ``level``,
        ``kl``, ``n``.
    prob : float
        Probability of the equal-tailed intervals.
    kl_max : float
        Largest KL in question.
    include : str
        What a prediction at a size includes; ``observed`` for the fitted runs.

    Examples
    --------
    >>> import goldpeak
    >>> post = goldpeak.fit(goldpeak.datasets.lab("rl"), "rl_paper", draws=100)
    >>> found = goldpeak.budget(post, rule="chance", level=0.1)
    >>> found.include, found.table.columns[:6].tolist()
    ('observed', ['run', 'rm_params', 'rule', 'level', 'kl', 'n'])
    """

    table: pd.DataFrame
    sensitivity: pd.DataFrame
    prob: float
    kl_max: float
    include: str

    def _repr_html_(self) -> str:
        """The table, as a notebook shows it; of many rows the first."""
        shown = self.table.head(MOST_ROWS)
        rows = [
            (
                str(row[RUN]) if RUN in row else size(row["rm_params"]),
                row["rule"] if np.isnan(row["level"]) else f"{row['rule']} ({row['level']:g})",
                number(row["kl"]),
                number(row["gold_median"]),
                interval(row["gold_lo"], row["gold_hi"]),
                f"{row['p_past_peak']:.2f}",
                number(row["regret_mean"]),
            )
            for _, row in shown.iterrows()
        ]
        within = f"{100 * self.prob:g}% interval"
        columns = (
            "run" if RUN in self.table else "rm_params",
            "rule (level)",
            "stop at KL (nats)",
            "gold there",
            within,
        )
        left_out = f"; {len(shown)} of {len(self.table)} rows" if len(shown) < len(self.table) else ""
        caption = f"budget ({self.include}), in question up to KL {number(self.kl_max)} nats{left_out}"
        return html_table((*columns, "P(past the peak)", "mean regret"), rows, caption=caption)


def budget(
    post: xr.DataTree,
    rm_params: Sequence[float] | ArrayLike | None = None,
    rule: Rule | Literal["all"] = "regret",
    level: float = 0.25,
    include: Include = "new_run",
    kl_max: float | None = None,
    *,
    drop: float | None = None,
    prob: float = 0.9,
    seed: int | None = None,
) -> Budget:
    """How much KL the next run may use.

    Parameters
    ----------
    post : xarray.DataTree
        As returned by `fit`.
    rm_params : array_like, optional
        Reward-model sizes; without it, each observed run.
    rule : {"regret", "expected", "chance", "cvar", "drawdown", "all"}
        With R a draw's gold, R* its gold at its peak, and the *worst share* of draws that with the least gold (most
        regret) at the KL in question:

        - ``regret``: least mean regret R* - R(kl) over the worst `level` of the draws (1: over all of them).
        - ``expected``: largest mean gold.
        - ``chance``: the largest KL with P(kl_peak < kl) <= `level`.
        - ``cvar``: largest mean gold over the worst `level` of the draws (1: the same as ``expected``).
        - ``drawdown``: the largest KL up to which P(gold has fallen more than `drop` below R* past the peak) <=
          `level`.
        - ``all``: a row for each.
    level : float
        Above 0, and at most 1 (``chance``, ``drawdown``: below 1). Small is careful: of overshoot with ``chance`` and
        ``drawdown``, of little gold with ``cvar``, of loss with ``regret``, where the worst loss may be that of
        stopping too early.
    include : {"typical", "new_rm", "new_run"}
        What a prediction at a size includes, see `curves.new_curves`.
    kl_max : float, optional
        Largest KL (nats) in question; by default the posterior's own, twice the largest observed.
    drop : float, optional
        For ``drawdown``, in gold; by default 5 % of the median gold at the peak.
    prob : float
        Probability of the equal-tailed interval of gold.
    seed : int, optional
        Seed of the new RMs' and runs' deviations; the posterior's own by default.

    Returns
    -------
    Budget

    Raises
    ------
    FitError
        Naming every argument that is out of range; or if sizes are asked of a posterior that saw a single one.

    Notes
    -----
    *Draws without a peak up to* `kl_max` are draws in which going on pays as far as anyone looked. For ``chance`` and
    ``drawdown`` they are never past their peak. Their R* is gold at `kl_max`, so ``regret`` counts what they lose by
    an early stop only up to there: with a larger `kl_max` it goes further. ``expected`` and ``cvar`` take their gold as
    it is. Where a rule's optimum is `kl_max` itself, ``kl`` is inf: no reason to stop was found up to there.
    *Draws that only fall* peak at KL 0.

    ``chance`` and ``drawdown`` never stop later at a smaller level. Of ``cvar`` and ``regret`` the optimal *value* is
    monotone in the level, and the KL need not be. Worst shares are conditional values at risk (Rockafellar & Uryasev
    2002, J. Banking & Finance 26, 1443).

    ``expected, cvar`` and ``regret`` are optimised on a grid in the square root of KL, with a parabola between its
    points.

    Examples
    --------
    >>> import goldpeak
    >>> post = goldpeak.fit(goldpeak.datasets.lab("rl"), "rl_paper", draws=100)
    >>> found = goldpeak.budget(post, [1e5], rule="all")
    >>> found.table["rule"].tolist()
    ['expected', 'chance', 'cvar', 'regret', 'drawdown']
    >>> found.sensitivity.query("rule == 'chance'")["level"].tolist()
    [0.125, 0.25, 0.5]
    """
    refuse_prob(prob)
    rules = RULES if rule == "all" else (rule,)
    _refuse(rules, level, kl_max, drop)
    limit = kl_limit(post, kl_max)
    curves = observed_curves(post) if rm_params is None else new_curves(post, rm_params, include=include, seed=seed)
    refuse_beyond_basis(curves, limit)
    data = post["constant_data"].to_dataset()
    bon = is_bon(post)
    observed = curves.dim == RUN
    sizes = data["rm_params"].values if observed else curves.items
    baseline = data["baseline"].values if observed else np.zeros(len(sizes))
    rows, neighbours = [], []
    for i, draws in enumerate(draws_of(curves, limit)):
        label = ({RUN: str(curves.items[i])} if observed else {}) | {"rm_params": float(sizes[i])}
        table, around = _of_item(draws, rules, level, drop, prob, bon)
        rows += [label | _shifted(row, float(baseline[i])) for row in table]
        neighbours += [label | row for row in around]
    return Budget(
        _table(rows, np.unique(data["rm_params"].values), prob),
        _frame(neighbours),
        prob,
        limit,
        "observed" if observed else include,
    )


def whole_n(kl: float) -> float:
    """Best-of-n: the largest whole n with KL(n) <= kl; inf where kl is.

    Examples
    --------
    >>> whole_n(0.0), whole_n(3.6151701859880916), whole_n(float("inf"))
    (1, 100, inf)
    """
    n = float(n_of_kl(kl))
    return int(n * (1.0 + 1e-9)) if np.isfinite(n) else n


def neighbours_of(level: float) -> tuple[float, ...]:
    """Half a level, it, and twice it or, where that is more than half of what is left above it, so much.

    Examples
    --------
    >>> neighbours_of(0.25), neighbours_of(0.8)
    ((0.125, 0.25, 0.5), (0.4, 0.8, 0.9))
    """
    return level / 2.0, level, min(2.0 * level, (1.0 + level) / 2.0)


def _of_item(
    draws: CurveDraws, rules: Sequence[Rule], level: float, drop: float | None, prob: float, bon: bool
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    drop = draws.usual_drop if drop is None else drop
    rows, around = [], []
    for rule in rules:
        levels = (level,) if rule == "expected" else neighbours_of(level)
        for each, kl in zip(levels, stops(draws, rule, levels, drop), strict=True):
            row: dict[str, Any] = {"rule": rule, "level": np.nan if rule == "expected" else each, "kl": kl}
            row["n"] = whole_n(kl) if bon else None
            around.append(row)
            if each == level:
                rows.append(row)
    kl_at = np.minimum([row["kl"] for row in rows], draws.kl_max)
    gold = draws.gold_at(kl_at)
    return [
        row | _risk(draws, kl, gold[:, k], prob) | {"drop": drop}
        for k, (row, kl) in enumerate(zip(rows, kl_at, strict=True))
    ], around


def _risk(draws: CurveDraws, kl: float, gold: Array, prob: float) -> dict[str, float]:
    """What it means to stop at a KL where the draws have so much gold."""
    # Refined peaks can lie below the curve by rounding.
    regret = np.maximum(draws.gold_peak - gold, 0.0)
    lo, median, hi = (float(value) for value in quantiles(gold, prob))
    best = float(np.mean(draws.gold_peak))
    return {
        "gold_median": median,
        "gold_lo": lo,
        "gold_hi": hi,
        "p_past_peak": float(np.mean(draws.kl_peak < kl)),
        "regret_mean": float(regret.mean()),
        "regret_cvar": float(-worst_mean(-regret, WORST)),
        "regret_share": float(regret.mean()) / best if best > 0 else np.nan,
        "kl_at": float(kl),
    }


def _shifted(row: dict[str, Any], baseline: float) -> dict[str, Any]:
    moved = {name: row[name] + baseline for name in ("gold_median", "gold_lo", "gold_hi")}
    return row | moved | {"baseline": baseline}


def _frame(rows: list[dict[str, Any]]) -> pd.DataFrame:
    import pandas as pd

    table = pd.DataFrame(rows)
    # Whole numbers stay whole beside None and inf.
    return table.assign(n=pd.Series([row["n"] for row in rows], dtype=object))


def _table(rows: list[dict[str, Any]], observed: Array, prob: float) -> pd.DataFrame:
    table = _frame(rows)
    return with_decades(table, observed).assign(prob=prob, interval="eti")


def _refuse(rules: Sequence[str], level: float, kl_max: float | None, drop: float | None) -> None:
    problems = [f"rule is {rule!r}; allowed: {', '.join(RULES)}, all" for rule in rules if rule not in RULES]
    problems += wrong_limits(rules, level, kl_max, drop)
    if problems:
        raise FitError("; ".join(problems))

"""Stopping in closed loop: rules act on runs that were not fitted, checkpoint by checkpoint, and truth scores them."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from goldpeak.check.stop_rules import (
    StopRule,
    fixed_budget,
    hedge_tune,
    hindsight,
    patience,
    plug_in,
    smoothed_patience,
)
from goldpeak.datasets import measured_peaks
from goldpeak.errors import FitError
from goldpeak.library import RECOMMENDED
from goldpeak.names import POINT, RUN_INDEX
from goldpeak.runs import method_of
from goldpeak.stopping.rules import RULES, Rule, worst_mean
from goldpeak.wording import listed

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["StoppingBacktest", "stopping_backtest"]

Array = NDArray[np.float64]
TRUTH = "gold_exact"
WORST = 0.25
"""The worst share of the runs, by regret, whose mean is given beside the mean of all."""
ORACLE = "oracle"
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class StoppingBacktest:
    """How stopping rules fared.

    Attributes
    ----------
    table : pandas.DataFrame
        A row for each rule and level: ``rule``, ``level`` (NaN for competitors), ``runs``, ``stopped`` (share of runs
        that were stopped before their last checkpoint), ``overshoot``, ``stated``, ``regret``, ``regret_worst``,
        ``kept``, ``kept_worst``, ``evaluations``: means of the columns of `runs`, and of the worst quarter of the runs.
    runs : pandas.DataFrame
        A row for each rule, level and run:

        - ``fleet``, ``run``, ``rm_params``
        - ``kl_stop``: KL of the checkpoint at which the rule stopped; of the last where it did not (``stopped`` False)
        - ``overshoot``: whether that is beyond the true peak, as `goldpeak.datasets.measured_peaks` reads it off the
          checkpoints' true gold; the best checkpoint may itself lie a little beyond it
        - ``stated``: the rule's own P(past the peak) when it stopped; NaN for competitors
        - ``regret``: (best true gold - true gold at the stop) / best true gold, the best being that of the run's
          checkpoints and, with it, of any rule that sees only those
        - ``kept``: the same for the checkpoint that the rule would keep
        - ``evaluations``: how many times gold was measured, the stop included
    noise : float or None
        Standard deviation of the gold given to the rules, as a share of the run's highest true gold; None: as measured.
    seed : int
        Of that noise.

    Examples
    --------
    >>> import goldpeak
    >>> found = stopping_backtest(goldpeak.datasets.lab("rl"), rules=(), card="rl_paper", noise=0.15)
    >>> found.table.set_index("rule").loc["oracle", ["regret", "kept"]].tolist()
    [0.0, 0.0]
    """

    table: pd.DataFrame
    runs: pd.DataFrame
    noise: float | None
    seed: int


def stopping_backtest(
    fleets: xr.Dataset | Sequence[tuple[xr.Dataset | xr.DataTree, xr.Dataset]],
    rules: Sequence[Rule] = ("regret",),
    levels: Sequence[float] = (0.25,),
    *,
    card: str | None = None,
    noise: float | None = None,
    competitors: bool = True,
    seed: int = 0,
) -> StoppingBacktest:
    """Let rules stop runs that were not fitted, and score them by the true gold.

    Parameters
    ----------
    fleets : xarray.Dataset, or sequence of pairs
        Runs with ``gold_exact`` (true gold, along ``point``), of which the smaller half of the sizes is fitted and each
        larger run acted on; or pairs of what is fitted (runs, or a posterior) and runs to act on.
    rules : sequence of str
        Of `goldpeak.budget`, applied by `goldpeak.Stopper`.
    levels : sequence of float
        Of each rule.
    card : str, optional
        What to fit: by default the first that `library.RECOMMENDED` has for the runs' method.
    noise : float, optional
        Rules see the true gold with independent normal noise whose sd is this share of the run's highest true gold, and
        are told so (``gold_se``); 0 is allowed. By default they see gold as it was measured.
    competitors : bool
        Whether to score what people do without a posterior as well: the rules of `goldpeak.check.stop_rules`, a fixed
        budget (geometric mean of the fitted runs' median peaks), and the oracle.
    seed : int
        Of the fits, the draws and the noise.

    Returns
    -------
    StoppingBacktest

    Raises
    ------
    FitError
        If there is no truth, true gold of a run never rises, nothing is to be scored, or a rule, level or noise is
        out of range.

    Notes
    -----
    Checkpoints come in the order of ``step`` where there is one, else of KL. All rules see the same noise. The fleet is
    fitted as it was measured, whatever `noise`.

    Examples
    --------
    >>> import goldpeak
    >>> found = stopping_backtest(goldpeak.datasets.lab("rl"), rules=(), card="rl_paper")
    >>> found.table["rule"].tolist()[:3]
    ['oracle', 'fixed budget', 'patience 2']
    """
    pairs = _pairs(fleets)
    wanted = _wanted(rules, levels)
    _refuse(pairs, rules, levels, noise, bool(wanted or competitors))
    rows: list[dict[str, object]] = []
    for at, (known, unseen) in enumerate(pairs):
        post = known if isinstance(known, xr.DataTree) else _fit(known, card, seed)
        arrivals = list(_arrivals(unseen, noise, np.random.default_rng([seed, at])))
        _log.info("fleet %d: %d runs, %d rules", at + 1, len(arrivals), len(wanted))
        by_run = [_by_posterior(post, each, wanted, seed) for each in arrivals]
        for (rule, level), outcomes in zip(wanted, zip(*by_run, strict=True), strict=True):
            named = {"rule": rule, "level": level, "fleet": at}
            rows += [named | _scored(*pair) for pair in zip(arrivals, outcomes, strict=True)]
        for name, act in _competitors(post, unseen) if competitors else ():
            rows += [{"rule": name, "level": np.nan, "fleet": at} | _scored(each, act(each)) for each in arrivals]
    table = _frame(rows)
    return StoppingBacktest(_summary(table), table, noise, seed)


@dataclass(frozen=True)
class Arrivals:
    """One run's checkpoints in the order in which they arrive."""

    run: str
    rm_params: float
    kl: Array
    gold: Array
    gold_se: Array | None
    step: Array | None
    proxy: Array | None
    exact: Array
    kl_peak: float


class Outcome(NamedTuple):
    """What a rule did: index of its last checkpoint, whether it stopped there, index of what it keeps, its own risk."""

    last: int
    stopped: bool
    keep: int
    stated: float = np.nan


class Policy(Protocol):
    """From one run's checkpoints to what a rule does; it looks at them one after another."""

    def __call__(self, run: Arrivals) -> Outcome: ...


def _pairs(
    fleets: xr.Dataset | Sequence[tuple[xr.Dataset | xr.DataTree, xr.Dataset]],
) -> list[tuple[xr.Dataset | xr.DataTree, xr.Dataset]]:
    from goldpeak.subset import split_by_size

    return [split_by_size(fleets)] if isinstance(fleets, xr.Dataset) else list(fleets)


def _refuse(
    pairs: Sequence[tuple[object, xr.Dataset]],
    rules: Sequence[str],
    levels: Sequence[float],
    noise: float | None,
    anything: bool,
) -> None:
    problems = [f"rule is {rule!r}; allowed: {', '.join(RULES)}" for rule in rules if rule not in RULES]
    problems += [f"level is {level}; allowed: a number between 0 and 1" for level in levels if not 0 < level < 1]
    if noise is not None and not (np.isfinite(noise) and noise >= 0):
        problems.append(f"noise is {noise}; allowed: a share >= 0, e.g. 0.15, or None")
    if any(TRUTH not in runs for _, runs in pairs):
        problems.append(f"runs to act on have no {TRUTH!r} along {POINT!r}, so nothing can be scored")
    elif not pairs or any(not runs.sizes["run"] for _, runs in pairs):
        problems.append("there is no run to act on")
    elif fallen := [str(name) for _, runs in pairs for name in _never_above_start(runs)]:
        problems.append(f"true gold never rises above 0 in run {listed(fallen, most=5)}: no share of it can be lost")
    if not anything:
        problems.append("there is nothing to score: no rule with a level, and no competitors")
    if problems:
        raise FitError("; ".join(problems))


def _never_above_start(runs: xr.Dataset) -> NDArray[np.str_]:
    highest = np.full(runs.sizes["run"], -np.inf)
    np.maximum.at(highest, runs[RUN_INDEX].values, runs[TRUTH].values)
    return runs["run"].values.astype(str)[~(highest > 0)]


def _wanted(rules: Sequence[Rule], levels: Sequence[float]) -> list[tuple[Rule, float]]:
    """Each rule with each level; ``expected`` has none."""
    found = [(rule, np.nan if rule == "expected" else level) for rule in rules for level in (levels or (np.nan,))]
    return [pair for pair in dict.fromkeys(found) if pair[0] == "expected" or np.isfinite(pair[1])]


def _fit(runs: xr.Dataset, card: str | None, seed: int) -> xr.DataTree:
    from goldpeak.fitting import fit

    return fit(runs, card or RECOMMENDED[method_of(runs)][0], seed=seed)


def _arrivals(runs: xr.Dataset, noise: float | None, rng: np.random.Generator) -> Iterator[Arrivals]:
    peaks = measured_peaks(runs)["kl_peak"].to_numpy()
    for i, name in enumerate(runs["run"].values):
        one = runs.isel({POINT: np.flatnonzero(runs[RUN_INDEX].values == i)})
        one = one.isel({POINT: np.argsort(one["step" if "step" in one else "kl"].values, kind="stable")})
        exact = one[TRUTH].values
        gold, gold_se = one["gold"].values, _of(one, "gold_se")
        if noise is not None:
            sd = noise * exact.max()
            gold, gold_se = exact + sd * rng.standard_normal(len(exact)), np.full(len(exact), sd)
        size, kl = float(runs["rm_params"].values[i]), one["kl"].values
        yield Arrivals(str(name), size, kl, gold, gold_se, _of(one, "step"), _of(one, "proxy"), exact, float(peaks[i]))


def _of(run: xr.Dataset, name: str) -> Array | None:
    return np.asarray(run[name].values, dtype=float) if name in run else None


def _competitors(post: xr.DataTree, unseen: xr.Dataset) -> Iterator[tuple[str, Policy]]:
    bon = method_of(unseen) == "bon"
    yield ORACLE, _oracle
    yield "fixed budget", _by_points(fixed_budget(_usual_peak(post)))
    for count in (2, 3, 5):
        yield f"patience {count}", _by_points(patience(count))
    yield "patience 2 on means of 3", _by_points(smoothed_patience())
    yield "least squares, plug-in", _by_points(plug_in("bon" if bon else "rl"))
    if bon:
        yield "HedgeTune", _by_points(hedge_tune)
    yield "hindsight argmax", _best_measured


def _usual_peak(post: xr.DataTree) -> float:
    """Geometric mean of the fitted runs' median peaks, a peak that was not found counting as the largest KL."""
    from goldpeak.peaks import peak

    median = peak(post).table["median"].to_numpy()
    return float(np.exp(np.mean(np.log(np.clip(median, 1e-3, float(post.attrs["kl_max"]))))))


def _by_posterior(post: xr.DataTree, run: Arrivals, wanted: Sequence[tuple[Rule, float]], seed: int) -> list[Outcome]:
    """What each rule does; all ask one stopper, as what it knows of the run does not depend on them."""
    from goldpeak.stopping.online import Stopper

    if not wanted:
        return []
    found: dict[int, Outcome] = {}
    stopper = Stopper(post, run.rm_params, seed=seed)
    for i, kl in enumerate(run.kl):
        decision = stopper.update(kl, **_measured(run, i))
        keep = int(np.argmin(np.abs(run.kl[: i + 1] - decision.best_kl)))
        for k, (rule, level) in enumerate(wanted):
            if k not in found:
                # ``expected`` has no level: any will do.
                stop = stopper.would_stop(rule, 1.0 if np.isnan(level) else level)
                if stop or i == len(run.kl) - 1:
                    found[k] = Outcome(i, stop, keep, decision.p_past_peak)
        if len(found) == len(wanted):
            break
    return [found[k] for k in range(len(wanted))]


def _measured(run: Arrivals, i: int) -> dict[str, float]:
    columns = {"gold": run.gold, "gold_se": run.gold_se, "proxy": run.proxy, "step": run.step}
    return {name: float(values[i]) for name, values in columns.items() if values is not None}


def _by_points(rule: StopRule) -> Policy:
    def act(run: Arrivals) -> Outcome:
        for i in range(len(run.kl)):
            answer = rule(run.kl[: i + 1], run.gold[: i + 1])
            if answer.stop:
                break
        return Outcome(i, answer.stop, answer.keep)

    return act


def _oracle(run: Arrivals) -> Outcome:
    best = int(np.argmax(run.exact))
    return Outcome(best, best < len(run.kl) - 1, best)


def _best_measured(run: Arrivals) -> Outcome:
    """The whole run is paid for, and the highest gold measured counts as its stop."""
    best = hindsight(run.kl, run.gold).keep
    return Outcome(best, False, best)


def _scored(run: Arrivals, done: Outcome) -> dict[str, object]:
    best = int(np.argmax(run.exact))
    top = run.exact[best]
    return {
        "run": run.run,
        "rm_params": run.rm_params,
        "kl_stop": run.kl[done.last],
        "kl_kept": run.kl[done.keep],
        "stopped": done.stopped,
        "overshoot": bool(run.kl[done.last] > run.kl_peak),
        "stated": done.stated,
        "regret": (top - run.exact[done.last]) / top,
        "kept": (top - run.exact[done.keep]) / top,
        "evaluations": done.last + 1 if done.stopped else len(run.kl),
    }


def _frame(rows: list[dict[str, object]]) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame(rows)


def _summary(runs: pd.DataFrame) -> pd.DataFrame:
    groups = runs.groupby(["rule", "level"], sort=False, dropna=False)
    means = groups[["stopped", "overshoot", "stated", "regret", "kept", "evaluations"]].mean()
    worst = {f"{name}_worst": groups[name].agg(_worst) for name in ("regret", "kept")}
    found = means.assign(runs=groups.size(), **worst)
    order = ["runs", "stopped", "overshoot", "stated", "regret", "regret_worst", "kept", "kept_worst", "evaluations"]
    return found[order].reset_index()


def _worst(values: pd.Series[float]) -> float:
    return 0.0 - float(worst_mean(-np.asarray(values, dtype=float), WORST))

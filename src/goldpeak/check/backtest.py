"""Backtests: fit some of the runs, predict the others, and score the predictions against what was measured.

Two uncertain things are compared. A held-out run's peak is itself an estimate (`model_free`), so predictions are
scored as predictions *of that estimate*: its bootstrap error is added to the draws. And it is only known within the KL
that the run covers: predicted and measured peaks count as that end wherever they lie beyond it, at infinity included.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from goldpeak.card import Card
from goldpeak.check.folds import Fold, Scheme, folds
from goldpeak.check.model_free import MeasuredPeak, spline_peaks
from goldpeak.check.refits import Refit, RefitEngine, refits
from goldpeak.conditioning import log_mean_density, log_predictive
from goldpeak.curves import Include, new_curves, refuse_include
from goldpeak.errors import FitError, RunsWarning
from goldpeak.names import RUN, describe
from goldpeak.peaks import decades_outside, quantiles
from goldpeak.summits import peak_draws
from goldpeak.wording import listed

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["PROBS", "Backtest", "backtest", "crps"]

Array = NDArray[np.float64]

PROBS = (0.5, 0.8, 0.9, 0.95)
"""Probabilities of the equal-tailed intervals whose coverage is counted."""
WIDTH_AT = 0.9


@dataclass(frozen=True)
class Backtest:
    """What a backtest found.

    Attributes
    ----------
    scores : xarray.Dataset
        Dims (card, fold, run) and ``prob``; NaN where a run was not held out in a fold or a fit was refused.
        ``kl_peak_median``, ``kl_peak_lo``, ``kl_peak_hi`` (prob): prediction for a new run of that size, nats.
        ``log_predictive``: log density of all points of the held-out run jointly, a new run of that size.
        ``crps``: of log kl_peak (smaller is better). ``interval_score`` (prob): of log kl_peak (smaller is better).
        ``inside`` (prob): 1 where the measured peak lies in the interval of the measured peak. ``regret``: share of the
        run's best gold lost by stopping at the predicted median. ``decades`` (fold, run): powers of ten beyond the
        fitted sizes. By run: ``rm_params``, ``method``, ``kl_peak`` (measured, nats), ``kl_measured_lo`` and
        ``kl_measured_hi`` (90 % of its bootstrap), ``kl_observed`` (largest KL), ``turned``. By (card, fold):
        ``passed`` (gates; NaN where the fit was refused).
    table : pandas.DataFrame
        A row for each card: means over held-out runs and folds (coverage, CRPS, width, regret, log predictive density),
        counts of predictions, of failed gates and of refused fits.
    folds : tuple of Fold
    refused : tuple of str
        Which fits were refused, and why.

    Examples
    --------
    >>> import goldpeak
    >>> runs = goldpeak.datasets.lab("rl")
    >>> last = goldpeak.check.folds.folds(runs, "small_to_large")[-1:]
    >>> found = goldpeak.backtest(runs, ["rl_paper"], last, cache=False, jobs=1)
    >>> found.table.loc["rl_paper", ["predictions", "failed_gates"]].tolist()
    [4, 0]
    """

    scores: xr.Dataset
    table: pd.DataFrame
    folds: tuple[Fold, ...]
    refused: tuple[str, ...] = ()


def backtest(
    runs: xr.Dataset,
    cards: Sequence[str | Path | Card],
    scheme: Scheme | Sequence[Fold] = "small_to_large",
    *,
    seed: int = 0,
    include: Include = "new_run",
    engine: RefitEngine = "auto",
    draws: int = 500,
    chains: int = 4,
    kl_max: float | None = None,
    replicates: int = 200,
    cache: bool | str | Path = True,
    jobs: int | None = None,
    progress: bool = True,
) -> Backtest:
    """Fit cards to some of the runs and score what they say of the others.

    Parameters
    ----------
    runs : xarray.Dataset
        As returned by `read_runs`: runs of one method.
    cards : sequence of str, path or Card
        No two of one name.
    scheme : str or sequence of Fold
        ``small_to_large``: for each size from the second on, fit up to it and predict all larger ones (what
        extrapolation asks). ``leave_one_size_out``, ``leave_one_run_out``. Or folds of your own, see `check.folds`.
    seed : int
        Of the fits, the new runs' deviations and the bootstrap.
    include : {"typical", "new_rm", "new_run"}
        What a prediction includes; only ``new_run`` is a prediction of a run.
    engine, draws, chains, kl_max, cache, jobs, progress
        As for `check.refits.refits`: refits run in parallel through joblib (so also on a dask cluster) and are kept on
        disk, so that an interrupted backtest goes on where it was.
    replicates : int
        Bootstrap samples of each measured peak.

    Returns
    -------
    Backtest

    Raises
    ------
    FitError
        If there are too few sizes or runs, an argument is out of range, or every fit was refused.
    CardError
        If a card is not there or not valid.

    Warns
    -----
    ConvergenceWarning
        If the gate of a refit fails.
    RunsWarning
        If fits were refused, or held-out runs have too few points for a measured peak.

    Notes
    -----
    The CRPS of log kl_peak is the integral of the Brier score over thresholds from the run's smallest to its largest
    KL (threshold-weighted, Gneiting & Ranjan 2011, doi:10.1198/jbes.2010.08110): draws at infinity lie above all of
    these and need no other treatment. Interval score: Gneiting & Raftery 2007, doi:10.1198/016214506000001437.

    Examples
    --------
    >>> import goldpeak
    >>> runs = goldpeak.datasets.lab("rl")
    >>> half = goldpeak.check.folds.half_by_size(runs)
    >>> found = goldpeak.backtest(runs, ["rl_paper"], [half], draws=100, cache=False, jobs=1)
    >>> found.scores["kl_peak_hi"].dims
    ('card', 'fold', 'run', 'prob')
    """
    divisions = folds(runs, scheme) if isinstance(scheme, str) else tuple(scheme)
    _refuse(divisions, include)
    held = sorted({name for fold in divisions for name in fold.held_out})
    measured = spline_peaks(runs, replicates=replicates, seed=seed)
    task = _Score(runs, {name: measured[name] for name in held if name in measured}, include, seed)
    found = refits(
        runs,
        cards,
        divisions,
        task,
        seed=seed,
        engine=engine,
        draws=draws,
        chains=chains,
        kl_max=kl_max,
        cache=cache,
        jobs=jobs,
        progress=progress,
    )
    refused = tuple(f"{each.label}: {each.refused}" for each in found if each.refused)
    if len(refused) == len(found):
        raise FitError("every fit was refused:\n" + "\n".join(f"  - {why}" for why in dict.fromkeys(refused)))
    _warn(refused, [name for name in held if np.isnan(measured[name].kl_peak)])
    scores = _labelled(runs, found, divisions, measured)
    return Backtest(scores, _table(scores, found), divisions, refused)


def _refuse(divisions: Sequence[Fold], include: str) -> None:
    names = [fold.name for fold in divisions]
    problems = [f"two folds have the name {name!r}" for name in sorted({n for n in names if names.count(n) > 1})]
    for fold in divisions:
        both = sorted(set(fold.fitted) & set(fold.held_out))
        problems += [f"fold {fold.name!r} fits what it holds out: {listed(both, most=5)}"] if both else []
        problems += [] if fold.held_out else [f"fold {fold.name!r} holds out no run"]
    refuse_include(include, problems)


@dataclass(frozen=True)
class _Score:
    """Scores the posterior of one fold on the runs held out: runs in the workers."""

    runs: xr.Dataset
    measured: Mapping[str, MeasuredPeak]
    include: Include
    seed: int

    def __call__(self, post: xr.DataTree, fold: Fold) -> xr.Dataset:
        fitted, held = fold.split(self.runs)
        sizes, which = np.unique(held["rm_params"].values, return_inverse=True)
        curves = new_curves(post, sizes, include=self.include, seed=self.seed)
        kl = peak_draws(curves, float(post.attrs["kl_max"]))[0].reshape(-1, len(sizes))
        density = log_predictive(post, held, include=self.include, seed=self.seed)
        names = held[RUN].values.astype(str)
        rows = [_scores_of(kl[:, k], self.measured[name]) for k, name in zip(which, names, strict=True)]
        scores = xr.concat(rows, xr.IndexVariable(RUN, names))
        scores["log_predictive"] = (RUN, log_mean_density(density)[0])
        scores["decades"] = (RUN, decades_outside(held["rm_params"].values, np.unique(fitted["rm_params"].values)))
        return scores


def _scores_of(kl: Array, measured: MeasuredPeak) -> xr.Dataset:
    """Scores of draws of one run's kl_peak."""
    ends = [quantiles(kl, prob) for prob in PROBS]
    found: dict[str, Any] = {
        "kl_peak_median": ends[0][1],
        "kl_peak_lo": ("prob", [lo for lo, _, _ in ends]),
        "kl_peak_hi": ("prob", [hi for _, _, hi in ends]),
        "regret": measured.regret(float(ends[0][1])),
    }
    predicted = measured.log_estimates(kl)
    truth, top = np.log(measured.kl_peak), np.log(measured.highest)
    bounds = [quantiles(predicted, prob) for prob in PROBS]
    # A run still rising at its end is inside where the interval reaches that end.
    inside = [(lo <= truth + 1e-9) & (truth <= hi + 1e-9) for lo, _, hi in bounds]
    score = [
        hi - lo + 2.0 / (1.0 - prob) * (max(lo - truth, 0.0) + max(truth - hi, 0.0))
        for prob, (lo, _, hi) in zip(PROBS, bounds, strict=True)
    ]
    known = bool(np.isfinite(truth + top))
    found["crps"] = crps(predicted, truth) if known else np.nan
    found["inside"] = ("prob", np.where(known, inside, np.nan))
    found["interval_score"] = ("prob", np.where(known, score, np.nan))
    return xr.Dataset(found, coords={"prob": list(PROBS)})


def crps(draws: Array, truth: float) -> float:
    """Continuous ranked probability score of draws (n,) of a number, smaller is better.

    Examples
    --------
    >>> crps(np.array([0.0, 2.0]), 1.0)
    0.5
    """
    x = np.sort(draws)
    n = len(x)
    spread = float(np.sum((2.0 * np.arange(1, n + 1) - n - 1) * x)) / n**2
    return max(float(np.mean(np.abs(x - truth))) - spread, 0.0)


def _labelled(
    runs: xr.Dataset, found: Sequence[Refit], divisions: Sequence[Fold], measured: Mapping[str, MeasuredPeak]
) -> xr.Dataset:
    cards = list(dict.fromkeys(each.card for each in found))
    names = runs[RUN].values.astype(str)
    width = len(divisions)
    template = next(each.value for each in found if not each.refused)
    parts = [each.value if not each.refused else xr.full_like(template, np.nan).isel({RUN: []}) for each in found]
    parts = [part.reindex({RUN: names}) for part in parts]
    by_card = [
        xr.concat(parts[i * width : (i + 1) * width], xr.IndexVariable("fold", [fold.name for fold in divisions]))
        for i in range(len(cards))
    ]
    scores = xr.concat(by_card, xr.IndexVariable("card", cards))
    scores["decades"] = scores["decades"].max("card")
    passed = [np.nan if each.gates is None else float(each.gates.passed) for each in found]
    scores["passed"] = (("card", "fold"), np.reshape(passed, (len(cards), width)))
    peaks = [measured[name] for name in names]
    tail = np.array([quantiles(peak.bootstrap, 0.9) for peak in peaks])
    scores = scores.assign(
        rm_params=(RUN, runs["rm_params"].values),
        method=(RUN, runs["method"].values),
        kl_peak=(RUN, np.array([peak.kl_peak for peak in peaks])),
        kl_measured_lo=(RUN, tail[:, 0]),
        kl_measured_hi=(RUN, tail[:, 2]),
        kl_observed=(RUN, np.array([peak.highest for peak in peaks])),
        turned=(RUN, np.array([peak.turned for peak in peaks])),
    )
    return describe(scores)


def _table(scores: xr.Dataset, found: Sequence[Refit]) -> pd.DataFrame:
    import pandas as pd

    at = scores.sel(prob=WIDTH_AT)
    # An infinite end, or one beyond the run's points, cannot be told from that of its last point.
    hi = np.minimum(at["kl_peak_hi"], at["kl_observed"])
    width = np.log(hi / np.minimum(at["kl_peak_lo"], hi).clip(min=1e-3))
    kept = at["kl_peak_median"].notnull()
    columns: dict[str, Any] = {"predictions": kept.sum(("fold", RUN)).values}
    means = {
        "log_predictive": scores["log_predictive"],
        "crps": scores["crps"],
        "interval_score": at["interval_score"],
        **{f"coverage_{round(100 * p)}": scores["inside"].sel(prob=p) for p in PROBS},
        "width": width,
        "regret": scores["regret"],
    }
    columns |= {name: values.where(kept).mean(("fold", RUN)).values for name, values in means.items()}
    cards = scores["card"].values.astype(str)
    columns["failed_gates"] = [sum(bool(f.gates and not f.gates.passed) for f in found if f.card == c) for c in cards]
    columns["refused"] = [sum(bool(f.refused) for f in found if f.card == c) for c in cards]
    return pd.DataFrame(columns, index=pd.Index(cards, name="card"))


def _warn(refused: Sequence[str], too_short: Sequence[str]) -> None:
    if refused:
        reasons = "; ".join(list(refused)[:3]) + (f"; and {len(refused) - 3} more" if len(refused) > 3 else "")
        warnings.warn(f"{len(refused)} fits were refused: {reasons}", RunsWarning, stacklevel=3)
    if too_short:
        warnings.warn(
            f"run {', '.join(too_short[:5])}: too few points for a peak without a model; scored by density only",
            RunsWarning,
            stacklevel=3,
        )

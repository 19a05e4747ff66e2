"""Which further run would tell most about the peak at a target size, before it is measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from goldpeak.curves import AnyCurves, new_curves, observed_curves
from goldpeak.errors import FitError, is_number, is_whole, refusal
from goldpeak.names import RUN_INDEX
from goldpeak.peaks import kl_limit, refuse_beyond_basis, with_decades
from goldpeak.summits import peak_draws

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Candidate", "NextMeasurement", "next_measurement"]

Array = NDArray[np.float64]
FEATURES = 5
"""At most so many directions in which the points of a candidate vary enter the regression, with their products."""
SMALLEST_SIGNAL = 0.01
"""A direction counts whose variance over draws is at least this share of the noise's."""
DRAWS_PER_TERM = 20
RESIDUAL_DRAWS = 200
RIDGE = 1e-9


@dataclass(frozen=True)
class Candidate:
    """A measurement that could be made: runs against newly trained reward models of one size.

    Attributes
    ----------
    rm_params : float
        Size of the reward model.
    kl : tuple of float
        Range of KL to measure in, nats.
    points : int
        So many, evenly spaced in the square root of KL (KL 0 itself, where gold is known, is left out).
    gold_se : float, optional
        Standard error of gold at each point, all noise together; by default what the fitted runs scatter about their
        curves.
    runs : int
        How many such runs, each with a reward model of its own.

    Raises
    ------
    FitError
        Naming everything that is out of range.

    Examples
    --------
    >>> Candidate(1e8, kl=(0.0, 16.0), points=4).d.tolist()
    [1.0, 2.0, 3.0, 4.0]
    """

    rm_params: float
    kl: tuple[float, float]
    points: int = 12
    gold_se: float | None = None
    runs: int = 1

    def __post_init__(self) -> None:
        checks = (
            ("rm_params", is_number(self.rm_params) and self.rm_params > 0, "a finite number > 0"),
            ("kl", _is_range(self.kl), "a lower and a higher end, finite, in nats >= 0"),
            ("points", is_whole(self.points, 1), "a whole number >= 1"),
            ("runs", is_whole(self.runs, 1), "a whole number >= 1"),
            ("gold_se", self.gold_se is None or (is_number(self.gold_se) and self.gold_se > 0), "a finite number > 0"),
        )
        problems = [refusal(name, getattr(self, name), allowed) for name, fine, allowed in checks if not fine]
        if problems:
            raise FitError(f"candidate: {'; '.join(problems)}")

    @property
    def d(self) -> Array:
        """Where its points lie, in square-root nats."""
        lo, hi = np.sqrt(self.kl)
        return np.linspace(0.0, hi, self.points + 1)[1:] if lo == 0 else np.linspace(lo, hi, self.points)


def _is_range(kl: Any) -> bool:
    return np.shape(kl) == (2,) and all(map(is_number, kl)) and bool(0 <= kl[0] < kl[1])


@dataclass(frozen=True)
class NextMeasurement:
    """What each candidate would tell about the peak at a target size.

    Attributes
    ----------
    table : pandas.DataFrame
        One row per candidate, in the order given: ``rm_params``, ``kl_lo``, ``kl_hi``, ``points``, ``runs``,
        ``gold_se``, ``variance_expected`` (expected posterior variance of log kl_peak at the target once it is
        measured), ``reduction`` (1 - ``variance_expected`` / ``variance_now``), ``reduction_se`` (its Monte Carlo
        error), ``narrower`` (by which share the interval's length in log KL shrinks, if it goes with the sd),
        ``extrapolated``, ``decades``.
    best : Candidate
        That of least expected variance.
    rm_params : float
        The target size.
    variance_now : float
        Posterior variance of log kl_peak of a new run at the target.
    p_censored : float
        Share of draws whose peak lies outside (`kl_min`, `kl_max`) and was taken to be at that end.
    kl_min, kl_max : float
        Nats.

    Examples
    --------
    >>> import goldpeak
    >>> post = goldpeak.fit(goldpeak.datasets.lab("rl"), "rl_paper", draws=250)
    >>> few, many = Candidate(3e4, (0, 20)), Candidate(3e4, (0, 20), runs=8)
    >>> goldpeak.next_measurement(post, [few, many], rm_params=1e6).best.runs
    8
    """

    table: pd.DataFrame
    best: Candidate
    rm_params: float
    variance_now: float
    p_censored: float
    kl_min: float
    kl_max: float


def next_measurement(
    post: xr.DataTree,
    candidates: Sequence[Candidate],
    rm_params: float | None = None,
    *,
    kl_max: float | None = None,
    seed: int = 0,
) -> NextMeasurement:
    """Compare measurements by the posterior variance that the peak at a target size can be expected to have after them.

    Parameters
    ----------
    post : xarray.DataTree
        As returned by `fit`.
    candidates : sequence of Candidate
        What could be measured next.
    rm_params : float, optional
        The target size; ten times the largest observed by default.
    kl_max : float, optional
        Largest KL (nats) at which a peak counts; by default the posterior's own.
    seed : int
        Seed of the simulated measurements.

    Returns
    -------
    NextMeasurement

    Raises
    ------
    FitError
        If there are no candidates, or one asks for a KL that the posterior does not cover.

    Notes
    -----
    The quantity is T = log kl_peak of a new run at the target (``new_run``): what `peak` shows by default. A draw
    without a peak up to `kl_max` counts as a peak there, one whose peak lies below the smallest KL observed as a peak
    there: with many such draws (``p_censored``) the variance speaks of the others only.

    Each draw of the fleet gives a T and a simulated measurement y at the candidate's size, deviations of its reward
    model and run and noise included; the expected posterior variance E[Var(T | y)] is the mean squared error of the
    regression of T on y over draws (Strong, Oakley, Brennan & Breeze 2015, Med. Decis. Making 35, 570). Regressors are
    normal scores of y along its main directions in units of noise, their squares and products; errors are those of
    leaving one out. A regression that is not flexible enough gives too large a variance, never too small a one but for
    Monte Carlo error. Where T and y are jointly Gaussian it is the closed form. Several runs enter by their mean.

    Noise is taken as independent between points. Those of one best-of-n run share their samples: give few.

    Examples
    --------
    >>> import goldpeak
    >>> post = goldpeak.fit(goldpeak.datasets.lab("rl"), "rl_paper", draws=250)
    >>> vague, precise = Candidate(1e6, (0, 20), gold_se=1.0), Candidate(1e6, (0, 20), gold_se=0.01)
    >>> goldpeak.next_measurement(post, [vague, precise], rm_params=1e6).best.gold_se
    0.01
    """
    candidates = list(candidates)
    if not candidates:
        raise FitError("candidates holds nothing; allowed: one or more goldpeak.Candidate")
    limit = kl_limit(post, kl_max)
    data = post["constant_data"].to_dataset()
    observed = np.unique(data["rm_params"].values)
    target = 10.0 * float(observed.max()) if rm_params is None else float(rm_params)
    # In one go: all sizes share what the fleet's draws leave open, such as a trend's drift beyond the data.
    sizes = [target, *(each.rm_params for each in candidates for _ in range(each.runs))]
    curves = new_curves(post, sizes)
    refuse_beyond_basis(curves, max(limit, *(each.kl[1] for each in candidates)))
    flat, count = curves.flat(), len(sizes)
    floor = min(float(data["kl"].values[data["kl"].values > 0].min()), 0.5 * limit)
    kl = peak_draws(flat.part(slice(0, None, count)), limit)[0].ravel()
    peak = np.log(np.clip(kl, floor, limit))
    usual = _scatter(post) if any(each.gold_se is None for each in candidates) else 0.0
    rng = np.random.default_rng([seed, 2])
    rows, first = [], 1
    for each in candidates:
        items = range(first, first + each.runs)
        first += each.runs
        gold = np.mean([flat.part(slice(i, None, count)).gold(each.d)[0, :, 0] for i in items], axis=0)
        rows.append(_row(each, peak, gold, each.gold_se or usual, rng))
    return NextMeasurement(
        table=_table(rows, observed),
        best=candidates[int(np.argmin([row["variance_expected"] for row in rows]))],
        rm_params=target,
        variance_now=float(np.var(peak, ddof=1)),
        p_censored=float(np.mean((kl < floor) | (kl > limit))),
        kl_min=floor,
        kl_max=limit,
    )


def _row(candidate: Candidate, peak: Array, gold: Array, gold_se: float, rng: np.random.Generator) -> dict[str, float]:
    """What a candidate would tell of the peak: draws of its log, and of the mean gold of the candidate's runs."""
    now = float(np.var(peak, ddof=1))
    error = _errors(peak, gold, gold_se / np.sqrt(candidate.runs), rng) ** 2
    expected = float(error.mean())
    ratio = expected / now if now > 0 else 1.0
    spread = (peak - peak.mean()) ** 2
    lo, hi = candidate.kl
    return {
        "rm_params": candidate.rm_params,
        "kl_lo": lo,
        "kl_hi": hi,
        "points": candidate.points,
        "runs": candidate.runs,
        "gold_se": gold_se,
        "variance_expected": expected,
        "reduction": 1.0 - ratio,
        "reduction_se": float(np.std(error - ratio * spread)) / (now * np.sqrt(len(peak))) if now > 0 else 0.0,
        "narrower": 1.0 - np.sqrt(ratio),
    }


def _table(rows: list[dict[str, float]], observed: Array) -> pd.DataFrame:
    import pandas as pd

    return with_decades(pd.DataFrame(rows), observed)


def _errors(wanted: Array, gold: Array, se: float, rng: np.random.Generator) -> Array:
    """What is left of each draw's value once it is predicted from a noisy curve by the other draws."""
    signal = (gold - gold.mean(axis=0)) / se
    _, size, directions = np.linalg.svd(signal, full_matrices=False)
    kept = int(np.sum(size**2 / len(signal) > SMALLEST_SIGNAL))
    terms = [k for k in range(1, FEATURES + 1) if 1 + k + k * (k + 1) // 2 <= len(wanted) / DRAWS_PER_TERM]
    kept = min(kept, max(terms, default=0))
    centred = wanted - wanted.mean()
    noisy = signal @ directions[:kept].T + rng.standard_normal((len(signal), kept))
    scores = _normal_scores(noisy)
    products = [scores[:, i] * scores[:, j] for i in range(kept) for j in range(i + 1)]
    columns = np.column_stack([np.ones(len(wanted)), scores, *products])
    gram = columns.T @ columns
    hat = np.linalg.solve(gram + RIDGE * len(wanted) * np.eye(len(gram)), columns.T)
    leverage = np.einsum("ij,ji->i", columns, hat)
    return np.asarray((centred - columns @ (hat @ centred)) / (1.0 - leverage))


def _normal_scores(values: Array) -> Array:
    """Each column by its ranks, as if normal: wild draws keep their order and lose their weight."""
    from scipy.special import ndtri

    ranks = np.argsort(np.argsort(values, axis=0), axis=0)
    return np.asarray(ndtri((ranks + 0.5) / len(values)))


def _scatter(post: xr.DataTree) -> float:
    """Root mean square distance of the fitted points from the posterior mean of their curves; the median over runs."""
    data, gold = post["constant_data"].to_dataset(), post["observed_data"].to_dataset()["gold"].values
    curves = observed_curves(post)
    flat, count = curves.flat(), curves.grid[-1]
    step = max(1, curves.grid[0] * curves.grid[1] // RESIDUAL_DRAWS)
    index, d = data[RUN_INDEX].values, np.sqrt(data["kl"].values)
    found = [_residual(flat.part(slice(i, None, count * step)), d[index == i], gold[index == i]) for i in range(count)]
    return float(np.median(found))


def _residual(curves: AnyCurves, d: Array, gold: Array) -> float:
    away = (gold - curves.gold(d)[0, :, 0].mean(axis=0))[d > 0]
    return float(np.sqrt(np.mean(away**2)))

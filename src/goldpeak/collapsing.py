"""Does one shape, stretched, fit curves of all sizes? The collapse of R / R* against d / d*."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from goldpeak.card import Card
from goldpeak.curves import StretchedCurves, card_of, observed_curves
from goldpeak.errors import FitError
from goldpeak.fitting import fit
from goldpeak.library import load_card
from goldpeak.names import RUN_INDEX
from goldpeak.peaks import quantiles, refuse_prob
from goldpeak.priors import Normal
from goldpeak.shapes import shape_at
from goldpeak.store import stored_runs

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Collapse", "Interval", "collapse"]

Array = NDArray[np.float64]

SLOPE = Normal(0.0, 0.1)
"""Prior of gamma's change per unit of log N, where a drift is asked of a card that has none."""
GRID = 60
"""Points of the grids in d and u on which curves are compared."""
AT_ONCE = 2_000_000
"""Values of curves that are held in memory at a time."""


@dataclass(frozen=True)
class Interval:
    """A posterior median and the ends of the equal-tailed interval of probability `prob`."""

    median: float
    lo: float
    hi: float
    prob: float

    def __str__(self) -> str:
        return f"{self.median:.3g} [{self.lo:.3g}, {self.hi:.3g}] ({self.prob:.0%} eti)"


@dataclass(frozen=True)
class Collapse:
    """How well curves of all runs fall onto one shape when each is stretched to its peak.

    Attributes
    ----------
    points : pandas.DataFrame
        One row per observed point: ``run``, ``rm_params``, ``u`` = d / d* and ``gold`` = R / R*, with d* and R* at
        their posterior medians.
    shape : pandas.DataFrame
        ``u`` and the shared shape there (``median``, ``lo``, ``hi``), beside the paper's forms ``rl`` and ``bon`` with
        the same peak.
    explained : Interval
        Share of the variance between the runs' curves that the two stretches explain: 1 - (mean square of the runs' own
        smooth parts) / (variance between curves), both over d from 0 to where every run was observed. NaN for one run;
        1 by construction where the card gives runs no part of their own.
    p_value : float
        Posterior predictive p-value of "one shape fits all sizes": how often own parts drawn from the model drift with
        log N at least as much as the runs' own parts do. Small values speak against one shape. NaN for a single size,
        for two runs (a line through two is exact), and for a card whose runs have no own part; `gaps` says which.
    gamma : Interval or None
        Of the shape parameter at the geometric mean of the sizes; None where the card fixes it.
    gamma_slope : Interval or None
        Drift of gamma per unit of log N, in a model that allows it; None where the card fixes gamma, for one size
        (where it cannot be estimated), or if it was not asked for.
    p_gamma_rises : float
        Posterior probability that the drift is positive; NaN without a drift.

    Examples
    --------
    >>> import goldpeak
    >>> two = goldpeak.select(goldpeak.datasets.lab("rl"), [True] + [False] * 38 + [True])
    >>> found = goldpeak.collapse(two, drift=False)
    >>> found.explained.hi > 0.5, found.gamma_slope is None
    (True, True)
    """

    points: pd.DataFrame
    shape: pd.DataFrame
    explained: Interval
    p_value: float
    gamma: Interval | None
    gamma_slope: Interval | None
    p_gamma_rises: float

    @property
    def p_text(self) -> str:
        """The p-value as text; posterior draws cannot tell one below .001 from 0."""
        return "< 0.001" if self.p_value < 0.001 else f"{self.p_value:.3f}"

    @property
    def gaps(self) -> tuple[str, ...]:
        """What these curves cannot tell and why, one sentence each."""
        runs, sizes = (self.points[column].nunique() for column in ("run", "rm_params"))
        found = []
        if runs == 1:
            found.append("one run: no other curve to compare it with, and no drift of gamma with size to estimate")
        elif sizes == 1:
            found.append("one size: no test whether the shape moves with size, and no drift of gamma to estimate")
        elif runs == 2:
            found.append("two runs: a line in log N through two is exact, so there is no p-value")
        elif np.isnan(self.p_value):
            found.append("the card gives runs no part of their own: no p-value, and all variance counts as explained")
        if self.points["u"].max() < 1.0:
            found.append(
                f"no run is seen at its peak (largest d / d*: {self.points['u'].max():.2g}): all rests on the shape"
            )
        if self.gamma is None:
            found.append("the card fixes gamma")
        return tuple(found)

    def summary(self) -> str:
        """The findings as text, one line each, and what could not be found."""
        lines = []
        if np.isfinite(self.explained.median):
            lines.append(f"variance between curves explained by the two stretches: {self.explained}")
        if np.isfinite(self.p_value):
            lines.append(f"posterior predictive p-value of one shape for all sizes: {self.p_text}")
        if self.gamma is not None:
            lines.append(f"gamma: {self.gamma}")
        if self.gamma_slope is not None:
            lines.append(f"drift of gamma per unit of log N: {self.gamma_slope}, P(> 0) = {self.p_gamma_rises:.2f}")
        return "\n".join([*lines, *self.gaps])


def collapse(
    data: xr.DataTree | xr.Dataset,
    card: str | Path | Card = "similar",
    *,
    prob: float = 0.9,
    drift: bool = True,
    seed: int = 0,
) -> Collapse:
    """Test whether one shape, stretched, fits the curves of all reward-model sizes.

    Parameters
    ----------
    data : xarray.DataTree or xarray.Dataset
        A posterior of a card in peak coordinates, as returned by `fit`; or run curves of one method, which are then
        fitted with `card`. Runs need not have turned over.
    card : str, path or Card
        Used for run curves only, without its bend (see `goldpeak.shapes`) where it has one: one shape is what is asked.
    prob : float
        Probability of the intervals.
    drift : bool
        Whether to fit a second model, in which gamma may drift with log N. For one size there is none to estimate, and
        none is fitted.
    seed : int
        Of the fits and of the replicated own parts.

    Returns
    -------
    Collapse

    Raises
    ------
    FitError
        If the card is in other coordinates, `data` is neither a posterior nor run curves, or `prob` is out of range.

    Notes
    -----
    The p-value compares realised with replicated discrepancies (Gelman, Meng & Stern 1996, Statistica Sinica 6). Its
    measure is the share of the own parts' variance, at common u = d / d* and in units of R*, that a straight line in
    log N explains.

    Examples
    --------
    >>> import goldpeak
    >>> collapse(goldpeak.datasets.lab("rl"), "rl")
    Traceback (most recent call last):
    goldpeak.errors.FitError: card 'rl' has coordinates 'coefficients', collapse needs 'peak': take card 'similar'
    """
    refuse_prob(prob)
    data = _fitted(data, card, seed)
    used = card_of(data)
    curves = observed_curves(data)
    assert isinstance(curves, StretchedCurves)
    runs = stored_runs(data)
    posterior = data["posterior"].to_dataset()
    gamma = _interval(posterior["gamma"].values, prob) if "gamma" in posterior else None
    slope = _slope(data, used, runs, seed) if drift else None
    return Collapse(
        points=_points(runs, posterior),
        shape=_shape(curves, runs, prob),
        explained=_interval(_explained(curves, runs), prob),
        p_value=_p_value(curves, data, seed),
        gamma=gamma,
        gamma_slope=None if slope is None else _interval(slope, prob),
        p_gamma_rises=float("nan") if slope is None else float(np.mean(slope > 0)),
    )


def _fitted(data: xr.DataTree | xr.Dataset, card: str | Path | Card, seed: int) -> xr.DataTree:
    """A posterior in peak coordinates, or an error that says how to get one."""
    if isinstance(data, xr.Dataset):
        _refuse_other_coordinates(one := load_card(card), "take card 'similar'")
        return fit(data, _without_bend(one), seed=seed)
    if not isinstance(data, xr.DataTree) or not {"card", "weights"} & set(data.attrs):
        raise FitError(f"collapse takes what fit or read_runs returned; found {type(data).__name__} without a card")
    advice = "fit the runs with card 'similar', or give collapse the run curves themselves"
    _refuse_other_coordinates(card_of(data), advice)
    return data


def _without_bend(card: Card) -> Card:
    """The same with one shape, wherever the peak is."""
    return dataclasses.replace(card, form=dataclasses.replace(card.form, bend=None))


def _refuse_other_coordinates(card: Card, advice: str) -> None:
    if card.coordinates != "peak":
        raise FitError(f"card {card.name!r} has coordinates {card.coordinates!r}, collapse needs 'peak': {advice}")


def _interval(values: Array, prob: float) -> Interval:
    lo, median, hi = quantiles(values.reshape(-1, 1), prob)
    return Interval(float(median[0]), float(lo[0]), float(hi[0]), prob)


def _slope(post: xr.DataTree, card: Card, runs: xr.Dataset, seed: int) -> Array | None:
    """Draws of gamma's drift with size, from a model that has one."""
    if card.form.gamma is None or len(np.unique(runs["rm_params"].values)) < 2:
        return None
    if card.form.gamma_slope is None:
        form = dataclasses.replace(card.form, gamma_slope=SLOPE, bend=None)
        drifting = dataclasses.replace(card, name=f"{card.name}_drift", form=form)
        post = fit(runs, drifting, seed=seed, kl_max=float(post.attrs["kl_max"]))
    return np.asarray(post["posterior"]["gamma_slope"].values)


def _points(runs: xr.Dataset, posterior: xr.Dataset) -> pd.DataFrame:
    import pandas as pd

    index = runs[RUN_INDEX].values
    d_star, gold_star = (posterior[name].median(("chain", "draw")).values[index] for name in ("d_star", "gold_star"))
    columns = {
        "run": runs["run"].values[index],
        "rm_params": runs["rm_params"].values[index],
        "u": np.sqrt(runs["kl"].values) / d_star,
        "gold": runs["gold"].values / gold_star,
    }
    return pd.DataFrame(columns)


def _shape(curves: StretchedCurves, runs: xr.Dataset, prob: float) -> pd.DataFrame:
    """The shared shape of the run whose size is in the middle, to the last point and to the peak at least."""
    import pandas as pd

    middle = int(np.argsort(runs["rm_params"].values, kind="stable")[len(runs["run"]) // 2])
    furthest = np.sqrt(runs["kl"].groupby(runs[RUN_INDEX]).max().values)
    reach = max(1.0, float(np.max(furthest / np.median(curves.d_star, axis=(0, 1)))))
    u = np.linspace(0.0, reach, GRID + 1)
    lo, median, hi = quantiles(curves.shape_of(middle, u).reshape(-1, len(u)), prob)
    forms = {"rl": shape_at(u, 0.0), "bon": shape_at(u, 1.0)}
    return pd.DataFrame({"u": u, "median": median, "lo": lo, "hi": hi} | forms)


def _explained(curves: StretchedCurves, runs: xr.Dataset) -> Array:
    """Share of the variance between curves that the stretches explain, of every draw."""
    common = float(np.sqrt(runs["kl"].groupby(runs[RUN_INDEX]).max().min()))
    d = np.linspace(0.0, common, GRID + 1)[1:]
    chains, draws, items = curves.grid
    if items < 2:
        return np.full((chains, draws), np.nan)
    if curves.delta is None or curves.sines is None:
        return np.ones((chains, draws))
    step = max(1, AT_ONCE // (chains * items * GRID))
    return np.concatenate([_share(curves.part(slice(i, i + step)), d) for i in range(0, draws, step)], axis=1)


def _share(curves: StretchedCurves, d: Array) -> Array:
    between = curves.gold(d).var(axis=2).mean(axis=-1)
    own = curves.weights @ curves.columns(d).T
    return np.asarray(1.0 - (own**2).mean(axis=(2, 3)) / np.maximum(between, np.finfo(float).tiny))


def _p_value(curves: StretchedCurves, post: xr.DataTree, seed: int) -> float:
    """How often own parts drawn from the model drift with size at least as much as those of the runs."""
    runs, posterior = stored_runs(post), post["posterior"].to_dataset()
    x = np.log(runs["rm_params"].values)
    if curves.delta is None or curves.sines is None or len(x) < 3 or np.ptp(x) == 0:
        return float("nan")
    furthest = np.sqrt(runs["kl"].groupby(runs[RUN_INDEX]).max().values)
    u = np.linspace(0.0, float(np.min(furthest / np.median(curves.d_star, axis=(0, 1)))), GRID // 2 + 1)[1:]
    rng = np.random.default_rng([seed, 3])
    spread = (
        np.sqrt(curves.sines.variances(posterior["run_lengthscale"].values)) * posterior["eta_run"].values[..., None]
    )
    drawn = spread[..., None, :] * rng.standard_normal(curves.delta.shape)
    seen, replicated = (_drift(curves, delta, u, x - x.mean()) for delta in (curves.delta, drawn))
    return float(np.mean(replicated >= seen))


def _drift(curves: StretchedCurves, delta: Array, u: Array, x: Array) -> Array:
    """Share of the own parts' variance that a straight line in x explains, of every draw."""
    assert curves.sines
    own = np.empty((*curves.grid, len(u)))
    for r in range(len(x)):
        at = curves.sines.columns(u * curves.d_star[:, :, r, None])
        own[:, :, r] = np.einsum("cdum,cdm->cdu", at, delta[:, :, r], optimize=True)
    own /= curves.gold_star[..., None]
    own -= own.mean(axis=2, keepdims=True)
    line = np.einsum("cdru,r->cdu", own, x) ** 2 / np.sum(x**2)
    return np.asarray(line.sum(axis=-1) / np.maximum((own**2).sum(axis=(2, 3)), np.finfo(float).tiny))

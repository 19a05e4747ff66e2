"""Weights of cards by how well each predicts runs of larger reward models from smaller ones.

Stacking (Yao, Vehtari, Simpson & Gelman 2018, doi:10.1214/17-BA1091): the weights w >= 0, summing to 1, that make

.. math:: \\sum_o \\frac{1}{n_o} \\sum_{r \\in o} \\log \\sum_k w_k \\, p_k(y_r \\mid y_{\\le o})
          + \\sum_k \\frac{c}{K} \\log w_k

largest. o is an origin: all runs up to a size are fitted, and p_k is card k's density of all points of a larger run r
jointly, as a run of a new reward model. Two choices keep the weights from being surer than they should:

- *Each origin counts as one observation*, however many runs are held out there. They are predicted from one fit, so
  its errors are theirs in common; summed as if independent, a few runs would settle the weights for good. (Runs of one
  size share the origin's one observation with the other sizes in equal parts.)
- *The prior* is a symmetric Dirichlet(1 + c/K), and the weights are the posterior's mode, which is unique. With c = 1
  it counts as much as one origin, shared by all cards. Where densities lie far apart, a card's weight is then
  (origins won + 1/K) / (origins + 1): after three origins, a card of three that won all has .83, and none is at 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from goldpeak.card import Card
from goldpeak.check.folds import Fold, folds
from goldpeak.check.refits import Refit, refits
from goldpeak.conditioning import log_mean_density, log_predictive
from goldpeak.errors import FitError
from goldpeak.names import RUN

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["ORIGINS", "Stacking", "log_scores", "stack", "stacking_weights"]

Array = NDArray[np.float64]

ORIGINS = 6
"""Origins at most: of more, so many are taken at even steps, the last one among them."""
DRAWS = 250
"""Draws per chain of the fits from which larger runs are predicted."""
ITERATIONS = 20_000
TOLERANCE = 1e-9


@dataclass(frozen=True)
class Stacking:
    """Weights of cards, and what they come from.

    Attributes
    ----------
    weights : dict of str to float
        By card; they sum to 1.
    scores : xarray.Dataset
        ``log_predictive`` (card, fold, run): log density of a held-out run's points jointly (-inf where the card could
        not be fitted, NaN where the run is not held out), with its Monte Carlo standard error ``log_predictive_se``;
        ``share`` (fold, run): how much of an observation it counts; ``weight`` (card).
    table : pandas.DataFrame
        By card: ``weight``, ``log_score`` (mean over origins of the mean log density of a held-out run, nats) and
        ``best`` (share of the observations in which it predicted best).
    prior : float
        c of the Dirichlet prior.
    notes : tuple of str
        Fits that were refused or whose gate failed.

    Examples
    --------
    >>> import goldpeak
    >>> runs = goldpeak.datasets.lab("rl")
    >>> small = goldpeak.select(runs, runs["rm_params"] < 100)
    >>> found = stack(small, ["rl_paper", "bon_paper"], jobs=1, cache=False)
    >>> max(found.weights, key=found.weights.get), found.scores.sizes["fold"]
    ('bon_paper', 1)
    """

    weights: dict[str, float]
    scores: xr.Dataset
    table: pd.DataFrame
    prior: float
    notes: tuple[str, ...] = ()

    def how(self) -> str:
        """How the weights were made, in a sentence."""
        origins, held = self.scores.sizes["fold"], int((self.scores["share"] > 0).any("fold").sum())
        return (
            f"stacking weights by the density of {held} larger runs, predicted from smaller ones at {origins} "
            f"origin{'s' if origins > 1 else ''} of one observation each; Dirichlet prior worth {self.prior:g}"
        )


def stack(
    runs: xr.Dataset,
    cards: Sequence[str | Path | Card],
    *,
    prior: float = 1.0,
    seed: int = 0,
    draws: int = DRAWS,
    chains: int = 4,
    kl_max: float | None = None,
    cache: bool | str | Path = True,
    jobs: int | None = None,
    progress: bool = True,
) -> Stacking:
    """Weigh cards by how well each predicts larger reward models' runs from those of smaller ones.

    Parameters
    ----------
    runs : xarray.Dataset
        As returned by `read_runs`, of three sizes or more.
    cards : sequence of str, path or Card
        No two of one name.
    prior : float
        c > 0 of the Dirichlet prior of the weights, in origins.
    seed, kl_max, cache, jobs, progress
        As for `check.refits.refits`.
    draws, chains : int
        Of each fit. They need not be many: densities are averages.

    Returns
    -------
    Stacking

    Raises
    ------
    FitError
        If there are fewer than three sizes, `prior` is out of range, or no card could predict anything.
    CardError
        If a card is not there or not valid.

    Warns
    -----
    ConvergenceWarning
        If the gate of a fit fails.

    Examples
    --------
    >>> import goldpeak
    >>> stack(goldpeak.datasets.lab("rl"), ["rl"], prior=0.0)
    Traceback (most recent call last):
    goldpeak.errors.FitError: prior is 0; allowed: a finite number > 0
    """
    if not (np.isfinite(prior) and prior > 0):
        raise FitError(f"prior is {prior:g}; allowed: a finite number > 0")
    origins = _at_even_steps(folds(runs, "small_to_large"), ORIGINS)
    found = refits(
        runs,
        cards,
        origins,
        _Densities(runs, seed),
        seed=seed,
        engine="fast",
        draws=draws,
        chains=chains,
        kl_max=kl_max,
        cache=cache,
        jobs=jobs,
        progress=progress,
    )
    scores = _scores(runs, found, origins)
    density, share = scores["log_predictive"].values, scores["share"].values
    used = (share > 0) & np.isfinite(density).any(axis=0)
    if not used.any():
        raise FitError("no card could predict larger runs:\n" + "\n".join(f"  - {note}" for note in _notes(found)))
    weight = stacking_weights(density[:, used].T, share[used], prior)
    scores["weight"] = ("card", weight)
    names = [str(name) for name in scores["card"].values]
    weights = dict(zip(names, weight.tolist(), strict=True))
    return Stacking(weights, scores, _table(scores), float(prior), _notes(found))


def stacking_weights(log_density: Array, share: Array, prior: float = 1.0) -> Array:
    """Stacking weights: the mode of their posterior, see the module.

    Parameters
    ----------
    log_density : ndarray, shape (case, card)
        Log predictive densities; -inf is allowed, but not for all cards of a case.
    share : ndarray, shape (case,)
        How much of an observation each case counts.
    prior : float
        c > 0 of the Dirichlet(1 + c / K).

    Returns
    -------
    ndarray, shape (card,)
        > 0, summing to 1.

    Notes
    -----
    By expectation maximisation, which climbs at each step; the objective is strictly concave.

    Examples
    --------
    >>> stacking_weights(np.array([[0.0, -50.0], [0.0, -50.0], [0.0, -50.0]]), np.ones(3)).round(3)
    array([0.875, 0.125])
    >>> stacking_weights(np.zeros((3, 2)), np.ones(3))
    array([0.5, 0.5])
    """
    density = np.exp(log_density - log_density.max(axis=1, keepdims=True))
    count = density.shape[1]
    weight = np.full(count, 1.0 / count)
    for _ in range(ITERATIONS):
        of_case = density * weight
        of_case *= (share / of_case.sum(axis=1))[:, None]
        new = (of_case.sum(axis=0) + prior / count) / (share.sum() + prior)
        moved = float(np.abs(new - weight).max())
        weight = new
        if moved < TOLERANCE:
            break
    return cast(Array, weight / weight.sum())


@dataclass(frozen=True)
class _Densities:
    """Log predictive densities of the runs a fold holds out: runs in the workers."""

    runs: xr.Dataset
    seed: int

    def __call__(self, post: xr.DataTree, fold: Fold) -> xr.Dataset:
        held = fold.split(self.runs)[1]
        found, se = log_mean_density(log_predictive(post, held, include="new_run", seed=self.seed))
        return xr.Dataset(
            {"log_predictive": (RUN, found), "log_predictive_se": (RUN, se)},
            coords={RUN: held[RUN].values.astype(str)},
        )


def _at_even_steps(origins: tuple[Fold, ...], most: int) -> tuple[Fold, ...]:
    if len(origins) <= most:
        return origins
    return tuple(origins[i] for i in np.round(np.linspace(0, len(origins) - 1, most)).astype(int))


def _scores(runs: xr.Dataset, found: Sequence[Refit], origins: tuple[Fold, ...]) -> xr.Dataset:
    names, size = runs[RUN].values.astype(str), runs["rm_params"].values
    cards = list(dict.fromkeys(each.card for each in found))
    place = {fold.name: i for i, fold in enumerate(origins)}
    held = np.stack([np.isin(names, fold.held_out) for fold in origins])
    shape = (len(cards), *held.shape)
    density, se = np.where(held, -np.inf, np.nan) * np.ones(shape), np.full(shape, np.nan)
    for each in found:
        if each.value is not None:
            at = (cards.index(each.card), place[each.fold.name])
            known = each.value.reindex({RUN: names})
            density[at], se[at] = known["log_predictive"].values, known["log_predictive_se"].values
    share = np.zeros(held.shape)
    for mine, row in zip(held, share, strict=True):
        sizes, which, count = np.unique(size[mine], return_inverse=True, return_counts=True)
        row[mine] = 1.0 / (len(sizes) * count[which])
    dims = ("card", "fold", RUN)
    return xr.Dataset(
        {
            "log_predictive": (dims, density),
            "log_predictive_se": (dims, se),
            "share": (dims[1:], share),
        },
        coords={"card": cards, "fold": [fold.name for fold in origins], RUN: names, "rm_params": (RUN, size)},
    )


def log_scores(scores: xr.Dataset) -> xr.DataArray:
    """By card, from `Stacking.scores`: the mean over origins of the mean log density of a held-out run, nats."""
    share = scores["share"]
    weighed = scores["log_predictive"].where(share > 0) * share
    return weighed.sum(["fold", RUN], skipna=True) / share.sum()


def _table(scores: xr.Dataset) -> pd.DataFrame:
    import pandas as pd

    density, share = scores["log_predictive"].fillna(-np.inf).values, scores["share"].values
    # Where no card could be fitted none was best.
    winner = np.where(np.isfinite(density).any(axis=0), np.argmax(density, axis=0), -1)
    best = [float((share * (winner == k)).sum() / share.sum()) for k in range(len(density))]
    columns = {"weight": scores["weight"].values, "log_score": log_scores(scores).values, "best": best}
    return pd.DataFrame(columns, index=pd.Index(scores["card"].values, name="card"))


def _notes(found: Sequence[Refit]) -> tuple[str, ...]:
    refused = [f"{each.label}: {each.refused}" for each in found if each.refused]
    failed = [
        f"{each.label}: the gate failed: {'; '.join(each.gates.failures)}"
        for each in found
        if each.gates and not each.gates.passed
    ]
    return (*refused, *failed)

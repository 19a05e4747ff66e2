"""Cards side by side: weights, evidence, leave-one-run-out, and where they disagree about the peak."""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from goldpeak.card import Card
from goldpeak.check.combining import STACKING, combine
from goldpeak.check.stacking import log_scores
from goldpeak.conditioning import log_predictive
from goldpeak.curves import Include
from goldpeak.errors import FitError
from goldpeak.gates import MAX_KHAT, gates_of
from goldpeak.mixture import is_mixture, named_components, weights_of
from goldpeak.names import RUN
from goldpeak.peaks import Peak, peak
from goldpeak.runs import method_of
from goldpeak.store import stored_runs

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Comparison", "compare", "distance", "leave_one_run_out"]

Array = NDArray[np.float64]

LOO_DRAWS = 1000
"""Draws used for leave-one-run-out: its cost is theirs."""
MIXTURE = "combined"
"""What the mixture is called among its cards."""


@dataclass(frozen=True)
class Comparison:
    """Cards side by side.

    Attributes
    ----------
    table : pandas.DataFrame
        By card: ``weight``; ``log_score`` (mean log density of a held-out larger run, nats, where weights were made by
        stacking); ``log_marginal_likelihood`` with its Monte Carlo error ``.._se`` (NaN from engine ``nuts``);
        ``elpd_loo`` with its standard error ``elpd_loo_se``, ``khat_max`` and ``khat_bad``, the number of runs whose
        Pareto k is 0.7 or more and whose share is not to be trusted; ``gates``, whether they passed.
    loo : xarray.Dataset
        ``elpd_loo`` and ``pareto_k`` (card, run): log density of each run jointly, given all the others.
    peaks : pandas.DataFrame
        A row for each size and card, and for the mixture (card ``combined``): median and equal-tailed interval of
        kl_peak in nats, and probability of a peak up to `kl_max`.
    disagreement : pandas.DataFrame
        By size: the two cards whose posteriors of kl_peak lie furthest apart among those with a weight above 0.05,
        their medians, and ``distance``, the largest difference between the two probabilities that the peak lies below
        some KL: 0 the same, 1 nothing in common.
    how : str
        Where the weights come from.
    notes : tuple of str
        What was refused or failed on the way.
    prob, kl_max, include
        As asked for.
    method : {"rl", "bon"}
        Of the runs.

    Examples
    --------
    >>> import goldpeak
    >>> runs = goldpeak.datasets.lab("rl")
    >>> posts = [goldpeak.fit(runs, card, draws=100) for card in ("rl_paper", "bon_paper")]
    >>> post = goldpeak.combine(posts, weights={"rl_paper": 0.75, "bon_paper": 0.25})
    >>> found = compare(post, rm_params=[1e5], loo=False)
    >>> found.table["weight"].tolist(), found.disagreement.index.tolist()
    ([0.75, 0.25], [100000.0])
    """

    table: pd.DataFrame
    loo: xr.Dataset
    peaks: pd.DataFrame
    disagreement: pd.DataFrame
    how: str
    notes: tuple[str, ...]
    prob: float
    kl_max: float
    include: str
    method: str = "rl"


def compare(
    what: xr.DataTree | Sequence[str | Path | Card] | Sequence[xr.DataTree],
    runs: xr.Dataset | None = None,
    rm_params: Sequence[float] | ArrayLike | None = None,
    include: Include = "new_run",
    kl_max: float | None = None,
    prob: float = 0.9,
    *,
    seed: int = 0,
    loo: bool = True,
    **options: Any,
) -> Comparison:
    """Compare cards: what each weighs, what speaks for it, and where they disagree about the peak.

    Parameters
    ----------
    what : xarray.DataTree, or sequence of cards or of posteriors
        A mixture, as `combine` and ``fit(card="auto")`` return it; or what `combine` takes.
    runs : xarray.Dataset, optional
        As for `combine`.
    rm_params : array_like, optional
        Reward-model sizes to ask about; by default the largest that was fitted, and ten times that.
    include, kl_max, prob
        As for `peak`.
    seed : int
        Of fits and of new runs' deviations.
    loo : bool
        Whether to leave out each run: the slowest part.
    **options
        Further ones of `combine`: weights, prior, engine, draws, chains, cache, jobs, progress.

    Returns
    -------
    Comparison

    Raises
    ------
    FitError
        If `what` is a posterior of one card, or as `combine` and `peak` do.

    Notes
    -----
    Marginal likelihoods compare cards on all they say of the data under their priors; PSIS-LOO (Vehtari, Gelman & Gabry
    2017, doi:10.1007/s11222-016-9696-4) on each run given the others; the weights on larger sizes given smaller ones,
    which is what extrapolation asks. They may well differ.

    Examples
    --------
    >>> import goldpeak
    >>> compare(goldpeak.fit(goldpeak.datasets.lab("rl"), "rl_paper", draws=100))
    Traceback (most recent call last):
    goldpeak.errors.FitError: compare takes a mixture (see combine), or several cards or posteriors; found one posterior
    """
    if isinstance(what, xr.DataTree):
        if not is_mixture(what):
            raise FitError("compare takes a mixture (see combine), or several cards or posteriors; found one posterior")
        if settled := [*(["runs"] if runs is not None else []), *options]:
            raise FitError(f"of a mixture everything is settled; not allowed: {', '.join(settled)}")
        post = what
    else:
        post = combine(what, runs, seed=seed, **options)
    posts = named_components(post)
    limit = float(post.attrs["kl_max"]) if kl_max is None else kl_max
    sizes = _sizes(post) if rm_params is None else np.atleast_1d(np.asarray(rm_params, dtype=float))
    found = {
        name: peak(each, sizes, include, limit, prob, seed=seed) for name, each in {**posts, MIXTURE: post}.items()
    }
    left_out, notes = _all_left_out(posts, loo)
    return Comparison(
        table=_table(post, posts, left_out),
        loo=left_out,
        peaks=_peaks(found),
        disagreement=_disagreement({name: found[name] for name in posts}, weights_of(post)),
        how=str(post.attrs["engine_reason"]),
        notes=(*_notes(post), *notes),
        prob=prob,
        kl_max=limit,
        include=include,
        method=method_of(stored_runs(post)),
    )


def leave_one_run_out(post: xr.DataTree, draws: int = LOO_DRAWS) -> xr.Dataset:
    """Log density of each run given all others, by Pareto-smoothed importance sampling.

    Parameters
    ----------
    post : xarray.DataTree
        Of one card, each reward model with one run.
    draws : int
        So many of the posterior's draws are used.

    Returns
    -------
    xarray.Dataset
        ``elpd_loo`` and ``pareto_k`` (run,).

    Raises
    ------
    FitError
        If runs share a reward model: given the trend they still depend on one another; or as `log_predictive`.

    Notes
    -----
    The density of a run given a draw has the run's own parameters integrated out (`conditioning.log_predictive`). Given
    the parameters themselves, as ``log_likelihood`` stores it, leaving out a run would be importance sampling of them
    from their posterior, which fails.

    Examples
    --------
    >>> import goldpeak
    >>> post = goldpeak.fit(goldpeak.datasets.lab("rl"), "rl_paper", draws=100)
    >>> bool(leave_one_run_out(post)["pareto_k"].max() < 0.7)
    True
    """
    import arviz_stats

    runs, posterior = stored_runs(post), post["posterior"].to_dataset()
    if len(np.unique(runs["rm"].values)) < runs.sizes[RUN]:
        raise FitError("runs share a reward model; one of them cannot be left out as if it were of a new one")
    step = int(np.ceil(posterior.sizes["chain"] * posterior.sizes["draw"] / draws))
    few = post.copy()
    few["posterior"] = xr.DataTree(posterior.isel(draw=slice(None, None, step)))
    density = log_predictive(few, runs, include="new_run")
    data = xr.DataTree.from_dict({"log_likelihood": xr.Dataset({"gold": density})})
    with warnings.catch_warnings():
        # What it warns of is the Pareto k, which is returned.
        warnings.simplefilter("ignore", UserWarning)
        found = arviz_stats.loo(data, pointwise=True, var_name="gold", reff=1.0)
    return xr.Dataset({"elpd_loo": (RUN, found.elpd_i.values), "pareto_k": (RUN, found.pareto_k.values)}).assign_coords(
        {RUN: runs[RUN].values.astype(str)}
    )


def distance(first: Array, second: Array) -> float:
    """Largest difference between the distribution functions of two samples (Kolmogorov's); infinite values count.

    Examples
    --------
    >>> round(distance(np.array([1.0, 2.0, np.inf]), np.array([1.0, 2.0, 3.0])), 3)
    0.333
    """
    at = np.concatenate([first, second])
    below = [np.searchsorted(np.sort(values), at, side="right") / len(values) for values in (first, second)]
    return float(np.abs(below[0] - below[1]).max())


def _sizes(post: xr.DataTree) -> Array:
    largest = float(stored_runs(post)["rm_params"].max())
    return np.array([largest, 10.0 * largest])


def _all_left_out(posts: dict[str, xr.DataTree], wanted: bool) -> tuple[xr.Dataset, list[str]]:
    """Leave-one-run-out of all cards, NaN where it cannot be had; and why."""
    runs = stored_runs(next(iter(posts.values())))[RUN].values.astype(str)
    nothing = xr.Dataset({name: (RUN, np.full(len(runs), np.nan)) for name in ("elpd_loo", "pareto_k")}, {RUN: runs})
    found, notes = [], []
    for name, post in posts.items():
        each = nothing
        if wanted:
            try:
                each = leave_one_run_out(post)
            except FitError as error:
                notes.append(f"{name}: no PSIS-LOO: {error}")
        found.append(each)
    return xr.concat(found, xr.IndexVariable("card", list(posts))), notes


def _table(post: xr.DataTree, posts: dict[str, xr.DataTree], left_out: xr.Dataset) -> pd.DataFrame:
    import pandas as pd

    elpd, khat = left_out["elpd_loo"].values, left_out["pareto_k"].values
    count = elpd.shape[1]
    nan = float("nan")
    columns = {
        "weight": list(weights_of(post).values()),
        "log_score": _log_scores(post, list(posts)),
        **{
            name: [float(each.attrs.get(name, nan)) for each in posts.values()]
            for name in ("log_marginal_likelihood", "log_marginal_likelihood_se")
        },
        "elpd_loo": elpd.sum(axis=1),
        "elpd_loo_se": np.sqrt(count) * elpd.std(axis=1, ddof=1) if count > 1 else np.full(len(elpd), nan),
        "khat_max": khat.max(axis=1),
        "khat_bad": np.sum(khat >= MAX_KHAT, axis=1),
        "gates": [gates_of(each).passed for each in posts.values()],
    }
    return pd.DataFrame(columns, index=pd.Index(list(posts), name="card"))


def _log_scores(post: xr.DataTree, cards: list[str]) -> Array:
    """As stacking gave them; NaN where weights have another source."""
    if STACKING not in post.children:
        return np.full(len(cards), np.nan)
    return np.asarray(log_scores(post[STACKING].to_dataset()).sel(card=cards).values)


def _peaks(found: dict[str, Peak]) -> pd.DataFrame:
    import pandas as pd

    kept = ["rm_params", "median", "lo", "hi", "p_peak_below_kl_max", "prob", "extrapolated"]
    rows = pd.concat([each.table[kept].assign(card=name) for name, each in found.items()], ignore_index=True)
    return rows.sort_values("rm_params", kind="stable", ignore_index=True)[["rm_params", "card", *kept[1:]]]


def _disagreement(found: dict[str, Peak], weights: dict[str, float]) -> pd.DataFrame:
    """By size, which two cards that matter lie furthest apart."""
    import pandas as pd

    names = [name for name in found if weights[name] > 0.05]
    sizes = next(iter(found.values())).draws["rm_params"].values
    draws = {name: found[name].draws["kl_peak"].values.reshape(-1, len(sizes)) for name in names}
    columns = ["first", "second", "first_median", "second_median", "distance"]
    rows = []
    for k in range(len(sizes)):
        apart = {pair: distance(*(draws[name][:, k] for name in pair)) for pair in combinations(names, 2)}
        if not apart:
            continue
        pair = max(apart, key=lambda each: apart[each])
        rows.append((*pair, *(float(found[name].table["median"].iloc[k]) for name in pair), apart[pair]))
    index = pd.Index(sizes if rows else [], name="rm_params")
    return pd.DataFrame(rows, columns=columns, index=index)


def _notes(post: xr.DataTree) -> tuple[str, ...]:
    return tuple(json.loads(post.attrs.get("notes", "[]")))

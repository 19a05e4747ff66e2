"""Several cards combined into one posterior, each with the weight that its predictions of larger sizes earned."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

import xarray as xr

from goldpeak.card import Card
from goldpeak.check.folds import Fold
from goldpeak.check.refits import refits
from goldpeak.check.stacking import Stacking, stack
from goldpeak.curves import card_of
from goldpeak.errors import FitError, RunsWarning
from goldpeak.fitting import Engine
from goldpeak.gates import gates_of, warn_if_failed
from goldpeak.mixture import is_mixture, mix, of_other_runs
from goldpeak.names import RUN
from goldpeak.runs import digest
from goldpeak.store import stored_runs

__all__ = ["STACKING", "combine"]

STACKING = "stacking"
"""Group of a mixture that holds what its weights come from: `Stacking.scores`."""


def combine(
    what: Sequence[str | Path | Card] | Sequence[xr.DataTree],
    runs: xr.Dataset | None = None,
    *,
    weights: Mapping[str, float] | None = None,
    prior: float = 1.0,
    engine: Engine = "auto",
    seed: int = 0,
    draws: int = 1000,
    chains: int = 4,
    kl_max: float | None = None,
    cache: bool | str | Path = True,
    jobs: int | None = None,
    progress: bool = True,
) -> xr.DataTree:
    """Combine cards, or posteriors of the same runs, into one: a mixture with stacking weights.

    Parameters
    ----------
    what : sequence of str, path or Card, or sequence of xarray.DataTree
        Cards to fit, or what `fit` returned for them; no two of one name.
    runs : xarray.Dataset, optional
        As returned by `read_runs`. Of posteriors their own are taken.
    weights : mapping of str to float, optional
        By card, to be used as they are; without them they come from `check.stacking.stack`.
    prior : float
        How many origins the prior of the weights counts as much as.
    engine, seed, draws, chains, kl_max
        As for `fit`. Posteriors that are given stay as they are; their `kl_max` counts.
    cache, jobs, progress
        As for `check.refits.refits`.

    Returns
    -------
    xarray.DataTree
        `peak`, `predict`, `budget`, `save` and `plots` take it as any other; `mixture.components` gives its parts. The
        attribute ``weights`` (JSON) holds the weights, ``engine_reason`` how they were made, ``notes`` (JSON) what was
        refused or failed on the way, and the group ``stacking`` the densities behind them.

    Raises
    ------
    FitError
        If posteriors are of different runs, there are fewer than three sizes and no weights, two cards have one name,
        or every card was refused.
    CardError
        If a card is not there or not valid.

    Warns
    -----
    RunsWarning
        If a card cannot be fitted to the runs; it is left out.
    ConvergenceWarning
        If a gate fails, of a component or of a fit behind the weights.

    Examples
    --------
    >>> import goldpeak
    >>> runs = goldpeak.datasets.lab("rl")
    >>> posts = [goldpeak.fit(runs, card, draws=100) for card in ("rl_paper", "bon_paper")]
    >>> post = combine(posts, weights={"rl_paper": 0.75, "bon_paper": 0.25})
    >>> goldpeak.peak(post, [1e5]).draws["kl_peak"].shape
    (4, 100, 1)
    """
    if isinstance(what, str | Path | Card | xr.DataTree) or not len(what):
        raise FitError("combine takes a sequence of cards or of posteriors, one or more")
    if any(isinstance(each, xr.DataTree) for each in what):
        posts, runs = _given(cast(Sequence[xr.DataTree], what), runs)
        kl_max = min(float(post.attrs["kl_max"]) for post in posts.values())
        notes: tuple[str, ...] = ()
    else:
        if runs is None:
            raise FitError("combine needs the runs to fit cards to")
        posts, notes = _fitted(
            runs,
            cast(Sequence[str | Path | Card], what),
            engine=engine,
            seed=seed,
            draws=draws,
            chains=chains,
            kl_max=kl_max,
            cache=cache,
            jobs=jobs,
            progress=progress,
        )
    found = None
    if weights is None and len(posts) > 1:
        cards = [card_of(post) for post in posts.values()]
        found = stack(runs, cards, prior=prior, seed=seed, kl_max=kl_max, cache=cache, jobs=jobs, progress=progress)
    post = _mixed(posts, weights, found, seed)
    post.attrs["notes"] = json.dumps([*notes, *(found.notes if found else ())])
    warn_if_failed(gates_of(post))
    return post


def _mixed(
    posts: Mapping[str, xr.DataTree], weights: Mapping[str, float] | None, found: Stacking | None, seed: int
) -> xr.DataTree:
    if found is None:
        given = dict.fromkeys(posts, 1.0) if weights is None else weights
        return mix(posts, given, how="the only card" if weights is None else "weights as given", seed=seed)
    post = mix(posts, found.weights, how=found.how(), seed=seed)
    post[STACKING] = xr.DataTree(found.scores)
    return post


def _given(what: Sequence[xr.DataTree], runs: xr.Dataset | None) -> tuple[dict[str, xr.DataTree], xr.Dataset]:
    """Posteriors by name, and the runs they were fitted to."""
    problems = [
        f"entry {i + 1} is {type(post).__name__}, not what fit returned"
        for i, post in enumerate(what)
        if not isinstance(post, xr.DataTree) or "data_digest" not in post.attrs
    ]
    if not problems:
        names = [str(post.attrs["card_name"]) for post in what]
        problems += [
            f"two posteriors are of card {name!r}" for name in sorted({n for n in names if names.count(n) > 1})
        ]
        problems += [f"{name} is a mixture already" for name, post in zip(names, what, strict=True) if is_mixture(post)]
        problems += _of_other_runs(dict(zip(names, what, strict=True)), runs)
    if problems:
        raise FitError("cannot combine: " + "; ".join(problems))
    return dict(zip(names, what, strict=True)), stored_runs(what[0])


def _of_other_runs(posts: Mapping[str, xr.DataTree], runs: xr.Dataset | None) -> list[str]:
    methods = {name: str(post["constant_data"].to_dataset()["method"].values[0]) for name, post in posts.items()}
    if len(set(methods.values())) > 1:
        return ["methods differ (" + ", ".join(f"{name}: {method}" for name, method in methods.items()) + ")"]
    digests = {name: str(post.attrs["data_digest"]) for name, post in posts.items()}
    digests |= {} if runs is None else {"the runs given": digest(runs)}
    return of_other_runs(digests)


def _fitted(
    runs: xr.Dataset, cards: Sequence[str | Path | Card], **options: object
) -> tuple[dict[str, xr.DataTree], tuple[str, ...]]:
    """Posteriors of all cards that can be fitted, by name, and why others cannot."""
    everything = Fold("all runs", tuple(runs[RUN].values.astype(str).tolist()), ())
    found = refits(runs, cards, [everything], **options)  # type: ignore[arg-type]
    posts = {each.card: each.value for each in found if each.value is not None}
    refused = tuple(f"{each.card}: {each.refused}" for each in found if each.refused)
    if not posts:
        raise FitError("every card was refused:\n" + "\n".join(f"  - {why}" for why in refused))
    if refused:
        warnings.warn("left out: " + "; ".join(refused), RunsWarning, stacklevel=3)
    return posts, refused

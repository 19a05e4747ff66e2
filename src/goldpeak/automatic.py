"""`fit` as users call it: of one card, or of what is recommended where none is chosen."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import xarray as xr

from goldpeak import fitting
from goldpeak.card import Card
from goldpeak.check.combining import combine
from goldpeak.errors import FitError, RunsWarning
from goldpeak.fitting import Engine
from goldpeak.library import ALONE, RECOMMENDED
from goldpeak.runs import method_of

__all__ = ["AUTO", "FEWEST_SIZES", "fit"]

AUTO = "auto"
FEWEST_SIZES = 3
"""Sizes from which on cards can be weighed: two to fit, and a larger one to predict."""


def fit(
    runs: xr.Dataset,
    card: str | Path | Card = AUTO,
    *,
    engine: Engine = "auto",
    seed: int = 0,
    draws: int = 1000,
    tune: int = 1000,
    chains: int = 4,
    kl_max: float | None = None,
) -> xr.DataTree:
    """Sample the posterior of a card, or of the recommended cards combined, given run curves.

    Parameters
    ----------
    runs : xarray.Dataset
        As returned by `read_runs`: runs of one method.
    card : str, path or Card
        Name of a shipped card, path of a TOML file, or a `Card`. ``auto`` fits the cards that `library.RECOMMENDED` has
        for the runs' method and combines them by how well each predicts larger sizes from smaller ones, see `combine`;
        with fewer than three sizes that cannot be told, and the first of them that can be fitted is taken alone, as it
        always is for the methods in `library.ALONE`.
    engine : {"auto", "exact", "laplace_is", "nuts"}
        ``exact`` integrates out what is Gaussian and needs identity links; ``laplace_is`` does so for cards in peak
        coordinates, linearised and corrected by importance; ``nuts`` is PyMC with nutpie and runs every card. ``auto``
        takes the one of the first two that the card allows where its gate passes, else ``nuts``; the attributes
        ``engine`` and ``engine_reason`` say which ran and why.
    seed : int
        Same seed, same engine, same answer.
    draws, tune, chains : int
        Draws kept per chain, tuning draws per chain (``nuts``), number of chains. Draws of ``exact`` are independent.
    kl_max : float, optional
        Largest KL (nats) that will be asked about; twice the largest observed by default.

    Returns
    -------
    xarray.DataTree
        What `fitting.fit` or `combine` returns; of ``auto`` the attribute ``card_reason`` says what was done and why.

    Raises
    ------
    FitError
        If the runs and the card do not fit together, or an argument is out of range.
    CardError
        If there is no such card or it is not valid.

    Warns
    -----
    ConvergenceWarning
        If a gate fails, see `fitting.fit`.
    RunsWarning
        If ``auto`` has too few sizes to weigh cards, or leaves one out because it cannot be fitted.

    Examples
    --------
    >>> import goldpeak
    >>> post = goldpeak.fit(goldpeak.datasets.lab("rl"), "rl_paper", draws=100)
    >>> post.attrs["engine"], post["posterior"]["alpha"].dims
    ('exact', ('chain', 'draw', 'run'))
    """
    method = method_of(runs)
    one = {"engine": engine, "seed": seed, "draws": draws, "tune": tune, "chains": chains, "kl_max": kl_max}
    if not (isinstance(card, str) and card == AUTO):
        return fitting.fit(runs, card, **one)  # type: ignore[arg-type]
    cards = RECOMMENDED[method]
    sizes = len(np.unique(runs["rm_params"].values))
    if method in ALONE:
        return _first(runs, cards, f"alone, as recommended for {method}", one, tell=False)
    if sizes < FEWEST_SIZES:
        why = f"alone: weighing the recommended cards ({', '.join(cards)}) takes {FEWEST_SIZES} sizes of reward models"
        return _first(runs, cards, f"{why}, and the runs have {sizes}", one, tell=True)
    del one["tune"]
    post = combine(cards, runs, **one)  # type: ignore[arg-type]
    post.attrs["card_reason"] = f"the recommended cards for {method}, combined: {', '.join(cards)}"
    return post


def _first(
    runs: xr.Dataset, cards: tuple[str, ...], why: str, options: Mapping[str, object], *, tell: bool
) -> xr.DataTree:
    """The first card that can be fitted; where it is another than the first, a warning says why."""
    refused: list[str] = []
    for card in cards:
        try:
            post = fitting.fit(runs, card, **options)  # type: ignore[arg-type]
        except FitError as error:
            refused.append(f"{card}: {error}")
            continue
        post.attrs["card_reason"] = "; ".join([f"card {card!r} {why}", *(f"could not be fitted: {e}" for e in refused)])
        if tell or refused:
            warnings.warn(post.attrs["card_reason"], RunsWarning, stacklevel=3)
        return post
    raise FitError("no recommended card can be fitted:\n" + "\n".join(f"  - {each}" for each in refused))

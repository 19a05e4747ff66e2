"""Sufficient statistics of run curves: what is left of the points once a card is chosen, additive over points."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from goldpeak.card import Card
from goldpeak.design import Design, make_design
from goldpeak.engines.columns import statistics
from goldpeak.errors import FitError
from goldpeak.library import load_card
from goldpeak.names import POINT
from goldpeak.noise import Statistics
from goldpeak.wording import listed

__all__ = ["suffstats"]


def suffstats(
    runs: xr.Dataset, card: str | Path | Card, *, kl_max: float | None = None, points: ArrayLike | None = None
) -> Statistics:
    """The additive statistics through which runs enter the likelihood of a card.

    With noise variance se^2 + sigma^2 these are, for each run and each distinct se, the sum of z z^T over the points,
    z = (columns of the form and of the discrepancy's sines, gold in standardised units), and their number. For noise
    ``iid`` that is one matrix a run, however many points there are. Where a run has many different se, some dozens of
    nodes stand in for them, exact to 1e-12 (see `goldpeak.noise`).

    Parameters
    ----------
    runs : xarray.Dataset
        As returned by `read_runs`: all runs, which fix the list of runs, the scale of gold and the sines.
    card : str, path or Card
        Name of a shipped card, path of a TOML file, or a `Card`.
    kl_max : float, optional
        Largest KL (nats) that will be asked about; twice the largest observed by default.
    points : array_like, optional
        Mask or indices of the points to count; all by default. Statistics of chunks of points that do not overlap add
        up to those of the whole, ``a + b``: they may be computed one after the other, or on different machines.

    Returns
    -------
    goldpeak.noise.Statistics
        Arrays ``gram`` (run, group, q, q), ``count`` (run, group) and ``se`` (run, group), q = 3 + number of sines.

    Raises
    ------
    FitError
        If the card's form has a gamma, or the card is in peak coordinates: its columns change with parameters, so no
        finite set of sums will do. If its noise is ``ou`` or ``student_t``, for the same reason. If a point is counted
        twice, or some points of a run without the others where they are correlated (``gold_cov``), or as for `fit`.
    CardError
        If there is no such card or it is not valid.

    Examples
    --------
    >>> import goldpeak
    >>> runs = goldpeak.datasets.lab("rl")
    >>> whole = goldpeak.suffstats(runs, "rl_paper")
    >>> early = runs["kl"].values < 5.0
    >>> chunks = [goldpeak.suffstats(runs, "rl_paper", points=mask) for mask in (early, ~early)]
    >>> whole.gram.shape, bool(abs((chunks[0] + chunks[1]).gram - whole.gram).max() < 1e-9)
    ((40, 1, 3, 3), True)
    """
    design = make_design(runs, load_card(card), kl_max=kl_max)
    if design.form.has_gamma:
        raise FitError(
            f"card {design.card.name!r} has form {design.card.form.kind!r}, whose columns change with gamma: it has no "
            "sufficient statistics; use a card without gamma"
        )
    if design.shape:
        raise FitError(
            f"card {design.card.name!r} is in peak coordinates, whose columns change with the place of a run's peak: "
            "it has no sufficient statistics; use a card on coefficients without gamma"
        )
    if design.card.noise.kind in ("ou", "student_t"):
        raise FitError(
            f"card {design.card.name!r} has noise {design.card.noise.kind!r}: points then do not enter through "
            "sums that hold whatever its parameters are"
        )
    if points is None:
        return statistics(design)
    count = runs.sizes[POINT]
    chosen = np.asarray(points)
    if chosen.dtype == bool and chosen.shape != (count,):
        raise FitError(f"points is a mask of shape {chosen.shape}; allowed: one entry for each of {count} points")
    try:
        index = np.arange(count)[chosen if chosen.size else []]
    except IndexError as error:
        raise FitError(f"points: {error}; allowed: a mask or indices of {count} points") from error
    if len(np.unique(index)) < index.size:
        raise FitError("points names a point more than once")
    _refuse_parts_of_runs(design, index)
    return statistics(design, index)


def _refuse_parts_of_runs(design: Design, index: NDArray[np.int64]) -> None:
    """Where the points of a run are correlated it is their combinations that count, and those are of all of them."""
    if design.measurement.turn is None:
        return
    whole = np.bincount(design.run_index)
    found = np.bincount(design.run_index[index], minlength=len(whole))
    parts = [design.run[r] for r in np.flatnonzero((found > 0) & (found < whole))]
    if parts:
        raise FitError(f"points holds part of run {listed(parts, most=5)}; allowed with gold_cov: whole runs")

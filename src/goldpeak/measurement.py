"""What is known of the noise before a fit: standard errors, covariances, times and errors of KL.

All in standardised units of gold. Which of it counts is for the card's kind of noise to say, see `noise_kinds`.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from goldpeak.card import Card
from goldpeak.errors import FitError, RunsWarning
from goldpeak.names import PEER, POINT, RUN, RUN_INDEX
from goldpeak.rotation import Turn, points_of_runs
from goldpeak.slopes import first_guess

__all__ = ["Measurement", "measure"]

Array = NDArray[np.float64]

ASYMMETRY = 1e-6
"""Largest difference between entries that should be equal, and largest negative eigenvalue, of the largest entry."""


@dataclass(frozen=True)
class Measurement:
    """What is known of the noise of every point.

    Attributes
    ----------
    members : list of ndarray of int
        The points of each run.
    known : ndarray, shape (point,)
        Standard error of gold, 0 where nothing is known.
    blocks : list of ndarray, shape (n, n) each, or None
        Covariance of gold within each run, where there is one.
    time : ndarray, shape (point,), or None
        Where on the noise's time axis a point lies, for noise ``ou``.
    kl_se : ndarray, shape (point,), or None
        Standard error of KL, nats.
    from_kl : ndarray, shape (point,)
        What that makes of gold: a standard error too.
    """

    members: list[NDArray[np.int64]]
    known: Array
    blocks: list[Array] | None
    time: Array | None
    kl_se: Array | None
    from_kl: Array

    @cached_property
    def se(self) -> Array:
        """Standard error of every point, that from KL included; where points are correlated, of each by itself."""
        if not self.from_kl.any():
            return self.known
        return np.hypot(self.known, self.from_kl)

    @cached_property
    def turn(self) -> Turn | None:
        """What makes correlated points independent."""
        if self.blocks is None:
            return None
        both = zip(self.members, self.blocks, strict=True)
        return Turn.of(self.members, [block + np.diag(self.from_kl[mine] ** 2) for mine, block in both])

    @property
    def correlated(self) -> bool:
        """Whether the noise of a run's points is correlated."""
        return self.blocks is not None or self.time is not None

    @property
    def independent_se(self) -> Array:
        """Standard errors of the points once they are independent, shape (point,)."""
        return self.turn.se if self.turn else self.se

    def independent(self, values: Array) -> Array:
        """What belongs to the points, along the first axis, turned with them where they are correlated."""
        return self.turn.points(values) if self.turn else values

    def independent_of_run(self, run: int, values: Array) -> Array:
        """The same of one run's points, along the last axis."""
        return self.turn.run(run, values) if self.turn else values

    def with_kl_errors(self, from_kl: Array) -> Measurement:
        """The same with other standard errors from KL."""
        return replace(self, from_kl=from_kl)


def measure(runs: xr.Dataset, card: Card, scale: float) -> Measurement:
    """What a card takes from run curves about their noise.

    Parameters
    ----------
    runs : xarray.Dataset
        As returned by `read_runs`. Of ``gold_cov`` (point, peer), where there is one, row i is the covariance of point
        i's gold with the k-th point of its run, in ascending KL, and 0 beyond the run's points.
    card : Card
    scale : float
        Unit of the standardised gold.

    Raises
    ------
    FitError
        If the card needs something that the runs do not have, or ``gold_cov`` is no covariance.

    Warns
    -----
    RunsWarning
        If the card would use standard errors or covariances and there are none.
    """
    members = points_of_runs(runs[RUN_INDEX].values, runs.sizes[RUN])
    _say_what_is_missing(runs, card)
    blocks = None
    if card.noise.kind in ("known", "cov") and "gold_cov" in runs:
        blocks = [block / scale**2 for block in _blocks(runs, members)]
    known = np.zeros(runs.sizes[POINT])
    if blocks is not None:
        for mine, block in zip(members, blocks, strict=True):
            known[mine] = np.sqrt(np.diag(block))
    elif card.noise.kind != "iid" and "gold_se" in runs:
        known = runs["gold_se"].values / scale
    kl_se = runs["kl_se"].values if "kl_se" in runs and np.any(runs["kl_se"].values > 0) else None
    from_kl = np.zeros(len(known))
    if kl_se is not None:
        from_kl = first_guess(runs["kl"].values, kl_se, runs["gold"].values / scale, members)
    return Measurement(members, known, blocks, _time(runs, card), kl_se, from_kl)


def _say_what_is_missing(runs: xr.Dataset, card: Card) -> None:
    kind = card.noise.kind
    if kind == "cov" and "gold_cov" not in runs:
        raise FitError(
            f"card {card.name!r} has noise 'cov', and the runs have no gold_cov, the covariance of gold between points "
            "of a run; noise 'known' uses it where it is there and gold_se where it is not"
        )
    if kind == "known" and not {"gold_se", "gold_cov"} & set(runs.variables):
        warnings.warn(
            f"card {card.name!r} has noise 'known', and the runs have no column gold_se: one standard deviation is "
            "learned for all points (noise 'iid')",
            RunsWarning,
            stacklevel=4,
        )


def _blocks(runs: xr.Dataset, members: list[NDArray[np.int64]]) -> list[Array]:
    """The covariance of each run's gold, points in their order, in the user's units."""
    given, kl, names = runs["gold_cov"].transpose(POINT, PEER).values, runs["kl"].values, runs[RUN].values
    blocks, problems = [], []
    for run, mine in zip(names, members, strict=True):
        rank = np.argsort(np.argsort(kl[mine], kind="stable"), kind="stable")
        if len(mine) > given.shape[1]:
            problems.append(f"run '{run}': {given.shape[1]} peers, {len(mine)} points")
            continue
        block = given[mine][:, rank]
        problems += [f"run '{run}': {problem}" for problem in _problems(block)]
        blocks.append(0.5 * (block + block.T))
    if problems:
        more = f" (and {len(problems) - 5} more)" if len(problems) > 5 else ""
        raise FitError(
            f"gold_cov: {'; '.join(problems[:5])}{more}; allowed: for each run a symmetric matrix of finite numbers "
            "without negative eigenvalues"
        )
    return blocks


def _problems(block: Array) -> list[str]:
    """Why a matrix is no covariance."""
    bad = np.argwhere(~np.isfinite(block))
    if len(bad):
        i, k = bad[0]
        return [f"{block[i, k]} between its points {i + 1} and {k + 1} ({len(bad)} such entries)"]
    tolerance = ASYMMETRY * np.abs(block).max()
    if np.abs(block - block.T).max() > tolerance:
        return ["not symmetric"]
    least = float(np.linalg.eigvalsh(block)[0])
    return [f"least eigenvalue {least:.3g}"] if least < -tolerance else []


def _time(runs: xr.Dataset, card: Card) -> Array | None:
    if card.noise.kind != "ou":
        return None
    if card.noise.time == "d":
        return np.asarray(np.sqrt(runs["kl"].values))
    if "step" not in runs or np.isnan(runs["step"].values).any():
        lacking = "no column step" if "step" not in runs else "points without a step"
        raise FitError(
            f"card {card.name!r} has noise 'ou' along the training step, and the runs have {lacking}; time = 'd' runs "
            "it along the square root of KL"
        )
    return np.asarray(runs["step"].values, dtype=float)

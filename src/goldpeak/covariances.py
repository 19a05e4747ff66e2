"""Covariance between the points of a run, in tables and in datasets.

In a table the columns ``gold_cov_1 ... gold_cov_K`` are a matrix for each run: the row of a point holds its covariance
with the run's first, second, ... point by ascending kl, and nothing (or 0) beyond the run's last.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from goldpeak._cells import Findings
from goldpeak._validate import is_start
from goldpeak.names import GOLD_COV, column_of
from goldpeak.wording import listed

__all__ = [
    "block_columns",
    "check_covariance",
    "fill_independent",
    "pair_columns",
    "reorder",
    "subtract_start",
    "to_pairs",
]

Array = NDArray[np.float64]
Whole = NDArray[np.int64]

_ROUNDING = 1e-6
"""How far a matrix may be off symmetry, and its least eigenvalue below 0, both as correlations: numbers get printed."""
_SE_ROUNDING = 1e-3
_ZERO = 1e-14
"""A variance of a difference so small against the variances it is made of is rounding."""


def pair_columns(frame: pd.DataFrame) -> list[str]:
    """The columns ``gold_cov_k`` that are there, by k."""
    names = [name for name in map(str, frame.columns) if (c := column_of(name)) is not None and c.per == "pair"]
    return sorted(names, key=_number)


def _number(name: str) -> int:
    return int(name.rpartition("_")[2])


def block_columns(blocks: Array) -> dict[str, Array]:
    """Rows of covariance as columns of a table.

    Examples
    --------
    >>> list(block_columns(np.eye(2)))
    ['gold_cov_1', 'gold_cov_2']
    """
    return {f"{GOLD_COV}_{k + 1}": column for k, column in enumerate(blocks.T)}


def by_run(codes: Whole, kl: Array) -> Iterator[Whole]:
    """Positions of each run's points, by ascending kl."""
    order = np.lexsort((kl, codes))
    yield from np.split(order, np.flatnonzero(np.diff(codes[order])) + 1) if len(order) else []


def check_covariance(frame: pd.DataFrame, findings: Findings, *, recentre: bool) -> pd.DataFrame:
    """Check the covariance columns of a table, fill ``gold_se`` from their diagonal, and note all that is wrong.

    Parameters
    ----------
    frame : pandas.DataFrame
        As `check_structure` returns it. A run whose cells are all empty has independent points, with ``gold_se``.
    recentre : bool
        Whether a run's gold at its start will be subtracted: then the differences must vary.

    Returns
    -------
    pandas.DataFrame
        Where all is well: each run's matrix symmetric, zeros beyond its points, ``gold_se`` complete.
    """
    columns = pair_columns(frame)
    if not columns:
        return frame
    missing = sorted(set(range(1, len(columns) + 1)) - set(map(_number, columns)))
    if missing:
        lacking = ", ".join(f"'{GOLD_COV}_{k}'" for k in missing[:3])
        findings.problem(f"column {lacking} is missing; allowed: {GOLD_COV}_1, {GOLD_COV}_2, ... without gaps")
    if missing or not {"run", "kl"} <= set(frame) or frame[["run", "kl"]].isna().any(axis=None):
        return frame
    if {*columns, "gold_se"} & set(findings.bad_cells):
        return frame
    return _check_runs(frame, columns, findings, recentre)


def _check_runs(frame: pd.DataFrame, columns: list[str], findings: Findings, recentre: bool) -> pd.DataFrame:
    blocks = frame[columns].to_numpy(dtype=float, copy=True)
    given = frame["gold_se"].to_numpy() if "gold_se" in frame else np.full(len(frame), np.nan)
    start, se, wrong = is_start(frame), given.copy(), dict[str, list[str]]()
    for points in by_run(pd.factorize(frame["run"])[0], frame["kl"].to_numpy()):
        found = _matrix(blocks[points], given[points], start[points])
        if recentre and isinstance(found, np.ndarray) and _stuck(found, start[points]):
            found = "gold varies no more than at the start; allowed: differences from the start that vary"
        if isinstance(found, str):
            wrong.setdefault(found, []).append(str(frame["run"].iloc[points[0]]))
        elif found is not None:
            _put(blocks, points, found)
            se[points] = np.where(np.isnan(given[points]), np.sqrt(np.diag(found)), given[points])
    for text, runs in wrong.items():
        findings.problem(f"covariance of gold in run {listed([repr(run) for run in runs])}: {text}")
    return _with_blocks(frame.assign(gold_se=se), blocks)


def _put(blocks: Array, points: Whole, matrix: Array) -> None:
    """Write a run's matrix into its rows."""
    blocks[points] = 0.0
    blocks[points, : len(matrix)] = matrix


def _with_blocks(frame: pd.DataFrame, blocks: Array) -> pd.DataFrame:
    columns = pd.DataFrame(block_columns(blocks), index=frame.index)
    return pd.concat([frame.drop(columns=pair_columns(frame)), columns], axis=1)


def _matrix(block: Array, se: Array, start: NDArray[np.bool_]) -> Array | str | None:
    """A run's covariance matrix from its rows by ascending kl, or what is wrong with them; None if there is none."""
    points = len(block)
    if np.isnan(block).all():
        return "empty, and there is no gold_se; allowed: one of them" if np.isnan(se).any() else None
    if block.shape[1] < points:
        return f"{points} points but {block.shape[1]} columns; allowed: a column for each point of the run"
    inside, beyond = block[:, :points], block[:, points:]
    if np.isnan(inside).any():
        return "cells are empty; allowed: a number for every pair of points, or nothing in the whole run"
    if np.nan_to_num(beyond).any():
        return "not 0 beyond the run's last point; allowed: 0 or empty there"
    variance = np.diag(inside)
    if (variance < 0).any() or (variance[~start] == 0).any():
        return "the diagonal is not positive; allowed: variances > 0 (0 at kl 0)"
    return _normal(inside, np.sqrt(variance)) or _agrees(variance, se) or 0.5 * (inside + inside.T)


def _stuck(matrix: Array, start: NDArray[np.bool_]) -> bool:
    """Whether the difference of some point from the start has no variance."""
    variance = np.diag(matrix)
    s = int(np.argmax(start))
    differences = variance + variance[s] - 2 * matrix[s]
    return bool(start.any() and (differences[~start] <= _ZERO * variance.max()).any())


def _normal(matrix: Array, sd: Array) -> str:
    safe = np.where(sd > 0, sd, 1.0)
    correlation = matrix / np.outer(safe, safe)
    if np.abs(correlation - correlation.T).max() > _ROUNDING:
        return "not symmetric; allowed: the same covariance for a pair of points in both rows"
    least = np.linalg.eigvalsh(0.5 * (correlation + correlation.T))[0]
    if least < -_ROUNDING * len(sd):
        return f"not positive semidefinite (an eigenvalue of its correlations is {least:.2g}); allowed: a covariance"
    return ""


def _agrees(variance: Array, se: Array) -> str:
    differs = np.abs(np.sqrt(variance) - se) > _SE_ROUNDING * se
    if not differs.any():
        return ""
    i = int(np.argmax(differs))
    return f"the diagonal has the root {np.sqrt(variance[i]):.4g} where gold_se is {se[i]:.4g}; allowed: the same"


def fill_independent(frame: pd.DataFrame) -> pd.DataFrame:
    """Give runs without a covariance, in a table where others have one, that of independent points with ``gold_se``."""
    columns = pair_columns(frame)
    empty = frame[columns].isna().all(axis=1).to_numpy()
    if not columns or not empty.any():
        return frame
    codes = pd.factorize(frame["run"])[0]
    widest = max(len(columns), int(np.bincount(codes[empty]).max()))
    blocks = np.full((len(frame), widest), np.nan)
    blocks[:, : len(columns)] = frame[columns]
    for points in by_run(codes, frame["kl"].to_numpy()):
        if empty[points[0]]:
            _put(blocks, points, np.diag(frame["gold_se"].to_numpy()[points] ** 2))
    return _with_blocks(frame, blocks)


def subtract_start(frame: pd.DataFrame) -> pd.DataFrame:
    """Drop the points that measure the initial policy; make covariances those of the differences from it.

    With start s, cov(i, j) becomes cov(i, j) - cov(i, s) - cov(s, j) + cov(s, s), and ``gold_se`` the root of its
    diagonal. Runs without a start stay as they are, and so does ``gold_se`` in tables without covariances.

    Parameters
    ----------
    frame : pandas.DataFrame
        As `fill_independent` returns it.
    """
    start, columns = is_start(frame), pair_columns(frame)
    if not columns or not start.any():
        return frame[~start]
    blocks = np.nan_to_num(frame[columns].to_numpy(dtype=float))
    se = frame["gold_se"].to_numpy(dtype=float).copy()
    for points in by_run(pd.factorize(frame["run"])[0], frame["kl"].to_numpy()):
        # The first in the table is the one whose gold is subtracted.
        starts = np.flatnonzero(start[points])
        if not len(starts):
            continue
        s, kept = starts[np.argmin(points[starts])], np.flatnonzero(~start[points])
        inside = blocks[points, : len(points)]
        # In this order of adding it stays symmetric to the last digit.
        change = (inside - (inside[s] + inside[:, [s]]) + inside[s, s])[np.ix_(kept, kept)]
        _put(blocks, points[kept], change)
        se[points[kept]] = np.sqrt(np.maximum(np.diag(change), 0.0))
    return _with_blocks(frame.assign(gold_se=se), blocks)[~start]


def to_pairs(frame: pd.DataFrame, codes: Whole) -> Array | None:
    """The variable ``gold_cov``, (point, peer), of points in the order of the dataset; None where there is none."""
    columns = pair_columns(frame)
    if not columns:
        return None
    widest = int(np.bincount(codes).max())
    return np.asarray(np.nan_to_num(frame[columns[:widest]].to_numpy(dtype=float)))


def reorder(pairs: Array, index: Whole, order: Whole) -> Array:
    """Rows of ``gold_cov`` in another order of the points, and its columns with them.

    Parameters
    ----------
    pairs : ndarray, shape (point, peer)
    index : ndarray of int, shape (point,)
        To which run each row belongs; points of a run are next to each other.
    order : ndarray of int, shape (point,)
        Which point comes first, second, ...; points of a run stay together.

    Examples
    --------
    >>> reorder(np.array([[1.0, 2.0], [2.0, 3.0]]), np.array([0, 0]), np.array([1, 0])).tolist()
    [[3.0, 2.0], [2.0, 1.0]]
    """
    first = np.searchsorted(index, index)
    moved = np.zeros_like(pairs)
    for points in np.split(np.arange(len(order)), np.flatnonzero(np.diff(index[order])) + 1):
        old = order[points]
        moved[points, : len(points)] = pairs[np.ix_(old, old - first[old])]
    return moved

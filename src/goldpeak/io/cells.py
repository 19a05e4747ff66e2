"""Tables of logged values, a row per log call: which columns there are, and the cells of those that are wanted.

A cell that was never logged is not the same as a NaN that was: columns are kept as the rows that have a cell, and its
value. So a sparse column costs what it holds, and a table need never be in memory as a whole.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from goldpeak.errors import RunsError
from goldpeak.io.log import Log, Roles, Series, clean, quoted

__all__ = ["Cells", "Columns", "chained", "logs_of"]

STEPS = ("train/global_step", "step", "Step", "global_step", "trainer/global_step", "_step", "episode")
"""Columns that count training steps, the better ones first (W&B's own ``_step`` counts log calls)."""


@dataclass(frozen=True)
class Cells:
    """The cells of one column: row numbers (from 0, rising) and values."""

    rows: np.ndarray
    values: np.ndarray


def chained(parts: Sequence[Cells], dtype: type) -> Cells:
    """Stretches of one column as one."""
    if not parts:
        return Cells(np.empty(0, dtype=np.int64), np.empty(0, dtype=dtype))
    return Cells(np.concatenate([part.rows for part in parts]), np.concatenate([part.values for part in parts]))


@dataclass(frozen=True)
class Columns:
    """A table on disk: the names of its columns, and how to read some of them.

    Attributes
    ----------
    names : tuple of str
    numbers : callable
        From names to `Cells` of float64.
    words : callable
        From one name to `Cells` of str objects.
    """

    names: tuple[str, ...]
    numbers: Callable[[Sequence[str]], dict[str, Cells]]
    words: Callable[[str], Cells]


def logs_of(
    columns: Columns, source: str, kind: str, run: str, roles: Roles, *, repairs: tuple[str, ...] = ()
) -> list[Log]:
    """The logs in a table: one, or one for each name in the column that `roles` gives for ``run``.

    Raises
    ------
    RunsError
        If a column of `roles` is not there.
    """
    absent = [f"no column '{name}' (for {role})" for role, name in roles.items() if name not in columns.names]
    if absent:
        raise RunsError(source, [f"{text}; columns there are: {quoted(columns.names)}" for text in absent])
    step = roles.get("step") or next((name for name in STEPS if name in columns.names), None)
    if step is None:
        repairs = (*repairs, "no column counts steps: rows are counted instead")
    keys = tuple(name for name in columns.names if name not in (step, roles.get("run")))
    read = functools.lru_cache(maxsize=2)(functools.partial(_read, columns, source, step, roles.get("run")))
    if "run" not in roles:
        return [Log(run, source, kind, keys, lambda asked: read(tuple(asked)).get("", {}), repairs=repairs)]
    names = dict.fromkeys(columns.words(roles["run"]).values)

    def part(name: str) -> Log:
        return Log(clean(name), source, kind, keys, lambda asked: read(tuple(asked))[name], {}, repairs, named=True)

    return [part(name) for name in names]


def _read(
    columns: Columns, source: str, step: str | None, run: str | None, asked: tuple[str, ...]
) -> dict[str, dict[str, Series]]:
    """Series by run and key; the run is "" where there is only one."""
    found = columns.numbers([*asked, *([step] if step else [])])
    names, codes = _runs(columns, run)
    by_run: dict[str, dict[str, Series]] = {name: {} for name in names}
    for key in asked:
        cells = found[key]
        steps = cells.rows + 1.0 if step is None else _looked_up(found[step], cells.rows, np.nan)
        whose = np.zeros(len(cells.rows), dtype=int) if codes is None else _looked_up(codes, cells.rows, -1)
        nameless = int((whose < 0).sum())
        if nameless:
            text = f"{nameless} values of {key!r} stand in rows without a name in column {run!r}"
            raise RunsError(source, [f"{text}; allowed: a run's name in each"])
        order = np.argsort(whose, kind="stable")
        edges = np.searchsorted(whose[order], np.arange(len(names) + 1))
        for i, name in enumerate(names):
            mine = order[edges[i] : edges[i + 1]]
            has_step = np.isfinite(steps[mine])
            kept = mine[has_step]
            by_run[name][key] = Series(steps[kept], cells.values[kept], int((~has_step).sum()))
    return by_run


def _runs(columns: Columns, run: str | None) -> tuple[list[str], Cells | None]:
    if run is None:
        return [""], None
    cells = columns.words(run)
    names = {name: i for i, name in enumerate(dict.fromkeys(cells.values))}
    return list(names), Cells(cells.rows, np.array([names[name] for name in cells.values], dtype=int))


def _looked_up(cells: Cells, rows: np.ndarray, missing: float) -> np.ndarray:
    """The values of a column in these rows."""
    if not len(cells.rows):
        return np.full(len(rows), missing)
    place = np.minimum(np.searchsorted(cells.rows, rows), len(cells.rows) - 1)
    return np.where(cells.rows[place] == rows, cells.values[place], missing)

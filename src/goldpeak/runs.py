"""Run curves in: a table of points becomes a validated :class:`xarray.Dataset`, or one error that lists everything.

The layout is an *indexed ragged array*: dim ``point`` holds the points of all runs one after another (``run_index``
says whose they are), dim ``run`` holds what is constant within a run.
"""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Callable, Sequence
from typing import Literal, TypeGuard

import numpy as np
import pandas as pd
import xarray as xr

from goldpeak._cells import Findings, check_columns
from goldpeak._validate import check_starts, check_structure, check_together, is_start, offset_notices
from goldpeak.bon import kl_of_n
from goldpeak.covariances import check_covariance, fill_independent, reorder, subtract_start, to_pairs
from goldpeak.errors import FitError, RunsError, RunsWarning
from goldpeak.io.tables import Table, from_frame, read_table
from goldpeak.names import COLUMNS, GOLD_COV, METHODS, PEER, POINT, RUN, RUN_INDEX, describe
from goldpeak.replicates import average_prompts
from goldpeak.turning import summarise

__all__ = ["digest", "is_bon", "method_of", "read_runs", "summarise"]

_BASELINES = ("auto", "none", "run")
_POINT_COLUMNS = [name for name, column in COLUMNS.items() if column.per == "point"]
_RUN_COLUMNS = [name for name, column in COLUMNS.items() if column.per == "run" and name != RUN]


type TablePath = str | os.PathLike[str]
type Source = TablePath | Sequence[TablePath] | pd.DataFrame


def read_runs(
    source: Source,
    *,
    method: str | None = None,
    baseline: Literal["auto", "none", "run"] = "auto",
    gold_scale: float | None = None,
) -> xr.Dataset:
    """Read run curves from CSV, Parquet or a DataFrame; check all of it; recentre gold on the initial policy.

    Parameters
    ----------
    source : path, list of paths, or pandas.DataFrame
        One row per point. Columns (see ``goldpeak.names.COLUMNS``): ``run``, ``rm_params``, ``gold`` and ``kl`` (nats
        per response) are required; best-of-n rows may give ``n`` instead of ``kl``. Optional: ``method`` (rl where
        absent), ``gold_se``, ``kl_se``, ``proxy``, ``step``, ``rm``, ``rm_data``, ``policy_params``, ``kl_coef``,
        ``seed``;
        ``gold_cov_1``, ``gold_cov_2``, ... (covariance with the k-th point of the run, by ascending kl, the start
        included); ``baseline`` (what was subtracted from gold already); ``prompt``: then each point has a row for
        each prompt, which are averaged, and the covariance over prompts is kept (`goldpeak.replicates`).
    method : {"rl", "bon"}, optional
        Keep the rows of this method; without a column ``method``, say that all rows are of this method.
    baseline : {"auto", "none", "run"}
        Subtract a run's gold at kl = 0 (or n = 1) where it has such a point; never; or insist that every run has one.
        A point that is subtracted is not kept as a point, and covariances become those of the differences.
    gold_scale : float, optional
        Standard deviation of the initial policy's gold, in units of ``gold``; kept in ``attrs``, nothing is divided.

    Returns
    -------
    xarray.Dataset
        Dim ``point`` (sorted by run, in the order of first appearance, then by kl): ``kl`` (nats), ``gold``
        (recentred), and where given ``gold_se``, ``kl_se``, ``proxy``, ``step``, ``n``; coordinate ``run_index``. Where
        covariances are known, dims ``point`` and ``peer``: ``gold_cov``, row i the covariance of point i with the k-th
        point of its run, zeros beyond the run's last. Dim ``run``:
        index ``run``, ``rm_params``, ``method``, ``rm`` (the run's own name where not given), ``baseline`` (all that
        was subtracted from gold), and where given ``rm_data``, ``policy_params``, ``kl_coef``, ``seed``. ``attrs``:
        ``source``, ``baseline``, and if given ``gold_scale``.

    Raises
    ------
    RunsError
        With every problem found, each with rows, column, what was found and what is allowed.

    Warns
    -----
    RunsWarning
        For columns that are not used, dropped copies of rows, empty cells, kl that looks like KL per token, n and kl
        that disagree, and gold that does not seem to be relative to the initial policy although no row at kl = 0 says
        where that is.

    Examples
    --------
    >>> table = pd.DataFrame({"run": "a", "rm_params": 1e6, "kl": [0.0, 1, 4, 9], "gold": [0.5, 1.0, 1.25, 1.0]})
    >>> runs = read_runs(table)
    >>> runs["gold"].values.tolist(), float(runs["baseline"].sel(run="a"))
    ([0.5, 0.75, 0.5], 0.5)
    """
    problems = _argument_problems(method, baseline, gold_scale)
    tables, unreadable = _load(source)
    problems += unreadable
    parts: list[tuple[str, pd.DataFrame]] = []
    notices: list[str] = []
    for table in tables:
        findings = Findings(table.name, table.rows, f"{table.name}: " if _several(source) else "")
        part = _check(table, method if method in METHODS else None, findings, recentre=baseline != "none")
        problems += findings.problems
        notices += findings.notices
        if part is not None:
            parts.append((table.name, part))
    problems += check_together(parts)
    if baseline == "run":
        problems += check_starts([part for _, part in parts])
    if problems:
        raise RunsError(_title(source, tables), problems)
    frame = fill_independent(pd.concat([part for _, part in parts], ignore_index=True))
    frame, subtracted = _recentre(frame, baseline)
    for notice in notices + offset_notices(frame, subtracted):
        warnings.warn(notice, RunsWarning, stacklevel=2)
    names = ", ".join(os.path.basename(table.name) for table in tables)
    attrs = {"source": names, "baseline": baseline} | ({} if gold_scale is None else {"gold_scale": float(gold_scale)})
    return describe(_to_dataset(frame, subtracted.fillna(0.0), attrs))


def _several(source: Source) -> TypeGuard[Sequence[TablePath]]:
    return not isinstance(source, str | os.PathLike | pd.DataFrame)


def _argument_problems(method: str | None, baseline: str, gold_scale: float | None) -> list[str]:
    problems = []
    if method is not None and method not in METHODS:
        problems.append(f"method={method!r}; allowed: {' or '.join(METHODS)}")
    if baseline not in _BASELINES:
        problems.append(f"baseline={baseline!r}; allowed: {' or '.join(_BASELINES)}")
    if gold_scale is not None and not (isinstance(gold_scale, int | float | np.number) and 0 < gold_scale < np.inf):
        problems.append(f"gold_scale={gold_scale!r}; allowed: a number > 0")
    return problems


def _load(source: Source) -> tuple[list[Table], list[str]]:
    """Read every table that can be read, and say what is wrong with the others."""
    if not isinstance(source, pd.DataFrame | str | os.PathLike | Sequence):
        raise TypeError(f"read_runs takes a path, a list of paths or a DataFrame, not {type(source)}")
    if isinstance(source, pd.DataFrame):
        return [from_frame(source)], []
    if isinstance(source, str | os.PathLike):
        return [read_table(source)], []
    tables, problems = [], []
    for path in source:
        if not isinstance(path, str | os.PathLike):
            raise TypeError(f"read_runs takes a path, a list of paths or a DataFrame, not a list of {type(path)}")
        try:
            tables.append(read_table(path))
        except RunsError as error:
            problems += [f"{error.source}: {problem}" for problem in error.problems]
    return tables, problems or ([] if tables else ["the list of files is empty"])


def _title(source: Source, tables: Sequence[Table]) -> str:
    name = f"{len(source)} files" if _several(source) else (tables[0].name if tables else str(source))
    counting = "; ".join(dict.fromkeys(table.rows_are for table in tables))
    return f"{name} ({counting})" if counting else name


def _check(table: Table, method: str | None, findings: Findings, *, recentre: bool) -> pd.DataFrame | None:
    frame = check_columns(table, method, findings)
    if frame is None:
        return None
    if "n" in frame:
        frame = _fill_kl(frame, findings)
    frame = check_structure(average_prompts(frame, findings, recentre=recentre), findings)
    return check_covariance(frame, findings, recentre=recentre)


def _fill_kl(frame: pd.DataFrame, findings: Findings) -> pd.DataFrame:
    """Best-of-n rows without kl get the KL of their n (exact if there are no ties); a given kl is kept."""
    expected = kl_of_n(frame["n"])
    if "kl" not in frame:
        return frame.assign(kl=expected)
    differs = np.abs(frame["kl"] - expected) > 0.01 * expected + 0.01
    if differs.any():
        row = frame[differs].iloc[0]
        text = f"kl {row['kl']:g} is kept although n {row['n']:g} means kl {kl_of_n(row['n']):.4g} (log n - (n - 1)/n)"
        findings.notice(text, frame.index[differs])
    bad = findings.bad_cells.get("kl", pd.Index([]))
    return frame.assign(kl=frame["kl"].where(frame["kl"].notna() | frame.index.isin(bad), expected))


def _recentre(frame: pd.DataFrame, baseline: str) -> tuple[pd.DataFrame, pd.Series]:
    """Subtract each run's gold at the start; return the points that are left and all that was subtracted, by run.

    NaN where a run has no start, nor says what was subtracted before.
    """
    runs = pd.Index(frame["run"].unique())
    before = pd.Series(np.nan, index=runs)
    if "baseline" in frame:
        before = frame.groupby("run")["baseline"].first().reindex(runs).replace(0.0, np.nan)
    if baseline == "none":
        return frame, before.fillna(0.0)
    subtracted = frame[is_start(frame)].groupby("run")["gold"].first().reindex(runs)
    frame = subtract_start(frame)
    left = frame["gold"] - frame["run"].map(subtracted.fillna(0.0))
    return frame.assign(gold=left), subtracted.add(before, fill_value=0.0)


def _to_dataset(frame: pd.DataFrame, subtracted: pd.Series, attrs: dict[str, str | float]) -> xr.Dataset:
    codes, runs = pd.factorize(frame["run"])
    order = np.lexsort((frame["kl"], codes))
    frame, codes = frame.iloc[order], codes[order]
    per_run = frame.iloc[np.unique(codes, return_index=True)[1]]
    if "rm" not in frame:
        per_run = per_run.assign(rm=per_run["run"])
    per_run = per_run.assign(rm=per_run["rm"].fillna(per_run["run"]))
    points = {name: (POINT, frame[name].to_numpy(dtype=float)) for name in _POINT_COLUMNS if name in frame}
    if "n" in points and not np.isnan(points["n"][1]).any():
        points["n"] = (POINT, points["n"][1].astype(np.int64))
    covariates = {
        name: (RUN, per_run[name].to_numpy(dtype=str if COLUMNS[name].kind == "text" else float))
        for name in _RUN_COLUMNS
        if name in per_run
    }
    pairs = to_pairs(frame, codes)
    shared = {} if pairs is None else {GOLD_COV: ((POINT, PEER), pairs)}
    return xr.Dataset(
        {**points, **shared, **covariates, "baseline": (RUN, subtracted.loc[list(runs)].to_numpy(dtype=float))},
        coords={RUN: np.asarray(runs, dtype=str), RUN_INDEX: (POINT, codes.astype(np.int64))},
        attrs=attrs,
    )


def method_of(runs: xr.Dataset, how: str = ", e.g. read_runs(..., method='rl')") -> str:
    """The method of all runs, ``rl`` or ``bon``.

    Raises
    ------
    FitError
        If these are no run curves, there are none, or they mix methods: then it ends in `how` to choose one.

    Examples
    --------
    >>> table = pd.DataFrame({"run": "a", "rm_params": 1e6, "kl": [1.0, 4, 9], "gold": [0.5, 0.75, 0.5]})
    >>> method_of(read_runs(table))
    'rl'
    """
    if not (isinstance(runs, xr.Dataset) and "method" in runs):
        raise FitError(f"run curves are what read_runs returns; found {type(runs).__name__} without a variable method")
    methods = sorted(set(runs["method"].values.astype(str)))
    if not methods:
        raise FitError("there are no runs; allowed: at least one")
    if len(methods) > 1:
        raise FitError(f"the runs mix methods ({', '.join(methods)}); choose one{how}")
    return str(methods[0])


def is_bon(data: xr.Dataset | xr.DataTree) -> bool:
    """Whether run curves, or those of a posterior, are all of best-of-n.

    Examples
    --------
    >>> table = pd.DataFrame({"run": "a", "rm_params": 1e6, "kl": [1.0, 4, 9], "gold": [0.5, 0.75, 0.5]})
    >>> is_bon(read_runs(table)), is_bon(read_runs(table.assign(method="bon")))
    (False, True)
    """
    runs = data["constant_data"].to_dataset() if isinstance(data, xr.DataTree) else data
    return set(runs["method"].values.astype(str)) == {"bon"}


def digest(runs: xr.Dataset) -> str:
    """SHA-256 of the data alone: the same whatever the file was called and however its rows were ordered.

    Parameters
    ----------
    runs : xarray.Dataset
        As :func:`read_runs` returns it.

    Returns
    -------
    str
        64 hexadecimal digits over names, dims and values (including ``baseline``); ``attrs`` do not enter.

    Examples
    --------
    >>> table = pd.DataFrame({"run": "a", "rm_params": 1e6, "kl": [1.0, 4, 9], "gold": [0.5, 0.75, 0.5]})
    >>> digest(read_runs(table)) == digest(read_runs(table[::-1]))
    True
    """
    by_name = np.argsort(runs[RUN].values.astype(str))
    rank = np.argsort(by_name)[runs[RUN_INDEX].values]
    names = sorted(str(name) for name in runs.data_vars)
    per_point = [runs[name].values for name in names if runs[name].dims == (POINT,)]
    by_point = np.lexsort((*per_point, runs["kl"].values, rank))
    total = hashlib.sha256()
    _feed(total.update, RUN, (RUN,), runs[RUN].values[by_name])
    _feed(total.update, RUN_INDEX, (POINT,), rank[by_point])
    for name in names:
        values = runs[name]
        if values.dims == (POINT, PEER):
            ordered = reorder(values.values, runs[RUN_INDEX].values, by_point)
        else:
            ordered = values.values[by_name if values.dims == (RUN,) else by_point]
        _feed(total.update, name, values.dims, ordered)
    return total.hexdigest()


def _feed(update: Callable[[bytes], None], name: str, dims: tuple[object, ...], values: np.ndarray) -> None:
    update(f"{name}{dims}{values.shape}".encode())
    if values.dtype.kind in "iu":
        update(values.astype("<i8").tobytes())
    elif values.dtype.kind == "f":
        # Adding 0 turns -0 into 0; NaN gets one bit pattern.
        update(np.where(np.isnan(values), np.nan, values + 0.0).astype("<f8").tobytes())
    else:
        for word in values:
            text = str(word).encode()
            update(len(text).to_bytes(8, "little") + text)

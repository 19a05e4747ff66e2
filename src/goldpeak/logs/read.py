"""Read training logs: the public way in, and what the command line uses."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

from goldpeak.errors import RunsError, RunsWarning
from goldpeak.io.keys import MOVING
from goldpeak.io.log import CUT_OFF, Log, joined, number, quoted
from goldpeak.io.readers import read_logs
from goldpeak.logs.choose import Asked, Chosen, choose
from goldpeak.logs.fleet import Pattern, Source
from goldpeak.logs.joining import Points, join
from goldpeak.logs.record import Note, Reading, notices
from goldpeak.runs import read_runs
from goldpeak.wording import listed

__all__ = ["Converted", "convert", "read_log"]

MOST_PROBLEMS = 50
PLACED = ("step", "run", "rm_params")
"""What a column of a log places a row by; the others are keys."""


@dataclass(frozen=True)
class Converted:
    """Run curves out of logs.

    Attributes
    ----------
    table : pandas.DataFrame
        A row per point, as `read_runs` takes it; gold as logged.
    runs : xarray.Dataset
        The same, validated and recentred by `read_runs`.
    readings : tuple of Reading
        What was read, a record for each run.
    """

    table: pd.DataFrame
    runs: xr.Dataset
    readings: tuple[Reading, ...]


def read_log(
    path: str | os.PathLike[str],
    format: str = "auto",
    *,
    kl: str | None = None,
    gold: str | None = None,
    proxy: str | None = None,
    length: str | None = None,
    kl_unit: str | None = None,
    rm_params: float | None = None,
    run: str | None = None,
    columns: Mapping[str, str] | None = None,
    drop_unmatched: bool = False,
) -> xr.Dataset:
    """Read the log of a training run as run curves, KL in nats per response.

    Parameters
    ----------
    path : str or path
        A file or folder: ``trainer_state.json`` or checkpoint folders (TRL, transformers), TensorBoard event files
        (extra ``tensorboard``), a chart's CSV or a history's Parquet or JSONL (W&B), a database or file store (MLflow),
        JSONL (verl), or any CSV, Parquet or JSONL with a row per log call.
    format : str
        ``"auto"`` looks; else one of ``goldpeak.io.readers.FORMATS``.
    kl, gold, proxy, length : str, optional
        Keys of the KL from the initial policy, of the gold and proxy rewards, and of the mean response length in
        tokens (or a number). KL, proxy and length may be left out where the framework is known
        (``goldpeak.io.keys.KL_KEYS``); gold where the key is ``gold``.
    kl_unit : str, optional
        Unit of the KL as logged, one of ``goldpeak.io.keys.UNITS``.
    rm_params : float, optional
        Parameters of the proxy reward model; needed unless a column holds it.
    run : str, optional
        Name of the run; where the log holds several, the one to read.
    columns : mapping, optional
        Which columns of a table hold ``step``, ``run`` or ``rm_params``.
    drop_unmatched : bool
        Leave out gold that has no KL nearby, instead of refusing.

    Returns
    -------
    xarray.Dataset
        As `read_runs` gives it; point variable ``kl_interpolated`` is 1 where KL was interpolated between neighbouring
        steps. ``attrs["readings"]`` says, a line per run, what was read and done.

    Raises
    ------
    RunsError
        If the log cannot be read, a key is not there or not known (candidates are listed), KL was not measured, the
        reference policy moved, or `columns` names anything else.

    Warns
    -----
    RunsWarning
        For everything dropped, approximated or interpolated.

    Examples
    --------
    >>> import json, pathlib, tempfile
    >>> row = {"completions/mean_length": 50.0, "rewards/gold/mean": 1.0}
    >>> history = [row | {"step": step, "kl": 0.01 * step} for step in range(5)]
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     state = pathlib.Path(folder, "trainer_state.json")
    ...     _ = state.write_text(json.dumps({"log_history": history}))
    ...     runs = read_log(state, gold="rewards/gold/mean", rm_params=1e6, run="a")
    >>> runs["kl"].values.tolist(), runs["kl"].attrs["units"]
    ([0.5, 1.0, 1.5, 2.0], 'nat')
    """
    wrong = [f"columns names {role!r}; allowed: {', '.join(PLACED)}" for role in columns or {} if role not in PLACED]
    if wrong:
        raise RunsError(os.fspath(path), wrong)
    asked = Asked(kl, gold, proxy, length, kl_unit)
    source = Source(path, format, asked, rm_params, run, columns or {})
    return convert([source], drop_unmatched=drop_unmatched).runs


def convert(sources: Sequence[Source], *, drop_unmatched: bool = False) -> Converted:
    """Read many logs as one table of run curves.

    Logs of the same run (charts of several metrics that name it; sources that are given the same name) are put
    together, in the order of the sources.

    Raises
    ------
    RunsError
        With the problems of all sources.

    Warns
    -----
    RunsWarning
        As `read_log`.
    """
    title = os.fspath(sources[0].path) if len(sources) == 1 else f"{len(sources)} logs"
    parts, problems = _collect(sources)
    frames, readings = [], []
    wrong: dict[str, list[str]] = {}
    for logs, source in parts:
        found = _one(joined(logs), source, drop_unmatched)
        for text in found.problems:
            wrong.setdefault(text, []).append(logs[0].source if len(sources) > 1 else f"run {logs[0].run!r}")
        if not found.problems:
            frames.append(found.frame)
            readings.append(found.reading)
    problems += [
        text if len(parts) == 1 else f"{listed(list(dict.fromkeys(labels)))}: {text}" for text, labels in wrong.items()
    ]
    if problems:
        raise RunsError(title, _shortened(problems))
    table = _table(frames)
    for notice in notices(readings):
        warnings.warn(f"{title}: {notice}", RunsWarning, stacklevel=3)
    runs = _validated(table, title)
    runs.attrs["readings"] = "\n".join(map(_line, readings))
    return Converted(table, runs, tuple(readings))


def _shortened(problems: list[str]) -> list[str]:
    """All problems; of thousands, the first and how many more there are."""
    more = len(problems) - MOST_PROBLEMS
    return problems if more <= 0 else [*problems[:MOST_PROBLEMS], f"and {more} more problems"]


def _collect(sources: Sequence[Source]) -> tuple[list[tuple[list[Log], Source]], list[str]]:
    """The logs of each run with the source that describes it, and what could not be read."""
    if not sources:
        return [], ["no log is given"]
    found: dict[object, tuple[list[Log], Source]] = {}
    problems: list[str] = []
    for i, source in enumerate(sources):
        try:
            logs = _picked(read_logs(source.path, source.format, _roles(source)), source)
        except RunsError as error:
            problems += [f"{error.source}: {text}" if len(sources) > 1 else text for text in error.problems]
            continue
        for j, log in enumerate(logs):
            parts, first = found.setdefault(log.run if log.named else (i, j), ([], source))
            parts.append(log)
            problems += _contradictions(log.run, first, source)
    return _told_apart(list(found.values())), problems


def _contradictions(run: str, one: Source, other: Source) -> list[str]:
    """What two sources of one run say differently of it."""
    names = {"rm_params": "rm_params", "covariates": "covariates", "asked": "keys or kl_unit"}
    paths = f"{os.fspath(one.path)} and {os.fspath(other.path)}"
    return [
        f"{paths} are parts of one run, {run!r}, and have different {said}; allowed: the same, or runs of other names"
        for name, said in names.items()
        if getattr(one, name) != getattr(other, name)
    ]


def _roles(source: Source) -> dict[str, str]:
    return {role: name for role, name in source.columns.items() if role in PLACED}


def _picked(logs: list[Log], source: Source) -> list[Log]:
    if source.run is None:
        return logs
    if len(logs) == 1:
        return [logs[0].called(source.run)]
    chosen = [log for log in logs if log.run == source.run]
    if not chosen:
        raise RunsError(
            os.fspath(source.path), [f"no run {source.run!r}; runs there are: {quoted(x.run for x in logs)}"]
        )
    return chosen


def _told_apart(parts: list[tuple[list[Log], Source]]) -> list[tuple[list[Log], Source]]:
    """Names made of paths get more of the path where they are the same."""
    names = [logs[0].run for logs, _ in parts]
    twice = {name for name in names if names.count(name) > 1} if len(set(names)) < len(names) else set()
    return [
        ([log.called(_longer(log), named=False) for log in logs] if logs[0].run in twice else logs, source)
        for logs, source in parts
    ]


def _longer(log: Log) -> str:
    return log.run if log.named else Path(os.path.normpath(log.source)).as_posix()


@dataclass(frozen=True)
class _Found:
    frame: dict[str, object]
    reading: Reading
    problems: tuple[str, ...]


def _one(log: Log, source: Source, drop_unmatched: bool) -> _Found:
    """One run: keys chosen, numbers loaded, points joined."""
    chosen, problems = choose(log.keys, source.asked)
    nothing = Reading(log.run, log.source, log.format, "", "", "", "", None, "", None, 0, 0)
    size, more = _size(log, source)
    if chosen is None:
        return _Found({}, nothing, (*problems, *more))
    try:
        points = join(log.load(tuple(chosen.keys)), chosen, drop_unmatched=drop_unmatched)
    except RunsError as error:
        return _Found({}, nothing, (*error.problems, *more))
    settings, moved = _settings(log, chosen)
    columns = {"run": log.run, "rm_params": size, "method": "rl", **points.columns, **source.covariates}
    reading = _reading(log, chosen, points, settings)
    return _Found(columns, reading, (*points.problems, *more, *moved))


def _size(log: Log, source: Source) -> tuple[float | None, list[str]]:
    """The reward model's size of a run, or why it is not known."""
    if isinstance(source.rm_params, Pattern):
        size = source.rm_params.size(log.run) or source.rm_params.size(Path(source.path).as_posix())
        text = f"--rm-params-from {source.rm_params.text!r} finds no size, or several, in run {log.run!r} and its path"
        return size, [] if size else [text]
    if source.rm_params is not None:
        return source.rm_params, []
    if "rm_params" not in source.columns:
        return None, [f"the size of the reward model of run {log.run!r} is not known: give --rm-params N"]
    key = source.columns["rm_params"]
    try:
        values = np.unique(log.load((key,))[key].values)
    except RunsError as error:
        return None, list(error.problems)
    if len(values) != 1:
        return None, [f"column {key!r} holds {len(values)} numbers in run {log.run!r}; allowed: one size, as a number"]
    return float(values[0]), []


def _settings(log: Log, chosen: Chosen) -> tuple[list[Note], list[str]]:
    """What the settings in a log mean for its KL: something to keep in mind, or something that stands against it."""
    notes = [Note("dropped" if repair == CUT_OFF else "conversion", repair) for repair in log.repairs]
    moving = [name for name, values in MOVING.items() if _is_moving(log.settings.get(name), values)]
    temperature = number(log.settings.get("temperature"))
    if temperature is not None and temperature != 1:
        text = f"sampling temperature {temperature:g}: the KL measured is not that of the policy at temperature 1"
        notes.append(Note("notice", text))
    if chosen.averaged and (number(log.settings.get("logging_steps")) or 1) > 1:
        text = "kl is approximate: KL per token and length are averages over logging_steps steps each; their product "
        notes.append(Note("notice", text + "lacks how they vary together between steps"))
    if not moving:
        return notes, []
    text = f"the reference policy moved ({', '.join(moving)}): this is not the KL from the initial policy"
    if chosen.entry is None:
        return [*notes, Note("notice", f"{text}, unless {chosen.kl!r} is measured from it")], []
    return notes, [f"{text}; allowed: a key of your own that is (--kl, --kl-unit)"]


def _is_moving(value: str | None, values: Sequence[str]) -> bool:
    if value is None:
        return False
    text = value.strip().lower()
    return text in values if values else text not in ("", "none", "null", "0", "false", "-1")


def _reading(log: Log, chosen: Chosen, points: Points, settings: list[Note]) -> Reading:
    estimator = chosen.entry.estimator if chosen.entry else "not known"
    if points.negative and "k1" in estimator:
        estimator = "k1 (averages below 0 were logged)"
    interpolated = int(np.sum(points.columns.get("kl_interpolated", 0)))
    return Reading(
        log.run,
        log.source,
        log.format,
        chosen.entry.framework if chosen.entry else "not known",
        chosen.kl,
        chosen.unit,
        estimator,
        None if chosen.length is None else str(chosen.length),
        chosen.gold,
        chosen.proxy,
        len(points.columns.get("step", ())),
        interpolated,
        (*settings, *chosen.notes, *points.notes),
    )


def _table(frames: Sequence[Mapping[str, object]]) -> pd.DataFrame:
    """Runs one below the other; columns that say nothing are left out."""
    counts = [len(np.atleast_1d(frame["step"])) for frame in frames]  # type: ignore[call-overload]
    names = list(dict.fromkeys(name for frame in frames for name in frame))
    columns = {}
    for name in names:
        cells = [frame.get(name, np.nan) for frame in frames]
        whole = [
            np.broadcast_to(np.asarray(cell, dtype=object if isinstance(cell, str) else None), n)
            for cell, n in zip(cells, counts, strict=True)
        ]
        columns[name] = np.concatenate(whole)
    table = pd.DataFrame(columns)
    return table if table["kl_interpolated"].any() else table.drop(columns="kl_interpolated")


def _validated(table: pd.DataFrame, title: str) -> xr.Dataset:
    """`read_runs` of the table, its messages under the name of the logs."""
    steps = table["step"].map("{:g}".format)
    labelled = table.set_axis(table["run"].astype(str) + " at step " + steps, axis=0)
    try:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            runs = read_runs(labelled)
    except RunsError as error:
        raise RunsError(title, error.problems) from error
    for warning in said:
        text = str(warning.message).removeprefix("DataFrame: ")
        warnings.warn(f"{title}: {text}", warning.category, stacklevel=4)
    runs.attrs["source"] = title
    return runs


def _line(reading: Reading) -> str:
    keys = f"kl {reading.kl} ({reading.kl_unit}, {reading.estimator}), gold {reading.gold}"
    notes = "".join(f"; {note}" for note in reading.notes)
    return f"{reading.run}: {reading.source} ({reading.format}, {reading.framework}): {keys}{notes}"

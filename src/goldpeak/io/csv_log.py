"""CSV logs, read a stretch at a time: W&B's chart exports, and anyone's own tables."""

from __future__ import annotations

import csv
import io
import warnings
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import pandas as pd

from goldpeak.errors import RunsError
from goldpeak.io.cells import Cells, Columns, chained, logs_of
from goldpeak.io.log import LARGEST, Log, Roles, clean, parsing

__all__ = ["chart_runs", "csv_columns", "header_of", "read_chart", "read_csv_log"]

CHUNK = 100_000
HEADER_BYTES = 16 * 2**20
BETWEEN = " - "
CHART_STEPS = ("Step", "train/global_step", "_step", "global_step")
EXTREMES = ("__MIN", "__MAX")


def read_csv_log(path: Path, source: str, run: str, roles: Roles) -> list[Log]:
    """Read a CSV table with a row per log call.

    Raises
    ------
    RunsError
        If it is not comma-separated text in UTF-8 with distinct column names.
    """
    return logs_of(csv_columns(path, source), source, "csv", run, roles)


def read_chart(path: Path, source: str, run: str, roles: Roles) -> list[Log]:
    """Read the CSV that W&B exports from a chart: a column ``<run> - <metric>`` for every run and metric.

    Runs carry their names, so that charts of several metrics can be put together.

    Raises
    ------
    RunsError
        As `read_csv_log`; also if no column has such a name.
    """
    table = csv_columns(path, source)
    step = roles.get("step") or next((name for name in CHART_STEPS if name in table.names), None)
    runs = chart_runs(table.names)
    if step is None or not runs:
        raise RunsError(source, ["is no chart exported from W&B: no column 'Step', or none named '<run> - <metric>'"])
    logs = []
    for name, metrics in runs.items():
        part = _renamed(table, metrics | {"step": step})
        others = {role: column for role, column in roles.items() if role not in ("step", "run")}
        logs += [log.called(clean(name)) for log in logs_of(part, source, "wandb", run, others | {"step": "step"})]
    return logs


def chart_runs(names: Sequence[str]) -> dict[str, dict[str, str]]:
    """Runs in the header of a chart: run to metric to column. A run's name may hold `` - `` itself; a metric's not.

    Examples
    --------
    >>> chart_runs(["Step", "rm - 3M - train/kl", "rm - 3M - train/kl__MIN"])
    {'rm - 3M': {'train/kl': 'rm - 3M - train/kl'}}
    """
    runs: dict[str, dict[str, str]] = {}
    for name in names:
        run, mark, metric = name.rpartition(BETWEEN)
        if mark and run.strip() and not metric.endswith(EXTREMES):
            runs.setdefault(run.strip(), {})[metric.strip()] = name
    return runs


def _renamed(table: Columns, names: dict[str, str]) -> Columns:
    def numbers(asked: Sequence[str]) -> dict[str, Cells]:
        found = table.numbers([names[name] for name in asked])
        return {name: found[names[name]] for name in asked}

    return Columns(tuple(names), numbers, table.words)


def header_of(path: Path, source: str) -> tuple[list[str], int]:
    """Column names, and how many lines of the file the header ends after.

    Raises
    ------
    RunsError
    """
    with parsing(source, "CSV"), path.open("rb") as file:
        head = file.read(HEADER_BYTES)
        if b"\0" in head:
            raise RunsError(source, ["is not a text file (it holds zero bytes); allowed: CSV in UTF-8"])
        # The end of the piece may cut a character in two; only the first line is wanted.
        text = head.decode("utf-8-sig", "strict" if len(head) < HEADER_BYTES else "ignore")
        reader = csv.reader(io.StringIO(text, newline=""))
        names = next((row for row in islice(reader, 1000) if any(cell.strip() for cell in row)), [])
    names = [name.strip() for name in names]
    if len(names) < 2:
        raise RunsError(source, ["holds no header of names separated by commas; allowed: CSV in UTF-8"])
    twice = sorted({name for name in names if name and names.count(name) > 1}) if len(set(names)) < len(names) else []
    if twice:
        raise RunsError(source, [f"column names that occur more than once: {', '.join(map(repr, twice[:5]))}"])
    return names, reader.line_num


def csv_columns(path: Path, source: str) -> Columns:
    """The columns of a CSV file, which is gone through in stretches of 100,000 rows whenever some are wanted."""
    names, first = header_of(path, source)
    place = {name: i for i, name in enumerate(names) if name}

    def chunks(asked: Sequence[str]) -> Iterator[tuple[int, pd.DataFrame]]:
        used = sorted({place[name] for name in asked})
        with parsing(source, "CSV"), warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            with pd.read_csv(
                path,
                header=None,
                names=range(len(names)),
                usecols=used,
                skiprows=first,
                dtype=str,
                na_filter=False,
                index_col=False,
                chunksize=CHUNK,
                encoding="utf-8-sig" if first == 0 else "utf-8",
            ) as reader:
                row = 0
                for chunk in reader:
                    yield row, chunk
                    row += len(chunk)

    def numbers(asked: Sequence[str]) -> dict[str, Cells]:
        parts: dict[str, list[Cells]] = {name: [] for name in asked}
        for row, chunk in chunks(asked) if asked else ():
            for name in asked:
                parts[name].append(_floats(chunk[place[name]], row, name, source))
        return {name: chained(cells, float) for name, cells in parts.items()}

    def words(asked: str) -> Cells:
        cells = []
        for row, chunk in chunks([asked]):
            text = chunk[place[asked]].str.strip()
            filled = np.flatnonzero((text != "").to_numpy(dtype=bool))
            cells.append(Cells(row + filled, text.to_numpy(dtype=object)[filled]))
        return chained(cells, object)

    return Columns(tuple(place), numbers, words)


def _floats(column: pd.Series, first: int, name: str, source: str) -> Cells:
    text = column.str.strip()
    filled = np.flatnonzero((text != "").to_numpy(dtype=bool))
    text = text.iloc[filled]
    values = pd.to_numeric(text, errors="coerce").to_numpy(dtype=float)
    wrong = np.isnan(values) & ~text.str.lower().isin(["nan", "null", "none", "na"]).to_numpy(dtype=bool)
    if wrong.any():
        found = ascii(text.iloc[int(np.argmax(wrong))][:40])
        where = first + int(filled[np.argmax(wrong)]) + 1
        raise RunsError(source, [f"column {name!r} holds {found} in row {where} below the header; allowed: numbers"])
    values[np.abs(values) > LARGEST] = np.inf
    return Cells(first + filled, values)

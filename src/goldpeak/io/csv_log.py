"""CSV logs, read a stretch at a time: W&B's chart exports, and anyone's own tables."""

from __future__ import annotations

import csv
import functools
import io
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from goldpeak.errors import RunsError
from goldpeak.io.cells import Cells, Columns, chained, logs_of
from goldpeak.io.log import CUT_OFF, Log, Roles, clean, number, parsing, uncapped
from goldpeak.io.tables import refuse_duplicates

__all__ = ["chart_runs", "header_of", "read_chart", "read_csv_log"]

BLOCK = 4 * 2**20
"""Bytes of a file that are parsed at a time; no row may be longer."""
HEADER_BYTES = 16 * 2**20
LAST_BYTES = 2**20
BETWEEN = " - "
CHART_STEPS = ("Step", "train/global_step", "_step", "global_step")
EXTREMES = ("__MIN", "__MAX")

type Converter = Callable[[Any, np.ndarray, str], np.ndarray]


def read_csv_log(path: Path, source: str, run: str, roles: Roles) -> list[Log]:
    """Read a CSV table with a row per log call.

    Raises
    ------
    RunsError
        If it is not comma-separated text in UTF-8 with distinct column names.
    """
    columns, repairs = _csv_columns(path, source)
    return logs_of(columns, source, "csv", run, roles, repairs=repairs)


def read_chart(path: Path, source: str, run: str, roles: Roles) -> list[Log]:
    """Read the CSV that W&B exports from a chart: a column ``<run> - <metric>`` for every run and metric.

    Runs carry their names, so that charts of several metrics can be put together.

    Raises
    ------
    RunsError
        As `read_csv_log`; also if no column has such a name.
    """
    table, repairs = _csv_columns(path, source)
    step = roles.get("step") or next((name for name in CHART_STEPS if name in table.names), None)
    runs = chart_runs(table.names)
    if step is None or not runs:
        raise RunsError(source, ["is no chart exported from W&B: no column 'Step', or none named '<run> - <metric>'"])
    logs = []
    for name, metrics in runs.items():
        part = _renamed(table, metrics | {"step": step})
        others = {role: column for role, column in roles.items() if role not in ("step", "run")}
        found = logs_of(part, source, "wandb", run, others | {"step": "step"}, repairs=repairs)
        logs += [log.called(clean(name)) for log in found]
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
        If it is not UTF-8, has fewer than two names, or one name twice.
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
    refuse_duplicates(source, [name for name in names if name])
    return names, reader.line_num


def _csv_columns(path: Path, source: str) -> tuple[Columns, tuple[str, ...]]:
    """The columns of a CSV file, which is gone through a few megabytes at a time whenever some are wanted, and repairs.

    A last row that is cut off (fewer cells than the header has names) is left out; any other is refused.
    """
    names, first = header_of(path, source)
    cut_off = _cut_off(path, len(names))

    def gathered(asked: Sequence[str], convert: Converter, dtype: type) -> dict[str, Cells]:
        parts: dict[str, list[Cells]] = {name: [] for name in asked}
        for row, batch in _batches(path, source, names, first, cut_off, asked) if asked else ():
            for name in asked:
                cells, place = _filled(batch.column(name))
                parts[name].append(Cells(row + place, convert(cells, row + place, name)))
        return {name: chained(cells, dtype) for name, cells in parts.items()}

    def floats(cells: Any, rows: np.ndarray, name: str) -> np.ndarray:
        return _floats(cells, rows, name, source)

    def words(asked: str) -> Cells:
        return gathered([asked], lambda cells, *_: np.array(cells.to_pylist(), dtype=object), object)[asked]

    used = tuple(name for name in names if name)
    repairs = () if cut_off is None else (CUT_OFF,)
    return Columns(used, lambda asked: gathered(asked, floats, float), words), repairs


def _batches(
    path: Path, source: str, names: Sequence[str], first: int, cut_off: str | None, asked: Sequence[str]
) -> Iterator[tuple[int, Any]]:
    """Stretches of the asked columns as text, with the number of the first row."""
    import pyarrow as pa
    import pyarrow.csv as pc

    # Columns without a name get one that no file has.
    labels = [name or f"\0{i}" for i, name in enumerate(names)]
    skipped: list[str] = []

    def judge(row: Any) -> str:
        if skipped or row.text != cut_off:
            return "error"
        skipped.append(row.text)
        return "skip"

    with parsing(source, "CSV"):
        reader = pc.open_csv(
            path,
            read_options=pc.ReadOptions(column_names=labels, skip_rows=first, block_size=BLOCK, use_threads=False),
            parse_options=pc.ParseOptions(newlines_in_values=True, invalid_row_handler=judge),
            convert_options=pc.ConvertOptions(
                include_columns=list(asked), column_types=dict.fromkeys(asked, pa.string()), strings_can_be_null=False
            ),
        )
        row = 0
        for batch in reader:
            yield row, batch
            row += batch.num_rows


def _cut_off(path: Path, width: int) -> str | None:
    """The last row of a file, if it does not end in a line end and has too few cells."""
    with path.open("rb") as file:
        size = file.seek(0, io.SEEK_END)
        file.seek(max(0, size - LAST_BYTES))
        tail = file.read()
    last = tail[max(tail.rfind(b"\n"), tail.rfind(b"\r")) + 1 :].decode("utf-8", "replace")
    return last if last and len(next(csv.reader([last]), [])) < width else None


def _filled(column: Any) -> tuple[Any, np.ndarray]:
    """The cells that hold something, stripped, and where they are."""
    import pyarrow.compute as pc

    text = pc.utf8_trim_whitespace(column)
    filled = pc.invert(pc.is_in(text, value_set=_empty_words()))
    return text.filter(filled), np.flatnonzero(filled.to_numpy(zero_copy_only=False))


@functools.cache
def _empty_words() -> Any:
    import pyarrow as pa

    return pa.array(["", "null", "None", "NA", "<NA>"])


def _floats(cells: Any, rows: np.ndarray, name: str, source: str) -> np.ndarray:
    import pyarrow as pa

    try:
        values = cells.cast(pa.float64()).to_numpy(zero_copy_only=False)
    except pa.ArrowInvalid:
        found = [number(cell) for cell in cells.to_pylist()]
        if None in found:
            wrong = found.index(None)
            text = f"column {name!r} holds {cells[wrong].as_py()[:40]!a} in row {rows[wrong] + 1} below the header"
            raise RunsError(source, [f"{text}; allowed: numbers"]) from None
        values = np.array(found, dtype=float)
    return uncapped(values)

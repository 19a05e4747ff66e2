"""Long tables from disk, a piece at a time: CSV, Parquet and JSON lines of any length in bounded memory.

As in `tables`, nothing is converted: a CSV cell stays the text that is in the file.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from goldpeak.errors import RunsError
from goldpeak.io.tables import FRAME_ROWS, PARQUET_ROWS, from_frame, refuse_duplicates
from goldpeak.names import column_of

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Batches", "open_batches"]

CSV_ROWS = "rows are counted from 1 below the header, blank lines not counted"
_ROWS = 1 << 18
_BYTES = 1 << 24
_BUFFER = 1 << 20
_FIRST_LINE = 1 << 24

type Pieces = Iterator[pd.DataFrame]


@dataclass(frozen=True)
class Batches:
    """A table that can be read through, more than once.

    Attributes
    ----------
    name : str
        The file as the caller named it, or ``"DataFrame"``.
    columns : tuple of str
        Stripped names.
    rows_are : str
        What the index of a piece counts, in words.
    read : callable
        Takes some of the columns and gives the table piece by piece as DataFrames of those.
    """

    name: str
    columns: tuple[str, ...]
    rows_are: str
    read: Callable[[Sequence[str]], Pieces]


def open_batches(source: str | os.PathLike[str] | pd.DataFrame) -> Batches:
    """Open a ``.csv``, ``.parquet``, ``.jsonl`` or ``.ndjson`` file, or wrap a DataFrame.

    Parameters
    ----------
    source : path or pandas.DataFrame
        CSV and JSON lines: UTF-8. JSON lines: the first line names the columns.

    Raises
    ------
    RunsError
        If there is no such file, its name has another ending, or its first rows do not hold one table with distinct
        columns. Reading on may raise it too, where later rows do not.

    Examples
    --------
    >>> pieces = open_batches(pd.DataFrame({" gold ": [0.5, 1.0]}))
    >>> [piece["gold"].tolist() for piece in pieces.read(["gold"])]
    [[0.5, 1.0]]
    """
    if isinstance(source, pd.DataFrame):
        return _of_frame(source)
    if not isinstance(source, str | os.PathLike):
        raise TypeError(f"samples are read from a path or a DataFrame, not {type(source)}")
    name, path = os.fspath(source), Path(source)
    openers = {".csv": _open_csv, ".parquet": _open_parquet, ".jsonl": _open_json, ".ndjson": _open_json}
    if path.is_dir() or not path.is_file():
        raise RunsError(name, ["is a directory; allowed: a file" if path.is_dir() else "no such file"])
    opener = openers.get(path.suffix.lower())
    if opener is None:
        raise RunsError(name, [f"the file name ends in '{path.suffix}'; allowed: {', '.join(openers)}"])
    if path.stat().st_size == 0:
        raise RunsError(name, ["the file is empty"])
    with _told(name):
        return opener(name, path)


@contextmanager
def _told(name: str) -> Iterator[None]:
    """Turn what pyarrow and the system say into this package's error."""
    import pyarrow as pa

    try:
        yield
    except OSError as error:
        raise RunsError(name, [f"cannot be read: {error.strerror or error}"]) from error
    except (pa.ArrowException, ValueError) as error:
        # Arrow counts rows within its own blocks, which would mislead.
        text = re.sub(r" in row \d+|, row #\d+| #\d+", "", str(error).splitlines()[0])
        raise RunsError(name, [f"cannot be read as a table: {text}"]) from error


def _raw_names(name: str, columns: Sequence[str]) -> dict[str, str]:
    """Names in the file by stripped name."""
    stripped = [column.strip() for column in columns]
    refuse_duplicates(name, stripped)
    return dict(zip(stripped, columns, strict=True))


def _of_frame(frame: pd.DataFrame) -> Batches:
    table = from_frame(frame)

    def read(columns: Sequence[str]) -> Pieces:
        for start in range(0, len(table.frame), _ROWS):
            rows = slice(start, start + _ROWS)
            yield table.frame.loc[:, list(columns)].iloc[rows].set_axis(table.rows[rows], axis="index")

    return Batches(table.name, tuple(table.frame.columns), FRAME_ROWS, read)


def _from_arrow(
    name: str, raw: dict[str, str], rows_are: str, batches: Callable[[list[str]], Iterator[pa.RecordBatch]]
) -> Batches:
    def read(columns: Sequence[str]) -> Pieces:
        start = 1
        with _told(name):
            for batch in batches([raw[column] for column in columns]):
                piece = batch.to_pandas().set_axis(list(columns), axis="columns")
                yield piece.set_axis(pd.RangeIndex(start, start + len(piece)), axis="index")
                start += len(piece)

    return Batches(name, tuple(raw), rows_are, read)


def _open_parquet(name: str, path: Path) -> Batches:
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        raw = _raw_names(name, file.schema_arrow.names)

    def batches(columns: list[str]) -> Iterator[pa.RecordBatch]:
        # Otherwise all row groups, or a large one, are held until the last batch.
        with pq.ParquetFile(path, pre_buffer=False, buffer_size=_BUFFER) as file:
            for batch in file.iter_batches(_ROWS, columns=columns):
                yield batch.select(columns)

    return _from_arrow(name, raw, PARQUET_ROWS, batches)


def _open_csv(name: str, path: Path) -> Batches:
    import pyarrow as pa
    from pyarrow import csv

    def reader(**options: Any) -> csv.CSVStreamingReader:
        return csv.open_csv(
            path,
            read_options=csv.ReadOptions(block_size=_BYTES),
            parse_options=csv.ParseOptions(newlines_in_values=True),
            convert_options=csv.ConvertOptions(strings_can_be_null=False, **options),
        )

    with reader() as file:
        raw = _raw_names(name, file.schema.names)

    def batches(columns: list[str]) -> Iterator[pa.RecordBatch]:
        with reader(include_columns=columns, column_types=dict.fromkeys(columns, pa.string())) as file:
            yield from file

    return _from_arrow(name, raw, CSV_ROWS, batches)


def _open_json(name: str, path: Path) -> Batches:
    import pyarrow as pa
    from pyarrow import json as arrow_json

    first = _first_row(path)
    raw = _raw_names(name, list(first))

    def batches(columns: list[str]) -> Iterator[pa.RecordBatch]:
        schema = pa.schema([(column, _arrow_type(column, first[column])) for column in columns])
        options = arrow_json.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore")
        settings = arrow_json.ReadOptions(block_size=_BYTES)
        with arrow_json.open_json(path, read_options=settings, parse_options=options) as file:
            yield from file

    return _from_arrow(name, raw, PARQUET_ROWS, batches)


def _first_row(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        line = next((line for line in iter(lambda: file.readline(_FIRST_LINE), b"") if line.strip()), b"")
    row = json.loads(line.decode("utf-8-sig"))
    if not isinstance(row, dict):
        raise ValueError("its first line is not a JSON object; allowed: one object per line, its keys the columns")
    return row


def _arrow_type(column: str, value: object) -> pa.DataType:
    """Of a whole column, by its name and first value: a first whole number does not make all rewards whole."""
    import pyarrow as pa

    if not isinstance(value, int | float) or isinstance(value, bool):
        return pa.string()
    known = column_of(column.strip())
    return pa.int64() if known and known.kind == "text" and isinstance(value, int) else pa.float64()

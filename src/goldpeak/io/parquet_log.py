"""Parquet logs: W&B's history export, and anyone's own tables, read a row group at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from goldpeak.io.cells import Cells, Columns, chained, logs_of
from goldpeak.io.log import Log, Roles, number, parsing, uncapped

__all__ = ["read_parquet_log"]


def read_parquet_log(path: Path, source: str, run: str, roles: Roles) -> list[Log]:
    """Read a Parquet table with a row per log call; columns that hold neither numbers nor text are passed over.

    Raises
    ------
    RunsError
        If it is no Parquet file that pyarrow reads.
    """
    return logs_of(_columns(path, source), source, "parquet", run, roles)


def _columns(path: Path, source: str) -> Columns:
    import pyarrow.parquet as pq
    import pyarrow.types as types

    def usable(kind: Any) -> bool:
        text = types.is_string(kind) or types.is_large_string(kind)
        return bool(text or types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind))

    with parsing(source, "Parquet"), pq.ParquetFile(path) as file:
        names = tuple(field.name for field in file.schema_arrow if usable(field.type))

    def pieces(asked: Sequence[str]) -> Iterator[tuple[int, Any]]:
        with parsing(source, "Parquet"), pq.ParquetFile(path) as file:
            row = 0
            for batch in file.iter_batches(columns=list(asked)):
                yield row, batch
                row += batch.num_rows

    def gathered(asked: Sequence[str], convert: Any, dtype: type) -> dict[str, Cells]:
        parts: dict[str, list[Cells]] = {name: [] for name in asked}
        for row, batch in pieces(asked) if asked else ():
            for name in asked:
                rows, values = convert(batch.column(name))
                parts[name].append(Cells(row + rows, values))
        return {name: chained(cells, dtype) for name, cells in parts.items()}

    def words(asked: str) -> Cells:
        return gathered([asked], _words, object)[asked]

    return Columns(names, lambda asked: gathered(asked, _numbers, float), words)


def _numbers(column: Any) -> tuple[np.ndarray, np.ndarray]:
    if column.type in ("string", "large_string") or str(column.type).startswith("decimal"):
        cells = [number(cell if isinstance(cell, str) or cell is None else float(cell)) for cell in column.to_pylist()]
        rows = np.array([i for i, cell in enumerate(cells) if cell is not None], dtype=np.int64)
        return rows, np.array([cell for cell in cells if cell is not None], dtype=float)
    rows = np.flatnonzero(column.is_valid().to_numpy(zero_copy_only=False))
    values = column.to_numpy(zero_copy_only=False)[rows].astype(float)
    return rows, uncapped(values)


def _words(column: Any) -> tuple[np.ndarray, np.ndarray]:
    cells = [(i, str(cell)) for i, cell in enumerate(column.to_pylist()) if cell is not None]
    return np.array([i for i, _ in cells], dtype=np.int64), np.array([word for _, word in cells], dtype=object)

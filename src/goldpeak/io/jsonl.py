"""JSON, one object a line: W&B histories, verl's file logger, and anyone's own; and TRL's list of such objects.

Lines are read one at a time, twice (which keys there are; the values of those that are wanted), so that memory holds
only what was asked for.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from goldpeak.errors import RunsError
from goldpeak.io.cells import Cells, Columns, logs_of
from goldpeak.io.log import CUT_OFF, Log, Roles, number, parsing, quoted

__all__ = ["is_verl", "read_jsonl", "read_verl", "record_columns"]

LONGEST_LINE = 16 * 2**20
"""Bytes in a line; more is no log line."""

type Records = Callable[[], Iterable[Mapping[str, Any]]]


def read_jsonl(path: Path, source: str, run: str, roles: Roles) -> list[Log]:
    """Read one JSON object a line: a W&B history, or any log of that kind.

    A last line that is cut off (the run was killed while it wrote) is left out, and said so.

    Raises
    ------
    RunsError
        If a line is not a JSON object in UTF-8; names the line.
    """
    return _read(path, source, "jsonl", run, roles, lambda record: record)


def read_verl(path: Path, source: str, run: str, roles: Roles) -> list[Log]:
    """Read what verl's ``file`` logger writes: ``{"step": n, "data": {...}}`` a line.

    Raises
    ------
    RunsError
        As `read_jsonl`; also if a line has no ``data``.
    """
    return _read(path, source, "verl", run, roles, _unwrapped)


def is_verl(record: Mapping[str, Any]) -> bool:
    """Whether this is a line of verl's file logger."""
    return isinstance(record.get("data"), dict) and "step" in record


def _unwrapped(record: Mapping[str, Any]) -> Mapping[str, Any]:
    if not is_verl(record):
        raise ValueError(f"a line without 'step' and 'data', but {quoted(record)}")
    return {**record["data"], "step": record["step"]}


def _read(
    path: Path, source: str, kind: str, run: str, roles: Roles, change: Callable[[Mapping[str, Any]], Mapping[str, Any]]
) -> list[Log]:
    repairs: list[str] = []

    def records() -> Iterator[Mapping[str, Any]]:
        with parsing(source, "JSON lines"):
            for record in _lines(path, source, repairs):
                yield change(record)

    return logs_of(record_columns(records), source, kind, run, roles, repairs=tuple(dict.fromkeys(repairs)))


def _lines(path: Path, source: str, repairs: list[str]) -> Iterator[dict[str, Any]]:
    """The objects of a file, one line at a time; blank lines are skipped."""
    broken, whole = "", True
    with path.open("rb") as file:
        for i, line in enumerate(iter(lambda: file.readline(LONGEST_LINE), b""), 1):
            if broken:
                raise RunsError(source, [broken])
            try:
                record = json.loads(line.decode("utf-8-sig" if i == 1 else "utf-8")) if line.strip() else {}
            except (ValueError, RecursionError) as error:
                said = ascii(str(error)[:120])[1:-1]
                broken = f"line {i} is not JSON in UTF-8 ({said}); allowed: one object a line"
                whole = i == 1 or line[-1:] == b"\n"
                continue
            if not isinstance(record, dict):
                raise RunsError(source, [f"line {i} holds no JSON object; allowed: one object a line"])
            if record:
                yield record
    if broken and whole:
        raise RunsError(source, [broken])
    if broken:
        repairs.append(CUT_OFF)


def record_columns(records: Records) -> Columns:
    """Columns of records that can be gone through again and again: every key that ever holds a number or text."""
    names: dict[str, None] = {}
    for record in records():
        for key, value in record.items():
            if key not in names and (number(value) is not None or isinstance(value, str)):
                names[key] = None

    def numbers(asked: Sequence[str]) -> dict[str, Cells]:
        rows = {key: array("q") for key in asked}
        values = {key: array("d") for key in asked}
        for i, record in enumerate(records()):
            for key in rows.keys() & record.keys():
                value = number(record[key])
                if value is not None:
                    rows[key].append(i)
                    values[key].append(value)
        return {key: Cells(np.array(rows[key], dtype=np.int64), np.array(values[key], dtype=float)) for key in asked}

    def words(asked: str) -> Cells:
        found = [(i, str(record[asked])) for i, record in enumerate(records()) if record.get(asked) is not None]
        return Cells(np.array([i for i, _ in found], dtype=np.int64), np.array([w for _, w in found], dtype=object))

    return Columns(tuple(names), numbers, words)

"""Which reader a log needs: told, or found by looking at it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

from goldpeak.errors import RunsError
from goldpeak.io.csv_log import chart_runs, header_of, read_chart, read_csv_log
from goldpeak.io.jsonl import is_verl, read_jsonl, read_verl
from goldpeak.io.log import Log, Roles, clean, parsing
from goldpeak.io.mlflow_db import MAGIC, read_mlflow_db
from goldpeak.io.mlflow_files import read_mlflow_files, runs_below
from goldpeak.io.parquet_log import read_parquet_log
from goldpeak.io.tensorboard import EVENTS, folders_with_events, read_tensorboard
from goldpeak.io.trl import CHECKPOINT, STATE, read_trl, state_in

__all__ = ["FORMATS", "detect", "read_logs"]

type Reader = Callable[[Path, str, str, Roles], list[Log]]

FORMATS: dict[str, Reader] = {
    "trl": read_trl,
    "tensorboard": read_tensorboard,
    "wandb": read_chart,
    "mlflow": read_mlflow_db,
    "verl": read_verl,
    "jsonl": read_jsonl,
    "csv": read_csv_log,
    "parquet": read_parquet_log,
}
"""Readers by the name of their format; ``wandb`` is a chart's CSV, W&B's histories are ``parquet`` or ``jsonl``."""

KNOWN = (
    "trainer_state.json or a checkpoint folder (TRL, transformers); TensorBoard event files; a chart's CSV or a "
    "history's Parquet or JSONL (W&B); mlflow.db or a file store (MLflow); JSONL (verl's file logger); any CSV, "
    "Parquet or JSONL with a row per log call"
)
ENDINGS = {".csv": "csv", ".parquet": "parquet", ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "trl"}
UNLIKELY_NAMES = ("logs", "log", "runs", "tensorboard", "tb", "output", "wandb", "files", "metrics", "history")
FIRST_BYTES = 2**20


def read_logs(path: str | os.PathLike[str], format: str = "auto", roles: Roles | None = None) -> list[Log]:
    """Read the log of a run, or of several, from a file or folder; numbers are loaded later, when asked for.

    Parameters
    ----------
    path : str or path
    format : str
        One of `FORMATS`, or ``"auto"``: found from the name and the first bytes.
    roles : mapping, optional
        Which columns hold what (``step``, ``run``, ``rm_params``), where that is not by their names.

    Returns
    -------
    list of Log

    Raises
    ------
    RunsError
        If there is nothing, nothing that is known, or it cannot be read.
    """
    source, path = os.fspath(path), Path(path)
    kind = detect(path, source) if format == "auto" else _named(format, path, source)
    reader = read_mlflow_files if kind == "mlflow" and path.is_dir() and not _database(path) else FORMATS[kind]
    place = _inside(path, kind)
    with parsing(source, f"a log ({kind})"):
        return reader(place, source, _run_name(path), roles or {})


def _named(format: str, path: Path, source: str) -> str:
    if format not in FORMATS:
        raise RunsError(source, [f"format={format!r}; allowed: auto, {', '.join(FORMATS)}"])
    _insist(path, source)
    return format


def detect(path: Path, source: str) -> str:
    """The format of a file or folder.

    Raises
    ------
    RunsError
        If it is not there, or is none of `FORMATS`.
    """
    _insist(path, source)
    with parsing(source, "a log"):
        kind = _of_folder(path) if path.is_dir() else _of_file(path, source)
    if kind is None:
        raise RunsError(source, [f"holds no training log that goldpeak knows; known: {KNOWN}"])
    return kind


def _insist(path: Path, source: str) -> None:
    try:
        path.stat()
    except FileNotFoundError as error:
        raise RunsError(source, ["no such file or folder"]) from error
    except (OSError, ValueError) as error:
        said = getattr(error, "strerror", None) or error
        raise RunsError(source, [f"cannot be read: {said}"]) from error


def _of_folder(path: Path) -> str | None:
    if state_in(path):
        return "trl"
    if _database(path) or runs_below(path):
        return "mlflow"
    if folders_with_events(path):
        return "tensorboard"
    lone = _lone_file(path)
    return _of_file(lone, str(lone)) if lone else None


def _of_file(path: Path, source: str) -> str | None:
    if path.name.startswith(EVENTS):
        return "tensorboard"
    with path.open("rb") as file:
        head = file.read(FIRST_BYTES)
    if head.startswith(MAGIC):
        return "mlflow"
    if not head.strip():
        raise RunsError(source, ["the file is empty"])
    kind = ENDINGS.get(path.suffix.lower())
    if kind == "csv":
        names, _ = header_of(path, source)
        has_step = any(name.lower() in ("step", "train/global_step") for name in names)
        return "wandb" if has_step and chart_runs(names) else "csv"
    if kind in ("jsonl", "trl") and _first_is_verl(head):
        return "verl"
    if kind == "trl" and path.name != STATE and b'"log_history"' not in head and b"\n{" in head:
        return "jsonl"
    return kind


def _first_is_verl(head: bytes) -> bool:
    try:
        record = json.loads(head.partition(b"\n")[0])
    except (ValueError, RecursionError):
        return False
    return isinstance(record, dict) and is_verl(record)


def _database(path: Path) -> Path | None:
    return next((path / name for name in ("mlflow.db", "mlruns.db") if (path / name).is_file()), None)


def _lone_file(path: Path) -> Path | None:
    """The only file in a folder that a log could be in."""
    found = [child for child in path.iterdir() if child.suffix.lower() in ENDINGS and child.is_file()]
    logs = [child for child in found if child.suffix.lower() != ".json"]
    return logs[0] if len(logs) == 1 else None


def _inside(path: Path, kind: str) -> Path:
    if kind == "mlflow" and path.is_dir():
        return _database(path) or path
    if kind in ("trl", "tensorboard") or path.is_file():
        return path
    return _lone_file(path) or path


def _run_name(path: Path) -> str:
    """A name for a run after the file or folder that says most."""
    absolute = Path(os.path.abspath(path))
    parts = [absolute.stem if path.is_file() else absolute.name, *(parent.name for parent in absolute.parents)]
    if path.name == STATE or path.name.startswith(EVENTS):
        parts = parts[1:]
    names = [name for name in parts if name and not CHECKPOINT.fullmatch(name)]
    return clean(next((name for name in names if name.lower() not in UNLIKELY_NAMES), names[0] if names else "run"))

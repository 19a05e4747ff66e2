"""MLflow's file store: ``<experiment>/<run>/metrics/<key>``, each line ``timestamp value step``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from goldpeak.errors import RunsError
from goldpeak.io.log import Log, Roles, Series, clean, number, parsing
from goldpeak.io.mlflow_db import run_names

__all__ = ["is_run", "read_mlflow_files", "runs_below"]

META, STORE = "meta.yaml", "mlruns"


def is_run(folder: Path) -> bool:
    """Whether this is the folder of one run."""
    return (folder / META).is_file() and (folder / "metrics").is_dir()


def runs_below(folder: Path) -> list[Path]:
    """The folders of runs in a store, also a folder ``mlruns`` in here, or an experiment, or the run itself.

    MLflow moves deleted experiments to ``.trash``, and marks deleted runs in their meta.yaml.
    """
    if is_run(folder):
        return [folder]
    if (folder / STORE).is_dir():
        return runs_below(folder / STORE)
    children = sorted(child for child in folder.iterdir() if child.is_dir() and not child.name.startswith("."))
    found = [child for child in children if is_run(child)]
    grandchildren = (grand for child in children if (child / META).is_file() for grand in sorted(child.iterdir()))
    return found or [grand for grand in grandchildren if is_run(grand)]


def read_mlflow_files(path: Path, source: str, run: str, roles: Roles) -> list[Log]:
    """Read the runs of a file store, of one experiment, or one run.

    Raises
    ------
    RunsError
        If there is none, or a line of a metric that is read is not ``timestamp value step``.
    """
    with parsing(source, "an MLflow file store"):
        folders = [folder for folder in runs_below(path) if not _is_deleted(folder)]
        named = {folder: _name(folder) for folder in folders if next(_metrics(folder / "metrics"), None)}
    if not named:
        raise RunsError(source, ["holds no run with metrics (meta.yaml beside a folder metrics)"])
    by_id = run_names({folder.name: name for folder, name in named.items()})
    return [_log(folder, source, by_id[folder.name], len(named) > 1) for folder in named]


def _is_deleted(folder: Path) -> bool:
    return any(line.split() == ["lifecycle_stage:", "deleted"] for line in _text(folder / META).splitlines())


def _log(folder: Path, source: str, run: str, named: bool) -> Log:
    metrics = folder / "metrics"
    files = {clean(str(file.relative_to(metrics).as_posix())): file for file in _metrics(metrics)}

    def load(asked: Sequence[str]) -> dict[str, Series]:
        return {key: _history(files[key], f"{source}: {key}") for key in asked}

    params = folder / "params"
    settings = {file.name: _text(file) for file in sorted(params.iterdir())} if params.is_dir() else {}
    return Log(run, source, "mlflow", tuple(files), load, settings, named=named)


def _metrics(folder: Path) -> Iterator[Path]:
    for child in sorted(folder.iterdir()):
        if child.is_symlink():
            continue
        if child.is_dir():
            yield from _metrics(child)
        elif child.is_file():
            yield child


def _name(folder: Path) -> str:
    tag = folder / "tags" / "mlflow.runName"
    return clean(_text(tag) if tag.is_file() else folder.name)


def _text(file: Path) -> str:
    return file.read_bytes()[:8000].decode("utf-8", "replace").strip() if file.is_file() else ""


def _history(file: Path, source: str) -> Series:
    steps, values = [], []
    with parsing(source, "an MLflow metric"), file.open(encoding="utf-8") as lines:
        for i, line in enumerate(lines, 1):
            # A line has three words; where a model or data set was logged too, more follow.
            cells = [number(word) for word in line.split()[1:3]]
            if not line.strip():
                continue
            if len(cells) != 2 or None in cells:
                raise RunsError(source, [f"line {i} holds {line.strip()[:60]!a}; allowed: timestamp value step"])
            values.append(cells[0])
            steps.append(cells[1])
    return Series(np.array(steps, dtype=float), np.array(values, dtype=float))

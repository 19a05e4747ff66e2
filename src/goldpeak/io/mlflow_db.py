"""MLflow's SQLite database, read as it lies on disk: metric histories, not the last values that a search returns.

Its table ``metrics`` is documented by MLflow's migrations: key, value, timestamp, step, is_nan, run_uuid. A NaN is
stored as 0 with ``is_nan`` set, an infinite value as the largest float.
"""

from __future__ import annotations

import functools
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import numpy as np

from goldpeak.errors import RunsError
from goldpeak.io.log import EMPTY, Log, Roles, Series, clean, parsing, uncapped

__all__ = ["MAGIC", "read_mlflow_db", "run_names"]

MAGIC = b"SQLite format 3\0"


def read_mlflow_db(path: Path, source: str, run: str, roles: Roles) -> list[Log]:
    """Read every run of an MLflow database that is not deleted; nothing is written to it.

    Raises
    ------
    RunsError
        If it is not such a database, or has no runs.
    """
    with _opened(path, source) as base:
        names = dict(
            base.execute("SELECT run_uuid, name FROM runs WHERE lifecycle_stage IS NOT 'deleted' ORDER BY start_time")
        )
        keys: dict[str, list[str]] = {}
        for run_id, key in base.execute("SELECT DISTINCT run_uuid, key FROM metrics"):
            keys.setdefault(run_id, []).append(str(key))
        settings: dict[str, dict[str, str]] = {}
        for run_id, key, value in base.execute("SELECT run_uuid, key, value FROM params"):
            settings.setdefault(run_id, {})[str(key)] = str(value)
    found = {run_id: str(name or run_id) for run_id, name in names.items() if run_id in keys}
    if not found:
        raise RunsError(source, ["holds no run with metrics"])
    histories = functools.lru_cache(maxsize=2)(functools.partial(_histories, path, source))
    called = run_names(found)

    def log(run_id: str) -> Log:
        def load(asked: Sequence[str]) -> dict[str, Series]:
            series = histories(tuple(asked))
            return {key: series.get((run_id, key), EMPTY) for key in asked}

        return Log(
            called[run_id], source, "mlflow", tuple(keys[run_id]), load, settings.get(run_id, {}), named=len(found) > 1
        )

    return [log(run_id) for run_id in found]


def run_names(names: dict[str, str]) -> dict[str, str]:
    """Names of runs by id, told apart by the start of the id where several share one.

    Examples
    --------
    >>> run_names({"0a1b2c3d4e": "rm", "5f6a7b8c9d": "rm", "77": "own"})
    {'0a1b2c3d4e': 'rm-0a1b2c3d', '5f6a7b8c9d': 'rm-5f6a7b8c', '77': 'own'}
    """
    used = list(names.values())
    twice = {name for name in set(used) if used.count(name) > 1} if len(set(used)) < len(used) else set()
    return {key: clean(f"{name}-{key[:8]}" if name in twice else name) for key, name in names.items()}


def _histories(path: Path, source: str, asked: tuple[str, ...]) -> dict[tuple[str, str], Series]:
    """Series by run id and key."""
    rows: dict[tuple[str, str], list[tuple[float, float]]] = {}
    marks = ", ".join("?" * len(asked))
    query = f"SELECT run_uuid, key, step, value, is_nan FROM metrics WHERE key IN ({marks}) ORDER BY timestamp, step"
    with _opened(path, source) as base:
        for run_id, key, step, value, is_nan in base.execute(query, asked):
            rows.setdefault((run_id, key), []).append((float(step), float("nan") if is_nan else float(value)))
    return {name: _series(entries) for name, entries in rows.items()}


def _series(entries: list[tuple[float, float]]) -> Series:
    steps, values = np.array(entries, dtype=float).T
    return Series(steps, uncapped(values))


@contextmanager
def _opened(path: Path, source: str) -> Iterator[sqlite3.Connection]:
    with parsing(source, "an MLflow database"):
        base = sqlite3.connect(f"file:{quote(str(path.resolve()))}?mode=ro", uri=True)
        try:
            yield base
        finally:
            base.close()

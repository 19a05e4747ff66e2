"""TRL and transformers: ``trainer_state.json``, alone or in a checkpoint folder."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from goldpeak.errors import RunsError
from goldpeak.io.cells import logs_of
from goldpeak.io.jsonl import record_columns
from goldpeak.io.log import Log, Roles, parsing

__all__ = ["STATE", "read_trl", "state_in"]

STATE = "trainer_state.json"
MOST_BYTES = 512 * 2**20
"""The file is one JSON value and has to be read as a whole."""
SETTINGS = ("logging_steps",)
"""Of the arguments of a run, what its state holds and a reader of it needs."""
CHECKPOINT = re.compile(r"checkpoint-(\d+)")


def state_in(folder: Path) -> Path | None:
    """The state to read in a folder: its own, or that of its latest checkpoint (which holds the whole history)."""
    if (folder / STATE).is_file():
        return folder / STATE
    matches = ((CHECKPOINT.fullmatch(child.name), child / STATE) for child in folder.iterdir())
    found = {int(match[1]): state for match, state in matches if match and state.is_file()}
    return found[max(found)] if found else None


def read_trl(path: Path, source: str, run: str, roles: Roles) -> list[Log]:
    """Read the ``log_history`` of a trainer's state.

    Training and evaluation are separate rows at the same step (evaluation under ``eval_...``); the last row may be a
    summary.

    Parameters
    ----------
    path : pathlib.Path
        The file, or a folder that has one or holds ``checkpoint-N`` folders.

    Raises
    ------
    RunsError
        If there is none, or it is not such a file.
    """
    state = state_in(path) if path.is_dir() else path
    if state is None:
        raise RunsError(source, [f"holds no {STATE}, itself or in a checkpoint-N folder"])
    if state.stat().st_size > MOST_BYTES:
        raise RunsError(source, [f"has {state.stat().st_size} bytes; allowed: at most {MOST_BYTES} in one JSON file"])
    with parsing(source, "JSON"):
        content = json.loads(state.read_bytes().decode("utf-8-sig"))
        history = _history(content)
    if history is None:
        raise RunsError(source, ["holds no list 'log_history'; allowed: a trainer_state.json of TRL or transformers"])
    repairs = (f"read from {state.parent.name}",) if path.is_dir() and state.parent != path else ()
    settings = {name: str(content[name]) for name in SETTINGS if name in content}
    logs = logs_of(record_columns(lambda: history), source, "trl", run, roles, repairs=repairs)
    return [replace(log, settings=settings) for log in logs]


def _history(state: Any) -> list[Mapping[str, Any]] | None:
    """The rows that belong to a step; the summary at the end does not."""
    history = state.get("log_history") if isinstance(state, dict) else None
    if not isinstance(history, list):
        return None
    return [row for row in history if isinstance(row, dict) and "train_runtime" not in row]

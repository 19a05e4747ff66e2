"""Training logs for tests, written as the frameworks write them."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pandas as pd

type Rows = Sequence[Mapping[str, object]]

GOLD = "rewards/gold/mean"
LENGTH = 50.0


def rows(steps: Iterable[int] = range(1, 9), key: str = "kl", **more: object) -> list[dict[str, object]]:
    """Rows as TRL's GRPO logs them: KL per token, mean length, proxy, and a gold reward of weight zero."""
    fixed = {"completions/mean_length": LENGTH, **more}
    return [
        {"step": step, key: 0.01 * step, "reward": 0.5 * step, GOLD: 1.0 + step - 0.1 * step**2} | fixed
        for step in steps
    ]


def trainer_state(path: Path, history: Rows) -> Path:
    """A trainer's state; the last row of a finished run is a summary."""
    path.parent.mkdir(parents=True, exist_ok=True)
    summary = {"step": len(history), "train_runtime": 12.5, "train_loss": 0.1}
    path.write_text(json.dumps({"global_step": len(history), "log_history": [*history, summary]}, indent=2))
    return path


def jsonl(path: Path, history: Rows) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in history))
    return path


def verl(path: Path, history: Rows) -> Path:
    """verl's file logger."""
    unwrapped = [({k: v for k, v in row.items() if k != "step"}, row["step"]) for row in history]
    return jsonl(path, [{"step": step, "data": data} for data, step in unwrapped])


def chart(path: Path, runs: Mapping[str, Rows], metrics: Sequence[str], step: str = "Step") -> Path:
    """The CSV that W&B exports from a chart: for every run and metric its value, minimum and maximum."""
    parts = []
    for run, history in runs.items():
        for metric in metrics:
            column = pd.Series({row["step"]: row[metric] for row in history if metric in row})
            parts += [column.rename(f"{run} - {metric}{ending}") for ending in ("", "__MIN", "__MAX")]
    pd.concat(parts, axis=1).sort_index().rename_axis(step).reset_index().to_csv(path, index=False, quoting=1)
    return path


def events(folder: Path, history: Rows, settings: Mapping[str, object] | None = None, tensors: bool = False) -> Path:
    """Event files, by TensorBoard's own writer; scalars as the old summaries or as tensors, as newer writers do."""
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.plugins.scalar.summary import scalar_pb
    from tensorboard.plugins.text.summary import text_pb
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    writer = EventFileWriter(str(folder))
    if settings is not None:
        writer.add_event(
            Event(wall_time=time.time(), step=0, summary=text_pb("args/text_summary", json.dumps(settings)))
        )
    for row in history:
        for key, value in row.items():
            if key == "step":
                continue
            old = Summary(value=[Summary.Value(tag=key, simple_value=value)])
            summary = scalar_pb(key, value) if tensors else old
            writer.add_event(Event(wall_time=time.time(), step=row["step"], summary=summary))
    writer.close()
    return folder


SCHEMA = """
CREATE TABLE runs (run_uuid VARCHAR(32) NOT NULL PRIMARY KEY, name VARCHAR(250), lifecycle_stage VARCHAR(20),
    start_time BIGINT);
CREATE TABLE metrics (key VARCHAR(250) NOT NULL, value FLOAT NOT NULL, timestamp BIGINT NOT NULL,
    run_uuid VARCHAR(32) NOT NULL, step BIGINT DEFAULT '0' NOT NULL, is_nan BOOLEAN DEFAULT '0' NOT NULL,
    PRIMARY KEY (key, timestamp, step, run_uuid, value, is_nan));
CREATE TABLE params (key VARCHAR(250) NOT NULL, value VARCHAR(8000) NOT NULL, run_uuid VARCHAR(32) NOT NULL,
    PRIMARY KEY (key, run_uuid));
"""
"""The columns of MLflow 3.17's own tables that are read (test_frameworks.py reads what its client wrote)."""


def mlflow_db(path: Path, runs: Mapping[str, Rows], settings: Mapping[str, object] | None = None) -> Path:
    """An MLflow database; runs by id, named by what stands before a colon."""
    with sqlite3.connect(path) as base:
        base.executescript(SCHEMA)
        for i, (run, history) in enumerate(runs.items()):
            base.execute("INSERT INTO runs VALUES (?, ?, 'active', ?)", (run, run.partition(":")[0], i))
            for key, value in (settings or {}).items():
                base.execute("INSERT INTO params VALUES (?, ?, ?)", (key, str(value), run))
            for j, row in enumerate(history):
                for key, value in row.items():
                    if key != "step":
                        nan = value != value
                        cells = (key, 0.0 if nan else value, j, run, row["step"], nan)
                        base.execute("INSERT INTO metrics VALUES (?, ?, ?, ?, ?, ?)", cells)
    base.close()
    return path


def mlflow_files(folder: Path, runs: Mapping[str, Rows]) -> Path:
    """An MLflow file store with one experiment."""
    for run, history in runs.items():
        place = folder / "0" / run
        (place / "tags").mkdir(parents=True)
        (place / "params").mkdir()
        (folder / "0" / "meta.yaml").write_text("experiment_id: '0'\n")
        (place / "meta.yaml").write_text(f"run_id: {run}\n")
        (place / "tags" / "mlflow.runName").write_text(run)
        for row in history:
            for key, value in row.items():
                if key != "step":
                    file = place / "metrics" / key
                    file.parent.mkdir(parents=True, exist_ok=True)
                    with file.open("a") as lines:
                        lines.write(f"1700000000000 {value} {row['step']}\n")
    return folder


def history_parquet(path: Path, history: Rows) -> Path:
    """W&B's history: a row per log call, an internal counter ``_step``."""
    pd.DataFrame(history).assign(_step=range(len(history)), _timestamp=0.5).to_parquet(path)
    return path

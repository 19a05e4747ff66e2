"""Readers of logs: what was written comes back, key by key and step by step; what is no log is refused by name.

One file for all, `readers` and a module a format: most questions are put to several of them.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import log_files
import numpy as np
import pandas as pd
import pytest

from goldpeak.errors import RunsError
from goldpeak.io.log import Log
from goldpeak.io.readers import FORMATS, detect, read_logs

ROWS = log_files.rows()
KEYS = {key for key in ROWS[0] if key != "step"}


def values(log: Log, key: str) -> dict[float, float]:
    series = log.load((key,))[key]
    return dict(zip(series.steps.tolist(), series.values.tolist(), strict=True))


def assert_holds(log: Log, rows: log_files.Rows, exactly: bool = True) -> None:
    assert {key for key in rows[0] if key != "step"} <= set(log.keys)
    for key in rows[0].keys() - {"step"}:
        expected = {float(row["step"]): float(row[key]) for row in rows}
        assert values(log, key) == (expected if exactly else pytest.approx(expected))


def refusal(path: Path, **kwargs: object) -> str:
    with pytest.raises(RunsError) as caught:
        [log.load(log.keys) for log in read_logs(path, **kwargs)]
    assert caught.value.source.startswith(str(path))
    return "; ".join(caught.value.problems)


# ---- TRL


def test_trainer_state(tmp_path: Path) -> None:
    (log,) = read_logs(log_files.trainer_state(tmp_path / "rm-3M" / "trainer_state.json", ROWS))
    assert (log.run, log.format, set(log.keys)) == ("rm-3M", "trl", KEYS)
    assert_holds(log, ROWS)


def test_the_latest_checkpoint_is_read(tmp_path: Path) -> None:
    for n in (5, 8, 10):
        log_files.trainer_state(
            tmp_path / "out" / f"checkpoint-{n}" / "trainer_state.json", log_files.rows(range(1, n))
        )
    (log,) = read_logs(tmp_path / "out")
    assert len(values(log, "kl")) == 9
    assert log.run == "out"
    assert log.repairs == ("read from checkpoint-10",)
    (log,) = read_logs(tmp_path / "out" / "checkpoint-5")
    assert (log.run, len(values(log, "kl"))) == ("out", 4)


def test_a_state_beside_checkpoints_comes_first(tmp_path: Path) -> None:
    log_files.trainer_state(tmp_path / "checkpoint-5" / "trainer_state.json", log_files.rows(range(1, 5)))
    log_files.trainer_state(tmp_path / "trainer_state.json", ROWS)
    assert len(values(read_logs(tmp_path)[0], "kl")) == len(ROWS)


def test_evaluation_rows_have_keys_of_their_own(tmp_path: Path) -> None:
    history = [row for step in (1, 2, 3) for row in ({"step": step, "kl": 0.1}, {"step": step, "eval_kl": 0.2 * step})]
    (log,) = read_logs(log_files.trainer_state(tmp_path / "trainer_state.json", history))
    assert values(log, "eval_kl") == pytest.approx({1: 0.2, 2: 0.4, 3: 0.6})


# ---- TensorBoard


@pytest.mark.parametrize("tensors", [False, True])
def test_tensorboard_keeps_every_point(tmp_path: Path, tensors: bool) -> None:
    """Its default keeps 10,000 scalars, and 10 values of a tensor."""
    rows = [{"step": step, "kl": 0.01 * step} for step in range(1, 40 if tensors else 10_501)]
    (log,) = read_logs(log_files.events(tmp_path / "rm-3M", rows, tensors=tensors))
    assert (log.run, log.format) == ("rm-3M", "tensorboard")
    assert len(values(log, "kl")) == len(rows)
    assert_holds(log, rows, exactly=False)


def test_tensorboard_settings_and_folders(tmp_path: Path) -> None:
    folder = tmp_path / "rm-3M" / "runs" / "Nov01_host"
    log_files.events(folder, ROWS, {"beta": 0.05, "sync_ref_model": False, "list": [1]})
    (log,) = read_logs(tmp_path / "rm-3M")
    assert (log.run, log.settings["beta"], log.settings["sync_ref_model"]) == ("rm-3M", "0.05", "False")
    (file,) = folder.iterdir()
    assert_holds(read_logs(file)[0], ROWS, exactly=False)
    log_files.events(tmp_path / "rm-3M" / "runs" / "Nov02_host", ROWS)
    assert "event files in 2 folders (runs/Nov01_host, runs/Nov02_host)" in refusal(tmp_path / "rm-3M")


def test_tensorboard_keeps_what_a_resumed_run_wrote_again(tmp_path: Path) -> None:
    log_files.events(tmp_path / "tb", ROWS[:6])
    log_files.events(tmp_path / "tb", log_files.rows(range(4, 9), reward=-1.0))
    series = read_logs(tmp_path / "tb")[0].load(("reward",))["reward"]
    assert series.steps.tolist() == [1, 2, 3, 4, 5, 6, 4, 5, 6, 7, 8]
    assert series.values[-5:].tolist() == [-1] * 5


def test_tensorboard_cut_off(tmp_path: Path) -> None:
    (file,) = log_files.events(tmp_path / "tb", ROWS).iterdir()
    file.write_bytes(file.read_bytes()[:-100])
    (log,) = read_logs(tmp_path / "tb")
    assert 0 < len(values(log, "kl")) <= len(ROWS)


def test_without_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log_files.events(tmp_path / "tb", ROWS)
    monkeypatch.setitem(__import__("sys").modules, "tensorboard.backend.event_processing.event_accumulator", None)
    assert "pip install 'goldpeak[tensorboard]'" in refusal(tmp_path / "tb")


# ---- W&B


def test_a_chart_of_several_runs(tmp_path: Path) -> None:
    runs = {"rm - 3M - s1": ROWS, "rm - 30M": log_files.rows(range(3, 12))}
    logs = read_logs(log_files.chart(tmp_path / "chart.csv", runs, sorted(KEYS)))
    assert [(log.run, log.format, log.named) for log in logs] == [(run, "wandb", True) for run in runs]
    assert set(logs[0].keys) == KEYS
    for log, rows in zip(logs, runs.values(), strict=True):
        assert_holds(log, rows)


def test_a_chart_over_the_trainers_step(tmp_path: Path) -> None:
    path = log_files.chart(tmp_path / "chart.csv", {"a": ROWS}, ["kl"], step="train/global_step")
    assert values(read_logs(path)[0], "kl") == {row["step"]: row["kl"] for row in ROWS}


def test_history_counts_the_trainers_steps(tmp_path: Path) -> None:
    """W&B's own ``_step`` counts log calls: an evaluation has another than the training row of its step."""
    history = [{"train/global_step": s, **r} for s in (1, 2) for r in ({"kl": 0.1 * s}, {"eval/gold": 1.0 * s})]
    for path in (
        log_files.history_parquet(tmp_path / "history.parquet", history),
        log_files.jsonl(tmp_path / "history.jsonl", [{"_step": i, **row} for i, row in enumerate(history)]),
    ):
        (log,) = read_logs(path)
        assert values(log, "kl") == {1: 0.1, 2: 0.2}
        assert values(log, "eval/gold") == {1: 1.0, 2: 2.0}


def test_parquet_of_texts_nested_columns_and_decimals(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {"step": [1, 2, 3], "kl": ["0.5", "NaN", None], "gold.mean": pa.array([1, None, 3], pa.int32())}
    columns |= {"histogram": [[1], [2], [3]], "exact": pa.array(["1.5", None, "2.5"]).cast(pa.decimal128(5, 2))}
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    (log,) = read_logs(tmp_path / "a.parquet")
    assert log.keys == ("kl", "gold.mean", "exact")
    assert values(log, "gold.mean") == {1: 1, 3: 3}
    assert values(log, "exact") == {1: 1.5, 3: 2.5}
    kl = log.load(("kl",))["kl"]
    np.testing.assert_array_equal(kl.values, [0.5, np.nan])


# ---- MLflow


def test_mlflow_database(tmp_path: Path) -> None:
    runs = {"rm-3M:1": ROWS, "rm-3M:2": log_files.rows(range(3, 12)), "rm-30M": ROWS}
    logs = read_logs(log_files.mlflow_db(tmp_path / "mlflow.db", runs, {"beta": 0.1}))
    assert [log.run for log in logs] == ["rm-3M-rm-3M:1", "rm-3M-rm-3M:2", "rm-30M"]
    for log, rows in zip(logs, runs.values(), strict=True):
        assert_holds(log, rows)
        assert log.settings == {"beta": "0.1"}
    assert detect(tmp_path, "folder") == "mlflow"
    assert len(read_logs(tmp_path)) == 3


def test_mlflow_database_is_not_written_to(tmp_path: Path) -> None:
    path = log_files.mlflow_db(tmp_path / "mlflow.db", {"a": ROWS})
    path.chmod(0o444)
    before = path.read_bytes()
    assert_holds(read_logs(path)[0], ROWS)
    assert (path.read_bytes(), os.listdir(tmp_path)) == (before, ["mlflow.db"])


def test_mlflow_stores_nan_as_0_and_infinity_as_the_largest_float(tmp_path: Path) -> None:
    rows = [{"step": 1, "kl": float("nan")}, {"step": 2, "kl": 1.7976931348623157e308}, {"step": 3, "kl": 0.5}]
    (log,) = read_logs(log_files.mlflow_db(tmp_path / "m.sqlite", {"a": rows}))
    np.testing.assert_array_equal(log.load(("kl",))["kl"].values, [np.nan, np.inf, 0.5])


def test_mlflow_leaves_deleted_runs_out(tmp_path: Path) -> None:
    import sqlite3

    path = log_files.mlflow_db(tmp_path / "mlflow.db", {"a": ROWS, "b": ROWS})
    with sqlite3.connect(path) as base:
        base.execute("UPDATE runs SET lifecycle_stage = 'deleted' WHERE name = 'a'")
    assert [log.run for log in read_logs(path)] == ["b"]


def test_mlflow_file_store(tmp_path: Path) -> None:
    runs = {"a": ROWS, "b": log_files.rows(range(3, 12))}
    store = log_files.mlflow_files(tmp_path / "mlruns", runs)
    for log, (run, rows) in zip(read_logs(store), runs.items(), strict=True):
        assert log.run == run
        assert_holds(log, rows)
    assert len(read_logs(store / "0")) == 2
    assert len(read_logs(tmp_path)) == 2
    (log,) = read_logs(store / "0" / "b")
    assert (log.run, log.named) == ("b", False)
    (store / "0" / "b" / "metrics" / "kl").write_text("1700 0.5 1\n1700 0.5\n")
    assert "line 2 holds '1700 0.5'; allowed: timestamp value step" in refusal(store / "0" / "b")
    (store / "0" / "b" / "meta.yaml").write_text("run_id: b\nlifecycle_stage: deleted\n")
    assert [log.run for log in read_logs(store)] == ["a"]


# ---- JSON lines


def test_verl(tmp_path: Path) -> None:
    (log,) = read_logs(log_files.verl(tmp_path / "rm-3M.jsonl", ROWS))
    assert (log.run, log.format, set(log.keys)) == ("rm-3M", "verl", KEYS)
    assert_holds(log, ROWS)


def test_jsonl_in_a_folder_takes_its_name(tmp_path: Path) -> None:
    (tmp_path / "rm-3M").mkdir()
    log_files.jsonl(tmp_path / "rm-3M" / "metrics.jsonl", ROWS)
    (log,) = read_logs(tmp_path / "rm-3M")
    assert (log.run, log.format) == ("rm-3M", "jsonl")


def test_a_last_line_cut_off_is_left_out(tmp_path: Path) -> None:
    path = log_files.verl(tmp_path / "a.jsonl", ROWS)
    path.write_bytes(path.read_bytes()[:-20])
    (log,) = read_logs(path)
    assert len(values(log, "kl")) == len(ROWS) - 1
    assert log.repairs == ("the last row is cut off and is left out",)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b'{"step": 1, "kl": 1}\n{"step": 2, \n{"step": 3, "kl": 1}\n', "line 2 is not JSON in UTF-8"),
        (b'{"step": 1, "kl": 1}\n{"step": 2, \n', "line 2 is not JSON in UTF-8"),
        (b'{"step": 1, "kl": 1}\n[1, 2]\n', "line 2 holds no JSON object"),
        (b'{"step": 1, "kl": 1}\n{"k\xe9": 1}\n', "line 2 is not JSON in UTF-8"),
        (b'{"step": 1, "data": {"kl": 1}}\n{"step": 2, "kl": 1}\n', "a line without 'step' and 'data'"),
        (b'{"a": 1', "line 1 is not JSON"),
        (b"[" * 100_000 + b"\n", "line 1 is not JSON"),
        (" ".encode("utf-16"), "line 1 is not JSON"),
    ],
)
def test_refused_jsonl(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "a.jsonl").write_bytes(content)
    assert words in refusal(tmp_path / "a.jsonl")


# ---- CSV


def test_csv_with_runs(tmp_path: Path) -> None:
    parts = [pd.DataFrame(log_files.rows(range(1, n))).assign(name=run) for run, n in (("a", 5), ("b", 9))]
    # In turns, and with a byte-order mark and Windows line ends.
    pd.concat(parts).sort_values("step").to_csv(
        tmp_path / "a.csv", index=False, encoding="utf-8-sig", lineterminator="\r\n"
    )
    logs = read_logs(tmp_path / "a.csv", roles={"run": "name", "step": "step"})
    assert [(log.run, log.named) for log in logs] == [("a", True), ("b", True)]
    assert_holds(logs[0], log_files.rows(range(1, 5)))
    assert_holds(logs[1], log_files.rows(range(1, 9)))


def test_a_value_without_a_runs_name_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("name,step,kl,loss\na,1,0.5,\n,2,0.6,3\nb,3,0.7,\n")
    one, two = read_logs(tmp_path / "a.csv", roles={"run": "name"})
    with pytest.raises(RunsError, match="1 values of 'kl' stand in rows without a name in column 'name'"):
        one.load(("kl",))
    assert two.run == "b"


def test_csv_over_many_stretches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("goldpeak.io.csv_log.BLOCK", 200)
    pd.DataFrame(log_files.rows(range(1, 200))).to_csv(tmp_path / "a.csv", index=False)
    assert_holds(read_logs(tmp_path / "a.csv")[0], log_files.rows(range(1, 200)))


def test_a_last_row_cut_off_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("step,kl,gold\n1,0.5,1\n2,0.6,2\n3,0.")
    assert values(read_logs(tmp_path / "a.csv")[0], "kl") == {1: 0.5, 2: 0.6}


def test_an_empty_cell_is_no_nan(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("t,kl,gold\n1,0.5,\n2,,nan\n3,NaN,1\n")
    (log,) = read_logs(tmp_path / "a.csv", roles={"step": "t"})
    series = log.load(("kl", "gold"))
    assert series["kl"].steps.tolist() == [1, 3]
    assert series["gold"].steps.tolist() == [2, 3]
    np.testing.assert_array_equal(series["gold"].values, [np.nan, 1])


def test_without_a_step_rows_are_counted(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("kl,gold\n0.5,1\n0.6,2\n")
    (log,) = read_logs(tmp_path / "a.csv")
    assert values(log, "kl") == {1: 0.5, 2: 0.6}
    assert "rows are counted" in log.repairs[0]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"step,kl\n1,0.5\n2,high\n", "column 'kl' holds 'high' in row 2 below the header"),
        (b"step,kl\n1,0.5,7\n", "Row #2: Expected 2 columns, got 3: 1,0.5,7"),
        (b"step,kl\n1,0.5\n2,0.5,7\n", "Row #3: Expected 2 columns, got 3"),
        (b"step,kl\n1\n2,0.5\n", "Row #2: Expected 2 columns, got 1"),
        (b"step,kl\n1,0.5\n2\n3", "Row #3: Expected 2 columns, got 1"),
        (b'step,kl\n1,"0.5\n2,0.7\n', "holds '0.5\\n2,0.7' in row 1"),
        (b"step;kl\n1;0.5\n", "no header of names separated by commas"),
        (b"step,kl,kl\n1,0.5,1\n", "more than once: 'kl'"),
        (b"step,k\xe9\n1,0.5\n", "cannot be read as"),
        ("step,kl\n1,0.5\n".encode("utf-16"), "zero bytes"),
        (b"step,kl\n1,0.5\n\xff,2\n", "cannot be read as"),
        (b"", "the file is empty"),
        (b"  \n\n", "the file is empty"),
    ],
)
def test_refused_csv(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "a.csv").write_bytes(content)
    assert words in refusal(tmp_path / "a.csv")


def test_a_column_that_is_not_there(tmp_path: Path) -> None:
    pd.DataFrame(ROWS).to_csv(tmp_path / "a.csv", index=False)
    assert "no column 't' (for step); columns there are: 'step', 'kl'" in refusal(
        tmp_path / "a.csv", roles={"step": "t"}
    )


# ---- where and what


def test_infinity_keeps_its_sign(tmp_path: Path) -> None:
    rows = [{"step": step, "gold": gold} for step, gold in enumerate((-np.inf, np.inf, -1.7e308, 0.5), 1)]
    pd.DataFrame(rows).to_csv(tmp_path / "a.csv", index=False)
    for path in (
        tmp_path / "a.csv",
        log_files.jsonl(tmp_path / "a.jsonl", rows),
        log_files.history_parquet(tmp_path / "a.parquet", rows),
        log_files.mlflow_db(tmp_path / "a.db", {"a": rows}),
        log_files.events(tmp_path / "tb", rows[:2] + rows[3:]),
    ):
        found = read_logs(path)[0].load(("gold",))["gold"].values.tolist()
        assert found in ([-np.inf, np.inf, -np.inf, 0.5], [-np.inf, np.inf, 0.5]), path


def test_formats_are_found(tmp_path: Path) -> None:
    pd.DataFrame(ROWS).to_csv(tmp_path / "a.csv", index=False)
    made = {
        "csv": tmp_path / "a.csv",
        "trl": log_files.trainer_state(tmp_path / "state.json", ROWS),
        "tensorboard": log_files.events(tmp_path / "tb", ROWS),
        "wandb": log_files.chart(tmp_path / "chart.csv", {"a": ROWS}, ["kl"]),
        "mlflow": log_files.mlflow_db(tmp_path / "unnamed", {"a": ROWS}),
        "verl": log_files.verl(tmp_path / "verl.jsonl", ROWS),
        "jsonl": log_files.jsonl(tmp_path / "lines.json", ROWS),
        "parquet": log_files.history_parquet(tmp_path / "a.parquet", ROWS),
    }
    assert set(made) == set(FORMATS)
    assert {kind: detect(path, str(path)) for kind, path in made.items()} == {kind: kind for kind in made}


def test_nothing_to_read(tmp_path: Path) -> None:
    assert "no such file or folder" in refusal(tmp_path / "nothing")
    (tmp_path / "empty").mkdir()
    assert "holds no training log that goldpeak knows" in refusal(tmp_path / "empty")
    (tmp_path / "notes.txt").write_text("kl went up\n")
    assert "holds no training log that goldpeak knows" in refusal(tmp_path / "notes.txt")
    assert "allowed: auto, trl, tensorboard" in refusal(tmp_path / "notes.txt", format="wandb2")
    for kind in FORMATS:
        assert refusal(tmp_path / "empty", format=kind)
        assert refusal(tmp_path / "notes.txt", format=kind)


def test_links_that_go_round(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    assert "symbolic links" in refusal(tmp_path / "loop")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "again").symlink_to(tmp_path / "run")
    assert "holds no training log" in refusal(tmp_path / "run")
    log_files.events(tmp_path / "run" / "tb", ROWS)
    assert_holds(read_logs(tmp_path / "run")[0], ROWS, exactly=False)


def test_a_state_that_is_none(tmp_path: Path) -> None:
    path = tmp_path / "trainer_state.json"
    for content, words in (
        ('{"log_history": [{"step": 1', "cannot be read as JSON"),
        (json.dumps({"global_step": 3}), "holds no list 'log_history'"),
        ("[" * 100_000, "cannot be read as JSON"),
        ('{"log_history": {"kl": 1}}', "holds no list 'log_history'"),
    ):
        path.write_text(content)
        assert words in refusal(path)
    path.write_bytes(b'{"log_history": ["\xe9"]}')
    assert "cannot be read as JSON" in refusal(path)

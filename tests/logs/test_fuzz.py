"""Damaged logs: every reader returns run curves or refuses them by name; nothing else is raised or warned."""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable
from pathlib import Path

import log_files
import pytest

from goldpeak.errors import GoldpeakError, RunsWarning
from goldpeak.logs import read_log

ROWS = log_files.rows()
RUNS = {"a": ROWS, "b": log_files.rows(range(2, 12))}

WRITERS: dict[str, tuple[Callable[[Path], Path], str]] = {
    "trl": (lambda p: log_files.trainer_state(p / "trainer_state.json", ROWS), log_files.GOLD),
    "tensorboard": (lambda p: log_files.events(p / "tb", ROWS, {"beta": 0.1}, tensors=True), log_files.GOLD),
    "wandb": (lambda p: log_files.chart(p / "c.csv", RUNS, [k for k in ROWS[0] if k != "step"]), log_files.GOLD),
    "mlflow": (lambda p: log_files.mlflow_db(p / "mlflow.db", RUNS, {"beta": 0.1}), log_files.GOLD),
    "mlflow_files": (lambda p: log_files.mlflow_files(p / "mlruns", RUNS), log_files.GOLD),
    "verl": (lambda p: log_files.verl(p / "verl.jsonl", ROWS), log_files.GOLD),
    "jsonl": (lambda p: log_files.jsonl(p / "log.jsonl", ROWS), log_files.GOLD),
    "csv": (lambda p: log_files.pd.DataFrame(ROWS).to_csv(p / "log.csv", index=False) or p / "log.csv", log_files.GOLD),
    "parquet": (lambda p: log_files.history_parquet(p / "history.parquet", ROWS), log_files.GOLD),
}
TOKENS = [
    b"NaN",
    b"Infinity",
    b"-1",
    b"1e999",
    b"0",
    b"9" * 5000,
    b"null",
    b"{}",
    b"[" * 2000,
    b'"',
    b",",
    b"\n",
    b"\r",
]
TOKENS += [b"\0", b"\xff\xfe", b"\xef\xbb\xbf", b" - ", b'"step": ', b"\\ud800", "é".encode("latin-1"), b"true", b""]


def damaged(data: bytes, dice: random.Random) -> bytes:
    """One to four small wounds: bits, cuts, tokens that mean something, pieces twice or elsewhere."""
    for _ in range(dice.randint(1, 4)):
        at, to = sorted(dice.randrange(len(data) + 1) for _ in range(2))
        to = min(to, at + dice.choice((1, 4, 30, 10_000)))
        match dice.randrange(6):
            case 0:
                data = data[:at] + bytes([dice.randrange(256)]) + data[at + 1 :]
            case 1:
                data = data[:at]
            case 2:
                data = data[:at] + data[to:]
            case 3:
                data = data[:at] + dice.choice(TOKENS) + data[dice.choice((at, to)) :]
            case 4:
                data = data[:to] + data[at:to] + data[to:]
            case _:
                data = data[:at] + bytes(dice.randrange(256) for _ in range(4)) + data[at + 4 :]
    return data


def fuzz(kind: str, folder: Path, times: int, first: int = 0) -> dict[str, int]:
    """Damage a log again and again; return how often it was read and refused."""
    write, gold = WRITERS[kind]
    path = write(folder)
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    whole = {file: file.read_bytes() for file in files}
    reader = kind if kind != "mlflow_files" else "mlflow"
    count = {"read": 0, "refused": 0}
    for seed in range(first, first + times):
        dice = random.Random(seed)
        file = dice.choice(files)
        file.write_bytes(damaged(whole[file], dice))
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                warnings.simplefilter("ignore", RunsWarning)
                read_log(path, dice.choice(("auto", reader)), gold=gold, rm_params=1e6)
            count["read"] += 1
        except GoldpeakError as error:
            str(error).encode()
            count["refused"] += 1
        except BaseException as error:
            error.add_note(f"reader {kind}, seed {seed}")
            raise
        file.write_bytes(whole[file])
    return count


@pytest.mark.parametrize("kind", WRITERS)
def test_damaged_logs_are_read_or_refused(kind: str, tmp_path: Path) -> None:
    count = fuzz(kind, tmp_path, 100)
    assert min(count.values()) > 0, count


@pytest.mark.fuzz
@pytest.mark.parametrize("kind", WRITERS)
def test_ten_thousand_damaged_logs(kind: str, tmp_path: Path) -> None:
    fuzz(kind, tmp_path, 10_000, first=1_000)

"""Following a log that grows: each checkpoint once, whatever happens to the file."""

from __future__ import annotations

import os
from pathlib import Path

import pandas as pd
import pytest

from goldpeak.logs.follow import Follower

HEAD = "step,kl,gold\n"


def follower(path: Path, growing: bool = True) -> Follower:
    from goldpeak.errors import RunsError

    def read() -> pd.DataFrame:
        try:
            return pd.read_csv(path).dropna().assign(run="a")
        except pd.errors.EmptyDataError as error:
            raise RunsError(str(path), ["the file is empty"]) from error

    return Follower([path], read, growing=growing)


def steps(following: Follower) -> list[float]:
    return [one.step for one in following.poll()]


def rows(*numbers: int) -> str:
    return "".join(f"{i},{0.1 * i},{0.2 * i}\n" for i in numbers)


def test_each_checkpoint_comes_once(tmp_path: Path) -> None:
    log = tmp_path / "log.csv"
    log.write_text(HEAD + rows(1, 2))
    following = follower(log)
    assert steps(following) == [1, 2]
    assert steps(following) == []
    with log.open("a") as file:
        file.write(rows(3))
    assert steps(following) == [3]


def test_a_file_written_anew_as_a_whole(tmp_path: Path) -> None:
    """As trainer_state.json is: the name now belongs to another file."""
    log = tmp_path / "log.csv"
    log.write_text(HEAD + rows(1, 2))
    following = follower(log)
    assert steps(following) == [1, 2]
    other = tmp_path / "other"
    other.write_text(HEAD + rows(1, 2, 3))
    os.replace(other, log)
    assert steps(following) == [3]


@pytest.mark.parametrize("way", ["truncated", "rotated"])
def test_a_log_begun_again(tmp_path: Path, way: str) -> None:
    log = tmp_path / "log.csv"
    log.write_text(HEAD + rows(1, 2, 3))
    following = follower(log)
    assert steps(following) == [1, 2, 3]
    if way == "truncated":
        log.write_text("")
    else:
        log.rename(tmp_path / "log.csv.1")
    assert steps(following) == []
    assert following.trouble is not None
    log.write_text(HEAD + rows(3, 4))
    assert steps(following) == [4]
    assert following.trouble is None


def test_half_a_number_is_waited_for(tmp_path: Path) -> None:
    log = tmp_path / "log.csv"
    log.write_text(HEAD + rows(1) + "2,0.25,0.1")
    following = follower(log)
    assert steps(following) == [1]
    with log.open("a") as file:
        file.write("75\n")
    assert [one.gold for one in following.poll()] == [0.175]


def test_the_last_line_of_a_finished_log_counts_without_its_end(tmp_path: Path) -> None:
    log = tmp_path / "log.csv"
    log.write_text(HEAD + rows(1, 2).rstrip())
    assert steps(follower(log)) == [1]
    assert steps(follower(log, growing=False)) == [1, 2]


def test_several_runs_are_refused(tmp_path: Path) -> None:
    log = tmp_path / "log.csv"
    log.write_text("run" + HEAD + "a,1,1\n")
    following = Follower([log], lambda: pd.DataFrame({"run": ["a", "b"], "kl": 1.0, "gold": 1.0}))
    assert steps(following) == []
    assert "holds 2 runs (a, b); name one (--run)" in str(following.trouble)

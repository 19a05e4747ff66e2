"""goldpeak watch: decisions on a log that grows, by a real process, and its exit statuses."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from interruptions import heeding_ctrl_c

import goldpeak
from goldpeak import cli
from goldpeak.cli.status import ALARM, BAD_INPUT, FINE, INTERRUPTED, STOP
from goldpeak.subset import as_table, select

pytestmark = pytest.mark.xdist_group("watch")
GOLD, TOKENS = "rewards/gold/mean", 50.0


@pytest.fixture(scope="module")
def posterior(tmp_path_factory: pytest.TempPathFactory) -> Path:
    small, _ = goldpeak.split_by_size(goldpeak.datasets.lab("rl"))
    path = tmp_path_factory.mktemp("watch") / "post.nc"
    goldpeak.save(goldpeak.fit(small, "rl_paper", draws=200, seed=1), path)
    return path


@pytest.fixture(scope="module")
def curve() -> pd.DataFrame:
    _, large = goldpeak.split_by_size(goldpeak.datasets.lab("rl"))
    return as_table(select(large, large["run"] == large["run"].values[0]))


def lines(curve: pd.DataFrame) -> list[str]:
    """The run as TRL's GRPO would log it, a JSON object a line."""
    return [
        json.dumps({"step": r.step, "kl": r.kl / TOKENS, "completions/mean_length": TOKENS, GOLD: r.gold}) + "\n"
        for r in curve.itertuples()
    ]


def words(source: Path, posterior: Path, *more: str) -> list[str]:
    return ["watch", str(source), "--posterior", str(posterior), "--rm-params", "561", *more]


class Watching:
    """A process that follows a log, and what it has decided so far."""

    def __init__(self, source: Path, posterior: Path) -> None:
        more = ("--gold", GOLD, "--follow", "--every", "0.05", "--json")
        command = [sys.executable, "-m", "goldpeak", *words(source, posterior, *more)]
        self._out = source.with_name("out.jsonl")
        with self._out.open("w") as out, source.with_name("err.txt").open("w") as err, heeding_ctrl_c():
            self.process = subprocess.Popen(command, stdout=out, stderr=err)
        self.said = source.with_name("err.txt")

    def decisions(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self._out.read_text().splitlines(keepends=True) if line.endswith("\n")]

    def wait_for(self, count: int, within: float = 90.0) -> None:
        """Until so many decisions are there."""
        end = time.monotonic() + within
        while len(self.decisions()) < count:
            assert time.monotonic() < end, self.said.read_text()
            assert self.process.poll() is None, self.said.read_text()
            time.sleep(0.02)


@pytest.fixture
def watching(tmp_path: Path, posterior: Path) -> Iterator[Watching]:
    found = Watching(tmp_path / "log.jsonl", posterior)
    yield found
    found.process.kill()
    found.process.wait()


def test_a_growing_log_is_followed_to_a_stop(tmp_path: Path, curve: pd.DataFrame, watching: Watching) -> None:
    """The log is not there at first; then it grows, is cut within a line, truncated, rotated, and grows on."""
    log, all_lines = tmp_path / "log.jsonl", lines(curve)
    log.write_text("".join(all_lines[:4]) + all_lines[4][:30])
    watching.wait_for(4)
    with log.open("a") as file:
        file.write(all_lines[4][30:])
    watching.wait_for(5)
    log.write_text("".join(all_lines[5:8]))
    watching.wait_for(8)
    log.rename(tmp_path / "log.jsonl.1")
    log.write_text("".join(all_lines[7:12]))
    watching.wait_for(12)
    assert watching.process.poll() is None
    with log.open("a") as file:
        file.write("".join(all_lines[12:]))
    assert watching.process.wait(60) == STOP
    found = watching.decisions()
    assert [one["step"] for one in found] == curve["step"].tolist()[: len(found)]
    assert [one["stop"] for one in found] == [False] * (len(found) - 1) + [True]
    assert {"p_past_peak", "kl_peak", "remaining_gain", "best_kl", "reason", "warnings"} <= set(found[-1])
    assert float(str(found[-1]["kl"])) < 9
    assert "stop: rule 'regret'" in watching.said.read_text()


def test_interrupt(tmp_path: Path, curve: pd.DataFrame, watching: Watching) -> None:
    (tmp_path / "log.jsonl").write_text("".join(lines(curve)[:3]))
    watching.wait_for(3)
    watching.process.send_signal(signal.SIGINT)
    assert watching.process.wait(30) == INTERRUPTED
    assert watching.said.read_text().splitlines()[-1] == "interrupted"


def test_a_run_curve_that_has_passed_its_peak(
    tmp_path: Path, posterior: Path, curve: pd.DataFrame, capsys: pytest.CaptureFixture[str]
) -> None:
    curve.to_csv(tmp_path / "run.csv", index=False)
    assert cli.main(words(tmp_path / "run.csv", posterior)) == STOP
    rows = capsys.readouterr().out.splitlines()
    assert rows[0].startswith("step\tKL\tgold\tP(past peak)")
    assert rows[-1].endswith("\tSTOP")
    assert len(rows) < len(curve) + 1


def test_a_log_that_ends_before_its_peak(tmp_path: Path, posterior: Path, curve: pd.DataFrame) -> None:
    curve.head(8).to_csv(tmp_path / "run.csv", index=False)
    assert cli.main(words(tmp_path / "run.csv", posterior, "--json")) == FINE


def without_gold(curve: pd.DataFrame, proxy: list[float]) -> list[str]:
    rows = zip(curve["step"], curve["kl"], proxy, strict=True)
    return [
        json.dumps({"step": step, "kl": kl / TOKENS, "completions/mean_length": TOKENS, "reward": value}) + "\n"
        for step, kl, value in rows
    ]


def test_a_log_without_gold_goes_by_the_fleet(
    tmp_path: Path, posterior: Path, curve: pd.DataFrame, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "log.jsonl"
    log.write_text("".join(without_gold(curve, list(range(len(curve))))))
    assert cli.main(words(log, posterior, "--no-gold", "--json")) == STOP
    told = capsys.readouterr()
    found = [json.loads(line) for line in told.out.splitlines()]
    assert [one["gold"] for one in found] == [None] * len(found)
    assert [one["kl"] for one in found] == pytest.approx(curve["kl"].tolist()[: len(found)])
    assert [one["p_past_peak"] for one in found] == sorted(one["p_past_peak"] for one in found)
    assert len({tuple(one["kl_peak"]) for one in found}) == 1
    assert "stop (from KL alone): rule 'regret'" in told.err


def test_an_alarm_without_gold_has_a_status_of_its_own(
    tmp_path: Path, posterior: Path, curve: pd.DataFrame, capsys: pytest.CaptureFixture[str]
) -> None:
    few = curve.head(18)
    quiet, leap = [10.0 * d for d in few["kl"] ** 0.5], [0.0] * 15 + [50.0] * 3
    logs = tmp_path / "quiet.jsonl", tmp_path / "leap.jsonl"
    for log, extra in zip(logs, ([0.0] * 18, leap), strict=True):
        log.write_text("".join(without_gold(few, [a + b for a, b in zip(quiet, extra, strict=True)])))
    assert cli.main(words(logs[0], posterior, "--no-gold")) == FINE
    assert "ALARM" not in capsys.readouterr().out
    assert cli.main(words(logs[1], posterior, "--no-gold")) == ALARM
    told = capsys.readouterr()
    assert [line.split("\t")[2] for line in told.out.splitlines()[1:]] == ["–"] * 18
    assert told.out.splitlines()[15 + 1].endswith("going on, ALARM")
    assert "proxy per nat broke its pattern" in told.err


@pytest.mark.parametrize("drop", [False, True])
def test_run_curves_without_gold(tmp_path: Path, posterior: Path, curve: pd.DataFrame, drop: bool) -> None:
    """Whether the column is there or not, it is not looked at."""
    table = curve.drop(columns=[c for c in curve if str(c).startswith("gold")]) if drop else curve.assign(gold=0.0)
    table.to_csv(tmp_path / "run.csv", index=False)
    assert cli.main(words(tmp_path / "run.csv", posterior, "--no-gold")) == STOP


def test_gold_that_is_missing_is_asked_for(
    tmp_path: Path, posterior: Path, curve: pd.DataFrame, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "log.jsonl").write_text("".join(without_gold(curve, [0.0] * len(curve))))
    curve.drop(columns="gold").to_csv(tmp_path / "run.csv", index=False)
    for name in ("log.jsonl", "run.csv"):
        assert cli.main(words(tmp_path / name, posterior)) == BAD_INPUT
        assert "where no gold is measured, give --no-gold" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (("--no-gold", "--gold", "g", "--baseline", "1"), "--gold, --baseline and --no-gold stand against each other"),
        ((), "no such file or folder"),
        (("--every", "0"), "--every is 0; allowed: at least 0.05 seconds"),
        (("--rule", "luck"), "rule is 'luck'; allowed: expected"),
        (("--rm-params", "1M,2M"), "allowed here: one size"),
        (("--rm-params-from", "rm-{rm_params}"), "watch takes one run"),
    ],
)
def test_bad_input(
    tmp_path: Path, posterior: Path, capsys: pytest.CaptureFixture[str], more: tuple[str, ...], says: str
) -> None:
    assert cli.main(words(tmp_path / "none.csv", posterior, *more)) == BAD_INPUT
    told = capsys.readouterr()
    assert says in told.err
    assert told.out == "", "no header of a table that has no row"


def test_the_size_is_needed(tmp_path: Path, posterior: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["watch", str(tmp_path / "a.csv"), "--posterior", str(posterior)]) == BAD_INPUT
    assert "Missing option '--rm-params'" in capsys.readouterr().err

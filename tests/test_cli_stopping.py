"""`goldpeak budget`, `allocate` and `next`: their JSON and tables against the library, and what they refuse."""

from __future__ import annotations

import json
import pathlib
import re

import numpy as np
import pytest
import simulate

import goldpeak
from goldpeak import Candidate, CostModel, cli
from goldpeak.stopping.rules import RULES

KEYS = {
    *("rm_params", "rule", "level", "kl", "n", "gold_median", "gold_lo", "gold_hi", "p_past_peak"),
    *("regret_mean", "regret_cvar"),
}
COST = ["--rm-tokens", "1e6", "--policy-params", "1e8", "--response-tokens", "100", "--samples", "64"]
RL = [*COST, "--kl-per-step", "0.01", "--kl-power", "2"]


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    path = tmp_path_factory.mktemp("stopping") / "post.nc"
    goldpeak.save(goldpeak.fit(simulate.runs(np.random.default_rng(0)), "rl_paper", draws=250), path)
    return path


def run(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    assert cli.main([str(word) for word in words]) == 0
    return capsys.readouterr().out


# ---- budget


def test_json_of_a_budget_is_the_table_of_the_library(stored: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--rm-params", "3M,1e9", "--rule", "all", "--level", 0.1, "--kl-max", 70, "--drop", 0.02, "--prob", 0.5)
    items = json.loads(run(capsys, "budget", stored, *words, "--include", "typical", "--json"))
    table = goldpeak.budget(goldpeak.load(stored), [3e6, 1e9], "all", 0.1, "typical", 70.0, drop=0.02, prob=0.5).table
    assert [set(item) for item in items] == [KEYS] * 10
    assert [item["rule"] for item in items] == list(RULES) * 2
    assert [item["level"] for item in items] == [None, 0.1, 0.1, 0.1, 0.1] * 2
    assert {item["n"] for item in items} == {None}
    for name in KEYS - {"rule", "level", "n"}:
        assert [item[name] for item in items] == table[name].tolist()


def test_no_reason_to_stop_is_the_string_inf(stored: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    (item,) = json.loads(run(capsys, "budget", stored, "--rm-params", "1e7", "--kl-max", 1.5, "--json"))
    assert item["kl"] == "inf"
    assert "  inf  " in run(capsys, "budget", stored, "--rm-params", "1e7", "--kl-max", 1.5)


def test_observed_runs_are_named(stored: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    items = json.loads(run(capsys, "budget", stored, "--json"))
    assert [set(item) for item in items] == [KEYS | {"run"}] * 6
    assert run(capsys, "budget", stored).splitlines()[1].startswith(items[0]["run"])


def test_the_table_shows_neighbouring_levels_beside_each_stop(
    stored: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--rm-params", "1e7,1e7", "--rule", "all")
    header, *rows = run(capsys, "budget", stored, *words).splitlines()
    assert "at 0.125, 0.5" in header
    kl = goldpeak.budget(goldpeak.load(stored), [1e7, 1e7], "all").sensitivity["kl"].tolist()
    chance = next(row for row in rows if " chance " in row).split()
    assert [float(word.strip(",")) for word in chance[3:6]] == pytest.approx([kl[2], kl[1], kl[3]], rel=0.01)
    assert sum(" drawdown " in row for row in rows) == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--rule", "best"], "rule is 'best'; allowed: expected, chance, cvar, regret, drawdown, all"),
        (["--level", "0", "--kl-max", "-1"], "level is 0.0; allowed: .*; kl_max is -1.0; allowed:"),
        (["--rm-params", "big"], "--rm-params holds 'big'; allowed:"),
        (["--include", "all", "--rm-params", "1e7"], "include is 'all'; allowed:"),
    ],
)
def test_what_is_wrong_with_a_budget_is_named(
    stored: pathlib.Path, words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["budget", str(stored), *words]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert re.search(message, shown.err)


# ---- allocate and next


def test_allocate_is_the_librarys(stored: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["allocate", stored, "--rm-params", "1M,10M,1e9", "--budget", "1e15", *RL]
    shown = json.loads(run(capsys, *words, "--json"))
    wanted = goldpeak.allocate(goldpeak.load(stored), [1e6, 1e7, 1e9], CostModel(1e6, 1e8, 100, 64, 0.01, 2.0), 1e15)
    assert (shown["rm_params"], shown["kl"], shown["p_right"]) == (wanted.rm_params, wanted.kl, wanted.p_right)
    assert shown["next_step"] == wanted.next_step
    assert [row["limited_by"] for row in shown["sizes"]] == wanted.table["limited_by"].tolist()
    assert [row["kl"] for row in shown["sizes"]][-1] is None
    assert [row["p_right"] for row in shown["steps"]] == wanted.steps["p_right"].tolist()
    assert len(shown["frontier"]) == len(wanted.frontier)
    lines = run(capsys, *words).splitlines()
    assert lines[1].split()[0] == "1M"
    assert "price" in lines[3]
    assert any(line.startswith("Next: ") for line in lines)


def test_next_is_the_librarys(stored: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [
        "next",
        stored,
        "--target",
        "1B",
        "--rm-params",
        "1e7,1e9",
        "--kl",
        "2,40",
        "--points",
        "6",
        "--runs",
        "1,3",
    ]
    shown = json.loads(run(capsys, *words, "--json"))
    candidates = [
        Candidate(size, (0.0, kl), 6, None, count) for size in (1e7, 1e9) for kl in (2.0, 40.0) for count in (1, 3)
    ]
    wanted = goldpeak.next_measurement(goldpeak.load(stored), candidates, 1e9)
    assert [row["variance_expected"] for row in shown["candidates"]] == wanted.table["variance_expected"].tolist()
    assert candidates[shown["best"]] == wanted.best
    assert shown["target"] == 1e9
    lines = run(capsys, *words).splitlines()
    assert [line.endswith("best") for line in map(str.rstrip, lines[1:9])].index(True) == shown["best"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["allocate", "--rm-params", "1M", "--budget", "1", *RL], "budget is 1, which pays for none of the sizes"),
        (["allocate", "--rm-params", "1M", "--budget", "1e15", *COST], "has no kl_per_step, so it is for bon"),
        (["allocate", "--rm-params", "1M", "--budget", "1e15", *RL[2:], "--rm-tokens", "0"], "rm_tokens is 0.0"),
        (["next", "--rm-params", "1M", "--kl", "far"], "--kl holds 'far'"),
        (["next", "--rm-params", "1M", "--kl", "5", "--runs", "1.5"], "--runs holds '1.5'"),
        (["next", "--rm-params", "1M", "--kl", "5", "--target", "big"], "--target is 'big'"),
        (["next", "--rm-params", "1M", "--kl", "5", "--points", "0"], "points is 0"),
    ],
)
def test_what_is_wrong_is_named(
    stored: pathlib.Path, words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main([words[0], str(stored), *words[1:]]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert re.search(message, shown.err)

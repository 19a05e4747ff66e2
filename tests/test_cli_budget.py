"""`goldpeak budget`: its JSON, its table, what it refuses."""

from __future__ import annotations

import json
import pathlib
import re

import numpy as np
import pytest
import simulate

import goldpeak
from goldpeak import cli
from goldpeak.stopping.rules import RULES

KEYS = {
    *("rm_params", "rule", "level", "kl", "n", "gold_median", "gold_lo", "gold_hi", "p_past_peak"),
    *("regret_mean", "regret_cvar"),
}


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    path = tmp_path_factory.mktemp("budget") / "post.nc"
    post = goldpeak.fit(simulate.runs(np.random.default_rng(0)), "rl_paper", draws=250)
    goldpeak.save(post, path)
    return path


def run(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    assert cli.main([str(word) for word in words]) == 0
    return capsys.readouterr().out


def test_json_is_the_table_of_the_library(stored: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
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
def test_what_is_wrong_is_named(
    stored: pathlib.Path, words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["budget", str(stored), *words]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert re.search(message, shown.err)

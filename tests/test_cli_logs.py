"""`goldpeak convert`, and `goldpeak check` of logs: from what a framework wrote to run curves, or nothing."""

from __future__ import annotations

import json
import os
from pathlib import Path

import log_files
import pandas as pd
import pytest
from log_files import GOLD

import goldpeak
from goldpeak import cli

README = Path(__file__).resolve().parents[1] / "README.md"


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return log_files.trainer_state(Path("rm-3M/trainer_state.json"), log_files.rows())


@pytest.mark.parametrize("out", ["runs.csv", "runs.parquet", "runs.PARQUET"])
def test_one_file_of_one_run(state: Path, out: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["convert", str(state), "--gold", GOLD, "--rm-params", "3M", "--out", out]) == 0
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "estimator k3 (GRPO) or k1 (RLOO), length 'completions/mean_length'" in shown.err
    assert "conversion: kl = 'kl' (nats per token, mean over all tokens) x 'completions/mean_length'" in shown.err
    assert shown.err.splitlines()[-1] == f"wrote {out}: 1 run, 8 points"
    runs = goldpeak.read_runs(out)
    direct = goldpeak.read_log(state, gold=GOLD, rm_params=3e6)
    assert runs.drop_attrs().identical(direct.drop_attrs())
    assert runs["run"].values.tolist() == ["rm-3M"]
    assert sorted(os.listdir()) == sorted(["rm-3M", out])


def test_what_is_written_is_as_logged_to_the_last_digit(state: Path) -> None:
    assert cli.main(["convert", str(state), "--gold", GOLD, "--rm-params", "3M", "--out", "runs.csv"]) == 0
    table = pd.read_csv("runs.csv")
    assert list(table.columns) == ["run", "rm_params", "method", "step", "kl", "gold", "proxy"]
    assert table["gold"].tolist() == [row[GOLD] for row in log_files.rows()]


def test_a_fleet_by_pattern(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log_files.trainer_state(Path("rm-1.2B/trainer_state.json"), log_files.rows())
    words = ["convert", "rm-3M", "rm-1.2B/", "--gold", GOLD, "--rm-params-from", "rm-{rm_params}", "--out", "runs.csv"]
    assert cli.main(words) == 0
    assert "wrote runs.csv: 2 runs, 16 points" in capsys.readouterr().err
    assert sorted(pd.read_csv("runs.csv")["rm_params"].unique()) == [3e6, 1.2e9]


@pytest.mark.parametrize("name", ["fleet.csv", "fleet.toml"])
def test_a_fleet_by_table(state: Path, name: str) -> None:
    Path("fleet.csv").write_text("path,rm_params,run,seed\nrm-3M,3M,mine,4\n")
    Path("fleet.toml").write_text('[[runs]]\npath = "rm-3M"\nrm_params = 3e6\nrun = "mine"\nseed = 4\n')
    assert cli.main(["convert", "--table", name, "--gold", GOLD, "--out", "runs.csv"]) == 0
    runs = goldpeak.read_runs("runs.csv")
    assert (runs["run"].values.tolist(), runs["rm_params"].values.tolist(), runs["seed"].values.tolist()) == (
        ["mine"],
        [3e6],
        [4],
    )


def test_a_table_of_ones_own(state: Path) -> None:
    pd.DataFrame({"t": [1, 2, 3], "k": [1.0, 2, 3], "g": [1.0, 2, 1]}).to_csv("mine.csv", index=False)
    words = ["convert", "mine.csv", "--map", "kl=k", "--map", "gold=g", "--map", "step=t", "--kl-unit", "bits"]
    assert cli.main([*words, "--rm-params", "1e9", "--run", "a", "--out", "runs.csv"]) == 0
    assert pd.read_csv("runs.csv")["kl"].round(4).tolist() == [0.6931, 1.3863, 2.0794]


def test_interpolated_points_are_marked_in_the_file(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"step": s, "kl": 0.1 * s, "completions/mean_length": 10.0} for s in (10, 20, 30, 40)]
    log_files.jsonl(Path("a.jsonl"), rows + [{"step": s, "gold": 1.0 * s} for s in (10, 25, 40)])
    assert cli.main(["convert", "a.jsonl", "--rm-params", "1e9", "--out", "runs.csv"]) == 0
    assert "Warning: a.jsonl: run 'a': 1 x kl interpolated between neighbouring steps" in capsys.readouterr().err
    assert pd.read_csv("runs.csv")["kl_interpolated"].tolist() == [0, 1, 0]
    assert cli.main(["check", "runs.csv"]) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("rm-3M --gold none --rm-params 3M --out x.csv", "no key 'none' for gold"),
        ("rm-3M --rm-params 3M --out x.csv", "give --gold KEY, one of 'rewards/gold/mean'"),
        (f"rm-3M --gold {GOLD} --out x.csv", "give --rm-params N"),
        (f"rm-3M --gold {GOLD} --rm-params 3M --out x.txt", "ends in '.txt'; allowed: .csv or .parquet"),
        (f"rm-3M --gold {GOLD} --rm-params 3M --out no/x.csv", "the folder no does not exist"),
        (f"nothing --gold {GOLD} --rm-params 3M --out x.csv", "no such file or folder"),
        (f"rm-3M --gold {GOLD} --rm-params 3M,4M --out x.csv", "--rm-params takes one size"),
        (f"rm-3M --gold {GOLD} --rm-params big --out x.csv", "--rm-params holds 'big'"),
        (f"rm-3M --gold {GOLD} --rm-params 3M --rm-params-from x --out x.csv", "not both"),
        (f"rm-3M --gold {GOLD} --rm-params-from rm --out x.csv", "no place {rm_params}"),
        ("rm-3M --map speed=s --out x.csv", "--map holds 'speed=s'; allowed: NAME=COLUMN, NAME one of kl, gold"),
        ("--out x.csv", "Missing argument 'SOURCE' (or --table)"),
        ("rm-3M --table fleet.csv --out x.csv", "give either SOURCE or --table"),
        ("--table fleet.csv --out x.csv", "fleet.csv"),
        ("rm-3M", "Missing option '--out'"),
        (f"rm-3M --gold {GOLD} --rm-params 3M --format tb --out x.csv", "allowed: auto, trl, tensorboard"),
        ("rm-3M/trainer_state.json --out rm-3M/trainer_state.json", "ends in '.json'"),
        (f"mine.csv --gold {GOLD} --rm-params 3M --out mine.csv", "is one of the files to read"),
    ],
)
def test_bad_input_writes_nothing(state: Path, words: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    pd.DataFrame(log_files.rows()).to_csv("mine.csv", index=False)
    assert cli.main(["convert", *words.split()]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert message in shown.err
    assert "Traceback" not in shown.err
    assert sorted(os.listdir()) == ["mine.csv", "rm-3M"]


def test_an_old_file_stays_where_the_new_cannot_be_made(state: Path) -> None:
    Path("runs.csv").write_text("old")
    assert cli.main(["convert", "rm-3M", "--gold", "none", "--rm-params", "3M", "--out", "runs.csv"]) == 2
    assert Path("runs.csv").read_text() == "old"


def test_a_full_disk_leaves_the_old_file(
    state: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(self: object, path: Path, **_: object) -> None:
        Path(path).write_text("half")
        raise OSError(28, "No space left on device")

    Path("runs.csv").write_text("old")
    monkeypatch.setattr(pd.DataFrame, "to_csv", full)
    assert cli.main(["convert", str(state), "--gold", GOLD, "--rm-params", "3M", "--out", "runs.csv"]) == 2
    assert "Error: runs.csv: cannot be written: No space left on device" in capsys.readouterr().err
    assert (Path("runs.csv").read_text(), sorted(os.listdir())) == ("old", ["rm-3M", "runs.csv"])


# ---- check


def test_check_shows_what_was_read(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = log_files.rows()
    rows[0][GOLD] = float("nan")
    log_files.trainer_state(state, rows)
    assert cli.main(["check", "rm-3M", "--gold", GOLD, "--rm-params", "3M"]) == 0
    shown = capsys.readouterr()
    for text in (
        "Runs: 1, reward-model sizes: 1, points: 7, KL 1 to 4 nats.",
        "rm-3M: rm-3M (format trl; framework TRL GRPO or RLOO)",
        "read: kl 'kl' in nats_per_token, estimator k3 (GRPO) or k1 (RLOO), length 'completions/mean_length'",
        "gold 'rewards/gold/mean', proxy 'reward'",
        "points: 7, KL 1 to 4 nats per response",
        "conversion: kl = 'kl' (nats per token, mean over all tokens) x 'completions/mean_length'",
        "dropped: 1 x gold is NaN or infinite",
    ):
        assert text in shown.out
    assert shown.err == "Warning: rm-3M: run 'rm-3M': 1 dropped: gold is NaN or infinite\n"
    assert cli.main(["check", "rm-3M", "--gold", GOLD, "--rm-params", "3M", "--json"]) == 0
    (item,) = json.loads(capsys.readouterr().out)
    assert (item["run"], item["points"], item["kl_min"], item["kl_max"]) == ("rm-3M", 7, 1.0, 4.0)
    assert item["reading"]["kl_unit"] == "nats_per_token"
    assert [note["count"] for note in item["reading"]["notes"] if note["kind"] == "dropped"] == [1]
    assert os.listdir() == ["rm-3M"]


def test_check_takes_a_csv_for_run_curves_unless_told(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pd.DataFrame(log_files.rows()).to_csv("mine.csv", index=False)
    assert cli.main(["check", "mine.csv"]) == 2
    assert "column 'run' is missing" in capsys.readouterr().err
    assert cli.main(["check", "mine.csv", "--gold", GOLD, "--rm-params", "3M"]) == 0
    assert "framework TRL GRPO or RLOO" in capsys.readouterr().out
    assert cli.main(["check", str(state)]) == 2
    assert "give --gold KEY" in capsys.readouterr().err


def test_a_fit_takes_logs_directly(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One command from what the framework wrote to a posterior: the one that two commands give."""
    log_files.trainer_state(Path("rm-1.2B/trainer_state.json"), log_files.rows(range(1, 12)))
    said = ["rm-3M", "rm-1.2B", "--gold", GOLD, "--rm-params-from", "rm-{rm_params}"]
    settings = ["--card", "rl_paper", "--seed", "1", "--draws", "400"]
    assert cli.main(["fit", *said, *settings, "--out", "direct.nc"]) in (0, 3)
    assert "rm-3M: rm-3M (format trl; framework TRL GRPO or RLOO)" in capsys.readouterr().err
    assert cli.main(["convert", *said, "--out", "runs.csv"]) == 0
    assert cli.main(["fit", "runs.csv", *settings, "--out", "curves.nc"]) in (0, 3)
    direct, curves = (goldpeak.load(name)["posterior"].to_dataset() for name in ("direct.nc", "curves.nc"))
    assert direct.drop_attrs().identical(curves.drop_attrs())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["rm-3M", "--rm-params", "3M"], "give --gold KEY"),
        (["rm-3M", "--gold", GOLD, "--rm-params", "3M", "--method", "bon"], "training logs are of method rl"),
        ([], "Missing argument 'FILE'"),
    ],
)
def test_a_fit_refuses_logs_as_convert_does(
    state: Path, words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["fit", *words, "--card", "rl_paper", "--out", "post.nc"]) == 2
    assert message in capsys.readouterr().err
    assert os.listdir() == ["rm-3M"]


def test_the_readme_names_every_option() -> None:
    text = README.read_text()
    for option in ("--gold", "--rm-params", "--rm-params-from", "--table", "--map", "--kl-unit", "--length"):
        assert option in text

"""The command line's contract: exit statuses, what goes where, the JSON, clean messages."""

from __future__ import annotations

import json
import os
import pathlib
import signal
import subprocess
import sys
import textwrap
import time
import warnings

import numpy as np
import pandas as pd
import pytest
import simulate
from interruptions import heeding_ctrl_c

from goldpeak import cli, store
from goldpeak.cli import peak
from goldpeak.cli.app import COMMANDS
from goldpeak.errors import ConvergenceWarning
from goldpeak.gates import Gates, gates_of
from goldpeak.runs import read_runs, summarise

HEAVY = ("numpy", "pandas", "xarray", "pymc", "matplotlib", "scipy", "jax", "arviz_stats")
JSON_KEYS = {"rm_params", "median", "lo", "hi", "prob", "interval", "p_peak_in_range", "extrapolated"} | {
    f"gold_{name}" for name in ("median", "lo", "hi")
}


def environment(**more: str) -> dict[str, str]:
    forced = ("FORCE_COLOR", "PY_COLORS", "GITHUB_ACTIONS", "COLUMNS", "NO_COLOR")
    return {k: v for k, v in os.environ.items() if k not in forced} | more


def goldpeak(*args: object, **kwargs: object) -> subprocess.CompletedProcess[str]:
    """Run the command line as a user would, and insist on clean messages."""
    command = [sys.executable, "-m", "goldpeak", *map(str, args)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment(), timeout=300, **kwargs)
    for stream in (done.stdout, done.stderr):
        assert "Traceback" not in stream
        assert "\x1b" not in stream
    return done


def start(*args: object, cwd: pathlib.Path) -> subprocess.Popen[str]:
    with heeding_ctrl_c():
        return subprocess.Popen(
            [sys.executable, "-m", "goldpeak", *map(str, args)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(),
            cwd=cwd,
        )


@pytest.fixture(scope="session")
def csv(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """Eight runs on four sizes; all peaks lie inside."""
    path = tmp_path_factory.mktemp("cli") / "runs.csv"
    table = simulate.table(np.random.default_rng(0), sizes=(1e6, 3e6, 1e7, 3e7))
    table.drop(columns=["rm", "gold_se"]).to_csv(path, index=False)
    return path


Fitted = tuple[subprocess.CompletedProcess[str], pathlib.Path]


@pytest.fixture(scope="session")
def fitted(csv: pathlib.Path) -> Fitted:
    """A fit that passes its gate: what the command said, and the posterior."""
    out = csv.with_name("post.nc")
    return goldpeak("fit", csv, "--card", "rl_paper", "--out", out, "--draws", 250), out


@pytest.fixture(scope="session")
def passed(fitted: Fitted) -> pathlib.Path:
    return fitted[1]


@pytest.fixture(scope="session")
def failed(passed: pathlib.Path) -> pathlib.Path:
    """The same posterior, had its gate failed."""
    post = store.load(passed)
    post.attrs["gates"] = Gates(False, {"rhat_max": 1.2}, ("R-hat reaches 1.200; wanted: below 1.01",)).to_json()
    path = passed.with_name("failed.nc")
    store.save(post, path)
    return path


# ---- help, version, start-up


def test_help_is_fast_because_it_imports_nothing_heavy() -> None:
    code = f"""
        import sys
        from goldpeak.cli import main
        for words in ([], ["--help"], ["fit", "--help"], ["--version"]):
            assert main(words) == 0
        print("LOADED", [name for name in {HEAVY!r} if name in sys.modules])
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "LOADED []", done.stderr


def test_help_names_every_command_and_exit_status() -> None:
    shown = goldpeak("--help")
    assert shown.returncode == 0
    said = " ".join(shown.stdout.split())
    for name, _, _ in COMMANDS:
        assert f" {name} " in said
    for word in ("0 fine", "1 fault", "2 bad input", "3 a gate failed", "10 'watch'", "11 'watch", "130 interrupted"):
        assert word in said


def test_help_breaks_lines_where_the_terminal_ends(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    assert cli.main(["watch", "--help"]) == 0
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    first = lines.index(next(line for line in lines if line.startswith("Ends at the first checkpoint")))
    assert lines[first + 1].startswith("are truncated, rotated")
    assert min(map(len, lines[first : first + 2])) > 80


def test_no_arguments_show_the_help(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["goldpeak"])
    assert cli.main() == 0
    assert "Usage: goldpeak" in capsys.readouterr().out


# ---- bad input: status 2, one clean message


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("chek", "Did you mean 'check'?"),
        ("check", "Missing argument 'FILE'"),
        ("check nope.csv", "nope.csv"),
        ("check bad.csv", "column 'gold' is missing"),
        ("fit good.csv --out x.nc", "Missing option '--card': Name of a shipped card"),
        ("fit good.csv --card rl_paper --out x.csv", "ends in '.csv'; allowed: .nc"),
        ("peak .", "is a folder; needed is a posterior"),
        ("backtest good.csv --cards rl_paper --plot x.txt", "ends in '.txt'; allowed: .png or .pdf or .svg"),
        ("fit good.csv --card rl_papr --out x.nc", "did you mean 'rl_paper'?"),
        ("fit good.csv --card rl_paper --out good.csv", "is one of the files to read"),
        ("fit good.csv --card rl_paper --out .", "is a folder"),
        ("fit good.csv --card rl_paper --out no/x.nc", "the folder no does not exist"),
        ("fit good.csv --card rl_paper --out x.nc --engine magic", "engine is 'magic'"),
        ("fit good.csv --card rl_paper --out x.nc --draws 0", "draws is 0"),
        ("fit good.csv --card rl_paper --out x.nc --kl-max 1", "kl_max is 1"),
        ("fit good.csv --card rl_paper --out x.nc --seed -1", "--seed"),
        ("peak nope.nc", "no such file"),
        ("peak good.csv", "not a netCDF file that can be read; needed is a posterior"),
        ("peak good.csv --rm-params 1e9,huge", "--rm-params holds 'huge'"),
        ("fit post.nc --card rl_paper --out x.nc", "post.nc: .nc is the ending of a posterior; needed are run curves"),
        ("convert post.nc --gold g --rm-params 1e9 --out x.csv", "post.nc: .nc is the ending of a posterior"),
        ("compare post.NC good.csv", "posteriors (.nc) go without run curves"),
        ("models --prior", "name it, e.g. goldpeak models similar --prior"),
        ("models nope", "no such card"),
        ("models bad.csv", "no such card"),
        ("lab --out d --config nope.toml", "nope.toml"),
        ("demo --out good.csv", "cannot be made a folder"),
        ("demo --out good.csv/sub", "cannot be made a folder"),
    ],
)
def test_bad_input(
    words: str,
    message: str,
    tmp_path: pathlib.Path,
    csv: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    pathlib.Path("good.csv").write_bytes(csv.read_bytes())
    pathlib.Path("bad.csv").write_text("run,rm_params,kl\na,1,1\n")
    assert cli.main(words.split()) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert any(line.startswith("Error: ") for line in shown.err.splitlines())
    assert message in shown.err
    assert "Traceback" not in shown.err
    assert sorted(os.listdir()) == ["bad.csv", "good.csv"]


def test_bad_input_through_the_shell(tmp_path: pathlib.Path) -> None:
    done = goldpeak("check", tmp_path / "nope.csv")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("Error: ")


def test_debug_shows_the_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--debug", "models", "nope"]) == 2
    shown = capsys.readouterr().err
    assert "Traceback" in shown
    assert shown.splitlines()[-2].startswith("Error: nope")


def test_a_fault_is_one_line_and_how_to_report_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken() -> None:
        raise RuntimeError("boom\nand more")

    monkeypatch.setattr("goldpeak.library.models", broken)
    assert cli.main(["models"]) == 1
    first, second = capsys.readouterr().err.splitlines()
    assert first == "Error: unexpected RuntimeError: boom and more"
    assert second.endswith("goldpeak --debug models")


def test_a_full_disk_is_no_fault(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def full() -> None:
        raise OSError(28, "No space left on device", "post.nc")

    monkeypatch.setattr("goldpeak.library.models", full)
    assert cli.main(["models"]) == 2
    assert capsys.readouterr().err == "Error: post.nc: No space left on device\n"


# ---- check


def test_check_summarises_several_files(csv: pathlib.Path, tmp_path: pathlib.Path) -> None:
    rising = pd.DataFrame({"run": "up", "rm_params": 1e8, "kl": np.arange(1, 13), "gold": np.sqrt(np.arange(1, 13))})
    rising.to_csv(tmp_path / "up.csv", index=False)
    done = goldpeak("check", csv, tmp_path / "up.csv")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert "Runs: 9, reward-model sizes: 5, points: 108, KL 0.2 to 40 nats." in lines
    assert next(line for line in lines if line.startswith("up ")).split()[-1] == "no"
    assert next(line for line in lines if line.startswith("rl-1e+06-0 ")).split()[-1] == "yes"


def test_check_lists_the_problems_of_every_file(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("one.csv", "two.csv"):
        (tmp_path / name).write_text("run,rm_params,kl\na,1,1\n")
    assert cli.main(["check", str(tmp_path / "one.csv"), str(tmp_path / "two.csv")]) == 2
    shown = capsys.readouterr().err
    assert "one.csv: column 'gold'" in shown
    assert "two.csv: column 'gold'" in shown


def test_a_warning_is_one_clean_line(csv: pathlib.Path, tmp_path: pathlib.Path) -> None:
    pd.read_csv(csv).assign(remark="x").to_csv(tmp_path / "runs.csv", index=False)
    done = goldpeak("check", tmp_path / "runs.csv")
    assert done.returncode == 0
    (line,) = done.stderr.splitlines()
    assert line.startswith("Warning: ")
    assert "remark" in line
    assert ".py" not in line


def test_warnings_elsewhere_stay_as_they_were(capsys: pytest.CaptureFixture[str]) -> None:
    before = warnings.showwarning, list(warnings.filters)
    assert cli.main(["models"]) == 0
    assert (warnings.showwarning, list(warnings.filters)) == before


def test_check_as_json_has_an_object_for_each_run(csv: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["check", str(csv), "--json"]) == 0
    items = json.loads(capsys.readouterr().out)
    found = summarise(read_runs(csv))
    assert pd.DataFrame(items).astype(found.dtypes).equals(found)


# ---- models


def test_models_lists_and_shows(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["models"]) == 0
    assert "rl_paper" in capsys.readouterr().out
    assert cli.main(["models", "rl_paper"]) == 0
    shown = capsys.readouterr().out
    for text in ("d (alpha - beta log d)", "beta.trend.slope", "normal(mu=0.0, sigma=0.1)", "arXiv:2210.10760"):
        assert text in shown


def test_models_shows_a_card_by_path(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    from goldpeak.library import load_card

    path = tmp_path / "mine.toml"
    path.write_text(load_card("bon_paper").to_toml().replace('name = "bon_paper"', 'name = "mine"'))
    assert cli.main(["models", str(path)]) == 0
    assert capsys.readouterr().out.startswith("mine: ")


# ---- fit


def test_a_fit_that_passes_is_status_0(fitted: Fitted) -> None:
    done, out = fitted
    assert (done.returncode, done.stdout) == (0, "")
    for text in ("engine exact: ", "beta_coef[slope]", "90% interval", "KL at peak", "rl-1e+06-0", "gates passed"):
        assert text in done.stderr
    assert gates_of(store.load(out)).passed


def test_a_failed_gate_is_status_3_and_the_posterior_is_written(
    csv: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("goldpeak.gates.MIN_ESS", 1e9)
    out = tmp_path / "post.nc"
    words = ["fit", str(csv), "--card", "rl_paper", "--out", str(out), "--draws", "60", "--engine", "exact"]
    assert cli.main(words) == 3
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.count("do not trust these numbers") == 1
    assert "GATE FAILED: " in shown.err
    assert "effective draws; wanted: above 1000000000" in shown.err
    assert not gates_of(store.load(out)).passed
    assert list(tmp_path.iterdir()) == [out]


def test_fit_asks_for_what_was_typed_and_keeps_chatter_and_warnings_on_stderr(
    passed: pathlib.Path,
    csv: pathlib.Path,
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    asked = []

    def known(runs: object, card: object, **options: object) -> object:
        asked.append(options)
        print("a sampler's chatter")
        warnings.warn("the exact engine's gate failed: k;\n falling back to nuts", ConvergenceWarning, stacklevel=2)
        return store.load(passed)

    monkeypatch.setattr("goldpeak.fitting.fit", known)
    words = ["fit", str(csv), "--card", "rl_paper", "--out", str(tmp_path / "p.nc")]
    assert cli.main(words) == 0
    assert cli.main([*words, "--seed", "7", "--draws", "30", "--kl-max", "100"]) == 0
    assert asked == [{"seed": 0}, {"seed": 7, "draws": 30, "kl_max": 100.0}]
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "a sampler's chatter" in shown.err
    assert shown.err.count("Warning: the exact engine's gate failed: k; falling back to nuts\n") == 2
    assert store.load(tmp_path / "p.nc").attrs["card_name"] == "rl_paper"


# ---- peak


def test_peak_json_of_observed_runs(passed: pathlib.Path) -> None:
    done = goldpeak("peak", passed, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    items = json.loads(done.stdout)
    assert len(items) == 8
    assert {frozenset(item) for item in items} == {frozenset(JSON_KEYS | {"run"})}
    first = items[0]
    assert first["run"] == "rl-1e+06-0"
    assert (first["rm_params"], first["prob"], first["interval"], first["extrapolated"]) == (1e6, 0.9, "eti", False)
    assert first["lo"] <= first["median"] <= first["hi"]


def test_peak_json_agrees_with_the_library(passed: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    from goldpeak.peaks import peak

    words = ["--rm-params", "2.3M,1e9", "--include", "typical", "--prob", "0.5", "--kl-max", "60", "--json"]
    assert cli.main(["peak", str(passed), *words]) == 0
    items = json.loads(capsys.readouterr().out)
    table = peak(store.load(passed), [2.3e6, 1e9], include="typical", prob=0.5, kl_max=60.0).table
    assert [set(item) for item in items] == [JSON_KEYS, JSON_KEYS]
    assert [item["rm_params"] for item in items] == [2300000, 1e9]
    assert [item["extrapolated"] for item in items] == [False, True]
    for name in ("median", "lo", "hi", "gold_median", "gold_lo", "gold_hi", "p_peak_in_range"):
        assert [float(item[name]) for item in items] == table[name].tolist()


def test_an_infinite_end_is_the_string_inf() -> None:
    row = dict.fromkeys(peak.JSON_FIELDS, 1.0) | {"hi": np.inf, "interval": "eti", "extrapolated": np.True_}
    (item,) = json.loads(peak._json(pd.DataFrame([row])))
    assert (item["hi"], item["lo"], item["extrapolated"]) == ("inf", 1.0, True)


def test_peak_of_a_failed_fit_prints_and_is_status_3(failed: pathlib.Path) -> None:
    done = goldpeak("peak", failed, "--rm-params", "1e9", "--json")
    assert done.returncode == 3
    assert len(json.loads(done.stdout)) == 1
    assert "GATE FAILED" in done.stderr


def test_peak_as_a_table(passed: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["peak", str(passed), "--rm-params", "3M,3e8", "--prob", "0.8"]) == 0
    header, near, far, *_ = capsys.readouterr().out.splitlines()
    assert header.split("  ")[0] == "rm_params"
    assert "80% interval" in header
    assert (near.split()[0], near.split()[-1]) == ("3M", "no")
    assert far.rstrip().endswith("1 decade")


@pytest.mark.parametrize("words", [["--include", "all", "--rm-params", "1e9"], ["--prob", "2"], ["--kl-max", "-1"]])
def test_peak_refuses(passed: pathlib.Path, words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["peak", str(passed), *words]) == 2
    assert "allowed:" in capsys.readouterr().err


# ---- interruptions


def test_ctrl_c_during_a_fit(csv: pathlib.Path, tmp_path: pathlib.Path) -> None:
    words = ("fit", csv, "--card", "rl_paper", "--out", "post.nc", "--draws", 1_000_000, "--engine", "nuts")
    process = start(*words, cwd=tmp_path)
    assert process.stderr is not None
    assert process.stderr.readline().startswith("fitting rl_paper")
    time.sleep(2)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err.strip()) == (130, "", "interrupted")
    assert list(tmp_path.iterdir()) == []


RUN = """
import ctypes, signal, sys, time
from goldpeak.cli import interrupt
def press(): signal.raise_signal(signal.SIGINT)
with interrupt.listen():
    {body}
"""


def run_interrupted(body: str) -> subprocess.CompletedProcess[str]:
    with heeding_ctrl_c():
        return subprocess.run([sys.executable, "-c", RUN.format(body=body)], capture_output=True, text=True, timeout=60)


def test_ctrl_c_dropped_in_a_callback_comes_again() -> None:
    done = run_interrupted("ctypes.CFUNCTYPE(None)(press)(); time.sleep(100); print('never here')")
    assert done.stdout == ""
    assert done.stderr.splitlines()[-1] == "KeyboardInterrupt"
    assert "Exception ignored" not in done.stderr


def test_ctrl_c_that_a_library_caught_is_raised_before_writing() -> None:
    body = """
    try: press()
    except KeyboardInterrupt: print("swallowed")
    interrupt.check(); print("never here")"""
    done = run_interrupted(body)
    assert done.stdout == "swallowed\n"
    assert done.stderr.splitlines()[-1] == "KeyboardInterrupt"


def test_ctrl_c_that_came_through_does_not_come_again() -> None:
    body = """
    try: ctypes.CFUNCTYPE(None)(press)(); interrupt.check()
    except KeyboardInterrupt: print("once")
time.sleep(0.5); print("and never again")"""
    done = run_interrupted(body)
    assert (done.returncode, done.stdout) == (0, "once\nand never again\n")


def test_an_error_that_follows_ctrl_c_is_the_interruption(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("goldpeak.cli.interrupt.seen", lambda: True)
    assert cli.main(["models", "nope"]) == 130
    assert capsys.readouterr().err == "interrupted\n"


@pytest.mark.parametrize("words", [("models",), ("--help",)])
def test_a_reader_that_goes_away_is_no_error(words: tuple[str, ...], tmp_path: pathlib.Path) -> None:
    process = start(*words, cwd=tmp_path)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert process.stderr.read() == ""
    assert process.wait(timeout=60) == 141

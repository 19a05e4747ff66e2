"""The demo: the split, the honest comparison, whole files, and the three commands it recommends."""

from __future__ import annotations

import json
import os
import pathlib
import shlex
import time

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from simulate import runs as simulated_runs

from goldpeak import cli, demo, store
from goldpeak.errors import StoreError
from goldpeak.peaks import Peak
from goldpeak.runs import digest, read_runs

SIZES = (1e3, 1e4, 1e5, 1e6, 1e7)
FILES = ["curves.png", "peak_vs_size.png", "peaks.csv", "posterior.nc", "runs.csv"]


@pytest.fixture(scope="module")
def runs() -> xr.Dataset:
    return simulated_runs(np.random.default_rng(3), sizes=SIZES, beta_slope=-0.01, noise=0.02)


@pytest.fixture(scope="module")
def measured(runs: xr.Dataset) -> pd.DataFrame:
    """One run that certainly misses, one that never turned, the others anywhere."""
    table = pd.DataFrame({"run": runs["run"].values, "rm_params": runs["rm_params"].values, "kl_peak": 9.0})
    table.loc[table["rm_params"] == 1e6, "kl_peak"] = [1e-9, np.inf]
    return table


@pytest.fixture(scope="module")
def result(runs: xr.Dataset, measured: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> demo.Demo:
    return demo.run(tmp_path_factory.mktemp("demo"), runs=runs, measured=measured)


@pytest.fixture
def fit_at_once(result: demo.Demo, monkeypatch: pytest.MonkeyPatch) -> None:
    """The fit is known already."""
    post = store.load(result.files[0])
    monkeypatch.setattr("goldpeak.fitting.fit", lambda *_, **__: post)


def test_the_split_keeps_every_point_with_its_run(runs: xr.Dataset) -> None:
    small, large = demo.split_by_size(runs)
    assert np.unique(small["rm_params"]).tolist() == [1e3, 1e4, 1e5]
    assert np.unique(large["rm_params"]).tolist() == [1e6, 1e7]
    for part in (small, large):
        for i, name in enumerate(part["run"].values):
            whole = runs["gold"].values[runs["run"].values[runs["run_index"].values] == name]
            assert part["gold"].values[part["run_index"].values == i].tolist() == whole.tolist()


def test_the_comparison_counts_misses() -> None:
    table = pd.DataFrame({"rm_params": [10.0, 20.0], "median": [3.0, 5.0], "lo": [2.0, 4.0], "hi": [4.0, np.inf]})
    found = Peak(xr.Dataset(), table, 0.9, 100.0, "new_run")
    names, kl = ["hit", "low", "high", "edge", "never"], [3.0, 1.9, 4.1, 4.0, np.inf]
    measured = pd.DataFrame({"run": names, "rm_params": [10.0] * 4 + [20.0], "kl_peak": kl})
    compared = demo.compare(found, measured).set_index("run")["inside"]
    assert compared.to_dict() == {"hit": True, "low": False, "high": False, "edge": True, "never": True}


def test_the_fit_has_not_seen_the_held_out_runs(result: demo.Demo, runs: xr.Dataset) -> None:
    post = store.load(result.files[0])
    held_out = set(result.table["run"])
    assert result.held_out_sizes == (1e6, 1e7)
    assert held_out.isdisjoint(post["constant_data"]["run"].values)
    assert held_out | set(post["constant_data"]["run"].values) == set(runs["run"].values)


def test_the_result_holds_hits_and_misses(result: demo.Demo) -> None:
    by_run = result.table.set_index("run")
    assert not by_run.loc["rl-1e+06-0", "inside"]
    assert by_run.loc["rl-1e+06-1", "measured"] == np.inf
    expected = (result.table["lo"] <= result.table["measured"]) & (result.table["measured"] <= result.table["hi"])
    assert result.table["inside"].tolist() == expected.tolist()
    assert result.inside == expected.sum() < len(result.table) == 4


def test_the_files_are_whole(result: demo.Demo, runs: xr.Dataset) -> None:
    folder = result.files[0].parent
    assert sorted(os.listdir(folder)) == FILES
    for name in ("curves.png", "peak_vs_size.png"):
        assert (folder / name).read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    pd.testing.assert_frame_equal(pd.read_csv(folder / "peaks.csv"), result.table)
    assert digest(read_runs(folder / "runs.csv")) == digest(demo.split_by_size(runs)[0])


def test_no_pyplot_figure_is_left(result: demo.Demo) -> None:
    from matplotlib import pyplot

    assert pyplot.get_fignums() == []


def test_the_commands_it_recommends_work(result: demo.Demo, capsys: pytest.CaptureFixture[str]) -> None:
    assert len(result.next_commands) == 3
    for command in result.next_commands:
        program, *words = shlex.split(command)
        assert program == "goldpeak"
        assert cli.main(words) == 0, command
        shown = capsys.readouterr()
        assert "Error" not in shown.err
        assert shown.out
        if "--json" in words:
            assert [item["rm_params"] for item in json.loads(shown.out)] == [1e7, 1e8]


@pytest.mark.usefixtures("fit_at_once")
def test_a_failure_midway_leaves_no_half_file(
    runs: xr.Dataset, measured: pd.DataFrame, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: object, path: pathlib.Path, **_: object) -> None:
        path.write_text("half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pandas.DataFrame.to_csv", full)
    with pytest.raises(StoreError, match=r"runs.csv: cannot be written: No space left on device"):
        demo.run(tmp_path, runs=runs, measured=measured)
    assert os.listdir(tmp_path) == ["posterior.nc"]


@pytest.mark.usefixtures("fit_at_once")
def test_progress_may_stop_it_before_anything_is_written(
    runs: xr.Dataset, measured: pd.DataFrame, tmp_path: pathlib.Path
) -> None:
    said = []

    def stop(line: str) -> None:
        said.append(line)
        if line.startswith("saving"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        demo.run(tmp_path, stop, runs=runs, measured=measured)
    assert said[0] == "fitting card similar to 6 runs on the 3 smaller sizes (1000 to 100000 parameters), 72 points ..."
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(("gate", "status"), [(True, 0), (False, 3)])
def test_the_command_prints_the_result(
    gate: bool,
    status: int,
    result: demo.Demo,
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from dataclasses import replace

    from goldpeak.gates import Gates

    shown_result = replace(result, gates=Gates(gate, {"ess": 1000.0}, () if gate else ("it failed",)))
    monkeypatch.setattr(demo, "run", lambda out, progress: shown_result)
    assert cli.main(["demo", "--out", str(tmp_path / "new")]) == status
    shown = capsys.readouterr()
    assert f"inside the predicted 90% interval in {result.inside} of 4 runs; about 4 were to be expected." in shown.out
    miss = next(line for line in shown.out.splitlines() if line.startswith("rl-1e+06-0"))
    assert miss.split()[-1] == "no"
    assert ("GATE FAILED" in shown.err) == (not gate)
    for command in result.next_commands:
        assert command in shown.out


def test_the_demo_on_the_bundled_runs(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    start = time.monotonic()
    assert cli.main(["demo", "--out", str(tmp_path / "goldpeak-demo")]) == 0
    assert time.monotonic() - start < 90
    assert sorted(os.listdir(tmp_path / "goldpeak-demo")) == FILES
    table = pd.read_csv(tmp_path / "goldpeak-demo" / "peaks.csv")
    assert f"in {table['inside'].sum()} of {len(table)} runs;" in capsys.readouterr().out
    assert table["rm_params"].nunique() == 5

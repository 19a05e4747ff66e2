"""Logs written by the frameworks themselves: TRL's trainer, its TensorBoard and MLflow callbacks, MLflow's client.

They run in an environment of their own, so that nothing here depends on torch::

    python -m venv .venv-trl
    .venv-trl/bin/python -m pip install "pip>=25.1"
    .venv-trl/bin/python -m pip install --group trl
    .venv-trl/bin/python -m pip install .
    python -m uv run pytest -m trl

goldpeak is needed there for the callback alone, and needs Python 3.12; with an older one that test is skipped. On
Linux the torch of the package index brings CUDA libraries (5 GB); a CPU build, installed first, does as well.
``GOLDPEAK_TRL_PYTHON`` names another interpreter that has these packages.
"""

from __future__ import annotations

import json
import os
import subprocess
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import goldpeak
from goldpeak import cli, read_log, read_runs
from goldpeak.errors import RunsWarning
from goldpeak.io.readers import read_logs

pytestmark = [pytest.mark.trl, pytest.mark.xdist_group("trl")]
REPOSITORY = Path(__file__).resolve().parents[2]
SCRIPTS = Path(__file__).parent / "frameworks"
GOLD, EVAL_GOLD = "rewards/gold/mean", "eval_rewards/gold/mean"


PYTHON = Path(os.environ.get("GOLDPEAK_TRL_PYTHON", REPOSITORY / ".venv-trl" / "bin" / "python"))


def run_there(script: str, *words: object) -> str:
    """Run a script with the interpreter of the group ``trl``; return what it prints."""
    python = PYTHON
    if not python.is_file():
        pytest.fail(f"{python}: no such interpreter; see the head of {Path(__file__).name}")
    command = [str(python), str(SCRIPTS / script), *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trl")
    run_there("train_grpo.py", folder)
    return folder


@pytest.fixture(scope="module")
def history(trained: Path) -> pd.DataFrame:
    state = json.loads((trained / "rm-3M" / "checkpoint-24" / "trainer_state.json").read_text())
    return pd.DataFrame(state["log_history"]).set_index("step")


def quiet(path: Path, gold: str, run: str = "rm-3M") -> xr.Dataset:
    with warnings.catch_warnings():
        warnings.simplefilter("error", RunsWarning)
        return read_log(path, gold=gold, rm_params=3e6, run=run)


def test_training_rows_of_grpo(trained: Path, history: pd.DataFrame) -> None:
    """KL per response as TRL defines it: the token mean, times tokens per response."""
    runs = quiet(trained / "rm-3M", GOLD)
    rows = history[history[GOLD].notna()]
    assert len(rows) == 24
    kl = rows["kl"] * rows["completions/mean_length"]
    order = np.argsort(kl.to_numpy())
    np.testing.assert_allclose(runs["kl"], kl.to_numpy()[order])
    np.testing.assert_allclose(runs["gold"], rows[GOLD].to_numpy()[order])
    np.testing.assert_allclose(runs["proxy"], rows["rewards/proxy/mean"].to_numpy()[order])
    assert runs["run"].values.tolist() == ["rm-3M"]


def test_the_gold_reward_has_weight_zero(history: pd.DataFrame) -> None:
    rows = history[history[GOLD].notna()]
    np.testing.assert_allclose(rows["reward"], rows["rewards/proxy/mean"], atol=1e-6)
    assert (rows[GOLD] - rows["reward"]).abs().max() > 0.05


def test_evaluations_start_at_the_initial_policy(trained: Path, history: pd.DataFrame) -> None:
    """The evaluation before training has KL 0: gold is counted from it."""
    runs = quiet(trained / "rm-3M", EVAL_GOLD)
    rows = history[history[EVAL_GOLD].notna()]
    assert rows["eval_kl"].iloc[0] == 0
    assert float(runs["baseline"][0]) == pytest.approx(rows[EVAL_GOLD].iloc[0])
    assert runs.sizes["point"] == len(rows) - 1 == 6
    kl = np.sort(rows["eval_kl"] * rows["eval_completions/mean_length"])[1:]
    np.testing.assert_allclose(runs["kl"], kl)


@pytest.mark.parametrize("gold", [GOLD, EVAL_GOLD])
def test_its_trackers_hold_the_same(trained: Path, gold: str) -> None:
    state = quiet(trained / "rm-3M", gold)
    xr.testing.assert_allclose(quiet(trained / "rm-3M" / "runs", gold), state, rtol=1e-5)
    xr.testing.assert_allclose(quiet(trained / "mlflow.db", gold), state, rtol=1e-12)


def test_its_trackers_hold_the_settings(trained: Path) -> None:
    for path in (trained / "rm-3M" / "runs", trained / "mlflow.db"):
        (log,) = read_logs(path)
        assert (log.settings["beta"], log.settings["sync_ref_model"]) == ("0.05", "False")


def test_the_command_line_converts_it(trained: Path, tmp_path: Path) -> None:
    out = tmp_path / "runs.csv"
    words = ["convert", str(trained / "rm-3M"), "--gold", GOLD, "--rm-params-from", "rm-{rm_params}", "--out", str(out)]
    assert cli.main(words) == 0
    xr.testing.assert_allclose(read_runs(out), quiet(trained / "rm-3M", GOLD))


@pytest.mark.parametrize("store", ["sqlite:///{}/mlflow.db", "file://{}/mlruns"])
def test_mlflows_client(tmp_path: Path, store: str) -> None:
    run_there("log_mlflow.py", store.format(tmp_path))
    with pytest.warns(RunsWarning, match="2 dropped: gold is NaN"):
        runs = read_log(tmp_path, gold=GOLD, rm_params=3e6)
    assert runs.sizes["run"] == 2
    assert all(name.startswith("rm-3M-") for name in runs["run"].values)
    kl = np.array([0.5, 1, 1.5, 2, 2.5])
    found = {tuple(runs["kl"].values[runs["run_index"].values == i].round(9)) for i in range(2)}
    assert found == {tuple(kl), tuple(2 * kl)}


def fleet_of_small_rms(seed: int) -> xr.DataTree:
    """Runs of smaller reward models on the tiny task: gold peaks near KL 5, 1.4 above the initial policy's."""
    rng, rows = np.random.default_rng(seed), []
    for size, kl_peak in ((1e6, 4.5), (1.5e6, 5.0), (2e6, 5.5)):
        for k in range(3):
            kl = np.linspace(0.2, 15.0, 14)
            u = np.sqrt(kl / kl_peak) * np.exp(0.05 * rng.standard_normal())
            gold = 1.4 * u * (2.0 - u) + 0.1 * rng.standard_normal(len(kl))
            run = {"run": f"{size:g}-{k}", "rm_params": size, "kl": kl, "gold": gold, "gold_se": 0.1}
            rows.append(pd.DataFrame(run))
    return goldpeak.fit(read_runs(pd.concat(rows)), "similar", seed=seed)


def test_the_callback_stops_grpo_and_tells_every_tracker(tmp_path: Path) -> None:
    """The tiny run over-optimises by itself: its gold peaks around step 20 of 24 and has halved by the last."""
    told = subprocess.run([PYTHON, "-c", "import sys; print(sys.version_info >= (3, 12))"], capture_output=True)
    if told.stdout.strip() != b"True":
        pytest.skip(f"{PYTHON}: goldpeak needs Python 3.12")
    goldpeak.save(fleet_of_small_rms(1), tmp_path / "post.nc")
    found = json.loads(run_there("stop_grpo.py", tmp_path, tmp_path / "post.nc").splitlines()[-1])
    assert 10 < found["stopped_at"] == found["last_step"] < 24
    assert found["reason"].startswith("rule 'regret'")
    rows = json.loads((tmp_path / "trainer_state.json").read_text())["log_history"]
    keys = {"goldpeak/p_past_peak", "goldpeak/kl_peak_median", "goldpeak/kl_peak_lo", "goldpeak/kl_peak_hi"}
    assert keys <= set().union(*rows)
    for log in ("mlflow.db", "rm-3M/runs"):
        (found_log,) = read_logs(tmp_path / log, "auto")
        assert keys <= {key.removeprefix("train/") for key in found_log.keys}
    assert json.loads((tmp_path / "stopper.json").read_text())["updates"]

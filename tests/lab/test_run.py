"""The whole experiment, small: its files, and that failures leave nothing behind."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from goldpeak import lab
from goldpeak.errors import FitError

TINY = lab.LabConfig(dim=4, humps=5, pairs=1000, val_pairs=500, one_layer=(2,), two_layer=(4,), seeds=2, epochs=2,
                     rl_steps=80, rl_checkpoints=10, rl_eval=64, bon_pools=3, bon_exact_pools=4, bon_samples=200,
                     bon_n_values=6)  # fmt: skip
FILES = ["bon.parquet", "bon_prompts.parquet", "lab.json", "rl.parquet", "rms.csv"]


def test_importing_the_lab_does_not_import_jax() -> None:
    code = "import sys, goldpeak.lab; assert 'jax' not in sys.modules and 'optax' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_says_how_to_install_jax(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jax", None)
    with pytest.raises(FitError, match=r"pip install 'goldpeak\[lab\]'"):
        lab.run(TINY, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_refuses_a_file_as_folder_before_working(tmp_path: Path) -> None:
    pytest.importorskip("jax")
    blocked = tmp_path / "file"
    blocked.touch()
    for out in (blocked, blocked / "below"):
        with pytest.raises(FitError, match="not a folder"):
            lab.run(TINY, out)


@pytest.mark.slow
def test_tables_and_reproducibility(tmp_path: Path) -> None:
    pytest.importorskip("jax")
    lines: list[str] = []
    lab.run(TINY, tmp_path / "a" / "deep", lines.append)
    lab.run(TINY, tmp_path / "b")
    assert len(lines) == 4
    assert sorted(p.name for p in (tmp_path / "b").iterdir()) == FILES
    for name in FILES:
        assert (tmp_path / "a" / "deep" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name

    rl, bon, prompts = (pd.read_parquet(tmp_path / "b" / f"{n}.parquet") for n in ("rl", "bon", "bon_prompts"))
    runs = ["w2-s0", "w2-s1", "w4x4-s0", "w4x4-s1"]
    for method, table in (("rl", rl), ("bon", bon)):
        assert table["run"].unique().tolist() == [f"{method}-{rm}" for rm in runs]
        assert set(table["rm_params"]) == {13, 45}
        assert set(table["rm_data"]) == {1000}
        assert np.isfinite(table.select_dtypes("number")).all().all()
    assert rl["kl"].min() > 0
    assert (bon.groupby("run")["n"].max() == 200).all()
    assert prompts["gold"].dtype == np.float32
    means = prompts.groupby(["run", "n"], sort=False)["gold"].mean().to_numpy()
    np.testing.assert_allclose(means, bon["gold"], atol=1e-6)
    assert pd.read_csv(tmp_path / "b" / "rms.csv")["rm"].tolist() == runs
    about = json.loads((tmp_path / "b" / "lab.json").read_text())
    assert about["config"]["dim"] == 4
    assert about["seed"] == TINY.seed
    assert str(tmp_path) not in json.dumps(about)


@pytest.mark.slow
def test_nothing_is_written_on_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("jax")

    def stop(line: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        lab.run(TINY, tmp_path / "out", stop)
    assert not (tmp_path / "out").exists()

    def full(*args: object, **kwargs: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(pd.DataFrame, "to_csv", full)
    with pytest.raises(OSError, match="no space"):
        lab.run(TINY, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []

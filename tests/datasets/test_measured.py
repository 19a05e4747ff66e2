"""The bundled experiment: complete, of the promised sizes and ranges, and showing what it is there to show."""

from __future__ import annotations

import json
import warnings
from importlib.resources import files

import numpy as np
import pytest
import xarray as xr

from goldpeak import datasets
from goldpeak.lab import LabConfig

SIZES = [37, 55, 91, 145, 253, 561, 1633, 5313, 18817, 70401]


def test_bundle_is_small_and_came_from_the_default_config() -> None:
    folder = files("goldpeak.datasets").joinpath("lab")
    names = {f.name for f in folder.iterdir()}
    assert names >= {"rl.parquet", "bon.parquet", "bon_prompts.parquet", "rms.csv", "lab.json"}
    assert sum(len(f.read_bytes()) for f in folder.iterdir()) < 2_000_000
    about = json.loads(folder.joinpath("lab.json").read_text())
    assert LabConfig.from_mapping(about["config"]) == LabConfig()
    assert set(about) == {"command", "seed", "config", "versions"}


@pytest.mark.parametrize("method", ["rl", "bon"])
def test_frames(method: str) -> None:
    frame = datasets.lab_frame(method)
    assert frame["run"].nunique() == 40
    assert sorted(frame["rm_params"].unique()) == SIZES
    assert set(frame["method"]) == {method}
    assert set(frame["rm_data"]) == {20_000}
    assert np.isfinite(frame.select_dtypes("number")).all().all()
    assert (frame["gold_se"] > 0).all()
    # Sampled and true gold agree within sampling error, over all points and not only on average.
    error = frame["gold_se"] if method == "rl" else np.hypot(frame["gold_se"], frame["gold_exact_se"])
    z = (frame["gold"] - frame["gold_exact"]) / error
    assert 0.8 < np.sqrt((z**2).mean()) < 1.2
    assert z.abs().max() < 5


def test_kl_ranges() -> None:
    rl, bon = datasets.lab_frame("rl"), datasets.lab_frame("bon")
    assert rl["kl"].min() > 0
    assert (rl.groupby("run")["kl"].max().between(40, 60)).all()
    assert (bon.groupby("run")["n"].agg(["min", "max", "size"]) == [1, 20_000, 27]).all().all()
    np.testing.assert_allclose(bon["kl"], np.log(bon["n"]) - 1 + 1 / bon["n"], atol=1e-12)


def test_prompts_average_to_the_table() -> None:
    prompts, bon = datasets.lab_prompts(), datasets.lab_frame("bon")
    assert len(prompts) == 40 * 40 * 27
    means = prompts.groupby(["run", "n"])["gold"].agg(["mean", "sem"])
    table = bon.set_index(["run", "n"]).sort_index()
    np.testing.assert_allclose(means["mean"].sort_index(), table["gold"], atol=1e-5)
    np.testing.assert_allclose(means["sem"].sort_index(), table["gold_se"], rtol=1e-3)


def test_larger_reward_models_rank_better() -> None:
    rms = datasets.lab_rms()
    assert rms.columns.tolist() == ["rm", "rm_params", "rm_data", "seed", "val_loss", "val_accuracy"]
    assert len(rms) == 40
    by_size = rms.groupby("rm_params")[["val_loss", "val_accuracy"]].mean()
    assert by_size["val_accuracy"].iloc[-3:].min() > by_size["val_accuracy"].iloc[:5].max()
    assert (rms["val_accuracy"] > 0.6).all()


@pytest.mark.parametrize("method", ["rl", "bon"])
def test_lab_aligns_the_true_curve_by_name(method: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        runs = datasets.lab(method)
    assert runs.sizes["run"] == 40
    assert runs["gold_exact"].dims == ("point",)
    assert runs["gold_exact"].attrs["units"] == "gold"
    key = "step" if method == "rl" else "n"
    table = datasets.lab_frame(method).set_index(["run", key])["gold_exact"]
    for point in (0, 333, runs.sizes["point"] - 1):
        name = str(runs["run"].values[runs["run_index"].values[point]])
        start = 0.0 if method == "rl" else table[name, 1]
        assert float(runs["gold_exact"][point]) == pytest.approx(table[name, int(runs[key][point])] - start)
    if method == "bon":
        assert int(runs["n"].min()) == 2  # n = 1 is the baseline


def test_best_of_n_peaks_move_with_size() -> None:
    peaks = datasets.measured_peaks(datasets.lab("bon"))
    small, large = peaks[peaks["rm_params"] <= 145], peaks[peaks["rm_params"] == 70401]
    assert small["turned"].all()
    assert small["kl_peak"].between(np.log(40) - 1, np.log(700) - 1).all()
    assert small["kl_peak"].median() < 5 < large["kl_peak"].median()
    assert large["gold_peak"].min() > small["gold_peak"].max()


def test_rl_rises_then_falls_and_peaks_move_with_size() -> None:
    peaks = datasets.measured_peaks(datasets.lab("rl"))
    assert peaks["turned"].all()
    by_size = peaks.groupby("rm_params")["kl_peak"].median()
    assert (by_size.iloc[:4].between(2, 6)).all()
    assert (by_size.iloc[-3:].between(6, 40)).all()
    last = datasets.lab_frame("rl").groupby("run")["gold_exact"].last()
    assert (last.to_numpy() < peaks.set_index("run").loc[last.index, "gold_peak"].to_numpy() - 0.4).all()


def curve(d_peak: float, d_max: float, noise: float) -> xr.Dataset:
    d = np.linspace(0.1, d_max, 40)
    gold = d * (2 * d_peak - d) / d_peak**2 + noise * np.random.default_rng(0).standard_normal(40)
    return xr.Dataset(
        {"kl": ("point", d**2), "gold_exact": ("point", gold), "rm_params": ("run", [10.0])},
        coords={"run": ["a"], "run_index": ("point", np.zeros(40, int))},
    )


@pytest.mark.parametrize(("noise", "tolerance"), [(0.0, 1e-6), (0.005, 0.06)])
def test_measured_peaks_finds_a_known_peak(noise: float, tolerance: float) -> None:
    row = datasets.measured_peaks(curve(2.0, 4.0, noise)).iloc[0]
    assert row["turned"]
    assert np.sqrt(row["kl_peak"]) == pytest.approx(2.0, abs=0.01 + 2 * tolerance)
    assert row["gold_peak"] == pytest.approx(1.0, abs=max(tolerance, 1e-6))


def test_measured_peaks_of_a_rising_curve_is_inf() -> None:
    row = datasets.measured_peaks(curve(5.0, 4.0, 0.0)).iloc[0]
    assert np.isinf(row["kl_peak"])
    assert not row["turned"]
    assert row["gold_peak"] == pytest.approx(4 * 6 / 25)


def test_points_without_a_true_value_do_not_count() -> None:
    whole = curve(2.0, 4.0, 0.0)
    holed = whole.assign(gold_exact=whole["gold_exact"].where(np.arange(40) != 7))
    assert datasets.measured_peaks(holed)["kl_peak"].item() == pytest.approx(4.0, rel=1e-6)


def test_refusals() -> None:
    with pytest.raises(ValueError, match=r"\['rl', 'bon'\]"):
        datasets.lab("ppo")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="gold_exact"):
        datasets.measured_peaks(curve(2.0, 4.0, 0.0).drop_vars("gold_exact"))
    with pytest.raises(ValueError, match="at least 3"):
        datasets.measured_peaks(curve(2.0, 4.0, 0.0).isel(point=[0, 1]))

"""Posterior files: round trip, stamp, and no half-written file whatever happens."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import simulate
import xarray as xr

import goldpeak
from goldpeak.errors import StoreError
from goldpeak.runs import digest
from goldpeak.store import load, save, stored_runs


@pytest.fixture(scope="module")
def runs() -> xr.Dataset:
    return simulate.runs(np.random.default_rng(0), points=5)


@pytest.fixture(scope="module")
def post(runs: xr.Dataset) -> xr.DataTree:
    return goldpeak.fit(runs, "rl", engine="exact", draws=50)


@pytest.fixture
def path(post: xr.DataTree, tmp_path: Path) -> Path:
    save(post, tmp_path / "fit.nc")
    return tmp_path / "fit.nc"


def test_what_is_saved_is_loaded(post: xr.DataTree, path: Path) -> None:
    again = load(path)
    assert again.identical(post)
    first, second = (goldpeak.peak(p, rm_params=[1e9]).table for p in (post, again))
    assert first.equals(second)


def test_the_runs_come_back_as_they_were(runs: xr.Dataset, path: Path) -> None:
    again = stored_runs(load(path))
    assert digest(again) == digest(runs)
    assert again.drop_attrs().equals(runs.drop_attrs())
    assert again.attrs == runs.attrs


def test_the_file_is_closed_and_can_be_replaced(post: xr.DataTree, path: Path) -> None:
    load(path)
    save(post, path)
    path.unlink()


def test_equal_posteriors_are_equal_files_with_ordinary_permissions(post: xr.DataTree, path: Path) -> None:
    (path.parent / "plain").touch()
    assert path.stat().st_mode == (path.parent / "plain").stat().st_mode


def edit(path: Path, change: Callable[[h5py.File], None]) -> None:
    with h5py.File(path, "r+") as file:
        change(file)


def set_attr(name: str, value: object) -> Callable[[h5py.File], None]:
    return lambda file: file.attrs.__setitem__(name, value)


def remove(name: str) -> Callable[[h5py.File], None]:
    return lambda file: file.__delitem__(name)


def move_a_point(file: h5py.File) -> None:
    file["observed_data/gold"][0] += 1e-9


def spoil_a_draw(file: h5py.File) -> None:
    file["posterior/beta"][0, 0, 0] = float("nan")


def rename_a_run(file: h5py.File) -> None:
    names = file["posterior/run"]
    names[0] = "another"


def change_a_prior(file: h5py.File) -> None:
    card = file.attrs["card"]
    card = card.decode() if isinstance(card, bytes) else str(card)
    changed = re.sub(r"sigma = [0-9.]+", "sigma = 0.123", card, count=1)
    assert changed != card
    file.attrs["card"] = changed


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (move_a_point, "its run curves have digest"),
        (change_a_prior, "its card has hash"),
        (set_attr("card", "name = 3"), "its card cannot be read"),
        (set_attr("goldpeak_schema", 99), "has layout 99, this goldpeak reads layout 1"),
        (set_attr("goldpeak_schema", "new"), "has layout new"),
        (lambda file: file.attrs.__delitem__("goldpeak_schema"), "not written by goldpeak"),
        (lambda file: file.attrs.__delitem__("card_hash"), "lacks the attribute card_hash"),
        (lambda file: file.attrs.__delitem__("gates"), "lacks the attribute gates"),
        (remove("log_likelihood"), "lacks the group log_likelihood"),
        (remove("posterior/alpha"), "its posterior lacks alpha"),
        (rename_a_run, "its posterior has 6 runs, its run curves 6, not the same"),
        (spoil_a_draw, "its posterior holds values that are not finite in beta"),
        (remove("constant_data/kl"), "its run curves cannot be read"),
    ],
)
def test_an_edited_file_is_refused(path: Path, change: Callable[[h5py.File], None], message: str) -> None:
    edit(path, change)
    with pytest.raises(StoreError, match=message):
        load(path)


def test_foreign_files_are_refused(tmp_path: Path) -> None:
    foreign = tmp_path / "foreign.nc"
    xr.Dataset({"a": ("x", [1.0])}).to_netcdf(foreign, engine="h5netcdf")
    with pytest.raises(StoreError, match="not written by goldpeak"):
        load(foreign)
    (tmp_path / "text.nc").write_text("not a netCDF file")
    with pytest.raises(StoreError, match="not a netCDF file"):
        load(tmp_path / "text.nc")
    (tmp_path / "empty.nc").touch()
    with pytest.raises(StoreError, match="not a netCDF file"):
        load(tmp_path / "empty.nc")


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_truncated_files_are_refused(path: Path, share: float) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(StoreError):
        load(path)


def test_missing_files_and_folders(post: xr.DataTree, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no such file"):
        load(tmp_path / "none.nc")
    with pytest.raises(StoreError, match="is a folder; needed is a posterior"):
        load(tmp_path)
    with pytest.raises(StoreError, match="does not exist"):
        save(post, tmp_path / "none" / "fit.nc")
    (tmp_path / "taken").mkdir()
    with pytest.raises(StoreError, match="cannot be written"):
        save(post, tmp_path / "taken")
    assert os.listdir(tmp_path) == ["taken"]


def test_a_folder_that_may_not_be_written(post: xr.DataTree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **settings: object) -> None:
        raise PermissionError("Permission denied")

    # Not by permissions: root, as whom tests often run, may write everywhere.
    monkeypatch.setattr(tempfile, "mkstemp", refuse)
    with pytest.raises(StoreError, match=r"fit\.nc: cannot be written: Permission denied"):
        save(post, tmp_path / "fit.nc")


def test_a_tree_without_stamp_is_not_saved(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no goldpeak stamp"):
        save(xr.DataTree(), tmp_path / "fit.nc")


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt(), RuntimeError("HDF error")], ids=repr)
def test_an_interrupted_write_leaves_the_old_file(
    post: xr.DataTree, path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    def half(self: xr.DataTree, target: Path, **settings: object) -> None:
        Path(target).write_bytes(b"half a file")
        raise error

    before = path.read_bytes()
    monkeypatch.setattr(xr.DataTree, "to_netcdf", half)
    with pytest.raises(StoreError if isinstance(error, OSError) else type(error)):
        save(post, path)
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == [path.name]

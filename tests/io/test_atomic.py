"""Files are whole or not there; a failure leaves what was there before."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from goldpeak.errors import StoreError
from goldpeak.io.atomic import replacing


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")

    def fail() -> None:
        with replacing(path) as temporary:
            temporary.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert (path.read_text(), os.listdir(tmp_path)) == ("old", ["a.txt"])


def test_the_new_file_takes_its_place_with_usual_permissions(tmp_path: Path) -> None:
    path, usual = tmp_path / "a.txt", tmp_path / "usual"
    path.write_text("old")
    usual.write_text("")
    with replacing(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE(usual.stat().st_mode)
    assert sorted(os.listdir(tmp_path)) == ["a.txt", "usual"]


def test_what_the_system_refuses_is_said_with_the_name(tmp_path: Path) -> None:
    path = tmp_path / "none" / "a.txt"
    with pytest.raises(StoreError, match=f"{path}: cannot be written: No such file or directory"), replacing(path):
        pass
    with pytest.raises(StoreError, match="cannot be written: No space left"), replacing(tmp_path / "a.txt"):
        raise OSError(28, "No space left on device")
    assert os.listdir(tmp_path) == []

"""What is typed on the command line: sizes, and files to write."""

from __future__ import annotations

import pathlib

import pytest

from goldpeak.cli import parse
from goldpeak.errors import FitError, StoreError


@pytest.mark.parametrize(
    ("text", "sizes"),
    [("1e9", [1e9]), ("3_000_000, 70k", [3e6, 7e4]), ("2.3M,1.2b,.5K", [2.3e6, 1.2e9, 500.0]), ("1E+3", [1e3])],
)
def test_sizes(text: str, sizes: list[float]) -> None:
    assert parse.sizes(text) == sizes


@pytest.mark.parametrize("text", ["", "0", "-1", "nan", "inf", "1e999", "1x", "1e9,", "k", "1e3k", "1,two"])
def test_sizes_refused(text: str) -> None:
    with pytest.raises(FitError, match="--rm-params holds '"):
        parse.sizes(text)


@pytest.mark.skipif(not pathlib.Path("/proc/self").is_dir(), reason="needs a folder where not even root may write")
def test_a_folder_that_cannot_be_written_to_is_refused() -> None:
    with pytest.raises(StoreError, match=r"^/proc/post.nc: cannot be written"):
        parse.output_file(pathlib.Path("/proc/post.nc"))
    with pytest.raises(StoreError, match=r"^/proc/sub: cannot be made a folder"):
        parse.folder_to_write(pathlib.Path("/proc/sub"))


def test_an_output_that_could_be_written_leaves_no_trace(tmp_path: pathlib.Path) -> None:
    assert parse.output_file(tmp_path / "post.nc") == tmp_path / "post.nc"
    assert list(tmp_path.iterdir()) == []

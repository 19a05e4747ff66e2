"""What is typed on the command line, read and checked."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path

from goldpeak.errors import FitError, StoreError

__all__ = ["folder_to_write", "output_file", "sizes"]

EXPONENTS = {"": 0, "k": 3, "m": 6, "b": 9}
SIZE = re.compile(r"([0-9][0-9_]*\.?[0-9_]*|\.[0-9]+)(?:e\+?([0-9]+)|([kmb]))?", re.IGNORECASE)


def sizes(text: str) -> list[float]:
    """Reward-model sizes, separated by commas: 1e9, 3_000_000, or with a suffix k, M or B.

    Raises
    ------
    FitError
        Naming every entry that is not a positive number.

    Examples
    --------
    >>> sizes("1e9, 3_000_000,1.2B,70k")
    [1000000000.0, 3000000.0, 1200000000.0, 70000.0]
    """
    words = [word.strip() for word in text.split(",")]
    found = [_size(word) for word in words]
    bad = [repr(word) for word, size in zip(words, found, strict=True) if size is None]
    if bad:
        raise FitError(f"--rm-params holds {', '.join(bad)}; allowed: numbers > 0, e.g. 1e9, 3_000_000, 70k, 3M, 1.2B")
    return [size for size in found if size is not None]


def _size(word: str) -> float | None:
    match = SIZE.fullmatch(word)
    if match is None:
        return None
    digits, exponent, suffix = match.groups()
    # One decimal text for float() to read, so that 2.3M is exactly 2300000.
    size = float(f"{digits.replace('_', '')}e{exponent or EXPONENTS[(suffix or '').lower()]}")
    return size if 0 < size < float("inf") else None


def output_file(path: Path, inputs: Sequence[Path] = ()) -> Path:
    """Refuse a file that could not be written, before any work is done for it.

    Raises
    ------
    StoreError
        If it is a folder, one of the `inputs`, or its folder is missing or cannot be written to.

    Examples
    --------
    >>> output_file(Path("missing/post.nc"))
    Traceback (most recent call last):
    ...
    goldpeak.errors.StoreError: missing/post.nc: the folder missing does not exist
    """
    if path.is_dir():
        raise StoreError(f"{path}: is a folder; give the name of a file")
    if path.exists() and any(other.exists() and path.samefile(other) for other in inputs):
        raise StoreError(f"{path}: is one of the files to read; give --out another name")
    if not path.parent.is_dir():
        raise StoreError(f"{path}: the folder {path.parent} does not exist")
    _try_to_write(path, path.parent)
    return path


def folder_to_write(path: Path) -> Path:
    """Make a folder if it is missing, and refuse one that could not be written to.

    Raises
    ------
    StoreError
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"{path}: cannot be made a folder ({error.strerror})") from error
    _try_to_write(path, path)
    return path


def _try_to_write(path: Path, folder: Path) -> None:
    try:
        handle, name = tempfile.mkstemp(prefix=".goldpeak-", dir=folder)
    except OSError as error:
        raise StoreError(f"{path}: cannot be written ({error.strerror})") from error
    os.close(handle)
    os.unlink(name)

"""What is typed on the command line, read and checked."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from goldpeak.errors import FitError, StoreError
from goldpeak.io.sizes import size_of

__all__ = ["cards", "columns", "engines", "folder_to_write", "names", "output_file", "sizes"]


def cards(incomplete: str) -> list[str]:
    """Shell completion: names of shipped cards.

    Examples
    --------
    >>> cards("rl_p")
    ['rl_paper']
    """
    from goldpeak.library import card_names

    return [name for name in card_names() if name.startswith(incomplete)]


def engines(incomplete: str) -> list[str]:
    """Shell completion: names of engines."""
    return [name for name in ("auto", "exact", "laplace_is", "nuts") if name.startswith(incomplete)]


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
    found = [size_of(word) for word in words]
    bad = [repr(word) for word, size in zip(words, found, strict=True) if size is None]
    if bad:
        raise FitError(f"--rm-params holds {', '.join(bad)}; allowed: numbers > 0, e.g. 1e9, 3_000_000, 70k, 3M, 1.2B")
    return [size for size in found if size is not None]


def names(text: str) -> list[str]:
    """Names between commas.

    Examples
    --------
    >>> names("similar, rl,")
    ['similar', 'rl']
    """
    return [name.strip() for name in text.split(",") if name.strip()]


def columns(words: Sequence[str]) -> dict[str, str]:
    """What columns of a table hold: ``NAME=COLUMN`` each.

    Raises
    ------
    FitError
        Naming every word that is not of that form, or whose name is not known.

    Examples
    --------
    >>> columns(["kl=my kl", "step=t"])
    {'kl': 'my kl', 'step': 't'}
    """
    from goldpeak.logs.fleet import ROLES

    pairs = [word.partition("=") for word in words]
    bad = [repr(word) for word, (name, _, column) in zip(words, pairs, strict=True) if name not in ROLES or not column]
    if bad:
        raise FitError(f"--map holds {', '.join(bad)}; allowed: NAME=COLUMN, NAME one of {', '.join(ROLES)}")
    return {name: column for name, _, column in pairs}


def output_file(path: Path, inputs: Sequence[Path] = (), endings: Sequence[str] = ()) -> Path:
    """Refuse a file that could not be written, before any work is done for it.

    Raises
    ------
    StoreError
        If it is a folder, one of the `inputs`, its name has none of the `endings` (where there are any), or its folder
        is missing or cannot be written to.

    Examples
    --------
    >>> output_file(Path("missing/post.nc"))
    Traceback (most recent call last):
    ...
    goldpeak.errors.StoreError: missing/post.nc: the folder missing does not exist
    """
    if path.is_dir():
        raise StoreError(f"{path}: is a folder; give the name of a file")
    problems = []
    if endings and path.suffix.lower() not in endings:
        problems.append(f"the file name ends in '{path.suffix}'; allowed: {' or '.join(endings)}")
    if path.exists() and any(other.exists() and path.samefile(other) for other in inputs):
        problems.append("is one of the files to read; give --out another name")
    if problems:
        raise StoreError(f"{path}: {'; '.join(problems)}")
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

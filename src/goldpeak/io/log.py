"""What a training log holds, whatever its format: scalars of a run, by key and step."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import numpy as np

from goldpeak.errors import GoldpeakError, RunsError
from goldpeak.wording import listed

__all__ = ["CUT_OFF", "EMPTY", "Log", "Roles", "Series", "clean", "joined", "number", "parsing", "quoted", "uncapped"]

LONGEST = 80
LARGEST = 1e308
"""Values beyond are infinite: MLflow's database cannot hold infinity and stores the largest float for it."""
CUT_OFF = "the last row is cut off and is left out"
"""What a reader puts up with where a run was killed while it wrote."""

type Roles = Mapping[str, str]
"""Which column holds what: ``step``, ``run``, ``rm_params`` ... to the name of the column."""


@dataclass(frozen=True)
class Series:
    """The values logged under one key, in the order in which they were written.

    Attributes
    ----------
    steps, values : numpy.ndarray
        float64, one entry per logged value; a value may be NaN or infinite, a step may repeat.
    lost : int
        How many values had no step.
    """

    steps: np.ndarray
    values: np.ndarray
    lost: int = 0


EMPTY = Series(np.empty(0), np.empty(0))


@dataclass(frozen=True)
class Log:
    """The log of one training run; its scalars are loaded when asked for.

    Attributes
    ----------
    run : str
        Name of the run: as the log has it (then `named`), else made of the path.
    source : str
        The file or folder, as the caller named it.
    format : str
        Which reader read it.
    keys : tuple of str
        Keys that may hold numbers: of tables those of text too, which may name runs.
    load : callable
        From keys to a `Series` each.
    settings : mapping
        Settings of the training run that stand in the log, as text.
    repairs : tuple of str
        What the reader had to put up with.
    named : bool
        Whether `run` is the run's own name rather than made of the path.
    """

    run: str
    source: str
    format: str
    keys: tuple[str, ...]
    load: Callable[[Sequence[str]], dict[str, Series]]
    settings: Mapping[str, str] = field(default_factory=dict)
    repairs: tuple[str, ...] = ()
    named: bool = False

    def called(self, run: str, *, named: bool = True) -> Log:
        """The same log under another name."""
        return replace(self, run=run, named=named)


def joined(parts: Sequence[Log]) -> Log:
    """Logs of one run as one log: keys of all, values of a key one part after another.

    Examples
    --------
    >>> one = Log("a", "kl.csv", "wandb", ("kl",), lambda keys: {"kl": Series(np.array([1.0]), np.array([0.5]))})
    >>> two = Log("a", "gold.csv", "wandb", ("gold",), lambda keys: {"gold": Series(np.array([1.0]), np.array([2.0]))})
    >>> joined([one, two]).keys
    ('kl', 'gold')
    """
    first = parts[0]
    if len(parts) == 1:
        return first
    keys = tuple(dict.fromkeys(key for part in parts for key in part.keys))

    def load(asked: Sequence[str]) -> dict[str, Series]:
        found: dict[str, list[Series]] = {key: [] for key in asked}
        for part in parts:
            for key, series in part.load([key for key in asked if key in part.keys]).items():
                found[key].append(series)
        return {key: _chained(series) for key, series in found.items()}

    settings = {name: value for part in parts for name, value in part.settings.items()}
    repairs = tuple(dict.fromkeys(repair for part in parts for repair in part.repairs))
    sources = ", ".join(dict.fromkeys(part.source for part in parts))
    return replace(first, source=sources, keys=keys, load=load, settings=settings, repairs=repairs)


def _chained(parts: Sequence[Series]) -> Series:
    if not parts:
        return EMPTY
    steps, values = (np.concatenate([getattr(part, name) for part in parts]) for name in ("steps", "values"))
    return Series(steps, values, sum(part.lost for part in parts))


def number(cell: object) -> float | None:
    """A logged value as a float; None if it is no number (text such as "NaN" and "Infinity" is one).

    Examples
    --------
    >>> [number(cell) for cell in (1, "Infinity", True, "high", None, 10**400)]
    [1.0, inf, None, None, None, inf]
    """
    if isinstance(cell, bool | np.bool_) or not isinstance(cell, int | float | str | np.number):
        return None
    try:
        value = float(cell)
    except OverflowError:
        return float("inf")
    except ValueError:
        return None
    return value if abs(value) < LARGEST or value != value else float(np.copysign(np.inf, value))


def uncapped(values: np.ndarray) -> np.ndarray:
    """Values of which the largest floats stand for infinity.

    Examples
    --------
    >>> uncapped(np.array([0.5, 1.7e308, -1.7e308])).tolist()
    [0.5, inf, -inf]
    """
    return np.where(np.abs(values) > LARGEST, np.copysign(np.inf, values), values)


def quoted(names: Iterable[str], most: int = 12) -> str:
    """Names in quotes, one after another, the first `most` of them.

    Examples
    --------
    >>> quoted(["kl", "reward", "loss"], most=2)
    "'kl', 'reward' (and 1 more)"
    """
    words = [repr(name if len(name) <= LONGEST else name[: LONGEST - 3] + "...") for name in names]
    return listed(words, most) or "none"


def clean(name: str) -> str:
    """A name that every file can hold: what is not Unicode (from file names) or not printable becomes ``?``.

    Examples
    --------
    >>> clean(os.fsdecode(bytes([97, 255]))), clean("a b")
    ('a?', 'a b')
    """
    text = name.encode("utf-8", "replace").decode()
    return "".join(letter if letter.isprintable() else "?" for letter in text).strip() or "run"


@contextmanager
def parsing(source: str | os.PathLike[str], what: str) -> Iterator[None]:
    """Turn whatever a parser says of a damaged file into a `RunsError`.

    Other people's parsers raise nearly anything on damaged input, so nothing narrower than Exception will do.

    Examples
    --------
    >>> with parsing("a.db", "a SQLite file"):
    ...     raise ValueError("bad page")
    Traceback (most recent call last):
    ...
    goldpeak.errors.RunsError: a.db: 1 problem
      - cannot be read as a SQLite file: bad page
    """
    try:
        yield
    except GoldpeakError:
        raise
    except OSError as error:
        raise RunsError(os.fspath(source), [f"cannot be read: {error.strerror or error}"]) from error
    except (Exception, RecursionError) as error:
        said = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise RunsError(os.fspath(source), [f"cannot be read as {what}: {ascii(said)[1:-1]}"]) from error

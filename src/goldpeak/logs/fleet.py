"""Which logs to read, and what they do not say, reward-model sizes above all: from options, a pattern or a table."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from goldpeak.errors import RunsError
from goldpeak.io.log import number, parsing
from goldpeak.io.sizes import size_of
from goldpeak.io.tables import read_table
from goldpeak.logs.choose import Asked
from goldpeak.names import COLUMNS

__all__ = ["COVARIATES", "ROLES", "Pattern", "Source", "read_fleet"]

NOTHING = Asked()
ROLES = ("kl", "gold", "proxy", "length", "step", "run", "rm_params")
"""What a column of a table can be said to hold."""
ASKED = ("kl", "gold", "proxy", "length", "kl_unit")
COVARIATES = tuple(name for name, c in COLUMNS.items() if c.per == "run" and name not in ("run", "rm_params", "method"))
NAMES = ("path", "run", "rm_params", "format", *ASKED, *COVARIATES)
PLACE = "{rm_params}"
GROUP = "(?P<rm_params>"
NUMBER = r"(?P<rm_params>[0-9]+(?:_[0-9]{3})*(?:\.[0-9]+)?(?:e\+?[0-9]+|[kmb](?![a-z]))?)"


@dataclass(frozen=True)
class Pattern:
    """Where a reward model's size stands in the name or the path of a run.

    Either glob-like text with the place ``{rm_params}`` (``*`` is anything but ``/``, ``?`` one such character, the
    rest is meant as it is), or a regular expression with a group ``(?P<rm_params>...)``. It is searched for anywhere,
    capitals or not; a size is written like 1e9, 3_000_000, 70k, 3M or 1.2B.

    Examples
    --------
    >>> Pattern("rm-{rm_params}-").size("runs/rm-1.2B-seed3")
    1200000000.0
    >>> Pattern(r"size=(?P<rm_params>[0-9]+)").size("size=3000/seed=1")
    3000.0
    """

    text: str

    def __post_init__(self) -> None:
        try:
            self.regex.groupindex["rm_params"]
        except KeyError:
            self._refuse("it has no place {rm_params} and no group (?P<rm_params>...)")
        except (re.error, OverflowError, RecursionError) as error:
            self._refuse(f"it is no regular expression: {error}")

    def _refuse(self, why: str) -> None:
        raise RunsError("--rm-params-from", [f"{self.text!r}: {why}; allowed: e.g. 'rm-{PLACE}-*'"])

    @property
    def regex(self) -> re.Pattern[str]:
        """The pattern as a regular expression."""
        if GROUP in self.text or PLACE not in self.text:
            return re.compile(self.text, re.IGNORECASE)
        before, _, after = self.text.partition(PLACE)
        return re.compile(_glob(before) + NUMBER + _glob(after), re.IGNORECASE)

    def size(self, text: str) -> float | None:
        """The size in a text; None if there is none, or more than one."""
        found = {size_of(match["rm_params"] or "") for match in self.regex.finditer(text)}
        return found.pop() if len(found) == 1 else None


def _glob(text: str) -> str:
    return re.escape(text).replace(r"\*", "[^/]*").replace(r"\?", "[^/]")


@dataclass(frozen=True)
class Source:
    """A log to read, and what it does not say itself.

    Attributes
    ----------
    path : str or path
    format : str
        One of `goldpeak.io.readers.FORMATS` or ``"auto"``.
    asked : Asked
        Keys and unit.
    rm_params : float, Pattern or None
        The reward model's size, or where in the run's name or path it stands; None where a column holds it.
    run : str or None
        The run's name; where the log holds several runs, which of them to read.
    columns : mapping
        Columns of a table that hold ``step``, ``run`` or ``rm_params``.
    covariates : mapping
        Other columns of run curves that are constant within a run (`COVARIATES`).
    """

    path: str | os.PathLike[str]
    format: str = "auto"
    asked: Asked = NOTHING
    rm_params: float | Pattern | None = None
    run: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    covariates: Mapping[str, object] = field(default_factory=dict)


def read_fleet(path: str | os.PathLike[str], defaults: Source) -> list[Source]:
    """Read a table of runs.

    Parameters
    ----------
    path : str or path
        ``.csv`` or ``.parquet`` with a row per run, or ``.toml`` with a table ``[[runs]]`` per run; what a TOML file
        says at its top holds for all. Needed: ``path`` (relative to the table's folder) and ``rm_params``; optional:
        ``run``, ``format``, ``kl``, ``gold``, ``proxy``, ``length``, ``kl_unit`` and covariates of run curves.
    defaults : Source
        What holds where the table says nothing.

    Raises
    ------
    RunsError
        With everything that is wrong in the table.
    """
    name = os.fspath(path)
    rows = _from_toml(Path(path)) if Path(path).suffix.lower() == ".toml" else _from_table(name)
    problems, sources = [], []
    for label, row in rows:
        wrong, source = _source(row, Path(path).parent, defaults)
        problems += [f"{label}: {text}" for text in wrong]
        sources.append(source)
    if not rows:
        problems.append("holds no runs; allowed: rows, or tables [[runs]], with path and rm_params")
    if problems:
        raise RunsError(name, problems)
    return sources


def _from_table(name: str) -> list[tuple[str, dict[str, object]]]:
    table = read_table(name)
    records = table.frame.to_dict("records")
    return [
        (f"row {label}", {str(k): v for k, v in row.items()}) for label, row in zip(table.rows, records, strict=True)
    ]


def _from_toml(path: Path) -> list[tuple[str, dict[str, object]]]:
    name = os.fspath(path)
    with parsing(name, "TOML"):
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    runs = content.pop("runs", [])
    if not isinstance(runs, list) or not all(isinstance(run, dict) for run in runs):
        raise RunsError(name, ["'runs' is not a list of tables; allowed: [[runs]] with path and rm_params"])
    return [(f"[[runs]] {i}", content | run) for i, run in enumerate(runs, 1)]


def _source(row: Mapping[str, Any], folder: Path, defaults: Source) -> tuple[list[str], Source]:
    cells = {name: cell for name, cell in row.items() if not _empty(cell)}
    problems = [f"holds {name!r}; allowed: {', '.join(NAMES)}" for name in cells if name not in NAMES]
    if "path" not in cells:
        problems.append("has no path")
    size = cells.get("rm_params")
    known = size_of(size.strip()) if isinstance(size, str) else size
    if size is not None and not (
        isinstance(known, int | float) and not isinstance(known, bool) and 0 < known < float("inf")
    ):
        problems.append(f"holds rm_params {size!r}; allowed: a number > 0, e.g. 1e9 or 3M")
    wrong = [name for name in ("path", "run", "format", *ASKED) if not isinstance(cells.get(name, ""), str)]
    problems += [f"holds {name} {cells[name]!r}; allowed: text" for name in wrong]
    if problems:
        return problems, defaults
    asked = Asked(**{name: cells.get(name, getattr(defaults.asked, name)) for name in ASKED})
    return [], Source(
        folder / cells["path"],
        cells.get("format", defaults.format),
        asked,
        defaults.rm_params if known is None else float(known),
        cells.get("run"),
        defaults.columns,
        {name: _covariate(name, cells[name]) for name in COVARIATES if name in cells},
    )


def _covariate(name: str, cell: object) -> object:
    """A number where one is meant; what is none stays, for `read_runs` to complain of."""
    value = number(cell) if COLUMNS[name].kind != "text" else None
    return cell if value is None else value


def _empty(cell: object) -> bool:
    return (
        cell is None
        or (isinstance(cell, str) and not cell.strip())
        or (isinstance(cell, float) and bool(pd.isna(cell)))
    )

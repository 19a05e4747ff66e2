"""Cell by cell: the raw columns of one table in, clean columns and *every* problem out.

All checks work on whole columns, so that a million rows take seconds.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import cast

import numpy as np
import pandas as pd

from goldpeak.io.tables import Table
from goldpeak.names import COLUMNS, METHODS, Column, column_of
from goldpeak.wording import did_you_mean, listed

__all__ = [
    "Findings",
    "check_columns",
    "check_number",
    "check_text",
    "hashable",
    "numbers",
    "report",
    "show",
]

# Where a single cell may be empty; for the per-run columns this means empty for the whole run.
_MAY_BE_EMPTY = {"proxy", "step", "rm_data", "policy_params", "kl_coef", "seed", "baseline"}
_LARGEST_WHOLE = 2.0**53


@dataclass
class Findings:
    """What was found in one table: problems stop the reading, notices become warnings."""

    name: str
    rows: np.ndarray
    prefix: str = ""
    noun: str = "row"
    problems: list[str] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    bad_cells: dict[str, pd.Index] = field(default_factory=dict)

    def problem(self, text: str, where: pd.Index | None = None) -> None:
        self.problems.append(self.prefix + self._where(where) + text)

    def notice(self, text: str, where: pd.Index | None = None) -> None:
        self.notices.append(f"{self.name}: {self._where(where)}{text}")

    def _where(self, where: pd.Index | None) -> str:
        """Word the rows at these positions: ``rows 7, 9, 12 (and 4 more): ``."""
        if where is None:
            return ""
        labels = [str(label) for label in self.rows[where]]
        return f"{self.noun}{'s' if len(labels) > 1 else ''} {listed(labels)}: "


def check_columns(table: Table, method: str | None, findings: Findings) -> pd.DataFrame | None:
    """Convert the known columns of `table`, keep the rows of `method`, and note every cell that is not allowed.

    Returns
    -------
    pandas.DataFrame or None
        The known columns that hold anything: numbers as float64 (NaN where empty or not allowed), text as str objects
        (None where empty); always with ``method`` and where possible ``kl``; index = position in ``table.rows``. None
        if there is nothing to look at further.
    """
    frame = _known_columns(table.frame, findings)
    if len(frame) == 0:
        findings.problem("there are no rows below the header" if len(frame.columns) else "the table is empty")
        return None
    selected = _select_method(frame, method, findings)
    if selected is None:
        return None
    frame, methods = selected, selected["method"].to_numpy(dtype=object)
    clean: dict[str, np.ndarray | None] = {"method": methods}
    has_n = np.zeros(len(frame), dtype=bool)
    if "n" in frame:
        clean["n"], has_n = _check_n(frame["n"], methods == "bon", findings)
        if "kl" not in frame and not has_n.all():
            frame = frame.assign(kl="")
    for name in frame.columns.difference(["method", "n"], sort=False):
        column = column_of(name)
        assert column is not None
        convert = check_text if column.kind == "text" else check_number
        clean[name] = convert(column, frame[name], findings, has_n if name == "kl" else None)
    return pd.DataFrame({name: values for name, values in clean.items() if values is not None}, index=frame.index)


def _known_columns(frame: pd.DataFrame, findings: Findings) -> pd.DataFrame:
    unknown = [name for name in frame.columns if column_of(name) is None]
    if unknown:
        named = ", ".join(f"'{name}'{did_you_mean(name, COLUMNS)}" for name in unknown)
        findings.notice(f"columns that are not used: {named}")
    required = {name: column for name, column in COLUMNS.items() if column.required}
    if "kl" not in frame and "n" not in frame:
        required["kl"] = COLUMNS["kl"]
    there = f"; there is, not used: {', '.join(map(repr, map(str, unknown[:9])))}" if unknown else ""
    for name, column in required.items():
        if name not in frame:
            other = " (best-of-n runs may give 'n' instead)" if name == "kl" else ""
            near = did_you_mean(name, unknown, "is it '{}'?")
            holds = f"{column.meaning}, {column.allowed}{other}{'' if near else there}"
            findings.problem(f"column '{name}' is missing{near}; it holds: {holds}")
    frame = frame[[name for name in frame.columns if name not in unknown]]
    return hashable(frame)


def hashable(frame: pd.DataFrame) -> pd.DataFrame:
    """Lists and the like (possible in Parquet and DataFrames) are no numbers and no names: treat them as their text."""
    odd = [
        name for name in frame if frame[name].dtype == object and not frame[name].map(pd.api.types.is_hashable).all()
    ]
    return frame.assign(**{str(name): frame[name].map(str) for name in odd})


def _select_method(frame: pd.DataFrame, method: str | None, findings: Findings) -> pd.DataFrame | None:
    values = _text(frame["method"]) if "method" in frame else np.full(len(frame), None)
    if pd.isna(values).all():
        if method is None and "kl" not in frame and "n" in frame:
            findings.problem(
                "column 'kl' is missing, and without a column 'method' the runs are taken for rl; "
                "for best-of-n runs give method='bon'"
            )
            return None
        return frame.assign(method=method or "rl")
    bad = ~np.isin(values, METHODS)
    if bad.any():
        report(COLUMNS["method"], frame["method"], bad, findings)
    if method is None:
        return frame.assign(method=values)
    if not (values == method).any():
        found = ", ".join(sorted({f"'{value}'" for value in values[~bad]})) or "none"
        findings.problem(f"no row has the method '{method}'; methods there are: {found}")
        return None
    return cast("pd.DataFrame", frame.assign(method=values)[values == method])


def _check_n(series: pd.Series, bon: np.ndarray, findings: Findings) -> tuple[np.ndarray | None, np.ndarray]:
    """n of the best-of-n rows (given for all of them, or for none: then None), and where one is given."""
    values, empty, bad = numbers(series)
    if (bon & ~empty).any():
        whole = np.isfinite(values) & (values == np.floor(values)) & (values >= 1) & (values <= _LARGEST_WHOLE)
        bad = bon & ~whole
        if bad.any():
            report(COLUMNS["n"], series, bad, findings)
    if (~bon & ~empty).any():
        findings.notice("column 'n' is for best-of-n runs only and is ignored here", series.index[~bon & ~empty])
    given = bon & ~empty
    return (np.where(bon & ~bad, values, np.nan) if given.any() else None), given


def check_number(
    column: Column, series: pd.Series, findings: Findings, excused: np.ndarray | None
) -> np.ndarray | None:
    """A column's cells as numbers, NaN where empty or not allowed; None if it holds nothing, and may.

    Cells that are `excused` may be empty.
    """
    values, empty, bad = numbers(series)
    if empty.all() and (excused.all() if excused is not None else not column.required):
        return None
    bad |= ~np.isfinite(values) & ~empty
    if column.minimum is not None:
        below = values <= column.minimum if column.exclusive else values < column.minimum
        bad |= below & ~empty
    if column.maximum is not None:
        bad |= values > column.maximum
    if column.kind == "integer":
        bad |= (values != np.floor(values)) & ~empty
    if column.name in _MAY_BE_EMPTY or column.per == "pair":
        if empty.any() and column.per != "pair":
            findings.notice(f"column '{column.name}' is empty", series.index[empty])
    else:
        bad |= empty if excused is None else empty & ~excused
    if bad.any():
        report(column, series, bad, findings)
    return np.where(bad, np.nan, values)


def check_text(column: Column, series: pd.Series, findings: Findings, _: np.ndarray | None) -> np.ndarray | None:
    """A column's cells as text, None where empty; None if it holds nothing, and may."""
    values = _text(series)
    bad = pd.isna(values)
    if bad.all() and not column.required:
        return None
    if bad.any():
        report(column, series, bad, findings)
    return values


def report(column: Column, series: pd.Series, bad: np.ndarray, findings: Findings) -> None:
    """Note the cells of a column that are not allowed: where they are, what they hold, and what may be there."""
    found = list(dict.fromkeys(show(value) for value in series[bad].iloc[:100]))
    # Without a number: the cells were looked at up to a limit.
    several = ", ".join(found[:3]) + (", ..." if len(found) > 3 else "")
    findings.bad_cells[column.name] = series.index[bad]
    findings.problem(f"column '{column.name}' holds {several}; allowed: {column.allowed}", series.index[bad])


def show(value: object) -> str:
    """Say what a cell holds: numbers as they are, text in quotes, an empty cell as ``nothing``."""
    if value is None or value is pd.NA or value is pd.NaT or (isinstance(value, str) and not value.strip()):
        return "nothing"
    if not isinstance(value, str):
        return str(value)[:40]
    try:
        float(value)
    except ValueError:
        return repr(value if len(value) <= 40 else value[:37] + "...")
    return value.strip()


def _text(series: pd.Series) -> np.ndarray:
    """Cells as stripped str objects; None where empty."""
    codes, found = pd.factorize(series)
    words = [str(value).strip() or None for value in found]
    return np.array([*words, None], dtype=object)[codes]


def numbers(series: pd.Series) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return float values (NaN where there is none), which cells are empty, and which hold something else."""
    dtype = series.dtype
    if pd.api.types.is_numeric_dtype(dtype) and dtype.kind in "iuf":
        values = series.to_numpy(dtype=float, na_value=np.nan)
        return values, np.isnan(values), np.zeros(len(values), dtype=bool)
    if isinstance(dtype, pd.StringDtype):
        return _numbers_from_text(series)
    values = np.array([_number(value) for value in series.to_numpy(dtype=object)], dtype=object)
    wrong = np.array([value is None for value in values], dtype=bool)
    values = np.where(wrong, np.nan, values).astype(float)
    return values, np.isnan(values) & ~wrong, wrong


def _numbers_from_text(series: pd.Series) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    import pyarrow as pa
    import pyarrow.compute as pc

    text = series.str.strip()
    text = text.mask(text == "")
    try:
        values = pc.cast(pa.array(text, pa.string()), pa.float64()).to_numpy(zero_copy_only=False)
    except pa.ArrowInvalid:
        return numbers(text.astype(object))
    values = np.array(values, dtype=float)
    return values, np.isnan(values), np.zeros(len(values), dtype=bool)


def _number(value: object) -> float | None:
    """One cell as a float, NaN if empty, None if it is no number (True and dates are none)."""
    if value is None or value is pd.NA or value is pd.NaT or (isinstance(value, str) and not value.strip()):
        return np.nan
    if isinstance(value, bool | np.bool_ | complex | pd.Timedelta):
        return None
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return None

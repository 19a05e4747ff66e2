"""Tables from disk: CSV and Parquet files as raw columns, with the number of each row in its file.

Nothing is converted here: a CSV cell stays the text that is in the file, so that a later complaint can quote it.
"""

from __future__ import annotations

import csv
import io
import os
import re
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from goldpeak.errors import RunsError
from goldpeak.wording import listed

__all__ = ["CSV_ROWS", "FRAME_ROWS", "PARQUET_ROWS", "Table", "from_frame", "read_table", "refuse_duplicates"]

CSV_ROWS = "row numbers are lines of the file, the header is line 1"
PARQUET_ROWS = "rows are counted from 1"
FRAME_ROWS = "row numbers are index labels"
_HEADER_CHARS = 1_000_000


@dataclass(frozen=True)
class Table:
    """Raw columns, and what to call each row when talking about it.

    Attributes
    ----------
    name : str
        The file as the caller named it, or ``"DataFrame"``.
    frame : pandas.DataFrame
        Columns under their stripped names, index 0, 1, ...; cells as they were found.
    rows : numpy.ndarray
        The label of each row: line numbers, row numbers or index labels.
    rows_are : str
        Which of these, in words.
    """

    name: str
    frame: pd.DataFrame
    rows: np.ndarray
    rows_are: str


def read_table(path: str | os.PathLike[str]) -> Table:
    """Read a ``.csv`` or ``.parquet`` file without converting anything.

    Parameters
    ----------
    path : str or path
        CSV: UTF-8 (a byte-order mark is skipped), comma-separated, one header line; blank lines are skipped but
        counted. Parquet: any file that pyarrow reads; pandas index columns become ordinary columns.

    Returns
    -------
    Table
        Every CSV cell is a str ("" where empty); Parquet columns have the dtypes of the file.

    Raises
    ------
    RunsError
        If there is no such file, its name has another ending, or it does not hold one table with distinct columns.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "runs.csv")
    ...     _ = path.write_text("run,kl\\na,0.5\\n\\na,1.0\\n")
    ...     table = read_table(path)
    >>> table.frame["kl"].tolist(), table.rows.tolist()
    (['0.5', '1.0'], [2, 4])
    """
    name, path = os.fspath(path), Path(path)
    if path.is_dir():
        raise RunsError(name, ["is a directory; allowed: a .csv or .parquet file, or a list of them"])
    if not path.is_file():
        raise RunsError(name, ["no such file"])
    readers = {".csv": _read_csv, ".parquet": _read_parquet}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise RunsError(name, [f"the file name ends in '{path.suffix}'; allowed: .csv or .parquet"])
    try:
        return reader(name, path)
    except OSError as error:
        raise RunsError(name, [f"cannot be read: {error.strerror or error}"]) from error


def from_frame(frame: pd.DataFrame) -> Table:
    """Wrap a DataFrame; rows are called by their index labels.

    Raises
    ------
    RunsError
        If two columns have the same name.

    Examples
    --------
    >>> import pandas as pd
    >>> from_frame(pd.DataFrame({" kl ": [0.5]}, index=["first"])).rows.tolist()
    ['first']
    """
    names = [str(column).strip() for column in frame.columns]
    refuse_duplicates("DataFrame", names)
    rows = frame.index.to_numpy()
    return Table("DataFrame", frame.set_axis(names, axis=1).reset_index(drop=True), rows, FRAME_ROWS)


def refuse_duplicates(name: str, columns: Sequence[str]) -> None:
    """Refuse a table with two columns of one name.

    Raises
    ------
    RunsError
        With the names that occur more than once.
    """
    twice = sorted(column for column, count in Counter(columns).items() if count > 1)
    if twice:
        found = listed([f"'{column}'" for column in twice], most=5)
        raise RunsError(name, [f"column names that occur more than once: {found}; allowed: each name once"])


def _read_csv(name: str, path: Path) -> Table:
    text = _decode(name, path.read_bytes())
    columns, first_line, body = _split_header(name, text)
    cells = _parse(name, body, len(columns), first_line)
    # Spreadsheets pad tables with empty columns.
    kept = [i for i, column in enumerate(columns) if column or (cells[i].str.strip() != "").any()]
    columns = [columns[i] for i in kept]
    refuse_duplicates(name, columns)
    cells = cells[kept].set_axis(columns, axis=1)
    lines = _line_numbers(cells, first_line, body)
    blank = np.ones(len(cells), dtype=bool)
    for column in cells:
        blank &= (cells[column].str.strip() == "").to_numpy(dtype=bool)
    return Table(name, cells[~blank].reset_index(drop=True), lines[~blank], CSV_ROWS)


def _decode(name: str, data: bytes) -> str:
    if not data.strip():
        raise RunsError(name, ["the file is empty"])
    if b"\0" in data:
        raise RunsError(name, ["is not a text file (it holds zero bytes); allowed: CSV in UTF-8"])
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        found = f"byte 0x{data[error.start]:02x} in line {line}"
        raise RunsError(name, [f"is not UTF-8 text ({found}); allowed: CSV in UTF-8"]) from error
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text


def _split_header(name: str, text: str) -> tuple[list[str], int, str]:
    """Return the column names, the line number of the first line after the header, and the text from there on."""
    first_character = len(text) - len(text.lstrip())
    blank_lines = text.count("\n", 0, first_character)
    start = text.rfind("\n", 0, first_character) + 1
    reader = csv.reader(io.StringIO(text[start : start + _HEADER_CHARS], newline=""))
    try:
        columns = [column.strip() for column in next(reader)]
    except csv.Error as error:
        raise RunsError(name, [f"the header is not CSV: {error}"]) from error
    if len(columns) == 1:
        for mark, word in ((";", "semicolons"), ("\t", "tabs")):
            if mark in columns[0]:
                raise RunsError(name, [f"the header is separated by {word}; allowed: commas"])
    end = start
    for _ in range(reader.line_num):
        newline = text.find("\n", end)
        end = newline + 1 if newline >= 0 else len(text)
    return columns, blank_lines + reader.line_num + 1, text[end:]


def _parse(name: str, body: str, width: int, first_line: int) -> pd.DataFrame:
    if not body.strip():
        return pd.DataFrame({i: pd.Series(dtype=str) for i in range(width)})
    # Blank lines are kept so that rows can be counted as lines; na_filter=False keeps every cell as it was written.
    try:
        with warnings.catch_warnings():
            # pandas only warns when *all* rows have more fields than there are names, and drops the rest.
            warnings.simplefilter("error", pd.errors.ParserWarning)
            return pd.read_csv(
                io.BytesIO(body.encode()),
                header=None,
                names=range(width),
                dtype=str,
                na_filter=False,
                index_col=False,
                skip_blank_lines=False,
            )
    except pd.errors.ParserWarning as error:
        found = f"the rows have more fields than the header has names ({width})"
        raise RunsError(name, [f"{found}; allowed: one field per name"]) from error
    except pd.errors.ParserError as error:
        raise RunsError(name, [f"is not a CSV table: {_in_file_lines(str(error), first_line)}"]) from error


def _in_file_lines(message: str, first_line: int) -> str:
    """Turn the parser's own counts (lines from 1, rows from 0, after the header) into lines of the file."""
    message = message.removeprefix("Error tokenizing data. C error: ").strip()
    message = re.sub(r"in line (\d+)", lambda m: f"in line {int(m[1]) + first_line - 1}", message)
    return re.sub(r"at row (\d+)", lambda m: f"in line {int(m[1]) + first_line}", message)


def _line_numbers(cells: pd.DataFrame, first_line: int, body: str) -> np.ndarray:
    lines = first_line + np.arange(len(cells))
    if body.rstrip("\n").count("\n") + 1 > len(cells) and '"' in body:
        # Quoted cells may run over several lines: each moves the rows below it.
        inside = sum(cells[column].str.count("\n").to_numpy(dtype=np.int64) for column in cells)
        lines[1:] += np.cumsum(inside)[:-1]
    return lines


def _read_parquet(name: str, path: Path) -> Table:
    import pyarrow as pa
    import pyarrow.parquet as pq

    if path.stat().st_size == 0:
        raise RunsError(name, ["the file is empty"])
    try:
        # ParquetFile, not read_table: the latter would take folder names such as "seed=1" for columns.
        with pq.ParquetFile(path) as file:
            columns = [column.strip() for column in file.schema_arrow.names]
            refuse_duplicates(name, columns)
            frame = file.read().to_pandas(ignore_metadata=True)
    except (pa.ArrowException, ValueError) as error:
        raise RunsError(name, ["is not a Parquet file that can be read: " + str(error).splitlines()[0]]) from error
    frame = frame.set_axis(columns, axis=1)
    frame = frame.drop(columns=[column for column in columns if column.startswith("__index_level_")])
    return Table(name, frame, np.arange(1, len(frame) + 1), PARQUET_ROWS)

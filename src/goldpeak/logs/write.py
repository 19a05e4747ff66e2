"""Run curves to disk: CSV or Parquet, written whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pandas as pd

from goldpeak.errors import StoreError
from goldpeak.io.atomic import replacing

__all__ = ["write_table"]


def write_table(table: pd.DataFrame, path: str | os.PathLike[str]) -> None:
    """Write a table of run curves; CSV keeps every digit.

    Raises
    ------
    StoreError
        If the name does not end in ``.csv`` or ``.parquet``, or the file cannot be written: then nothing is.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_table(pd.DataFrame({"run": ["a"], "kl": [0.1]}), f"{folder}/runs.csv")
    ...     print(Path(folder, "runs.csv").read_text(), end="")
    run,kl
    a,0.1
    """
    path = Path(path)
    if path.suffix.lower() not in (".csv", ".parquet"):
        raise StoreError(f"{path}: the file name ends in '{path.suffix}'; allowed: .csv or .parquet")
    with replacing(path) as temporary:
        if path.suffix.lower() == ".csv":
            table.to_csv(temporary, index=False)
        else:
            table.to_parquet(temporary, index=False)

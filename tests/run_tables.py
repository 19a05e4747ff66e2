"""Small tables of run curves, good ones and spoilt ones, and what `read_runs` finds wrong with a table."""

from __future__ import annotations

import warnings
from pathlib import Path

import pandas as pd
import pytest

from goldpeak.errors import RunsError
from goldpeak.runs import read_runs


def good() -> pd.DataFrame:
    """Two rl runs of four points each, the first with a point at kl = 0."""
    return pd.DataFrame(
        {
            "run": ["b"] * 4 + ["a"] * 4,
            "rm_params": [1e6] * 4 + [3e6] * 4,
            "kl": [4.0, 0.0, 1.0, 9.0, 16.0, 1.0, 2.0, 4.0],
            "gold": [1.25, 0.5, 1.0, 0.75, 0.5, 0.25, 0.75, 1.0],
        }
    )


def bon() -> pd.DataFrame:
    return pd.DataFrame({"run": "c", "rm_params": 1e6, "n": [1, 2, 4, 8], "gold": [0.5, 1.0, 1.25, 1.0]})


def problems(source, **keywords) -> list[str]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(RunsError) as caught:
            read_runs(source, **keywords)
    return list(caught.value.problems)


def only_problem(source, **keywords) -> str:
    found = problems(source, **keywords)
    assert len(found) == 1, found
    return found[0]


def changed(column: str, rows: list[int], values: object) -> pd.DataFrame:
    table = good()
    if column not in table:
        table[column] = table["run"] if column == "rm" else 1.0
    table[column] = table[column].astype(object)
    table.loc[rows, column] = values
    return table


def split(folder: Path, first: pd.DataFrame, second: pd.DataFrame) -> list[Path]:
    first.to_csv(folder / "one.csv", index=False)
    second.to_parquet(folder / "two.parquet")
    return [folder / "one.csv", folder / "two.parquet"]

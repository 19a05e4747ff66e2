"""Cell by cell: columns that are there, missing or misspelt, and every kind of cell that is not allowed."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from run_tables import bon, changed, good, only_problem, problems

from goldpeak.errors import RunsWarning
from goldpeak.runs import read_runs

pytestmark = [
    pytest.mark.filterwarnings("error::goldpeak.errors.RunsWarning"),
    # Of the two runs of `good` one has no start, and gold drawn at random may start anywhere: test_validate has this.
    pytest.mark.filterwarnings(r"ignore:[\s\S]* row at kl 0:goldpeak.errors.RunsWarning"),
]


@pytest.mark.parametrize("column", ["gold_se", "proxy", "step", "rm", "rm_data", "method", "n", "seed"])
@pytest.mark.parametrize("nothing", [None, np.nan, "", " "])
def test_an_empty_optional_column_is_no_column(column, nothing):
    xr.testing.assert_identical(read_runs(good().assign(**{column: nothing})), read_runs(good()))


def test_unknown_columns_are_named():
    with pytest.warns(RunsWarning) as caught:
        runs = read_runs(good().assign(gold_sd=1.0, zzz=2.0))
    (message,) = [str(w.message) for w in caught if " row at kl 0" not in str(w.message)]
    assert "'gold_sd' (did you mean 'gold_se'?), 'zzz'" in message
    assert not {"gold_sd", "zzz"} & set(runs.variables)
    assert caught[0].filename == __file__


@pytest.mark.parametrize("column", ["proxy", "step"])
def test_gaps_in_proxy_and_step_stay(column):
    table = good().assign(**{column: [1.0, 2, np.nan, 4, 5, 6, 7, 8]})
    with pytest.warns(RunsWarning, match=f"row 2: column '{column}' is empty"):
        runs = read_runs(table)
    assert np.isnan(runs[column].values).tolist() == [True] + [False] * 6


@pytest.mark.parametrize("column", ["rm_data", "policy_params", "kl_coef", "seed"])
def test_covariates_may_be_empty_for_a_run(column):
    with pytest.warns(RunsWarning, match=rf"rows 0, 1, 2 \(and 1 more\): column '{column}' is empty"):
        runs = read_runs(good().assign(**{column: [np.nan] * 4 + [3.0] * 4}))
    np.testing.assert_equal(runs[column].values, [np.nan, 3.0])


def test_both_methods():
    table = pd.concat([good(), bon()], ignore_index=True)
    table["method"] = ["rl"] * 8 + ["bon"] * 4
    runs = read_runs(table)
    assert runs["method"].values.tolist() == ["rl", "rl", "bon"]
    np.testing.assert_equal(runs["n"].values, [np.nan] * 7 + [2, 4, 8])
    xr.testing.assert_identical(read_runs(table, method="rl"), read_runs(good()))
    xr.testing.assert_identical(read_runs(table, method="bon"), read_runs(bon(), method="bon"))


def test_n_is_ignored_for_rl():
    with pytest.warns(RunsWarning, match="'n' is for best-of-n runs only"):
        runs = read_runs(good().assign(n=4))
    xr.testing.assert_identical(runs, read_runs(good()))


def test_rl_rows_need_a_kl():
    table = pd.concat([bon().assign(method="bon"), good().drop(columns="kl").assign(method="rl")], ignore_index=True)
    assert only_problem(table).startswith("rows 4, 5, 6 (and 5 more): column 'kl' holds nothing")
    assert read_runs(table, method="bon").sizes["point"] == 3


def test_method_keyword_on_a_table_without_that_method():
    assert "no row has the method 'bon'; methods there are: 'rl'" in only_problem(
        good().assign(method="rl"), method="bon"
    )


def test_n_alone_needs_a_method():
    assert "for best-of-n runs give method='bon'" in only_problem(bon())


@pytest.mark.parametrize("column", ["run", "rm_params", "gold", "kl"])
def test_missing_column(column):
    assert f"column '{column}' is missing; it holds: " in only_problem(good().drop(columns=column))


def test_missing_column_names_those_that_are_there_for_nothing():
    problem = only_problem(good().rename(columns={"gold": "score_of_judge"}))
    assert problem.endswith("a finite number; there is, not used: 'score_of_judge'")


def test_missing_column_with_a_near_name():
    assert "column 'rm_params' is missing (is it 'rm_parms'?)" in only_problem(
        good().rename(columns={"rm_params": "rm_parms"})
    )


@pytest.mark.parametrize(
    ("column", "rows", "value", "text"),
    [
        ("kl", [2], "abc", "row 2: column 'kl' holds 'abc'; allowed: a finite number >= 0"),
        ("kl", [2, 3], -0.3, "rows 2, 3: column 'kl' holds -0.3; allowed: a finite number >= 0"),
        ("kl", [5], np.nan, "row 5: column 'kl' holds nan; allowed"),
        ("kl", [5], None, "row 5: column 'kl' holds nothing; allowed"),
        ("kl", [5], np.inf, "row 5: column 'kl' holds inf; allowed"),
        ("gold", [5], "", "row 5: column 'gold' holds nothing; allowed: a finite number"),
        ("gold", [5], -np.inf, "row 5: column 'gold' holds -inf; allowed"),
        ("gold", [5], True, "row 5: column 'gold' holds True; allowed"),
        ("gold", [5], pd.Timestamp("2026-01-01"), "column 'gold' holds 2026-01-01"),
        ("gold", [5], 10**400, "column 'gold' holds 1000"),
        (
            "gold_se",
            [1, 2, 3, 4],
            0,
            "rows 1, 2, 3 (and 1 more): column 'gold_se' holds 0; allowed: a finite number > 0",
        ),
        ("gold_se", [1], -0.1, "row 1: column 'gold_se' holds -0.1; allowed: a finite number > 0"),
        ("gold_se", [1], np.nan, "row 1: column 'gold_se' holds nan; allowed: a finite number > 0"),
        ("proxy", [1], "high", "row 1: column 'proxy' holds 'high'; allowed: a finite number"),
        ("step", [1], -1, "row 1: column 'step' holds -1; allowed: a finite number >= 0"),
        ("kl_interpolated", [1], 0.5, "row 1: column 'kl_interpolated' holds 0.5; allowed: 0 or 1"),
        ("kl_interpolated", [1], 2, "row 1: column 'kl_interpolated' holds 2; allowed: 0 or 1"),
        ("run", [1], "", "row 1: column 'run' holds nothing; allowed: a name"),
        ("rm", [1], None, "row 1: column 'rm' holds nothing; allowed: a name"),
        ("rm_params", [0, 1, 2, 3], 0, "column 'rm_params' holds 0; allowed: a finite number > 0"),
        ("rm_data", [0, 1, 2, 3], "many", "column 'rm_data' holds 'many'; allowed: a finite number > 0"),
        ("rm_params", [1], "1e6 or so", "column 'rm_params' holds '1e6 or so'; allowed: a finite number > 0"),
        ("kl_coef", [0, 1, 2, 3], -1, "column 'kl_coef' holds -1; allowed: a finite number >= 0"),
        ("method", range(8), "ppo", "column 'method' holds 'ppo'; allowed: rl or bon"),
        ("method", range(8), "RL", "column 'method' holds 'RL'; allowed: rl or bon"),
    ],
)
def test_bad_cell(column, rows, value, text):
    assert text in only_problem(changed(column, list(rows), value))


@pytest.mark.parametrize("n", [0, -1, 2.5, np.inf, np.nan, "many", 1e300])
def test_bad_n(n):
    table = bon().astype({"n": object})
    table.loc[2, "n"] = n
    found = problems(table.assign(kl=[0, 1, 2, 3]), method="bon")
    assert found == [f"row 2: column 'n' holds {n!r}; allowed: a whole number >= 1"]


def test_boolean_and_list_columns():
    assert "column 'gold' holds True; allowed" in only_problem(good().assign(gold=True))
    lists = good().assign(gold=[[1.0, 2.0]] * 8)
    assert "column 'gold' holds '[1.0, 2.0]'; allowed" in only_problem(lists)

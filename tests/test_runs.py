"""Run curves in: the layout, every kind of bad input, recentring, and what must not matter (row order, file kind)."""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from goldpeak.errors import RunsError, RunsWarning
from goldpeak.runs import digest, kl_of_n, n_of_kl, read_runs, summarise

pytestmark = [
    pytest.mark.filterwarnings("error::goldpeak.errors.RunsWarning"),
    # Of the two runs of `good` one has no start, and gold drawn at random may start anywhere: this has its own tests.
    pytest.mark.filterwarnings(r"ignore:[\s\S]* row at kl 0:goldpeak.errors.RunsWarning"),
]


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


# --- the layout -----------------------------------------------------------------------------------------------------


def test_layout():
    runs = read_runs(good(), gold_scale=2.0)
    assert dict(runs.sizes) == {"point": 7, "run": 2}
    assert runs["run"].values.tolist() == ["b", "a"]
    assert runs["kl"].values.tolist() == [1, 4, 9, 1, 2, 4, 16]
    assert runs["gold"].values.tolist() == [0.5, 0.75, 0.25, 0.25, 0.75, 1.0, 0.5]
    assert runs["run_index"].values.tolist() == [0, 0, 0, 1, 1, 1, 1]
    assert runs["run_index"].dtype.kind == "i"
    assert "run_index" in runs.coords
    assert runs["baseline"].sel(run=["b", "a"]).values.tolist() == [0.5, 0.0]
    assert runs["rm_params"].sel(run="a") == 3e6
    assert runs["method"].values.tolist() == ["rl", "rl"]
    assert runs["rm"].values.tolist() == ["b", "a"]
    assert runs.attrs == {"source": "DataFrame", "baseline": "auto", "gold_scale": 2.0}
    assert runs["kl"].attrs["units"] == "nat"
    assert set(runs.data_vars) == {"kl", "gold", "rm_params", "method", "rm", "baseline"}


def test_optional_columns():
    table = good().assign(
        gold_se=0.1, proxy=2.0, step=range(8), rm="w", rm_data=10, policy_params=5, kl_coef=0, seed=7, method="rl"
    )
    table["rm_params"] = 1e6
    runs = read_runs(table)
    assert runs["step"].values.tolist() == [2, 0, 3, 5, 6, 7, 4]
    assert {name: runs[name].dims for name in ("gold_se", "proxy", "rm_data", "policy_params", "kl_coef", "seed")} == {
        "gold_se": ("point",), "proxy": ("point",), "rm_data": ("run",), "policy_params": ("run",),
        "kl_coef": ("run",), "seed": ("run",),
    }  # fmt: skip
    assert runs["rm"].values.tolist() == ["w", "w"]


@pytest.mark.parametrize("column", ["gold_se", "proxy", "step", "rm", "rm_data", "method", "n", "seed"])
@pytest.mark.parametrize("nothing", [None, np.nan, "", " "])
def test_an_empty_optional_column_is_no_column(column, nothing):
    xr.testing.assert_identical(read_runs(good().assign(**{column: nothing})), read_runs(good()))


def test_one_size_is_fine():
    assert read_runs(good().assign(rm_params=1e6))["rm_params"].values.tolist() == [1e6, 1e6]


def raw_scores(shift: float, start: tuple[str, ...] = ()) -> pd.DataFrame:
    """Three runs that rise by 1 and fall again, their gold shifted; some have a row at kl = 0."""
    kl = np.array([0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0])
    d = np.sqrt(kl)
    parts = [
        pd.DataFrame({"run": run, "rm_params": size, "kl": kl, "gold": shift + d * (1 - d / 4)}).iloc[
            int(run not in start) :
        ]
        for run, size in (("a", 1e6), ("b", 1e7), ("c", 1e8))
    ]
    return pd.concat(parts, ignore_index=True)


@pytest.mark.parametrize("shift", [-3.0, 2.0, 100.0])
def test_gold_that_does_not_start_at_zero_is_asked_about(shift):
    with pytest.warns(RunsWarning, match=r"gold does not seem to start at 0 \(run 'a', 'b', 'c'\).*add a row at kl 0"):
        read_runs(raw_scores(shift))
    with pytest.warns(RunsWarning, match=r"2 of 3 runs have no row at kl 0 \('a', 'c'\)"):
        read_runs(raw_scores(shift, start=("b",)))


@pytest.mark.parametrize("start", [(), ("b",), ("a", "b", "c")])
def test_gold_that_starts_at_zero_is_not_asked_about(start):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_runs(raw_scores(0.0, start))
        read_runs(raw_scores(5.0), baseline="none")
        read_runs(raw_scores(5.0, start=("a", "b", "c")))


@pytest.mark.parametrize("points", [10, 300, 10_000])
def test_noise_among_many_points_is_no_offset(points):
    """The lowest few of many points lie too close together to show where gold starts."""
    rng = np.random.default_rng(0)
    kl = np.geomspace(0.2, 40, points)
    gold = np.sqrt(kl) * (0.6 - 0.15 * np.log(kl)) + 0.03 * rng.standard_normal(points)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_runs(pd.DataFrame({"run": "a", "rm_params": 1e6, "kl": kl, "gold": gold}))


def test_what_is_not_a_source_is_named():
    for thing in (5, None, read_runs(good())):
        with pytest.raises(TypeError, match="read_runs takes a path, a list of paths or a DataFrame, not <class"):
            read_runs(thing)


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


# --- best of n ------------------------------------------------------------------------------------------------------


def test_best_of_n_gets_its_kl():
    runs = read_runs(bon(), method="bon")
    np.testing.assert_allclose(runs["kl"], [np.log(n) - (n - 1) / n for n in (2, 4, 8)])
    assert runs["n"].dtype == np.int64
    assert runs["n"].values.tolist() == [2, 4, 8]
    assert runs["baseline"].item() == 0.5
    xr.testing.assert_identical(read_runs(bon().assign(method="bon")), runs)


def test_a_given_kl_is_kept():
    table = bon().assign(kl=[0.0, 0.19, 0.64, 1.2], method="bon")
    assert read_runs(table)["kl"].values.tolist() == [0.19, 0.64, 1.2]
    table.loc[3, "kl"] = 1.0
    with pytest.warns(RunsWarning, match=r"row 3: kl 1 is kept although n 8 means kl 1.204"):
        assert read_runs(table)["kl"].values.tolist() == [0.19, 0.64, 1.0]
    gaps = bon().assign(kl=[np.nan, 0.19, np.nan, 1.2], method="bon")
    np.testing.assert_allclose(read_runs(gaps)["kl"], [0.19, kl_of_n(4), 1.2])


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


@pytest.mark.parametrize("n", [1, 1 + 1e-9, 1.001, 2, 64, 1e6, 1e300])
def test_n_and_kl_invert_each_other(n):
    np.testing.assert_allclose(n_of_kl(kl_of_n(n)), n, rtol=1e-12)


def test_kl_of_n_at_its_ends():
    assert kl_of_n(np.inf) == n_of_kl(np.inf) == np.inf
    assert kl_of_n(1) == 0
    assert n_of_kl(0) == 1
    assert np.isnan(kl_of_n(np.nan))
    assert np.isnan(n_of_kl(np.nan))
    np.testing.assert_allclose(n_of_kl([[1e-20, 0.5 * 1e-4]]), [[1 + np.sqrt(2e-20), 1.0101333]], rtol=1e-4)
    assert n_of_kl(np.array([[1.0, 2.0]])).shape == (1, 2)
    with pytest.raises(ValueError, match="n must be >= 1"):
        kl_of_n([2, 0.5])
    with pytest.raises(ValueError, match="kl must be >= 0"):
        n_of_kl(-1)


@given(st.floats(1e-12, 700))
def test_kl_survives_the_way_there_and_back(kl):
    np.testing.assert_allclose(kl_of_n(n_of_kl(kl)), kl, rtol=1e-8, atol=1e-15)


# --- recentring -----------------------------------------------------------------------------------------------------


def test_baseline_none_keeps_everything():
    runs = read_runs(good(), baseline="none")
    assert runs["gold"].values.tolist() == [0.5, 1.0, 1.25, 0.75, 0.25, 0.75, 1.0, 0.5]
    assert runs["baseline"].values.tolist() == [0, 0]
    assert runs.attrs["baseline"] == "none"


def test_baseline_run_insists():
    assert "no point at kl 0 in run 'a'; allowed with baseline='run'" in only_problem(good(), baseline="run")
    one = good().iloc[:4]
    xr.testing.assert_equal(read_runs(one, baseline="run"), read_runs(one))


def test_several_starts_with_one_gold():
    table = pd.concat([good().assign(step=range(8)), good().iloc[[1]].assign(step=99)])
    assert read_runs(table)["gold"].values.tolist() == read_runs(good())["gold"].values.tolist()
    table = pd.concat([bon().assign(kl=[0.001, 0.19, 0.64, 1.2]), bon().iloc[[0]].assign(kl=0.0, gold=0.6)])
    assert "holds 0.5, 0.6 at the same run 'c' and kl 0.0" in only_problem(table, method="bon")


# --- bad input ------------------------------------------------------------------------------------------------------


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


@pytest.mark.parametrize(
    ("column", "value", "pair"),
    [
        ("rm_params", 2e6, "1000000.0, then 2000000.0"),
        ("method", "bon", "'rl', then 'bon'"),
        ("rm", "other", "'w', then 'other'"),
        ("rm_data", 5.0, "1.0, then 5.0"),
        ("policy_params", 5.0, "1.0, then 5.0"),
        ("kl_coef", 5.0, "1.0, then 5.0"),
        ("seed", 5.0, "1.0, then 5.0"),
    ],
)
def test_what_must_be_constant_within_a_run(column, value, pair):
    table = good().assign(method="rl", rm="w", rm_data=1.0, policy_params=1.0, kl_coef=1.0, seed=1.0)
    table["rm"] = ["w"] * 4 + ["v"] * 4
    table.loc[[2, 3], column] = value
    found = problems(table)
    assert f"rows 2, 3: column '{column}' changes within run 'b': {pair}; allowed: one value per run" in found


def test_a_covariate_empty_in_part_of_a_run():
    assert "column 'rm_data' changes within run 'b': 1.0, then nan" in only_problem(changed("rm_data", [1], np.nan))


def test_runs_that_share_an_rm_agree_on_its_size():
    assert "column 'rm_params' holds 1e+06, 3e+06 for the same rm 'w'" in only_problem(good().assign(rm="w"))


def test_two_golds_at_one_kl():
    table = pd.concat([good(), good().iloc[[0]].assign(gold=9.0)], ignore_index=True)
    expected = (
        "rows 0, 8: column 'gold' holds 1.25, 9.0 at the same run 'b' and kl 4.0; allowed: one gold per run and kl"
    )
    assert only_problem(table) == expected
    assert "at the same run 'b' and kl 0.0" in only_problem(
        pd.concat([good(), good().iloc[[1]].assign(gold=9.0)], ignore_index=True)
    )


def test_copies_of_rows_are_dropped():
    with pytest.warns(RunsWarning, match="rows 8, 9: exact copies of earlier rows are dropped"):
        runs = read_runs(pd.concat([good(), good().iloc[[0, 1]]], ignore_index=True))
    xr.testing.assert_identical(runs, read_runs(good()))


def test_too_few_points():
    assert only_problem(good().drop(index=0)) == (
        "too few points above kl 0 in run 'b' (2); allowed: at least 3 per run"
    )
    assert "run 'c' (2)" in only_problem(bon().iloc[:3], method="bon")


def test_kl_per_token():
    table = pd.DataFrame({"run": "a", "rm_params": 1e6, "kl": np.linspace(0.001, 0.04, 25), "gold": range(25)})
    with pytest.warns(RunsWarning, match="in run 'a'.*multiply by the mean response length"):
        read_runs(table)
    few = table.iloc[:5]
    read_runs(few)
    read_runs(few.assign(step=range(5)))
    with pytest.warns(RunsWarning, match="multiply by the mean response length"):
        read_runs(few.assign(step=[0, 30, 60, 90, 120]))
    read_runs(table.assign(kl=table["kl"] * 100))


def test_empty_tables(tmp_path):
    assert only_problem(pd.DataFrame({name: [] for name in good()})) == "there are no rows below the header"
    (tmp_path / "runs.csv").write_text("run,rm_params,kl,gold\n")
    assert only_problem(tmp_path / "runs.csv") == "there are no rows below the header"
    (tmp_path / "runs.csv").write_bytes(b"")
    assert only_problem(tmp_path / "runs.csv") == "the file is empty"
    assert only_problem([]) == "the list of files is empty"


def test_bad_arguments_are_listed_with_the_rest():
    found = problems(changed("kl", [2], -1), method="ppo", baseline="maybe", gold_scale=-1)
    assert [text.split(";")[0] for text in found] == [
        "method='ppo'", "baseline='maybe'", "gold_scale=-1", "row 2: column 'kl' holds -1",
    ]  # fmt: skip
    for scale in (0, np.nan, np.inf):
        assert "gold_scale" in only_problem(good(), gold_scale=scale)
    with pytest.raises(TypeError):
        read_runs([good()])


def test_all_problems_at_once(tmp_path):
    path = tmp_path / "runs.csv"
    path.write_text(
        "run,rm_params,kl,gold,gold_se\na,1e6,-0.3,1,.1\n\na,1e6,-1,1,.1\na,1e6,-2,x,.1\na,1e6,-3,nan,0\na,2e6,5,1,.1\n"
    )
    with pytest.raises(RunsError) as caught:
        read_runs(path)
    assert str(caught.value).splitlines() == [
        f"{path} (row numbers are lines of the file, the header is line 1): 4 problems",
        "  - rows 2, 4, 5 (and 1 more): column 'kl' holds -0.3, -1, -2, ...; allowed: a finite number >= 0",
        "  - rows 5, 6: column 'gold' holds 'x', nan; allowed: a finite number",
        "  - row 6: column 'gold_se' holds 0; allowed: a finite number > 0",
        "  - row 7: column 'rm_params' changes within run 'a': 1000000.0, then 2000000.0; allowed: one value per run",
    ]


def test_frames_are_left_alone():
    table = changed("gold_se", [0], 0.5)
    before = table.copy(deep=True)
    read_runs(table)
    pd.testing.assert_frame_equal(table, before)


# --- several files --------------------------------------------------------------------------------------------------


def split(folder: Path, first: pd.DataFrame, second: pd.DataFrame) -> list[Path]:
    first.to_csv(folder / "one.csv", index=False)
    second.to_parquet(folder / "two.parquet")
    return [folder / "one.csv", folder / "two.parquet"]


def test_a_list_of_files_is_one_table(tmp_path):
    paths = split(tmp_path, good().iloc[:4], good().iloc[4:])
    runs = read_runs(paths)
    xr.testing.assert_equal(runs, read_runs(good()))
    assert runs.attrs["source"] == "one.csv, two.parquet"
    assert read_runs(str(paths[0])).attrs["source"] == "one.csv"


def test_problems_name_their_file(tmp_path):
    paths = split(tmp_path, changed("kl", [0], "x").iloc[:4], changed("kl", [5], -1).iloc[4:].astype({"kl": float}))
    found = problems([*paths, tmp_path / "none.csv"])
    assert any(text.startswith(f"{paths[0]}: row 2: column 'kl' holds 'x'") for text in found)
    assert any(text.startswith(f"{paths[1]}: row 2: column 'kl' holds -1") for text in found)
    assert f"{tmp_path / 'none.csv'}: no such file" in found
    assert len(found) == 3


def test_a_run_lives_in_one_file(tmp_path):
    paths = split(tmp_path, good(), good().iloc[4:])
    assert only_problem(paths) == f"run 'a' is in {paths[0]} and in {paths[1]}; allowed: a run in one file only"
    assert len(problems([paths[1], paths[1]])) == 1


def test_files_agree_on_standard_errors_and_n(tmp_path):
    paths = split(tmp_path, good().iloc[:4].assign(gold_se=0.1), good().iloc[4:])
    assert "column 'gold_se' is in" in only_problem(paths)
    kl_only = bon().assign(run="d", kl=kl_of_n(bon()["n"])).drop(columns="n")
    assert "column 'n' is in" in only_problem(split(tmp_path, bon(), kl_only), method="bon")


# --- digest and summary ---------------------------------------------------------------------------------------------


def test_digest_sees_the_data_only():
    runs = read_runs(good())
    first = digest(runs)
    assert digest(runs.assign_attrs(source="elsewhere")) == first
    assert digest(read_runs(good().assign(run=["b"] * 4 + ["c"] * 4))) != first
    assert digest(read_runs(good().assign(seed=1))) != first
    for name in ("kl", "gold", "rm_params", "baseline"):
        other = runs.copy(deep=True)
        other[name].values[0] = np.nextafter(other[name].values[0], 100)
        assert digest(other) != first


def test_digest_survives_a_file(tmp_path):
    runs = read_runs(good())
    runs.to_netcdf(tmp_path / "runs.nc", engine="h5netcdf")
    with xr.open_dataset(tmp_path / "runs.nc", engine="h5netcdf") as back:
        assert digest(back) == digest(runs)


def test_summary():
    table = summarise(read_runs(good()))
    assert table.drop(columns="turned").to_dict("records") == [
        {"run": "b", "method": "rl", "rm_params": 1e6, "points": 3, "kl_min": 1, "kl_max": 9, "gold_max": 0.75},
        {"run": "a", "method": "rl", "rm_params": 3e6, "points": 4, "kl_min": 1, "kl_max": 16, "gold_max": 1.0},
    ]
    assert table["turned"].tolist() == [False, False]


@pytest.mark.parametrize("points", [8, 30, 300])
@pytest.mark.parametrize("with_se", [True, False])
@pytest.mark.parametrize(
    ("curve", "turned"),
    [(lambda d: d * (1 - 0.16 * d), True), (lambda d: d, False), (lambda d: d * (1 - 0.05 * d), False)],
)
def test_turned(points, with_se, curve, turned):
    rng = np.random.default_rng(points)
    kl = np.linspace(0.2, 30, points)
    table = pd.DataFrame({"run": "a", "rm_params": 1e6, "kl": kl})
    table["gold"] = curve(np.sqrt(kl)) + 0.05 * rng.normal(size=points)
    if with_se:
        table["gold_se"] = 0.05
    assert summarise(read_runs(table))["turned"].tolist() == [turned]


def test_a_turn_within_the_noise_is_no_turn():
    kl = np.linspace(0.2, 30, 30)
    table = pd.DataFrame({"run": "a", "rm_params": 1e6, "kl": kl, "gold": np.sqrt(kl) * (1 - 0.16 * np.sqrt(kl))})
    assert summarise(read_runs(table.assign(gold_se=0.1)))["turned"].item()
    assert not summarise(read_runs(table.assign(gold_se=1.0)))["turned"].item()


# --- what must not matter -------------------------------------------------------------------------------------------

# Sixty-fourths: sums and differences of these are exact, so that equality may be asked for.
EXACT = st.integers(-2000, 2000).map(lambda i: i / 64)
NAMES = st.text("abcXYZ 0.é\"',\n", min_size=1, max_size=6).map(str.strip).filter(bool)


@st.composite
def tables(draw, start: bool = False) -> pd.DataFrame:
    parts = []
    optional = draw(st.sets(st.sampled_from(["gold_se", "proxy", "step", "seed", "rm_data"])))
    for name in draw(st.lists(NAMES, min_size=1, max_size=4, unique=True)):
        above = draw(st.lists(st.floats(1e-3, 500), min_size=3, max_size=8, unique=True))
        kl = [0.0, *above] if start or draw(st.booleans()) else above
        size = len(kl)
        part = pd.DataFrame({"run": [name] * size, "rm_params": draw(st.floats(1, 1e12)), "kl": kl})
        part["gold"] = draw(st.lists(EXACT, min_size=size, max_size=size))
        for column in sorted(optional):
            part[column] = draw(st.floats(1e-6, 1e6))
        parts.append(part)
    return pd.concat(parts, ignore_index=True)


@settings(max_examples=40, deadline=None)
@given(tables(), st.randoms(use_true_random=False))
def test_row_order_does_not_matter(table, random):
    order = list(range(len(table)))
    random.shuffle(order)
    first, second = read_runs(table), read_runs(table.iloc[order])
    assert digest(first) == digest(second)
    for run in first["run"].values:
        for name in ("kl", "gold"):
            pick = [data[name].values[data["run"].values[data["run_index"].values] == run] for data in (first, second)]
            np.testing.assert_array_equal(*pick)
        xr.testing.assert_equal(first["baseline"].sel(run=run), second["baseline"].sel(run=run))


@settings(max_examples=40, deadline=None)
@given(tables(), st.randoms(use_true_random=False))
def test_digest_with_ties(table, random):
    """Several points at one kl with one gold: their order in the file is of no account either."""
    table = pd.concat([table.assign(proxy=1.0), table.assign(proxy=2.0)], ignore_index=True)
    order = list(range(len(table)))
    random.shuffle(order)
    assert digest(read_runs(table)) == digest(read_runs(table.iloc[order]))


@settings(max_examples=25, deadline=None)
@given(tables())
def test_the_kind_of_source_does_not_matter(table):
    with tempfile.TemporaryDirectory() as folder:
        table.to_csv(Path(folder, "runs.csv"), index=False)
        table.to_parquet(Path(folder, "runs.parquet"))
        frame, csv, parquet = read_runs(table), read_runs(Path(folder, "runs.csv")), read_runs(f"{folder}/runs.parquet")
    xr.testing.assert_equal(csv, frame)
    xr.testing.assert_equal(parquet, frame)
    assert digest(csv) == digest(parquet) == digest(frame)


@settings(max_examples=40, deadline=None)
@given(tables(start=True), EXACT)
def test_a_constant_on_gold_changes_only_the_baseline(table, constant):
    first, second = read_runs(table), read_runs(table.assign(gold=table["gold"] + constant))
    xr.testing.assert_identical(second.drop_vars("baseline"), first.drop_vars("baseline"))
    np.testing.assert_array_equal(second["baseline"], first["baseline"] + constant)

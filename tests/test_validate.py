"""Row against row: what rows of a run, and runs of several files, must have in common, and where gold starts."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from run_tables import bon, changed, good, only_problem, problems, split

from goldpeak.bon import kl_of_n
from goldpeak.errors import RunsWarning
from goldpeak.runs import read_runs

pytestmark = [
    pytest.mark.filterwarnings("error::goldpeak.errors.RunsWarning"),
    # Of the two runs of `good` one has no start, and gold drawn at random may start anywhere: test_validate has this.
    pytest.mark.filterwarnings(r"ignore:[\s\S]* row at kl 0:goldpeak.errors.RunsWarning"),
]


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


def test_baseline_run_insists():
    assert "no point at kl 0 in run 'a'; allowed with baseline='run'" in only_problem(good(), baseline="run")
    one = good().iloc[:4]
    xr.testing.assert_equal(read_runs(one, baseline="run"), read_runs(one))


def test_several_starts_with_one_gold():
    table = pd.concat([good().assign(step=range(8)), good().iloc[[1]].assign(step=99)])
    assert read_runs(table)["gold"].values.tolist() == read_runs(good())["gold"].values.tolist()
    table = pd.concat([bon().assign(kl=[0.001, 0.19, 0.64, 1.2]), bon().iloc[[0]].assign(kl=0.0, gold=0.6)])
    assert "holds 0.5, 0.6 at the same run 'c' and kl 0.0" in only_problem(table, method="bon")


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


def test_a_run_lives_in_one_file(tmp_path):
    paths = split(tmp_path, good(), good().iloc[4:])
    assert only_problem(paths) == f"run 'a' is in {paths[0]} and in {paths[1]}; allowed: a run in one file only"
    assert len(problems([paths[1], paths[1]])) == 1


def test_files_agree_on_standard_errors_and_n(tmp_path):
    paths = split(tmp_path, good().iloc[:4].assign(gold_se=0.1), good().iloc[4:])
    assert "column 'gold_se' is in" in only_problem(paths)
    kl_only = bon().assign(run="d", kl=kl_of_n(bon()["n"])).drop(columns="n")
    assert "column 'n' is in" in only_problem(split(tmp_path, bon(), kl_only), method="bon")

"""Covariances in run tables: what is read, what is refused, what recentring, selecting and storing make of them."""

from __future__ import annotations

import itertools
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

import goldpeak
from goldpeak.errors import RunsError, RunsWarning
from goldpeak.runs import digest, read_runs
from goldpeak.subset import as_table, select

pytestmark = pytest.mark.filterwarnings(r"ignore:[\s\S]* row at kl 0:goldpeak.errors.RunsWarning")


def matrix(points: int, seed: int = 1) -> np.ndarray:
    """Some covariance matrix."""
    roots = np.random.default_rng(seed).standard_normal((points, points + 2))
    return 0.01 * (roots @ roots.T)


def with_covariance(table: pd.DataFrame, blocks: list[np.ndarray], width: int | None = None) -> pd.DataFrame:
    """Rows of `table`, run by run and each by ascending kl, with their covariances."""
    width = width or max(len(block) for block in blocks)
    padded = [np.pad(block, ((0, 0), (0, width - len(block)))) for block in blocks]
    columns = [f"gold_cov_{k + 1}" for k in range(width)]
    return table.join(pd.DataFrame(np.concatenate(padded), columns=columns, index=table.index))


def good() -> pd.DataFrame:
    """A run of four points and one of three, none of them a start."""
    table = pd.DataFrame(
        {
            "run": ["a"] * 4 + ["b"] * 3,
            "rm_params": [1e6] * 4 + [1e7] * 3,
            "kl": [1.0, 2, 4, 8, 1, 3, 9],
            "gold": [0.5, 0.75, 1.0, 0.875, 0.25, 0.5, 0.375],
        }
    )
    return with_covariance(table, [matrix(4), matrix(3, 2)])


def problems(*arguments, **keywords) -> list[str]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(RunsError) as caught:
            read_runs(*arguments, **keywords)
    return list(caught.value.problems)


# --- the layout -------------------------------------------------------------------------------------------------------


def test_layout() -> None:
    runs = read_runs(good())
    assert runs["gold_cov"].dims == ("point", "peer")
    assert runs["gold_cov"].shape == (7, 4)
    assert runs["gold_cov"].attrs["units"] == "gold^2"
    assert "covariance" in runs["gold_cov"].attrs["long_name"]
    np.testing.assert_array_equal(runs["gold_cov"][:4], matrix(4))
    np.testing.assert_array_equal(runs["gold_cov"][4:, :3], matrix(3, 2))
    assert (runs["gold_cov"][4:, 3] == 0).all()
    np.testing.assert_array_equal(runs["gold_se"][:4], np.sqrt(np.diag(matrix(4))))


def test_rows_in_any_order() -> None:
    """The k-th point is meant by ascending kl, wherever its row stands."""
    shuffled = good().sample(frac=1, random_state=3)
    runs = select(read_runs(shuffled), read_runs(shuffled)["run"].values == "a")
    np.testing.assert_array_equal(runs["gold_cov"], matrix(4))
    assert digest(read_runs(shuffled)) == digest(read_runs(good()))


def test_digest_sees_covariances_and_ties() -> None:
    table = good()
    table.loc[1, "kl"] = 1.0
    table["step"] = np.arange(7.0)
    table.loc[[0, 1], "gold"] = 0.5
    swapped = table.iloc[[1, 0, 2, 3, 4, 5, 6]].copy()
    columns = [f"gold_cov_{k}" for k in (1, 2, 3, 4)]
    # Which of two points of one kl is called the first is a matter of rows: swap the names with them.
    swapped.iloc[:4, swapped.columns.get_indexer(columns)] = matrix(4)[np.ix_([1, 0, 2, 3], [1, 0, 2, 3])]
    assert digest(read_runs(table)) == digest(read_runs(swapped))
    other = table.copy()
    other.loc[0, "gold_cov_3"] += 1e-6
    other.loc[2, "gold_cov_1"] += 1e-6
    assert digest(read_runs(table)) != digest(read_runs(other))


def test_selecting_trims_what_no_run_needs() -> None:
    runs = read_runs(good())
    small = select(runs, [False, True])
    assert small["gold_cov"].shape == (3, 3)
    assert digest(small) == digest(read_runs(good()[good()["run"] == "b"]))


def test_gold_se_is_kept_where_given() -> None:
    table = good()
    table["gold_se"] = np.sqrt(np.concatenate([np.diag(matrix(4)), np.diag(matrix(3, 2))])).round(5)
    np.testing.assert_array_equal(read_runs(table)["gold_se"], table["gold_se"])


def test_zeros_beyond_a_run_may_be_left_out() -> None:
    table = good()
    table.loc[4:, "gold_cov_4"] = np.nan
    assert digest(read_runs(table)) == digest(read_runs(good()))


def test_a_run_without_covariance_has_independent_points() -> None:
    table = good().assign(gold_se=0.1)
    table.loc[:3, "gold_se"] = np.sqrt(np.diag(matrix(4)))
    table.loc[4:, [f"gold_cov_{k}" for k in (1, 2, 3, 4)]] = np.nan
    runs = read_runs(table)
    np.testing.assert_allclose(runs["gold_cov"][4:], 0.01 * np.eye(3, 4))


def test_files_with_and_without_covariance(tmp_path: Path) -> None:
    long = pd.DataFrame({"run": "c", "rm_params": 1e8, "kl": np.arange(1.0, 7), "gold": 1.0, "gold_se": 0.2})
    good().to_csv(tmp_path / "with.csv", index=False)
    long.to_csv(tmp_path / "without.csv", index=False)
    runs = read_runs([tmp_path / "with.csv", tmp_path / "without.csv"])
    assert runs["gold_cov"].shape == (13, 6)
    np.testing.assert_allclose(runs["gold_cov"][7:], 0.04 * np.eye(6))
    np.testing.assert_array_equal(runs["gold_cov"][:4, :4], matrix(4))


# --- recentring -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", [0, 2, 3])
def test_recentring_gives_the_covariance_of_differences(place: int) -> None:
    """Against the matrix of differences written out, and wherever in the table the start stands."""
    kl = np.array([0.0, 1.0, 2.0, 4.0])
    table = pd.DataFrame({"run": "a", "rm_params": 1e6, "kl": kl, "gold": [3.0, 4, 5, 4]})
    table = with_covariance(table, [matrix(4)])
    rows = np.roll(np.arange(4), place)
    runs = read_runs(table.iloc[rows])
    difference = np.column_stack([-np.ones(3), np.eye(3)])
    expected = difference @ matrix(4) @ difference.T
    np.testing.assert_allclose(runs["gold_cov"], expected, rtol=1e-12)
    np.testing.assert_allclose(runs["gold_se"], np.sqrt(np.diag(expected)))
    np.testing.assert_array_equal(runs["gold_cov"], runs["gold_cov"].values.T)


def test_a_start_by_n_that_is_not_first_by_kl() -> None:
    table = pd.DataFrame({"run": "a", "rm_params": 1e6, "n": [1, 2, 4, 8], "kl": [0.5, 0.2, 0.7, 1.2], "gold": 1.0})
    # By kl: n = 2, 1, 4, 8.
    cov = matrix(4)
    table = with_covariance(table, [cov[[1, 0, 2, 3]]])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RunsWarning)
        runs = read_runs(table, method="bon")
    difference = np.array([[1, -1, 0, 0], [0, -1, 1, 0], [0, -1, 0, 1.0]])
    np.testing.assert_allclose(runs["gold_cov"], difference @ cov @ difference.T, rtol=1e-12)


def test_without_recentring_all_stays() -> None:
    table = good()
    table.loc[0, "kl"] = 0.0
    runs = read_runs(table, baseline="none")
    np.testing.assert_array_equal(runs["gold_cov"][:4], matrix(4))


def test_an_exact_start_may_have_no_variance() -> None:
    table = good()
    table.loc[0, "kl"] = 0.0
    cov = matrix(4)
    cov[0] = cov[:, 0] = 0.0
    table.iloc[:4, -4:] = cov
    np.testing.assert_allclose(read_runs(table)["gold_cov"][:3, :3], cov[1:, 1:])


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("table", "text"),
    [
        (good().assign(gold_cov_2=1.5 * good()["gold_cov_2"]), "not symmetric"),
        (good().drop(columns="gold_cov_2"), "column 'gold_cov_2' is missing"),
        (good().drop(columns="gold_cov_4"), "4 points but 3 columns"),
        (good().assign(gold_cov_4=1.0), "not 0 beyond the run's last point"),
        (good().assign(gold_se=9.0), "where gold_se is 9"),
        (good().assign(gold_cov_1=[0.0, *good()["gold_cov_1"][1:]]), "the diagonal is not positive"),
        (good().assign(gold_cov_1=[np.nan, *good()["gold_cov_1"][1:]]), "cells are empty"),
        (good().assign(gold_cov_3="x"), "column 'gold_cov_3' holds 'x'; allowed: a finite number"),
    ],
)
def test_refuses(table: pd.DataFrame, text: str) -> None:
    found = problems(table)
    assert any(text in problem for problem in found), found


def test_refuses_what_is_not_positive_semidefinite() -> None:
    table, cov = good(), matrix(4)
    cov[0, 1] = cov[1, 0] = 1.2 * np.sqrt(cov[0, 0] * cov[1, 1])
    table.iloc[:4, -4:] = cov
    (text,) = problems(table)
    assert text.startswith("covariance of gold in run 'a': not positive semidefinite (an eigenvalue")


def test_refuses_empty_covariances_without_gold_se() -> None:
    table = good()
    table.loc[4:, [f"gold_cov_{k}" for k in (1, 2, 3, 4)]] = np.nan
    (text,) = problems(table)
    assert text == "covariance of gold in run 'b': empty, and there is no gold_se; allowed: one of them"


def test_lists_the_problems_of_all_runs() -> None:
    table = good()
    table.iloc[:4, -4] *= 2
    table.loc[4, "gold_cov_4"] = 0.5
    table.loc[6, "gold"] = np.nan
    assert [text.split(":")[0] for text in problems(table)] == [
        "row 6",
        "covariance of gold in run 'a'",
        "covariance of gold in run 'b'",
    ]


def test_printed_numbers_pass(tmp_path: Path) -> None:
    good().to_csv(tmp_path / "runs.csv", index=False, float_format="%.6g")
    np.testing.assert_allclose(read_runs(tmp_path / "runs.csv")["gold_cov"][:4], matrix(4), rtol=1e-5)


def test_a_name_with_leading_zeros_is_no_covariance() -> None:
    with pytest.warns(RunsWarning, match="'gold_cov_01'"):
        read_runs(good().rename(columns=lambda c: c.replace("gold_cov_", "gold_cov_0")))


# --- there and back ---------------------------------------------------------------------------------------------------


@st.composite
def tables(draw: st.DrawFn) -> pd.DataFrame:
    """Valid tables of rl and best-of-n runs, some with starts, some with covariances, some with covariates."""
    number = st.floats(-1e3, 1e3).map(lambda x: x + 0.0)
    methods = draw(st.lists(st.sampled_from(["rl", "bon"]), min_size=1, max_size=4))
    covariance, errors = draw(st.booleans()), draw(st.booleans())
    parts, blocks = [], []
    for k, method in enumerate(methods):
        points = draw(st.integers(4, 7))
        start = draw(st.booleans())
        steps = draw(st.lists(st.floats(0.01, 5), min_size=points, max_size=points))
        kl = np.cumsum(steps) - (steps[0] if start else 0)
        n = np.where(kl > 0, 2 + np.arange(points), 1) if method == "bon" else np.nan
        gold = draw(st.lists(number, min_size=points, max_size=points))
        part = pd.DataFrame({"run": f"run {k}", "method": method, "rm_params": 10.0 ** (6 + k), "kl": kl, "n": n})
        if "bon" not in methods:
            part = part.drop(columns="n")
        blocks.append(matrix(points, draw(st.integers(0, 99))))
        se = np.sqrt(np.diag(blocks[-1]))
        parts.append(part.assign(gold=gold, **({"gold_se": se} if errors else {}), seed=float(k)))
    table = pd.concat(parts, ignore_index=True)
    return with_covariance(table, blocks) if covariance else table


@settings(max_examples=25, deadline=None)
@given(tables(), st.sampled_from(["frame", "csv", "parquet"]))
def test_a_table_of_runs_gives_the_same_runs(tmp_path_factory, table: pd.DataFrame, kind: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RunsWarning)
        runs = read_runs(table)
        again: object = as_table(runs)
        if kind != "frame":
            path = tmp_path_factory.mktemp("tables") / f"runs.{kind}"
            again.to_csv(path, index=False) if kind == "csv" else again.to_parquet(path)  # type: ignore[attr-defined]
            again = path
        read = read_runs(again)
    xr.testing.assert_identical(read.drop_attrs(), runs.drop_attrs())
    assert digest(read) == digest(runs)


def test_a_kept_start_survives_when_read_the_same_way() -> None:
    table = good()
    table.loc[0, "kl"] = 0.0
    runs = read_runs(table, baseline="none")
    xr.testing.assert_identical(read_runs(as_table(runs), baseline="none"), runs)


def test_a_given_baseline_and_a_start_add_up() -> None:
    table = pd.DataFrame({"run": "a", "rm_params": 1e6, "kl": [0.0, 1, 4, 9], "gold": [0.5, 1.0, 1.25, 1.0]})
    runs = read_runs(table.assign(baseline=3.0))
    assert runs["baseline"].values.tolist() == [3.5]
    assert runs["gold"].values.tolist() == [0.5, 0.75, 0.5]


def test_a_given_baseline_says_where_gold_starts() -> None:
    """No warning that gold seems not to start at 0, where it is known that it does."""
    table = pd.DataFrame({"run": "a", "rm_params": 1e6, "kl": [1.0, 4, 9], "gold": [100.0, 100.5, 100.2]})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_runs(table.assign(baseline=2.0))


def test_fits_and_is_stored(tmp_path: Path) -> None:
    kl = np.geomspace(0.5, 30, 8)
    parts = []
    for k, size in enumerate((1e6, 1e7, 1e8)):
        rng = np.random.default_rng(k)
        gold = np.sqrt(kl) * (1 - 0.2 * np.sqrt(kl)) + 0.05 * rng.standard_normal(8)
        parts.append(pd.DataFrame({"run": f"r{k}", "rm_params": size, "kl": kl, "gold": gold}))
    table = with_covariance(pd.concat(parts, ignore_index=True), [0.1 * matrix(8, k) for k in range(3)])
    runs = read_runs(table)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        post = goldpeak.fit(runs, "rl_paper", draws=50)
    goldpeak.save(post, tmp_path / "fit.nc")
    loaded = goldpeak.load(tmp_path / "fit.nc")
    np.testing.assert_array_equal(loaded["constant_data"]["gold_cov"], runs["gold_cov"])
    assert loaded.attrs["data_digest"] == digest(runs)


def test_block_order_is_that_of_by_run() -> None:
    """Every order of the rows of one run reads as the same covariance."""
    table = good()[good()["run"] == "b"].drop(columns="gold_cov_4")
    for order in itertools.permutations(range(3)):
        np.testing.assert_array_equal(read_runs(table.iloc[list(order)])["gold_cov"], matrix(3, 2))

"""Run curves in: the layout, recentring, several files, and what must not matter (row order, file kind)."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from run_tables import bon, changed, good, only_problem, problems, split

from goldpeak.bon import kl_of_n
from goldpeak.errors import RunsError, RunsWarning
from goldpeak.runs import digest, read_runs

pytestmark = [
    pytest.mark.filterwarnings("error::goldpeak.errors.RunsWarning"),
    # Of the two runs of `good` one has no start, and gold drawn at random may start anywhere: test_validate has this.
    pytest.mark.filterwarnings(r"ignore:[\s\S]* row at kl 0:goldpeak.errors.RunsWarning"),
]


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


def test_one_size_is_fine():
    assert read_runs(good().assign(rm_params=1e6))["rm_params"].values.tolist() == [1e6, 1e6]


def test_what_is_not_a_source_is_named():
    for thing in (5, None, read_runs(good())):
        with pytest.raises(TypeError, match="read_runs takes a path, a list of paths or a DataFrame, not <class"):
            read_runs(thing)


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


def test_baseline_none_keeps_everything():
    runs = read_runs(good(), baseline="none")
    assert runs["gold"].values.tolist() == [0.5, 1.0, 1.25, 0.75, 0.25, 0.75, 1.0, 0.5]
    assert runs["baseline"].values.tolist() == [0, 0]
    assert runs.attrs["baseline"] == "none"


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
    for scale in (0, np.nan, np.inf, "1"):
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

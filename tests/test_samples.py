"""Long tables of samples: the same curves from every kind of file and every order of rows, bad tables, and memory."""

from __future__ import annotations

import warnings
from pathlib import Path

import memory_use
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import xarray as xr

import goldpeak
from goldpeak import bon, samples
from goldpeak.errors import RunsError, RunsWarning
from goldpeak.io import batches
from goldpeak.runs import digest
from goldpeak.shrinkage import mean_covariance


def table(*, runs: int = 3, prompts: int = 5, least: int = 12) -> pd.DataFrame:
    """Ragged pools with ties, grouped by run and prompt."""
    rng = np.random.default_rng(1)
    parts = []
    for run in range(runs):
        for prompt in range(prompts + run):
            proxy = rng.standard_normal(least + run + 2 * (prompt % 3)).round(1)
            names = {"run": f"run {run}", "rm_params": 10.0 ** (6 + run), "prompt": f"p{prompt}", "rm": "shared"}
            names["rm_data"] = 5.0 if run else 4.0
            parts.append(pd.DataFrame({**names, "proxy": proxy, "gold": (proxy - 0.2 * proxy**2).round(3)}))
    parts = [part.assign(rm=f"rm of {part['run'].iloc[0]}") for part in parts]
    return pd.concat(parts, ignore_index=True)


def pools(frame: pd.DataFrame, run: str, column: str) -> list[np.ndarray]:
    return [part[column].to_numpy() for _, part in frame[frame["run"] == run].groupby("prompt", sort=False)]


def problems(*arguments, **keywords) -> list[str]:
    with pytest.raises(RunsError) as caught:
        goldpeak.read_samples(*arguments, **keywords)
    return list(caught.value.problems)


def only_problem(*arguments, **keywords) -> str:
    (text,) = problems(*arguments, **keywords)
    return text


def write(frame: pd.DataFrame, path: Path) -> Path:
    if path.suffix == ".csv":
        frame.to_csv(path, index=False)
    elif path.suffix == ".parquet":
        frame.to_parquet(path, index=False)
    else:
        frame.to_json(path, orient="records", lines=True)
    return path


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pieces and buckets that cut every pool somewhere."""
    monkeypatch.setattr(batches, "_ROWS", 50)
    monkeypatch.setattr(batches, "_BYTES", 1500)
    monkeypatch.setattr(samples, "_AT_ONCE", 40)


# --- the curves -------------------------------------------------------------------------------------------------------


def test_equals_estimates_from_arrays() -> None:
    frame = table()
    runs = goldpeak.read_samples(frame)
    assert runs["run"].values.tolist() == ["run 0", "run 1", "run 2"]
    assert runs["method"].values.tolist() == ["bon"] * 3
    assert runs["rm_params"].values.tolist() == [1e6, 1e7, 1e8]
    assert runs["rm_data"].values.tolist() == [4, 5, 5]
    assert runs["rm"].values.tolist() == ["rm of run 0", "rm of run 1", "rm of run 2"]
    for k, run in enumerate(runs["run"].values):
        found = bon.estimate(pools(frame, run, "proxy"), pools(frame, run, "gold"))
        one = goldpeak.select(runs, np.arange(3) == k)
        np.testing.assert_array_equal(one["n"], found.n[1:])
        np.testing.assert_allclose(one["kl"], found.kl[1:])
        np.testing.assert_allclose(one["gold"], found.gold[1:] - found.gold[0], atol=1e-12)
        np.testing.assert_allclose(one["baseline"], found.gold[0])
        np.testing.assert_allclose(one["proxy"], found.proxy[1:], atol=1e-12)
        curves = [bon.pool_curves(p, g, np.array([len(p)]), found.n)[0][0] for p, g in
                  zip(pools(frame, run, "proxy"), pools(frame, run, "gold"), strict=True)]  # fmt: skip
        paired = np.array(curves)[:, 1:] - np.array(curves)[:, :1]
        np.testing.assert_allclose(one["gold_se"], paired.std(axis=0, ddof=1) / np.sqrt(len(paired)), rtol=1e-9)
        smallest = min(map(len, pools(frame, run, "gold")))
        expected = mean_covariance(np.array(curves), found.n.astype(float), 0, smallest).cov
        difference = np.eye(len(found.n))[1:] - np.eye(len(found.n))[0]
        np.testing.assert_allclose(one["gold_cov"], difference @ expected @ difference.T, atol=1e-14)


def test_every_run_has_its_own_grid_by_default() -> None:
    runs = goldpeak.read_samples(table())
    largest = [goldpeak.select(runs, np.arange(3) == k)["n"].values.max() for k in range(3)]
    assert largest == [12, 13, 14]


def test_recentres_by_n_1_whether_asked_for_or_not() -> None:
    with_one, without = (goldpeak.read_samples(table(), n) for n in ([1, 2, 4, 8], [8, 4, 2]))
    xr.testing.assert_identical(with_one, without)
    assert without["n"].values.tolist() == [2, 4, 8] * 3


def test_without_recentring() -> None:
    frame = table()
    runs = goldpeak.read_samples(frame, [2, 4, 8, 12], baseline="none")
    found = bon.estimate(pools(frame, "run 0", "proxy"), pools(frame, "run 0", "gold"), [2, 4, 8, 12])
    np.testing.assert_allclose(runs["gold"][:4], found.gold)
    np.testing.assert_allclose(runs["gold_cov"][:4], found.gold_cov)
    assert (runs["baseline"] == 0).all()


def test_the_gold_scale_is_passed_on() -> None:
    assert goldpeak.read_samples(table(), gold_scale=2.0).attrs["gold_scale"] == 2.0


# --- kinds of files and orders of rows --------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".jsonl", ".ndjson"])
@pytest.mark.parametrize("pieces", ["whole", "cut"])
def test_the_kind_of_file_does_not_matter(
    suffix: str, pieces: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    expected = goldpeak.read_samples(table())
    if pieces == "cut":
        request.getfixturevalue("small_pieces")
    runs = goldpeak.read_samples(write(table(), tmp_path / f"samples{suffix}"))
    assert runs.attrs["source"] == f"samples{suffix}"
    xr.testing.assert_allclose(runs, expected, rtol=1e-12)


@pytest.mark.parametrize("seed", range(2))
def test_the_order_of_rows_does_not_matter(seed: int, small_pieces: None) -> None:
    by_name = goldpeak.read_samples(table()).sel(run=["run 0", "run 1", "run 2"])
    shuffled = table().sample(frac=1, random_state=seed)
    runs = goldpeak.read_samples(shuffled)
    assert set(runs["run"].values) == {"run 0", "run 1", "run 2"}
    for k, run in enumerate(by_name["run"].values):
        one, two = goldpeak.select(runs, runs["run"].values == run), goldpeak.select(by_name, np.arange(3) == k)
        xr.testing.assert_allclose(one.drop_attrs(), two.drop_attrs(), rtol=1e-9)


def test_prompts_of_the_same_name_in_other_runs_are_other_pools() -> None:
    by_prompt = table().sort_values(["prompt", "run"], kind="stable")
    runs = goldpeak.read_samples(by_prompt)
    xr.testing.assert_allclose(runs, goldpeak.read_samples(table()), rtol=1e-9)


def test_scattered_files_leave_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small_pieces: None
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    used = []
    monkeypatch.setattr(np, "fromfile", lambda file, dtype, read=np.fromfile: used.append(file) or read(file, dtype))
    goldpeak.read_samples(table().sample(frac=1, random_state=1))
    assert len(used) > 3
    assert list(tmp_path.iterdir()) == []


def test_grouped_files_need_no_disk(monkeypatch: pytest.MonkeyPatch, small_pieces: None) -> None:
    monkeypatch.setattr("tempfile.TemporaryDirectory", None)
    goldpeak.read_samples(table())


def test_numbers_as_names_and_spaces_in_the_header(tmp_path: Path) -> None:
    frame = table(runs=1).assign(run=7, prompt=lambda t: t["prompt"].str[1:].astype(int))
    for suffix in (".csv", ".parquet", ".jsonl"):
        path = write(frame.rename(columns={"gold": " gold ", "run": " run"}), tmp_path / f"samples{suffix}")
        runs = goldpeak.read_samples(path)
        assert runs["run"].values.tolist() == ["7"]
        np.testing.assert_allclose(runs["gold"], goldpeak.read_samples(table(runs=1))["gold"])


def test_whole_numbers_first_in_json_lines(tmp_path: Path, small_pieces: None) -> None:
    """Arrow fixes its types by the first block; rewards that start 0, 1, 1, ... may go on 0.5."""
    frame = table(runs=1)
    frame.loc[:30, "gold"] = 1.0
    rows = enumerate(zip(frame["prompt"], frame["proxy"], frame["gold"], strict=True))
    start = '{"run":"a","rm_params":1000000'
    lines = [f'{start},"prompt":"{p}","proxy":{x},"gold":{g:g},"text":"{"x" * (i % 7)}"}}' for i, (p, x, g) in rows]
    path = tmp_path / "samples.jsonl"
    path.write_text("\n\n".join(lines) + "\n")
    runs = goldpeak.read_samples(path)
    expected = goldpeak.read_samples(frame)
    np.testing.assert_allclose(runs["gold"], expected["gold"], atol=1e-12)


def test_the_digest_is_that_of_the_table_of_runs() -> None:
    from goldpeak.subset import as_table

    runs = goldpeak.read_samples(table())
    assert digest(goldpeak.read_runs(as_table(runs))) == digest(runs)


# --- what is refused --------------------------------------------------------------------------------------------------


def test_n_above_a_pool_names_the_runs() -> None:
    text = only_problem(table(), n=[1, 13])
    assert text == (
        "n holds 13; allowed: whole numbers from 1 to 12, the number of samples in the smallest pool: run 'run 0'"
    )


@pytest.mark.parametrize("n", [[0, 1, 2], [1.5], "4", [[1]], []])
def test_refuses_other_n(n: object) -> None:
    assert "whole numbers" in only_problem(table(), n=n)


def test_all_bad_cells_with_their_rows(tmp_path: Path, small_pieces: None) -> None:
    frame = table().astype({"gold": object, "proxy": object, "prompt": object})
    frame.loc[[3, 40, 41, 90], "gold"] = ["x", np.nan, "y", np.inf]
    frame.loc[50, "proxy"] = True
    frame.loc[60, "prompt"] = "  "
    frame.loc[[70, 71], "run"] = None
    expected = [
        "rows 3, 40, 41 (and 1 more): column 'gold' holds 'x', nothing, 'y', ...; allowed: a finite number",
        "row 50: column 'proxy' holds 'True'; allowed: a finite number",
        "row 60: column 'prompt' holds nothing; allowed: a name",
        "rows 70, 71: column 'run' holds nothing; allowed: a name",
    ]
    in_frame = [text.replace("'True'", "True").replace("'x', nothing", "'x', nan") for text in expected]
    in_frame[3] = in_frame[3].replace("nothing", "nan")
    assert sorted(problems(frame)) == sorted(in_frame)
    moved = [text.replace("3, 40, 41", "4, 41, 42").replace("row 50", "row 51").replace("row 60", "row 61")
             .replace("70, 71", "71, 72") for text in expected]  # fmt: skip
    assert sorted(problems(write(frame, tmp_path / "samples.csv"))) == sorted(moved)


def test_stops_where_everything_is_wrong(monkeypatch: pytest.MonkeyPatch, small_pieces: None) -> None:
    monkeypatch.setattr(samples, "_ENOUGH", 20)
    found = problems(table().assign(gold="x"))
    assert found[0].startswith("rows 0, 1, 2 (and 47 more): column 'gold' holds 'x'")
    assert found[1] == "reading stopped after 20 cells that are not allowed; there may be more"


def test_missing_columns_with_a_hint() -> None:
    found = problems(table().rename(columns={"gold": "Gold", "prompt": "question"}))
    assert found == [
        "column 'prompt' is missing; it holds: which prompt: rows of a run and point are averaged over them",
        "column 'gold' is missing (is it 'Gold'?); it holds: gold reward, mean over responses",
    ]


def test_misspelt_optional_columns_are_pointed_at() -> None:
    with pytest.warns(RunsWarning, match=r"column 'rm_dta' is not used \(did you mean 'rm_data'\?\)"):
        goldpeak.read_samples(table().rename(columns={"rm_data": "rm_dta"}))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        goldpeak.read_samples(table(prompts=10).assign(response="some text"))


def test_what_changes_within_a_run() -> None:
    frame = table()
    frame.loc[5, "rm_params"] = 3.0
    frame.loc[80:, "rm"] = "other"
    frame.loc[len(frame) - 1, "rm"] = "another"
    found = problems(frame)
    assert found[0] == "column 'rm_params' changes within run 'run 0': 1000000.0, then 3.0; allowed: one value per run"
    assert found[1].startswith("column 'rm' changes within run 'run ")


def test_covariates_that_are_not_allowed() -> None:
    frame = table().astype({"rm_params": object})
    frame.loc[frame["run"] == "run 1", "rm_params"] = -1
    frame.loc[5, "rm_params"] = "x"
    text = only_problem(frame)
    assert text == "runs 'run 0', 'run 1': column 'rm_params' holds 'x', -1; allowed: a finite number > 0"


def test_too_few_prompts_and_samples() -> None:
    one = table(runs=1, prompts=1).assign(run="one")
    tiny = table(runs=1, least=3).assign(run="tiny")
    assert problems(pd.concat([table(), one, tiny])) == [
        "too few prompts in run 'one' (1); allowed: at least 2",
        "too few samples in the smallest pool in run 'tiny' (3); allowed: at least 4",
    ]


def test_gold_that_is_the_same_for_all_prompts_has_no_covariance() -> None:
    """A standard error of 0 would be a claim of certainty that a handful of prompts cannot make."""
    text = only_problem(table(runs=1).assign(gold=1.0))
    assert "'run 0'" in text
    assert "diagonal is not positive" in text


@pytest.mark.parametrize("n", [[1, 2], [1, 2, 4]])
def test_too_few_n(n: list[int]) -> None:
    assert "too few points above kl 0" in only_problem(table(runs=1), n=n)


def test_refuses_other_arguments() -> None:
    assert only_problem(table(), baseline="run") == "baseline='run'; allowed: auto or none"
    assert "gold_scale=-1" in only_problem(table(), gold_scale=-1)
    with pytest.raises(TypeError, match="a path or a DataFrame"):
        goldpeak.read_samples(7)  # type: ignore[arg-type]


GOOD = '{"run":"a","prompt":"p","rm_params":1,"proxy":1,"gold":1}\n'


@pytest.mark.parametrize(
    ("name", "content", "text"),
    [
        ("a.csv", b"", "the file is empty"),
        ("a.csv", b"run,prompt,rm_params,proxy,gold\n", "there are no rows"),
        ("a.csv", b"run,prompt,rm_params,proxy,gold\na,b,1,2\n", "Expected 5 columns, got 4"),
        ("a.csv", b"run,run,rm_params,proxy,gold\na,b,1,2,3\n", "more than once: 'run'"),
        ("a.csv", b"run,prompt,rm_params,proxy,gold\n\xff,b,1,2,3\n", "cannot be read as a table"),
        ("a.parquet", b"", "the file is empty"),
        ("a.parquet", b"PAR1 no parquet", "cannot be read as a table"),
        ("a.jsonl", b"\n\n", "cannot be read as a table"),
        ("a.jsonl", b"[1, 2]\n", "its first line is not a JSON object"),
        ("a.jsonl", b'{"run": \n', "cannot be read as a table"),
        ("a.jsonl", (GOOD + GOOD[:-10] + "\n").encode(), "cannot be read as a table: JSON parse error"),
        ("a.jsonl", (GOOD + GOOD.replace('"gold":1', '"gold":"x"')).encode(), "Column(/gold) changed from number to"),
        ("a.txt", b"run", "ends in '.txt'; allowed: .csv, .parquet, .jsonl, .ndjson"),
    ],
)
def test_files_that_are_no_tables(name: str, content: bytes, text: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    assert text in only_problem(tmp_path / name)


def test_no_file_and_a_folder(tmp_path: Path) -> None:
    assert only_problem(tmp_path / "a.csv") == "no such file"
    assert only_problem(tmp_path) == "is a directory; allowed: a file"


def test_a_truncated_file_is_noticed(tmp_path: Path) -> None:
    whole = write(table(), tmp_path / "a.parquet").read_bytes()
    (tmp_path / "a.parquet").write_bytes(whole[: len(whole) // 2])
    assert "cannot be read as a table" in only_problem(tmp_path / "a.parquet")


@pytest.mark.parametrize("column", ["run", "prompt", "rm_params", "proxy", "gold"])
def test_lists_in_cells_are_no_values(column: str) -> None:
    cells = [[float(i)] for i in range(len(table()))]
    assert problems(table().assign(**{column: cells}))


# --- memory -----------------------------------------------------------------------------------------------------------

MEASURE = """
import sys
import pyarrow.parquet, goldpeak
from goldpeak import bon, samples
from goldpeak.io import batches
from memory_use import peak
batches._ROWS, samples._AT_ONCE, bon._BLOCK = 1 << 15, 1 << 16, 1 << 16
goldpeak.read_samples(sys.argv[1])
before = peak()
runs = goldpeak.read_samples(sys.argv[2])
assert runs.sizes["run"] == 4
print(peak() - before)
"""


@memory_use.needed
@pytest.mark.parametrize(("order", "row_group"), [("grouped", 1_000_000), ("scattered", 50_000)])
def test_memory_is_bounded(order: str, row_group: int, tmp_path: Path) -> None:
    """1,000,000 samples, 40 MB as a DataFrame, against 100,000, with pieces that are small against both."""
    paths = [tmp_path / "small.parquet", tmp_path / "large.parquet"]
    for path, rows in zip(paths, (100_000, 1_000_000), strict=True):
        pq.write_table(_many(rows, scattered=order == "scattered"), path, row_group_size=row_group)
    assert 0 < float(memory_use.printed_by(MEASURE, *paths)) < 20


def _many(rows: int, *, scattered: bool) -> pa.Table:
    """Four runs of 50 prompts."""
    at = np.arange(rows)
    pool = at % 200 if scattered else at * 200 // rows
    proxy = np.random.default_rng(1).standard_normal(rows)
    columns = {"run": pool // 50, "prompt": pool % 50, "rm_params": 10.0 ** (6 + pool // 50), "proxy": proxy}
    return pa.table(columns | {"gold": proxy - 0.2 * proxy**2})


def test_few_prompts_are_warned_of() -> None:
    rng = np.random.default_rng(3)
    parts = [
        pd.DataFrame({"run": run, "rm_params": 1e6, "prompt": np.repeat(np.arange(prompts), 8)})
        for run, prompts in (("many", 10), ("few", 9))
    ]
    frame = pd.concat(parts, ignore_index=True)
    values = rng.standard_normal((2, len(frame)))
    with pytest.warns(RunsWarning, match=r"run 'few' \(9\) has fewer than 10 prompts"):
        goldpeak.read_samples(frame.assign(proxy=values[0], gold=values[1]))

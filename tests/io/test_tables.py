"""Reading raw tables: what is in the file arrives as it is, with the right row numbers, or is refused by name."""

from __future__ import annotations

import pandas as pd
import pytest

from goldpeak.errors import RunsError
from goldpeak.io.tables import CSV_ROWS, FRAME_ROWS, PARQUET_ROWS, from_frame, read_table


def refusal(path) -> str:
    with pytest.raises(RunsError) as caught:
        read_table(path)
    assert caught.value.source == str(path)
    assert len(caught.value.problems) == 1
    return caught.value.problems[0]


@pytest.fixture
def write(tmp_path):
    def _write(content: bytes | str, name: str = "runs.csv"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return _write


def test_cells_stay_text(write):
    table = read_table(write("run,kl\na,0.50\nb,NA\nc,\n"))
    assert table.frame["kl"].tolist() == ["0.50", "NA", ""]
    assert table.rows.tolist() == [2, 3, 4]
    assert table.rows_are == CSV_ROWS


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("run,kl\n\na,1\n,\nb,2\n", [3, 5]),
        ("\n\nrun,kl\na,1\nb,2\n", [4, 5]),
        ('run,kl\n"a\nx",1\nb,2\n', [2, 4]),
        ('"run\n",kl\na,1\nb,2', [3, 4]),
        ("run,kl\r\na,1\r\n  \r\nb,2\r\n", [2, 4]),
        ("run,kl\ra,1\rb,2\r", [2, 3]),
    ],
)
def test_rows_are_lines_of_the_file(write, text, rows):
    table = read_table(write(text))
    assert list(table.frame.columns) == ["run", "kl"]
    assert table.rows.tolist() == rows
    assert table.frame["kl"].tolist() == ["1", "2"]


def test_byte_order_mark_and_spaces_in_the_header(write):
    table = read_table(write(b"\xef\xbb\xbfrun, kl\na,1\n"))
    assert list(table.frame.columns) == ["run", "kl"]


def test_header_only_is_an_empty_table(write):
    table = read_table(write("run,kl\n"))
    assert list(table.frame.columns) == ["run", "kl"]
    assert len(table.frame) == len(table.rows) == 0


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "the file is empty"),
        (b" \n\n", "the file is empty"),
        (b"\x89PNG\r\n\x00\x00\x01", "zero bytes"),
        ("run,kl\na,1\n".encode("utf-16"), "zero bytes"),
        (b"run,kl\nb\xe9ta,1\n", "is not UTF-8 text (byte 0xe9 in line 2)"),
        (b"run;kl\na;1\n", "separated by semicolons"),
        (b"run;kl\na;1,5\n", "separated by semicolons"),
        (b"run\tkl\na\t1\n", "separated by tabs"),
        (b"run,kl,kl\na,1,2\n", "more than once: 'kl'"),
        (b"run,kl\na,1\nb,1,5\n", "Expected 2 fields in line 3, saw 3"),
        (b"run,kl\na,1,5\nb,1,5\n", "more fields than the header has names (2)"),
        (b'run,kl\na,1\n"b,2\n', "EOF inside string starting in line 3"),
    ],
)
def test_refused_csv(write, content, words):
    assert words in refusal(write(content))


def test_short_rows_have_empty_cells(write):
    assert read_table(write("run,kl,gold\na,1\n")).frame["gold"].tolist() == [""]


def test_refused_paths(write, tmp_path):
    assert "no such file" in refusal(tmp_path / "none.csv")
    assert "is a directory" in refusal(tmp_path)
    assert "ends in '.txt'; allowed: .csv or .parquet" in refusal(write("run\n", "runs.txt"))
    assert "ends in ''" in refusal(write("run\n", "runs"))


def test_parquet(tmp_path):
    path = tmp_path / "seed=1" / "runs.PARQUET"
    path.parent.mkdir()
    frame = pd.DataFrame({"kl": [0.5, 1.0]}, index=pd.Index(["a", "b"], name="run"))
    frame.to_parquet(path)
    table = read_table(path)
    assert set(table.frame.columns) == {"kl", "run"}
    assert table.frame["kl"].tolist() == [0.5, 1.0]
    assert table.rows.tolist() == [1, 2]
    assert table.rows_are == PARQUET_ROWS


def test_parquet_drops_a_nameless_index(tmp_path):
    pd.DataFrame({"kl": [0.5, 1.0]}, index=["a", "b"]).to_parquet(tmp_path / "runs.parquet")
    assert list(read_table(tmp_path / "runs.parquet").frame.columns) == ["kl"]


def test_refused_parquet(write, tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    assert "is not a Parquet file" in refusal(write("run,kl\na,1\n", "text.parquet"))
    assert "the file is empty" in refusal(write(b"", "empty.parquet"))
    whole = tmp_path / "whole.parquet"
    pd.DataFrame({"kl": range(1000)}).to_parquet(whole)
    assert "is not a Parquet file" in refusal(write(whole.read_bytes()[:-200], "cut.parquet"))
    double = pa.Table.from_arrays([pa.array([1.0]), pa.array([2.0])], names=["kl", "kl"])
    pq.write_table(double, tmp_path / "double.parquet")
    assert "more than once: 'kl'" in refusal(tmp_path / "double.parquet")


def test_frame_keeps_labels_and_is_left_alone():
    frame = pd.DataFrame({" kl ": [1.0, 2.0]}, index=["x", "y"])
    table = from_frame(frame)
    assert table.rows.tolist() == ["x", "y"]
    assert table.rows_are == FRAME_ROWS
    assert list(frame.columns) == [" kl "]
    with pytest.raises(RunsError, match="more than once: 'kl'"):
        from_frame(pd.DataFrame([[1, 2]], columns=["kl", "kl"]))

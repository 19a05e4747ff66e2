"""Fleets: sizes out of names, and tables of runs."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from goldpeak.errors import RunsError
from goldpeak.logs.choose import Asked
from goldpeak.logs.fleet import Pattern, Source, read_fleet


@pytest.mark.parametrize(
    ("pattern", "text", "size"),
    [
        ("rm-{rm_params}", "runs/rm-3M-seed1", 3e6),
        ("rm_{rm_params}_*", "rm_3_000_000_seed1", 3e6),
        ("rm-{rm_params}-seed?", "runs/rm-1.2b-seed7/tb", 1.2e9),
        ("{rm_params}", "out/rm-1e9", 1e9),
        ("RM{rm_params}/", "a/rm70k/b", 7e4),
        ("[rm]={rm_params}", "[rm]=12", 12.0),
        (r"size(?P<rm_params>\d+k)", "x/size70k/y", 7e4),
        ("rm-{rm_params}", "runs/rm-large", None),
        ("{rm_params}", "rm-3M-seed1", None),
        ("rm-*-{rm_params}", "rm-a/b-3M", None),
        (r"size(?P<rm_params>\w+)", "sizehuge", None),
        (r"(?P<rm_params>x)?size", "size", None),
    ],
)
def test_patterns(pattern: str, text: str, size: float | None) -> None:
    assert Pattern(pattern).size(text) == size


@pytest.mark.parametrize("text", ["rm-*", "(", "(?P<size>[0-9]+)", "(?P<rm_params>[0-9]"])
def test_patterns_refused(text: str) -> None:
    with pytest.raises(RunsError, match="--rm-params-from"):
        Pattern(text)


def test_a_table_in_csv(tmp_path: Path) -> None:
    rows = [{"run": "a", "rm_params": "3M", "path": "logs/a", "seed": 1}, {"run": "b", "rm_params": "1e9", "path": "b"}]
    pd.DataFrame(rows).to_csv(tmp_path / "fleet.csv", index=False)
    one, two = read_fleet(tmp_path / "fleet.csv", Source("", asked=Asked(gold="g", kl="k")))
    assert (one.path, one.run, one.rm_params, one.asked) == (tmp_path / "logs/a", "a", 3e6, Asked(gold="g", kl="k"))
    assert one.covariates == {"seed": 1.0}
    assert (two.rm_params, dict(two.covariates)) == (1e9, {})


def test_a_table_in_toml(tmp_path: Path) -> None:
    (tmp_path / "fleet.toml").write_text(
        'gold = "eval/gold"\nkl_unit = "nats"\n[[runs]]\npath = "a"\nrm_params = 3_000_000\nrm = "first"\n'
        '[[runs]]\npath = "/b"\nrm_params = "1.2B"\ngold = "other"\n'
    )
    one, two = read_fleet(tmp_path / "fleet.toml", Source(""))
    assert (one.asked, one.rm_params, one.covariates) == (Asked(gold="eval/gold", kl_unit="nats"), 3e6, {"rm": "first"})
    assert (two.path, two.asked.gold, two.rm_params) == (Path("/b"), "other", 1.2e9)


@pytest.mark.parametrize(
    ("ending", "content", "words"),
    [
        ("csv", "path,rm_params,size\na,3M,1\n", "row 2: holds 'size'; allowed: path, run, rm_params"),
        (
            "csv",
            "run,rm_params\na,3M\nb,x\n",
            "row 2: has no path\n  - row 3: has no path\n  - row 3: holds rm_params 'x'",
        ),
        ("csv", "path,rm_params\n", "holds no runs"),
        ("csv", "path,rm_params\na,-1\n", "holds rm_params '-1'"),
        ("toml", "runs = 3", "'runs' is not a list of tables"),
        ("toml", "[[runs]\n", "cannot be read as TOML"),
        ("toml", "[[runs]]\npath = 3\nrm_params = true\n", "[[runs]] 1: holds rm_params True"),
        ("toml", "[[runs]]\npath = 3\nrm_params = 3\n", "[[runs]] 1: holds path 3; allowed: text"),
        ("toml", "[[runs]]\npath = 'a'\nrm_params = inf\n", "[[runs]] 1: holds rm_params inf"),
    ],
)
def test_tables_refused(tmp_path: Path, ending: str, content: str, words: str) -> None:
    path = tmp_path / f"fleet.{ending}"
    path.write_text(content)
    with pytest.raises(RunsError) as caught:
        read_fleet(path, Source(""))
    assert words in str(caught.value)


def test_a_table_that_is_not_there(tmp_path: Path) -> None:
    for name in ("fleet.csv", "fleet.toml", "fleet.txt"):
        with pytest.raises(RunsError):
            read_fleet(tmp_path / name, Source(""))

"""From a log to run curves: one framework after the other, what is warned of, and what is refused."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import log_files
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from log_files import GOLD, LENGTH

import goldpeak
from goldpeak.errors import RunsError, RunsWarning
from goldpeak.logs import Converted, convert, read_log
from goldpeak.logs.choose import Asked
from goldpeak.logs.fleet import Pattern, Source
from goldpeak.logs.record import notices

ROWS = log_files.rows()
STEPS = np.array([row["step"] for row in ROWS], dtype=float)
KL = 0.01 * STEPS * LENGTH
GOLDS = 1.0 + STEPS - 0.1 * STEPS**2


def quiet(path: Path, **options: object) -> xr.Dataset:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return read_log(path, **({"gold": GOLD, "rm_params": 1e6} | options))


def assert_curves(runs: xr.Dataset, rtol: float = 1e-14) -> None:
    np.testing.assert_allclose(runs["kl"], KL, rtol=rtol)
    np.testing.assert_allclose(runs["gold"], GOLDS, rtol=rtol)
    np.testing.assert_allclose(runs["proxy"], 0.5 * STEPS, rtol=rtol)
    np.testing.assert_array_equal(runs["step"], STEPS)
    assert runs["kl"].attrs["units"] == "nat"


def refusal(path: Path, **options: object) -> str:
    with pytest.raises(RunsError) as caught:
        quiet(path, **options)
    return str(caught.value)


def prefixed(rows: log_files.Rows) -> list[dict[str, object]]:
    return [{key if key == "step" else f"train/{key}": value for key, value in row.items()} for row in rows]


# ---- one framework after the other


def test_trl_in_every_format(tmp_path: Path) -> None:
    pd.DataFrame(ROWS).to_csv(tmp_path / "a.csv", index=False)
    renamed = [
        {"train/global_step": row["step"], **{k: v for k, v in row.items() if k != "step"}} for row in prefixed(ROWS)
    ]
    for path in (
        log_files.trainer_state(tmp_path / "trainer_state.json", ROWS),
        tmp_path / "a.csv",
        log_files.jsonl(tmp_path / "a.jsonl", ROWS),
        log_files.history_parquet(tmp_path / "a.parquet", renamed),
        log_files.chart(
            tmp_path / "chart.csv", {"a": prefixed(ROWS)}, [key for key in prefixed(ROWS)[0] if key != "step"]
        ),
        log_files.mlflow_db(tmp_path / "mlflow.db", {"a": ROWS}),
        log_files.mlflow_files(tmp_path / "mlruns", {"a": ROWS}),
    ):
        assert_curves(quiet(path))
    assert_curves(quiet(log_files.events(tmp_path / "tb", prefixed(ROWS))), rtol=1e-6)


def test_it_is_what_read_runs_gives(tmp_path: Path) -> None:
    runs = quiet(log_files.trainer_state(tmp_path / "trainer_state.json", ROWS), run="a")
    table = pd.DataFrame({"run": "a", "rm_params": 1e6, "step": STEPS, "kl": KL, "gold": GOLDS, "proxy": 0.5 * STEPS})
    assert goldpeak.read_log is read_log
    xr.testing.assert_allclose(runs, goldpeak.read_runs(table))
    assert set(runs.attrs) == {"source", "baseline", "readings"}


def test_verl(tmp_path: Path) -> None:
    rows = [
        {
            "step": s,
            "actor/reward_kl_penalty": 0.01 * s,
            "response_length/mean": 100.0 + s,
            "critic/score/mean": 2.0 * s,
            **({"val-core/gold/reward/mean@4": 1.0 * s} if s % 2 == 0 else {}),
        }
        for s in range(1, 11)
    ]
    with pytest.warns(RunsWarning, match="kl is approximate: 'actor/reward_kl_penalty' is a mean over responses"):
        runs = read_log(log_files.verl(tmp_path / "a.jsonl", rows), gold="val-core/gold/reward/mean@4", rm_params=1e6)
    steps = np.arange(2, 11, 2)
    np.testing.assert_allclose(runs["kl"], 0.01 * steps * (100 + steps))
    np.testing.assert_allclose(runs["proxy"], 2.0 * steps)


def test_openrlhf(tmp_path: Path) -> None:
    rows = [
        {"step": s, "train/kl": 0.25 * s, "train/response_length": 8.0, "train/reward": s, "eval/gold": -s}
        for s in (1, 2, 4)
    ]
    with pytest.warns(RunsWarning) as said:
        runs = read_log(log_files.events(tmp_path / "tb", rows), gold="eval/gold", rm_params=1e6)
    assert {str(w.message).rpartition("): ")[2].split(":")[0] for w in said if "OpenRLHF" in str(w.message)} == {
        "log ratios are clamped"
    }
    np.testing.assert_allclose(runs["kl"], [2, 4, 8])


def test_nemo(tmp_path: Path) -> None:
    """KL is logged as 0 where it is off: that is no measurement."""
    rows = [
        {"step": s, "train/kl_penalty": 0.5 * s, "train/mean_gen_tokens_per_sample": 4.0, "train/reward": s, "gold": -s}
        for s in (1, 2, 4)
    ]
    with pytest.warns(RunsWarning, match="clamped"):
        runs = read_log(log_files.events(tmp_path / "tb", rows), rm_params=1e6)
    np.testing.assert_allclose(runs["kl"], [2, 4, 8])
    off = [row | {"train/kl_penalty": 0.0} for row in rows]
    assert "is 0 throughout: it was not measured" in refusal(log_files.events(tmp_path / "off", off), gold="gold")


def test_trlx_logs_the_root(tmp_path: Path) -> None:
    rows = [{"step": s, "policy/sqrt_kl": s, "rollout_scores/mean": s, "gold": 1.0} for s in (1.0, 2.0, 3.0)]
    runs = quiet(log_files.jsonl(tmp_path / "a.jsonl", rows), gold="gold")
    assert runs["kl"].values.tolist() == [1, 4, 9]


def test_trl_ppo(tmp_path: Path) -> None:
    rows = [
        {"step": s, "objective/kl": s, "objective/scores": s, "objective/rlhf_reward": -s, GOLD: s} for s in (1, 2, 3)
    ]
    path = log_files.trainer_state(tmp_path / "trainer_state.json", rows)
    assert quiet(path)["kl"].values.tolist() == [1, 2, 3]
    with pytest.warns(
        RunsWarning, match="proxy 'objective/rlhf_reward' is shaped.*the raw score is 'objective/scores'"
    ):
        read_log(path, gold=GOLD, proxy="objective/rlhf_reward", rm_params=1e6)


def test_open_instruct(tmp_path: Path) -> None:
    rows = [
        {"step": s, "objective/kl0_avg": s, "objective/kl2_avg": 9, "val/sequence_lengths": 2, "gold": s}
        for s in (1, 2, 3)
    ]
    assert quiet(log_files.jsonl(tmp_path / "a.jsonl", rows), gold="gold")["kl"].values.tolist() == [2, 4, 6]


def test_negative_averages_say_which_estimator(tmp_path: Path) -> None:
    rows = log_files.rows(range(1, 9))
    rows[0]["kl"] = -0.001
    source = Source(log_files.jsonl(tmp_path / "a.jsonl", rows), asked=Asked(gold=GOLD), rm_params=1e6)
    with pytest.warns(RunsWarning, match="1 dropped: kl is negative: an average of k1"):
        found = convert([source])
    assert found.readings[0].estimator == "k1 (averages below 0 were logged)"
    assert found.readings[0].points == 7


# ---- generic tables


def test_a_table_of_ones_own(tmp_path: Path) -> None:
    table = pd.DataFrame({"name": ["a"] * 3 + ["b"] * 4, "size": [1e6] * 3 + [2e6] * 4, "t": [1, 2, 3, 1, 2, 3, 4]})
    table = table.assign(mykl=np.arange(1.0, 8), g=1.0)
    table.to_csv(tmp_path / "a.csv", index=False)
    columns = {"step": "t", "run": "name", "rm_params": "size"}
    options = {"kl": "mykl", "gold": "g", "columns": columns, "rm_params": None}
    assert "the unit of 'mykl' is not known: give --kl-unit" in refusal(tmp_path / "a.csv", **options)
    runs = quiet(tmp_path / "a.csv", kl_unit="bits", **options)
    assert runs["run"].values.tolist() == ["a", "b"]
    assert runs["rm_params"].values.tolist() == [1e6, 2e6]
    np.testing.assert_allclose(runs["kl"], np.arange(1, 8) * np.log(2))
    table.assign(size=np.arange(7)).to_csv(tmp_path / "a.csv", index=False)
    assert "column 'size' holds 3 numbers in run 'a'; allowed: one size" in refusal(
        tmp_path / "a.csv", kl_unit="nats", **options
    )


def test_the_size_must_be_said(tmp_path: Path) -> None:
    path = log_files.jsonl(tmp_path / "rm.jsonl", ROWS)
    assert "the size of the reward model of run 'rm' is not known: give --rm-params N" in refusal(path, rm_params=None)
    assert "column 'rm_params' holds -1" in refusal(path, rm_params=-1.0)


def test_too_few_points_are_refused_under_the_logs_name(tmp_path: Path) -> None:
    said = refusal(log_files.jsonl(tmp_path / "rm.jsonl", ROWS[:2]))
    assert said.splitlines()[0].endswith("rm.jsonl: 1 problem")
    assert "too few points above kl 0 in run 'rm' (2)" in said


# ---- sparse gold, resumed runs, warm-up


def test_sparse_gold_is_marked(tmp_path: Path) -> None:
    history = [{"step": s, "kl": 0.01 * s, "completions/mean_length": LENGTH} for s in range(10, 101, 10)]
    history += [{"step": s, "eval_gold": 1.0 * s} for s in (0, 25, 50, 75)]
    path = log_files.trainer_state(tmp_path / "trainer_state.json", history)
    with pytest.warns(RunsWarning, match="2 x kl interpolated between neighbouring steps"):
        runs = read_log(path, gold="eval_gold", rm_params=1e6)
    np.testing.assert_allclose(runs["kl"], [12.5, 25, 37.5])
    assert runs["kl_interpolated"].values.tolist() == [1, 0, 1]
    assert runs["baseline"].values.tolist() == [0]
    with pytest.warns(RunsWarning, match="kl interpolated"):
        goldpeak.read_log(path, gold="eval_gold", rm_params=1e6)


def test_resumed_and_warming_up(tmp_path: Path) -> None:
    history = [*log_files.rows(range(1, 6)), *log_files.rows(range(4, 9), reward=7.0)]
    history[0][GOLD] = float("nan")
    with pytest.warns(RunsWarning) as said:
        runs = read_log(log_files.verl(tmp_path / "a.jsonl", history), gold=GOLD, rm_params=1e6)
    assert runs["proxy"].values.tolist() == [1, 1.5, 7, 7, 7, 7, 7]
    text = " ".join(str(w.message) for w in said)
    assert "run 'a': 1 dropped: gold is NaN or infinite" in text
    assert "2 dropped: gold logged earlier at the same step (a resumed run?): the last is kept" in text


# ---- settings in the log


@pytest.mark.parametrize("setting", [{"sync_ref_model": "True"}, {"ref_policy_update_freq": 100}])
def test_a_reference_that_moves_is_refused(tmp_path: Path, setting: dict[str, object]) -> None:
    path = log_files.mlflow_db(tmp_path / "mlflow.db", {"a": [row | {"own": row["kl"]} for row in ROWS]}, setting)
    assert f"the reference policy moved ({next(iter(setting))})" in refusal(path)
    with pytest.warns(RunsWarning, match="the reference policy moved"):
        read_log(path, gold=GOLD, kl="own", kl_unit="nats", rm_params=1e6)


def test_settings_that_are_fine_and_a_temperature(tmp_path: Path) -> None:
    fixed = {"sync_ref_model": "False", "ref_policy_update_freq": "None", "temperature": 1.0}
    assert_curves(quiet(log_files.mlflow_db(tmp_path / "mlflow.db", {"a": ROWS}, fixed)))
    with pytest.warns(RunsWarning, match=r"sampling temperature 0\.7"):
        read_log(log_files.events(tmp_path / "tb", ROWS, {"temperature": 0.7}), gold=GOLD, rm_params=1e6)


# ---- several logs


def fleet(folder: Path, *names: str) -> list[Path]:
    return [log_files.trainer_state(folder / name / "trainer_state.json", ROWS).parent for name in names]


def converted(paths: list[Path], **options: object) -> Converted:
    asked = Asked(gold=options.pop("gold", GOLD))
    return convert([Source(path, asked=asked, **({"rm_params": 1e6} | options)) for path in paths])


def test_a_fleet(tmp_path: Path) -> None:
    paths = fleet(tmp_path, "rm-3M-s1", "rm-3M-s2", "rm-1.2B-s1")
    found = converted(paths, rm_params=Pattern("rm-{rm_params}-"))
    assert found.runs["run"].values.tolist() == ["rm-3M-s1", "rm-3M-s2", "rm-1.2B-s1"]
    assert found.runs["rm_params"].values.tolist() == [3e6, 3e6, 1.2e9]
    assert [reading.points for reading in found.readings] == [8, 8, 8]
    assert len(found.table) == 24
    with pytest.raises(RunsError, match=r"'x\{rm_params\}' finds no size, or several, in run 'rm-3M-s1' and its path"):
        converted(paths, rm_params=Pattern("x{rm_params}"))


def test_runs_of_the_same_name_are_told_apart(tmp_path: Path) -> None:
    paths = fleet(tmp_path, "a/policy", "b/policy", "c")
    names = converted(paths).runs["run"].values.tolist()
    assert names == [str(tmp_path / "a" / "policy"), str(tmp_path / "b" / "policy"), "c"]


def test_names_that_differ_in_the_ending_only_are_two_runs(tmp_path: Path) -> None:
    paths = [log_files.jsonl(tmp_path / f"a.{ending}", ROWS) for ending in ("jsonl", "ndjson")]
    assert converted(paths).runs["run"].values.tolist() == list(map(str, paths))


def test_parts_of_one_run_must_not_contradict_each_other(tmp_path: Path) -> None:
    one, two = (log_files.jsonl(tmp_path / f"{name}.jsonl", ROWS) for name in "ab")
    asked = Asked(gold=GOLD)
    sources = [
        Source(one, asked=asked, rm_params=3e6, run="r"),
        Source(two, asked=asked, rm_params=3e7, run="r", covariates={"seed": 1.0}),
    ]
    with pytest.raises(RunsError, match=r"parts of one run, 'r', and have different rm_params") as caught:
        convert(sources)
    assert [text.split("different ")[1].split(";")[0] for text in caught.value.problems] == ["rm_params", "covariates"]


def test_charts_of_one_run_are_put_together(tmp_path: Path) -> None:
    runs = {"rm-3M": ROWS, "rm-30M": log_files.rows(range(1, 12))}
    charts = [log_files.chart(tmp_path / f"{i}.csv", runs, [key]) for i, key in enumerate(ROWS[0]) if key != "step"]
    found = converted(charts, rm_params=Pattern("rm-{rm_params}"))
    assert found.runs["run"].values.tolist() == ["rm-3M", "rm-30M"]
    assert found.runs["rm_params"].values.tolist() == [3e6, 3e7]
    assert_curves(goldpeak.select(found.runs, [True, False]))
    assert found.readings[0].source.count(".csv") == 4


def test_parts_of_one_run_by_name(tmp_path: Path) -> None:
    """TensorBoard has a folder for every start of a resumed run."""
    parts = [log_files.events(tmp_path / "one", ROWS[:5]), log_files.events(tmp_path / "two", ROWS[3:])]
    with pytest.warns(RunsWarning, match="2 dropped: gold logged earlier at the same step"):
        found = converted(parts, run="a")
    assert_curves(found.runs, rtol=1e-6)


def test_one_of_several_runs_by_name(tmp_path: Path) -> None:
    path = log_files.mlflow_db(tmp_path / "mlflow.db", {"a": ROWS, "b": ROWS})
    assert quiet(path, run="b")["run"].values.tolist() == ["b"]
    assert "no run 'c'; runs there are: 'a', 'b'" in refusal(path, run="c")


def test_the_problems_of_all_logs_at_once(tmp_path: Path) -> None:
    paths = fleet(tmp_path, "a", "b")
    bad = log_files.jsonl(tmp_path / "bad.jsonl", [{"step": 1, "kl": 0.5}])
    with pytest.raises(RunsError) as caught:
        converted([*paths, bad, tmp_path / "none"], rm_params=None)
    text = str(caught.value)
    assert text.splitlines()[0].startswith("4 logs: ")
    assert f"{tmp_path / 'none'}: no such file or folder" in text
    assert f"{bad}: no key 'rewards/gold/mean' for gold" in text
    assert f"{tmp_path / 'a'}: the size of the reward model of run 'a' is not known" in text


def test_problems_that_many_runs_share_are_said_once(tmp_path: Path) -> None:
    path = log_files.mlflow_db(tmp_path / "mlflow.db", {f"r{i}": ROWS for i in range(9)})
    said = refusal(path, gold="none").splitlines()
    assert len(said) == 2
    assert "run 'r0', run 'r1', run 'r2' (and 6 more): no key 'none' for gold" in said[1]


def test_covariates_of_a_table(tmp_path: Path) -> None:
    paths = fleet(tmp_path, "a", "b")
    sources = [
        Source(path, asked=Asked(gold=GOLD), rm_params=1e6, covariates=cov)
        for path, cov in zip(paths, ({"rm": "x", "seed": 1.0}, {"rm": "y"}), strict=True)
    ]
    with pytest.warns(RunsWarning, match="column 'seed' is empty"):
        runs = convert(sources).runs
    assert runs["rm"].values.tolist() == ["x", "y"]


def test_a_column_of_sizes(tmp_path: Path) -> None:
    for name, size in (("numbers", 3e6), ("words", "3M")):
        log_files.jsonl(tmp_path / f"{name}.jsonl", [row | {"size": size} for row in ROWS])
        pd.DataFrame(ROWS).assign(size=size).to_csv(tmp_path / f"{name}.csv", index=False)
    for ending in ("jsonl", "csv"):
        options = {"rm_params": None, "columns": {"rm_params": "size"}}
        assert quiet(tmp_path / f"numbers.{ending}", **options)["rm_params"].values.tolist() == [3e6]
        said = refusal(tmp_path / f"words.{ending}", gold="none", **options)
        assert "2 problems" in said
        assert "no key 'none' for gold" in said
        assert "allowed: numbers" in said or "holds 0 numbers in run 'words'; allowed: one size, as a number" in said


def test_columns_that_place_nothing_are_refused(tmp_path: Path) -> None:
    path = log_files.jsonl(tmp_path / "a.jsonl", ROWS)
    assert "columns names 'kl'; allowed: step, run, rm_params" in refusal(path, columns={"kl": "kl"})


def test_nothing_given() -> None:
    with pytest.raises(RunsError, match="no log is given"):
        convert([])


# ---- the record


def test_the_record_says_all(tmp_path: Path) -> None:
    history = log_files.rows()
    history[1][GOLD] = float("nan")
    with pytest.warns(RunsWarning):
        found = converted([log_files.jsonl(tmp_path / "a.jsonl", history)])
    (reading,) = found.readings
    assert (reading.run, reading.format, reading.framework) == ("a", "jsonl", "TRL GRPO or RLOO")
    assert (reading.kl, reading.kl_unit, reading.length) == ("kl", "nats_per_token", "completions/mean_length")
    assert (reading.gold, reading.proxy, reading.points, reading.interpolated) == (GOLD, "reward", 7, 0)
    assert [str(note) for note in reading.dropped] == ["1 x gold is NaN or infinite"]
    assert [note.text for note in reading.conversions] == [
        "kl = 'kl' (nats per token, mean over all tokens) x 'completions/mean_length'"
    ]
    assert notices(found.readings) == ["run 'a': 1 dropped: gold is NaN or infinite"]
    assert "1 x gold is NaN or infinite" in found.runs.attrs["readings"]


@pytest.mark.parametrize(("every", "said"), [(1, 0), (10, 1), ("many", 0)])
def test_averages_over_logging_steps_are_approximate(tmp_path: Path, every: object, said: int) -> None:
    state = log_files.trainer_state(tmp_path / "trainer_state.json", log_files.rows())
    content = json.loads(state.read_text()) | {"logging_steps": every}
    state.write_text(json.dumps(content))
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        read_log(state, gold=log_files.GOLD, rm_params=1e6)
    assert sum("averages over logging_steps" in str(warning.message) for warning in found) == said


def test_one_key_for_kl_and_gold_is_read_as_both(tmp_path: Path) -> None:
    """Odd, but no reason to take gold for absent, and so for 0."""
    (tmp_path / "log.csv").write_text("step,kl\n0,0\n1,1\n2,2\n3,3\n4,4\n")
    runs = read_log(tmp_path / "log.csv", kl="kl", gold="kl", kl_unit="nats", rm_params=1e6)
    np.testing.assert_array_equal(runs["gold"], runs["kl"])

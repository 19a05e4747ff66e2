"""Run tables with a row for each prompt: averages, covariances, missing prompts."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import goldpeak
from goldpeak.bon import n_of_kl
from goldpeak.datasets.measured import lab_prompts
from goldpeak.errors import RunsError, RunsWarning
from goldpeak.runs import read_runs
from goldpeak.shrinkage import mean_covariance

KL = np.array([0.0, 1.0, 4.0, 9.0, 16.0])


def curves(prompts: int = 6, seed: int = 1) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (
        np.sqrt(KL) * (1 - 0.2 * np.sqrt(KL))
        + rng.standard_normal((prompts, 1))
        + 0.1 * rng.standard_normal((prompts, len(KL)))
    )


def table(gold: np.ndarray | None = None, run: str = "a") -> pd.DataFrame:
    gold = curves() if gold is None else gold
    prompts = len(gold)
    names = {"run": run, "rm_params": 1e6, "prompt": np.repeat([f"p{i}" for i in range(prompts)], len(KL))}
    steps = np.tile(100 * np.arange(len(KL)), prompts)
    return pd.DataFrame({**names, "kl": np.tile(KL, prompts), "gold": gold.ravel(), "proxy": 2.0, "step": steps})


def problems(source: pd.DataFrame, **keywords) -> list[str]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(RunsError) as caught:
            read_runs(source, **keywords)
    return list(caught.value.problems)


def test_averages_and_keeps_the_covariance_over_prompts() -> None:
    runs = read_runs(table(), baseline="none")
    np.testing.assert_allclose(runs["gold"], curves().mean(axis=0))
    np.testing.assert_array_equal(runs["kl"], KL)
    np.testing.assert_array_equal(runs["step"], 100 * np.arange(5))
    np.testing.assert_array_equal(runs["proxy"], 2.0)
    np.testing.assert_allclose(runs["gold_cov"], mean_covariance(curves(), n_of_kl(KL)).cov, rtol=1e-12)
    np.testing.assert_allclose(runs["gold_se"], curves().std(axis=0, ddof=1) / np.sqrt(6))


def test_recentring_removes_what_prompts_share() -> None:
    """Prompts of very different difficulty: their differences from the start are known much better."""
    runs = read_runs(table(curves(prompts=30)))
    assert (runs["gold_se"] < 0.05).all()
    assert (read_runs(table(curves(prompts=30)), baseline="none")["gold_se"] > 0.1).all()


@pytest.mark.parametrize("prompts", [2, 5, 3000])
def test_recentred_covariance_against_that_of_differences(prompts: int) -> None:
    """Variances are those of each prompt's own differences; with many prompts shrinkage hardly matters otherwise."""
    gold = curves(prompts=prompts)
    runs = read_runs(table(gold))
    differences = gold[:, 1:] - gold[:, :1]
    np.testing.assert_allclose(runs["gold_se"], differences.std(axis=0, ddof=1) / np.sqrt(prompts), rtol=1e-9)
    np.linalg.cholesky(runs["gold_cov"])
    if prompts == 3000:
        np.testing.assert_allclose(runs["gold_cov"], np.cov(differences, rowvar=False) / 3000, rtol=0.1)


@pytest.mark.parametrize("seed", range(3))
def test_row_order_and_names_do_not_matter(seed: int) -> None:
    expected = read_runs(table())
    shuffled = read_runs(table().sample(frac=1, random_state=seed))
    xr.testing.assert_allclose(shuffled, expected, rtol=1e-9)
    numbered = table().assign(prompt=table()["prompt"].str[1:].astype(int))
    xr.testing.assert_identical(read_runs(numbered), expected)


def test_several_samples_of_a_prompt_are_averaged_first() -> None:
    once = table()
    again = once[once["prompt"] == "p0"].assign(gold=lambda t: t["gold"] + 0.5)
    once.loc[once["prompt"] == "p0", "gold"] -= 0.5
    runs = read_runs(pd.concat([once, again]))
    xr.testing.assert_allclose(runs, read_runs(table()), rtol=1e-9)


def test_prompts_that_are_not_everywhere_are_left_out() -> None:
    whole, part = table(curves(5)), table(curves(5))
    extra = table(curves(7)[5:]).assign(prompt=lambda t: "q" + t["prompt"])
    part = pd.concat([part, extra[extra["kl"] < 9]])
    with pytest.warns(RunsWarning, match=r"run 'a': 2 of 7 prompts are left out, for they are not at all of the run's"):
        runs = read_runs(part)
    xr.testing.assert_identical(runs, read_runs(whole))


def test_too_few_whole_prompts() -> None:
    holes = table()
    holes = holes[~((holes["kl"] == 4) & (holes["prompt"] != "p3"))]
    (text,) = problems(holes)
    assert text == (
        "run 'a' has 1 of its 6 prompts at all of its 5 points; allowed: at least 2 "
        "(rows of a point must agree in n or kl)"
    )


def test_best_of_n_rows_by_n() -> None:
    """The bundled curves of single pools give the bundled run table, to the precision they were stored in."""
    measured = goldpeak.datasets.lab("bon")
    measured = goldpeak.select(measured, np.arange(40) % 5 == 0)
    frame = lab_prompts()
    runs = read_runs(frame[frame["run"].isin(measured["run"].values)], method="bon")
    assert runs["run"].values.tolist() == measured["run"].values.tolist()
    np.testing.assert_array_equal(runs["n"], measured["n"])
    np.testing.assert_allclose(runs["kl"], measured["kl"], rtol=1e-12)
    np.testing.assert_allclose(runs["gold"], measured["gold"], atol=1e-6)
    for k in range(8):
        cov = goldpeak.select(runs, np.arange(8) == k)["gold_cov"].values
        np.linalg.cholesky(cov)
        np.testing.assert_array_equal(cov, cov.T)


def test_runs_with_prompts_of_their_own() -> None:
    both = pd.concat([table(), table(curves(4, seed=2), run="b").iloc[::-1]])
    runs = read_runs(both)
    one = read_runs(table(curves(4, seed=2), run="b"))
    np.testing.assert_allclose(runs["gold_cov"][4:], one["gold_cov"])


def test_kl_measured_per_prompt_is_averaged_where_n_tells_points_apart() -> None:
    frame = table().assign(method="bon", n=lambda t: 1 + t["step"] // 100, step=np.nan).drop(columns="step")
    jitter = np.tile([0.0, 0, 0, 0, 1], 6) * np.repeat([-0.1, 0.1], 15)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RunsWarning)
        runs = read_runs(frame.assign(kl=frame["kl"] + jitter))
    np.testing.assert_allclose(runs["kl"], KL[1:])


def test_gold_se_beside_prompts_is_not_used() -> None:
    with pytest.warns(RunsWarning, match="column 'gold_se' is not used: the spread over prompts says"):
        runs = read_runs(table().assign(gold_se=9.0))
    assert (runs["gold_se"] < 1).all()


def test_bad_cells_are_reported_once() -> None:
    frame = table().astype({"gold": object, "prompt": object})
    frame.loc[7, "gold"] = "x"
    frame.loc[9, "prompt"] = " "
    assert problems(frame) == [
        "row 9: column 'prompt' holds nothing; allowed: a name",
        "row 7: column 'gold' holds 'x'; allowed: a finite number",
    ]


def test_gold_that_no_prompt_varies() -> None:
    gold = curves()
    gold[:, 3] = 0.25
    (text,) = problems(table(gold), baseline="none")
    assert "'a'" in text
    assert "diagonal is not positive" in text
    gold[:, 3] = gold[:, 0] + 0.25
    (text,) = problems(table(gold))
    assert "gold varies no more than at the start" in text


def test_files_with_and_without_prompts(tmp_path: Path) -> None:
    table().to_csv(tmp_path / "prompts.csv", index=False)
    plain = pd.DataFrame({"run": "b", "rm_params": 1e7, "kl": KL[1:], "gold": [1.0, 2, 2, 1], "gold_se": 0.1})
    plain.to_csv(tmp_path / "plain.csv", index=False)
    runs = read_runs([tmp_path / "prompts.csv", tmp_path / "plain.csv"])
    np.testing.assert_allclose(runs["gold_cov"][4:], 0.01 * np.eye(4))

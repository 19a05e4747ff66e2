"""Where gold peaks: closed form and grid against each other and brute force, and how the answer is laid out."""

from __future__ import annotations

import memory_use
import numpy as np
import pandas as pd
import pytest
import simulate
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import ArrayLike

import goldpeak
from goldpeak.bon import kl_of_n
from goldpeak.curves import Curves
from goldpeak.discrepancy import BOUNDARY, Sines
from goldpeak.errors import FitError
from goldpeak.forms import FORMS, Form
from goldpeak.peaks import quantiles
from goldpeak.summits import peak_draws

KL_MAX = 64.0
D_MAX = np.sqrt(KL_MAX)


def curves(form: Form, alpha: ArrayLike, beta: ArrayLike, gamma: float = 0.0, delta: ArrayLike | None = None) -> Curves:
    plain = delta is None
    draws = max(np.size(alpha), 1 if plain else np.size(delta) // np.shape(delta)[-1])
    alpha, beta = np.broadcast_to(alpha, draws), np.broadcast_to(beta, draws)
    return Curves(
        form=form,
        dim="run",
        items=np.array(["a"]),
        alpha=alpha.reshape(1, -1, 1),
        beta=beta.reshape(1, -1, 1),
        gamma=np.full((1, draws), gamma),
        sines=None if plain else Sines(BOUNDARY * D_MAX, np.shape(delta)[-1]),
        delta=None if plain else np.reshape(delta, (1, -1, 1, np.shape(delta)[-1])),
    )


def brute_force(drawn: Curves) -> tuple[np.ndarray, np.ndarray]:
    """KL and gold at the highest of 200,001 points."""
    d = np.linspace(0.0, D_MAX, 200_001)
    gold = drawn.gold(d)[0, :, 0]
    best = gold.argmax(axis=1)
    return np.where(best == len(d) - 1, np.inf, d[best] ** 2), gold.max(axis=1)


@settings(deadline=None)
@given(
    form=st.sampled_from(list(FORMS.values())),
    ratio=st.floats(-1.0, 6.0),
    beta=st.floats(0.01, 10.0),
    gamma=st.floats(-0.4, 2.5),
)
def test_the_grid_finds_the_closed_form(form: Form, ratio: float, beta: float, gamma: float) -> None:
    """A discrepancy of zero changes how the peak is found, but not the peak."""
    (exact,), (top,) = (v.ravel() for v in peak_draws(curves(form, ratio * beta, beta, gamma), KL_MAX))
    (found,), (gold,) = (v.ravel() for v in peak_draws(curves(form, ratio * beta, beta, gamma, [0.0] * 6), KL_MAX))
    assert gold == pytest.approx(top, rel=1e-4, abs=1e-4 * beta)
    if D_MAX / 100 < np.sqrt(exact) < 0.999 * D_MAX:
        assert found == pytest.approx(exact, rel=1e-3)
    elif exact == np.inf:
        # Within the last hundredth of a percent below the end, either is right.
        assert found > 0.998 * KL_MAX
    else:
        # Peaks below a hundredth of the range in d are within 1e-4 of the range in KL.
        assert found == pytest.approx(exact, abs=1e-4 * KL_MAX, rel=3e-3)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32), size=st.floats(0.01, 1.0), form=st.sampled_from([FORMS["rl"], FORMS["bon"]]))
def test_with_a_discrepancy_the_peak_is_that_of_brute_force(seed: int, size: float, form: Form) -> None:
    rng = np.random.default_rng(seed)
    drawn = curves(form, 0.6, 0.2, delta=size * rng.standard_normal((8, 12)))
    found, gold = (v.ravel() for v in peak_draws(drawn, KL_MAX))
    wanted, top = brute_force(drawn)
    # Gold is what matters: where two humps are level, either may be named.
    np.testing.assert_allclose(gold, top, rtol=1e-4, atol=1e-5)
    assert np.mean(np.isclose(found, wanted, rtol=2e-3, atol=1e-4)) >= 7 / 8


@pytest.mark.parametrize("higher", [0, 1])
def test_of_two_humps_the_higher_counts(higher: int) -> None:
    d = np.linspace(0, D_MAX, 400)
    humps = np.exp(-((d - 2.0) ** 2)) * (1.2 - 0.4 * higher) + np.exp(-((d - 6.0) ** 2))
    sines = Sines(BOUNDARY * D_MAX, 30)
    delta = np.linalg.lstsq(sines.columns(d), humps, rcond=None)[0]
    kl, gold = peak_draws(curves(FORMS["bon"], 0.0, 0.0, delta=delta), KL_MAX)
    assert float(kl.item()) == pytest.approx([4.0, 36.0][higher], rel=0.02)
    assert float(gold.item()) == pytest.approx(max(1.2 - 0.4 * higher, 1.0), rel=0.02)


@pytest.mark.parametrize("delta", [None, [0.0] * 5], ids=["closed form", "grid"])
def test_rising_at_the_end_is_infinite_with_gold_at_the_end(delta: list[float] | None) -> None:
    kl, gold = peak_draws(curves(FORMS["bon"], 1.0, 0.01, delta=delta), KL_MAX)
    assert kl.item() == np.inf
    assert gold.item() == pytest.approx(D_MAX - 0.01 * KL_MAX)


@pytest.mark.parametrize("delta", [None, [0.0] * 5], ids=["closed form", "grid"])
def test_falling_from_the_start_peaks_at_zero(delta: list[float] | None) -> None:
    kl, gold = peak_draws(curves(FORMS["bon"], -1.0, 0.1, delta=delta), KL_MAX)
    assert (kl.item(), gold.item()) == (0.0, 0.0)


@pytest.mark.parametrize("delta", [None, [0.0] * 5], ids=["closed form", "grid"])
@pytest.mark.parametrize("form", ["bon", "rl", "rl_log1p", "saturating"])
def test_without_an_interior_peak_the_higher_end_counts(form: str, delta: list[float] | None) -> None:
    """A negative beta bends upwards: gold falls, then rises; where it stays below 0 the start is highest."""
    # Slopes at which gold at the end of the range is just below and just above 0.
    level = -float(FORMS[form].basis(D_MAX)[1]) / D_MAX
    for alpha, wanted in ((-1.01 * level, 0.0), (-0.99 * level, np.inf)):
        kl, gold = peak_draws(curves(FORMS[form], alpha, -1.0, delta=delta), KL_MAX)
        assert kl.item() == wanted
        assert gold.item() == pytest.approx(max(D_MAX * (alpha + level), 0.0))


@pytest.mark.parametrize("share", [0.9951, 0.998, 0.9995])
def test_a_peak_in_the_last_step_of_the_grid_is_a_peak(share: float) -> None:
    d = share * D_MAX
    kl, _ = peak_draws(curves(FORMS["bon"], 2.0 * d, 1.0, delta=[0.0] * 5), KL_MAX)
    assert kl.item() == pytest.approx(d**2, rel=1e-3)


def test_many_draws_in_chunks_are_the_single_ones() -> None:
    rng = np.random.default_rng(0)
    alpha, delta = rng.uniform(0.2, 1.0, 3000), 0.3 * rng.standard_normal((3000, 10))
    kl, gold = peak_draws(curves(FORMS["rl"], alpha, 0.2, delta=delta), KL_MAX)
    for i in (0, 1999, 2000, 2999):
        one = peak_draws(curves(FORMS["rl"], alpha[i], 0.2, delta=delta[i]), KL_MAX)
        assert (kl[0, i, 0], gold[0, i, 0]) == (one[0].item(), one[1].item())


@settings(deadline=None)
@given(
    values=st.lists(st.floats(0, 100) | st.just(np.inf), min_size=1, max_size=50),
    prob=st.floats(0.01, 0.99),
)
def test_quantiles_are_draws_in_order_and_never_nan(values: list[float], prob: float) -> None:
    lo, median, hi = quantiles(np.array(values), prob)
    assert lo <= median <= hi
    assert {float(lo), float(median), float(hi)} <= set(values)
    assert np.mean(np.array(values) <= hi) >= 1 - (1 - prob) / 2 - 1e-9


@pytest.fixture(scope="module")
def post() -> xr.DataTree:
    runs = simulate.runs(np.random.default_rng(0), points=8, kl_max=40.0, sd=0.01)
    return goldpeak.fit(runs, "rl_paper", engine="exact", draws=250)


@pytest.fixture(scope="module")
def smooth_post() -> xr.DataTree:
    runs = simulate.runs(np.random.default_rng(0), points=8, kl_max=40.0, sd=0.01)
    return goldpeak.fit(runs, "rl", engine="exact", draws=250)


def test_the_table_is_the_draws(post: xr.DataTree) -> None:
    found = goldpeak.peak(post, prob=0.8)
    kl, gold = (found.draws[v].values.reshape(1000, -1) for v in ("kl_peak", "gold_peak"))
    assert found.table.columns.tolist() == [
        "rm_params", "median", "lo", "hi", "gold_median", "gold_lo", "gold_hi", "p_peak_in_range",
        "p_peak_below_kl_max", "kl_observed", "baseline", "extrapolated", "decades", "prob", "interval",
    ]  # fmt: skip
    np.testing.assert_array_equal(found.table["median"], np.quantile(kl, 0.5, axis=0, method="inverted_cdf"))
    np.testing.assert_array_equal(found.table["gold_hi"], np.quantile(gold, 0.9, axis=0, method="inverted_cdf"))
    np.testing.assert_allclose(found.table["p_peak_in_range"], np.mean(kl <= 40.0, axis=0))
    np.testing.assert_allclose(found.table["p_peak_below_kl_max"], np.mean(kl < np.inf, axis=0))
    assert (found.prob, found.include, found.kl_max) == (0.8, "observed", pytest.approx(80.0))
    assert found.draws["kl_peak"].attrs["units"] == "nat"
    assert not np.isnan(kl).any()


def test_gold_of_observed_runs_is_given_back_in_the_files_units() -> None:
    """A shift of all gold shifts what is reported of the runs, and nothing else."""
    table = simulate.table(np.random.default_rng(0), points=10)
    start = table.groupby("run", as_index=False).first().assign(kl=0.0, gold=0.0)
    whole = pd.concat([start, table])
    tables, sizes = [], []
    for shift in (0.0, 100.0):
        post = goldpeak.fit(goldpeak.read_runs(whole.assign(gold=whole["gold"] + shift)), "rl_paper", draws=100)
        tables.append(goldpeak.peak(post).table)
        sizes.append(goldpeak.peak(post, [1e7]).table)
    assert (tables[1]["baseline"] == 100.0).all()
    for name in ("gold_median", "gold_lo", "gold_hi"):
        np.testing.assert_allclose(tables[1][name], tables[0][name] + 100.0, rtol=1e-9)
        np.testing.assert_allclose(sizes[1][name], sizes[0][name], rtol=1e-6)
    np.testing.assert_allclose(tables[1]["median"], tables[0]["median"], rtol=1e-6)


def test_of_two_nearly_level_humps_the_higher_counts_though_the_other_lies_on_the_grid() -> None:
    d = np.linspace(0, D_MAX, 2000)
    step = D_MAX / 200
    # The higher top lies half way between two points of the first grid.
    humps = np.exp(-(((d - 50 * step) / 0.15) ** 2)) + 1.005 * np.exp(-(((d - 150.5 * step) / 0.15) ** 2))
    sines = Sines(BOUNDARY * D_MAX, 150)
    delta = np.linalg.lstsq(sines.columns(d), humps, rcond=None)[0]
    kl, gold = peak_draws(curves(FORMS["bon"], 0.0, 0.0, delta=delta), KL_MAX)
    assert float(kl.item()) == pytest.approx((150.5 * step) ** 2, rel=1e-3)
    assert float(gold.item()) == pytest.approx(1.005, rel=1e-3)


def test_observed_peaks_are_the_true_ones() -> None:
    runs = simulate.runs(np.random.default_rng(0), points=30, kl_max=40.0, sd=0.0, noise=0.003)
    truth = np.exp(0.6 / (0.3 - 0.02 * np.log([0.1, 0.1, 1.0, 1.0, 10.0, 10.0])) - 1.0) ** 2
    found = goldpeak.peak(goldpeak.fit(runs, "rl_paper", engine="exact", draws=250)).table
    np.testing.assert_allclose(found["median"], truth, rtol=0.05)
    np.testing.assert_allclose(
        found["gold_median"], (0.3 - 0.02 * np.log([0.1, 0.1, 1, 1, 10, 10])) * np.sqrt(truth), rtol=0.01
    )


def test_extrapolation_is_marked_with_its_distance(post: xr.DataTree) -> None:
    table = goldpeak.peak(post, rm_params=[1e4, 1e6, 3e7, 1e8, 1e10]).table
    assert table["extrapolated"].tolist() == [True, False, False, False, True]
    np.testing.assert_allclose(table["decades"], [2, 0, 0, 0, 2])
    assert table["rm_params"].tolist() == [1e4, 1e6, 3e7, 1e8, 1e10]
    width = np.log(table["hi"] / table["lo"])
    assert width.iloc[4] > width.iloc[2]


def test_a_smaller_kl_max_only_moves_peaks_beyond_it_to_infinity(smooth_post: xr.DataTree) -> None:
    wide, narrow = (goldpeak.peak(smooth_post, kl_max=kl).draws["kl_peak"].values for kl in (80.0, 15.0))
    low, beyond = wide < 12.0, np.isinf(wide) | (wide > 20)
    assert low.any()
    assert beyond.any()
    np.testing.assert_allclose(narrow[low], wide[low], rtol=2e-3)
    # Where the highest point lies beyond, what is left below may still have a lower hump of its own.
    assert np.mean(np.isinf(narrow[beyond])) > 0.9


def test_kl_max_beyond_the_basis_is_refused(smooth_post: xr.DataTree, post: xr.DataTree) -> None:
    with pytest.raises(FitError, match=r"reaches only to 80 nats; fit again with kl_max=81"):
        goldpeak.peak(smooth_post, kl_max=81.0)
    assert goldpeak.peak(post, kl_max=1000.0).kl_max == 1000.0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"prob": 0.0}, "prob is 0.0"),
        ({"prob": 1.0}, "prob is 1.0"),
        ({"prob": "90%"}, "prob is .90%.; allowed: a number between 0 and 1"),
        ({"kl_max": -1.0}, "kl_max is -1.0"),
        ({"kl_max": np.inf}, "kl_max is inf"),
        ({"kl_max": "50"}, "kl_max is .50.; allowed: a finite number"),
        ({"rm_params": [1e6, -1.0]}, "rm_params holds -1.0"),
        ({"rm_params": []}, "rm_params holds nothing"),
        ({"rm_params": [np.nan]}, "rm_params holds nan"),
        ({"rm_params": [[1e6, 1e7]]}, r"rm_params has shape \(1, 2\); allowed: one size"),
        ({"include": "all"}, "include is 'all'; allowed"),
        ({"rm_params": [1e6], "include": "all"}, "include is 'all'; allowed: typical, new_rm, new_run"),
    ],
)
def test_bad_arguments_are_refused(post: xr.DataTree, arguments: dict[str, object], message: str) -> None:
    with pytest.raises(FitError, match=message):
        goldpeak.peak(post, **arguments)


def test_one_size_answers_for_its_runs_only() -> None:
    runs = simulate.runs(np.random.default_rng(0), sizes=(1e6,), points=6)
    post = goldpeak.fit(runs, "rl_paper", engine="exact", draws=100)
    assert np.isfinite(goldpeak.peak(post).table["median"]).all()
    with pytest.raises(FitError, match=r"all runs have the same rm_params \(1e\+06\)"):
        goldpeak.peak(post, rm_params=[1e7])


def test_best_of_n_gets_the_n_of_its_peak() -> None:
    frame = simulate.table(
        np.random.default_rng(0), form="bon", alpha=0.6, beta=0.2, beta_slope=0.0, points=8, kl_max=6.0
    )
    frame["n"] = np.exp(frame["kl"] + 1.0)
    with pytest.warns(goldpeak.RunsWarning):
        runs = goldpeak.read_runs(frame.assign(method="bon", n=frame["n"].round()))
    draws = goldpeak.peak(goldpeak.fit(runs, "bon_paper", engine="exact", draws=100)).draws
    inside = np.isfinite(draws["kl_peak"].values)
    np.testing.assert_allclose(kl_of_n(draws["n_peak"].values)[inside], draws["kl_peak"].values[inside], rtol=1e-9)
    assert np.isinf(draws["n_peak"].values[~inside]).all()


MEMORY = """
import numpy as np, simulate, goldpeak
from memory_use import peak
post = goldpeak.fit(simulate.runs(np.random.default_rng(0), points=8, kl_max=40.0), "rl", engine="exact", draws=1000)
goldpeak.peak(post, rm_params=[1e6, 1e9])
before = peak()
found = goldpeak.peak(post, rm_params=np.geomspace(1e6, 1e9, 100))
assert found.draws["kl_peak"].shape == (4, 1000, 100) and not found.draws["kl_peak"].isnull().any()
print(peak() - before, post["posterior"].sizes["sine"])
"""


@memory_use.needed
@pytest.mark.slow
def test_a_hundred_sizes_take_no_more_than_half_a_gigabyte() -> None:
    megabytes, sines = memory_use.printed_by(MEMORY).split()
    assert int(sines) >= 10
    assert 0 < float(megabytes) < 500

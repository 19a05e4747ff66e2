"""What is known of the noise before a fit: covariances that are none, errors of KL, times."""

from __future__ import annotations

import dataclasses
import warnings

import numpy as np
import pytest
import simulate
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from noisy import shared_samples, with_covariance

import goldpeak
from goldpeak.card import Card, Noise
from goldpeak.design import make_design
from goldpeak.engines.propagated import propagate
from goldpeak.errors import CardError, FitError, RunsError, RunsWarning
from goldpeak.library import load_card
from goldpeak.priors import HalfNormal, LogNormal
from goldpeak.rotation import Turn
from goldpeak.runs import read_runs
from goldpeak.slopes import first_guess, secant

SD = HalfNormal(0.1)
COV = dataclasses.replace(load_card("rl"), name="cov", noise=Noise("cov", SD))
STEPS = dataclasses.replace(
    load_card("rl"), name="steps", noise=Noise("ou", SD, lengthscale=LogNormal(3.0, 1.0), time="step")
)


def runs_of(**settings: object) -> xr.Dataset:
    return simulate.runs(np.random.default_rng(0), **({"points": 5} | settings))


def correlated(**settings: object) -> xr.Dataset:
    return with_covariance(runs_of(**settings), [shared_samples(5)] * 6)


def with_entry(runs: xr.Dataset, point: int, peer: int, value: float) -> xr.Dataset:
    values = runs["gold_cov"].values.copy()
    values[point, peer] = value
    return runs.assign(gold_cov=(runs["gold_cov"].dims, values))


def test_a_covariance_comes_in_standard_units_with_its_standard_errors() -> None:
    runs = correlated().assign_attrs(gold_scale=4.0)
    known = make_design(runs, COV).measurement
    np.testing.assert_allclose(known.blocks[2], shared_samples(5) / 16)
    np.testing.assert_allclose(known.se[:5], np.sqrt(np.diag(shared_samples(5))) / 4)
    np.testing.assert_allclose(np.sort(known.independent_se[:5] ** 2), np.linalg.eigvalsh(shared_samples(5)) / 16)


def test_known_noise_takes_a_covariance_where_there_is_one_and_says_nothing() -> None:
    runs = correlated().drop_vars("gold_se")
    assert make_design(runs, load_card("bon")).measurement.turn is not None
    assert make_design(runs_of(), load_card("bon")).measurement.turn is None
    assert make_design(correlated(), load_card("bon_paper")).measurement.turn is None  # iid


def test_without_a_covariance_cov_is_refused_with_the_way_out() -> None:
    with pytest.raises(
        FitError, match=r"card 'cov' has noise 'cov', and the runs have no gold_cov.*noise 'known' uses"
    ):
        make_design(runs_of(), COV)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda r: with_entry(r, 7, 1, np.nan),
            r"run 'rl-1e\+06-1': nan between its points 3 and 2 \(1 such entries\)",
        ),
        (lambda r: with_entry(r, 0, 0, np.inf), r"run 'rl-1e\+06-0': inf between its points 1 and 1"),
        (lambda r: with_entry(r, 0, 1, 0.5), r"run 'rl-1e\+06-0': not symmetric"),
        (lambda r: with_entry(r, 0, 0, -0.5), r"run 'rl-1e\+06-0': least eigenvalue -0.5"),
        (lambda r: r.isel(peer=slice(4)), r"run 'rl-1e\+06-0': 4 peers, 5 points; .* \(and 1 more\)"),
    ],
    ids=["nan", "inf", "asymmetric", "negative", "too few peers"],
)
def test_what_is_no_covariance_is_named(change: object, message: str) -> None:
    with pytest.raises(FitError, match=message):
        make_design(change(correlated()), COV)


def test_runs_with_a_covariance_are_stored_and_read_back(tmp_path: object) -> None:
    post = goldpeak.fit(correlated(), "rl_paper", draws=20, chains=1)
    goldpeak.save(post, tmp_path / "fit.nc")
    assert goldpeak.load(tmp_path / "fit.nc")["constant_data"]["gold_cov"].dims == ("point", "peer")
    other = with_entry(correlated(), 0, 0, 9.0)
    assert goldpeak.fit(other, "rl_paper", draws=20, chains=1).attrs["data_digest"] != post.attrs["data_digest"]


@settings(deadline=None)
@given(seed=st.integers(0, 2**32), rank=st.integers(0, 6))
def test_turning_makes_a_covariance_diagonal(seed: int, rank: int) -> None:
    rng = np.random.default_rng(seed)
    root = rng.standard_normal((6, rank))
    members = [np.array([4, 1, 0]), np.array([2, 3, 5])]
    turn = Turn.of(members, [root[m] @ root[m].T for m in members])
    for r, mine in enumerate(members):
        turned = turn.run(r, turn.run(r, root[mine] @ root[mine].T).T)
        np.testing.assert_allclose(turned, np.diag(turn.se[mine] ** 2), atol=1e-9 * np.abs(root).max(initial=1.0) ** 2)
        np.testing.assert_allclose(turn.points(root)[mine], turn.run(r, root[mine].T).T)
        np.testing.assert_allclose(turn.padded()[r] @ turn.padded()[r].T, np.eye(3), atol=1e-12)


@pytest.mark.parametrize("lacking", ["column", "cell"])
def test_noise_along_steps_needs_them(lacking: str) -> None:
    frame = simulate.table(np.random.default_rng(0), points=5)
    if lacking == "cell":
        frame["step"] = np.where(np.arange(len(frame)) == 3, np.nan, 5.0)
    with pytest.raises(FitError, match=r"the runs have (no column step|points without a step); time = 'd'"):
        make_design(read_runs(frame), STEPS)


@pytest.mark.parametrize(
    ("noise", "message"),
    [
        (Noise("ou", SD, lengthscale=SD, time="d"), "noise.kind is 'ou'; allowed in peak coordinates: iid, known, cov"),
        (Noise("student_t", SD, nu=SD), "noise.kind is 'student_t'; allowed in peak coordinates"),
        (Noise("known", SD, offset_sd=SD), "noise.offset_sd needs coordinates = 'coefficients'"),
    ],
    ids=["ou", "student_t", "offset"],
)
def test_peak_coordinates_refuse_what_they_cannot_have(noise: Noise, message: str) -> None:
    with pytest.raises(CardError, match=message):
        load_card(dataclasses.replace(load_card("similar"), noise=noise))


@pytest.mark.parametrize("kind", ["ou", "student_t"])
def test_noise_that_moves_has_no_sufficient_statistics(kind: str) -> None:
    noise = STEPS.noise if kind == "ou" else Noise(kind, SD, nu=SD)
    runs = read_runs(simulate.table(np.random.default_rng(0), points=5).assign(step=5.0))
    with pytest.raises(FitError, match=f"has noise '{kind}': points then do not enter through sums"):
        goldpeak.suffstats(runs, dataclasses.replace(load_card("rl"), noise=noise))


def test_correlated_points_are_counted_run_by_run() -> None:
    runs = correlated()
    first = runs["run_index"].values < 2
    chunks = [goldpeak.suffstats(runs, COV, points=mask) for mask in (first, ~first)]
    sigma = np.array([0.05])
    whole = goldpeak.suffstats(runs, COV).weighted(sigma)
    np.testing.assert_allclose((chunks[0] + chunks[1]).weighted(sigma), whole, rtol=1e-9, atol=1e-6)
    with pytest.raises(FitError, match=r"points holds part of run rl-1e\+06-1; allowed with gold_cov: whole runs"):
        goldpeak.suffstats(runs, COV, points=np.arange(7))


def test_kl_se_is_a_column_that_is_checked() -> None:
    frame = simulate.table(np.random.default_rng(0), points=5).assign(kl_se=0.1)
    assert read_runs(frame)["kl_se"].attrs["units"] == "nat"
    with pytest.raises(RunsError, match=r"column 'kl_se' holds -0.1; allowed: a finite number >= 0"):
        read_runs(frame.assign(kl_se=-0.1))


def noisy_in_kl(card: Card, share: float = 0.1) -> tuple[xr.Dataset, np.ndarray]:
    """Runs without any other noise; and the standard errors that their true curves make of those of KL."""
    frame = simulate.table(np.random.default_rng(1), points=12, noise=1e-6, sd=0.02).drop(columns="gold_se")
    runs = read_runs(frame.assign(kl_se=share * frame["kl"]))
    design = make_design(runs, card)
    truth = np.empty(len(design.d))
    for r in range(len(design.run)):
        mine = design.run_index == r
        phi = design.form.basis(design.d[mine])
        theta = np.linalg.lstsq(phi, design.y[mine], rcond=None)[0]
        slope = (theta[0] - theta[1] * (1 + np.log(design.d[mine]))) / (2 * design.d[mine])
        truth[mine] = np.abs(slope) * share * design.d[mine] ** 2
    return runs, truth


@pytest.mark.parametrize("name", ["rl_paper", "rl", "similar"])
def test_errors_of_kl_are_standard_errors_through_the_slope(name: str) -> None:
    card = load_card(name)
    runs, truth = noisy_in_kl(load_card("rl_paper"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RunsWarning)
        design = make_design(runs, card)
    np.testing.assert_allclose(design.se, truth, atol=0.003)
    again = propagate(design)
    if name == "similar":
        assert again is design
    else:
        np.testing.assert_allclose(again.se, truth, atol=0.003)
        assert again.measurement.from_kl is not design.measurement.from_kl


def test_errors_of_kl_add_to_those_of_gold_and_to_covariances() -> None:
    frame = simulate.table(np.random.default_rng(1), points=5)
    runs = read_runs(frame.assign(kl_se=0.2 * frame["kl"]))
    known = make_design(runs, load_card("rl")).measurement
    np.testing.assert_allclose(known.se**2, known.known**2 + known.from_kl**2)
    assert (known.from_kl > 0).all()
    turned = make_design(with_covariance(runs, [shared_samples(5)] * 6), COV).measurement
    assert np.sum(turned.independent_se**2) == pytest.approx(np.sum(turned.se**2))


def test_errors_of_kl_that_are_0_change_nothing() -> None:
    frame = simulate.table(np.random.default_rng(1), points=5)
    exact, plain = (make_design(read_runs(f), load_card("rl")) for f in (frame.assign(kl_se=0.0), frame))
    np.testing.assert_array_equal(exact.se, plain.se)
    assert propagate(exact) is exact


def test_the_secant_stays_finite_at_the_start() -> None:
    found = secant(lambda d: d * (0.6 - 0.3 * np.log(np.maximum(d, 1e-12))), np.array([0.0, 1e-6]), np.full(2, 0.04))
    assert np.isfinite(found).all()
    assert found[0] == pytest.approx(0.5 * 0.2 * (0.6 - 0.3 * np.log(0.2)))


def test_three_points_are_enough_for_a_first_guess() -> None:
    kl = np.array([1.0, 4.0, 9.0])
    found = first_guess(kl, np.full(3, 0.2), np.sqrt(kl) * (1.0 - 0.3 * np.log(np.sqrt(kl))), [np.arange(3)])
    np.testing.assert_allclose(found, 0.1 * (0.7 - 0.3 * np.log(np.sqrt(kl))) / np.sqrt(kl), rtol=0.03)

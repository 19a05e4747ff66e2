"""Posteriors in peak coordinates: their curves, peaks, densities and units."""

from __future__ import annotations

import dataclasses
import warnings

import numpy as np
import pytest
import simulate
import xarray as xr
from dense import noise_covariance
from hypothesis import given, settings
from hypothesis import strategies as st
from noisy import shared_samples, with_covariance
from scipy.stats import multivariate_normal, norm

import goldpeak
from goldpeak.card import Card
from goldpeak.curves import new_curves, observed_curves
from goldpeak.design import make_design
from goldpeak.discrepancy import BOUNDARY, Sines
from goldpeak.engines import laplace_is
from goldpeak.errors import FitError
from goldpeak.gates import gates_of
from goldpeak.library import load_card
from goldpeak.noise import variance
from goldpeak.priors import Normal
from goldpeak.runs import read_runs
from goldpeak.shapes import Shape, psi, shape_at
from goldpeak.stretched import StretchedCurves
from goldpeak.summits import peak_draws

SIMILAR = load_card("similar")
KL_MAX = 49.0
D_MAX = float(np.sqrt(KL_MAX))
DRIFTING = dataclasses.replace(SIMILAR, form=dataclasses.replace(SIMILAR.form, gamma_slope=Normal(0.0, 0.1)))


def runs_of(seed: int = 0, **settings: object) -> xr.Dataset:
    return simulate.runs(np.random.default_rng(seed), **({"points": 8, "runs_per_size": 1} | settings))


@pytest.fixture(scope="module")
def post() -> xr.DataTree:
    return goldpeak.fit(runs_of(), SIMILAR, engine="laplace_is", seed=1, draws=250)


def drawn(rng: np.random.Generator, count: int, smooth: float) -> StretchedCurves:
    shape, own = Sines(4.2, 12), Sines(BOUNDARY * D_MAX, 14)

    def one(low: float, high: float) -> np.ndarray:
        return rng.uniform(low, high, (1, count, 1))

    return StretchedCurves(
        Shape(None, shape, 1.1),
        "run",
        np.array(["a"]),
        one(0.5, 9.0),
        one(0.2, 2.0),
        one(-0.3, 2.0),
        smooth * rng.standard_normal((count, shape.count)) / np.arange(1, 13),
        own,
        smooth * rng.standard_normal((1, count, 1, own.count)) / np.arange(1, 15),
        10.0 * smooth * rng.standard_normal((1, count, 1)),
    )


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 2**32), smooth=st.sampled_from([0.0, 0.02, 0.1, 0.3]))
def test_peaks_are_those_of_brute_force(seed: int, smooth: float) -> None:
    curves = drawn(np.random.default_rng(seed), 20, smooth)
    kl, gold = (v[0, :, 0] for v in peak_draws(curves, KL_MAX))
    d = np.linspace(0.0, D_MAX, 20_001)
    values = curves.gold(d)[0, :, 0]
    best = values.argmax(axis=1)
    np.testing.assert_allclose(gold, values.max(axis=1), atol=1e-5 * np.abs(values).max())
    inner = (best > 0) & (best < len(d) - 1) & np.isfinite(kl)
    height = np.array([np.interp(np.sqrt(k), d, row) for k, row in zip(kl[inner], values[inner], strict=True)])
    np.testing.assert_allclose(height, values[inner].max(axis=1), atol=1e-5 * np.abs(values).max())
    assert np.all(np.isinf(kl[(best == len(d) - 1) & (np.gradient(values, d, axis=1)[:, -1] > 1e-3)]))


def test_without_a_smooth_part_the_peak_is_d_star() -> None:
    place = np.array([2.0, 6.9, 7.1]).reshape(1, 3, 1)
    curves = StretchedCurves(Shape(1.0, None), "run", np.array(["a"]), place, np.ones((1, 3, 1)), np.ones((1, 3, 1)))
    kl, gold = (v.ravel() for v in peak_draws(curves, KL_MAX))
    np.testing.assert_allclose(kl, [4.0, 6.9**2, np.inf])
    np.testing.assert_allclose(gold, [1.0, 1.0, shape_at(D_MAX / 7.1, 1.0)])


def test_gold_is_shape_stretched_plus_own_part() -> None:
    """The tabulated shared discrepancy against the sines themselves, inside and beyond their length."""
    curves = drawn(np.random.default_rng(1), 50, 0.2)
    d = np.linspace(0.0, D_MAX, 200)
    u = d / curves.d_star[0]
    assert curves.sines
    assert curves.delta is not None
    assert curves.shape_delta is not None
    shared = np.einsum("spm,sm->sp", curves.shape.columns(u), curves.shape_delta)
    assert curves.bend is not None
    bent = curves.bend[0] * (np.log(curves.d_star[0]) - 1.1) * psi(u)
    wanted = curves.gold_star[0] * (shape_at(u, curves.gamma[0]) + bent + shared)
    wanted += curves.delta[0, :, 0] @ curves.sines.columns(d).T
    np.testing.assert_allclose(curves.gold(d)[0, :, 0], wanted, atol=2e-6)
    np.testing.assert_allclose(curves.flat().part(slice(10, 20)).gold(d)[0, :, 0], wanted[10:20], atol=2e-6)


def test_the_likelihood_of_a_posterior_is_that_of_its_curves(post: xr.DataTree) -> None:
    runs, posterior = runs_of(), post["posterior"]
    gold = observed_curves(post).gold(np.sqrt(runs["kl"].values))
    index = runs["run_index"].values
    curve = gold[:, :, index, np.arange(len(index))]
    spread = np.sqrt(variance(runs["gold_se"].values, posterior["sigma"].values[..., None]))
    wanted = norm(curve, spread).logpdf(runs["gold"].values)
    np.testing.assert_allclose(post["log_likelihood"]["gold"].values, wanted, atol=2e-2)


@pytest.mark.parametrize("correlated", [False, True], ids=["independent", "correlated"])
def test_the_nuts_models_density_is_a_dense_normals(correlated: bool) -> None:
    from goldpeak.engines import nuts

    runs = runs_of(share_rm=True, runs_per_size=2)
    if correlated:
        runs = with_covariance(runs, [shared_samples(8)] * 6)
    design = make_design(runs, DRIFTING)
    assert design.sines
    assert design.shape
    assert design.shape.sines
    model = nuts.build_model(design)
    rng = np.random.default_rng(0)
    point = {name: 0.3 * rng.standard_normal(np.shape(v)) for name, v in model.initial_point().items()}
    found = float(model.compile_logp(vars=model.observed_RVs, mode="FAST_COMPILE")(point))
    names = [
        "d_star",
        "gold_star",
        "gamma",
        "gamma_slope",
        "bend",
        "delta_shape",
        "sigma",
        "eta_run",
        "run_lengthscale",
    ]
    given = model.replace_rvs_by_values([model[name] for name in names])
    values = model.compile_fn(given, inputs=model.value_vars, mode="FAST_COMPILE", on_unused_input="ignore")(point)
    v = dict(zip(names, values, strict=True))
    wanted = 0.0
    for r in range(len(design.run)):
        mine = design.run_index == r
        u = design.d[mine] / v["d_star"][r]
        shape = shape_at(u, v["gamma"] + v["gamma_slope"] * design.x[r]) + design.shape.columns(u) @ v["delta_shape"]
        shape += v["bend"] * (np.log(v["d_star"][r]) - 1.1) * psi(u)
        s = design.sines.columns(design.d[mine])
        covariance = v["eta_run"] ** 2 * (s * design.sines.variances(v["run_lengthscale"])) @ s.T
        covariance += noise_covariance(design, {"sigma": float(v["sigma"])})[np.ix_(mine, mine)]
        wanted += multivariate_normal(v["gold_star"][r] * shape, covariance).logpdf(design.y[mine])
    assert found == pytest.approx(wanted, rel=1e-6)


@pytest.mark.parametrize("factor", [1e-3, 7.0, 1e4])
def test_gold_in_other_units_gives_the_same_answer_in_those(post: xr.DataTree, factor: float) -> None:
    frame = simulate.table(np.random.default_rng(0), points=8, runs_per_size=1)
    frame[["gold", "gold_se"]] *= factor
    other = goldpeak.fit(read_runs(frame), SIMILAR, engine="laplace_is", seed=1, draws=250)
    for name in ("d_star", "gamma", "d_star_coef", "d_star_sd_run", "delta_shape", "correlation"):
        assert share_alike(other["posterior"][name], post["posterior"][name], 1e-6) > 0.99, name
    for name in ("gold_star", "delta", "sigma", "eta_run"):
        assert share_alike(other["posterior"][name], factor * post["posterior"][name], 1e-5 * factor) > 0.99, name
    shift = xr.zeros_like(post["posterior"]["gold_star_coef"])
    shift.loc[{"gold_star_term": "intercept"}] = np.log(factor)
    assert share_alike(other["posterior"]["gold_star_coef"], post["posterior"]["gold_star_coef"] + shift, 1e-4) > 0.99
    peaks = [goldpeak.peak(p, [1e9]).table.iloc[0] for p in (post, other)]
    assert peaks[1]["median"] == pytest.approx(peaks[0]["median"], rel=1e-2)
    assert peaks[1]["gold_median"] == pytest.approx(factor * peaks[0]["gold_median"], rel=1e-2)


def share_alike(a: xr.DataArray, b: xr.DataArray, atol: float) -> float:
    """Share of draws that are the same but for rounding, which may also tip the resampling of a few to a neighbour."""
    same = np.isclose(a.values, b.values, rtol=1e-4, atol=atol)
    return float(same.reshape(*same.shape[:2], -1).all(axis=-1).mean())


def test_same_seed_same_answer_and_the_posterior_says_how_it_was_made(post: xr.DataTree) -> None:
    again = goldpeak.fit(runs_of(), SIMILAR, seed=1, draws=250)
    xr.testing.assert_identical(again["posterior"].to_dataset(), post["posterior"].to_dataset())
    assert again.attrs["engine"] == "laplace_is"
    assert again.attrs["engine_reason"] == "the card is in peak coordinates"
    assert gates_of(post).passed
    assert np.isfinite(post.attrs["log_marginal_likelihood"])


def test_a_posterior_is_saved_and_loaded(post: xr.DataTree, tmp_path: object) -> None:
    goldpeak.save(post, f"{tmp_path}/post.nc")
    loaded = goldpeak.load(f"{tmp_path}/post.nc")
    assert loaded.identical(post)
    assert goldpeak.peak(loaded, [1e9]).table.equals(goldpeak.peak(post, [1e9]).table)


def test_the_shared_shapes_peak_is_given_beside_the_curves(post: xr.DataTree) -> None:
    found = goldpeak.peak(post)
    np.testing.assert_allclose(found.draws["kl_star"], post["posterior"]["d_star"] ** 2)
    assert {"kl_star_median"} < set(found.table.columns)


def test_levels_of_a_prediction_add_up(post: xr.DataTree) -> None:
    """Of log d* and log R*: variances and covariance of what each level adds."""
    typical, new_rm, new_run = (
        new_curves(post, [1e9] * 40, include=level) for level in ("typical", "new_rm", "new_run")
    )
    assert np.all(typical.d_star[..., 0] == typical.d_star[..., 1])
    posterior = post["posterior"]
    levels = (
        (new_rm, [posterior["d_star_sd_rm"]], [posterior["gold_star_sd_rm"]]),
        (
            new_run,
            [posterior["d_star_sd_rm"], posterior["d_star_sd_run"]],
            [posterior["gold_star_sd_rm"], posterior["gold_star_sd_run"]],
        ),
    )
    for found, sd_d, sd_gold in levels:
        off_d, off_gold = np.log(found.d_star / typical.d_star), np.log(found.gold_star / typical.gold_star)
        z = off_d / np.sqrt(sum(s.values[..., None] ** 2 for s in sd_d))
        assert z.var() == pytest.approx(1.0, abs=0.03)
        wanted = sum(a.values * b.values for a, b in zip(sd_d, sd_gold, strict=True)) * posterior["correlation"].values
        scale = np.mean(sum(s.values**2 for s in sd_d)) + np.mean(sum(s.values**2 for s in sd_gold))
        assert np.mean(off_d * off_gold) == pytest.approx(wanted.mean(), abs=0.02 * scale)


def test_runs_that_only_fall_are_refused_with_a_reason() -> None:
    frame = simulate.table(np.random.default_rng(0), points=6, runs_per_size=1)
    frame.loc[frame["run"] == "rl-1e+07-0", "gold"] = -0.1 * frame["kl"]
    with pytest.raises(FitError, match=r"run rl-1e\+07-0: gold never rises above the initial policy's"):
        goldpeak.fit(read_runs(frame), SIMILAR)


@pytest.mark.parametrize("card", [SIMILAR, load_card("rl")], ids=lambda card: card.name)
def test_the_wrong_fast_engine_says_so(card: Card) -> None:
    engine = "exact" if card.coordinates == "peak" else "laplace_is"
    with pytest.raises(FitError, match=f"engine '{engine}' cannot run card '{card.name}'"):
        goldpeak.fit(runs_of(), card, engine=engine)


def test_a_run_that_has_not_turned_over_has_an_open_peak() -> None:
    """Followed to KL 3 only, with its peak far beyond: so say the draws, and how far beyond they leave open."""
    open_ended = goldpeak.fit(
        runs_of(kl_max=3.0, noise=0.02), SIMILAR, engine="laplace_is", seed=1, draws=500, kl_max=200
    )
    table = goldpeak.peak(open_ended, kl_max=200).table
    largest = table.iloc[-1]
    assert largest["p_peak_in_range"] < 0.2
    assert largest["hi"] / largest["lo"] > 2.5


@pytest.mark.parametrize(
    "change",
    [
        {"discrepancy": load_card("rl_paper").discrepancy},
        {"discrepancy": dataclasses.replace(SIMILAR.discrepancy, shared=None)},
        {"discrepancy": dataclasses.replace(SIMILAR.discrepancy, run=None, run_lengthscale=None)},
        {"form": dataclasses.replace(SIMILAR.form, kind="rl", gamma=None)},
        {"correlation": None},
        {"d_star": dataclasses.replace(SIMILAR.d_star, sd_rm=None, sd_run=None)},
        {"form": DRIFTING.form},
    ],
    ids=["no discrepancy", "own only", "shared only", "fixed gamma", "uncorrelated", "no scatter", "drifting"],
)
def test_parts_of_the_card_may_be_left_out(change: dict[str, object]) -> None:
    card = dataclasses.replace(SIMILAR, **change)
    found = goldpeak.fit(runs_of(), card, engine="laplace_is", seed=1, draws=100)
    assert all(bool(np.isfinite(v).all()) for v in found["posterior"].data_vars.values())
    assert goldpeak.peak(found, [1e7, 1e9]).table["median"].gt(0).all()


def test_one_run_and_one_size() -> None:
    one = goldpeak.select(runs_of(), [True, False, False])
    found = goldpeak.fit(one, SIMILAR, engine="laplace_is", seed=1, draws=250)
    assert gates_of(found).passed
    assert goldpeak.peak(found).table["median"].between(1, 60).all()


def test_the_engine_is_for_peak_coordinates_only() -> None:
    assert laplace_is.refusal(make_design(runs_of(), SIMILAR)) is None
    assert "peak" in str(laplace_is.refusal(make_design(runs_of(), load_card("rl"))))


@pytest.mark.slow
def test_a_finer_basis_of_the_runs_own_part_moves_no_peak() -> None:
    """By less than a tenth of its interval, Monte Carlo error included."""
    small, _ = goldpeak.split_by_size(goldpeak.datasets.lab("rl"))
    default, finer = (log_peaks(small, factor) for factor in (1, 2))
    width = default[:, 2] - default[:, 1]
    assert np.max(np.abs(finer - default)[:, 0] / width) < 0.1
    # Quantiles in the tails have twice the Monte Carlo error of a median.
    assert np.max(np.abs(finer - default) / width[:, None]) < 0.2


def log_peaks(runs: xr.Dataset, factor: int) -> np.ndarray:
    """Median and ends of the 90 % interval of each run's peak, with so many times the sines."""
    design = make_design(runs, goldpeak.load_card("similar"))
    assert design.sines
    finer = dataclasses.replace(design, sines=Sines(design.sines.length, factor * design.sines.count))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("goldpeak.fitting.make_design", lambda *_, **__: finer)
        post = goldpeak.fit(runs, "similar", seed=1, draws=2000)
    return np.log(goldpeak.peak(post).table[["median", "lo", "hi"]].to_numpy())


def test_errors_that_are_tiny_at_first_and_correlated_are_no_obstacle() -> None:
    """Best-of-n over prompts: a run's precision falls by seven orders of magnitude along its table."""
    frame = goldpeak.datasets.lab_prompts()
    few = read_runs(frame[frame["run"].isin(frame["run"].unique()[::10])], method="bon")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", goldpeak.ConvergenceWarning)
        post = goldpeak.fit(few, SIMILAR, engine="laplace_is", seed=1, draws=100)
    peaks = goldpeak.peak(post).table
    assert (peaks["hi"] / peaks["lo"] < 3.0).all()

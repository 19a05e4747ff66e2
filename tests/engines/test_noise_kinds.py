"""Every kind of noise in every engine, against the model written out as one dense normal distribution."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest
import simulate
import xarray as xr
from dense import FULL, QUICK, collapsed_and_dense, dense_moments, noise_covariance
from noisy import shared_samples, with_covariance
from scipy.stats import multivariate_normal
from scipy.stats import t as student

import goldpeak
from goldpeak.card import Card, Noise
from goldpeak.curves import observed_curves
from goldpeak.design import Design, make_design
from goldpeak.engines import exact, nuts
from goldpeak.engines.linear_model import LinearModel
from goldpeak.engines.propagated import propagate
from goldpeak.engines.student import StudentPoints
from goldpeak.errors import FitError
from goldpeak.gates import gates_of
from goldpeak.library import load_card
from goldpeak.noise import variance
from goldpeak.priors import Fixed, HalfNormal, LogNormal
from goldpeak.runs import read_runs

SD = HalfNormal(0.1)
OU = Noise("ou", SD, lengthscale=LogNormal(0.0, 0.5), time="d")
KINDS = {
    "cov": Noise("cov", SD),
    "known, correlated": Noise("known", SD),
    "ou": OU,
    "ou, nugget": dataclasses.replace(OU, nugget=SD),
    "ou, step": dataclasses.replace(OU, time="step", lengthscale=LogNormal(4.0, 0.5)),
    "offset": Noise("known", SD, offset_sd=SD),
    "ou, offset": dataclasses.replace(OU, offset_sd=SD),
    "cov, offset": Noise("cov", SD, offset_sd=SD),
    "kl_se": Noise("iid", SD),
    "cov, kl_se": Noise("cov", SD),
    "ou, kl_se": OU,
}
BASES = {"paper": load_card("rl_paper"), "every level": FULL, "boxcox": load_card("boxcox")}
kinds = pytest.mark.parametrize("kind", KINDS)


def runs_for(kind: str, *, share_rm: bool = True, drop: bool = True) -> xr.Dataset:
    """Ragged runs with what a kind needs; steps in another order than KL, with ties."""
    rng = np.random.default_rng(3)
    frame = simulate.table(rng, points=6, share_rm=share_rm)
    frame = frame.drop(index=[1, 20, 21]) if drop else frame
    frame["step"] = rng.integers(1, 8, len(frame)) * 10.0
    if "kl_se" in kind:
        frame["kl_se"] = 0.1 * frame["kl"]
    runs = read_runs(frame)
    if "cov" not in kind and "correlated" not in kind:
        return runs
    sizes = np.bincount(runs["run_index"].values)
    return with_covariance(runs, [shared_samples(n, 0.05 + 0.01 * r) for r, n in enumerate(sizes)])


def design_of(base: str, kind: str, **settings: bool) -> Design:
    card = dataclasses.replace(BASES[base], name=f"{base}, {kind}", noise=KINDS[kind])
    return make_design(runs_for(kind, **settings), card)


@pytest.mark.parametrize("share_rm", [True, False])
@pytest.mark.parametrize("base", BASES)
@kinds
def test_marginal_likelihood_is_the_dense_one(base: str, kind: str, share_rm: bool) -> None:
    design = design_of(base, kind, share_rm=share_rm)
    model = LinearModel(design)
    h = model.outer(np.random.default_rng(0).standard_normal((5, len(model.names))))
    found = model.marginal(h)
    for s in range(5):
        mean, covariance = dense_moments(design, {name: values[s] for name, values in h.items()})
        assert found[s] == pytest.approx(multivariate_normal(mean, covariance).logpdf(design.y), rel=1e-7, abs=1e-6)


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("kind", ["cov", "ou, nugget", "ou, offset", "cov, kl_se"])
def test_the_nuts_models_density_is_the_dense_one(base: str, kind: str) -> None:
    """Of cards without scatter of the runs' coefficients in their own variables: all of it is integrated out."""
    design = design_of(base, kind)
    found, dense = collapsed_and_dense(design)
    assert found == pytest.approx(dense, rel=1e-6)


@pytest.mark.parametrize("kind", ["cov", "ou, offset"])
def test_curves_given_outer_parameters_are_the_dense_conditional(kind: str) -> None:
    design = design_of("every level", kind)
    model = LinearModel(design)
    z = np.zeros((1, len(model.names)))
    h = {name: float(v[0]) for name, v in model.outer(z).items()}
    draws = model.draw(model.outer(z), np.zeros(20_000, dtype=np.int64), np.random.default_rng(2))
    mean, covariance = dense_moments(design, h)
    smooth = covariance - noise_covariance(design, h)
    conditional = mean + smooth @ np.linalg.solve(covariance, design.y - mean)
    spread = smooth - smooth @ np.linalg.solve(covariance, smooth)
    phi, s, r = design.form.basis(design.d), design.sines.columns(design.d), design.run_index
    curve = draws["alpha"][1][:, r] * phi[:, 0] + draws["beta"][1][:, r] * phi[:, 1]
    curve += np.einsum("spj,pj->sp", draws["delta"][1][:, r], s)
    sd = np.sqrt(np.diag(spread))
    assert np.all(np.abs(curve.mean(axis=0) - conditional) < 5 * sd / np.sqrt(len(curve)))
    np.testing.assert_allclose(np.cov(curve.T), spread, atol=0.08 * sd.max() ** 2)
    if design.has_offset:
        reach = h["offset_sd"] ** 2 * (r[:, None] == np.arange(len(design.run)))
        wanted = reach.T @ np.linalg.solve(covariance, design.y - mean)
        sd = np.sqrt(h["offset_sd"] ** 2 - np.einsum("pr,pr->r", reach, np.linalg.solve(covariance, reach)))
        assert np.all(np.abs(draws["offset"][1].mean(axis=0) - wanted) < 5 * sd / np.sqrt(20_000))


@kinds
def test_the_stored_log_likelihood_of_a_run_is_the_dense_one(kind: str) -> None:
    card = dataclasses.replace(load_card("rl"), noise=KINDS[kind])
    runs = runs_for(kind)
    post = goldpeak.fit(runs, card, engine="exact", seed=3, draws=3, chains=1)
    posterior = post["posterior"].to_dataset()
    design = propagate(make_design(runs, card))
    curves = observed_curves(post).gold(np.sqrt(runs["kl"].values))
    correlated = design.measurement.turn is not None or design.measurement.time is not None
    assert ("gold" in post["log_likelihood"]) == (not correlated)
    for s in range(3):
        h = {n: float(posterior[n].values[0, s]) for n in design.outer}
        scaled = {n: h[n] / design.scale for n in ("sigma", "nugget") if n in h}
        covariance = noise_covariance(design, h | scaled | {"offset_sd": 0.0}) * design.scale**2
        for r in range(len(design.run)):
            mine = design.run_index == r
            offset = posterior["offset"].values[0, s, r] if design.has_offset else 0.0
            normal = multivariate_normal(curves[0, s, r, mine] + offset, covariance[np.ix_(mine, mine)])
            wanted = normal.logpdf(runs["gold"].values[mine])
            assert post["log_likelihood"]["gold_run"].values[0, s, r] == pytest.approx(wanted, rel=1e-5, abs=1e-4)


def student_card(base: str) -> Card:
    noise = Noise("student_t", SD, nu=LogNormal(1.4, 0.6))
    return dataclasses.replace(BASES[base], name="student", noise=noise)


def test_student_t_is_for_nuts_and_auto_knows() -> None:
    design = make_design(runs_for(""), student_card("paper"))
    assert exact.refusal(design) == "noise 'student_t' is not Gaussian"
    with pytest.raises(FitError, match=r"noise 'student_t' is not Gaussian; use engine='nuts'"):
        goldpeak.fit(runs_for(""), student_card("paper"), engine="exact")


def test_student_t_points_have_that_density() -> None:
    noise = Noise("student_t", LogNormal(np.log(0.05), 1e-4), nu=Fixed(3.0))
    still = (
        dataclasses.replace(BASES["paper"].alpha, sd_run=None),
        dataclasses.replace(BASES["paper"].beta, sd_run=None),
    )
    card = dataclasses.replace(BASES["paper"], noise=noise, alpha=still[0], beta=still[1])
    design = make_design(runs_for(""), card)
    assert "nu" not in design.outer
    model = nuts.build_model(design)
    point = {"sigma_log__": np.log(0.05), "alpha_coef": np.array([0.6]), "beta_coef": np.array([0.3, -0.02])}
    found = model.compile_logp(vars=model.observed_RVs, mode=QUICK)(point)
    beta = 0.3 - 0.02 * design.x[design.run_index]
    curve = np.sum(design.form.basis(design.d) * np.column_stack([np.full(len(beta), 0.6), beta]), axis=1)
    wanted = student(3.0, curve, np.hypot(design.se, 0.05)).logpdf(design.y).sum()
    assert float(found) == pytest.approx(wanted, rel=1e-6)


@pytest.mark.parametrize("base", ["every level", "boxcox"])
def test_student_t_is_a_mixture_of_gaussians_beside_a_discrepancy(base: str) -> None:
    """Given a weight for each point, in the nuts model and in what draws the coefficients afterwards."""
    design = make_design(runs_for(""), student_card(base))
    model = nuts.build_model(design)
    h = {n: float(prior.from_normal(0.3)) for n, prior in design.outer.items()}
    weight = np.random.default_rng(0).gamma(2.0, 0.5, len(design.y))
    point = {n if n == "gamma" else f"{n}_log__": np.asarray(v if n == "gamma" else np.log(v)) for n, v in h.items()}
    found = model.compile_logp(vars=model.observed_RVs, mode=QUICK)(point | {"weight_log__": np.log(weight)})
    mean, covariance = dense_moments(design, h)
    covariance += np.diag(variance(design.se, h["sigma"]) * (1.0 / weight - 1.0))
    wanted = multivariate_normal(mean, covariance).logpdf(design.y)
    assert float(found) == pytest.approx(wanted, rel=1e-6)
    outer = {n: np.array([v]) for n, v in h.items()} | {"weight": weight[None]}
    assert float(LinearModel(design).marginal(outer)[0]) == pytest.approx(wanted, rel=1e-8)
    assert StudentPoints.of(design).count == len(design.y)


def test_student_t_is_sampled_and_its_log_likelihood_is_a_students() -> None:
    runs = simulate.runs(np.random.default_rng(5), sizes=(1e6, 1e8), points=8, runs_per_size=2)
    runs = runs.assign(gold=runs["gold"] + 3.0 * (np.arange(32) == 3))
    with pytest.warns(goldpeak.ConvergenceWarning):
        post = goldpeak.fit(
            runs,
            dataclasses.replace(student_card("paper"), noise=student_card("paper").noise),
            draws=20,
            tune=100,
            chains=1,
        )
    assert post.attrs["engine"] == "nuts"
    assert post.attrs["engine_reason"] == "noise 'student_t' is not Gaussian"
    posterior = post["posterior"]
    at = observed_curves(post).gold(np.sqrt(runs["kl"].values))[:, :, runs["run_index"].values, np.arange(32)]
    scale = np.hypot(runs["gold_se"].values, posterior["sigma"].values[..., None])
    wanted = student(posterior["nu"].values[..., None], at, scale).logpdf(runs["gold"].values)
    np.testing.assert_allclose(post["log_likelihood"]["gold"].values, wanted, rtol=1e-6, atol=1e-6)


def test_a_diagonal_covariance_is_known_noise() -> None:
    runs = runs_for("", drop=False)
    sizes = np.bincount(runs["run_index"].values)
    blocks = np.split(runs["gold_se"].values ** 2, np.cumsum(sizes)[:-1])
    both = with_covariance(runs, [np.diag(block) for block in blocks])
    card = load_card("rl")
    z = np.random.default_rng(0).standard_normal((4, len(make_design(runs, card).outer)))
    models = [LinearModel(make_design(each, card)) for each in (runs, both)]
    np.testing.assert_allclose(models[0].log_density(z), models[1].log_density(z), rtol=1e-9)


def test_one_point_order_is_as_good_as_another() -> None:
    """Rows of gold_cov go with the points, its columns with their ranks in KL."""
    runs = runs_for("cov", drop=False)
    mixed = runs.isel(point=np.random.default_rng(1).permutation(runs.sizes["point"]))
    card = dataclasses.replace(load_card("boxcox"), noise=KINDS["cov"])
    z = np.random.default_rng(0).standard_normal((4, len(make_design(runs, card).outer)))
    first, second = (LinearModel(make_design(each, card)).log_density(z) for each in (runs, mixed))
    np.testing.assert_allclose(first, second, rtol=1e-9)


@pytest.mark.parametrize("kind", ["ou", "ou, nugget"])
def test_ou_without_standard_errors_and_with_ties_has_a_density(kind: str) -> None:
    frame = simulate.table(np.random.default_rng(3), points=6).drop(columns="gold_se")
    frame["step"] = 7.0
    card = dataclasses.replace(load_card("rl"), noise=dataclasses.replace(KINDS[kind], time="step"))
    model = LinearModel(make_design(read_runs(frame), card))
    density = model.log_density(np.random.default_rng(0).standard_normal((6, len(model.names))))
    assert np.isfinite(density).all()


def test_one_run_with_a_singular_covariance_is_fitted() -> None:
    runs = goldpeak.select(runs_for("", drop=False), [True] + [False] * 5)
    singular = with_covariance(runs, [np.full((6, 6), 0.01)])
    post = goldpeak.fit(singular, "rl_paper", engine="exact", seed=0, draws=50)
    correlated = dataclasses.replace(load_card("rl_paper"), noise=KINDS["cov"])
    post = goldpeak.fit(singular, correlated, engine="exact", seed=0, draws=200)
    assert np.isfinite(post["log_likelihood"]["gold_run"].values).all()
    assert np.isfinite(goldpeak.peak(post).table["median"]).all()


def test_scales_of_noise_are_in_the_users_units_and_times_are_not() -> None:
    noise = dataclasses.replace(OU, nugget=SD, offset_sd=SD)
    card = dataclasses.replace(load_card("rl_paper"), noise=noise)
    frame = simulate.table(np.random.default_rng(0))
    scaled = frame.assign(gold=1000 * frame["gold"], gold_se=1000 * frame["gold_se"])
    one, other = (goldpeak.fit(read_runs(f), card, seed=1, draws=50)["posterior"] for f in (frame, scaled))
    for name, factor in {
        "sigma": 1e3,
        "nugget": 1e3,
        "offset_sd": 1e3,
        "offset": 1e3,
        "noise_lengthscale": 1.0,
    }.items():
        np.testing.assert_allclose(other[name], factor * one[name], rtol=1e-5, atol=1e-6 * factor)
    assert one["offset"].dims == ("chain", "draw", "run")


def test_points_at_the_initial_policy_have_no_offset() -> None:
    frame = pd.DataFrame({"run": "a", "rm_params": 1e6, "kl": [0.0, 1.0, 2.0, 4.0], "gold": [0.0, 0.5, 0.6, 0.7]})
    card = dataclasses.replace(load_card("rl_paper"), noise=KINDS["offset"])
    with pytest.warns(goldpeak.RunsWarning, match="no column gold_se"):
        design = make_design(read_runs(frame, baseline="none"), card)
    assert design.columns()[:, -1].tolist() == [0.0, 1.0, 1.0, 1.0]


def test_peak_coordinates_take_correlated_noise() -> None:
    """With a diagonal covariance the answer is that of known noise; with another it differs, and its gate passes."""
    runs = simulate.runs(np.random.default_rng(0), points=8, runs_per_size=1)
    blocks = np.split(runs["gold_se"].values ** 2, 3)
    diagonal = with_covariance(runs, [np.diag(block) for block in blocks])
    dense = with_covariance(runs, [shared_samples(8)] * 3)
    plain, same, other = (
        goldpeak.fit(r, "similar", engine="laplace_is", seed=1, draws=250) for r in (runs, diagonal, dense)
    )
    for name in ("d_star", "gold_star", "sigma"):
        a, b = (post["posterior"][name].mean(("chain", "draw")) for post in (plain, same))
        np.testing.assert_allclose(a, b, atol=4 * float(plain["posterior"][name].std()) / np.sqrt(400))
    assert gates_of(other).passed
    assert "gold" not in other["log_likelihood"]
    width = [float(post["posterior"]["gold_star"].std(("chain", "draw")).mean()) for post in (plain, other)]
    assert width[1] > 1.2 * width[0]

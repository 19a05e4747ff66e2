"""The two engines sample one posterior: means, sds and quantiles of the peak agree to Monte Carlo error."""

from __future__ import annotations

import dataclasses
import warnings

import arviz_stats
import numpy as np
import pytest
import simulate
import xarray as xr
from noisy import NOISES, shared_samples, with_covariance

import goldpeak
from goldpeak.card import Card
from goldpeak.curves import shape_of, sines_of
from goldpeak.design import make_design
from goldpeak.engines import exact
from goldpeak.engines.linear_model import LinearModel
from goldpeak.engines.threads import one_thread_each
from goldpeak.gates import gates_of
from goldpeak.library import card_names, load_card
from goldpeak.names import RUN

DRAWS = ("chain", "draw")
LOG_NORMAL = ("d_star", "gold_star", "lengthscale", "run_lengthscale")


def small_runs(card: str) -> xr.Dataset:
    bon = load_card(card).form.kind == "bon"
    settings = {"beta": 0.15, "beta_slope": -0.01, "kl_max": 10.0, "form": "bon"} if bon else {"kl_max": 30.0}
    per_size = 2 if load_card(card).discrepancy.kind == "smooth" else 4
    return simulate.runs(np.random.default_rng(11), runs_per_size=per_size, points=8, share_rm=True, **settings)


def effective_exact(post: xr.DataTree) -> float:
    return min(gates_of(post).measured["ess"], post["posterior"].sizes["chain"] * post["posterior"].sizes["draw"])


def compare(name: str | Card, runs: xr.Dataset, engine: str = "exact") -> None:
    stretched = engine == "laplace_is"
    exact = goldpeak.fit(runs, name, engine=engine, seed=1, draws=4000)
    nuts = goldpeak.fit(runs, name, engine="nuts", seed=1, draws=1500, tune=1000, chains=2)
    assert gates_of(exact).passed, gates_of(exact)
    # In peak coordinates nuts is slow: fewer effective draws will do, as the comparison counts them.
    measured = gates_of(nuts).measured
    converged = measured["rhat_max"] < 1.03 and measured["divergences"] <= 15 and measured["ess_bulk_min"] > 100
    assert converged if stretched else gates_of(nuts).passed, gates_of(nuts)
    assert set(exact["posterior"].data_vars) == set(nuts["posterior"].data_vars)
    a, b = (comparable(post, runs) for post in (exact, nuts))
    # The Monte Carlo error of importance weights is itself known only roughly.
    means_and_sds(a, b, effective_exact(exact), off=0.05 if stretched else 0.0)
    peaks(exact, nuts)


def comparable(post: xr.DataTree, runs: xr.Dataset) -> xr.Dataset:
    """The posterior, with the sines' coefficients in units of their prior sds, and the curves that they add up to.

    The coefficients themselves mix over amplitude and length scale: with a kurtosis of forty the sd of so many draws
    has no Monte Carlo error that could be estimated.
    """
    posterior = post["posterior"].to_dataset()
    sines = sines_of(post)
    if sines is None:
        return posterior
    if "delta_shape" in posterior:
        return comparable_shape(post, runs)
    root = xr.DataArray(np.sqrt(sines.variances(posterior["lengthscale"].values)), dims=(*DRAWS, "sine"))
    columns = xr.DataArray(sines.columns(np.sqrt(np.unique(runs["kl"].values))), dims=("d", "sine"))
    white = {
        "white_shared": posterior["delta_shared"] / (posterior["eta_shared"] * root),
        "white_run": (posterior["delta"] - posterior["delta_shared"]) / (posterior["eta_run"] * root),
        "delta_curve": (posterior["delta"] * columns).sum("sine"),
    }
    return posterior.drop_vars(["delta", "delta_shared"]).assign(white)


def comparable_shape(post: xr.DataTree, runs: xr.Dataset) -> xr.Dataset:
    """The same in peak coordinates: white coefficients, the shared shape and the runs' own curves."""
    posterior, shape = post["posterior"].to_dataset(), shape_of(post).sines
    own = sines_of(post)
    assert shape
    assert own
    spread = xr.DataArray(np.sqrt(shape.variances(posterior["lengthscale"].values)), dims=(*DRAWS, "shape_sine"))
    own_spread = xr.DataArray(np.sqrt(own.variances(posterior["run_lengthscale"].values)), dims=(*DRAWS, "sine"))
    u = xr.DataArray(shape_of(post).columns(np.linspace(0.3, 2.0, 8)), dims=("u", "shape_sine"))
    d = xr.DataArray(own.columns(np.sqrt(np.unique(runs["kl"].values)[::4])), dims=("d", "sine"))
    more = {
        "white_shape": posterior["delta_shape"] / (posterior["eta_shared"] * spread),
        "white_run": posterior["delta"] / (posterior["eta_run"] * own_spread),
        "shape_curve": (posterior["delta_shape"] * u).sum("shape_sine"),
        "own_curve": (posterior["delta"] * d).sum("sine"),
    }
    # Log-normal, and skewed: on their own scale a few draws are most of their sds.
    more |= {f"log_{name}": np.log(posterior[name]) for name in LOG_NORMAL}
    return posterior.drop_vars(["delta", "delta_shape", *LOG_NORMAL]).assign(more)


def means_and_sds(a: xr.Dataset, b: xr.Dataset, ess_a: float, off: float = 0.0) -> None:
    """Means may differ by four Monte Carlo errors and `off` sds besides."""
    ess_b = arviz_stats.ess(b, method="mean")
    ess_sd = arviz_stats.ess(b, method="sd")
    for name in map(str, a.data_vars):
        first, second = a[name], b[name].transpose(*a[name].dims)
        spread = second.std(DRAWS)
        error = spread * np.sqrt(1 / ess_a + 1 / ess_b[name])
        far = (abs(first.mean(DRAWS) - second.mean(DRAWS)) - off * spread) / error
        assert float(far.max()) < 4, f"{name}: means differ by {float(far.max()):.1f} Monte Carlo errors"
        # 10 %, and as many Monte Carlo errors of both sds as means may differ by.
        kurtosis = ((second - second.mean(DRAWS)) ** 4).mean(DRAWS) / spread**4
        slack = 0.10 + 4 * np.sqrt((kurtosis - 1) / 4 * (1 / ess_a + 1 / ess_sd[name]))
        ratio = abs(np.log(first.std(DRAWS) / spread)) / slack
        assert float(ratio.max()) < 1, f"{name}: sds differ by {float(ratio.max()):.2f} times what is allowed"


def peaks(exact: xr.DataTree, nuts: xr.DataTree) -> None:
    """Shares below each other's quantiles of kl_peak, infinities included, for every run and a larger size."""
    for sizes in (None, [1e9]):
        a, b = (goldpeak.peak(post, sizes).draws["kl_peak"] for post in (exact, nuts))
        dim = RUN if sizes is None else "rm_params"
        ess_b = arviz_stats.ess(b.where(np.isfinite(b), float(b.where(np.isfinite(b)).max()) * 2).to_dataset(name="k"))
        for prob in (0.05, 0.25, 0.5, 0.75, 0.95):
            cut = b.quantile(prob, DRAWS, method="inverted_cdf")
            share_a, share_b = (a <= cut).mean(DRAWS), (b <= cut).mean(DRAWS)
            variance = share_b * (1 - share_b) * (1 / effective_exact(exact) + 1 / ess_b["k"]) + 1e-6
            far = abs(share_a - share_b) / np.sqrt(variance)
            assert float(far.max()) < 4, f"kl_peak by {dim}, {prob}: {float(far.max()):.1f} Monte Carlo errors"


def test_engines_agree_on_the_papers_card() -> None:
    compare("rl_paper", small_runs("rl_paper"))


@pytest.mark.slow
@pytest.mark.parametrize("name", [n for n in card_names() if n != "rl_paper" and load_card(n).coordinates != "peak"])
def test_engines_agree(name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", goldpeak.ConvergenceWarning)
        compare(name, small_runs(name))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("base", "kind"), [("rl_paper", "cov"), ("rl_paper", "ou"), ("rl", "cov"), ("rl_paper", "offset")]
)
def test_engines_agree_on_noise(base: str, kind: str) -> None:
    runs = small_runs(base)
    if kind == "cov":
        runs = with_covariance(runs, [shared_samples(8)] * runs.sizes["run"])
    card = dataclasses.replace(load_card(base), name=kind, noise=NOISES[kind])
    with warnings.catch_warnings():
        warnings.simplefilter("error", goldpeak.ConvergenceWarning)
        compare(card, runs)


def stretched_runs(case: str) -> xr.Dataset:
    """What the fast engine in peak coordinates must take: turned, few, not turned, noisy, several runs on one RM."""
    if case == "lab":
        runs = goldpeak.datasets.lab("rl")
        return goldpeak.select(runs, np.arange(40) % 8 == 0)
    settings: dict[str, dict[str, object]] = {
        "not turned": {"kl_max": 4.0, "points": 10, "sizes": (1e6, 1e7)},
        "few and noisy": {"runs_per_size": 1, "noise": 0.3, "points": 10},
        "shared RMs": {"share_rm": True, "points": 10},
    }
    return simulate.runs(np.random.default_rng(4), **settings[case])


@pytest.mark.slow
@pytest.mark.parametrize("case", ["not turned", "few and noisy", "shared RMs", "lab"])
def test_engines_agree_in_peak_coordinates(case: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", goldpeak.ConvergenceWarning)
        compare("similar", stretched_runs(case), "laplace_is")


@pytest.mark.slow
@pytest.mark.parametrize("method", ["rl", "bon"])
@pytest.mark.parametrize("name", ["rl", "bon", "boxcox"])
def test_the_exact_engine_finds_the_same_posterior_from_any_seed(name: str, method: str) -> None:
    """A mode that one seed misses shows in the marginal likelihood; measured data push it far from the prior."""
    small, _ = goldpeak.split_by_size(goldpeak.datasets.lab(method))
    model = LinearModel(make_design(small, load_card(name)))
    with one_thread_each():
        found = [exact.sample_outer(model, np.random.default_rng(seed), 4000) for seed in range(4)]
    evidence, error = (np.array([getattr(each, what) for each in found]) for what in ("log_z", "log_z_se"))
    assert np.ptp(evidence) < 6 * error.max() + 0.02, (evidence, error)

"""The sines stand in for a Gaussian process: the exact engine against a dense one with the Matern-5/2 kernel itself."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import simulate
import xarray as xr
from numpy.typing import NDArray

import goldpeak
from goldpeak.curves import Curves
from goldpeak.design import Design, make_design
from goldpeak.discrepancy import Sines
from goldpeak.engines import exact
from goldpeak.engines.gaussian import Still
from goldpeak.engines.linear_model import LinearModel
from goldpeak.library import load_card
from goldpeak.noise import variance
from goldpeak.peaks import quantiles
from goldpeak.summits import peak_draws

Array = NDArray[np.float64]

OUTER = {
    "sigma": 0.03,
    "alpha_sd_rm": 0.05,
    "alpha_sd_run": 0.04,
    "beta_sd_rm": 0.02,
    "beta_sd_run": 0.03,
    "eta_shared": 0.25,
    "eta_run": 0.15,
}
DRAWS = 20_000


def small_design() -> Design:
    """Two reward models with two runs each, 10 points up to KL 30."""
    rng = np.random.default_rng(5)
    runs = simulate.runs(rng, sizes=(1e6, 1e8), points=10, kl_max=30.0, share_rm=True)
    return make_design(runs, load_card("rl"))


def pinned_matern(first: Array, second: Array, lengthscale: float) -> Array:
    """Matern 5/2 made odd by reflection at d = 0, where it is 0."""

    def matern(distance: Array) -> Array:
        a = np.sqrt(5.0) * np.abs(distance) / lengthscale
        return (1.0 + a + a**2 / 3.0) * np.exp(-a)

    return matern(first[:, None] - second) - matern(first[:, None] + second)


def test_the_prior_is_the_pinned_process_inside_the_range() -> None:
    """The odd reflection at 0 is exact for a sine basis on a long interval."""
    sines, d = Sines(length=12.0, count=60), np.linspace(1.0, 8.0, 15)
    s = sines.columns(d)
    np.testing.assert_allclose((s * sines.variances(2.0)) @ s.T, pinned_matern(d, d, 2.0), atol=0.02)


def dense_process(design: Design, lengthscale: float, grid: Array) -> tuple[Array, Array]:
    """Posterior mean and sd of the first run's curve on a grid, without any sines."""
    first = int(np.flatnonzero(design.rm_index == 0)[0])
    d = np.concatenate([design.d, grid])
    run = np.concatenate([design.run_index, np.full(len(grid), first)])
    rm = design.rm_index[run]
    phi = design.form.basis(d)
    same_run, same_rm = run[:, None] == run, rm[:, None] == rm
    mean, covariance = np.zeros(len(d)), np.zeros((len(d), len(d)))
    for i, (name, c) in enumerate(design.coefficients.items()):
        trend = c.columns[run] * phi[:, [i]]
        mean += trend @ c.mean
        covariance += (trend * c.sd**2) @ trend.T
        scatter = OUTER[f"{name}_sd_rm"] ** 2 * same_rm + OUTER[f"{name}_sd_run"] ** 2 * same_run
        covariance += np.outer(phi[:, i], phi[:, i]) * scatter
    amplitude = OUTER["eta_shared"] ** 2 + OUTER["eta_run"] ** 2 * same_run
    covariance += amplitude * pinned_matern(d, d, lengthscale)
    seen, asked = np.split(np.arange(len(d)), [len(design.d)])
    noisy = covariance[np.ix_(seen, seen)] + np.diag(variance(design.se, OUTER["sigma"]))
    gain = np.linalg.solve(noisy, covariance[np.ix_(seen, asked)]).T
    posterior = covariance[np.ix_(asked, asked)] - gain @ covariance[np.ix_(seen, asked)]
    return mean[asked] + gain @ (design.y - mean[seen]), np.sqrt(np.diag(posterior))


def engine_curve(design: Design, lengthscale: float, grid: Array, rng: Any, count: int) -> Array:
    """Draws of the same curve by the exact engine, shape (draw, grid)."""
    first = int(np.flatnonzero(design.rm_index == 0)[0])
    h = {name: np.array([value]) for name, value in (OUTER | {"lengthscale": lengthscale}).items()}
    draws = LinearModel(design).draw(h, np.zeros(count, dtype=np.int64), rng)
    theta = np.column_stack([draws["alpha"][1][:, first], draws["beta"][1][:, first]])
    assert design.sines
    return theta @ design.form.basis(grid).T + draws["delta"][1][:, first] @ design.sines.columns(grid).T


def errors(design: Design, lengthscale: float) -> tuple[float, float]:
    """Largest error of the mean in posterior sds, and of the sd relatively, up to the largest KL observed."""
    grid = np.linspace(0.3, design.d.max(), 40)
    mean, sd = dense_process(design, lengthscale, grid)
    found = engine_curve(design, lengthscale, grid, Still(), 1)[0]
    spread = engine_curve(design, lengthscale, grid, np.random.default_rng(0), DRAWS).std(axis=0)
    return float(np.max(np.abs(found - mean) / sd)), float(np.max(np.abs(spread / sd - 1.0)))


def with_basis(design: Design, longer: float, finer: float) -> Design:
    sines = design.sines
    assert sines
    return dataclasses.replace(design, sines=Sines(longer * sines.length, round(longer * finer * sines.count)))


def prior_quantile(z: float) -> float:
    return float(load_card("rl").discrepancy.lengthscale.from_normal(z))


# Monte Carlo: an sd from DRAWS draws is off by 0.5 %, the largest of forty correlated ones by up to 2 %.
@pytest.mark.parametrize(
    ("z", "mean_limit", "sd_limit"),
    [(1.0, 0.02, 0.03), (0.0, 0.05, 0.05), (-1.645, 0.25, 0.25)],
    ids=["long", "median", "shortest"],
)
def test_the_default_basis_gives_the_process_itself(z: float, mean_limit: float, sd_limit: float) -> None:
    """Basis error in units of the posterior sd: small at usual length scales, felt at the shortest that it resolves."""
    of_mean, of_sd = errors(small_design(), prior_quantile(z))
    assert of_mean < mean_limit
    assert of_sd < sd_limit


def test_the_error_falls_as_the_basis_grows() -> None:
    design, lengthscale = small_design(), prior_quantile(-1.645)
    finer = [errors(with_basis(design, 1.0, factor), lengthscale) for factor in (0.25, 0.5, 1.0, 2.0)]
    means, sds = zip(*finer, strict=True)
    assert means[0] > means[1] > 3 * means[2] > 9 * means[3]
    # The last two are mostly Monte Carlo error, see above.
    assert sds[0] > sds[1] > max(sds[2], 0.02) > sds[3]
    assert means[3] < 0.01
    assert sds[3] < 0.03
    # With enough sines what is left is the far end, where the basis is pinned: a longer basis mends that.
    long = prior_quantile(1.0)
    near, far = (errors(with_basis(design, longer, 2.0), long)[0] for longer in (1.0, 2.0))
    assert near > 5 * far
    assert far < 1e-3


def kl_peaks(design: Design) -> Array:
    """Quantiles of every run's kl_peak, shape (3, run): 5, 50 and 95 %."""
    found = exact.sample(design, seed=3, draws=4000, chains=4)
    assert found.khat < 0.7
    post = found.posterior
    curves = Curves(
        form=design.form,
        dim="run",
        items=np.array(design.run),
        alpha=post["alpha"].values,
        beta=post["beta"].values,
        gamma=np.zeros(post["sigma"].shape),
        sines=design.sines,
        delta=post["delta"].values,
    )
    kl, _ = peak_draws(curves, design.kl_max)
    return np.stack(quantiles(kl.reshape(-1, len(design.run)), 0.9))


def few_lab_runs() -> xr.Dataset:
    """One run of every fifth reward model of the bundled RL data."""
    runs = goldpeak.datasets.lab("rl")
    return goldpeak.select(runs, np.arange(runs.sizes["run"]) % 5 == 0)


@pytest.mark.slow
def test_twice_the_sines_leave_the_peak_where_it_is() -> None:
    design = make_design(few_lab_runs(), load_card("rl"))
    once, twice = kl_peaks(design), kl_peaks(with_basis(design, 1.0, 2.0))
    assert np.all(np.isfinite(once[2] - once[0]))
    moved = np.abs(twice - once) / (once[2] - once[0])
    assert moved.max() < 0.1, moved.round(3)

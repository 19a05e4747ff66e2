"""The integrals over one run's stretches against brute force, and draws from them against the density."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import simulate
from dense import noise_covariance
from noisy import shared_samples, with_covariance
from numpy.typing import NDArray
from scipy.stats import multivariate_normal

from goldpeak.card import Card
from goldpeak.design import Design, make_design
from goldpeak.engines.linearised import Linearised, linearise, start
from goldpeak.engines.stretches import Draws, Prior, RunTable
from goldpeak.library import load_card
from goldpeak.shapes import psi, shape_at

Array = NDArray[np.float64]
MEAN, SDS, CORRELATION = (1.0, 0.1), (0.15, 0.12), -0.4
COVARIANCE = np.array([[SDS[0] ** 2, CORRELATION * SDS[0] * SDS[1]], [CORRELATION * SDS[0] * SDS[1], SDS[1] ** 2]])


def design_of(card: Card, kl_max: float = 40.0, noise: float = 0.05, correlated: bool = False) -> Design:
    runs = simulate.runs(np.random.default_rng(2), sizes=(1e6, 1e8), points=9, kl_max=kl_max, noise=noise)
    if correlated:
        runs = with_covariance(runs, [shared_samples(9)] * 4)
    return make_design(runs, card)


def one_draw(design: Design) -> Draws:
    rng = np.random.default_rng(3)
    h = {name: np.array([float(prior.from_normal(0.2))]) for name, prior in design.outer.items()}
    assert design.shape
    sines = design.shape.sines
    spread = 0.0 if sines is None else 0.1 * np.sqrt(sines.variances(h["lengthscale"]))
    shape = spread * rng.standard_normal((1, 0 if sines is None else sines.count))
    return Draws(h, np.array([0.6]), np.zeros(1), np.array([1.3]), shape)


def own_covariance(design: Design, run: int, draws: Draws) -> Array:
    mine = design.run_index == run
    found = noise_covariance(design, {"sigma": float(draws.h["sigma"][0])})[np.ix_(mine, mine)]
    if design.sines:
        s = design.sines.columns(design.d[mine])
        found += draws.h["eta_run"] ** 2 * (s * design.sines.variances(draws.h["run_lengthscale"])[0]) @ s.T
    return found


def true_curve(design: Design, run: int, draws: Draws, log_d: float) -> Array:
    assert design.shape
    u = design.d[design.run_index == run] * np.exp(-log_d)
    smooth = design.shape.columns(u) @ draws.shape[0] if design.shape.sines else 0.0
    return shape_at(u, draws.gamma[0]) + draws.bend[0] * (log_d - 1.1) * psi(u) + smooth


def brute_force(design: Design, run: int, draws: Draws) -> tuple[float, Array, Array, Array]:
    """Log of the double integral on a fine grid; and the grid with its normalised shares."""
    normal = multivariate_normal(np.zeros(design.y[design.run_index == run].size), own_covariance(design, run, draws))
    constant = normal.logpdf(np.zeros(normal.dim))
    t = np.linspace(MEAN[0] - 7 * SDS[0], MEAN[0] + 7 * SDS[0], 301)
    rho = np.linspace(MEAN[1] - 7 * SDS[1], MEAN[1] + 7 * SDS[1], 301)
    y = design.y[design.run_index == run]
    likelihood = np.array(
        [normal.logpdf(y - np.exp(rho)[:, None] * true_curve(design, run, draws, log_d)) - constant for log_d in t]
    )
    grid = np.stack(np.meshgrid(t, rho, indexing="ij"), axis=-1)
    density = likelihood + multivariate_normal(MEAN, COVARIANCE).logpdf(grid)
    cell = (t[1] - t[0]) * (rho[1] - rho[0])
    total = np.logaddexp.reduce(density, axis=None)
    return float(total + np.log(cell)), t, rho, np.exp(density - total)


def tabulated(design: Design, run: int) -> tuple[RunTable, Linearised]:
    linear = linearise(design, start(design))
    return RunTable(design, linear, run, MEAN[0] - 1.2, MEAN[0] + 1.2, 49), linear


BARE = dataclasses.replace(load_card("similar"), discrepancy=dataclasses.replace(load_card("rl_paper").discrepancy))
correlated = pytest.mark.parametrize("correlated", [False, True], ids=["independent", "correlated"])
PRIOR = Prior.of(np.array([MEAN]), COVARIANCE[None])


@pytest.mark.parametrize("card", [load_card("similar"), BARE], ids=["smooth", "no discrepancy"])
@pytest.mark.parametrize(
    ("kl_max", "noise", "correlated"),
    [(40.0, 0.05, False), (2.0, 0.05, False), (40.0, 1.0, False), (40.0, 0.05, True)],
    ids=["turned", "not", "noisy", "correlated"],
)
def test_the_integral_is_that_of_brute_force(card: Card, kl_max: float, noise: float, correlated: bool) -> None:
    design = design_of(card, kl_max, noise, correlated)
    draws = one_draw(design)
    for run in (0, 3):
        found, _, _ = tabulated(design, run)[0].at(draws).integrate(PRIOR)
        assert float(found[0]) == pytest.approx(brute_force(design, run, draws)[0], abs=0.01)


@correlated
def test_draws_have_the_densitys_moments(correlated: bool) -> None:
    """Log d*, log R* and the run's own curve, of a run that has not turned over: a skewed density."""
    design = design_of(load_card("similar"), kl_max=2.0, correlated=correlated)
    draws = one_draw(design)
    table = tabulated(design, 0)[0]
    many = draws.take(np.zeros(4000, dtype=np.int64))
    prior = Prior.of(np.repeat([MEAN], 4000, axis=0), np.repeat(COVARIANCE[None], 4000, axis=0))
    at = table.at(many)
    _, t, shares = at.integrate(prior)
    log_d, log_gold, own = at.draw(prior, t, shares, np.random.default_rng(0))
    _, grid_d, grid_gold, share = brute_force(design, 0, draws)
    for found, grid, axis in ((log_d, grid_d, 1), (log_gold, grid_gold, 0)):
        density = share.sum(axis=axis)
        mean = density @ grid
        sd = np.sqrt(density @ (grid - mean) ** 2)
        assert found.mean() == pytest.approx(mean, abs=4 * sd / np.sqrt(4000))
        assert found.std() == pytest.approx(sd, rel=0.06)
    correlation = np.einsum("ij,i,j", share, grid_d - share.sum(1) @ grid_d, grid_gold - share.sum(0) @ grid_gold)
    assert np.cov(log_d, log_gold)[0, 1] == pytest.approx(correlation, abs=6 * np.prod(SDS) / np.sqrt(4000))
    # The own part has the mean that a Gaussian process given the rest has.
    assert design.sines
    mine = design.run_index == 0
    s = design.sines.columns(design.d[mine])
    noise = noise_covariance(design, {"sigma": float(draws.h["sigma"][0])})[np.ix_(mine, mine)]
    covariance = own_covariance(design, 0, draws)
    residual = np.array(
        [design.y[mine] - np.exp(r) * true_curve(design, 0, draws, d) for d, r in zip(log_d, log_gold, strict=True)]
    )
    wanted = residual @ np.linalg.solve(covariance, covariance - noise)
    curve = own @ s.T
    spread = (curve - wanted).std(axis=0)
    assert np.all(np.abs((curve - wanted).mean(axis=0)) < 4.5 * spread / np.sqrt(4000))


@correlated
def test_the_linear_models_integral_is_a_dense_normals(correlated: bool) -> None:
    design = design_of(load_card("similar"), correlated=correlated)
    draws = one_draw(design)
    for run in (0, 2):
        table, linear = tabulated(design, run)
        mine = design.run_index == run
        x, rest = linear.matrix[mine, :2], linear.matrix[mine, 2 : linear.kept]
        mean = x @ MEAN + rest @ np.concatenate([draws.gamma, draws.bend, draws.shape[0]])
        covariance = own_covariance(design, run, draws)
        whole = multivariate_normal(mean, covariance + x @ COVARIANCE @ x.T)
        wanted = whole.logpdf(linear.y[mine]) - multivariate_normal(np.zeros(len(mean)), covariance).logpdf(
            np.zeros(len(mean))
        )
        assert float(table.at(draws).linear_integral(PRIOR, draws)[0]) == pytest.approx(wanted, abs=1e-6)

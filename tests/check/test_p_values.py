"""P-values: against dense normals, of every kind of noise, and as often as they say under the model."""

from __future__ import annotations

import dataclasses

import noisy
import numpy as np
import pytest

import goldpeak
from goldpeak.check import p_values
from goldpeak.check.bands import uniformity
from goldpeak.check.standard import given_rest, in_standard_units
from goldpeak.library import load_card
from goldpeak.simulation import Fleet, simulate


def test_the_density_of_a_run_given_the_rest_is_that_of_the_dense_normal() -> None:
    made = simulate("rl", Fleet(points=5, runs_per_rm=1, kl_max=20.0), seed=3)
    post = goldpeak.fit(made.runs, "rl", engine="exact", draws=3, chains=1, seed=1)
    design, flat = in_standard_units(post)
    one = given_rest(design, flat, 0)
    from scipy.stats import multivariate_normal

    for s, value in enumerate(p_values.log_density(one)):
        rows = np.array([s])
        phi = one.slopes(one.mean[rows], rows)[0]
        factor = np.column_stack([phi @ one.spread[s], one.columns * one.own[s]])
        covariance = factor @ factor.T + np.diag(one.noise_root(rows)[0] ** 2)
        mean = one.curve(one.mean[rows], rows)[0]
        wanted = multivariate_normal(mean, covariance).logpdf(one.y) + 0.5 * len(one.y) * np.log(2 * np.pi)
        assert value == pytest.approx(wanted, abs=1e-6)


@pytest.mark.parametrize("kind", ["cov", "ou", "student_t", "offset"])
def test_every_kind_of_noise_is_whitened_to_standard_normals(kind: str) -> None:
    card = noisy.card_of(kind)
    runs = Fleet(points=6, gold_se=0.05).runs()
    if kind == "cov":
        runs = noisy.with_covariance(runs, [noisy.shared_samples(6)] * 3)
    found = []
    for seed in range(40):
        made = simulate(card, runs, seed=seed)
        tree = made.truth.copy()
        design, flat = in_standard_units(tree)
        one = given_rest(design, flat, 1)
        found.append(p_values.whitened(one, one.y - one.fitted())[0])
    assert np.cov(np.array(found).T) == pytest.approx(np.eye(6), abs=0.9)
    assert np.mean(np.square(found)) == pytest.approx(1.0, abs=4 * np.sqrt(2 / 240))


def test_what_is_nan_counts_for_nothing() -> None:
    nothing = np.full(3, np.nan)
    assert p_values.together([nothing, np.full(5, 0.02)], [0.5, 0.5]) == pytest.approx(0.02)
    assert np.isnan(p_values.together([nothing]))


@pytest.mark.slow
def test_probabilities_hold_under_the_model() -> None:
    """p_loo is uniform; of the others small values are no more frequent than they say. Of one run of each fleet."""
    card = dataclasses.replace(load_card("rl_paper"), name="known", noise=load_card("rl").noise)
    found: dict[str, list[float]] = {}
    for seed in range(120):
        made = simulate(card, Fleet(rms_per_size=2, points=8, kl_max=20.0), seed=seed)
        post = goldpeak.fit(made.runs, card, engine="exact", draws=50, seed=seed)
        design, flat = in_standard_units(post, 100)
        each = [given_rest(design, flat, run) for run in range(6)]
        white = [p_values.whitened(one, one.y - one.fitted()) for one in each]
        waves = [p_values.slow_waves(values) for values in white]
        run = seed % 6
        drawn = p_values.pivots(each[run], white[run], waves[run]) | {"p_common": p_values.of_common_waves(waves)}
        for name, values in drawn.items():
            found.setdefault(name, []).append(p_values.together([values]))
        p_loo, _ = p_values.against_the_others(each[run], np.random.default_rng([seed, 3]))
        found.setdefault("p_loo", []).append(p_loo)
    assert uniformity(found["p_loo"]) > 0.005
    for name, values in found.items():
        for level in (0.05, 0.1):
            assert np.mean(np.array(values) <= level) <= level + 3 * np.sqrt(level / 120), name

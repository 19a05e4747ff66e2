"""Noise with a memory at its two ends: independent, and one offset."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from goldpeak.engines import markov
from goldpeak.noise import variance


def test_an_ou_process_of_no_memory_is_iid_and_of_endless_memory_an_offset() -> None:
    rng = np.random.default_rng(0)
    residual, time, se = rng.standard_normal((3, 9)), np.sort(rng.uniform(0, 5, 9)), np.full(9, 0.1)
    sigma = np.array([0.3, 0.7, 1.0])
    short = markov.log_density(residual, time, se, {"sigma": sigma, "noise_lengthscale": np.full(3, 1e-9)})
    endless = markov.log_density(residual, time, se, {"sigma": sigma, "noise_lengthscale": np.full(3, 1e9)})
    for s in range(3):
        own = np.diag(variance(se, 0.0))
        iid = multivariate_normal(np.zeros(9), own + sigma[s] ** 2 * np.eye(9)).logpdf(residual[s])
        same = multivariate_normal(np.zeros(9), own + sigma[s] ** 2).logpdf(residual[s])
        assert short[s] == pytest.approx(iid, rel=1e-9)
        assert endless[s] == pytest.approx(same, rel=1e-6)

"""The stored log likelihood: from points and from sufficient statistics it is the same."""

from __future__ import annotations

import numpy as np
import pytest
import simulate
from scipy.stats import norm

import goldpeak
from goldpeak import likelihood
from goldpeak.curves import observed_curves


@pytest.mark.parametrize("card", ["rl_paper", "rl", "boxcox"])
def test_runs_are_sums_of_points_whichever_way(card: str, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = simulate.runs(np.random.default_rng(2))
    by_point = goldpeak.fit(runs, card, engine="exact", seed=3, draws=20)["log_likelihood"]
    monkeypatch.setattr(likelihood, "POINTWISE", 0)
    by_run = goldpeak.fit(runs, card, engine="exact", seed=3, draws=20)["log_likelihood"]
    assert "gold" not in by_run.data_vars
    np.testing.assert_allclose(by_run["gold_run"], by_point["gold_run"], rtol=1e-8, atol=1e-6)
    summed = by_point["gold"].to_dataset(name="g")["g"].groupby(runs["run_index"]).sum()
    np.testing.assert_allclose(summed.transpose("chain", "draw", ...), by_point["gold_run"], rtol=1e-10)


def test_points_have_the_density_of_their_curve_and_noise() -> None:
    runs = simulate.runs(np.random.default_rng(2))
    post = goldpeak.fit(runs, "rl", engine="exact", seed=3, draws=5)
    curve = observed_curves(post).gold(np.sqrt(runs["kl"].values))
    at = curve[:, :, runs["run_index"].values, np.arange(runs.sizes["point"])]
    sd = np.hypot(runs["gold_se"].values, post["posterior"]["sigma"].values[..., None])
    found = post["log_likelihood"]["gold"].values
    np.testing.assert_allclose(found, norm(at, sd).logpdf(runs["gold"].values), rtol=1e-6, atol=1e-5)

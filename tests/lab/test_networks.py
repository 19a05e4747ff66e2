"""Proxies and optimisers on cases with a known answer (needs the extra `lab`)."""

from __future__ import annotations

import numpy as np
import pytest

from goldpeak.lab import LabConfig
from goldpeak.lab.gold import exact_mean, make_gold, value

jax = pytest.importorskip("jax")
pytest.importorskip("optax")

from goldpeak.lab import optimise, proxy  # noqa: E402

SMALL = LabConfig(dim=3, humps=4, pairs=4000, rl_steps=60, rl_checkpoints=12, rl_eval=2000, rl_kl_max=3.0,
                  bon_pools=8, bon_exact_pools=16, bon_samples=400, bon_n_values=8, epochs=4)  # fmt: skip
KEY = jax.random.key(0)


def linear_proxy(weights: list[float]) -> proxy.Proxy:
    """A proxy w . x without hidden layers, for w of length 1: N(0, 1) under the initial policy."""
    return proxy.Proxy([(jax.numpy.array(weights)[:, None], jax.numpy.zeros(1))], 0.0, 1.0)


@pytest.mark.parametrize("widths", [(2,), (16, 16)])
def test_count_params_counts_what_init_makes(widths: tuple[int, ...]) -> None:
    layers = proxy.init(KEY, 16, widths)
    assert proxy.count_params(16, widths) == sum(w.size + b.size for w, b in layers)


def test_labels_follow_bradley_terry() -> None:
    gold = make_gold(SMALL)
    better, worse = proxy.draw_pairs(KEY, gold, 40_000, 0.0)
    margin = value(gold, np.asarray(better, float)) - value(gold, np.asarray(worse, float))
    # P(the truly better one is labelled better) = sigmoid(|margin|).
    expected = 1 / (1 + np.exp(-np.abs(margin)))
    error = np.sqrt(np.sum(expected * (1 - expected))) / 40_000
    assert np.mean(margin > 0) == pytest.approx(expected.mean(), abs=5 * error)
    better, worse = proxy.draw_pairs(KEY, gold, 40_000, 0.5)
    margin = value(gold, np.asarray(better, float)) - value(gold, np.asarray(worse, float))
    assert np.mean(margin > 0) == pytest.approx(0.5, abs=0.0125)


def test_training_beats_chance_and_standardises() -> None:
    gold = make_gold(SMALL)
    trained, loss, accuracy = proxy.train(KEY, gold, (16,), SMALL)
    assert float(loss) < np.log(2) - 0.02
    assert float(accuracy) > 0.6
    scores = np.asarray(proxy.score(trained, jax.random.normal(jax.random.key(9), (50_000, 3))))
    assert scores.mean() == pytest.approx(0, abs=0.03)
    assert scores.std() == pytest.approx(1, abs=0.03)


def test_best_of_n_of_a_linear_proxy_gives_normal_order_statistics() -> None:
    result = optimise.best_of_n(KEY, make_gold(SMALL), linear_proxy([1.0, 0.0, 0.0]), SMALL)
    assert result["prompt_gold"].shape == (8, result["n"].size)
    at = dict(zip(result["n"].tolist(), result["proxy"], strict=True))
    z = np.linspace(-9, 9, 20_001)
    for n in at:  # E max = integral of z d(Phi^n)
        cdf = np.interp(z, z, np.cumsum(np.exp(-(z**2) / 2)) * (z[1] - z[0]) / np.sqrt(2 * np.pi)) ** n
        truth = np.sum((z[1:] + z[:-1]) / 2 * np.diff(cdf))
        assert at[n] == pytest.approx(truth, abs=0.75 if n == 400 else 0.25)
    assert at[1] == pytest.approx(0, abs=0.1)
    np.testing.assert_allclose(result["kl"], np.log(result["n"]) - 1 + 1 / result["n"])
    assert np.all(
        np.abs(result["gold"] - result["gold_exact"]) < 6 * np.hypot(result["gold_se"], result["gold_exact_se"])
    )


def test_policy_gradient_follows_a_linear_proxy() -> None:
    gold = make_gold(SMALL)
    result = optimise.policy_gradient(KEY, gold, linear_proxy([0.6, 0.8, 0.0]), SMALL)
    assert result["step"][0] == 1
    assert result["kl"].min() > 0
    assert result["kl"].max() <= SMALL.rl_kl_max
    # The proxy's mean is w . mu, at most |mu| = sqrt(2 kl); Adam's steps are not quite along w.
    late = result["kl"] > 0.3
    ratio = result["proxy"][late] / np.sqrt(2 * result["kl"][late])
    assert np.all((ratio > 0.85) & (ratio < 1.1))
    assert np.all(np.abs(result["gold"] - result["gold_exact"]) < 5 * result["gold_se"])
    # Adam's first step has length rl_lr in every coordinate.
    assert result["kl"][0] == pytest.approx(3 * SMALL.rl_lr**2 / 2, rel=1e-3)
    assert result["gold_exact"][0] == pytest.approx(0, abs=3 * SMALL.rl_lr)
    assert float(exact_mean(gold, np.zeros(3))) == pytest.approx(0, abs=1e-12)

"""Optimising against a proxy: policy gradient on the mean of N(mu, I), and best-of-n from pools of samples."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from numpy.typing import NDArray

from goldpeak.bon import kl_of_n, pool_curves, spaced
from goldpeak.lab import gold as gold_reward
from goldpeak.lab.config import LabConfig
from goldpeak.lab.gold import Gold
from goldpeak.lab.proxy import Proxy, score

__all__ = ["best_of_n", "policy_gradient"]


def policy_gradient(key: jax.Array, gold: Gold, proxy: Proxy, config: LabConfig) -> dict[str, NDArray[Any]]:
    """REINFORCE with the batch mean as baseline, without a KL penalty, on the mean of the policy N(mu, I).

    Parameters
    ----------
    key : jax.Array
        Decides training and evaluation samples.
    gold, proxy : Gold, Proxy
        The reward that is reported and the one that is maximised.
    config : LabConfig
        Steps, batch, learning rate, checkpoints, evaluation batch, largest KL.

    Returns
    -------
    dict of arrays (checkpoint,)
        ``step``, ``kl`` (exact: |mu|^2 / 2, nats), ``gold`` and ``gold_se`` and ``proxy`` (from the evaluation batch)
        and ``gold_exact`` (closed form). Checkpoints beyond ``rl_kl_max`` are left out.
    """
    key_train, key_eval = jax.random.split(key)
    steps = spaced(config.rl_steps, config.rl_checkpoints)
    means = _trajectory(key_train, proxy, config)[steps - 1]
    kl = np.sum(np.asarray(means, dtype=float) ** 2, axis=1) / 2
    sampled_gold, gold_se, sampled_proxy = _evaluate(key_eval, gold, proxy, means, config.rl_eval)
    columns = {
        "step": steps,
        "kl": kl,
        "gold": np.asarray(sampled_gold, dtype=float),
        "gold_se": np.asarray(gold_se, dtype=float),
        "proxy": np.asarray(sampled_proxy, dtype=float),
        "gold_exact": gold_reward.exact_mean(gold, means),
    }
    # Recording stops at the first checkpoint beyond the limit: a policy does not come back.
    kept = np.cumsum(kl > config.rl_kl_max) == 0
    return {name: column[kept] for name, column in columns.items()}


def best_of_n(key: jax.Array, gold: Gold, proxy: Proxy, config: LabConfig) -> dict[str, NDArray[Any]]:
    """Best-of-n under the initial policy, from independent pools of samples.

    Each pool gives the unbiased estimate of `goldpeak.bon` at all n. The points of one run come
    from the same samples, so their errors are correlated: the per-pool curves say how.

    Parameters
    ----------
    key : jax.Array
        Decides the samples.
    gold, proxy : Gold, Proxy
        The reward that is reported and the one that selects.
    config : LabConfig
        Number of pools, of fresh pools behind the reference values, samples in a pool, values of n.

    Returns
    -------
    dict of arrays
        ``n`` and ``kl`` (log n - (n-1)/n, nats: exact where the proxy has no ties), ``gold``, ``gold_se``, ``proxy``,
        ``gold_exact``, ``gold_exact_se``, all (n,); ``prompt_gold`` (prompt, n).
    """
    n = spaced(config.bon_samples, config.bon_n_values)
    key_pools, key_exact = jax.random.split(key)
    prompt_gold, prompt_proxy = _pools(key_pools, gold, proxy, n, config.bon_samples, config.bon_pools)
    exact, _ = _pools(key_exact, gold, proxy, n, config.bon_samples, config.bon_exact_pools)
    return {
        "n": n,
        "kl": kl_of_n(n),
        "gold": prompt_gold.mean(axis=0),
        "gold_se": _standard_error(prompt_gold),
        "proxy": prompt_proxy.mean(axis=0),
        "gold_exact": exact.mean(axis=0),
        "gold_exact_se": _standard_error(exact),
        "prompt_gold": prompt_gold,
    }


@partial(jax.jit, static_argnames="config")
def _trajectory(key: jax.Array, proxy: Proxy, config: LabConfig) -> jax.Array:
    """Policy means after each step, (step, dim)."""
    optimiser = optax.adam(config.rl_lr)

    def step(state: Any, key_step: jax.Array) -> tuple[Any, jax.Array]:
        mu, moments = state
        noise = jax.random.normal(key_step, (config.rl_batch, config.dim))
        reward = score(proxy, mu + noise)
        gradient = jnp.mean((reward - reward.mean())[:, None] * noise, axis=0)
        updates, moments = optimiser.update(-gradient, moments)
        mu = optax.apply_updates(mu, updates)
        return (mu, moments), mu

    start = jnp.zeros(config.dim)
    return jax.lax.scan(step, (start, optimiser.init(start)), jax.random.split(key, config.rl_steps))[1]


@partial(jax.jit, static_argnames="size")
def _evaluate(
    key: jax.Array, gold: Gold, proxy: Proxy, means: jax.Array, size: int
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Gold, its standard error and proxy of each policy mean, each from `size` samples of its own."""

    def one(pair: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array, jax.Array]:
        key_one, mu = pair
        x = mu + jax.random.normal(key_one, (size, mu.size))
        sampled = gold_reward.value(gold, x, jnp)
        return sampled.mean(), sampled.std(ddof=1) / jnp.sqrt(size), score(proxy, x).mean()

    golds, errors, proxies = jax.lax.map(one, (jax.random.split(key, len(means)), means))
    return golds, errors, proxies


@partial(jax.jit, static_argnames="samples")
def _pool(key: jax.Array, gold: Gold, proxy: Proxy, samples: int) -> tuple[jax.Array, jax.Array]:
    x = jax.random.normal(key, (samples, gold.directions.shape[1]))
    return gold_reward.value(gold, x, jnp), score(proxy, x)


def _pools(
    key: jax.Array, gold: Gold, proxy: Proxy, n: NDArray[np.int64], samples: int, count: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Best-of-n curves of gold and proxy, (pool, n), one pool at a time to keep memory small."""
    curves = np.empty((2, count, len(n)))
    for i in range(count):
        golds, proxies = _pool(jax.random.fold_in(key, i), gold, proxy, samples)
        pool = np.asarray(proxies, dtype=float), np.asarray(golds, dtype=float)
        curves[:, i] = np.concatenate(pool_curves(*pool, np.array([samples]), n))
    return curves[0], curves[1]


def _standard_error(curves: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(curves.std(axis=0, ddof=1) / np.sqrt(len(curves)))

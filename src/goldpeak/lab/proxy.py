"""Proxy reward models: ReLU networks trained with the Bradley-Terry loss on comparisons labelled by the gold reward."""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from goldpeak.lab import gold as gold_reward
from goldpeak.lab.config import LabConfig
from goldpeak.lab.gold import Gold

__all__ = ["Proxy", "count_params", "draw_pairs", "init", "score", "train"]

STANDARDISE_ON = 100_000

Layers = list[tuple[jax.Array, jax.Array]]


class Proxy(NamedTuple):
    """A trained reward model, standardised to mean 0 and sd 1 under the initial policy.

    Attributes
    ----------
    layers : list of (weights, biases)
        Hidden layers, then the one output.
    shift, scale : float
        Mean and standard deviation of the raw output under N(0, I), from `STANDARDISE_ON` samples.
    """

    layers: Layers
    shift: Any
    scale: Any


def count_params(dim: int, widths: tuple[int, ...]) -> int:
    """Number of weights and biases of a network with hidden layers of `widths`.

    Examples
    --------
    >>> count_params(16, (2,)), count_params(16, (64, 64))
    (37, 5313)
    """
    sizes = (dim, *widths, 1)
    return sum((before + 1) * after for before, after in pairwise(sizes))


def init(key: jax.Array, dim: int, widths: tuple[int, ...]) -> Layers:
    """Fresh layers: He-normal weights, zero biases."""
    sizes = (dim, *widths, 1)
    keys = jax.random.split(key, len(widths) + 1)
    return [
        (jax.random.normal(k, (before, after)) * jnp.sqrt(2.0 / before), jnp.zeros(after))
        for k, (before, after) in zip(keys, pairwise(sizes), strict=True)
    ]


def score(proxy: Proxy, x: jax.Array) -> jax.Array:
    """Standardised proxy reward of outputs `x` (..., dim); returns shape (...)."""
    return jnp.asarray((_raw_score(proxy.layers, x) - proxy.shift) / proxy.scale)


def draw_pairs(key: jax.Array, gold: Gold, count: int, label_noise: float) -> tuple[jax.Array, jax.Array]:
    """Comparisons of two outputs of the initial policy, labelled by sampling from the gold's Bradley-Terry probability.

    Returns
    -------
    (better, worse) : arrays (count, dim)
        As labelled; a label is flipped with probability `label_noise`.
    """
    key_x, key_label, key_flip = jax.random.split(key, 3)
    x = jax.random.normal(key_x, (2, count, gold.directions.shape[1]))
    margin = gold_reward.value(gold, x[0], jnp) - gold_reward.value(gold, x[1], jnp)
    first_wins = jax.random.uniform(key_label, (count,)) < jax.nn.sigmoid(margin)
    first_wins ^= jax.random.uniform(key_flip, (count,)) < label_noise
    better = jnp.where(first_wins[:, None], x[0], x[1])
    return better, x[0] + x[1] - better


@partial(jax.jit, static_argnames=("widths", "config"))
def train(key: jax.Array, gold: Gold, widths: tuple[int, ...], config: LabConfig) -> tuple[Proxy, jax.Array, jax.Array]:
    """Train one reward model on its own pairs.

    Parameters
    ----------
    key : jax.Array
        Decides pairs, initialisation and the order of the batches.
    gold : Gold
        Labels the pairs.
    widths : tuple of int
        Hidden layers.
    config : LabConfig
        Number of pairs, epochs, batch size, learning rate, weight decay, label noise.

    Returns
    -------
    proxy : Proxy
    val_loss, val_accuracy : scalars
        Bradley-Terry loss (nats) and share of held-out pairs ordered as labelled.
    """
    key_pairs, key_val, key_init, key_order, key_scale = jax.random.split(key, 5)
    better, worse = draw_pairs(key_pairs, gold, config.pairs, config.label_noise)
    batches = config.pairs // config.rm_batch
    schedule = optax.cosine_decay_schedule(config.rm_lr, config.epochs * batches)
    optimiser = optax.adamw(schedule, weight_decay=config.rm_weight_decay)

    def step(state: Any, rows: jax.Array) -> tuple[Any, None]:
        layers, moments = state
        gradient = jax.grad(_loss)(layers, better[rows], worse[rows])
        updates, moments = optimiser.update(gradient, moments, layers)
        return (optax.apply_updates(layers, updates), moments), None

    def epoch(state: Any, key_epoch: jax.Array) -> tuple[Any, None]:
        order = jax.random.permutation(key_epoch, config.pairs)[: batches * config.rm_batch]
        return jax.lax.scan(step, state, order.reshape(batches, config.rm_batch))

    layers = init(key_init, config.dim, widths)
    (layers, _), _ = jax.lax.scan(epoch, (layers, optimiser.init(layers)), jax.random.split(key_order, config.epochs))
    held_out = draw_pairs(key_val, gold, config.val_pairs, config.label_noise)
    raw = _raw_score(layers, jax.random.normal(key_scale, (STANDARDISE_ON, config.dim)))
    margin = _margin(layers, *held_out)
    return Proxy(layers, raw.mean(), raw.std()), jax.nn.softplus(-margin).mean(), (margin > 0).mean()


def _raw_score(layers: Layers, x: jax.Array) -> jax.Array:
    for weights, biases in layers[:-1]:
        x = jax.nn.relu(x @ weights + biases)
    weights, biases = layers[-1]
    return (x @ weights + biases)[..., 0]


def _margin(layers: Layers, better: jax.Array, worse: jax.Array) -> jax.Array:
    both = _raw_score(layers, jnp.concatenate([better, worse]))
    return both[: len(better)] - both[len(better) :]


def _loss(layers: Layers, better: jax.Array, worse: jax.Array) -> jax.Array:
    return jax.nn.softplus(-_margin(layers, better, worse)).mean()

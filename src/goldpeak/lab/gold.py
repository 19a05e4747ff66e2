"""The gold reward: attributes that are good in moderation and bad in excess, with a closed-form mean under N(mu, I).

``gold(x) = (sum_k a_k h(u_k . x) - shift) / scale`` with random unit directions ``u_k`` and
``h(z) = z exp(-z^2 / 2 s^2) - excess relu(z - start)^2``. Everything here works on float64 numpy arrays; `value` also
takes ``xp=jax.numpy``.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from goldpeak.lab.config import LabConfig

__all__ = ["Gold", "exact_mean", "hump", "hump_mean", "make_gold", "value"]

AMPLITUDE_RANGE = (0.5, 1.5)
HERMITE_ORDERS = 200


class Gold(NamedTuple):
    """A gold reward (a pytree, so that it passes through ``jax.jit`` as an argument).

    Attributes
    ----------
    directions : array (hump, dim)
        Unit vectors u_k.
    amplitudes : array (hump,)
        Weights a_k.
    s, excess, start : float
        Shape of `hump`.
    shift, scale : float
        Mean and standard deviation of the raw sum under N(0, I).
    """

    directions: NDArray[np.float64]
    amplitudes: NDArray[np.float64]
    s: float
    excess: float
    start: float
    shift: float
    scale: float


def hump(z: Any, s: float, excess: float, start: float, xp: Any = np) -> Any:
    """One attribute's worth at strength `z` (any shape): rises, falls back to 0 and is punished beyond `start`.

    Examples
    --------
    >>> float(hump(np.array(3.0), s=0.8, excess=0.06, start=2.0)).__round__(4)
    -0.0573
    """
    return z * xp.exp(-(z**2) / (2 * s**2)) - excess * xp.maximum(z - start, 0.0) ** 2


def hump_mean(m: Any, s: float, excess: float, start: float) -> Any:
    """Mean of `hump` under z ~ N(m, 1), in closed form; `m` of any shape.

    A Gaussian times a Gaussian is a Gaussian: ``E[z exp(-z^2/2s^2)] = m v^(3/2) exp(-m^2 / 2(1+s^2))`` with
    ``v = s^2/(1+s^2)``; and with ``t = m - start``, ``E[relu(z-start)^2] = (t^2+1) Phi(t) + t phi(t)``.

    Examples
    --------
    >>> float(hump_mean(0.0, s=0.8, excess=0.0, start=2.0))
    0.0
    """
    m = np.asarray(m, dtype=float)
    v = s**2 / (1 + s**2)
    t = m - start
    tail = (t**2 + 1) * ndtr(t) + t * np.exp(-(t**2) / 2) / np.sqrt(2 * np.pi)
    return m * v**1.5 * np.exp(-(m**2) / (2 * (1 + s**2))) - excess * tail


def make_gold(config: LabConfig) -> Gold:
    """Draw the world's gold reward and standardise it to mean 0 and sd 1 under the initial policy N(0, I).

    Parameters
    ----------
    config : LabConfig
        Its `seed`, `dim`, `humps`, `s`, `excess` and `excess_start` say all.

    Returns
    -------
    Gold

    Examples
    --------
    >>> gold = make_gold(LabConfig())
    >>> gold.directions.shape, abs(float(exact_mean(gold, np.zeros(16)))) < 1e-12
    ((24, 16), True)
    """
    rng = np.random.default_rng(config.seed)
    directions = rng.standard_normal((config.humps, config.dim))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    amplitudes = rng.uniform(*AMPLITUDE_RANGE, config.humps)
    shape = (config.s, config.excess, config.excess_start)
    raw = Gold(directions, amplitudes, *shape, shift=0.0, scale=1.0)
    return raw._replace(shift=float(exact_mean(raw, np.zeros(config.dim))), scale=float(np.sqrt(_raw_variance(raw))))


def value(gold: Gold, x: Any, xp: Any = np) -> Any:
    """Gold reward of outputs `x` (..., dim); `xp` is the array module (numpy or jax.numpy). Returns shape (...)."""
    z = x @ gold.directions.T
    return (hump(z, gold.s, gold.excess, gold.start, xp) @ gold.amplitudes - gold.shift) / gold.scale


def exact_mean(gold: Gold, mu: Any) -> Any:
    """Mean gold reward under N(mu, I) in closed form; `mu` (..., dim), returns shape (...)."""
    means = hump_mean(np.asarray(mu, dtype=float) @ gold.directions.T, gold.s, gold.excess, gold.start)
    return (means @ gold.amplitudes - gold.shift) / gold.scale


def _raw_variance(gold: Gold) -> float:
    """Variance of the raw sum under N(0, I), by Mehler's formula over all pairs of humps.

    With ``h(z) = sum_j c_j He_j(z) / sqrt(j!)``, two attributes at correlation r have covariance
    ``sum_{j>=1} c_j^2 r^j``; on the diagonal (r = 1) the sum is the variance of h itself, known without the series.
    """
    z = np.linspace(-14.0, 14.0, 28_001)  # trapezoid: the integrands vanish at both ends
    weight = np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi) * (z[1] - z[0])
    h = hump(z, gold.s, gold.excess, gold.start)
    correlation = gold.directions @ gold.directions.T
    covariance = np.zeros_like(correlation)
    before, polynomial = np.zeros_like(z), np.ones_like(z)
    for j in range(1, HERMITE_ORDERS + 1):  # recurrence of the normalised polynomials He_j / sqrt(j!)
        before, polynomial = polynomial, (z * polynomial - np.sqrt(j - 1) * before) / np.sqrt(j)
        covariance += np.sum(weight * h * polynomial) ** 2 * correlation**j
    np.fill_diagonal(covariance, np.sum(weight * h**2) - np.sum(weight * h) ** 2)
    return float(gold.amplitudes @ covariance @ gold.amplitudes)

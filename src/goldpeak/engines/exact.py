"""The exact engine: what is Gaussian is integrated out in closed form, the few outer parameters are sampled.

Given the outer parameters (noise, scatter, discrepancy scales, gamma) a card with identity links is one Gaussian linear
model. Its marginal likelihood costs a few small Cholesky factorisations a run. Adaptive importance sampling draws the
outer parameters, and the coefficients follow from their Gaussian conditionals: independent draws of the exact joint
posterior, and the marginal likelihood besides.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from goldpeak.design import Design
from goldpeak.engines import importance
from goldpeak.engines.columns import GlobalColumns, Points
from goldpeak.engines.gaussian import Block, eliminate
from goldpeak.errors import FitError

__all__ = ["Draws", "LinearModel", "refusal", "sample"]

Array = NDArray[np.float64]
Outer = dict[str, Array]
Variables = dict[str, tuple[tuple[str, ...], Array]]

CHUNK_BYTES = 24e6
"""Working memory of one chunk of outer draws, roughly."""


@dataclass(frozen=True)
class Draws:
    """What the exact engine returns.

    Attributes
    ----------
    posterior, sample_stats : xarray.Dataset
        In standardised units, dims (chain, draw, ...).
    khat, ess : float
        Pareto shape and effective number of the outer draws.
    log_marginal_likelihood, log_marginal_likelihood_se : float
        Of the standardised data; the second is its Monte Carlo error.
    """

    posterior: xr.Dataset
    sample_stats: xr.Dataset
    khat: float
    ess: float
    log_marginal_likelihood: float
    log_marginal_likelihood_se: float


def refusal(design: Design) -> str | None:
    """Why this engine cannot run a design, or None if it can."""
    logged = [name for name, c in design.coefficients.items() if c.spec.link != "identity"]
    return f"{' and '.join(logged)} has link 'log': not linear in its Gaussian terms" if logged else None


def sample(design: Design, *, seed: int, draws: int = 1000, chains: int = 4) -> Draws:
    """Draw independently from the posterior of a design.

    Parameters
    ----------
    design : Design
    seed : int
    draws, chains : int
        ``draws * chains`` draws are made; the chains only give them the same shape as the other engine's.

    Returns
    -------
    Draws
        Look at ``khat`` and ``ess`` before use: below 0.7 and above 400.

    Raises
    ------
    FitError
        If the card is not conditionally Gaussian.
    """
    reason = refusal(design)
    if reason:
        raise FitError(f"engine 'exact' cannot run card {design.card.name!r}: {reason}; use engine='nuts'")
    rng = np.random.default_rng(seed)
    model = LinearModel(design)
    total = draws * chains
    # The matrices are small: threads work on chunks of draws, and BLAS threads of its own would only get in their way.
    with threadpool_limits(1, user_api="blas"):
        found = importance.sample(model.log_density, len(model.names), rng, target_ess=max(1000.0, total / 2))
        index = importance.resample(found.weights, total, rng)
        variables = model.draw(found.z, index, rng)
    coords = design.coords | {"chain": np.arange(chains), "draw": np.arange(draws)}
    posterior = xr.Dataset(
        {
            name: (("chain", "draw", *dims), values.reshape(chains, draws, *values.shape[1:]))
            for name, (dims, values) in variables.items()
        },
        coords={
            k: v
            for k, v in coords.items()
            if k in ("chain", "draw", *(d for dims, _ in variables.values() for d in dims))
        },
    )
    weight = (("chain", "draw"), np.log(found.weights[index]).reshape(chains, draws))
    stats = xr.Dataset({"log_weight": weight}, coords={"chain": posterior["chain"], "draw": posterior["draw"]})
    return Draws(posterior, stats, found.khat, found.ess, found.log_z, found.log_z_se)


class LinearModel:
    """The Gaussian linear model of a design, given its outer parameters.

    Columns of a run are those of the form and the sines of the discrepancy. Three levels of coefficients add up on
    them: the run's own, the RM's, and the global ones (trend terms and shared discrepancy).

    Parameters
    ----------
    design : Design

    Attributes
    ----------
    names : tuple of str
        The outer parameters, in the order of z.
    global_names : tuple of str
        Variables of the global coefficients, in their order.
    width : int
        Columns of a run.
    """

    def __init__(self, design: Design) -> None:
        self.design = design
        self.names = tuple(design.outer)
        self.width = 2 + (design.sines.count if design.sines else 0)
        self._points = Points.of(design)
        self._global = GlobalColumns.of(design)
        self.global_names = tuple(dict.fromkeys(self._global.owner.tolist()))
        self._by_rm = np.argsort(design.rm_index, kind="stable")
        self._first_of_rm = np.searchsorted(design.rm_index[self._by_rm], np.arange(len(design.rm)))

    def outer(self, z: Array) -> Outer:
        """Outer parameters at standard normal quantiles z, shape (draw, parameter)."""
        return {name: prior.from_normal(z[:, i]) for i, (name, prior) in enumerate(self.design.outer.items())}

    def log_density(self, z: Array) -> Array:
        """Log marginal likelihood plus the standard normal prior of z, shape (draw,)."""
        parts = [self.outer(z[chunk]) for chunk in self._chunks(len(z))]
        likelihood = np.concatenate(_in_threads(self.marginal, parts) if len(parts) > 1 else [self.marginal(parts[0])])
        prior = -0.5 * np.sum(z**2, axis=1) - 0.5 * z.shape[1] * np.log(2 * np.pi)
        return np.where(np.isfinite(likelihood), likelihood, -np.inf) + prior

    def marginal(self, h: Outer) -> Array:
        """Log marginal likelihood given the outer parameters, shape (draw,)."""
        return self._levels(h)[0]

    def draw(self, z: Array, index: NDArray[np.int64], rng: np.random.Generator) -> Variables:
        """Posterior variables, name -> (dims, values), at rows `index` of z in that order; repeats allowed."""
        unique, member = np.unique(index, return_inverse=True)
        order = np.argsort(member, kind="stable")
        chunks = list(self._chunks(len(unique)))
        edges = np.searchsorted(member[order], [chunk.stop for chunk in chunks])
        members = np.split(order, edges[:-1])

        def part(chunk: slice, mine: NDArray[np.int64], own: np.random.Generator) -> Variables:
            return self._draw_part(self.outer(z[unique[chunk]]), member[mine] - chunk.start, own)

        parts = _in_threads(part, chunks, members, rng.spawn(len(chunks)))
        back = np.argsort(np.concatenate(members))
        return {
            name: (dims, np.concatenate([found[name][1] for found in parts])[back])
            for name, (dims, _) in parts[0].items()
        }

    def _levels(self, h: Outer) -> tuple[Array, Block, Block, Block]:
        """Integrate out run, RM and global level in turn."""
        d = self.design
        gram, log_v = self._points.gram(h)
        gram, log_run, run = eliminate(gram, *self._run_scale(h))
        by_rm = np.add.reduceat(gram[:, self._by_rm], self._first_of_rm, axis=1)
        by_rm, log_rm, rm = eliminate(by_rm, *self._rm_scale(h))
        top, log_global, shared = eliminate(self._global.gram(by_rm), *self._global.scale(h))
        log_det = log_v + log_run.sum(axis=1) + log_rm.sum(axis=1) + log_global
        return -0.5 * (len(d.y) * np.log(2 * np.pi) + log_det + top[:, -1, -1]), run, rm, shared

    def _run_scale(self, h: Outer) -> tuple[NDArray[np.int64], Array]:
        cols, scale = self._scatter(h, "run")
        if self.design.sines and "eta_run" in h:
            spread = h["eta_run"][:, None] * np.sqrt(self.design.sines.variances(h["lengthscale"]))
            cols, scale = np.append(cols, np.arange(2, self.width)), np.concatenate([scale, spread], axis=1)
        return cols, scale[:, None, :]

    def _rm_scale(self, h: Outer) -> tuple[NDArray[np.int64], Array]:
        cols, scale = self._scatter(h, "rm")
        return cols, scale[:, None, :]

    def _scatter(self, h: Outer, level: str) -> tuple[NDArray[np.int64], Array]:
        draws = len(h["sigma"])
        pairs = [(i, h[f"{n}_sd_{level}"]) for i, n in enumerate(self.design.coefficients) if f"{n}_sd_{level}" in h]
        cols = np.array([i for i, _ in pairs], dtype=np.int64)
        return cols, np.stack([sd for _, sd in pairs], axis=1) if pairs else np.empty((draws, 0))

    def draw_runs(self, h: Outer, coef: Array, v: Array, rng: np.random.Generator) -> Variables:
        """Draw the runs' own coefficients given everything above them.

        Parameters
        ----------
        h : dict of ndarray, shape (draw,)
        coef : ndarray, shape (draw, global)
            Global coefficients, in the order of `global_names`.
        v : ndarray, shape (draw, rm, width)
            The RMs' deviations.
        rng : numpy.random.Generator
        """
        above = (self._global.spread(coef) + v)[:, self.design.rm_index]
        theta = []
        for chunk in self._chunks(len(coef)):
            part = {name: values[chunk] for name, values in h.items()}
            gram, _ = self._points.gram(part)
            run = eliminate(gram, *self._run_scale(part))[2]
            theta.append(self._add(run, above[chunk], np.arange(len(gram)), rng))
        return self._run_variables(np.concatenate(theta))

    def _draw_part(self, h: Outer, repeat: NDArray[np.int64], rng: np.random.Generator) -> Variables:
        d = self.design
        _, run, rm, shared = self._levels(h)
        nothing = np.zeros((len(repeat), len(self._global.column)))
        coef = self._global.mean + shared.draw(nothing, repeat, rng)
        by_rm = self._global.spread(coef)
        with_rm = self._add(rm, by_rm, repeat, rng)
        theta = self._add(run, with_rm[:, d.rm_index], repeat, rng)
        found: Variables = {name: ((), values[repeat]) for name, values in h.items()}
        for i, (name, c) in enumerate(d.coefficients.items()):
            if c.spec.sd_rm is not None:
                found[f"{name}_rm"] = (("rm",), (with_rm - by_rm)[..., i])
        for name in self.global_names:
            dim = "sine" if name.startswith("delta") else f"{name.removesuffix('_coef')}_term"
            found[name] = ((dim,), coef[:, self._global.owner == name])
        return found | self._run_variables(theta)

    @staticmethod
    def _add(block: Block, above: Array, index: NDArray[np.int64], rng: np.random.Generator) -> Array:
        below = above.copy()
        below[..., block.cols] += block.draw(above, index, rng)
        return below

    def _run_variables(self, theta: Array) -> Variables:
        found: Variables = {name: (("run",), theta[..., i]) for i, name in enumerate(self.design.coefficients)}
        return found | ({"delta": (("run", "sine"), theta[..., 2:])} if self.design.sines else {})

    def _chunks(self, count: int) -> Iterator[slice]:
        q = self.width + 1
        per_draw = 48.0 * len(self.design.run) * q * q + 32.0 * (len(self._global.column) + 1) ** 2
        size = int(max(1, min(count, CHUNK_BYTES / per_draw)))
        return (slice(start, min(start + size, count)) for start in range(0, count, size))


def _in_threads(function: Callable[..., Any], *arguments: Iterable[Any]) -> list[Any]:
    """Map over chunks; numpy's linear algebra releases the interpreter lock."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(function, *arguments))

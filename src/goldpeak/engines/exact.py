"""The exact engine: what is Gaussian is integrated out in closed form, the few outer parameters are sampled.

Given the outer parameters (noise, scatter, discrepancy scales, gamma) a card with identity links is one Gaussian linear
model. Its marginal likelihood costs a few small Cholesky factorisations a run. Adaptive importance sampling draws the
outer parameters, and the coefficients follow from their Gaussian conditionals: independent draws of the exact joint
posterior, and the marginal likelihood besides.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from goldpeak.design import Design
from goldpeak.engines import importance
from goldpeak.engines.gaussian import Block, eliminate
from goldpeak.errors import FitError
from goldpeak.noise import Statistics, gather, variance

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
        self._points = _Points.of(design)
        self._global = _GlobalColumns.of(design)
        self.global_names = tuple(dict.fromkeys(self._global.owner.tolist()))
        self._by_rm = np.argsort(design.rm_index, kind="stable")
        self._first_of_rm = np.searchsorted(design.rm_index[self._by_rm], np.arange(len(design.rm)))

    def outer(self, z: Array) -> Outer:
        """Outer parameters at standard normal quantiles z, shape (draw, parameter)."""
        return {name: prior.from_normal(z[:, i]) for i, (name, prior) in enumerate(self.design.outer.items())}

    def log_density(self, z: Array) -> Array:
        """Log marginal likelihood plus the standard normal prior of z, shape (draw,)."""
        likelihood = np.concatenate(self._map(lambda part: self.marginal(self.outer(part)), z))
        prior = -0.5 * np.sum(z**2, axis=1) - 0.5 * z.shape[1] * np.log(2 * np.pi)
        return np.where(np.isfinite(likelihood), likelihood, -np.inf) + prior

    def marginal(self, h: Outer) -> Array:
        """Log marginal likelihood given the outer parameters, shape (draw,)."""
        return self._levels(h)[0]

    def draw(self, z: Array, index: NDArray[np.int64], rng: np.random.Generator) -> Variables:
        """Posterior variables at rows `index` of z (repeats allowed): name -> (dims, values), in the order of `index`."""
        unique, inverse = np.unique(index, return_inverse=True)
        order = np.argsort(inverse, kind="stable")
        parts = []
        for chunk in self._chunks(len(unique)):
            members = order[np.isin(inverse[order], np.arange(len(unique))[chunk])]
            repeat = inverse[members] - chunk.start
            parts.append((members, self._draw_part(self.outer(z[unique[chunk]]), repeat, rng)))
        members = np.concatenate([m for m, _ in parts])
        back = np.argsort(members)
        return {
            name: (dims, np.concatenate([part[name][1] for _, part in parts])[back])
            for name, (dims, _) in parts[0][1].items()
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
            theta.append(self._add(run, above[chunk], rng))
        return self._run_variables(np.concatenate(theta))

    def _draw_part(self, h: Outer, repeat: NDArray[np.int64], rng: np.random.Generator) -> Variables:
        d = self.design
        _, run, rm, shared = self._levels(h)
        nothing = np.zeros((len(repeat), len(self._global.column)))
        coef = self._global.mean + shared.take(repeat).draw(nothing, rng)
        by_rm = self._global.spread(coef)
        with_rm = self._add(rm.take(repeat), by_rm, rng)
        theta = self._add(run.take(repeat), with_rm[:, d.rm_index], rng)
        found: Variables = {name: ((), values[repeat]) for name, values in h.items()}
        for i, (name, c) in enumerate(d.coefficients.items()):
            if c.spec.sd_rm is not None:
                found[f"{name}_rm"] = (("rm",), (with_rm - by_rm)[..., i])
        for name in self.global_names:
            dim = "sine" if name.startswith("delta") else f"{name.removesuffix('_coef')}_term"
            found[name] = ((dim,), coef[:, self._global.owner == name])
        return found | self._run_variables(theta)

    @staticmethod
    def _add(block: Block, above: Array, rng: np.random.Generator) -> Array:
        below = above.copy()
        below[..., block.cols] += block.draw(above, rng)
        return below

    def _run_variables(self, theta: Array) -> Variables:
        found: Variables = {name: (("run",), theta[..., i]) for i, name in enumerate(self.design.coefficients)}
        return found | ({"delta": (("run", "sine"), theta[..., 2:])} if self.design.sines else {})

    def _chunks(self, count: int) -> Iterator[slice]:
        q = self.width + 1
        per_draw = 48.0 * len(self.design.run) * q * q + 32.0 * (len(self._global.column) + 1) ** 2
        size = int(max(1, min(count, CHUNK_BYTES / per_draw)))
        return (slice(start, min(start + size, count)) for start in range(0, count, size))

    def _map(self, function, z: Array) -> list[Array]:
        parts = [z[chunk] for chunk in self._chunks(len(z))]
        if len(parts) == 1:
            return [function(z)]
        with ThreadPoolExecutor(os.process_cpu_count()) as pool:
            return list(pool.map(function, parts))


@dataclass(frozen=True)
class _Points:
    """The points of a design, as weighted Gram matrices of the outer parameters."""

    design: Design
    fixed: Statistics
    padded: tuple[Array, Array, Array, Array] | None

    @classmethod
    def of(cls, design: Design) -> _Points:
        phi = design.form.basis(design.d)
        sines = design.sines.columns(design.d) if design.sines else np.empty((len(design.d), 0))
        columns = np.column_stack([phi, sines])
        if design.form.has_gamma:
            columns[:, 1] = 0.0
        fixed = gather(columns, design.y, design.se, design.run_index, len(design.run))
        return cls(design, fixed, pad(design, np.column_stack([columns, design.y])) if design.form.has_gamma else None)

    def gram(self, h: Outer) -> tuple[Array, Array]:
        """Augmented Gram matrices (draw, run, q, q) and log |V| (draw,)."""
        gram = self.fixed.weighted(h["sigma"])
        if self.padded is not None:
            self._add_gamma_column(gram, h)
        return gram, self.fixed.log_determinant(h["sigma"])

    def _add_gamma_column(self, gram: Array, h: Outer) -> None:
        d, se, here, z = self.padded
        phi = self.design.form.basis(d, h["gamma"][:, None, None])[..., 1]
        weighted = phi * here / variance(se, h["sigma"][:, None, None])
        cross = np.einsum("srn,rnq->srq", weighted, z, optimize=True)
        cross[..., 1] = np.einsum("srn,srn->sr", weighted, phi)
        gram[..., 1, :] = cross
        gram[..., :, 1] = cross


def pad(design: Design, values: Array) -> tuple[Array, Array, Array, Array]:
    """The ragged points as (run, longest run) arrays of d, se, presence, and `values` (point, k)."""
    sizes = np.bincount(design.run_index, minlength=len(design.run))
    position = np.arange(len(design.d)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    shape = (len(sizes), int(sizes.max()))
    d, se, here = np.zeros(shape), np.ones(shape), np.zeros(shape)
    z = np.zeros((*shape, values.shape[1]))
    at = (design.run_index, position)
    d[at], se[at], here[at] = design.d, design.se, 1.0
    z[at] = values
    return d, se, here, z


@dataclass(frozen=True)
class _GlobalColumns:
    """Global coefficients: each multiplies one column of a run by a function of its RM's size.

    Attributes
    ----------
    owner : ndarray of str, shape (g,)
        ``alpha_coef``, ``beta_coef``, ``delta_shared`` or ``delta_trend``.
    column : ndarray of int, shape (g,)
        Which column of a run.
    weight : ndarray, shape (g, rm)
    mean, sd : ndarray, shape (g,)
        Normal prior; the sd of discrepancy and drift terms is times their outer scale.
    drift : ndarray of bool, shape (g,)
    """

    design: Design
    owner: NDArray[np.str_]
    column: NDArray[np.int64]
    weight: Array
    mean: Array
    sd: Array
    drift: NDArray[np.bool_]

    @classmethod
    def of(cls, design: Design) -> _GlobalColumns:
        owner, column, weight, mean, sd, drift = [], [], [], [], [], []
        for i, (name, c) in enumerate(design.coefficients.items()):
            count = len(c.terms)
            owner += [f"{name}_coef"] * count
            column += [i] * count
            weight += list(c.at(design.x_rm).T)
            mean += list(c.mean)
            sd += list(c.sd)
            drift += list(c.drift)
        for name, outer, of_size in (
            ("delta_shared", "eta_shared", np.ones(len(design.rm))),
            ("delta_trend", "eta_shared_trend", design.x_rm),
        ):
            count = design.sines.count if design.sines and outer in design.outer else 0
            owner += [name] * count
            column += list(range(2, 2 + count))
            weight += [of_size] * count
            mean += [0.0] * count
            sd += [1.0] * count
            drift += [False] * count
        return cls(
            design, np.array(owner), np.array(column), np.array(weight), np.array(mean), np.array(sd), np.array(drift)
        )

    def gram(self, by_rm: Array) -> Array:
        """Augmented Gram matrix of the global columns and gold less its prior mean, shape (draw, g + 1, g + 1)."""
        draws, rms, q, _ = by_rm.shape
        functions, which = np.unique(np.vstack([self.weight, np.ones(rms)]), axis=0, return_inverse=True)
        first, second = np.triu_indices(len(functions))
        pair = np.zeros((len(functions),) * 2, dtype=np.int64)
        pair[first, second] = pair[second, first] = np.arange(len(first))
        summed = np.matmul(functions[first] * functions[second], by_rm.reshape(draws, rms, q * q))
        column = np.append(self.column, q - 1)
        flat = pair[which[:, None], which] * q * q + column[:, None] * q + column
        gram = summed.reshape(draws, -1)[:, flat]
        shift = np.eye(len(column))
        shift[:-1, -1] = -self.mean
        return shift.T @ gram @ shift

    def scale(self, h: Outer) -> tuple[NDArray[np.int64], Array]:
        scale = np.repeat(self.sd[None], len(h["sigma"]), axis=0)
        for name in self.design.coefficients:
            if f"{name}_drift" in h:
                scale[:, (self.owner == f"{name}_coef") & self.drift] *= h[f"{name}_drift"][:, None]
        for name, outer in (("delta_shared", "eta_shared"), ("delta_trend", "eta_shared_trend")):
            if self.design.sines and outer in h:
                scale[:, self.owner == name] = h[outer][:, None] * np.sqrt(
                    self.design.sines.variances(h["lengthscale"])
                )
        return np.arange(len(self.column)), scale

    def spread(self, coef: Array) -> Array:
        """What global coefficients (draw, g) give to every column of every RM, shape (draw, rm, p)."""
        selector = np.zeros((len(self.column), 2 + (self.design.sines.count if self.design.sines else 0)))
        selector[np.arange(len(self.column)), self.column] = 1.0
        return np.einsum("sg,gr,gp->srp", coef, self.weight, selector, optimize=True)

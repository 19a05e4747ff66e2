"""Adaptive mixture importance sampling of a posterior whose prior is a standard normal.

Starts from Student-t components at the modes and refits the mixture to all draws so far (population Monte Carlo:
Cappe, Douc, Guillin, Marin & Robert 2008, doi:10.1007/s11222-008-9059-x), each draw weighted by the mixture of all
proposals used (AMIS: Cornuet, Marin, Mira & Robert 2012, doi:10.1111/j.1467-9469.2011.00756.x). Then the proposal is
frozen, and only new draws from it count: weights that had steered the proposal would underrate what it has missed. The
final weights are Pareto-smoothed (Vehtari et al. 2024, arXiv:1507.02646).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import repeat

import numpy as np
from numpy.typing import NDArray

from goldpeak.engines.proposal import Proposal, Warp, effective, refit, relative
from goldpeak.errors import FitError

__all__ = ["TRUSTED", "Weighted", "finish", "mode_uphill", "resample", "sample", "still_wanted"]

Array = NDArray[np.float64]
LogDensity = Callable[[Array], Array]

SCOUTS = 256
CLIMBS = 3
NEIGHBOURS = 16
STEP = 1e-3
NEAR = 0.01
"""A climb ends when it no longer gains so many nats."""
ROUNDS = 12
"""Batches spent on the proposal at most."""
EVEN = 3.0
"""Largest weight over the mean weight up to which the weights have no tail worth smoothing."""
TRUSTED = 0.6
"""Pareto shape up to which draws will do: a little below what is asked of them."""
RETRIES = 2
"""Refits of the proposal to all draws at most, where they will not do."""
GOOD = 0.4
"""Effective draws per draw at which the proposal is good enough."""


@dataclass(frozen=True)
class Weighted:
    """Weighted draws.

    Attributes
    ----------
    z : ndarray, shape (draw, dim)
    weights : ndarray, shape (draw,)
        Pareto-smoothed, sum 1.
    khat : float
        Pareto shape of the largest weights; below 0.7 they can be trusted. 0 where all weights are about equal.
    ess : float
        Effective number of draws, 1 / sum of squared weights.
    log_z, log_z_se : float
        Log of the integral of the density, and its Monte Carlo standard error.
    """

    z: Array
    weights: Array
    khat: float
    ess: float
    log_z: float
    log_z_se: float


def sample(
    log_density: LogDensity,
    dim: int,
    rng: np.random.Generator,
    *,
    target_ess: float,
    batch: int = 500,
    max_batches: int = 60,
    rough: LogDensity | None = None,
    near: LogDensity | None = None,
    counted: LogDensity | None = None,
) -> Weighted:
    """Draw from exp(`log_density`) until the effective sample size reaches `target_ess` or the batches run out.

    Parameters
    ----------
    log_density : callable
        Maps (draw, dim) to (draw,); includes the standard normal prior. May be -inf, never NaN.
    dim : int
    rng : numpy.random.Generator
    target_ess : float
    batch, max_batches : int
        Draws per batch and number of batches at most, those included that only shape the proposal. Where the weights'
        Pareto shape is too high, so many again from a better proposal, `RETRIES` times at most.
    rough : callable, optional
        A cheaper density in about the same place, wider rather than narrower: the search for the modes starts there.
    near : callable, optional
        A cheaper density that is nearly the same: the proposal is shaped on it first. No draw of it counts.
    counted : callable, optional
        Called instead of `log_density` with the draws that count, batch by batch; those returned are the last ones.

    Returns
    -------
    Weighted
        Look at ``khat`` and ``ess`` before use.

    Raises
    ------
    FitError
        If the density is -inf wherever one looks.
    """
    proposal = _start(near or log_density, rough, dim, rng)
    if near is not None:
        proposal, _ = _adapt(near, proposal, rng, batch, ROUNDS, least=2)
    rounds = min(ROUNDS, (max_batches + 1) // 2)
    proposal, used = _adapt(log_density, proposal, rng, batch, rounds, least=2 if near is None else 1)
    most = batch * max(max_batches - used, 1)
    counted = counted or log_density
    z, log_weight = _collect(counted, proposal, rng, target_ess, batch, most)
    found = finish(z, log_weight)
    for _ in range(RETRIES):
        if found.khat < TRUSTED:
            break
        # All these draws know more of the tails than the few batches that the proposal was shaped on.
        proposal = refit(z, log_weight, proposal, rng)
        z, log_weight = _collect(counted, proposal, rng, target_ess, batch, most)
        found = finish(z, log_weight)
    return found


def _collect(
    log_density: LogDensity, proposal: Proposal, rng: np.random.Generator, target_ess: float, batch: int, most: int
) -> tuple[Array, Array]:
    """Draws of the proposal and their log weights, until they are worth `target_ess` or there are `most`."""
    z, log_weight = np.empty((0, proposal.mean.shape[1])), np.empty(0)
    wanted = batch
    while wanted > 0:
        more = proposal.draw(wanted, rng)
        z = np.vstack([z, more])
        log_weight = np.append(log_weight, log_density(more) - proposal.log_density(more))
        wanted = min(still_wanted(effective(relative(log_weight)), len(z), target_ess, batch // 5), most - len(z))
    return z, log_weight


def still_wanted(ess: float, draws: int, target_ess: float, least: int) -> int:
    """Draws that would bring the target if they were as good as those so far, and a few to spare."""
    return 0 if ess >= target_ess else max(int(np.ceil(1.05 * draws * (target_ess / max(ess, 1.0) - 1.0))), least)


def _adapt(
    log_density: LogDensity, first: Proposal, rng: np.random.Generator, batch: int, rounds: int, *, least: int
) -> tuple[Proposal, int]:
    """A proposal shaped in at least `least` and at most `rounds` batches, and how many it took."""
    proposals = [first]
    dim = first.mean.shape[1]
    z, log_p, log_q = np.empty((0, dim)), np.empty(0), np.empty(0)
    for used in range(1, rounds + 1):
        last = proposals[-1]
        more = last.draw(batch, rng)
        log_more = log_density(more)
        good = effective(relative(log_more - last.log_density(more))) > GOOD * batch
        if good and used == least == 1:
            # Shaped on more draws than a refit to this one batch would be.
            return last, used
        # Sum over proposals of their density at every draw so far, in logs.
        of_more = np.logaddexp.reduce([q.log_density(more) for q in proposals], axis=0)
        log_q = np.append(np.logaddexp(log_q, last.log_density(z)), of_more)
        z, log_p = np.vstack([z, more]), np.append(log_p, log_more)
        proposals.append(refit(z, log_p - log_q, last, rng))
        if good and used >= least:
            break
    return proposals[-1], used


def resample(weights: Array, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Systematic resampling: `count` indices, each weight met to within one, in random order."""
    edges = np.cumsum(weights)
    points = (rng.random() + np.arange(count)) / count * edges[-1]
    return rng.permutation(np.minimum(np.searchsorted(edges, points), len(weights) - 1))


def finish(z: Array, log_weight: Array) -> Weighted:
    """Smooth the weights of draws z and say what they are worth."""
    from arviz_stats.base import array_stats

    top = log_weight.max()
    raw = np.exp(log_weight - top)
    relative = float(np.std(raw) / np.mean(raw) / np.sqrt(len(raw)))
    if np.max(raw) < EVEN * np.mean(raw):
        # No tail: a Pareto shape fitted to such weights is that of a negligible excess, and can be anything.
        smoothed, khat = log_weight, 0.0
    else:
        # The library smooths importance ratios of leave-one-out, 1 / likelihood: it wants minus the log weight.
        # Of a tail too heavy for any use some quantiles are infinite; khat says so.
        with np.errstate(over="ignore"):
            smoothed, khat = array_stats.psislw(-log_weight)
    weights = np.exp(smoothed - np.logaddexp.reduce(smoothed))
    return Weighted(z, weights, float(khat), effective(weights), float(top + np.log(np.mean(raw))), relative)


def _start(log_density: LogDensity, rough: LogDensity | None, dim: int, rng: np.random.Generator) -> Proposal:
    """Student-t components at the modes that a few climbs from scattered scouts find."""
    scouts = 0.7 * rng.standard_normal((SCOUTS, dim))
    heights = (rough or log_density)(scouts)
    _refuse_nothing(heights)
    found = _modes(rough or log_density, _summits(scouts, heights))
    if rough is not None:
        found = _modes(log_density, [mode for mode, _ in found], [covariance for _, covariance in found])
    means, covariances = (np.array(values) for values in zip(*found, strict=True))
    heights = log_density(means)
    _refuse_nothing(heights)
    mass = heights + 0.5 * np.linalg.slogdet(covariances)[1]
    share = np.exp(mass - np.logaddexp.reduce(mass)) + 1e-3
    shares = np.concatenate([0.7 * share, 0.3 * share])
    wide = np.concatenate([covariances, 3.0 * covariances])
    return Proposal(shares / shares.sum(), np.vstack([means, means]), np.linalg.cholesky(wide), Warp.none(dim))


def _refuse_nothing(heights: Array) -> None:
    if not np.isfinite(heights).any():
        raise FitError(
            "the curves are too ill-conditioned for the exact engine: KL or gold spans too many orders of magnitude"
        )


def _summits(scouts: Array, heights: Array) -> Array:
    """The highest of the scouts that stand above all their neighbours, at most CLIMBS.

    Topographical global optimisation (Torn & Viitanen 1992): the very highest scouts would mostly stand on one hill.
    """
    distance = np.sum((scouts[:, None] - scouts) ** 2, axis=-1)
    neighbours = np.argsort(distance, axis=1)[:, 1 : NEIGHBOURS + 1]
    tops = np.flatnonzero(np.isfinite(heights) & (heights >= heights[neighbours].max(axis=1)))
    return scouts[tops[np.argsort(-heights[tops])][:CLIMBS]]


def _modes(
    log_density: LogDensity, starts: Iterable[Array], metrics: Iterable[Array] | None = None
) -> list[tuple[Array, Array]]:
    """Different modes uphill of some starts, each with its covariance; `metrics` are guesses of the latter."""
    found: list[tuple[Array, Array]] = []
    guesses: Iterable[Array | None] = metrics or repeat(None)
    for start, metric in zip(starts, guesses, strict=False):
        unit = np.eye(len(start)) if metric is None else np.linalg.cholesky(metric)
        mode = mode_uphill(log_density, start, unit)
        if all(np.linalg.norm(mode - other) > 0.2 for other, _ in found):
            found.append((mode, _laplace(log_density, mode, STEP * (10.0 if metric is None else 100.0) * unit)))
    return found


def mode_uphill(log_density: LogDensity, start: Array, unit: Array) -> Array:
    """The mode uphill of `start`, in coordinates whose unit vectors are the columns of `unit`.

    Forward differences put it off by half a step, far less than its uncertainty; it only centres a proposal.
    """
    from scipy.optimize import minimize

    moves = STEP * np.vstack([np.zeros(len(start)), np.eye(len(start))])

    def objective(u: Array) -> tuple[float, Array]:
        values = log_density(start + (u + moves) @ unit.T)
        # Beyond an edge to where there is no density the climb finds a deep valley, and along it no slope.
        values = np.where(np.isfinite(values), values, values[0] if np.isfinite(values[0]) else -1e3 * (1.0 + top))
        return -float(values[0]), -(values[1:] - values[0]) / STEP

    top = abs(float(log_density(start[None])[0]))
    found = minimize(
        objective,
        np.zeros(len(start)),
        jac=True,
        method="L-BFGS-B",
        bounds=[(-6.0, 6.0)] * len(start),
        options={"maxiter": 60, "ftol": NEAR / max(top, 1.0)},
    )
    return np.asarray(start + unit @ found.x)


def _laplace(log_density: LogDensity, mode: Array, moves: Array) -> Array:
    """Inverse of minus the Hessian by second differences along the columns of `moves`.

    Directions flatter than half the prior's precision are cut there.
    """
    dim = len(mode)
    first, second = np.triu_indices(dim, 1)
    both = moves.T[first] + moves.T[second]
    at, *values = np.split(
        log_density(mode + np.vstack([np.zeros(dim), moves.T, -moves.T, both, -both])),
        np.cumsum([1, dim, dim, len(first)]),
    )
    # Where there is no density nothing is known of the curvature.
    at = np.where(np.isfinite(at), at, 0.0)
    ahead, behind, up, down = (np.where(np.isfinite(v), v, at) for v in values)
    hessian = np.diag(ahead - 2.0 * at + behind)
    mixed = (up + down - ahead[first] - behind[first] - ahead[second] - behind[second] + 2.0 * at) / 2.0
    hessian[first, second] = hessian[second, first] = mixed
    back = np.linalg.inv(moves)
    curvature, vectors = np.linalg.eigh(-back.T @ hessian @ back)
    return (vectors / np.maximum(curvature, 0.5)) @ vectors.T

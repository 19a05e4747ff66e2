"""What the points of a new run say, given each draw of the fleet: their density, and the run's own parameters.

Given a draw everything is Gaussian but for one number t and a height R (see `newrun`). The Gaussian part integrates out
in closed form. What is left in R is exp(b R - a R^2 / 2) times a log-normal density, integrated by Gauss-Hermite around
its mode; and t is summed over equidistant points, which for a density as smooth as this one converges faster than any
power of their distance. They are laid where the density is, whatever the prior expected, by zooming in.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from goldpeak.curves import Include, card_of, sines_of
from goldpeak.engines.gaussian import invert_lower
from goldpeak.engines.log_normal import draw_log_normal, draw_on_grid, log_normal_integral
from goldpeak.engines.threads import in_threads, one_thread_each
from goldpeak.measurement import Measurement, measure
from goldpeak.names import RUN
from goldpeak.newrun import Known, NewRun, new_runs
from goldpeak.peaks import refuse_basis_short_of

__all__ = ["Conditioned", "condition", "known_of", "log_mean_density", "log_predictive"]

Array = NDArray[np.float64]
Rows = NDArray[np.int64]

NODES = 17
"""Points of the sum over t."""
START = 6.2
"""Prior sds to each side of the prior's mean that the first points span."""
REACH = 18.0
"""Nats below its highest at which a density is negligible."""
ENOUGH = 10
"""Points that must lie where it is not: then they are 1.3 sds apart at most, and the sum is exact to 1e-5."""
ZOOMS = 12
MANY = 3
"""So many times as many points as columns make the Woodbury identity the faster way."""
CHUNK = 150_000
"""Numbers in the largest array of a step: so small that they stay in the processor's cache, four times as fast."""


def log_predictive(
    post: xr.DataTree, runs: xr.Dataset, *, include: Include = "new_run", seed: int | None = None
) -> xr.DataArray:
    """Log density of the points of new runs given each draw of the fleet, all that is the run's own integrated out.

    Parameters
    ----------
    post : xarray.DataTree
        As returned by `fit`.
    runs : xarray.Dataset
        As returned by `read_runs`; each run counts as a new one with a new reward model, of any size, whatever the
        posterior saw of it.
    include : {"typical", "new_rm", "new_run"}
        What a new run is allowed to differ by, see `curves.new_curves`.
    seed : int, optional
        Seed of slopes beyond the largest observed size; the posterior's own by default.

    Returns
    -------
    xarray.DataArray
        ``log_predictive`` (chain, draw, run): of the run's points jointly, noise included, in the user's units of gold.
        The log of its mean over draws is the run's log predictive density given the fleet.

    Raises
    ------
    FitError
        If the runs do not have what the card's noise needs, lie beyond the KL that the posterior's basis covers, or the
        card's noise is ``student_t``.

    Notes
    -----
    Errors of KL count with the slope of each run's own least squares (see `slopes`).

    Examples
    --------
    >>> import goldpeak
    >>> small, large = goldpeak.split_by_size(goldpeak.datasets.lab("rl"))
    >>> post = goldpeak.fit(small, "rl_paper", draws=100)
    >>> log_predictive(post, large).sizes["run"] == large.sizes["run"]
    True
    """
    refuse_basis_short_of(sines_of(post), float(runs["kl"].max()))
    of_runs = new_runs(post, runs["rm_params"].values, include=include, seed=seed)
    # In the user's units, as the posterior is.
    measurement = measure(runs, card_of(post), 1.0)
    d, gold = np.sqrt(runs["kl"].values), runs["gold"].values
    found = [
        condition(run, d[mine], gold[mine], known_of(measurement, i)).log_density
        for i, (run, mine) in enumerate(zip(of_runs, measurement.members, strict=True))
    ]
    posterior = post["posterior"].to_dataset()
    shape = (posterior.sizes["chain"], posterior.sizes["draw"], len(found))
    return xr.DataArray(
        np.stack(found, axis=-1).reshape(shape),
        dims=("chain", "draw", RUN),
        coords={"chain": posterior["chain"].values, "draw": posterior["draw"].values, RUN: runs[RUN].values},
        name="log_predictive",
    )


def log_mean_density(density: xr.DataArray) -> tuple[Array, Array]:
    """Log of the mean over draws of densities given as logs (chain, draw, run), and its Monte Carlo standard error.

    Examples
    --------
    >>> same = xr.DataArray(np.full((2, 50, 1), -3.0), dims=("chain", "draw", "run"))
    >>> [float(v[0]) for v in log_mean_density(same)]
    [-3.0, 0.0]
    """
    values = density.transpose("chain", "draw", RUN).values.reshape(-1, density.sizes[RUN])
    top = values.max(axis=0)
    relative = np.exp(values - np.where(np.isfinite(top), top, 0.0))
    mean = relative.mean(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.log(mean) + top, relative.std(axis=0) / mean / np.sqrt(len(values))


def known_of(measurement: Measurement, run: int) -> Known:
    """What a measurement knows of one run."""
    mine = measurement.members[run]
    time = None if measurement.time is None else measurement.time[mine]
    if measurement.blocks is None:
        return Known(measurement.se[mine], None, time)
    return Known(measurement.from_kl[mine], measurement.blocks[run], time)


@dataclass(frozen=True)
class Conditioned:
    """A new run given its points and each draw of the fleet.

    Attributes
    ----------
    run : NewRun
    d, gold : ndarray, shape (point,)
    log_density : ndarray, shape (draw,)
        Of the points given the draw.
    t, shares : ndarray, shape (draw, node), or None
        Points of t, and the log density of each together with the data.
    """

    run: NewRun
    d: Array
    gold: Array
    known: Known
    log_density: Array
    t: Array | None
    shares: Array | None

    def draw_bent(self, rows: Rows, rng: np.random.Generator) -> tuple[Array, Array]:
        """t and log R of the draws `rows`, which may repeat, given the points; shape (len(rows),) each."""
        assert self.t is not None
        assert self.shares is not None
        run = self.run.take(rows)
        assert run.bent
        t = draw_on_grid(self.t[rows], self.shares[rows], rng)
        if not run.bent.has_height:
            return t, np.zeros(len(t))
        prior = run.bent.prior
        a, b, _ = _Whitened.of(run, self.d, self.gold, self.known).heights(t[:, None])
        return t, draw_log_normal(a[:, 0], b[:, 0], prior.middle(t), prior.sd_gold, rng)


def condition(run: NewRun, d: Array, gold: Array, known: Known) -> Conditioned:
    """A new run given points of it: d (square-root nats) and gold, shape (point,) each."""
    points = max(len(d), 1)
    columns = run.linear.mean.shape[1]
    few = not known.independent or points <= MANY * max(columns, 1)
    width = points * max(points if few else 1, columns, NODES if run.bent else 1)
    step = max(CHUNK // width, 1)
    rows = [slice(i, i + step) for i in range(0, run.draws, step)]
    with one_thread_each():
        parts = in_threads(lambda part: _integrate(run.take(part), d, gold, known), rows)
    log_density, *bent = ([v for v in values if v is not None] for values in zip(*parts, strict=True))
    t, shares = (np.concatenate(values) if values else None for values in bent)
    return Conditioned(run, d, gold, known, np.concatenate(log_density), t, shares)


def _integrate(run: NewRun, d: Array, gold: Array, known: Known) -> tuple[Array, Array | None, Array | None]:
    white = _Whitened.of(run, d, gold, known)
    if run.bent is None:
        return white.constant - 0.5 * white.gold**2 @ white.signs, None, None
    prior = run.bent.prior

    def density(t: Array, rows: Rows) -> Array:
        return white.take(rows).density(t)

    t, shares = _lay_out(density, prior.mean[:, 0], prior.sd_d)
    log_step = np.log(t[:, 1] - t[:, 0])
    return white.constant + np.logaddexp.reduce(shares, axis=1) + log_step, t, shares


@dataclass(frozen=True)
class _Whitened:
    """Points of a run turned so that the inverse of their covariance is diagonal; linear coefficients count as noise.

    For few points the inverse is root^T root with root = L^-1, L L^T the covariance. For many with independent noise
    it is diag(scale)^2 - root^T root, the Woodbury identity, root having a row for each linear coefficient.

    Attributes
    ----------
    root : ndarray, shape (draw, row, point)
    scale : ndarray, shape (draw, point), or None
    gold : ndarray, shape (draw, turned)
        Less the linear part's mean, turned.
    constant : ndarray, shape (draw,)
        Of the log density.
    """

    run: NewRun
    d: Array
    root: Array
    scale: Array | None
    gold: Array
    constant: Array

    @classmethod
    def of(cls, run: NewRun, d: Array, gold: Array, known: Known) -> _Whitened:
        linear = run.linear
        z = linear.columns(d)
        scaled = z * linear.sd[:, None, :]
        if known.independent and len(d) > MANY * max(scaled.shape[-1], 1):
            root, scale, half_log = _low_rank(scaled, run, d, known)
        else:
            lower = np.linalg.cholesky(run.noise.covariance(known, d) + scaled @ scaled.swapaxes(-1, -2))
            root, scale, half_log = invert_lower(lower), None, _log_diagonal(lower)
        constant = -0.5 * len(d) * np.log(2.0 * np.pi) - half_log
        residual = gold - (z @ linear.mean[..., None])[..., 0]
        return cls(run, d, root, scale, _turn(root, scale, residual[:, None])[:, 0], constant)

    @property
    def signs(self) -> Array:
        """Of what is turned: the sum of their products with its squares is the quadratic form."""
        rows = self.root.shape[1]
        return np.ones(rows) if self.scale is None else np.r_[np.ones(len(self.d)), -np.ones(rows)]

    def take(self, rows: Rows) -> _Whitened:
        """Some of the draws."""
        if len(rows) == len(self.gold):
            return self
        scale = None if self.scale is None else self.scale[rows]
        return replace(
            self,
            run=self.run.take(rows),
            root=self.root[rows],
            scale=scale,
            gold=self.gold[rows],
            constant=self.constant[rows],
        )

    def heights(self, t: Array) -> tuple[Array, Array, Array]:
        """a, b and s of exp(b R - a R^2 / 2 - s / 2), the density given t (draw, node) and R."""
        assert self.run.bent
        offset, curve = self.run.bent.parts(t, self.d)
        rest = self.gold[:, None]
        if offset is not None:
            rest = rest - _turn(self.root, self.scale, offset)
        square = rest**2 @ self.signs
        if curve is None:
            return np.zeros_like(square), np.zeros_like(square), square
        turned = _turn(self.root, self.scale, curve)
        return turned**2 @ self.signs, (turned * rest) @ self.signs, square

    def density(self, t: Array) -> Array:
        """Log density of the points and of t (draw, node), R integrated out, but for the constant."""
        bent = self.run.bent
        assert bent
        prior = bent.prior
        a, b, square = self.heights(t)
        away = t - prior.mean[:, :1]
        found = -0.5 * square - 0.5 * (away / prior.sd_d[:, None]) ** 2
        found -= np.log(prior.sd_d[:, None] * np.sqrt(2.0 * np.pi))
        if bent.has_height:
            found += log_normal_integral(a, b, prior.middle(t), prior.sd_gold[:, None])
        return found


def _turn(root: Array, scale: Array | None, values: Array) -> Array:
    """Values at the points (draw, k, point), turned: (draw, k, turned)."""
    turned = values @ root.swapaxes(-1, -2)
    return turned if scale is None else np.concatenate([values * scale[:, None], turned], axis=-1)


def _log_diagonal(lower: Array) -> Array:
    return np.asarray(np.sum(np.log(np.diagonal(lower, axis1=-2, axis2=-1)), axis=-1))


def _low_rank(scaled: Array, run: NewRun, d: Array, known: Known) -> tuple[Array, Array, Array]:
    """Root, scale and half the log determinant of V + S S^T, S (draw, point, column) and V diagonal."""
    variance = run.noise.variances(known)
    if "offset_sd" in run.noise.h:
        scaled = np.concatenate([scaled, run.noise.h["offset_sd"][:, None, None] * (d > 0)[:, None]], axis=-1)
    weighted = scaled.swapaxes(-1, -2) / variance[:, None]
    lower = np.linalg.cholesky(weighted @ scaled + np.eye(scaled.shape[-1]))
    half_log = 0.5 * np.sum(np.log(variance), axis=1) + _log_diagonal(lower)
    return invert_lower(lower) @ weighted, variance**-0.5, half_log


def _lay_out(density: Callable[[Array, Rows], Array], mean: Array, sd: Array) -> tuple[Array, Array]:
    """Equidistant points of t (draw, node) over where a density is, and its logs there."""
    share = np.linspace(0.0, 1.0, NODES)
    low, high = mean - START * sd, mean + START * sd
    t = low[:, None] + (high - low)[:, None] * share
    found = density(t, np.arange(len(t)))
    rows = np.arange(len(t))
    for _ in range(ZOOMS):
        alive = found[rows] > found[rows].max(axis=1, keepdims=True) - REACH
        first, last = np.argmax(alive, axis=1), NODES - 1 - np.argmax(alive[:, ::-1], axis=1)
        cut_below, cut_above = first == 0, last == NODES - 1
        again = cut_below | cut_above | (last - first + 1 < ENOUGH)
        rows, first, last, cut_below, cut_above = (v[again] for v in (rows, first, last, cut_below, cut_above))
        if not len(rows):
            break
        span, each = t[rows, -1] - t[rows, 0], np.arange(len(rows))
        low = t[rows, np.maximum(first - 1, 0)] - 0.5 * span * cut_below
        high = t[rows, np.minimum(last + 1, NODES - 1)] + 0.5 * span * cut_above
        t[rows] = low[each, None] + (high - low)[each, None] * share
        found[rows] = density(t[rows], rows)
    return t, found

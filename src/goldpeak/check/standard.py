"""A posterior back in the engines' units, and what each run's curve is there, given what runs share.

Given the shared parameters of one draw, a run's gold is normal once its curve is linearised in its two coefficients (on
their links' scale) around the run's posterior mean: exactly so for cards with identity links, and to first order for
the others.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from goldpeak.conditioning import known_of
from goldpeak.curves import card_of
from goldpeak.design import Design, make_design
from goldpeak.engines.propagated import propagate
from goldpeak.engines.scatter import level_covariance
from goldpeak.errors import FitError, RunsWarning
from goldpeak.mixture import named_components, weights_of
from goldpeak.newrun import Known, NoiseDraws
from goldpeak.noise import FLOOR
from goldpeak.shapes import shape_at, shape_slope
from goldpeak.store import stored_runs
from goldpeak.units import to_gold_units

__all__ = ["RunGivenRest", "by_card", "given_rest", "in_standard_units", "root", "trend_at"]

Array = NDArray[np.float64]
Flat = dict[str, Array]


def by_card(post: xr.DataTree) -> dict[str, tuple[float, xr.DataTree]]:
    """Weight and posterior of each card, of those that have weight; an ordinary posterior is of one.

    Raises
    ------
    FitError
        If it is no posterior.
    """
    if "posterior" not in post.children:
        raise FitError("this is no posterior; allowed: what fit, combine or load returned")
    both = zip(weights_of(post).items(), named_components(post).values(), strict=True)
    return {name: (weight, each) for (name, weight), each in both if weight > 0}


def in_standard_units(post: xr.DataTree, draws: int | None = None) -> tuple[Design, Flat]:
    """The design of a posterior of one card, and its variables as (draw, ...), evenly thinned to so many draws."""
    card = card_of(post)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RunsWarning)
        design = propagate(make_design(stored_runs(post), card, kl_max=float(post.attrs["kl_max"])))
    plain = to_gold_units(post["posterior"].to_dataset(), replace(design, scale=1.0 / design.scale))
    total = plain.sizes["chain"] * plain.sizes["draw"]
    keep = np.linspace(0, total - 1, min(draws or total, total)).round().astype(np.int64)
    flat = {}
    for name in map(str, plain.data_vars):
        rest = [dim for dim in plain[name].dims if dim not in ("chain", "draw")]
        values = plain[name].transpose("chain", "draw", *rest).values
        flat[name] = values.reshape(total, *values.shape[2:])[keep]
    return design, flat


def root(covariance: Array) -> Array:
    """A matrix whose product with its transpose is a covariance that may be singular, (..., k, k)."""
    values, vectors = np.linalg.eigh(covariance)
    return np.asarray(vectors * np.sqrt(np.maximum(values, 0.0))[..., None, :])


def trend_at(design: Design, flat: Flat, run: int) -> Array:
    """What the trend says of a run's coefficients, (draw, 2), on their links' scales."""
    return np.stack([flat[f"{name}_coef"] @ c.columns[run] for name, c in design.coefficients.items()], axis=-1)


@dataclass(frozen=True)
class RunGivenRest:
    """One run, given draws of what it shares with others.

    Attributes
    ----------
    run : int
    d, y : ndarray, shape (n,)
        Its points, by ascending KL.
    known : Known
        What is known of their noise.
    mean : ndarray, shape (draw, 2)
        Of its coefficients on their links' scale: the trend, and its RM's deviation where other runs say it.
    spread : ndarray, shape (draw, 2, 2)
        Root of their covariance.
    own : ndarray, shape (draw, k)
        Sds of the columns `columns`, what else is the run's own: sines and the offset.
    columns : ndarray, shape (n, k)
    """

    design: Design
    flat: Flat
    run: int
    d: Array
    y: Array
    known: Known
    mean: Array
    spread: Array
    own: Array
    columns: Array

    def curve(self, theta: Array, rows: NDArray[np.int64]) -> Array:
        """Gold without what `columns` hold, (len(rows), n), for coefficients (len(rows), 2) on their links' scale."""
        return self._both(theta, rows)[0]

    def slopes(self, theta: Array, rows: NDArray[np.int64]) -> Array:
        """Its derivatives in the coefficients, (len(rows), n, 2)."""
        return self._both(theta, rows)[1]

    def _both(self, theta: Array, rows: NDArray[np.int64]) -> tuple[Array, Array]:
        design, flat = self.design, self.flat
        gamma = self._gamma(rows)[:, None]
        if design.shape is None:
            phi = design.form.basis(self.d, gamma)
            logged = np.array([c.spec.link == "log" for c in design.coefficients.values()])
            value = np.where(logged, np.exp(np.where(logged, theta, 0.0)), theta)
            gold = np.einsum("snk,sk->sn", phi, value) + self.shared(rows, theta)
            return gold, phi * np.where(logged, value, 1.0)[:, None]
        u, height = self.d * np.exp(-theta[:, :1]), np.exp(theta[:, 1:])
        gold = height * shape_at(u, gamma) + self.shared(rows, theta)
        slope = shape_slope(np.where(u > 0, u, 1.0), gamma)
        if design.shape.sines:
            slope = slope + np.einsum("snk,sk->sn", design.shape.slopes(u), flat["delta_shape"][rows])
        by_log_d = -height * u * slope
        if "bend" in flat:
            bend = height * flat["bend"][rows, None]
            gold = gold + bend * design.shape.bend(theta[:, :1], u)
            by_log_d = by_log_d + bend * design.shape.bend_slope(theta[:, :1], u)
        return gold, np.stack([by_log_d, gold], axis=-1)

    def _gamma(self, rows: NDArray[np.int64]) -> Array:
        design, flat = self.design, self.flat
        if "gamma" in flat:
            slope = flat["gamma_slope"][rows] if "gamma_slope" in flat else 0.0
            return np.asarray(flat["gamma"][rows] + slope * design.x[self.run])
        return np.full(len(rows), design.shape.gamma if design.shape and design.shape.gamma is not None else 0.0)

    def posterior(self) -> Array:
        """Posterior draws of the coefficients on their links' scale, (draw, 2)."""
        both = [
            np.log(self.flat[name][:, self.run]) if c.spec.link == "log" else self.flat[name][:, self.run]
            for name, c in self.design.coefficients.items()
        ]
        return np.stack(both, axis=-1)

    def shared(self, rows: NDArray[np.int64], theta: Array) -> Array:
        """The part of the curve that is a smooth discrepancy shared by runs, (len(rows), n)."""
        design, flat = self.design, self.flat
        found = np.zeros((len(rows), len(self.d)))
        if design.shape:
            if design.shape.sines:
                u = self.d * np.exp(-theta[:, :1])
                columns = design.shape.columns(u)
                found = np.exp(theta[:, 1:]) * np.einsum("snk,sk->sn", columns, flat["delta_shape"][rows])
        elif design.sines:
            for name, weight in (("delta_shared", 1.0), ("delta_trend", design.x[self.run])):
                if name in flat:
                    found += weight * flat[name][rows] @ design.sines.columns(self.d).T
        return found

    def fitted(self) -> Array:
        """The run's whole curve at every draw, offset included, (draw, n)."""
        rows = np.arange(len(self.mean))
        found = self.curve(self.posterior(), rows)
        if self.design.sines:
            found = found + self.smooth_own()
        if "offset" in self.flat:
            found = found + self.flat["offset"][:, [self.run]] * (self.d > 0)
        return found

    def smooth_own(self) -> Array:
        """The run's own smooth part at every draw, (draw, n)."""
        design = self.design
        if design.sines is None:
            return np.zeros((len(self.mean), len(self.d)))
        whole = self.flat["delta"][:, self.run] @ design.sines.columns(self.d).T
        return whole if design.shape else whole - self.shared(np.arange(len(self.mean)), self.mean)

    def noise_root(self, rows: NDArray[np.int64]) -> Array:
        """Lower triangular root of the noise's covariance, (len(rows), n, n), or its diagonal (len(rows), n)."""
        names = ("sigma", "nugget", "noise_lengthscale")
        draws = NoiseDraws({name: self.flat[name] for name in names if name in self.flat}, FLOOR).take(rows)
        if self.known.independent:
            return np.sqrt(draws.variances(self.known))
        return np.linalg.cholesky(draws.covariance(self.known, self.d))


def given_rest(design: Design, flat: Flat, run: int) -> RunGivenRest:
    """What a run is given the rest: its coefficients scatter about the trend, or about its RM's where others say it."""
    points = design.measurement.members[run]
    order = np.argsort(design.d[points], kind="stable")
    points = points[order]
    rm = design.rm_index[run]
    alone = np.count_nonzero(design.rm_index == rm) == 1
    trend = trend_at(design, flat, run)
    covariance = level_covariance(design, flat, "run")
    if alone:
        covariance = covariance + level_covariance(design, flat, "rm")
    else:
        for i, name in enumerate(design.coefficients):
            if f"{name}_rm" in flat:
                trend[:, i] += flat[f"{name}_rm"][:, rm]
    d = design.d[points]
    parts, sds = [np.empty((len(d), 0))], [np.empty((len(trend), 0))]
    if design.sines and "eta_run" in flat:
        parts.append(design.sines.columns(d))
        sds.append(flat["eta_run"][:, None] * np.sqrt(design.sines.variances(flat[design.run_lengthscale])))
    if design.has_offset:
        parts.append((d > 0).astype(float)[:, None])
        sds.append(flat["offset_sd"][:, None])
    return RunGivenRest(
        design,
        flat,
        run,
        d,
        design.y[points],
        known_of(design.measurement, run).take(order),
        trend,
        root(covariance),
        np.concatenate(sds, axis=1),
        np.concatenate(parts, axis=1),
    )

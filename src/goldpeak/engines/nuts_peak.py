"""The reference model in peak coordinates: every run's stretches of one shape are parameters.

Each run's own smooth part is integrated out of its likelihood and drawn afterwards; where reward models have one run
each, so is the split of a deviation into the RM's part and the run's.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pymc as pm
import pytensor.tensor as pt
import xarray as xr
from numpy.typing import NDArray

from goldpeak.design import Design
from goldpeak.discrepancy import matern52_density
from goldpeak.engines.columns import Points
from goldpeak.engines.linearised import FLOOR, linearise, start
from goldpeak.engines.padding import pad
from goldpeak.engines.scatter import share_of_rm
from goldpeak.engines.stretches import LEAST_SD, Whitened, stretched_gold
from goldpeak.engines.tensors import box_cox, trend_sd, weigh
from goldpeak.noise import variance
from goldpeak.shapes import Shape, window

__all__ = ["stretched_curves", "stretches_are_centred", "with_own_parts"]

Array = NDArray[np.float64]
FEW = 8
"""Runs beyond the trend's terms that it takes to know how they scatter."""


def stretched_curves(design: Design, outer: dict[str, Any]) -> None:
    """Add everything but the outer parameters to the model in whose context this is called."""
    shape = design.shape
    assert shape
    trend = [_trend(name, design, outer) for name in design.coefficients]
    log_d, log_gold = _stretches(design, outer, trend)
    pm.Deterministic("d_star", pt.exp(log_d), dims="run")
    pm.Deterministic("gold_star", pt.exp(log_gold), dims="run")
    gamma = _gamma(design, shape)
    prior = design.card.form.bend
    bend = pm.Normal("bend", prior.mu, prior.sigma) if prior else pt.as_tensor(0.0)
    coefficients = None
    if shape.sines:
        raw = pm.Normal("delta_shape_raw", dims="shape_sine")
        root = outer["eta_shared"] * pt.sqrt(matern52_density(shape.sines.frequencies, outer["lengthscale"]))
        coefficients = pm.Deterministic("delta_shape", root * raw, dims="shape_sine")
    given = [v for v in (log_d, log_gold, gamma, bend, coefficients, *outer.values()) if v is not None]
    has_shape = coefficients is not None
    core = ",".join(["(run)", "(run)", "(run)", "()", *(["(sine)"] if has_shape else []), *("()" for _ in outer)])

    def logp(*values: Any) -> Any:
        # Gold and d come in as constants: the density is that of all points together.
        log_d, log_gold, gamma, bend, *rest = values[2:]
        h = dict(zip(outer, rest[has_shape:], strict=True))
        return _log_density(design, log_d, log_gold, gamma, bend, rest[0] if has_shape else None, h)

    pm.CustomDist("gold", design.d, *given, logp=logp, signature=f"(point),{core}->(point)", observed=design.y)


def _trend(name: str, design: Design, outer: dict[str, Any]) -> Any:
    """Trend of a coefficient's log at every run."""
    c = design.coefficients[name]
    return c.columns @ pm.Normal(f"{name}_coef", c.mean, trend_sd(name, c, outer), dims=f"{name}_term")


def _stretches(design: Design, outer: dict[str, Any], trend: list[Any]) -> tuple[Any, Any]:
    """Log d* and log R* of every run, centred on the trend and, where RMs are shared, the RM's deviation."""
    levels = [("rm", "run")] if design.alone else [("run",)]
    if not design.alone and any(f"{name}_sd_rm" in outer for name in design.coefficients):
        raw = [pm.Normal(f"{name}_rm_raw", dims="rm") for name in design.coefficients]
        sd_d, lean, sd_gold = _root(design, outer, ("rm",))
        deviations = raw[0] * sd_d, raw[0] * lean * sd_d + raw[1] * sd_gold
        for i, name in enumerate(design.coefficients):
            deviation = deviations[i]
            if f"{name}_sd_rm" in outer:
                deviation = pm.Deterministic(f"{name}_rm", deviation, dims="rm")
            trend = [t + deviation[design.rm_index] if j == i else t for j, t in enumerate(trend)]
    sd_d, lean, sd_gold = _root(design, outer, levels[0])
    if stretches_are_centred(design):
        log_d = pm.Normal("log_d_star_raw", trend[0], sd_d, dims="run")
        return log_d, pm.Normal("log_gold_star_raw", trend[1] + lean * (log_d - trend[0]), sd_gold, dims="run")
    off_d = sd_d * pm.Normal("log_d_star_raw", dims="run")
    return trend[0] + off_d, trend[1] + lean * off_d + sd_gold * pm.Normal("log_gold_star_raw", dims="run")


def stretches_are_centred(design: Design) -> bool:
    """Whether enough runs measure the place of their peak better than they scatter about the trend.

    Then centred stretches mix well; else, and where few runs leave the scatter itself open, others do.
    """
    at = start(design)
    columns = design.coefficients["d_star"].columns
    spare = len(at.log_d) - columns.shape[1]
    if spare < FEW:
        return False
    scatter = at.log_d - columns @ np.linalg.lstsq(columns, at.log_d, rcond=None)[0]
    linear = linearise(design, at)
    errors = []
    for r in range(len(design.run)):
        mine = design.run_index == r
        x = linear.matrix[mine, :2] / np.sqrt(design.se[mine] ** 2 + FLOOR)[:, None]
        errors.append(np.sqrt(np.linalg.pinv(x.T @ x)[0, 0]))
    return bool(np.median(errors) < 0.5 * np.sqrt(np.sum(scatter**2) / spare))


def _root(design: Design, outer: dict[str, Any], levels: tuple[str, ...]) -> tuple[Any, Any, Any]:
    """Of the deviations on some levels: sd of log d*, regression of log R* on it, and what it leaves of the latter."""
    names = list(design.coefficients)
    sds = [[outer.get(f"{name}_sd_{level}", 0.0) for name in names] for level in levels]
    var_d, var_gold = (sum(pair[i] ** 2 for pair in sds) + LEAST_SD**2 for i in (0, 1))
    lean = outer.get("correlation", 0.0) * sum(a * b for a, b in sds) / var_d
    return pt.sqrt(var_d), lean, pt.sqrt(var_gold - lean**2 * var_d)


def _gamma(design: Design, shape: Shape) -> Any:
    """Gamma of every run."""
    if shape.gamma is not None:
        return pt.as_tensor(np.full(len(design.run), shape.gamma))
    form = design.card.form
    assert form.gamma
    gamma = pm.TruncatedNormal("gamma", form.gamma.mu, form.gamma.sigma, lower=-1.0)
    if form.gamma_slope is None:
        return gamma * np.ones(len(design.run))
    return gamma + pm.Normal("gamma_slope", form.gamma_slope.mu, form.gamma_slope.sigma) * design.x


def _log_density(
    design: Design, log_d: Any, log_gold: Any, gamma: Any, bend: Any, coefficients: Any, h: dict[str, Any]
) -> Any:
    """Log density of all points, each run's own smooth part integrated out by the Woodbury identity."""
    assert design.shape
    count = len(design.run)
    known = design.measurement
    d, y, se, here = pad(design.run_index, count, design.d, design.y, known.independent_se, np.ones(len(design.d)))
    turn = known.turn.padded() if known.turn else None
    u = np.where(here > 0, d, 1.0) * pt.exp(-log_d)[:, None]
    curve = _shape_curve(design.shape, u, gamma[:, None], coefficients)
    curve = curve + bend * design.shape.bend(log_d[:, None], u)
    noise = variance(se, h["sigma"])
    residual = (y - pt.exp(log_gold)[:, None] * curve) * here
    if turn is not None:
        residual = (residual[:, None, :] @ turn)[:, 0]
    misfit = (residual**2 / noise).sum()
    log_v = (here * pt.log(noise)).sum()
    if design.sines:
        spread = h["eta_run"] * pt.sqrt(matern52_density(design.sines.frequencies, h[design.run_lengthscale]))
        columns = design.sines.columns(d) * here[..., None]
        columns = columns if turn is None else np.swapaxes(turn, -1, -2) @ columns
        pull = spread * ((residual / noise)[:, None, :] @ columns)[:, 0]
        fixed = Points.of(design).fixed
        gram = weigh(fixed.gram[:, :, 2:-1, 2:-1], variance(fixed.se, h["sigma"]))
        precision = spread[:, None] * gram * spread + np.eye(design.sines.count)
        factor = pt.linalg.cholesky(precision, on_error="nan")
        white = pt.linalg.solve_triangular(factor, pull, lower=True, b_ndim=1)
        misfit = misfit - (white**2).sum()
        log_v = log_v + 2.0 * pt.log(pt.diagonal(factor, axis1=-2, axis2=-1)).sum()
    return -0.5 * (len(design.y) * np.log(2.0 * np.pi) + log_v + misfit)


def _shape_curve(shape: Shape, u: Any, gamma: Any, coefficients: Any) -> Any:
    """The shared shape at u, see `shapes`."""
    curve = u * (1.0 - box_cox(pt.log(u), gamma))
    if coefficients is None:
        return curve
    assert shape.sines
    inside = pt.lt(u, shape.sines.length)
    safe = pt.where(inside, u, 1.0)
    sines = np.sqrt(2.0 / shape.sines.length) * pt.sin(safe[..., None] * shape.sines.frequencies)
    return curve + window(safe) * inside * (sines @ coefficients)


def with_own_parts(design: Design, posterior: xr.Dataset, seed: int) -> xr.Dataset:
    """Draw what was integrated out, given each draw of the rest."""
    rng = np.random.default_rng([seed, 2])
    chains, draws = posterior.sizes["chain"], posterior.sizes["draw"]
    flat = {
        str(n): v.transpose("chain", "draw", ...).values.reshape(chains * draws, *v.shape[2:])
        for n, v in posterior.items()
    }
    h = {name: flat[name] for name in design.outer}
    found: dict[str, tuple[tuple[str, ...], Array]] = {}
    if design.alone:
        trend = [flat[f"{name}_coef"] @ c.columns.T for name, c in design.coefficients.items()]
        off = np.stack([np.log(flat[name]) - t for name, t in zip(design.coefficients, trend, strict=True)], axis=-1)
        v = np.empty_like(off)
        v[:, design.rm_index] = share_of_rm(design, h, off, np.arange(len(off)), rng)
        for i, name in enumerate(design.coefficients):
            if f"{name}_sd_rm" in h:
                found[f"{name}_rm"] = ("rm",), v[..., i]
    if design.sines:
        own = np.stack([_own_part(design, r, flat, h, rng) for r in range(len(design.run))], axis=1)
        found["delta"] = ("run", "sine"), own
    return posterior.assign(
        {n: (("chain", "draw", *dims), x.reshape(chains, draws, *x.shape[1:])) for n, (dims, x) in found.items()}
    ).assign_coords({dim: c for dim, c in design.coords.items() if any(dim in dims for dims, _ in found.values())})


def _own_part(design: Design, run: int, flat: dict[str, Array], h: dict[str, Array], rng: np.random.Generator) -> Array:
    residual = design.y[design.run_index == run] - stretched_gold(design, run, flat)
    residual = design.measurement.independent_of_run(run, residual)
    return Whitened.of(design, run, h).draw_smooth(residual, rng)

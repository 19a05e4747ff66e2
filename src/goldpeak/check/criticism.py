"""Criticism of a fit: runs unlike what the others predict, structure left in residuals, RMs far off the trend.

Every probability here is one under the fitted model:

- ``p_loo``: a run's points, taken together, against what the *other* runs predict for it (LOO-PIT, jointly per run).
  The other runs' posterior is this one reweighted by 1 / p(run | what runs share), the run's own parameters integrated
  out, with Pareto-smoothed weights. The statistic is the Mahalanobis distance in the predictive distribution.
- the others are pivots: at a draw from the posterior, whitened residuals are independent standard normals, and so are
  the standardised deviations from the trend, whatever the model's parameters are (Johnson 2007,
  doi:10.1214/07-BA217). Each draw gives an exact p-value; the draws' are brought together by the Cauchy combination
  (Liu & Xie 2020, doi:10.1080/01621459.2018.1554485), whose small values are honest; large ones say nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from goldpeak.check.standard import RunGivenRest, given_rest, in_standard_units, root, trend_at
from goldpeak.design import Design
from goldpeak.engines.importance import finish, resample
from goldpeak.engines.scatter import level_covariance
from goldpeak.errors import FitError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Criticism", "Finding", "criticise"]

Array = NDArray[np.float64]

LEVEL = 0.05
"""Chance that anything of one kind is found in a fit of the right model."""
WAVES = 5
"""Residuals are compared with so many slow waves along KL, a constant included."""
LARGE_SHARE = 0.5
"""Share of a curve from which on the discrepancy is worth a word."""
CHUNK = 50
"""Draws whose covariances are factored at once."""


@dataclass(frozen=True)
class Finding:
    """Something that does not fit, and what to do about it."""

    what: str
    do: str


@dataclass(frozen=True)
class Criticism:
    """What speaks against a fit.

    Attributes
    ----------
    table : pandas.DataFrame
        One row for each run: ``p_loo``, ``p_trend`` (slow waves in residuals along KL), ``p_noise`` (size of residuals,
        two-sided) and ``residual_ratio`` (their root mean square over what the noise allows), ``p_off_trend`` (the
        run's coefficients about the trend in size), ``share_shared`` and ``share_own`` (root mean square of the two
        smooth parts over that of the curve, at the run's points; medians), ``pareto_k`` of the weights of ``p_loo``.
    p_common : float
        Slow waves that the runs have in common: what the model misses in all of them.
    findings : tuple of Finding
        Each kind of probability is held to `LEVEL` over all runs together (Bonferroni). A smooth part larger than
        half of the curves is a finding too.

    Examples
    --------
    >>> import goldpeak
    >>> found = goldpeak.criticise(goldpeak.fit(goldpeak.datasets.lab("rl"), "rl_paper", draws=200))
    >>> "have a pattern along KL" in found.findings[0].what
    True
    """

    table: pd.DataFrame
    p_common: float
    findings: tuple[Finding, ...]

    @property
    def recommendation(self) -> str:
        """What to do, in one sentence or more."""
        if not self.findings:
            return "Nothing speaks against this fit."
        return " ".join(dict.fromkeys(f"{found.do[0].upper()}{found.do[1:]}." for found in self.findings))


def criticise(post: xr.DataTree, *, draws: int = 400, seed: int = 0) -> Criticism:
    """Look for what speaks against a fit.

    Parameters
    ----------
    post : xarray.DataTree
        As returned by `fit`.
    draws : int
        Posterior draws that are looked at.
    seed : int
        Of the predictive draws.

    Returns
    -------
    Criticism

    Raises
    ------
    FitError
        If it is not the posterior of one card.

    Notes
    -----
    Cards with log links or in peak coordinates are linearised in a run's two coefficients for the weights of ``p_loo``,
    not for its predictive draws. Of noise ``student_t`` the weights take the normal distribution of its scale.

    Examples
    --------
    >>> import goldpeak
    >>> few, _ = goldpeak.split_by_size(goldpeak.datasets.lab("rl"))
    >>> found = goldpeak.criticise(goldpeak.fit(few, "rl_paper", draws=200), draws=100)
    >>> found.table.columns[:2].tolist(), "rl" in found.recommendation
    (['p_loo', 'p_trend'], True)
    """
    import pandas as pd

    if draws < 2:
        raise FitError(f"draws is {draws!r}; allowed: a whole number >= 2")
    design, flat = in_standard_units(post, draws)
    rng = np.random.default_rng([seed, 3])
    rows, waves = [], []
    for run in range(len(design.run)):
        one = given_rest(design, flat, run)
        p_loo, khat = _joint_loo(one, rng)
        whitened = _whiten(one, one.y - one.fitted())
        slow = whitened @ _waves(len(one.d)).T
        waves.append(slow)
        row = {"rm_params": float(design.n0 * np.exp(design.x[run])), "p_loo": p_loo}
        rows.append(row | _pivots(one, whitened, slow) | _shares(one) | {"pareto_k": khat})
    table = pd.DataFrame(rows, index=pd.Index(design.run, name="run"))
    columns = ["p_loo", "p_trend", "p_noise", "residual_ratio", "p_off_trend", "share_shared", "share_own", "pareto_k"]
    table = table[[*columns, "rm_params"]]
    p_common = _common(waves)
    return Criticism(table, p_common, tuple(_findings(design, table, p_common)))


def _joint_loo(one: RunGivenRest, rng: np.random.Generator) -> tuple[float, float]:
    """P-value of all points of a run given the other runs, and Pareto k of its weights."""
    found = finish(np.empty((len(one.mean), 0)), -_log_density(one))
    count = 2 * max(400, 4 * len(one.d))
    chosen = resample(found.weights, count, rng)
    curves, noisy, noise = _predictive(one, chosen, rng)
    half = count // 2
    centre = curves[:half].mean(axis=0)
    covariance = np.cov(curves[:half].T) + noise
    factor = np.linalg.cholesky(np.atleast_2d(covariance))
    off = np.column_stack([one.y, noisy[half:].T]) - centre[:, None]
    distance = np.sum(np.linalg.solve(factor, off) ** 2, axis=0)
    return float((1.0 + np.sum(distance[1:] >= distance[0])) / (half + 1.0)), found.khat


def _predictive(one: RunGivenRest, rows: NDArray[np.int64], rng: np.random.Generator) -> tuple[Array, Array, Array]:
    """Curves of a new run in place of this one, the same with noise, (draw, n), and the noise's mean covariance."""
    theta = one.mean[rows] + np.einsum("sij,sj->si", one.spread[rows], rng.standard_normal((len(rows), 2)))
    own = (one.own[rows] * rng.standard_normal((len(rows), one.own.shape[1]))) @ one.columns.T
    curves = one.curve(theta, rows) + own
    white, heavy = rng.standard_normal(curves.shape), np.ones(1)
    if one.design.card.noise.kind == "student_t":
        nu = np.broadcast_to(one.design.card.noise.degrees(one.flat), len(one.mean))[rows][:, None]
        heavy = np.sqrt(nu / rng.chisquare(np.broadcast_to(nu, curves.shape)))
    factor = one.noise_root(rows)
    if factor.ndim == 2:
        return curves, curves + heavy * factor * white, np.diag(np.mean(factor**2, axis=0))
    noise = np.einsum("sij,sj->si", factor, white)
    return curves, curves + noise, np.einsum("sij,skj->ik", factor, factor) / len(rows)


def _log_density(one: RunGivenRest) -> Array:
    """Log density of a run's points given what it shares with others, (draw,), its own parameters integrated out."""
    at = one.posterior().mean(axis=0)
    found = np.empty(len(one.mean))
    for start in range(0, len(found), CHUNK):
        rows = np.arange(start, min(start + CHUNK, len(found)))
        theta = np.broadcast_to(at, (len(rows), 2))
        slopes = one.slopes(theta, rows)
        residual = one.y - one.curve(theta, rows) - np.einsum("snk,sk->sn", slopes, one.mean[rows] - at)
        columns = np.concatenate([slopes @ one.spread[rows], one.columns * one.own[rows][:, None]], axis=-1)
        factor = one.noise_root(rows)
        both = np.concatenate([columns, residual[..., None]], axis=-1)
        if factor.ndim == 2:
            white, log_det = both / factor[..., None], np.log(factor).sum(axis=1)
        else:
            white = np.linalg.solve(factor, both)
            log_det = np.log(np.einsum("sii->si", factor)).sum(axis=1)
        u, e = white[..., :-1], white[..., -1]
        inner = np.eye(u.shape[-1]) + u.swapaxes(-1, -2) @ u
        lower = np.linalg.cholesky(inner)
        taken = np.linalg.solve(lower, (u.swapaxes(-1, -2) @ e[..., None]))[..., 0]
        log_det += np.log(np.einsum("sii->si", lower)).sum(axis=1)
        found[rows] = -log_det - 0.5 * (np.sum(e**2, axis=1) - np.sum(taken**2, axis=1))
    return found


def _whiten(one: RunGivenRest, residual: Array) -> Array:
    """Residuals (draw, n) as independent standard normals, in the order of KL."""
    rows = np.arange(len(residual))
    factor = one.noise_root(rows)
    if factor.ndim == 3:
        return np.asarray(np.linalg.solve(factor, residual[..., None])[..., 0])
    white = residual / factor
    if one.design.card.noise.kind == "student_t":
        from scipy.special import ndtri, stdtr

        nu = np.broadcast_to(one.design.card.noise.degrees(one.flat), len(residual))[:, None]
        tail = np.maximum(stdtr(nu, -np.abs(white)), 1e-300)
        return np.asarray(-np.sign(white) * ndtri(tail))
    return white


def _waves(n: int) -> Array:
    """Orthonormal slow waves over n points, (WAVES or n, n): a constant, and cosines."""
    k = np.arange(min(WAVES, n))[:, None]
    found = np.cos(np.pi * k * (np.arange(n) + 0.5) / n)
    return np.asarray(found / np.linalg.norm(found, axis=1, keepdims=True))


def _pivots(one: RunGivenRest, whitened: Array, slow: Array) -> dict[str, float]:
    from scipy.special import chdtr, chdtrc

    n = whitened.shape[1]
    size = np.sum(whitened**2, axis=1)
    two_sided = 2.0 * np.minimum(chdtrc(n, size), chdtr(n, size))
    return {
        "p_trend": _together(chdtrc(slow.shape[1], np.sum(slow**2, axis=1))),
        "p_noise": _together(two_sided),
        "residual_ratio": float(np.median(np.sqrt(size / n))),
        "p_off_trend": _off_trend(one),
    }


def _off_trend(one: RunGivenRest) -> float:
    """P-value of a run's deviation from the trend, its RM's included; NaN where the card lets none scatter."""
    from scipy.special import chdtrc

    design, flat, run = one.design, one.flat, one.run
    trend = trend_at(design, flat, run)
    covariance = level_covariance(design, flat, "rm") + level_covariance(design, flat, "run")
    varies = np.flatnonzero(np.einsum("sii->si", covariance).min(axis=0) > 0)
    if not varies.size:
        return float("nan")
    off = (one.posterior() - trend)[:, varies]
    factor = root(covariance[:, varies[:, None], varies])
    white = np.linalg.solve(factor, off[..., None])[..., 0]
    return _together(chdtrc(len(varies), np.sum(white**2, axis=1)))


def _shares(one: RunGivenRest) -> dict[str, float]:
    """Root mean square of the two smooth parts over that of the curve: medians over draws."""
    rows = np.arange(len(one.mean))
    own, shared, whole = one.smooth_own(), one.shared(rows, one.posterior()), one.fitted()
    size = np.maximum(np.sqrt(np.mean(whole**2, axis=1)), np.finfo(float).tiny)
    return {
        f"share_{name}": float(np.median(np.sqrt(np.mean(part**2, axis=1)) / size))
        for name, part in (("shared", shared), ("own", own))
    }


def _common(waves: list[Array]) -> float:
    """P-value of slow waves that all runs have, from each run's (draw, wave)."""
    from scipy.special import chdtrc

    width = max(each.shape[1] for each in waves)
    total, counts = np.zeros((len(waves[0]), width)), np.zeros(width)
    for each in waves:
        total[:, : each.shape[1]] += each
        counts[: each.shape[1]] += 1
    return _together(chdtrc(width, np.sum(total**2 / counts, axis=1)))


def _together(p_values: Array) -> float:
    """One p-value of those of many draws, by the Cauchy combination."""
    p_values = np.clip(p_values, 1e-15, 1.0 - 1e-15)
    return float(0.5 - np.arctan(np.mean(np.tan((0.5 - p_values) * np.pi))) / np.pi)


def _findings(design: Design, table: pd.DataFrame, p_common: float) -> list[Finding]:
    found = []
    smooth = design.card.discrepancy.kind != "none"
    waves = _named(table, "p_trend")
    if waves or p_common < LEVEL:
        where = waves or f"all runs together (p {p_common:.2g})"
        do = (
            "take a card whose noise has a memory (kind 'ou'), or give gold_cov"
            if smooth
            else "take a card with a smooth discrepancy, such as 'rl', 'boxcox' or 'similar'"
        )
        found.append(Finding(f"residuals of {where} have a pattern along KL", do))
    noise = _named(table, "p_noise")
    if noise:
        told = "look at gold_se of these runs: points scatter more, or less, than it and sigma allow"
        found.append(Finding(f"residuals of {noise} are not as large as the noise", told))
    odd, off = _named(table, "p_loo"), _named(table, "p_off_trend")
    if off:
        do = "check these runs' rm_params and reward models, and fit without them (goldpeak.select) to see what changes"
        found.append(Finding(f"{off} lie far off the trend in size", do))
    if odd:
        do = "compare a fit without these runs (goldpeak.select), and other cards (form, trend, noise)"
        found.append(Finding(f"{odd} are unlike what the other runs predict", do))
    share = float(np.median(np.hypot(table["share_own"], table["share_shared"])))
    if smooth and share > LARGE_SHARE:
        what = f"the smooth discrepancy is {share:.2g} times as large as the curves (median over runs)"
        do = f"take a card with another form, such as {_other_forms(design)}: this one says little"
        found.append(Finding(what, do))
    return found


def _other_forms(design: Design) -> str:
    """Cards whose form is learned or another one."""
    names = [name for name in ("similar", "boxcox", "saturating") if name != design.card.name]
    return " or ".join(f"'{name}'" for name in names[:2])


def _named(table: pd.DataFrame, column: str) -> str:
    """The runs whose p-value of one kind is too small, of all runs together."""
    small = table[column] * np.sum(table[column].notna()) < LEVEL
    names: list[Any] = table.index[small].tolist()
    if not names:
        return ""
    listed = ", ".join(map(str, names[:5])) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
    return f"{len(names)} of {len(table)} runs ({listed})"

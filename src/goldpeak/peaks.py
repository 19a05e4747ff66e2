"""The posterior of the KL at which gold reward peaks.

``kl_peak`` is found for every draw. A draw without an interior peak up to ``kl_max`` has ``kl_peak = +inf``: never NaN,
never clipped, never dropped. So quantiles are always defined, and an upper end of ``inf`` is an answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from goldpeak.curves import Curves, Include, new_curves, observed_curves
from goldpeak.discrepancy import BOUNDARY
from goldpeak.errors import FitError
from goldpeak.forms import gold_at, peak_of
from goldpeak.names import RUN, describe
from goldpeak.runs import n_of_kl

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Peak", "peak", "peak_draws"]

Array = NDArray[np.float64]
GRID = 200
"""Intervals of the first grid in d on which a maximum is looked for."""
ZOOM = 4
"""Each of two refinements divides the grid's step by this."""
CHUNK = 4_000_000
"""Numbers held at once: bounds memory whatever the number of draws and sizes."""


@dataclass(frozen=True)
class Peak:
    """Posterior of the peak.

    Attributes
    ----------
    draws : xarray.Dataset
        ``kl_peak`` (nats), ``gold_peak`` and, for best-of-n, ``n_peak``; dims (chain, draw, run) or
        (chain, draw, rm_params).
    table : pandas.DataFrame
        One row per run or size: median and equal-tailed interval of ``kl_peak`` and ``gold_peak``, probabilities of a
        peak in range, and whether the row extrapolates. Gold of an observed run is given back in the file's units: what
        was subtracted as the initial policy's gold is added again (column ``baseline``). Gold at a size, and all of
        `draws`, is relative to the initial policy.
    prob : float
        Probability of the intervals.
    kl_max : float
        Largest KL at which a peak was looked for.
    include : str
        What a prediction at a new size includes; ``observed`` for the fitted runs.

    Examples
    --------
    >>> import goldpeak
    >>> post = goldpeak.fit(goldpeak.datasets.lab("rl"), "rl_paper", draws=100)
    >>> found = goldpeak.peak(post)
    >>> found.include, found.table.columns[:4].tolist()
    ('observed', ['rm_params', 'median', 'lo', 'hi'])
    """

    draws: xr.Dataset
    table: pd.DataFrame
    prob: float
    kl_max: float
    include: str


def peak(
    post: xr.DataTree,
    rm_params: Sequence[float] | ArrayLike | None = None,
    include: Include = "new_run",
    kl_max: float | None = None,
    prob: float = 0.9,
    *,
    seed: int | None = None,
) -> Peak:
    """Posterior of the KL at which gold reward peaks.

    Parameters
    ----------
    post : xarray.DataTree
        As returned by `fit`.
    rm_params : array_like, optional
        Reward-model sizes to predict for; without it, each observed run.
    include : {"typical", "new_rm", "new_run"}
        What a prediction at a size includes, see `curves.new_curves`.
    kl_max : float, optional
        Largest KL (nats) at which a peak counts; by default the posterior's own, twice the largest KL observed.
    prob : float
        Probability of the equal-tailed intervals.
    seed : int, optional
        Seed of the new RMs' and runs' deviations; the posterior's own by default.

    Returns
    -------
    Peak

    Raises
    ------
    FitError
        If an argument is out of range, or sizes are asked of a posterior that saw a single one.

    Notes
    -----
    ``gold_peak`` is the largest gold at KL <= ``kl_max``: at the peak where there is one, else at ``kl_max``. Means of
    ``kl_peak`` are not given: it is a ratio, whose mean need not exist.

    Examples
    --------
    >>> import goldpeak
    >>> post = goldpeak.fit(goldpeak.datasets.lab("rl"), "rl_paper", engine="exact", draws=100)
    >>> found = goldpeak.peak(post, rm_params=[1e9], prob=0.8)
    >>> bool(found.table["extrapolated"].iloc[0]), found.draws["kl_peak"].dims
    (True, ('chain', 'draw', 'rm_params'))
    """
    _refuse(prob, kl_max)
    limit = float(post.attrs["kl_max"]) if kl_max is None else float(kl_max)
    curves = observed_curves(post) if rm_params is None else new_curves(post, rm_params, include=include, seed=seed)
    refuse_beyond_basis(curves, limit)
    draws = _draws(post, curves, limit)
    table = _table(post, draws, curves, limit, prob)
    return Peak(draws, table, prob, limit, "observed" if rm_params is None else include)


def peak_draws(curves: Curves, kl_max: float) -> tuple[Array, Array]:
    """KL and gold at the highest point of every curve.

    Without a discrepancy by the form's closed form, else on a grid in d with local refinement; of several maxima the
    highest counts.

    Returns
    -------
    kl_peak, gold_peak : ndarray, shape (chain, draw, item)
        +inf in ``kl_peak`` where gold still rises at `kl_max`, 0 where it only falls.
    """
    d_max = float(np.sqrt(kl_max))
    flat = curves.flat()
    if curves.sines is None:
        kl, gold = _closed_form(flat, d_max)
    else:
        step = max(1, CHUNK // (GRID * curves.sines.count))
        lattice = _Lattice.of(curves, d_max)
        parts = [_on_lattice(flat.part(slice(i, i + step)), lattice) for i in range(0, flat.alpha.size, step)]
        kl, gold = (np.concatenate(values) for values in zip(*parts, strict=True))
    return kl.reshape(curves.alpha.shape), gold.reshape(curves.alpha.shape)


def _closed_form(curves: Curves, d_max: float) -> tuple[Array, Array]:
    alpha, beta, gamma = (v.ravel() for v in (curves.alpha, curves.beta, curves.gamma))
    d = peak_of(curves.form, alpha, beta, gamma)
    # Without an interior peak the highest point is an end, and where gold has only fallen that is the start.
    at_end = gold_at(curves.form, d_max, alpha, beta, gamma)
    d = np.where((d > d_max) & (at_end <= 0.0), 0.0, d)
    inside = np.minimum(d, d_max)
    return np.where(d <= d_max, inside**2, np.inf), gold_at(curves.form, inside, alpha, beta, gamma)


@dataclass(frozen=True)
class _Lattice:
    """Where curves are looked at, and their columns there, tabulated once for all of them.

    Attributes
    ----------
    d : ndarray, shape (point,)
        From 0 to the largest d in question.
    columns : ndarray, shape (point, 2 + sine)
        Of the form and the sines; 0 where one changes with gamma.
    """

    d: Array
    columns: Array

    @classmethod
    def of(cls, curves: Curves, d_max: float) -> _Lattice:
        d = np.linspace(0.0, d_max, GRID * ZOOM**2 + 1)
        assert curves.sines
        columns = np.column_stack([curves.form.basis(d), curves.sines.columns(d)])
        if curves.form.has_gamma:
            columns[:, 1] = 0.0
        return cls(d, columns)

    def coarse(self, curves: Curves) -> Array:
        """Gold on the first grid, shape (curve, GRID + 1)."""
        at = np.arange(0, len(self.d), ZOOM**2)
        return _coefficients(curves) @ self.columns[at].T + self._of_gamma(curves, at)

    def near(self, curves: Curves, at: NDArray[np.int64]) -> Array:
        """Gold of curve i at the points ``at[i]``, shape (curve, k)."""
        gold = np.matmul(self.columns[at], _coefficients(curves)[..., None])[..., 0]
        return gold + self._of_gamma(curves, at)

    def _of_gamma(self, curves: Curves, at: NDArray[np.int64]) -> Array | float:
        if not curves.form.has_gamma:
            return 0.0
        beta, gamma = curves.beta[0], curves.gamma[0][:, None]
        return cast(Array, beta * curves.form.basis(self.d[at], gamma)[..., 1])


def _coefficients(curves: Curves) -> Array:
    """Of flat curves, shape (curve, 2 + sine)."""
    assert curves.delta is not None
    return np.concatenate([curves.alpha[0], curves.beta[0], curves.delta[0, :, 0]], axis=1)


def _highest(gold: Array) -> NDArray[np.int64]:
    """Where each row is highest between its points too: every summit counts with the parabola through its neighbours.

    Without that, of two nearly level humps the one whose top lies on a point would win.
    """
    left, middle, right = gold[:, :-2], gold[:, 1:-1], gold[:, 2:]
    bend = 2.0 * middle - left - right
    summit = (middle >= left) & (middle >= right) & (bend > 0)
    rise = np.divide((right - left) ** 2, 8.0 * bend, out=np.zeros_like(bend), where=summit)
    refined = gold.copy()
    refined[:, 1:-1] += rise
    return np.argmax(refined, axis=1)


def _on_lattice(curves: Curves, lattice: _Lattice) -> tuple[Array, Array]:
    """KL and gold at the highest point of flat curves: of a grid, of finer ones around it, of a parabola."""
    end = len(lattice.d) - 1
    coarse = _highest(lattice.coarse(curves))
    centre, step, rows = coarse * ZOOM**2, ZOOM**2, np.arange(len(coarse))
    while step > 1:
        step //= ZOOM
        at = np.clip(centre[:, None] + step * np.arange(-ZOOM, ZOOM + 1), 0, end)
        gold = lattice.near(curves, at)
        best = np.clip(np.argmax(gold, axis=1), 1, 2 * ZOOM - 1)
        centre = at[rows, best]
    left, middle, right = (gold[rows, best + k] for k in (-1, 0, 1))
    bend = left - 2.0 * middle + right
    shift = np.clip(np.where(bend < 0, 0.5 * (left - right) / np.where(bend < 0, bend, -1.0), 0.0), -1.0, 1.0)
    peak_d = np.clip(lattice.d[centre] + shift * lattice.d[1], 0.0, lattice.d[-1])
    gold_peak = middle - 0.25 * (left - right) * shift
    rising, falling = (coarse == GRID) & (centre == end), (coarse == 0) & (gold.max(axis=1) <= 0.0)
    gold_end = lattice.near(curves, np.full((len(rows), 1), end))[:, 0]
    kl = np.where(rising, np.inf, np.where(falling, 0.0, peak_d**2))
    return kl, np.where(rising, gold_end, np.where(falling, 0.0, gold_peak))


def _refuse(prob: float, kl_max: float | None) -> None:
    if not 0 < prob < 1:
        raise FitError(f"prob is {prob}; allowed: a number between 0 and 1, e.g. 0.9")
    if kl_max is not None and not (np.isfinite(kl_max) and kl_max > 0):
        raise FitError(f"kl_max is {kl_max}; allowed: a finite number of nats > 0")


def refuse_beyond_basis(curves: Curves, kl_max: float) -> None:
    if curves.sines is not None and kl_max > curves.sines.length**2 / BOUNDARY**2 * (1 + 1e-9):
        limit = curves.sines.length**2 / BOUNDARY**2
        raise FitError(
            f"kl_max is {kl_max:g}, but the posterior's discrepancy reaches only to {limit:g} nats; fit again with "
            f"kl_max={kl_max:g}"
        )


def _draws(post: xr.DataTree, curves: Curves, kl_max: float) -> xr.Dataset:
    kl, gold = peak_draws(curves, kl_max)
    dims = ("chain", "draw", curves.dim)
    draws = xr.Dataset({"kl_peak": (dims, kl), "gold_peak": (dims, gold)}, coords={curves.dim: curves.items})
    draws = draws.assign_coords({c: post["posterior"][c].values for c in ("chain", "draw")})
    if set(post["constant_data"].to_dataset()["method"].values) == {"bon"}:
        draws["n_peak"] = (dims, n_of_kl(kl))
    return describe(draws)


def _table(post: xr.DataTree, draws: xr.Dataset, curves: Curves, kl_max: float, prob: float) -> pd.DataFrame:
    import pandas as pd

    data = post["constant_data"].to_dataset()
    observed = np.unique(data["rm_params"].values)
    kl, gold = (draws[v].values.reshape(-1, len(curves.items)) for v in ("kl_peak", "gold_peak"))
    columns: dict[str, Any] = {"rm_params": data["rm_params"].values if curves.dim == RUN else curves.items}
    baseline = data["baseline"].values if curves.dim == RUN else np.zeros(len(curves.items))
    for name, values in (("", kl), ("gold_", gold + baseline)):
        lo, median, hi = quantiles(values, prob)
        columns |= {f"{name}median": median, f"{name}lo": lo, f"{name}hi": hi}
    largest = data["kl"].groupby(data["run_index"]).max().values
    in_range = largest if curves.dim == RUN else np.full(len(curves.items), largest.max())
    decades = decades_outside(columns["rm_params"], observed)
    columns |= {
        "p_peak_in_range": np.mean(kl <= in_range, axis=0),
        "p_peak_below_kl_max": np.mean(np.isfinite(kl), axis=0),
        "kl_observed": in_range,
        "baseline": baseline,
        "extrapolated": decades > 0,
        "decades": decades,
        "prob": prob,
        "interval": "eti",
    }
    index = pd.Index(curves.items, name=curves.dim)
    return pd.DataFrame(columns, index=index if curves.dim == RUN else pd.RangeIndex(len(index)))


def quantiles(values: Array, prob: float) -> tuple[Array, Array, Array]:
    """Lower end, median and upper end of the equal-tailed interval along the first axis, with +inf as a value.

    Uses an actual draw (no interpolation), so that infinite draws never turn into NaN.

    Examples
    --------
    >>> import numpy as np
    >>> [float(q) for q in quantiles(np.array([1.0, 2.0, 3.0, np.inf]), 0.9)]
    [1.0, 2.0, inf]
    """
    tail = (1.0 - prob) / 2.0
    found = np.quantile(values, [tail, 0.5, 1.0 - tail], axis=0, method="inverted_cdf")
    return found[0], found[1], found[2]


def decades_outside(rm_params: ArrayLike, observed: Array) -> Array:
    """How many powers of ten a size lies outside the observed sizes; 0 inside.

    Examples
    --------
    >>> import numpy as np
    >>> [float(v) for v in decades_outside([5.0, 1000.0], np.array([1.0, 10.0]))]
    [0.0, 2.0]
    """
    size = np.asarray(rm_params, dtype=float)
    above, below = np.log10(size / observed.max()), np.log10(observed.min() / size)
    outside = np.maximum(np.maximum(above, below), 0.0)
    return np.where(outside < 1e-9, 0.0, outside)

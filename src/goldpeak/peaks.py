"""The posterior of the KL at which gold reward peaks.

``kl_peak`` is found for every draw. A draw without an interior peak up to ``kl_max`` has ``kl_peak = +inf``: never NaN,
never clipped, never dropped. So quantiles are always defined, and an upper end of ``inf`` is an answer.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from goldpeak.bon import n_of_kl
from goldpeak.curves import AnyCurves, Include, StretchedCurves, new_curves, observed_curves, refuse_include
from goldpeak.discrepancy import BOUNDARY, Sines
from goldpeak.errors import FitError, is_number, refusal
from goldpeak.mixture import MixedCurves
from goldpeak.names import RUN, describe
from goldpeak.runs import is_bon
from goldpeak.summits import peak_draws
from goldpeak.wording import decades, html_table, interval, number, size

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "MOST_ROWS",
    "Peak",
    "decades_outside",
    "kl_limit",
    "peak",
    "quantiles",
    "refuse_basis_short_of",
    "refuse_beyond_basis",
    "refuse_prob",
    "with_decades",
]

Array = NDArray[np.float64]
MOST_ROWS = 60
"""Rows that a notebook shows."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Peak:
    """Posterior of the peak.

    Attributes
    ----------
    draws : xarray.Dataset
        ``kl_peak`` (nats), ``gold_peak`` and, for best-of-n, ``n_peak``; dims (chain, draw, run) or
        (chain, draw, rm_params). Of a card in peak coordinates also ``kl_star``, the square of d*: how far ``kl_peak``
        lies from it says what the smooth parts do to the shared shape's peak.
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

    def _repr_html_(self) -> str:
        """The table, as a notebook shows it; of many runs the first."""
        shown = self.table.head(MOST_ROWS)
        within = f"{100 * self.prob:g}% interval"
        what = "fitted runs" if self.include == "observed" else f"prediction ({self.include})"
        left_out = f"; {len(shown)} of {len(self.table)} rows" if len(shown) < len(self.table) else ""
        rows = [_row_for_people(str(label), row) for label, row in shown.iterrows()]
        label = "run" if self.table.index.name == RUN else ""
        columns = (label, "rm_params", "KL at peak (nats)", within, "P(peak in range)", "gold at peak", within)
        return html_table(
            (*columns, "extrapolated"),
            rows,
            caption=f"{what}, looked for up to KL {number(self.kl_max)} nats{left_out}",
        )


def _row_for_people(label: str, row: Any) -> tuple[str, ...]:
    beyond = decades(row["decades"]) if row["extrapolated"] else "no"
    kl, gold = interval(row["lo"], row["hi"]), interval(row["gold_lo"], row["gold_hi"])
    return (
        label,
        size(row["rm_params"]),
        number(row["median"]),
        kl,
        f"{row['p_peak_in_range']:.2f}",
        number(row["gold_median"]),
        gold,
        beyond,
    )


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
    refuse_prob(prob)
    refuse_include(include)
    limit = kl_limit(post, kl_max)
    curves = observed_curves(post) if rm_params is None else new_curves(post, rm_params, include=include, seed=seed)
    refuse_beyond_basis(curves, limit)
    _log.info("looking for the peak of %d curves in each draw", len(curves.items))
    draws = _draws(post, curves, limit)
    table = _table(post, draws, curves, limit, prob)
    return Peak(draws, table, prob, limit, "observed" if rm_params is None else include)


def kl_limit(post: xr.DataTree, kl_max: float | None) -> float:
    """The largest KL in question: as asked for, else the posterior's own."""
    if kl_max is not None and not (is_number(kl_max) and kl_max > 0):
        raise FitError(refusal("kl_max", kl_max, "a finite number of nats > 0"))
    return float(post.attrs["kl_max"]) if kl_max is None else float(kl_max)


def refuse_prob(prob: float) -> None:
    """Raise a `FitError` if this is no probability of an interval."""
    if not (is_number(prob) and 0 < prob < 1):
        raise FitError(refusal("prob", prob, "a number between 0 and 1, e.g. 0.9"))


def refuse_beyond_basis(curves: AnyCurves, kl_max: float) -> None:
    """Raise a `FitError` if curves do not reach to a KL: a smooth part's basis ends."""
    for part in curves.parts if isinstance(curves, MixedCurves) else (curves,):
        refuse_basis_short_of(part.sines, kl_max)


def refuse_basis_short_of(sines: Sines | None, kl_max: float) -> None:
    """The same of one basis."""
    if sines is not None and kl_max > sines.length**2 / BOUNDARY**2 * (1 + 1e-9):
        limit = sines.length**2 / BOUNDARY**2
        raise FitError(
            f"kl_max is {kl_max:g}, but the posterior's discrepancy reaches only to {limit:g} nats; fit again with "
            f"kl_max={kl_max:g}"
        )


def _draws(post: xr.DataTree, curves: AnyCurves, kl_max: float) -> xr.Dataset:
    kl, gold = peak_draws(curves, kl_max)
    dims = ("chain", "draw", curves.dim)
    draws = xr.Dataset({"kl_peak": (dims, kl), "gold_peak": (dims, gold)}, coords={curves.dim: curves.items})
    draws = draws.assign_coords({c: post["posterior"][c].values for c in ("chain", "draw")})
    if isinstance(curves, StretchedCurves):
        draws["kl_star"] = (dims, curves.d_star**2)
    if is_bon(post):
        draws["n_peak"] = (dims, n_of_kl(kl))
    return describe(draws)


def _table(post: xr.DataTree, draws: xr.Dataset, curves: AnyCurves, kl_max: float, prob: float) -> pd.DataFrame:
    import pandas as pd

    data = post["constant_data"].to_dataset()
    observed = np.unique(data["rm_params"].values)
    kl, gold = (draws[v].values.reshape(-1, len(curves.items)) for v in ("kl_peak", "gold_peak"))
    columns: dict[str, Any] = {"rm_params": data["rm_params"].values if curves.dim == RUN else curves.items}
    baseline = data["baseline"].values if curves.dim == RUN else np.zeros(len(curves.items))
    for name, values in (("", kl), ("gold_", gold + baseline)):
        lo, median, hi = quantiles(values, prob)
        columns |= {f"{name}median": median, f"{name}lo": lo, f"{name}hi": hi}
    if "kl_star" in draws:
        columns["kl_star_median"] = np.median(draws["kl_star"].values.reshape(kl.shape), axis=0)
    largest = data["kl"].groupby(data["run_index"]).max().values
    in_range = largest if curves.dim == RUN else np.full(len(curves.items), largest.max())
    outside = decades_outside(columns["rm_params"], observed)
    columns |= {
        "p_peak_in_range": np.mean(kl <= in_range, axis=0),
        "p_peak_below_kl_max": np.mean(np.isfinite(kl), axis=0),
        "kl_observed": in_range,
        "baseline": baseline,
        "extrapolated": outside > 0,
        "decades": outside,
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


def with_decades(table: pd.DataFrame, observed: Array) -> pd.DataFrame:
    """A table with its columns ``extrapolated`` and ``decades``, by its ``rm_params``."""
    outside = decades_outside(table["rm_params"].to_numpy(), observed)
    return table.assign(extrapolated=outside > 0, decades=outside)


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

"""A card and run curves, turned into the arrays that both engines use.

The design is in standardised units: gold divided by ``gold_scale``, sizes as x = log(N / N0) with N0 the geometric mean
of the observed sizes. `to_gold_units` brings a posterior back to the user's units.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import cast

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from goldpeak.card import Card, Coefficient, RandomWalk, Smooth
from goldpeak.discrepancy import Sines, choose_sines
from goldpeak.errors import FitError, RunsWarning
from goldpeak.forms import FORMS, Form
from goldpeak.names import POINT, RUN, RUN_INDEX
from goldpeak.priors import Prior
from goldpeak.trends import KNOT_STEP, TRENDS, knots_between, trend_columns

__all__ = ["CoefficientDesign", "Design", "make_design", "to_gold_units"]

Array = NDArray[np.float64]
UNSCALED = ("gamma", "lengthscale")
MAX_SINES = 200
"""Most sines of a discrepancy: a fit's cost grows with their cube, and real KL ranges need some 20 to 80."""


@dataclass(frozen=True)
class CoefficientDesign:
    """The trend of one coefficient: columns at the observed runs and the normal prior of each term.

    Attributes
    ----------
    columns : ndarray, shape (run, term)
    terms : tuple of str
    mean, sd : ndarray, shape (term,)
        Prior of the terms. A drift term's sd is `sd` times the hyperparameter ``drift``.
    drift : ndarray of bool, shape (term,)
    knots : ndarray
        Positions in x at which the slope may change.
    """

    spec: Coefficient
    columns: Array
    terms: tuple[str, ...]
    mean: Array
    sd: Array
    drift: NDArray[np.bool_]
    knots: Array

    def at(self, x: ArrayLike) -> Array:
        """Trend columns at other sizes, shape (..., term)."""
        return trend_columns(TRENDS[self.spec.trend.kind], x, self.knots)


@dataclass(frozen=True)
class Design:
    """Everything an engine needs, as plain arrays in standardised units.

    Attributes
    ----------
    y, d, se : ndarray, shape (point,)
        Gold, square root of KL, and the known standard error (0 where there is none).
    run_index : ndarray of int, shape (point,)
    rm_index : ndarray of int, shape (run,)
    x : ndarray, shape (run,)
        log(rm_params / n0).
    kl_max : float
        Largest KL (nats) that may be asked about.
    sines : Sines or None
        Basis of the smooth discrepancy, where the card has one.
    """

    card: Card
    run: tuple[str, ...]
    rm: tuple[str, ...]
    y: Array
    d: Array
    se: Array
    run_index: NDArray[np.int64]
    rm_index: NDArray[np.int64]
    x: Array
    n0: float
    scale: float
    kl_max: float
    alpha: CoefficientDesign
    beta: CoefficientDesign
    sines: Sines | None

    @property
    def form(self) -> Form:
        """The card's functional form."""
        return FORMS[self.card.form.kind]

    @property
    def coefficients(self) -> dict[str, CoefficientDesign]:
        """alpha and beta by name."""
        return {"alpha": self.alpha, "beta": self.beta}

    @property
    def logged(self) -> tuple[str, ...]:
        """Coefficients with link ``log``: positive, and not linear in what they depend on."""
        return tuple(name for name, c in self.coefficients.items() if c.spec.link == "log")

    @property
    def coords(self) -> dict[str, list[str]]:
        """Labels of the dimensions of a posterior."""
        terms: dict[str, list[str]] = {f"{name}_term": list(c.terms) for name, c in self.coefficients.items()}
        sines = {"sine": [str(j + 1) for j in range(self.sines.count)]} if self.sines else {}
        return {RUN: list(self.run), "rm": list(self.rm), **terms, **sines}

    @property
    def outer(self) -> dict[str, Prior]:
        """Names and priors of the parameters that do not enter linearly: scales, length scale, gamma."""
        found: dict[str, Prior | None] = {"sigma": self.card.noise.sigma, "gamma": self.card.form.gamma}
        for name, c in self.coefficients.items():
            found |= {f"{name}_sd_rm": c.spec.sd_rm, f"{name}_sd_run": c.spec.sd_run}
            if isinstance(c.spec.trend, RandomWalk) and c.drift.any():
                found[f"{name}_drift"] = c.spec.trend.drift
        if isinstance(self.card.discrepancy, Smooth):
            smooth = self.card.discrepancy
            found |= {"eta_shared": smooth.shared, "eta_shared_trend": smooth.shared_trend, "eta_run": smooth.run}
            found["lengthscale"] = smooth.lengthscale
        return {name: prior for name, prior in found.items() if prior is not None}

    @property
    def x_rm(self) -> Array:
        """Log size of every RM, shape (rm,)."""
        x = np.empty(len(self.rm))
        x[self.rm_index] = self.x
        return x


def make_design(runs: xr.Dataset, card: Card, *, kl_max: float | None = None) -> Design:
    """Turn run curves and a card into arrays.

    Parameters
    ----------
    runs : xarray.Dataset
        As returned by `read_runs`.
    card : Card
    kl_max : float, optional
        Largest KL (nats) that will be asked about; twice the largest observed by default.

    Returns
    -------
    Design

    Raises
    ------
    FitError
        If the runs mix methods, an RM has two sizes, `kl_max` is below what was observed, or the KL range is too long
        for the card's discrepancy.

    Warns
    -----
    RunsWarning
        If the card's noise is ``known`` and the runs have no standard errors.
    """
    _refuse_unusable(runs, card)
    limit = _kl_limit(runs, kl_max)
    rm, rm_index = np.unique(runs["rm"].values.astype(str), return_inverse=True)
    n0, x = centred_log_size(runs["rm_params"].values)
    scale = float(runs.attrs.get("gold_scale", 0.0)) or _auto_scale(runs)
    smooth = card.discrepancy
    return Design(
        card=card,
        run=tuple(runs[RUN].values.astype(str)),
        rm=tuple(rm),
        y=runs["gold"].values / scale,
        d=np.sqrt(runs["kl"].values),
        se=_standard_errors(runs, card) / scale,
        run_index=runs[RUN_INDEX].values.astype(np.int64),
        rm_index=rm_index.astype(np.int64),
        x=x,
        n0=n0,
        scale=scale,
        kl_max=limit,
        alpha=_coefficient(card.alpha, x),
        beta=_coefficient(card.beta, x),
        sines=_affordable_sines(card, smooth, limit) if isinstance(smooth, Smooth) else None,
    )


def centred_log_size(rm_params: ArrayLike) -> tuple[float, Array]:
    """N0, the geometric mean of the distinct sizes, and x = log(N / N0).

    Examples
    --------
    >>> n0, x = centred_log_size([1.0, 1.0, 100.0])
    >>> round(n0, 9)
    10.0
    """
    sizes = np.asarray(rm_params, dtype=float)
    n0 = float(np.exp(np.mean(np.log(np.unique(sizes)))))
    return n0, np.log(sizes / n0)


def to_gold_units(posterior: xr.Dataset, design: Design, *, overwrite: bool = False) -> xr.Dataset:
    """Bring a standardised posterior to the user's units of gold: every answer scales with gold.

    With `overwrite` the given posterior's arrays may be used for the result: they can be most of a fit's memory.

    Under the link ``log`` a coefficient's trend and scatter live on the log scale, where a change of units is a shift
    of the intercept.
    """
    scaled = posterior.copy()
    for name in map(str, posterior.data_vars):
        prefix, _, part = name.partition("_")
        if name in UNSCALED:
            continue
        if prefix in design.logged and part:
            if part == "coef":
                is_intercept = posterior[f"{prefix}_term"] == "intercept"
                scaled[name] = posterior[name] + is_intercept * np.log(design.scale)
            continue
        values = posterior[name].values
        reuse = overwrite and values.flags.writeable
        scaled[name] = posterior[name].copy(data=np.multiply(values, design.scale, out=values if reuse else None))
    return scaled


def _coefficient(spec: Coefficient, x: Array) -> CoefficientDesign:
    trend = TRENDS[spec.trend.kind]
    knots = knots_between(x.min(), x.max()) if trend.drifts else np.empty(0)
    priors = [getattr(spec.trend, term) for term in trend.terms]
    extra = len(knots)
    return CoefficientDesign(
        spec=spec,
        columns=trend_columns(trend, x, knots),
        terms=(*trend.terms, *(f"knot_{i + 1}" for i in range(extra))),
        mean=np.array([p.mu for p in priors] + [0.0] * extra),
        sd=np.array([p.sigma for p in priors] + [np.sqrt(KNOT_STEP)] * extra),
        drift=np.array([False] * len(priors) + [True] * extra),
        knots=knots,
    )


def _affordable_sines(card: Card, smooth: Smooth, kl_max: float) -> Sines:
    sines = choose_sines(np.sqrt(kl_max), smooth.lengthscale)
    if sines.count > MAX_SINES:
        raise FitError(
            f"the smooth discrepancy of card {card.name!r} needs {sines.count} sines to cover KL 0 to {kl_max:g}; "
            f"allowed: {MAX_SINES}. Is kl in nats per response? If so, take a card without discrepancy or with a "
            "longer lengthscale"
        )
    return sines


def _kl_limit(runs: xr.Dataset, kl_max: float | None) -> float:
    largest = float(runs["kl"].max())
    if kl_max is None:
        return 2.0 * largest
    if not (np.isfinite(kl_max) and kl_max >= largest):
        raise FitError(f"kl_max is {kl_max}; allowed: a finite number of nats >= {largest:g}, the largest KL observed")
    return float(kl_max)


def _auto_scale(runs: xr.Dataset) -> float:
    """Median over runs of the highest gold: the unit of the priors where the initial policy's sd is not given.

    Where most runs never rise above the initial policy it is the largest |gold| instead.
    """
    gold = runs["gold"].groupby(runs[RUN_INDEX])
    highest = float(gold.max().median())
    largest = float(abs(runs["gold"]).groupby(runs[RUN_INDEX]).max().median())
    return next((scale for scale in (highest, largest) if scale > 0), 1.0)


def _standard_errors(runs: xr.Dataset, card: Card) -> Array:
    """What the card knows of each point's noise beforehand: 0 where that is nothing."""
    if card.noise.kind == "known" and "gold_se" in runs:
        return cast(Array, runs["gold_se"].values)
    if card.noise.kind == "known":
        warnings.warn(
            f"card {card.name!r} has noise 'known', and the runs have no column gold_se: one standard deviation is "
            "learned for all points (noise 'iid')",
            RunsWarning,
            stacklevel=3,
        )
    return np.zeros(runs.sizes[POINT])


def _refuse_unusable(runs: xr.Dataset, card: Card) -> None:
    methods = sorted(set(runs["method"].values.astype(str)))
    if len(methods) > 1:
        raise FitError(f"the runs mix methods ({', '.join(methods)}); choose one, e.g. read_runs(..., method='rl')")
    sizes = runs["rm_params"].groupby(runs["rm"]).map(lambda n: n.max() - n.min())
    mixed = [str(rm) for rm in sizes["rm"].values[sizes.values > 0]]
    if mixed:
        raise FitError(f"rm {', '.join(mixed[:5])}: runs that share a reward model differ in rm_params")

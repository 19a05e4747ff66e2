"""A card and run curves, turned into the arrays that both engines use.

The design is in standardised units: gold divided by ``gold_scale``, sizes as x = log(N / N0) with N0 the geometric mean
of the observed sizes. `units` brings a posterior back to the user's units.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from goldpeak.card import Card, Coefficient, RandomWalk, Smooth
from goldpeak.discrepancy import BOUNDARY, OWN_RESOLUTION, Sines, choose_sines
from goldpeak.errors import FitError, is_number, refusal
from goldpeak.forms import FORMS, Form
from goldpeak.measurement import Measurement, measure
from goldpeak.names import RUN, RUN_INDEX
from goldpeak.priors import Prior
from goldpeak.shapes import REACH, SHAPE_GAMMA, Shape
from goldpeak.trends import KNOT_STEP, TRENDS, knots_between, trend_columns
from goldpeak.usable import refuse_unusable

__all__ = ["CoefficientDesign", "Design", "Shared", "centred_log_size", "gold_scale_of", "make_design"]

Array = NDArray[np.float64]
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
class Shared:
    """Coefficients that all runs have in common: each multiplies one column of a run by a function of its size.

    Attributes
    ----------
    name : str
        The posterior's variable.
    columns : range
        Which columns of a run.
    weight : ndarray, shape (rm,)
    mean, sd : float
        Normal prior, for those without a `scale`.
    scale, lengthscale : str
        Outer parameters: amplitude and length scale of a smooth part with the basis `sines`.
    """

    name: str
    columns: range
    weight: Array
    mean: float = 0.0
    sd: float = 1.0
    scale: str = ""
    lengthscale: str = ""
    sines: Sines | None = None


@dataclass(frozen=True)
class Design:
    """Everything an engine needs, as plain arrays in standardised units.

    Attributes
    ----------
    y, d : ndarray, shape (point,)
        Gold and square root of KL.
    measurement : Measurement
        What is known of the noise.
    run_index : ndarray of int, shape (point,)
    rm_index : ndarray of int, shape (run,)
    x : ndarray, shape (run,)
        log(rm_params / n0).
    kl_max : float
        Largest KL (nats) that may be asked about.
    coefficients : dict of str to CoefficientDesign
        What the hierarchy is on: alpha and beta, or d_star and gold_star.
    sines : Sines or None
        Basis of the smooth discrepancy in d, where the card has one.
    shape : Shape or None
        The shared shape, in peak coordinates.
    """

    card: Card
    run: tuple[str, ...]
    rm: tuple[str, ...]
    y: Array
    d: Array
    measurement: Measurement
    run_index: NDArray[np.int64]
    rm_index: NDArray[np.int64]
    x: Array
    n0: float
    scale: float
    kl_max: float
    coefficients: dict[str, CoefficientDesign]
    sines: Sines | None
    shape: Shape | None = None

    @property
    def form(self) -> Form:
        """The card's functional form."""
        return FORMS[self.card.form.kind]

    @property
    def se(self) -> Array:
        """Known standard error of every point (0 where there is none); of correlated points, of each by itself."""
        return self.measurement.se

    @property
    def alone(self) -> bool:
        """Whether each reward model has one run."""
        return len(self.rm) == len(self.run)

    @property
    def logged(self) -> tuple[str, ...]:
        """Coefficients of a form with link ``log``: positive, and not linear in what they depend on."""
        return () if self.shape else tuple(name for name, c in self.coefficients.items() if c.spec.link == "log")

    @property
    def coords(self) -> dict[str, list[str]]:
        """Labels of the dimensions of a posterior."""
        terms: dict[str, list[str]] = {f"{name}_term": list(c.terms) for name, c in self.coefficients.items()}
        bases = {"sine": self.sines, "shape_sine": self.shape.sines if self.shape else None}
        sines = {dim: [str(j + 1) for j in range(basis.count)] for dim, basis in bases.items() if basis}
        return {RUN: list(self.run), "rm": list(self.rm), **terms, **sines}

    @property
    def outer(self) -> dict[str, Prior]:
        """Names and priors of the parameters that do not enter linearly: scales, length scales, a form's gamma.

        In peak coordinates gamma is not among them: it is one of the shared coefficients.
        """
        found: dict[str, Prior | None] = dict(self.card.noise.outer)
        found["gamma"] = None if self.shape else self.card.form.gamma
        for name, c in self.coefficients.items():
            found |= {f"{name}_sd_rm": c.spec.sd_rm, f"{name}_sd_run": c.spec.sd_run}
            if isinstance(c.spec.trend, RandomWalk) and c.drift.any():
                found[f"{name}_drift"] = c.spec.trend.drift
        found["correlation"] = self.card.correlation
        if isinstance(self.card.discrepancy, Smooth):
            smooth = self.card.discrepancy
            found |= {"eta_shared": smooth.shared, "eta_shared_trend": smooth.shared_trend, "eta_run": smooth.run}
            needed = smooth.shared or self.run_lengthscale == "lengthscale"
            found["lengthscale"] = smooth.lengthscale if needed else None
            found["run_lengthscale"] = smooth.run_lengthscale
        return {name: prior for name, prior in found.items() if prior is not None}

    @property
    def run_lengthscale(self) -> str:
        """Which outer parameter is the length scale of the sines in d."""
        return "run_lengthscale" if self.shape else "lengthscale"

    @property
    def width(self) -> int:
        """Columns of a run: those of the form, the sines, and an offset."""
        return self.own_columns.stop + self.has_offset

    @property
    def own_columns(self) -> range:
        """Which columns of a run are its own sines."""
        return range(2, 2 + (self.sines.count if self.sines else 0))

    @property
    def has_offset(self) -> bool:
        """Whether the points of a run share an error of the initial policy's gold: its last column."""
        return self.card.noise.offset_sd is not None

    @property
    def kept(self) -> int:
        """So many columns, the first ones, matter to the levels above the run."""
        return self.width

    @property
    def columns_move(self) -> bool:
        """Whether a column changes with an outer parameter, the form's gamma."""
        return self.form.has_gamma and not self.shape

    def columns(self) -> Array:
        """All columns of a run at every point, shape (point, width); 0 where one changes with gamma."""
        sines = self.sines.columns(self.d) if self.sines else np.empty((len(self.d), 0))
        offset = [(self.d > 0).astype(float)] if self.has_offset else []
        columns = np.column_stack([self.form.basis(self.d), sines, *offset])
        if self.columns_move:
            columns[:, 1] = 0.0
        return columns

    @property
    def shared(self) -> list[Shared]:
        """Coefficients that all runs have in common, but for the trends."""
        if not self.sines:
            return []
        columns, basis = self.own_columns, self.sines
        smooth = [
            Shared(name, columns, of_size, scale=scale, lengthscale="lengthscale", sines=basis)
            for name, scale, of_size in (
                ("delta_shared", "eta_shared", np.ones(len(self.rm))),
                ("delta_trend", "eta_shared_trend", self.x_rm),
            )
        ]
        return [part for part in smooth if part.scale in self.outer]

    def with_fewer_sines(self) -> Design:
        """Half the basis: nearly the same posterior of the outer parameters at a third of the cost."""
        assert self.sines
        return replace(self, sines=replace(self.sines, count=-(-self.sines.count // 2)))

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
        If the runs mix methods, an RM has two sizes, `kl_max` is below what was observed, the KL range is too long
        for the card's discrepancy, in peak coordinates a run's gold only falls, or the card's noise needs what the runs
        do not have.

    Warns
    -----
    RunsWarning
        If the card's noise is ``known`` and the runs have no standard errors.
    """
    refuse_unusable(runs, card)
    limit = _kl_limit(runs, kl_max)
    rm, rm_index = np.unique(runs["rm"].values.astype(str), return_inverse=True)
    n0, x = centred_log_size(runs["rm_params"].values)
    scale = gold_scale_of(runs)
    return Design(
        card=card,
        run=tuple(runs[RUN].values.astype(str)),
        rm=tuple(rm),
        y=runs["gold"].values / scale,
        d=np.sqrt(runs["kl"].values),
        measurement=measure(runs, card, scale),
        run_index=runs[RUN_INDEX].values.astype(np.int64),
        rm_index=rm_index.astype(np.int64),
        x=x,
        n0=n0,
        scale=scale,
        kl_max=limit,
        coefficients={name: _coefficient(spec, x) for name, spec in card.coefficients.items()},
        sines=_run_sines(card, limit),
        shape=_shape(card, runs, limit) if card.coordinates == "peak" else None,
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


def _run_sines(card: Card, kl_max: float) -> Sines | None:
    """Basis of what is smooth in d: in peak coordinates only the runs' own part is."""
    smooth = card.discrepancy
    if not isinstance(smooth, Smooth):
        return None
    if card.coordinates != "peak":
        return _affordable(card, choose_sines(np.sqrt(kl_max), smooth.lengthscale), kl_max)
    if smooth.run_lengthscale is None:
        return None
    return _affordable(card, choose_sines(np.sqrt(kl_max), smooth.run_lengthscale, OWN_RESOLUTION), kl_max)


def _shape(card: Card, runs: xr.Dataset, kl_max: float) -> Shape:
    """The shared shape; its basis reaches to where the run with the earliest peak was observed."""
    smooth = card.discrepancy
    sines = None
    if isinstance(smooth, Smooth) and smooth.shared:
        sines = _affordable(card, choose_sines(_largest_u(runs), smooth.lengthscale), kl_max)
    return Shape(SHAPE_GAMMA[card.form.kind], sines, card.pivot)


def _largest_u(runs: xr.Dataset) -> float:
    """How many times the place of its highest gold nine in ten runs were not followed beyond, in d; 2 at least."""
    by_run = zip(runs["kl"].groupby(runs[RUN_INDEX]), runs["gold"].groupby(runs[RUN_INDEX]), strict=True)
    reach = [float(kl.max() / max(kl.values[np.argmax(gold.values)], 1e-12)) for (_, kl), (_, gold) in by_run]
    return float(np.clip(np.sqrt(np.quantile(reach, 0.9)), 2.0, REACH / BOUNDARY))


def _affordable(card: Card, sines: Sines, kl_max: float) -> Sines:
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
    if not (is_number(kl_max) and kl_max >= largest):
        raise FitError(refusal("kl_max", kl_max, f"a finite number of nats >= {largest:g}, the largest KL observed"))
    return float(kl_max)


def gold_scale_of(runs: xr.Dataset) -> float:
    """The unit of the priors: the initial policy's sd where it is given, else the median over runs of the highest gold.

    Where most runs never rise above the initial policy it is the largest |gold| instead.

    Examples
    --------
    >>> from goldpeak.datasets import lab
    >>> gold_scale_of(lab("rl").assign_attrs(gold_scale=2.0))
    2.0
    """
    given = float(runs.attrs.get("gold_scale", 0.0))
    if given > 0:
        return given
    gold = runs["gold"].groupby(runs[RUN_INDEX])
    highest = float(gold.max().median())
    largest = float(abs(runs["gold"]).groupby(runs[RUN_INDEX]).max().median())
    return next((scale for scale in (highest, largest) if scale > 0), 1.0)

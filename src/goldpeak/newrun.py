r"""The distribution of a new run's gold curve, given each posterior draw of the fleet.

.. math:: \mathrm{gold}(d) = R\, F(d; t) + o(d; t) + Z(d)\, w, \qquad w \sim N(\mu, \mathrm{diag}\, s^2)

with w the coefficients that are linear: alpha and beta under the link ``identity``, and the sines of the run's own
smooth part. What is not linear hangs on one number t, normal given the draw, and on R, whose log is normal given t:

- peak coordinates: t = log d*, R = R*, F the shared shape at d exp(-t), o = 0
- link ``log`` of one coefficient: t is its log, o its column times exp(t), no R
- link ``log`` of both: t = log beta, R = alpha, F alpha's column

A run that shares its reward model with fitted runs counts as one with a new reward model: the marginal distribution is
the same, what the fitted runs say of that one is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from goldpeak.curves import (
    LEVELS,
    Include,
    StretchedCurves,
    card_of,
    checked_sizes,
    refuse_include,
    sines_of,
    stretched_draws,
    trend_draws,
)
from goldpeak.discrepancy import Sines
from goldpeak.engines.stretches import Prior
from goldpeak.errors import FitError
from goldpeak.forms import COEFFICIENTS, FORMS, Form
from goldpeak.noise import FLOOR

__all__ = ["Known", "Linear", "Logged", "NewRun", "NoiseDraws", "Stretched", "new_runs"]

Array = NDArray[np.float64]
Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Linear:
    """Coefficients that are normal given the draw, and their columns.

    Attributes
    ----------
    mean, sd : ndarray, shape (draw, column)
        Those of the form that are linear, then the sines'.
    form : Form
    picks : tuple of int
        Which of the form's two columns are among them.
    gamma : ndarray, shape (draw,)
    sines : Sines or None
    """

    mean: Array
    sd: Array
    form: Form
    picks: tuple[int, ...]
    gamma: Array
    sines: Sines | None

    def columns(self, d: Array) -> Array:
        """At d (point,): shape (draw, point, column), or (1, point, column) where all draws have the same."""
        moving = self.form.has_gamma and bool(self.picks)
        basis = self.form.basis(d, self.gamma[:, None]) if moving else self.form.basis(d)[None]
        of_form = basis[..., self.picks]
        if self.sines is None:
            return of_form
        sines = np.broadcast_to(self.sines.columns(d), (len(of_form), len(d), self.sines.count))
        return np.concatenate([of_form, sines], axis=-1)

    def take(self, rows: slice | Rows) -> Linear:
        """Some of the draws."""
        return replace(self, mean=self.mean[rows], sd=self.sd[rows], gamma=self.gamma[rows])


@dataclass(frozen=True)
class Stretched:
    """What is not linear in peak coordinates.

    Attributes
    ----------
    prior : Prior
        Of t = log d* and of log R*.
    curves : StretchedCurves
        The shared shape of every draw, shape (1, draw, 1).
    """

    prior: Prior
    curves: StretchedCurves

    has_height = True

    def parts(self, t: Array, d: Array) -> tuple[Array | None, Array | None]:
        """O and F at d (point,) for t (draw, node): None, and (draw, node, point)."""
        return None, self.curves.unit(np.exp(t), d)

    def take(self, rows: slice | Rows) -> Stretched:
        """Some of the draws."""
        return Stretched(_take(self.prior, rows), self.curves.part(rows))


@dataclass(frozen=True)
class Logged:
    """What is not linear under the link ``log``.

    Attributes
    ----------
    prior : Prior
        Of t, and where both coefficients are logs of alpha's.
    form : Form
    gamma : ndarray, shape (draw,)
    column : int
        Of which column exp(t) is the coefficient.
    has_height : bool
        Whether alpha is not linear either.
    """

    prior: Prior
    form: Form
    gamma: Array
    column: int
    has_height: bool

    def parts(self, t: Array, d: Array) -> tuple[Array | None, Array | None]:
        """O and F at d (point,) for t (draw, node), each (draw, node or 1, point) or None."""
        basis = self.form.basis(d, self.gamma[:, None])
        basis = np.broadcast_to(basis, (len(t), len(d), 2))
        offset = np.exp(t)[..., None] * basis[:, None, :, self.column]
        return offset, np.broadcast_to(basis[:, None, :, 0], offset.shape) if self.has_height else None

    def take(self, rows: slice | Rows) -> Logged:
        """Some of the draws."""
        return replace(self, prior=_take(self.prior, rows), gamma=self.gamma[rows])


@dataclass(frozen=True)
class Known:
    """What is known of the noise of a run's points, in the unit of their gold.

    Attributes
    ----------
    se : ndarray, shape (point,)
        Standard errors, 0 where none are known.
    block : ndarray, shape (point, point), or None
        Covariance; then `se` is what comes on top of it.
    time : ndarray, shape (point,), or None
        For noise ``ou``.
    """

    se: Array
    block: Array | None = None
    time: Array | None = None

    @property
    def independent(self) -> bool:
        """Whether the noise of points is independent, but for an offset that they share."""
        return self.block is None and self.time is None

    def take(self, points: Rows) -> Known:
        """Some of the points, in that order."""
        block = None if self.block is None else self.block[np.ix_(points, points)]
        return Known(self.se[points], block, None if self.time is None else self.time[points])


@dataclass(frozen=True)
class NoiseDraws:
    """Draws of the noise's parameters, shape (draw,) each, in the unit of gold.

    Attributes
    ----------
    h : dict of str to ndarray
        ``sigma`` and, where the card has them, ``nugget``, ``noise_lengthscale``, ``offset_sd``.
    floor : float
        Least standard deviation.
    """

    h: dict[str, Array]
    floor: float

    @classmethod
    def of(cls, post: xr.DataTree) -> NoiseDraws:
        """From a posterior."""
        kind = card_of(post).noise.kind
        if kind == "student_t":
            raise FitError(
                "the posterior's card has noise 'student_t', under which points of a new run have no closed "
                "predictive density; allowed: iid, known, cov, ou"
            )
        posterior = post["posterior"].to_dataset()
        names = ("sigma", "nugget", "noise_lengthscale", "offset_sd")
        h = {name: posterior[name].values.ravel() for name in names if name in posterior}
        return cls(h, FLOOR * float(post.attrs["gold_scale"]))

    def take(self, rows: slice | Rows) -> NoiseDraws:
        """Some of the draws."""
        return replace(self, h={name: values[rows] for name, values in self.h.items()})

    def variances(self, known: Known) -> Array:
        """Of independent points, an offset not counted: shape (draw, point)."""
        return np.asarray(self.h["sigma"][:, None] ** 2 + known.se**2 + self.floor**2)

    def covariance(self, known: Known, d: Array) -> Array:
        """Of a run's points, shape (draw, point, point)."""
        h, points = self.h, np.arange(len(d))
        if "noise_lengthscale" in h:
            assert known.time is not None
            gaps = np.abs(known.time[:, None] - known.time)
            found = h["sigma"][:, None, None] ** 2 * np.exp(-gaps / h["noise_lengthscale"][:, None, None])
            alone = h.get("nugget", np.zeros(len(found)))[:, None] ** 2 + known.se**2
        else:
            found = np.zeros((len(h["sigma"]), len(d), len(d)))
            alone = h["sigma"][:, None] ** 2 + known.se**2
        found[:, points, points] += alone + self.floor**2
        if known.block is not None:
            found += known.block
        if "offset_sd" in h:
            measured = (d > 0).astype(float)
            found += h["offset_sd"][:, None, None] ** 2 * np.outer(measured, measured)
        return found


@dataclass(frozen=True)
class NewRun:
    """A new run's curve given each draw: its linear part, and what is not linear where there is such.

    Attributes
    ----------
    linear : Linear
    bent : Stretched, Logged or None
    noise : NoiseDraws
    """

    linear: Linear
    bent: Stretched | Logged | None
    noise: NoiseDraws

    @property
    def draws(self) -> int:
        """Number of draws of the fleet."""
        return len(self.linear.mean)

    def take(self, rows: slice | Rows) -> NewRun:
        """Some of the draws."""
        return NewRun(self.linear.take(rows), self.bent.take(rows) if self.bent else None, self.noise.take(rows))


def new_runs(
    post: xr.DataTree, rm_params: Sequence[float] | ArrayLike, *, include: Include = "new_run", seed: int | None = None
) -> list[NewRun]:
    """The distribution of new runs at reward-model sizes, one for each.

    Parameters
    ----------
    post : xarray.DataTree
        As returned by `fit`; its chains are laid one after another.
    rm_params, include, seed
        As for `curves.new_curves`. Of trends that drift, slopes beyond the largest observed size are drawn, the same
        for all sizes.

    Returns
    -------
    list of NewRun

    Raises
    ------
    FitError
        As `curves.new_curves`, or if the card's noise is ``student_t``.
    """
    refuse_include(include)
    sizes, card = checked_sizes(post, rm_params), card_of(post)
    x = np.log(sizes / float(post.attrs["n0"]))
    rng = np.random.default_rng([int(post.attrs["seed"]) if seed is None else seed, 1])
    names = tuple(card.coefficients)
    mean = {name: trend_draws(name, post, card, x, rng).reshape(-1, len(x)) for name in names}
    scatter = {name: _scatter(post, name, include) for name in names}
    noise = NoiseDraws.of(post)
    middles = [{name: values[:, i] for name, values in mean.items()} for i in range(len(x))]
    if card.coordinates == "peak":
        return _of_stretches(post, sizes, x, middles, scatter, include, noise)
    return [_of_coefficients(post, x[i], middle, scatter, include, noise) for i, middle in enumerate(middles)]


def _scatter(post: xr.DataTree, name: str, include: Include) -> Array:
    """Variances of the levels that are included, shape (draw, level)."""
    posterior = post["posterior"].to_dataset()
    nothing = np.zeros(posterior["sigma"].size)
    levels = [f"{name}_sd_{level}" for level in LEVELS[include]]
    found = [posterior[level].values.ravel() ** 2 if level in posterior else nothing for level in levels]
    return np.stack([*found, nothing], axis=-1)


def _of_coefficients(
    post: xr.DataTree, x: float, mean: dict[str, Array], scatter: dict[str, Array], include: Include, noise: NoiseDraws
) -> NewRun:
    card, gamma = card_of(post), _per_draw(post, "gamma")
    form = FORMS[card.form.kind]
    sd = {name: np.sqrt(values.sum(axis=1)) for name, values in scatter.items()}
    logged = [i for i, name in enumerate(COEFFICIENTS) if card.coefficients[name].link == "log"]
    picks = tuple(i for i in range(2) if i not in logged)
    sines, own_mean, own_sd = _own(post, x, include, "lengthscale")
    linear = Linear(
        mean=np.column_stack([*(mean[COEFFICIENTS[i]] for i in picks), own_mean]),
        sd=np.column_stack([*(sd[COEFFICIENTS[i]] for i in picks), own_sd]),
        form=form,
        picks=picks,
        gamma=gamma,
        sines=sines,
    )
    if not logged:
        return NewRun(linear, None, noise)
    of_t, of_height = COEFFICIENTS[logged[-1]], COEFFICIENTS[0]
    covariance = np.zeros((len(gamma), 2, 2))
    covariance[:, 0, 0], covariance[:, 1, 1] = sd[of_t] ** 2, sd[of_height] ** 2
    prior = Prior.of(np.column_stack([mean[of_t], mean[of_height]]), covariance)
    return NewRun(linear, Logged(prior, form, gamma, logged[-1], len(logged) == 2), noise)


def _of_stretches(
    post: xr.DataTree,
    sizes: Array,
    x: Array,
    means: list[dict[str, Array]],
    scatter: dict[str, Array],
    include: Include,
    noise: NoiseDraws,
) -> list[NewRun]:
    covariance = np.zeros((len(noise.h["sigma"]), 2, 2))
    covariance[:, 0, 0], covariance[:, 1, 1] = (scatter[name].sum(axis=1) for name in ("d_star", "gold_star"))
    both = np.sqrt(scatter["d_star"] * scatter["gold_star"]).sum(axis=1)
    covariance[:, 0, 1] = covariance[:, 1, 0] = _per_draw(post, "correlation") * both
    shape, form = (*post["posterior"]["sigma"].shape, 1), FORMS[card_of(post).form.kind]
    found: list[NewRun] = []
    first: StretchedCurves | None = None
    for i, mean in enumerate(means):
        theta = {name: np.exp(values).reshape(shape) for name, values in mean.items()}
        curves = stretched_draws(post, "rm_params", sizes[[i]], x[[i]], theta, None).flat()
        curves = replace(curves, sines=None)
        first = first or curves
        sines, own_mean, own_sd = _own(post, x[i], include, "run_lengthscale")
        linear = Linear(own_mean, own_sd, form, (), curves.gamma.ravel(), sines)
        prior = Prior.of(np.column_stack([mean["d_star"], mean["gold_star"]]), covariance)
        found.append(NewRun(linear, Stretched(prior, first.share(curves)), noise))
    return found


def _own(post: xr.DataTree, x: float, include: Include, lengthscale: str) -> tuple[Sines | None, Array, Array]:
    """Basis, means and sds of the smooth part in d, shape (draw, sine)."""
    posterior, sines = post["posterior"].to_dataset(), sines_of(post)
    draws = posterior["sigma"].size
    mean = np.zeros((draws, sines.count if sines else 0))
    if sines is None:
        return None, mean, mean
    for name, of_size in (("delta_shared", 1.0), ("delta_trend", x)):
        if name in posterior:
            mean += of_size * posterior[name].transpose("chain", "draw", "sine").values.reshape(mean.shape)
    if include != "new_run" or "eta_run" not in posterior:
        return sines, mean, np.zeros_like(mean)
    spread = np.sqrt(sines.variances(_per_draw(post, lengthscale)))
    return sines, mean, _per_draw(post, "eta_run")[:, None] * spread


def _per_draw(post: xr.DataTree, name: str) -> Array:
    posterior = post["posterior"].to_dataset()
    values = posterior[name] if name in posterior else xr.zeros_like(posterior["sigma"])
    return np.asarray(values.transpose("chain", "draw").values.ravel())


def _take(prior: Prior, rows: slice | Rows) -> Prior:
    return Prior(prior.mean[rows], prior.sd_d[rows], prior.lean[rows], prior.sd_gold[rows])

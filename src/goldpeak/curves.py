"""From a posterior to draws of gold curves: of the observed runs, or of runs at other reward-model sizes.

Everything that asks about a curve (peak, prediction, stopping) starts from a `Curves`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, cast

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from goldpeak.card import COORDINATES, Card
from goldpeak.discrepancy import Sines
from goldpeak.errors import FitError
from goldpeak.forms import FORMS, Form, gold_at, peak_of
from goldpeak.mixture import MixedCurves, components, is_mixture, mixed_curves
from goldpeak.names import RUN
from goldpeak.priors import correlated_pair
from goldpeak.shapes import SHAPE_GAMMA, Shape
from goldpeak.stretched import StretchedCurves
from goldpeak.trends import KNOT_STEP, TRENDS, Trend, knots_between, trend_columns

__all__ = [
    "LEVELS",
    "AnyCurves",
    "Curves",
    "Include",
    "SingleCurves",
    "StretchedCurves",
    "card_of",
    "checked_sizes",
    "new_curves",
    "observed_curves",
    "refuse_include",
    "sines_of",
    "stretched_draws",
    "trend_draws",
]

Array = NDArray[np.float64]
Include = Literal["typical", "new_rm", "new_run"]
LEVELS: dict[str, tuple[str, ...]] = {"typical": (), "new_rm": ("rm",), "new_run": ("rm", "run")}
"""What a prediction includes: whose deviations from what lies above them."""


@dataclass(frozen=True)
class Curves:
    """Draws of gold curves, one per item (a run, or a reward-model size).

    Attributes
    ----------
    form : Form
    dim : str
        ``run`` or ``rm_params``.
    items : ndarray, shape (item,)
        Labels along `dim`.
    alpha, beta : ndarray, shape (chain, draw, item)
        In the user's gold per square-root nat.
    gamma : ndarray, shape (chain, draw)
        Shape parameter; 0 where the form has none.
    sines : Sines or None
        Basis of the smooth discrepancy, where the card has one.
    delta : ndarray, shape (chain, draw, item, sine), or None
        Its coefficients, in the user's gold.

    Examples
    --------
    One draw of one best-of-n curve, gold = d (1 - d / 4):

    >>> import numpy as np
    >>> one = np.ones((1, 1, 1))
    >>> curves = Curves(FORMS["bon"], "run", np.array(["a"]), alpha=one, beta=one / 4, gamma=np.zeros((1, 1)))
    >>> curves.gold([0.0, 2.0, 4.0]).ravel()
    array([0., 1., 0.])
    """

    form: Form
    dim: str
    items: NDArray[Any]
    alpha: Array
    beta: Array
    gamma: Array
    sines: Sines | None = None
    delta: Array | None = None

    @property
    def grid(self) -> tuple[int, ...]:
        """Numbers of chains, draws and items."""
        return self.alpha.shape

    @property
    def smooth(self) -> bool:
        """Whether anything is added to the form."""
        return self.sines is not None

    def gold(self, d: ArrayLike) -> Array:
        """Gold at d (square-root nats), shape (chain, draw, item, len(d))."""
        d = np.asarray(d, dtype=float)
        phi = self.form.basis(d, self.gamma[..., None, None])
        gold = self.alpha[..., None] * phi[..., 0] + self.beta[..., None] * phi[..., 1]
        if self.sines is None or self.delta is None:
            return gold
        return gold + self.delta @ self.sines.columns(d).T

    def form_peak(self) -> Array:
        """D at the peak of the form alone, shape (chain, draw, item)."""
        return peak_of(self.form, self.alpha, self.beta, self.gamma[..., None])

    def form_gold(self, d: Array) -> Array:
        """Gold of the form alone, of each curve at points of its own: d and result (chain, draw, item, k)."""
        return gold_at(self.form, d, self.alpha[..., None], self.beta[..., None], self.gamma[..., None, None])

    def columns(self, d: Array) -> Array:
        """Columns that all curves have in common, at d: shape (len(d), column)."""
        form = self.form.basis(d)
        sines = self.sines.columns(d) if self.sines else np.empty((len(d), 0))
        return np.column_stack([form[:, :1] if self.form.has_gamma else form, sines])

    @property
    def weights(self) -> Array:
        """Coefficients on `columns`, shape (chain, draw, item, column)."""
        form = [self.alpha] if self.form.has_gamma else [self.alpha, self.beta]
        delta = np.empty((*self.grid, 0)) if self.delta is None else self.delta
        return np.concatenate([np.stack(form, axis=-1), delta], axis=-1)

    def moving(self, d: Array) -> Array | float:
        """Gold of what has no column in common, of each curve at points of its own: (chain, draw, item, k)."""
        if not self.form.has_gamma:
            return 0.0
        return self.beta[..., None] * self.form.basis(d, self.gamma[..., None, None])[..., 1]

    def flat(self) -> Curves:
        """The same curves with one long axis of (chain, draw, item): shape (1, all, 1)."""
        gamma = np.broadcast_to(self.gamma[..., None], self.alpha.shape)
        return replace(
            self,
            items=self.items[:1],
            alpha=self.alpha.reshape(1, -1, 1),
            beta=self.beta.reshape(1, -1, 1),
            gamma=gamma.reshape(1, -1),
            delta=None if self.delta is None else self.delta.reshape(1, -1, 1, self.delta.shape[-1]),
        )

    def one_chain(self) -> Curves:
        """The same curves, chains laid one after another: shape (1, all, item)."""
        chains, draws, count = self.grid
        return replace(
            self,
            alpha=self.alpha.reshape(1, -1, count),
            beta=self.beta.reshape(1, -1, count),
            gamma=np.broadcast_to(self.gamma, (chains, draws)).reshape(1, -1),
            delta=None if self.delta is None else self.delta.reshape(1, chains * draws, count, -1),
        )

    def part(self, draws: slice | NDArray[np.int64]) -> Curves:
        """Some of the draws."""
        return replace(
            self,
            alpha=self.alpha[:, draws],
            beta=self.beta[:, draws],
            gamma=self.gamma[:, draws],
            delta=None if self.delta is None else self.delta[:, draws],
        )


SingleCurves = Curves | StretchedCurves
AnyCurves = SingleCurves | MixedCurves


def card_of(post: xr.DataTree) -> Card:
    """The card a posterior was fitted with."""
    if is_mixture(post):
        raise FitError(
            f"this posterior mixes several cards ({post.attrs['card_name']}) and here one is needed; take one of "
            "goldpeak.mixture.components(post)"
        )
    return Card.from_toml(post.attrs["card"], source="the posterior's card")


def observed_curves(post: xr.DataTree) -> AnyCurves:
    """Curves of the runs that were fitted."""
    if is_mixture(post):
        return mixed_curves(post, [cast(SingleCurves, observed_curves(each)) for _, each in components(post)])
    posterior, card = post["posterior"].to_dataset(), card_of(post)
    if card.coordinates == "peak":
        x = np.log(_observed_sizes(post) / float(post.attrs["n0"]))
        theta = {name: _values(posterior[name], RUN) for name in COORDINATES["peak"]}
        own = _values(posterior["delta"], RUN, "sine") if "delta" in posterior else None
        return stretched_draws(post, RUN, posterior[RUN].values, x, theta, own)
    return Curves(
        form=FORMS[card.form.kind],
        dim=RUN,
        items=posterior[RUN].values,
        alpha=_values(posterior["alpha"], RUN),
        beta=_values(posterior["beta"], RUN),
        gamma=_gamma(posterior),
        sines=sines_of(post),
        delta=_values(posterior["delta"], RUN, "sine") if "delta" in posterior else None,
    )


def new_curves(
    post: xr.DataTree, rm_params: Sequence[float] | ArrayLike, *, include: Include = "new_run", seed: int | None = None
) -> AnyCurves:
    """Curves at any reward-model sizes.

    Parameters
    ----------
    post : xarray.DataTree
        As returned by `fit`.
    rm_params : array_like, shape (item,)
        Sizes N > 0.
    include : {"typical", "new_rm", "new_run"}
        ``typical``: the trend only. ``new_rm``: and how far a newly trained RM lies off it. ``new_run``: and how far a
        new run lies off its RM.
    seed : int, optional
        Seed of the deviations that are drawn; the posterior's own by default.

    Returns
    -------
    Curves, StretchedCurves of a card in peak coordinates, or MixedCurves of a mixture

    Raises
    ------
    FitError
        If the posterior saw a single size, a size is not a positive number, or `include` is unknown.
    """
    refuse_include(include)
    sizes = checked_sizes(post, rm_params)
    if is_mixture(post):
        seed = int(post.attrs["seed"]) if seed is None else seed
        parts = [new_curves(each, sizes, include=include, seed=seed) for _, each in components(post)]
        return mixed_curves(post, cast(list[SingleCurves], parts))
    posterior, card = post["posterior"].to_dataset(), card_of(post)
    x = np.log(sizes / float(post.attrs["n0"]))
    rng = np.random.default_rng([int(post.attrs["seed"]) if seed is None else seed, 1])
    if card.coordinates == "peak":
        scatter = _correlated(posterior, x, include, rng)
        theta = {name: np.exp(trend_draws(name, post, card, x, rng) + scatter[name]) for name in scatter}
        own = _new_delta(posterior, sines_of(post), x, include, rng, lengthscale="run_lengthscale")
        return stretched_draws(post, "rm_params", sizes, x, theta, own)
    theta = {name: _new_coefficient(name, post, card, x, include, rng) for name in ("alpha", "beta")}
    return Curves(
        form=FORMS[card.form.kind],
        dim="rm_params",
        items=sizes,
        alpha=theta["alpha"],
        beta=theta["beta"],
        gamma=_gamma(posterior),
        sines=sines_of(post),
        delta=_new_delta(posterior, sines_of(post), x, include, rng),
    )


def sines_of(post: xr.DataTree) -> Sines | None:
    """Basis of a posterior's discrepancy, if it has one."""
    if "sines_count" not in post.attrs:
        return None
    return Sines(float(post.attrs["sines_length"]), int(post.attrs["sines_count"]))


def shape_of(post: xr.DataTree) -> Shape:
    """The shared shape of a posterior in peak coordinates."""
    sines = None
    if "shape_sines_count" in post.attrs:
        sines = Sines(float(post.attrs["shape_sines_length"]), int(post.attrs["shape_sines_count"]))
    return Shape(SHAPE_GAMMA[(card := card_of(post)).form.kind], sines, card.pivot)


def stretched_draws(
    post: xr.DataTree, dim: str, items: NDArray[Any], x: Array, theta: dict[str, Array], own: Array | None
) -> StretchedCurves:
    """Curves with the peaks `theta` (chain, draw, item) at log sizes x, and `own` coefficients of their own sines."""
    posterior, shape = post["posterior"].to_dataset(), shape_of(post)
    gamma = np.full(theta["d_star"].shape, shape.gamma if shape.gamma is not None else np.nan)
    if shape.gamma is None:
        slope = posterior["gamma_slope"].values[..., None] if "gamma_slope" in posterior else 0.0
        gamma = np.broadcast_to(posterior["gamma"].values[..., None] + slope * x, gamma.shape)
    delta = posterior.get("delta_shape")
    return StretchedCurves(
        shape=shape,
        dim=dim,
        items=items,
        d_star=theta["d_star"],
        gold_star=theta["gold_star"],
        gamma=gamma,
        bend=np.broadcast_to(posterior["bend"].values[..., None], gamma.shape) if "bend" in posterior else None,
        shape_delta=None if delta is None else _values(delta, "shape_sine").reshape(-1, delta.sizes["shape_sine"]),
        sines=sines_of(post),
        delta=own,
    )


def _correlated(posterior: xr.Dataset, x: Array, include: Include, rng: np.random.Generator) -> dict[str, Array]:
    """Deviations of new runs' log d* and log R* from their trends."""
    shape = (posterior.sizes["chain"], posterior.sizes["draw"], len(x))
    nothing = xr.zeros_like(posterior["sigma"])
    correlation = posterior.get("correlation", nothing).values[..., None]
    found = {name: np.zeros(shape) for name in COORDINATES["peak"]}
    for level in LEVELS[include]:
        for name, white in zip(found, correlated_pair(correlation, shape, rng), strict=True):
            found[name] += posterior.get(f"{name}_sd_{level}", nothing).values[..., None] * white
    return found


def _new_delta(
    posterior: xr.Dataset,
    sines: Sines | None,
    x: Array,
    include: Include,
    rng: np.random.Generator,
    lengthscale: str = "lengthscale",
) -> Array | None:
    if sines is None:
        return None
    delta = np.zeros((posterior.sizes["chain"], posterior.sizes["draw"], len(x), sines.count))
    if "delta_shared" in posterior:
        delta += _values(posterior["delta_shared"], "sine")[..., None, :]
    if "delta_trend" in posterior:
        delta += _values(posterior["delta_trend"], "sine")[..., None, :] * x[:, None]
    if include == "new_run" and "eta_run" in posterior:
        spread = posterior["eta_run"].values[..., None] * np.sqrt(sines.variances(posterior[lengthscale].values))
        delta += spread[..., None, :] * rng.standard_normal(delta.shape)
    return delta


def trend_draws(name: str, post: xr.DataTree, card: Card, x: Array, rng: np.random.Generator) -> Array:
    """A coefficient's trend at new sizes, on its link's scale."""
    posterior = post["posterior"].to_dataset()
    trend = TRENDS[card.coefficients[name].trend.kind]
    coef = _values(posterior[f"{name}_coef"], f"{name}_term")
    knots, beyond = _knots(trend, post, x)
    if len(beyond):
        # Slope changes beyond the largest observed size: the data say nothing of them, so they come from the prior.
        sd = np.sqrt(KNOT_STEP) * posterior[f"{name}_drift"].values[..., None]
        coef = np.concatenate([coef, sd * rng.standard_normal((*coef.shape[:2], len(beyond)))], axis=-1)
    return coef @ trend_columns(trend, x, np.append(knots, beyond)).T


def _new_coefficient(
    name: str, post: xr.DataTree, card: Card, x: Array, include: Include, rng: np.random.Generator
) -> Array:
    posterior = post["posterior"].to_dataset()
    level = trend_draws(name, post, card, x, rng)
    for part in LEVELS[include]:
        if f"{name}_sd_{part}" in posterior:
            sd = posterior[f"{name}_sd_{part}"].values[..., None]
            level = level + sd * rng.standard_normal(level.shape)
    return cast(Array, np.exp(level)) if card.coefficients[name].link == "log" else level


def _knots(trend: Trend, post: xr.DataTree, x: Array) -> tuple[Array, Array]:
    """Knots that were fitted, and those between the largest observed and the largest asked-for size."""
    if not trend.drifts:
        return np.empty(0), np.empty(0)
    observed = np.log(_observed_sizes(post) / float(post.attrs["n0"]))
    fitted = knots_between(observed.min(), observed.max())
    return fitted, knots_between(observed.min(), max(observed.max(), x.max()))[len(fitted) :]


def _observed_sizes(post: xr.DataTree) -> Array:
    return cast(Array, post["constant_data"].to_dataset()["rm_params"].values)


def refuse_include(include: str, others: Sequence[str] = ()) -> None:
    """Raise a `FitError` if this is no answer to what a prediction includes, after `others`, which are wrong too."""
    problems = [*others, *([] if include in LEVELS else [f"include is {include!r}; allowed: {', '.join(LEVELS)}"])]
    if problems:
        raise FitError("; ".join(problems))


def checked_sizes(post: xr.DataTree, rm_params: Sequence[float] | ArrayLike) -> Array:
    """Sizes as an array; a `FitError` if one is no size, or the posterior cannot say anything of other sizes."""
    sizes = np.atleast_1d(np.asarray(rm_params, dtype=float))
    if sizes.ndim > 1:
        raise FitError(f"rm_params has shape {sizes.shape}; allowed: one size, or a list of them")
    bad = sizes[~(np.isfinite(sizes) & (sizes > 0))]
    if bad.size or not sizes.size:
        raise FitError(f"rm_params holds {', '.join(map(str, bad)) or 'nothing'}; allowed: finite numbers > 0")
    observed = np.unique(_observed_sizes(post))
    if len(observed) == 1:
        raise FitError(
            f"all runs have the same rm_params ({observed[0]:g}): one size says nothing about how the peak moves with "
            "size. Add runs of another size, or ask for the observed runs (without rm_params)"
        )
    return sizes


def _values(variable: xr.DataArray, *dims: str) -> Array:
    return cast(Array, variable.transpose("chain", "draw", *dims).values)


def _gamma(posterior: xr.Dataset) -> Array:
    if "gamma" in posterior:
        return _values(posterior["gamma"])
    return np.zeros((posterior.sizes["chain"], posterior.sizes["draw"]))

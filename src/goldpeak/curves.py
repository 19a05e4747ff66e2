"""From a posterior to draws of gold curves: of the observed runs, or of runs at other reward-model sizes.

Everything that asks about a curve (peak, prediction, stopping) starts from a `Curves`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, cast, get_args

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from goldpeak.card import Card
from goldpeak.errors import FitError
from goldpeak.forms import FORMS, Form
from goldpeak.names import RUN
from goldpeak.trends import TRENDS, trend_columns

__all__ = ["Curves", "Include", "new_curves", "observed_curves"]

Array = NDArray[np.float64]
Include = Literal["typical", "new_rm", "new_run"]


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
    """

    form: Form
    dim: str
    items: NDArray
    alpha: Array
    beta: Array
    gamma: Array

    def gold(self, d: ArrayLike) -> Array:
        """Gold at d (square-root nats), shape (chain, draw, item, len(d))."""
        phi = self.form.basis(np.asarray(d, dtype=float), self.gamma[..., None, None])
        return self.alpha[..., None] * phi[..., 0] + self.beta[..., None] * phi[..., 1]


def card_of(post: xr.DataTree) -> Card:
    """The card a posterior was fitted with."""
    return Card.from_toml(post.attrs["card"], source="the posterior's card")


def observed_curves(post: xr.DataTree) -> Curves:
    """Curves of the runs that were fitted."""
    posterior = post["posterior"].to_dataset()
    return Curves(
        form=FORMS[card_of(post).form.kind],
        dim=RUN,
        items=posterior[RUN].values,
        alpha=_values(posterior["alpha"], RUN),
        beta=_values(posterior["beta"], RUN),
        gamma=_gamma(posterior),
    )


def new_curves(
    post: xr.DataTree, rm_params: Sequence[float] | ArrayLike, *, include: Include = "new_run", seed: int | None = None
) -> Curves:
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
    Curves

    Raises
    ------
    FitError
        If the posterior saw a single size, a size is not a positive number, or `include` is unknown.
    """
    if include not in get_args(Include):
        raise FitError(f"include is {include!r}; allowed: {', '.join(get_args(Include))}")
    sizes = _checked_sizes(post, rm_params)
    posterior, card = post["posterior"].to_dataset(), card_of(post)
    x = np.log(sizes / float(post.attrs["n0"]))
    rng = np.random.default_rng([int(post.attrs["seed"]) if seed is None else seed, 1])
    theta = {name: _new_coefficient(name, posterior, card, x, include, rng) for name in ("alpha", "beta")}
    return Curves(
        form=FORMS[card.form.kind],
        dim="rm_params",
        items=sizes,
        alpha=theta["alpha"],
        beta=theta["beta"],
        gamma=_gamma(posterior),
    )


def _new_coefficient(
    name: str, posterior: xr.Dataset, card: Card, x: Array, include: Include, rng: np.random.Generator
) -> Array:
    spec = getattr(card, name)
    trend = TRENDS[spec.trend.kind]
    coef = _values(posterior[f"{name}_coef"], f"{name}_term")
    level = coef @ trend_columns(trend, x).T
    levels = {"typical": (), "new_rm": ("rm",), "new_run": ("rm", "run")}[include]
    for part in levels:
        if f"{name}_sd_{part}" in posterior:
            sd = posterior[f"{name}_sd_{part}"].values[..., None]
            level = level + sd * rng.standard_normal(level.shape)
    return cast(Array, np.exp(level)) if spec.link == "log" else level


def _checked_sizes(post: xr.DataTree, rm_params: Sequence[float] | ArrayLike) -> Array:
    sizes = np.atleast_1d(np.asarray(rm_params, dtype=float))
    bad = sizes[~(np.isfinite(sizes) & (sizes > 0))]
    if bad.size or not sizes.size:
        raise FitError(f"rm_params holds {', '.join(map(str, bad)) or 'nothing'}; allowed: finite numbers > 0")
    observed = np.unique(post["constant_data"]["rm_params"].values)
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

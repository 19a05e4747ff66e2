"""Posterior gold curves as labelled arrays."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from goldpeak.curves import Include, new_curves, observed_curves, refuse_include
from goldpeak.errors import FitError
from goldpeak.names import describe
from goldpeak.peaks import refuse_beyond_basis

__all__ = ["predict"]


def predict(
    post: xr.DataTree,
    kl: Sequence[float] | ArrayLike,
    rm_params: Sequence[float] | ArrayLike | None = None,
    *,
    include: Include = "new_run",
    seed: int | None = None,
) -> xr.Dataset:
    """Draws of gold reward at given KL divergences.

    Parameters
    ----------
    post : xarray.DataTree
        As returned by `fit`.
    kl : array_like, shape (kl,)
        KL divergences in nats, >= 0.
    rm_params : array_like, optional
        Reward-model sizes; without it, the observed runs.
    include : {"typical", "new_rm", "new_run"}
        What a prediction at a size includes, see `curves.new_curves`.
    seed : int, optional
        Seed of the new RMs' and runs' deviations; the posterior's own by default.

    Returns
    -------
    xarray.Dataset
        ``gold`` with dims (chain, draw, run or rm_params, kl): the curve itself, without measurement noise, relative to
        the initial policy. Takes 8 bytes x draws x items x len(kl).

    Raises
    ------
    FitError
        If a KL is negative, not finite or beyond what the posterior covers, sizes cannot be predicted, or `include` is
        unknown.

    Examples
    --------
    >>> import goldpeak
    >>> runs = goldpeak.datasets.lab("rl")
    >>> post = goldpeak.fit(runs, "rl_paper", engine="exact", draws=100)
    >>> goldpeak.predict(post, [1.0, 4.0], rm_params=[1e5])["gold"].sizes["kl"]
    2
    """
    refuse_include(include)
    grid = np.atleast_1d(np.asarray(kl, dtype=float))
    if grid.ndim > 1:
        raise FitError(f"kl has shape {grid.shape}; allowed: one KL, or a list of them")
    bad = grid[~(np.isfinite(grid) & (grid >= 0))]
    if bad.size or not grid.size:
        raise FitError(f"kl holds {', '.join(map(str, bad[:5])) or 'nothing'}; allowed: finite numbers >= 0")
    curves = observed_curves(post) if rm_params is None else new_curves(post, rm_params, include=include, seed=seed)
    refuse_beyond_basis(curves, float(grid.max()))
    coords = {
        "chain": post["posterior"]["chain"].values,
        "draw": post["posterior"]["draw"].values,
        curves.dim: curves.items,
        "kl": grid,
    }
    return describe(xr.Dataset({"gold": (("chain", "draw", curves.dim, "kl"), curves.gold(np.sqrt(grid)))}, coords))

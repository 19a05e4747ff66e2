"""Posteriors on disk: netCDF, written whole or not at all, and checked when read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import xarray as xr

from goldpeak.card import Card
from goldpeak.errors import GoldpeakError, StoreError
from goldpeak.io.atomic import replacing
from goldpeak.mixture import is_mixture, named_components
from goldpeak.names import RUN
from goldpeak.runs import digest

__all__ = ["SCHEMA", "load", "save", "stored_runs"]

SCHEMA = 1
"""Version of the layout of a posterior file."""
NEEDED = "needed is a posterior, as 'goldpeak fit --out' and goldpeak.save write it"

STAMP = ("card", "card_hash", "data_digest", "engine", "engine_reason", "seed", "gates", "gold_scale", "n0", "kl_max")
"""Attributes that the rest of the package relies on."""
GROUPS = ("posterior", "sample_stats", "observed_data", "constant_data", "log_likelihood")


def save(post: xr.DataTree, path: str | Path) -> None:
    """Write a posterior to a netCDF file.

    The file is written beside its place and renamed, so that an interruption leaves the old file or none.

    Parameters
    ----------
    post : xarray.DataTree
        As returned by `fit`.
    path : path-like
        Its folder must exist.

    Raises
    ------
    StoreError
        If `post` carries no goldpeak stamp or the file cannot be written.

    Examples
    --------
    >>> import tempfile, goldpeak
    >>> post = goldpeak.fit(goldpeak.datasets.lab("rl"), "rl_paper", draws=100)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     goldpeak.save(post, f"{folder}/fit.nc")
    ...     goldpeak.load(f"{folder}/fit.nc").identical(post)
    True
    """
    path = Path(path)
    if "goldpeak_schema" not in post.attrs:
        raise StoreError("this DataTree has no goldpeak stamp; save takes what fit returned")
    if not path.parent.is_dir():
        raise StoreError(f"{path}: the folder {path.parent} does not exist")
    with replacing(path) as temporary:
        post.to_netcdf(temporary, engine="h5netcdf")


def load(path: str | Path) -> xr.DataTree:
    """Read a posterior written by `save`, and check its stamp.

    Parameters
    ----------
    path : path-like

    Returns
    -------
    xarray.DataTree
        In memory; the file is closed.

    Raises
    ------
    StoreError
        If the file cannot be read, was not written by goldpeak, or does not fit its own stamp; says what does not fit.

    Examples
    --------
    >>> import goldpeak
    >>> goldpeak.load("no-such-fit.nc")
    Traceback (most recent call last):
    goldpeak.errors.StoreError: no-such-fit.nc: no such file
    """
    path = Path(path)
    if not path.is_file():
        raise StoreError(f"{path}: is a folder; {NEEDED}" if path.is_dir() else f"{path}: no such file")
    try:
        post = xr.load_datatree(path, engine="h5netcdf")
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise StoreError(f"{path}: not a netCDF file that can be read; {NEEDED} ({error})") from error
    problems = _stamp_problems(post)
    if problems:
        raise StoreError(f"{path}: " + "; ".join(problems))
    return post


def _stamp_problems(post: xr.DataTree) -> list[str]:
    if "goldpeak_schema" not in post.attrs:
        return [f"not written by goldpeak: it has no stamp; {NEEDED}"]
    schema = post.attrs["goldpeak_schema"]
    if schema != SCHEMA:
        return [f"has layout {schema}, this goldpeak reads layout {SCHEMA}; fit again or use the version that wrote it"]
    if is_mixture(post):
        return _mixture_problems(post)
    missing = [group for group in GROUPS if group not in post.children]
    if missing:
        return [f"lacks the group {', '.join(missing)}"]
    absent = [key for key in STAMP if key not in post.attrs]
    if absent:
        return [f"lacks the attribute {', '.join(absent)}"]
    problems = _posterior_problems(post)
    try:
        found = Card.from_toml(post.attrs["card"]).hash()
        if found != post.attrs["card_hash"]:
            problems.append(f"its card has hash {found}, its stamp says {post.attrs['card_hash']}")
    except GoldpeakError as error:
        problems.append(f"its card cannot be read: {error}")
    try:
        found = digest(stored_runs(post))
        if found != post.attrs["data_digest"]:
            problems.append(f"its run curves have digest {found[:12]}, its stamp says {post.attrs['data_digest'][:12]}")
    except (KeyError, ValueError) as error:
        problems.append(f"its run curves cannot be read: {error}")
    return problems


def _mixture_problems(post: xr.DataTree) -> list[str]:
    try:
        posterior = post["posterior"].to_dataset()[["component", "row"]]
        named = named_components(post)
    except (KeyError, ValueError) as error:
        return [f"mixes posteriors, and what says how cannot be read: {error}"]
    problems = [f"its component {name!r} {what}" for name, each in named.items() for what in _stamp_problems(each)]
    if problems:
        return problems
    digests = {str(each.attrs["data_digest"]) for each in named.values()} | {str(post.attrs.get("data_digest"))}
    if len(digests) > 1:
        problems.append("its components are of different run curves")
    sizes = np.array([each["posterior"]["sigma"].size for each in named.values()])
    component, row = posterior["component"].values, posterior["row"].values
    if not (np.all((component >= 0) & (component < len(sizes))) and np.all((row >= 0) & (row < sizes[component]))):
        problems.append("its draws point beyond those of its components")
    return problems


def _posterior_problems(post: xr.DataTree) -> list[str]:
    posterior, data = post["posterior"].to_dataset(), post["constant_data"].to_dataset()
    needed = ("d_star", "gold_star") if "d_star" in posterior else ("alpha", "beta")
    absent = [name for name in (*needed, "sigma") if name not in posterior]
    problems = [f"its posterior lacks {', '.join(absent)}"] if absent else []
    if RUN in posterior and RUN in data and not np.array_equal(posterior[RUN].values, data[RUN].values):
        problems.append(
            f"its posterior has {posterior.sizes[RUN]} runs, its run curves {data.sizes[RUN]}, not the same"
        )
    damaged = [str(name) for name, values in posterior.data_vars.items() if not np.isfinite(values.values.sum())]
    if damaged:
        problems.append(f"its posterior holds values that are not finite in {', '.join(damaged)}")
    return problems


def stored_runs(post: xr.DataTree) -> xr.Dataset:
    """The run curves a posterior was fitted to, as `read_runs` gave them."""
    return xr.merge(
        [post["constant_data"].to_dataset(), post["observed_data"].to_dataset()],
        compat="override",
        combine_attrs="override",
    )

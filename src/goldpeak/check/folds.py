"""Which runs are fitted and which are held out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import xarray as xr

from goldpeak.errors import FitError
from goldpeak.names import RUN
from goldpeak.subset import select, split_by_size

__all__ = ["SCHEMES", "Fold", "Scheme", "folds", "half_by_size"]

Scheme = Literal["small_to_large", "leave_one_size_out", "leave_one_run_out"]
SCHEMES = get_args(Scheme)


@dataclass(frozen=True)
class Fold:
    """One division of the runs.

    Attributes
    ----------
    name : str
        For people, such as ``"up to 1200"``.
    fitted, held_out : tuple of str
        Names of runs.
    """

    name: str
    fitted: tuple[str, ...]
    held_out: tuple[str, ...]

    def split(self, runs: xr.Dataset) -> tuple[xr.Dataset, xr.Dataset]:
        """The runs that are fitted, and those held out."""
        return _named(runs, self.fitted), _named(runs, self.held_out)


def folds(runs: xr.Dataset, scheme: Scheme, *, least: int = 2, ahead: int | None = None) -> tuple[Fold, ...]:
    """The folds of a scheme.

    Parameters
    ----------
    runs : xarray.Dataset
        As returned by `read_runs`.
    scheme : {"small_to_large", "leave_one_size_out", "leave_one_run_out"}
        ``small_to_large`` (rolling origin): for each size but the largest, from the `least`-th on, fit all runs up to
        it and hold out the larger ones. It asks what extrapolation asks; leaving out one size mostly interpolates.
    least : int
        ``small_to_large``: how many sizes are fitted at least, 2 or more.
    ahead : int, optional
        ``small_to_large``: how many of the next sizes are held out; all by default.

    Returns
    -------
    tuple of Fold

    Raises
    ------
    FitError
        If there is no such scheme, or fewer sizes or runs than it needs.

    Examples
    --------
    >>> from goldpeak.datasets import lab
    >>> [fold.name for fold in folds(lab("rl"), "small_to_large")][:2]
    ['up to 55', 'up to 91']
    >>> len(folds(lab("rl"), "leave_one_run_out"))
    40
    """
    if scheme not in SCHEMES:
        raise FitError(f"scheme is {scheme!r}; allowed: {', '.join(SCHEMES)}")
    names, size = runs[RUN].values.astype(str), runs["rm_params"].values
    sizes = np.unique(size)
    if scheme == "small_to_large":
        if least < 2 or (ahead is not None and ahead < 1):
            raise FitError(f"least is {least} and ahead {ahead}; allowed: 2 or more, and 1 or more (or None)")
        _refuse_few(len(sizes), least + 1, scheme, "sizes")
        last = [len(sizes) - 1 if ahead is None else min(k + ahead, len(sizes) - 1) for k in range(len(sizes))]
        return tuple(
            _fold(f"up to {sizes[k]:.6g}", names, size <= sizes[k], (size > sizes[k]) & (size <= sizes[last[k]]))
            for k in range(least - 1, len(sizes) - 1)
        )
    if scheme == "leave_one_size_out":
        _refuse_few(len(sizes), 3, scheme, "sizes")
        return tuple(_fold(f"without {s:.6g}", names, size != s, size == s) for s in sizes)
    _refuse_few(len(sizes), 2, scheme, "sizes")
    kept = [np.unique(size[names != name]) for name in names]
    _refuse_few(min(map(len, kept)), 2, scheme, "sizes without any one run")
    return tuple(_fold(f"without {name}", names, names != name, names == name) for name in names)


def half_by_size(runs: xr.Dataset) -> Fold:
    """The smaller half of the sizes is fitted (the middle one too), the larger half held out.

    Examples
    --------
    >>> from goldpeak.datasets import lab
    >>> half = half_by_size(lab("rl"))
    >>> half.name, len(half.fitted), len(half.held_out)
    ('up to 253', 20, 20)
    """
    _refuse_few(len(np.unique(runs["rm_params"].values)), 3, "half_by_size", "sizes")
    small, large = split_by_size(runs)
    names = (tuple(half[RUN].values.astype(str).tolist()) for half in (small, large))
    return Fold(f"up to {float(small['rm_params'].max()):.6g}", *names)


def _refuse_few(found: int, wanted: int, scheme: str, what: str) -> None:
    if found < wanted:
        raise FitError(f"scheme {scheme!r} needs {wanted} {what} at least; the runs have {found}")


def _fold(name: str, names: np.ndarray, fitted: np.ndarray, held_out: np.ndarray) -> Fold:
    return Fold(name, tuple(names[fitted].tolist()), tuple(names[held_out].tolist()))


def _named(runs: xr.Dataset, names: Iterable[str]) -> xr.Dataset:
    wanted, known = set(names), set(runs[RUN].values.astype(str))
    if wanted - known:
        raise FitError(f"a fold names runs that are not there: {', '.join(sorted(wanted - known)[:5])}")
    return select(runs, np.isin(runs[RUN].values.astype(str), list(wanted)))

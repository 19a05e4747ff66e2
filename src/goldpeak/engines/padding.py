"""Ragged points as rectangular arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["pad"]


def pad(owner: NDArray[np.int64], owners: int, *values: NDArray[Any]) -> tuple[NDArray[Any], ...]:
    """Ragged points as arrays of shape (owner, most points of one, ...), 0 where an owner has fewer.

    Examples
    --------
    >>> pad(np.array([1, 0, 1]), 2, np.array([5.0, 6.0, 7.0]))[0]
    array([[6., 0.],
           [5., 7.]])
    """
    order = np.argsort(owner, kind="stable")
    sizes = np.bincount(owner, minlength=owners)
    at = owner[order], np.arange(len(owner)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    found = tuple(np.zeros((owners, int(sizes.max()), *v.shape[1:]), v.dtype) for v in values)
    for padded, v in zip(found, values, strict=True):
        padded[at] = v[order]
    return found

r"""Integrating Gaussian blocks out of a linear model, batched over draws and runs.

Everything works on *augmented Gram matrices* of the columns X and the data y,

.. math:: \begin{pmatrix} X^T V^{-1} X & X^T V^{-1} y \\ y^T V^{-1} X & y^T V^{-1} y \end{pmatrix} .

If some columns have coefficients s e with e ~ N(0, I), integrating e out turns V into V + X s s^T X^T; by the Woodbury
identity the augmented matrix changes by a matrix of low rank. One function does it for runs, reward models and the
trend alike, and its counterpart draws e back once everything above it is known.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from goldpeak.errors import FitError, NumericsWarning

__all__ = ["Block", "eliminate"]

Array = NDArray[np.float64]

JITTERS = (1e-14, 1e-12, 1e-10, 1e-8)
TILE = 4
"""Rows solved at once in a triangular system."""


@dataclass(frozen=True)
class Block:
    """Conditional distribution of one eliminated block, given all that lies above it.

    Attributes
    ----------
    cols : ndarray of int, shape (k,)
        Which columns the block's coefficients multiply.
    scale : ndarray, shape (..., k)
    cholesky : ndarray, shape (..., k, k)
        L, the lower factor of the precision of e.
    whitened : ndarray, shape (..., k, q)
        L^-1 (s X^T V^-1 X, s X^T V^-1 y).
    """

    cols: NDArray[np.int64]
    scale: Array
    cholesky: Array
    whitened: Array

    def draw(self, above: Array, index: NDArray[np.int64], rng: np.random.Generator) -> Array:
        """Draw the block's coefficients s e at some entries of its first axis, repeats allowed.

        Parameters
        ----------
        above : ndarray, shape (len(index), ..., p)
            The coefficients that the levels above give to every column.
        index : ndarray of int
        rng : numpy.random.Generator

        Returns
        -------
        ndarray, shape (len(index), ..., k)
        """
        inverse = _solve_lower(self.cholesky, np.broadcast_to(np.eye(len(self.cols)), self.cholesky.shape))
        found = rng.standard_normal((len(index), *self.whitened.shape[1:-1]))
        order = np.argsort(index, kind="stable")
        entries, starts = np.unique(index[order], return_index=True)
        # One entry at a time, all its draws at once: the matrices need not be copied for each draw.
        last = (*range(1, above.ndim), 0)
        first = (above.ndim - 1, *range(above.ndim - 1))
        for entry, rows in zip(entries, np.split(order, starts[1:]), strict=True):
            whitened = self.whitened[entry]
            white = found[rows].transpose(last) + whitened[..., -1:]
            white -= whitened[..., :-1] @ above[rows].transpose(last)
            drawn = inverse[entry].swapaxes(-1, -2) @ white
            drawn *= self.scale[entry][..., None]
            found[rows] = drawn.transpose(first)
        return found


def eliminate(gram: Array, cols: NDArray[np.int64], scale: Array) -> tuple[Array, Array, Block]:
    """Integrate the coefficients of some columns out of an augmented Gram matrix.

    Parameters
    ----------
    gram : ndarray, shape (..., q, q)
        Augmented Gram matrix; q = columns + 1.
    cols : ndarray of int, shape (k,)
    scale : ndarray, shape (..., k)
        Prior standard deviations of the coefficients.

    Returns
    -------
    gram : ndarray, shape (..., q, q)
        With the block integrated out.
    log_determinant : ndarray, shape (...)
        What the block adds to log |V|.
    block : Block
        To draw the coefficients later.
    """
    here = _as_slice(cols)
    rows = scale[..., None] * gram[..., here, :]
    precision = rows[..., here] * scale[..., None, :]
    np.einsum("...ii->...i", precision)[...] += 1.0
    cholesky = _factor(precision)
    whitened = _solve_lower(cholesky, rows)
    # A copy on the left: on one buffer numpy would call the slower symmetric routine.
    marginal = np.ascontiguousarray(whitened.swapaxes(-1, -2)) @ whitened
    np.subtract(gram, marginal, out=marginal)
    log_determinant = 2.0 * np.sum(np.log(np.diagonal(cholesky, axis1=-2, axis2=-1)), axis=-1)
    return marginal, log_determinant, Block(cols, scale, cholesky, whitened)


def _as_slice(cols: NDArray[np.int64]) -> slice | NDArray[np.int64]:
    """The same columns without a copy, where they are neighbours."""
    neighbours = len(cols) and np.array_equal(cols, np.arange(cols[0], cols[0] + len(cols)))
    return slice(int(cols[0]), int(cols[-1]) + 1) if neighbours else cols


def _solve_lower(lower: Array, right: Array) -> Array:
    """L^-1 B for a batch of lower triangular L, tile by tile.

    For matrices this small nearly all the work is then in matmul, several times faster than the general solver that
    numpy has for a batch.
    """
    size = lower.shape[-1]
    tiles = [slice(i, min(i + TILE, size)) for i in range(0, size, TILE)]
    found = np.empty(right.shape)
    for tile, inverse in zip(tiles, _invert_tiles(lower, tiles), strict=True):
        rest = right[..., tile, :]
        if tile.start:
            rest = rest - lower[..., tile, : tile.start] @ found[..., : tile.start, :]
        np.matmul(inverse, rest, out=found[..., tile, :])
    return found


def _invert_tiles(lower: Array, tiles: list[slice]) -> list[Array]:
    """Inverses of the triangular tiles on the diagonal, each element computed for the whole batch at once."""
    size = lower.shape[-1]
    if not tiles:
        return []
    flat = lower.reshape(-1, size, size).transpose(1, 2, 0)
    given = np.zeros((TILE, TILE, len(tiles), flat.shape[-1]))
    given[range(TILE), range(TILE)] = 1.0
    for t, tile in enumerate(tiles):
        given[: tile.stop - tile.start, : tile.stop - tile.start, t] = flat[tile, tile]
    inverse = np.zeros_like(given)
    for i in range(min(TILE, size)):
        inverse[i, i] = 1.0 / given[i, i]
        for j in range(i):
            total = np.einsum("ktn,ktn->tn", given[i, j:i], inverse[j:i, j])
            inverse[i, j] = -total * inverse[i, i]
    by_tile = np.ascontiguousarray(inverse.transpose(2, 3, 0, 1))
    sizes = [tile.stop - tile.start for tile in tiles]
    return [by_tile[t, :, :n, :n].reshape(*lower.shape[:-2], n, n) for t, n in enumerate(sizes)]


def _factor(precision: Array) -> Array:
    """Cholesky factor; what rounding made indefinite gets the least relative jitter that helps, with a warning."""
    try:
        return np.linalg.cholesky(precision)
    except np.linalg.LinAlgError:
        pass
    size = np.trace(precision, axis1=-2, axis2=-1)[..., None, None] * np.eye(precision.shape[-1])
    for jitter in JITTERS:
        try:
            cholesky = np.linalg.cholesky(precision + jitter * size)
        except np.linalg.LinAlgError:
            continue
        warnings.warn(f"ill-conditioned data: relative jitter of {jitter:g} was added", NumericsWarning, stacklevel=2)
        return cholesky
    raise FitError(
        "the curves are too ill-conditioned for the exact engine: KL or gold spans too many orders of magnitude"
    )

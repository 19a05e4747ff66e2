r"""Integrating Gaussian blocks out of a linear model, batched over draws and runs.

Everything works on *augmented Gram matrices* of the columns X and the data y,

.. math:: \begin{pmatrix} X^T V^{-1} X & X^T V^{-1} y \\ y^T V^{-1} X & y^T V^{-1} y \end{pmatrix} .

If some columns have coefficients s e with e ~ N(0, I), integrating e out turns V into V + X s s^T X^T; by the Woodbury
identity the augmented matrix changes by a matrix of low rank. One function does it for runs, reward models and the
trend alike, and its counterpart draws e back once everything above it is known.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from goldpeak.errors import NumericsWarning

__all__ = ["Block", "Drawn", "Still", "condition", "eliminate", "explained", "invert_lower", "square"]

Array = NDArray[np.float64]

JITTERS = (1e-14, 1e-12, 1e-10, 1e-8)
FREEDOM = 5.0
"""Degrees of freedom of draws with heavy tails."""
TILE = 6
"""Rows of a triangular matrix that are inverted at once."""


@dataclass(frozen=True)
class Block:
    """Conditional distribution of one eliminated block, given all that lies above it.

    Attributes
    ----------
    cols : ndarray of int, shape (k,)
        Which columns the block's coefficients multiply.
    scale : ndarray, shape (..., k)
    inverse : ndarray, shape (..., k, k)
        L^-1, L the lower Cholesky factor of the precision of e.
    whitened : ndarray, shape (..., k, q)
        L^-1 (s X^T V^-1 X, s X^T V^-1 y).
    tilt : ndarray, shape (...), optional
        See `condition`.
    """

    cols: NDArray[np.int64]
    scale: Array
    inverse: Array
    whitened: Array
    tilt: Array | None = None

    @classmethod
    def join(cls, blocks: Sequence[Block]) -> Block:
        """Blocks of the same columns, none with a tilt, as one: entries one after another along the first axis."""
        scale, inverse, whitened = (
            np.concatenate([getattr(block, name) for block in blocks]) for name in ("scale", "inverse", "whitened")
        )
        return cls(blocks[0].cols, scale, inverse, whitened)

    def take(self, entries: slice | NDArray[np.int64]) -> Block:
        """Some entries of the first axis."""
        tilt = None if self.tilt is None else self.tilt[entries]
        return Block(self.cols, self.scale[entries], self.inverse[entries], self.whitened[entries], tilt)

    def draw(self, index: NDArray[np.int64], rng: np.random.Generator, heavy: int = 0) -> Drawn:
        """Draw the block's coefficients s e, but for what the levels above it give.

        Parameters
        ----------
        index : ndarray of int
            Entries of the first axis to draw at, in ascending order; repeats allowed.
        rng : numpy.random.Generator
        heavy : int, optional
            Draw so many of the coefficients, the last ones, from a Student-t with `FREEDOM` degrees of freedom instead
            of a normal distribution; the others given these are normal.

        Returns
        -------
        Drawn
        """
        turned = self.scale[..., None] * self.inverse.swapaxes(-1, -2)
        if self.tilt is not None:
            turned[..., 1, :] += self.tilt[..., None] * self.inverse[..., :, 0]
        white = rng.standard_normal((len(index), *turned.shape[1:-1]))
        excess = np.zeros(len(index))
        if heavy:
            # The factor's transpose is upper triangular: the last coefficients depend on the last of these only.
            white[..., -heavy:] *= np.sqrt(FREEDOM / rng.chisquare(FREEDOM, len(index)))[:, None]
            excess = _heavier(np.sum(white[..., -heavy:] ** 2, axis=-1), heavy)
        return Drawn(self.cols, index, _times(turned, white, index), turned @ self.whitened, excess)


@dataclass(frozen=True)
class Drawn:
    """Draws of a block's coefficients, once what lies above is known: noise + gain (gold - columns x above).

    Attributes
    ----------
    cols : ndarray of int, shape (k,)
    index : ndarray of int, shape (draw,)
    noise : ndarray, shape (draw, ..., k)
    gain : ndarray, shape (entry, ..., k, q)
        Of the columns and, last, of gold.
    excess : ndarray, shape (draw,)
        Log density of the draws less that of the conditional normal distribution.
    """

    cols: NDArray[np.int64]
    index: NDArray[np.int64]
    noise: Array
    gain: Array
    excess: Array

    def given(self, above: Array) -> Array:
        """The coefficients, shape (draw, ..., k), where `above` (draw, ..., p) gives every column so much."""
        found = self.noise - _times(self.gain[..., :-1], above, self.index)
        for entry, rows in _groups(self.index):
            found[rows] += self.gain[entry, ..., -1]
        return found


class Still:
    """Instead of a random generator: what is drawn with it is the conditional mean."""

    def standard_normal(self, size: tuple[int, ...]) -> Array:
        """Zeros."""
        return np.zeros(size)

    def spawn(self, n_children: int) -> list[Still]:
        """As many of the same."""
        return [self] * n_children


def _heavier(square: Array, dim: int) -> Array:
    """Log density of a standard Student-t in `dim` dimensions less that of a standard normal, at squared length."""
    from scipy.special import gammaln

    constant = gammaln((FREEDOM + dim) / 2) - gammaln(FREEDOM / 2) - dim / 2 * np.log(FREEDOM / 2)
    return np.asarray(constant - (FREEDOM + dim) / 2 * np.log1p(square / FREEDOM) + square / 2)


def _groups(index: NDArray[np.int64]) -> Iterator[tuple[int, slice]]:
    """Each value of a sorted index, and the slice of its repeats."""
    edges = [0, *(np.flatnonzero(np.diff(index)) + 1).tolist(), len(index)]
    for start, stop in pairwise(edges):
        yield int(index[start]), slice(start, stop)


def _times(matrix: Array, vectors: Array, index: NDArray[np.int64]) -> Array:
    """M x for vectors (draw, ..., p), with the matrix (entry, ..., k, p) of each draw's entry: (draw, ..., k).

    One product for each entry, with all its draws: the matrices need not be copied for each draw.
    """
    found = np.empty((*vectors.shape[:-1], matrix.shape[-2]))
    # Draws last but one: these are views.
    axes = (*range(1, vectors.ndim - 1), 0, vectors.ndim - 1)
    x, out, turned = vectors.transpose(axes), found.transpose(axes), matrix.swapaxes(-1, -2)
    for entry, rows in _groups(index):
        np.matmul(x[..., rows, :], turned[entry], out=out[..., rows, :])
    return found


def condition(
    gram: Array, cols: NDArray[np.int64], scale: Array, tilt: Array | None = None, kept: int | None = None
) -> tuple[Array, Block]:
    """Distribution of the coefficients of some columns, given what lies above them.

    Parameters
    ----------
    gram : ndarray, shape (..., q, q)
        Augmented Gram matrix; q = columns + 1.
    cols : ndarray of int, shape (k,)
    scale : ndarray, shape (..., k)
        Prior standard deviations of the coefficients: they are scale * e.
    tilt : ndarray, shape (...), optional
        Makes the first two of them correlated: the second is scale[1] e[1] + tilt e[0].
    kept : int, optional
        So many columns, the first ones, and gold matter above the block; all by default.

    Returns
    -------
    log_determinant : ndarray, shape (...)
        What the block adds to log |V|; NaN where rounding leaves nothing to say.
    block : Block
        Its `explained` is what integrating it out takes from the Gram matrix.
    """
    here = _as_slice(cols)
    rows = scale[..., None] * gram[..., here, :]
    if tilt is not None:
        rows[..., 0, :] += tilt[..., None] * gram[..., cols[1], :]
    precision = rows[..., here] * scale[..., None, :]
    if tilt is not None:
        precision[..., 0] += tilt[..., None] * rows[..., cols[1]]
    np.einsum("...ii->...i", precision)[...] += 1.0
    cholesky = _factor(precision)
    log_determinant = 2.0 * np.sum(np.log(np.diagonal(cholesky, axis1=-2, axis2=-1)), axis=-1)
    inverse = invert_lower(cholesky)
    return log_determinant, Block(cols, scale, inverse, inverse @ with_gold(rows, kept), tilt)


def with_gold(values: Array, kept: int | None) -> Array:
    """The first `kept` columns and the last one, which is gold's; all without `kept`."""
    width = values.shape[-1] - 1
    if kept is None or kept == width:
        return values
    return np.concatenate([values[..., :kept], values[..., width:]], axis=-1)


def explained(whitened: Array) -> Array:
    """W^T W for W of shape (..., k, q)."""
    # A copy on the left: on one buffer numpy would call the slower symmetric routine.
    return np.ascontiguousarray(whitened.swapaxes(-1, -2)) @ whitened


def square(gram: Array, kept: int | None) -> Array:
    """`with_gold` of rows and columns."""
    return with_gold(with_gold(gram, kept).swapaxes(-1, -2), kept).swapaxes(-1, -2)


def eliminate(
    gram: Array, cols: NDArray[np.int64], scale: Array, tilt: Array | None = None, kept: int | None = None
) -> tuple[Array, Array, Block]:
    """Integrate the coefficients of some columns out of an augmented Gram matrix; arguments as in `condition`.

    Returns
    -------
    gram : ndarray, shape (..., q, q)
        With the block integrated out.
    log_determinant : ndarray, shape (...)
        What the block adds to log |V|.
    block : Block
        To draw the coefficients later.
    """
    log_determinant, block = condition(gram, cols, scale, tilt, kept)
    marginal = explained(block.whitened)
    np.subtract(square(gram, kept), marginal, out=marginal)
    return marginal, log_determinant, block


def _as_slice(cols: NDArray[np.int64]) -> slice | NDArray[np.int64]:
    """The same columns without a copy, where they are neighbours."""
    neighbours = len(cols) and np.array_equal(cols, np.arange(cols[0], cols[0] + len(cols)))
    return slice(int(cols[0]), int(cols[-1]) + 1) if neighbours else cols


def invert_lower(lower: Array) -> Array:
    """L^-1 for a batch of lower triangular L, tile by tile.

    For matrices this small nearly all the work is then in matmul, several times faster than the general solver that
    numpy has for a batch.
    """
    size = lower.shape[-1]
    tiles = [slice(i, min(i + TILE, size)) for i in range(0, size, TILE)]
    found = np.zeros(lower.shape)
    for tile, inverse in zip(tiles, _invert_tiles(lower, tiles), strict=True):
        found[..., tile, tile] = inverse
        if tile.start:
            rest = lower[..., tile, : tile.start] @ found[..., : tile.start, : tile.start]
            np.matmul(-inverse, rest, out=found[..., tile, : tile.start])
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
    """Cholesky factors; what rounding made indefinite gets the least relative jitter that helps, with a warning.

    NaN where none does.
    """
    try:
        return np.linalg.cholesky(precision)
    except np.linalg.LinAlgError:
        pass
    each = [_factor_one(matrix) for matrix in precision.reshape(-1, *precision.shape[-2:])]
    most = max(jitter for _, jitter in each)
    if most > 0:
        warnings.warn(
            f"ill-conditioned data: relative jitter of up to {most:g} was added", NumericsWarning, stacklevel=2
        )
    return np.stack([cholesky for cholesky, _ in each]).reshape(precision.shape)


def _factor_one(matrix: Array) -> tuple[Array, float]:
    """The factor and the relative jitter it took."""
    size = np.trace(matrix) * np.eye(len(matrix))
    for jitter in (0.0, *JITTERS):
        try:
            return np.linalg.cholesky(matrix + jitter * size), jitter
        except np.linalg.LinAlgError:
            continue
    return np.full_like(matrix, np.nan), 0.0

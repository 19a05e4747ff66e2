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
from typing import cast

import numpy as np
from numpy.typing import NDArray

from goldpeak.errors import FitError, NumericsWarning

__all__ = ["Block", "eliminate"]

Array = NDArray[np.float64]

JITTERS = (1e-14, 1e-12, 1e-10, 1e-8)


@dataclass(frozen=True)
class Block:
    """Conditional distribution of one eliminated block, given all that lies above it.

    Attributes
    ----------
    cols : ndarray of int, shape (k,)
        Which columns the block's coefficients multiply.
    scale : ndarray, shape (..., k)
    rows : ndarray, shape (..., k, q)
        Scaled rows of the augmented Gram matrix: (s X^T V^-1 X, s X^T V^-1 y).
    cholesky : ndarray, shape (..., k, k)
        Of the precision of e.
    """

    cols: NDArray[np.int64]
    scale: Array
    rows: Array
    cholesky: Array

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
        rows, inverse = self.rows[index], np.linalg.inv(self.cholesky)[index]
        information = rows[..., -1] - np.einsum("...kp,...p->...k", rows[..., :-1], above)
        white = np.einsum("...ij,...j->...i", inverse, information) + rng.standard_normal(information.shape)
        return cast(Array, self.scale[index] * np.einsum("...ji,...j->...i", inverse, white))


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
    rows = scale[..., None] * gram[..., cols, :]
    precision = rows[..., cols] * scale[..., None, :] + np.eye(len(cols))
    precision, cholesky = _factor(precision)
    marginal = gram - rows.swapaxes(-1, -2) @ np.linalg.solve(precision, rows)
    log_determinant = 2.0 * np.sum(np.log(np.diagonal(cholesky, axis1=-2, axis2=-1)), axis=-1)
    return marginal, log_determinant, Block(cols, scale, rows, cholesky)


def _factor(precision: Array) -> tuple[Array, Array]:
    """Cholesky factor; what rounding made indefinite gets the least relative jitter that helps, with a warning."""
    try:
        return precision, np.linalg.cholesky(precision)
    except np.linalg.LinAlgError:
        pass
    size = np.trace(precision, axis1=-2, axis2=-1)[..., None, None] * np.eye(precision.shape[-1])
    for jitter in JITTERS:
        try:
            cholesky = np.linalg.cholesky(precision + jitter * size)
        except np.linalg.LinAlgError:
            continue
        warnings.warn(f"ill-conditioned data: relative jitter of {jitter:g} was added", NumericsWarning, stacklevel=2)
        return precision + jitter * size, cholesky
    raise FitError(
        "the curves are too ill-conditioned for the exact engine: KL or gold spans too many orders of magnitude"
    )

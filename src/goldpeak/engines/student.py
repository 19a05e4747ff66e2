"""Student-t noise as a mixture: given a weight for each point it is Gaussian, with variance scale^2 / weight.

Engine ``nuts`` samples the weights, Gamma(nu / 2, nu / 2), along with the outer parameters; given them the coefficients
are drawn as the exact engine draws its own.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from goldpeak.design import Design
from goldpeak.engines.padding import pad
from goldpeak.noise import variance

__all__ = ["StudentPoints"]

Array = NDArray[np.float64]
Outer = dict[str, Array]


@dataclass(frozen=True)
class StudentPoints:
    """The points of a design, each run's in a row of padded arrays.

    Attributes
    ----------
    z : ndarray, shape (run, n, q)
        Columns and gold.
    d, se, here : ndarray, shape (run, n)
        The last is 1 for points and 0 for padding.
    which : ndarray of int, shape (run, n)
        Positions of the points in the design.
    """

    design: Design
    z: Array
    d: Array
    se: Array
    here: Array
    which: NDArray[np.int64]

    @classmethod
    def of(cls, design: Design) -> StudentPoints:
        z = np.column_stack([design.columns(), design.y])
        ones = np.ones(len(z))
        z, d, se, here = pad(design.run_index, len(design.run), z, design.d, design.se, ones)
        (which,) = pad(design.run_index, len(design.run), np.arange(len(ones)))
        return cls(design, z, d, se, here, which)

    @property
    def count(self) -> int:
        """Number of points."""
        return int(self.here.sum())

    def take(self, runs: NDArray[np.int64]) -> StudentPoints:
        """The points of some runs, in that order."""
        return StudentPoints(self.design, self.z[runs], self.d[runs], self.se[runs], self.here[runs], self.which[runs])

    def gram(self, h: Outer) -> tuple[Array, Array]:
        """Augmented Gram matrices (draw, run, q, q) and log |V| (draw,); ``h["weight"]`` has a value for each point."""
        weight = h["weight"][:, self.which] / variance(self.se, h["sigma"][:, None, None])
        z = np.broadcast_to(self.z, (len(weight), *self.z.shape))
        if self.design.columns_move:
            z = z.copy()
            z[..., 1] = self.design.form.basis(self.d, h["gamma"][:, None, None])[..., 1]
        gram = (z * (weight * self.here)[..., None]).swapaxes(-1, -2) @ z
        return gram, -np.sum(self.here * np.log(weight), axis=(1, 2))

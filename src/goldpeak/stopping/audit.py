r"""Has gold fallen since its best checkpoint? An answer that is valid at any time and needs no model of the curve.

A checkpoint's gold is its true mean plus independent, Gaussian (or sub-Gaussian) noise with a known standard error. For
a checkpoint j and all later ones, the noise of the sum of what came after is a martingale with variance V, so that

.. math:: P\Bigl(\exists\, i > j: \sum_{j < m \le i} \epsilon_m \ge u_a(V_i)\Bigr) \le a, \qquad
          u_a(v) = \sqrt{2 (v + \rho) \log\Bigl(\tfrac{1}{2a} \sqrt{(v + \rho) / \rho} + 1\Bigr)}

(one-sided normal mixture: Howard, Ramdas, McAuliffe & Sekhon 2021, Annals of Statistics 49, 1055, equation 10). With
what the checkpoint's own noise can do, a normal quantile, this bounds from below

    drop(j, i) = true gold of checkpoint j  -  mean true gold of the checkpoints after it up to i ,

for all i at once. Which checkpoint is the best is not known and is not chosen from the data: the bound holds for all j
at once, because j has the share 1 / (j (j + 1)) of the error probability. If true gold never falls, no drop is above
0, and the probability that any bound at any time is above 0 is at most `alpha`, however often one looks.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

__all__ = ["Audit", "DropAudit"]

Array = NDArray[np.float64]

PLANNED = 8.0
"""Checkpoints after the best for which the bound is tightest; it holds for every number."""


@dataclass(frozen=True)
class Audit:
    """What can be said of a drop without a model.

    Attributes
    ----------
    fallen : bool
        Whether a drop is certain at `alpha`, now or at any checkpoint before.
    drop : float
        Lower bound of the largest drop since a checkpoint, in the user's gold; at most 0 where none is certain.
    since_kl : float
        KL of the checkpoint from which that drop counts; NaN before there are two.
    alpha : float
        Probability, over the whole run, of calling a drop where true gold never fell.
    points : int
        Checkpoints with gold and a standard error: the others do not count.
    """

    fallen: bool
    drop: float
    since_kl: float
    alpha: float
    points: int


@dataclass
class DropAudit:
    """The confidence sequence, point by point.

    Examples
    --------
    >>> audit = DropAudit(alpha=0.05)
    >>> for kl, gold in enumerate([0.0, 1.0, 0.2, 0.1, 0.0]):
    ...     found = audit.update(float(kl), gold, 0.1)
    >>> found.fallen, found.since_kl
    (True, 1.0)
    """

    alpha: float = 0.05
    kl: list[float] = field(default_factory=list)
    gold: list[float] = field(default_factory=list)
    se: list[float] = field(default_factory=list)
    fallen: bool = False

    def __post_init__(self) -> None:
        self.found = self._judge()

    def update(self, kl: float, gold: float, se: float) -> Audit:
        """Take a checkpoint in: its gold with a standard error > 0."""
        self.kl.append(kl)
        self.gold.append(gold)
        self.se.append(se)
        self.found = self._judge()
        return self.found

    def _judge(self) -> Audit:
        points = len(self.gold)
        if points < 2:
            return Audit(self.fallen, -np.inf, np.nan, self.alpha, points)
        bounds = self._bounds()
        best = int(np.argmax(bounds))
        self.fallen = self.fallen or bool(bounds[best] > 0)
        return Audit(self.fallen, float(bounds[best]), self.kl[best], self.alpha, points)

    def _bounds(self) -> Array:
        """Lower bound of the drop from each checkpoint but the last."""
        from scipy.special import ndtri

        gold, variance = np.array(self.gold), np.array(self.se) ** 2
        j = np.arange(1.0, len(gold))
        share = self.alpha / (j * (j + 1.0)) / 2.0
        # Sums over what came after each checkpoint.
        after = len(gold) - j
        total = np.cumsum(gold[::-1])[::-1][1:]
        spread = np.cumsum(variance[::-1])[::-1][1:]
        rho = PLANNED * variance[:-1] / (2.0 * np.log(1.0 / share))
        later = np.sqrt(2.0 * (spread + rho) * np.log(0.5 / share * np.sqrt((spread + rho) / rho) + 1.0)) / after
        own = -ndtri(share) * np.sqrt(variance[:-1])
        return np.asarray(gold[:-1] - total / after - own - later)

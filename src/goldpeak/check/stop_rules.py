"""What people do without a posterior: stopping rules that see one run's points so far, and nothing else.

Each is a pure function of the points seen (``kl`` in nats, gold relative to the initial policy, in the order in which
they were measured, the newest last) and answers whether to stop now and which of the points to keep.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from goldpeak.bon import n_of_kl
from goldpeak.forms import FORMS, peak_of

__all__ = ["Answer", "StopRule", "fixed_budget", "hedge_tune", "hindsight", "patience", "plug_in", "smoothed_patience"]

Array = NDArray[np.float64]
BINS_PER_NEPER = 2.0
"""`hedge_tune` takes the gold of samples as constant within bins of the proxy's rank, so many for a factor e in n."""


class Answer(NamedTuple):
    """Whether to stop now, and which of the points seen to keep."""

    stop: bool
    keep: int


type StopRule = Callable[[Array, Array], Answer]
"""From kl and gold of the points so far, shape (point,) each."""


def patience(count: int) -> StopRule:
    """Stop once the highest gold is so many points old; keep that point.

    Examples
    --------
    >>> rule = patience(2)
    >>> rule(np.array([1.0, 2.0, 3.0]), np.array([0.5, 0.4, 0.3]))
    Answer(stop=True, keep=0)
    """

    def rule(kl: Array, gold: Array) -> Answer:
        best = int(np.argmax(gold))
        return Answer(len(gold) - 1 - best >= count, best)

    return rule


def smoothed_patience(window: int = 3, count: int = 2) -> StopRule:
    """`patience` on the mean of the last `window` points; keep the point in the middle of the best window.

    Examples
    --------
    >>> smoothed_patience()(np.arange(1.0, 7.0), np.array([0.1, 0.4, 0.5, 0.4, 0.3, 0.2]))
    Answer(stop=True, keep=2)
    """

    def rule(kl: Array, gold: Array) -> Answer:
        if len(gold) < window:
            return Answer(False, int(np.argmax(gold)))
        means = np.convolve(gold, np.full(window, 1.0 / window), mode="valid")
        best = int(np.argmax(means))
        return Answer(len(means) - 1 - best >= count, best + window // 2)

    return rule


def hindsight(kl: Array, gold: Array) -> Answer:
    """Never stop; keep the highest gold that was measured.

    Examples
    --------
    >>> hindsight(np.array([1.0, 2.0]), np.array([0.5, 0.4]))
    Answer(stop=False, keep=0)
    """
    return Answer(False, int(np.argmax(gold)))


def fixed_budget(kl_budget: float) -> StopRule:
    """Stop at the first point at or beyond a KL; keep it. Gold is not looked at.

    Examples
    --------
    >>> fixed_budget(2.0)(np.array([1.0, 2.5]), np.array([0.5, 0.4]))
    Answer(stop=True, keep=1)
    """

    def rule(kl: Array, gold: Array) -> Answer:
        return Answer(bool(kl[-1] >= kl_budget), len(kl) - 1)

    return rule


def plug_in(form: str, least: int = 4) -> StopRule:
    """Fit the paper's form to the points by least squares; stop at its peak; keep the point highest on the fit.

    Parameters
    ----------
    form : str
        One of `goldpeak.forms.FORMS` without a gamma.
    least : int
        Points before which it does not stop.

    Examples
    --------
    >>> kl = np.array([1.0, 4.0, 9.0, 16.0, 25.0])
    >>> d = np.sqrt(kl)
    >>> plug_in("bon")(kl, d * (1.0 - 0.125 * d))  # peak at d = 4
    Answer(stop=True, keep=3)
    """

    def rule(kl: Array, gold: Array) -> Answer:
        if len(kl) < least:
            return Answer(False, int(np.argmax(gold)))
        phi = FORMS[form].basis(np.sqrt(kl))
        theta = np.linalg.lstsq(phi, gold, rcond=None)[0]
        d_peak = peak_of(FORMS[form], theta[:1], theta[1:])[0]
        return Answer(bool(np.sqrt(kl[-1]) >= d_peak), int(np.argmax(phi @ theta)))

    return rule


def hedge_tune(kl: Array, gold: Array) -> Answer:
    r"""HedgeTune's rule for best-of-n, from the curve instead of from samples.

    With u the proxy's rank among the initial policy's samples (0 to 1) and r(u) the mean gold at that rank, best-of-n
    has :math:`E\,\mathrm{gold}(n) = \int r(u)\, n u^{n-1}\, du`. HedgeTune (Khalaf et al. 2025, arXiv:2506.19248) stops
    at the root in n of :math:`E[r(u)\,\psi(u, n)]`, psi = 1/n + log u being the score of that density, which is the
    root of the derivative of expected gold; it estimates r from samples with both rewards.

    Here r is estimated from the points seen: constant within bins of -log u that are even in its logarithm, by least
    squares with a small penalty on its roughness. The rule stops where a root from gain to loss lies at or below the
    newest n, and keeps the point nearest to it.

    Examples
    --------
    >>> from goldpeak.bon import kl_of_n
    >>> n = np.array([2, 4, 8, 16, 32, 64, 128, 256])
    >>> u = (np.arange(20_000) + 0.5) / 20_000
    >>> r = u - 20.0 * np.maximum(u - 0.95, 0.0)  # gold falls at the top of the proxy
    >>> gold = np.array([np.mean(r * k * u ** (k - 1)) for k in n]) - r.mean()
    >>> answer = hedge_tune(kl_of_n(n), gold)
    >>> answer.stop, int(n[answer.keep]) == int(n[np.argmax(gold)])
    (True, True)
    """
    if len(kl) < 3:
        return Answer(False, int(np.argmax(gold)))
    n = np.append(1.0, n_of_kl(kl))
    edges = _rank_edges(float(n.max()))
    weights = _mass(n, edges)
    r = _smooth_fit(weights - weights[0], np.append(0.0, gold))
    fine = np.geomspace(1.0, float(n.max()), 400)
    slope = np.diff(_mass(fine, edges) @ r)
    turns = np.flatnonzero((slope[:-1] > 0) & (slope[1:] <= 0))
    if not turns.size:
        return Answer(False, int(np.argmax(weights[1:] @ r)))
    root = fine[turns[0] + 1]
    return Answer(True, int(np.argmin(np.abs(np.log(n[1:]) - np.log(root)))))


def _rank_edges(n_max: float) -> Array:
    """Bins of the rank u, from 0 to 1, finer towards 1 as far as the largest n can tell."""
    count = max(int(np.ceil(BINS_PER_NEPER * np.log(n_max))), 3)
    return np.concatenate([[0.0], np.exp(-np.geomspace(2.0, 0.5 / n_max, count)), [1.0]])


def _mass(n: Array, edges: Array) -> Array:
    """Probability of each bin under best-of-n, shape (n, bin)."""
    return np.diff(edges[None, :] ** n[:, None], axis=1)


def _smooth_fit(columns: Array, gold: Array, penalty: float = 1e-3) -> Array:
    rough = np.sqrt(penalty) * np.diff(np.eye(columns.shape[1]), 2, axis=0)
    target = np.append(gold, np.zeros(len(rough)))
    return cast(Array, np.linalg.lstsq(np.vstack([columns, rough]), target, rcond=None)[0])

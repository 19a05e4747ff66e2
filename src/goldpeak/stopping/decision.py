"""What a stopper says after a checkpoint."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from goldpeak.stopping.audit import Audit
from goldpeak.stopping.monitor import Divergence
from goldpeak.stopping.rules import ROUNDING
from goldpeak.wording import html_table, number
from goldpeak.wording import interval as words

__all__ = ["Decision", "alarms", "interval", "plain"]

Array = NDArray[np.float64]
Interval = tuple[float, float, float]

PROB = 0.9


@dataclass(frozen=True)
class Decision:
    """What to do after a checkpoint, and why.

    Attributes
    ----------
    stop : bool
    reason : str
    kl : float
        Of the checkpoint, nats.
    p_past_peak : float
        P(kl_peak < kl) given the fleet and the run's gold so far.
    kl_peak, remaining_gain : tuple of float
        Median and ends of the 90 % equal-tailed interval: of the KL at the peak (inf where gold still rises at
        `kl_max`), and of gold at the peak less gold here.
    best_kl : float
        KL of the checkpoint to keep: of those seen the one with the highest posterior expected gold (the highest
        measured gold where the model is not used). NaN before any.
    rule_kl : float
        Where the rule would stop, from what is known now; inf where not up to `kl_max`.
    next_kl : float
        Where the next checkpoint is expected, from how KL grew: ``chance`` and ``drawdown`` take the nearer one.
    ess : float
        Effective number of the fleet's draws that the run agrees with.
    p_value : float
        Predictive p-value of the run's gold so far, with `widened`: while it is below .001, from the third point on,
        the model's answer is not used.
    widened : float
        Factor by which the run's own scatter was widened because of it; 1 where it was not.
    audit : Audit
        The model-free confidence sequence on a drop of gold.
    divergence : Divergence
        What KL and proxy say by themselves.
    warnings : tuple of str
        Of this checkpoint: what was set aside, and what to know.

    Examples
    --------
    >>> import goldpeak
    >>> post = goldpeak.fit(goldpeak.datasets.lab("rl"), "rl_paper", draws=100)
    >>> decision = goldpeak.Stopper(post, rm_params=1e3).update(kl=30.0)
    >>> decision.stop, decision.p_past_peak > 0.5, decision.audit.fallen
    (True, True, False)
    """

    stop: bool
    reason: str
    kl: float
    p_past_peak: float
    kl_peak: Interval
    remaining_gain: Interval
    best_kl: float
    rule_kl: float
    next_kl: float
    ess: float
    p_value: float
    widened: float
    audit: Audit
    divergence: Divergence
    warnings: tuple[str, ...]

    def _repr_html_(self) -> str:
        """As a notebook shows it."""
        peak, gain = self.kl_peak, self.remaining_gain
        rows = [
            ("decision", "stop" if self.stop else "go on"),
            ("reason", self.reason),
            ("KL of this checkpoint (nats)", number(self.kl)),
            ("P(past the peak)", f"{self.p_past_peak:.2f}"),
            ("KL at the peak: median, 90% interval", f"{number(peak[0])}, {words(peak[1], peak[2])}"),
            ("gold still to gain: median, 90% interval", f"{number(gain[0])}, {words(gain[1], gain[2])}"),
            ("checkpoint to keep: the one at KL", number(self.best_kl)),
            *(("warning", text) for text in self.warnings),
        ]
        return html_table(("", ""), rows)

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for JSON or a tracker; inf and NaN as the words "inf" and "nan"."""
        return dict(plain(asdict(self) | {"alarm": self.divergence.alarm}))


def interval(values: Array, weights: Array) -> Interval:
    """Median and ends of the equal-tailed interval: actual draws, so that infinite ones never turn into NaN.

    Examples
    --------
    >>> interval(np.array([3.0, np.inf, 1.0, 2.0]), np.full(4, 0.25))
    (3.0, 1.0, inf)
    """
    tail = (1.0 - PROB) / 2.0
    order = np.argsort(values)
    below = np.cumsum(weights[order])
    at = np.searchsorted(below, np.array([0.5, tail, 1.0 - tail]) + ROUNDING, side="right")
    median, lo, hi = values[order[np.minimum(at, len(values) - 1)]].tolist()
    return median, lo, hi


def alarms(divergence: Divergence) -> list[str]:
    """What calls for a look, a sentence for each alarm."""
    told = {
        "change point: kl per step broke its pattern": divergence.kl_spike,
        "change point: proxy per nat broke its pattern": divergence.proxy_spike,
        f"proxy still rises, and gold is past its peak with probability {divergence.p_falling:.2f}": divergence.hacking,
    }
    return [text for text, is_so in told.items() if is_so]


def plain(value: Any) -> Any:
    """Without infinities and NaN, which JSON does not have."""
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if isinstance(value, np.generic):
        value = value.item()
    return str(value) if isinstance(value, float) and not np.isfinite(value) else value

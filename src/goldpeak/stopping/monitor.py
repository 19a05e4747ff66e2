r"""A run watched without gold: does its KL, or its proxy, break the pattern that it had?

RL runs have KL that grows about quadratically with the step (Gao, Schulman & Hilton 2022, section 3.5), so the growth
of sqrt(KL) per step changes slowly; and each nat buys a proxy gain that changes slowly too. The monitor follows both
and holds every new value against those before it: the change from the last value, in units of the usual change (median
absolute change so far). What is far beyond the usual is a spike, a *change point*.

The threshold is such that a run of 100 checkpoints whose growth scatters independently with Student-t noise of 5
degrees of freedom raises an alarm in either of the two series with probability `FALSE_ALARMS`, by simulation; normal
noise raises fewer, heavier tails more.

The other alarm is *hacking*: the proxy still rises although gold is past its peak with probability 1 - `FALSE_HACKING`,
given KL and whatever gold was seen. Where the fleet's posterior is right, an alarm that comes before the peak has at
most that probability in a run, however often one looks (the probability is a martingale; optional stopping), and even
if the proxy always rises.

``tests/monitor_rates.py`` makes the table of both, by simulation and for the lab's runs.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

__all__ = ["FALSE_ALARMS", "FALSE_HACKING", "Divergence", "Monitor"]

Array = NDArray[np.float64]

FALSE_ALARMS = 0.05
"""Probability that a run without a change point raises a spike's alarm in 100 checkpoints."""
FALSE_HACKING = 0.1
"""Probability, over a whole run, that the alarm of hacking is raised before gold has peaked."""
WARM_UP = 8
"""Changes that must be known before a value is judged."""
THRESHOLD = 8.1
"""Usual changes: the 97.5 % quantile of a run's largest, in the table of `monitor_rates`."""
RECENT = 5
"""Checkpoints over which a rise of the proxy is judged."""
MAD = 1.4826


@dataclass(frozen=True)
class Divergence:
    """What a run's KL and proxy say by themselves.

    Attributes
    ----------
    kl_spike, proxy_spike : bool
        A change point at this checkpoint: in the growth of sqrt(KL) per step, in proxy per nat. In a run without any,
        one of the two is raised with a probability of 5 % in 100 checkpoints.
    kl_power : float
        p of KL ~ step^p over the run so far, by least squares of logs; NaN before there are four points. The paper
        finds about 2.
    proxy_rises : bool
        Whether the proxy has risen over the last checkpoints.
    p_falling : float
        P(gold at the present KL is below its peak and past it), from the fleet and what gold was seen.
    hacking : bool
        The proxy still rises while gold falls, with a probability above 90 %. In one run of ten, or fewer, this comes
        before gold has peaked.
    alarm : bool
        A spike, or hacking.
    """

    kl_spike: bool
    proxy_spike: bool
    kl_power: float
    proxy_rises: bool
    p_falling: float
    hacking: bool

    @property
    def alarm(self) -> bool:
        """Whether anything calls for a look."""
        return self.kl_spike or self.proxy_spike or self.hacking


@dataclass
class Monitor:
    """Checkpoints of a run, as they come.

    Examples
    --------
    >>> monitor = Monitor()
    >>> rng = np.random.default_rng(0)
    >>> d = np.cumsum(0.1 + 0.01 * rng.standard_normal(30))
    >>> d[29] += 1.0
    >>> found = [monitor.update(float(k), step=float(i)) for i, k in enumerate(d**2)]
    >>> [i for i, one in enumerate(found) if one.kl_spike]
    [29]
    """

    steps: list[float] = field(default_factory=list)
    d: list[float] = field(default_factory=list)
    proxy: list[float] = field(default_factory=list)

    def update(
        self, kl: float, proxy: float | None = None, step: float | None = None, p_falling: float = 0.0
    ) -> Divergence:
        """Take a checkpoint in. One without `step` counts as as far from the last as checkpoints usually are."""
        self.steps.append(self._next_step() if step is None else step)
        self.d.append(float(np.sqrt(kl)))
        self.proxy.append(np.nan if proxy is None else proxy)
        rises = self._proxy_rises()
        return Divergence(
            kl_spike=is_spike(self._growth()),
            proxy_spike=is_spike(self._proxy_per_nat()),
            kl_power=self._power(),
            proxy_rises=rises,
            p_falling=p_falling,
            hacking=rises and p_falling > 1.0 - FALSE_HACKING,
        )

    def _next_step(self) -> float:
        gaps = np.diff(self.steps)
        usual = float(np.median(gaps[gaps > 0])) if (gaps > 0).any() else 1.0
        return self.steps[-1] + usual if self.steps else 0.0

    def _growth(self) -> Array:
        """Of sqrt(KL) per step between checkpoints."""
        gaps = np.diff(self.steps)
        return np.asarray(np.diff(self.d)[gaps > 0] / gaps[gaps > 0])

    def _proxy_per_nat(self) -> Array:
        """Proxy over sqrt(KL) at each checkpoint that has both; its changes are those of the gain per nat."""
        d, proxy = np.array(self.d), np.array(self.proxy)
        good = np.isfinite(proxy) & (d > 0)
        if not good.any() or not good[-1]:
            return np.empty(0)
        return np.asarray(proxy[good] / d[good])

    def _proxy_rises(self) -> bool:
        proxy = np.array(self.proxy)[-RECENT:]
        proxy = proxy[np.isfinite(proxy)]
        return len(proxy) >= 3 and _slope(np.arange(float(len(proxy))), proxy) > 0

    def _power(self) -> float:
        steps, d = np.array(self.steps), np.array(self.d)
        good = (steps > 0) & (d > 0)
        if len(np.unique(steps[good])) < 4:
            return np.nan
        return 2.0 * _slope(np.log(steps[good]), np.log(d[good]))


def _slope(x: Array, y: Array) -> float:
    """Of the straight line through points, by least squares."""
    away = x - x.mean()
    return float(away @ y / (away @ away))


def is_spike(values: Array) -> bool:
    """Whether the last change is far beyond the changes before it.

    Examples
    --------
    >>> usual = np.arange(12.0) + 0.1 * (-1.0) ** np.arange(12)
    >>> is_spike(usual), is_spike(np.append(usual, 30.0))
    (False, True)
    """
    change = np.diff(values)
    if len(change) <= WARM_UP:
        return False
    before = change[:-1]
    middle = np.median(before)
    usual = MAD * np.median(np.abs(before - middle))
    return bool(abs(change[-1] - middle) > THRESHOLD * max(usual, 1e-12))

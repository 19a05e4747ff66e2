"""The table ``[noise]`` of a model card: which kind of measurement noise, and the priors that it needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from goldpeak.priors import Fixed, ScalePrior

__all__ = ["Noise"]

NEEDS = {
    "iid": (),
    "known": (),
    "cov": (),
    "ou": ("lengthscale", "time"),
    "student_t": ("nu",),
}
"""Keys that a kind cannot do without, besides `sigma`."""
OFFERS = {"ou": ("nugget",)}
"""Keys that a kind may have."""
TIMES = ("d", "step")


@dataclass(frozen=True)
class Noise:
    """Measurement noise: what measuring gold adds to a run's curve.

    With S what the runs say of it (``gold_cov`` of a run, else diag(``gold_se``^2)) its covariance is

    - ``iid``: sigma^2 I, whatever the runs say
    - ``known``: S + sigma^2 I; without ``gold_cov`` and ``gold_se`` the same as ``iid``, with a notice
    - ``cov``: the same, for runs that have ``gold_cov``; others are refused
    - ``ou``: sigma^2 exp(-abs(t_i - t_j) / lengthscale) + diag(``gold_se``^2 + nugget^2), an Ornstein-Uhlenbeck process
      along `time`, ``d`` (square-root nats) or ``step``, and independent noise on top; `nugget` is 0 where not given
    - ``student_t``: independent, with scale^2 = ``gold_se``^2 + sigma^2 and `nu` degrees of freedom (engine ``nuts``)

    Each with an offset where `offset_sd` is given: the gold of the initial policy that a run counts from is itself an
    estimate, so that all points with kl > 0 share an error N(0, offset_sd^2). Where the runs have ``kl_se``, the
    variance of a point rises by what that error makes of gold on the slope of its curve (see `slopes`).

    Examples
    --------
    >>> from goldpeak.priors import HalfNormal
    >>> Noise("ou", HalfNormal(0.05), time="d").problems()
    ["kind 'ou' needs lengthscale"]
    """

    kind: str
    sigma: ScalePrior
    lengthscale: ScalePrior | None = None
    time: str | None = None
    nugget: ScalePrior | None = None
    nu: ScalePrior | Fixed | None = None
    offset_sd: ScalePrior | None = None

    @property
    def outer(self) -> dict[str, ScalePrior | None]:
        """Names and priors of its parameters."""
        return {
            "sigma": self.sigma,
            "nugget": self.nugget,
            "noise_lengthscale": self.lengthscale,
            "nu": None if isinstance(self.nu, Fixed) else self.nu,
            "offset_sd": self.offset_sd,
        }

    def degrees(self, h: Mapping[str, Any]) -> Any:
        """Degrees of freedom of ``student_t``, fixed or among parameters `h`."""
        return self.nu.value if isinstance(self.nu, Fixed) else h["nu"]

    def problems(self) -> list[str]:
        """What is wrong, one sentence each."""
        if self.kind not in NEEDS:
            return [f"kind is {self.kind!r}; allowed: {', '.join(NEEDS)}"]
        needs, offers = NEEDS[self.kind], OFFERS.get(self.kind, ())
        given = [key for key in ("lengthscale", "time", "nugget", "nu") if getattr(self, key) is not None]
        found = [f"kind {self.kind!r} needs {key}" for key in needs if key not in given]
        found += [f"kind {self.kind!r} has no {key}" for key in given if key not in needs + offers]
        if self.time is not None and self.time not in TIMES:
            found.append(f"time is {self.time!r}; allowed: {', '.join(TIMES)}")
        return found

    def problems_on_peaks(self) -> list[str]:
        """What peak coordinates cannot have, one sentence each."""
        found = []
        if self.kind in ("ou", "student_t"):
            found.append(
                f"noise.kind is {self.kind!r}; allowed in peak coordinates: iid, known, cov. There a run's likelihood "
                "is tabulated for noise that an orthogonal matrix makes independent and Gaussian, whatever its "
                "parameters; take a card on coefficients, such as 'boxcox'"
            )
        if self.offset_sd is not None:
            found.append("noise.offset_sd needs coordinates = 'coefficients': the tabulated curve has no offset")
        return found

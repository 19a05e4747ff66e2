"""What a reward model and a run cost, as the user states it."""

from __future__ import annotations

from dataclasses import dataclass, fields

from goldpeak.bon import kl_of_n, n_of_kl
from goldpeak.errors import FitError, is_number

__all__ = ["CostModel"]

OPTIONAL = ("kl_per_step",)


@dataclass(frozen=True)
class CostModel:
    """FLOPs of training a reward model and of optimising against it, at a price.

    Training takes 6 FLOPs per parameter and token, a forward pass 2 (Kaplan et al. 2020, arXiv:2001.08361, section
    2.1). A reward model of N parameters costs 6 N `rm_tokens`. A sample costs its generation and its scoring,
    2 (`policy_params` + N) `response_tokens`; in RL also the policy's training on it, 6 `policy_params`
    `response_tokens`. Best-of-n takes n samples for each of `samples` prompts, RL takes `samples` a step.

    Attributes
    ----------
    rm_tokens : float
        Tokens that a reward model is trained on, all epochs together.
    policy_params : float
        Parameters of the policy.
    response_tokens : float
        Tokens of a prompt with its response.
    samples : float
        Best-of-n: prompts that will be answered. RL: samples per training step.
    kl_per_step : float, optional
        RL only, and what makes it RL: KL after a step is `kl_per_step` step^`kl_power`, nats per response.
    kl_power : float
        1 where KL grows evenly, 2 where it does quadratically as in Gao et al. 2022.
    price : float
        Of a FLOP; costs are in its currency. With 1 they are FLOPs.

    Raises
    ------
    FitError
        Naming every number that is not finite and above 0.

    Examples
    --------
    >>> cost = CostModel(rm_tokens=1e9, policy_params=1e9, response_tokens=500, samples=1e5)
    >>> f"{cost.rm_cost(1e8):.1e}", f"{cost.run_cost(kl=2.0, rm_params=1e8):.1e}"
    ('6.0e+17', '2.1e+18')
    >>> round(cost.kl_within(cost.run_cost(2.0, 1e8), 1e8), 9)
    2.0
    """

    rm_tokens: float
    policy_params: float
    response_tokens: float
    samples: float
    kl_per_step: float | None = None
    kl_power: float = 1.0
    price: float = 1.0

    def __post_init__(self) -> None:
        given = {f.name: getattr(self, f.name) for f in fields(self)}
        bad = [
            f"{name} is {value!r}"
            for name, value in given.items()
            if not ((value is None and name in OPTIONAL) or (is_number(value) and value > 0))
        ]
        if bad:
            raise FitError(f"cost: {', '.join(bad)}; allowed: finite numbers > 0")

    @property
    def method(self) -> str:
        """``bon``, or ``rl`` where `kl_per_step` is given."""
        return "bon" if self.kl_per_step is None else "rl"

    def rm_cost(self, rm_params: float) -> float:
        """Cost of training a reward model."""
        return self.price * 6.0 * rm_params * self.rm_tokens

    def run_cost(self, kl: float, rm_params: float) -> float:
        """Cost of optimising up to a KL (nats) against it."""
        if self.kl_per_step is None:
            return float(n_of_kl(kl)) * self._round_cost(rm_params)
        return float((kl / self.kl_per_step) ** (1.0 / self.kl_power)) * self._round_cost(rm_params)

    def kl_within(self, money: float, rm_params: float) -> float:
        """The KL that can be reached for so much; NaN where it does not pay for a single sample per prompt."""
        rounds = money / self._round_cost(rm_params)
        if self.kl_per_step is None:
            return float(kl_of_n(rounds)) if rounds >= 1 else float("nan")
        return float(self.kl_per_step * rounds**self.kl_power) if rounds >= 0 else float("nan")

    def _round_cost(self, rm_params: float) -> float:
        """Of one sample for each prompt, or of one training step."""
        per_token = 2.0 * (self.policy_params + rm_params) + (6.0 * self.policy_params if self.kl_per_step else 0.0)
        return self.price * self.samples * self.response_tokens * per_token

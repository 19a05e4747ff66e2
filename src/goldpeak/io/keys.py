"""What frameworks log: keys, units, estimators. A table, read from the frameworks' sources in November 2026.

Nothing here is guessed: a key counts as known only beside other keys of the same framework (``train/kl`` is OpenRLHF's
and, in TensorBoard, TRL's).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["KL_KEYS", "NOT_KL", "SHAPED", "UNITS", "KlKey", "Unit"]

LN2 = 0.6931471805599453


@dataclass(frozen=True)
class Unit:
    """How a logged KL becomes nats per response.

    Attributes
    ----------
    meaning : str
    factor : float
        To nats.
    per_token : bool
        Whether it has to be multiplied by the mean response length.
    squared : bool
        Whether the square root was logged.
    exact : bool
        Whether the product with the mean length is the mean KL per response.
    """

    meaning: str
    factor: float = 1.0
    per_token: bool = False
    squared: bool = False
    exact: bool = True

    def nats[N: (float, np.ndarray)](self, logged: N, length: N | float = 1.0) -> N:
        """A logged value as nats per response; `length` counts where it is per token.

        Examples
        --------
        >>> UNITS["nats_per_token"].nats(0.02, 50.0), UNITS["sqrt_nats"].nats(1.5)
        (1.0, 2.25)
        """
        nats = logged**2 if self.squared else logged * self.factor
        return nats * length if self.per_token else nats


UNITS = {
    "nats": Unit("nats per response"),
    "nats_per_token": Unit("nats per token, mean over all tokens", per_token=True),
    "nats_per_token_by_response": Unit(
        "nats per token, mean over responses of each one's mean", per_token=True, exact=False
    ),
    "bits": Unit("bits per response", LN2),
    "bits_per_token": Unit("bits per token, mean over all tokens", LN2, per_token=True),
    "sqrt_nats": Unit("square root of nats per response", squared=True),
}
"""What ``kl_unit`` may be."""


@dataclass(frozen=True)
class KlKey:
    """A key under which a framework logs the KL from the initial policy.

    Attributes
    ----------
    framework, key : str
    unit : str or None
        One of `UNITS`; None where it depends on a setting that the log does not hold.
    estimator : str
        k1: mean of log ratios (may be negative); k2: half their mean square; k3: mean of r - 1 - log r, r = p_ref / p
        (heavy-tailed). Schulman 2020, "Approximating KL divergence".
    length : str or None
        The mean response length in tokens.
    beside : tuple of str
        Keys of which one must be there too, to know the framework by.
    proxy : str or None
        The raw proxy reward.
    prefixed : bool
        Whether trackers put ``train/`` before it, and ``eval_`` or ``eval/`` for evaluations.
    caveat : str
    """

    framework: str
    key: str
    unit: str | None
    estimator: str
    length: str | None
    beside: tuple[str, ...]
    proxy: str | None
    prefixed: bool = False
    caveat: str = ""


_CLAMPED = "log ratios are clamped: a large KL reads too low"
_OPEN_INSTRUCT = ("val/sequence_lengths",)

KL_KEYS = (
    KlKey(
        "TRL GRPO or RLOO",
        "kl",
        "nats_per_token",
        "k3 (GRPO) or k1 (RLOO)",
        "completions/mean_length",
        ("completions/mean_length",),
        "reward",
        prefixed=True,
    ),
    KlKey(
        "TRL PPO or OnlineDPO",
        "objective/kl",
        "nats",
        "k1 (OnlineDPO, PPO) or k3 (PPO)",
        None,
        ("objective/scores",),
        "objective/scores",
        prefixed=True,
    ),
    KlKey(
        "verl",
        "actor/reward_kl_penalty",
        "nats_per_token_by_response",
        "k1",
        "response_length/mean",
        ("response_length/mean",),
        "critic/score/mean",
    ),
    KlKey(
        "verl",
        "actor/kl_loss",
        None,
        "k3",
        "response_length/mean",
        ("response_length/mean",),
        "critic/score/mean",
        caveat="its unit follows loss_agg_mode: seq-mean-token-sum is per response (--kl-unit nats), token-mean per "
        "token (nats_per_token), seq-mean-token-mean per token by response (nats_per_token_by_response)",
    ),
    KlKey(
        "OpenRLHF",
        "train/kl",
        "nats_per_token_by_response",
        "k1, clamped to 10 nats a token",
        "train/response_length",
        ("train/response_length",),
        "train/reward",
        caveat=_CLAMPED,
    ),
    KlKey(
        "NeMo-RL",
        "train/kl_penalty",
        "nats_per_token",
        "k3, clamped",
        "train/mean_gen_tokens_per_sample",
        ("train/mean_gen_tokens_per_sample",),
        "train/reward",
        caveat=_CLAMPED,
    ),
    KlKey("open-instruct", "objective/kl0_avg", "nats_per_token", "k1", "val/sequence_lengths", _OPEN_INSTRUCT, None),
    KlKey("open-instruct", "objective/kl2_avg", "nats_per_token", "k3", "val/sequence_lengths", _OPEN_INSTRUCT, None),
    KlKey("open-instruct", "objective/kl1_avg", "nats_per_token", "k2", "val/sequence_lengths", _OPEN_INSTRUCT, None),
    KlKey("trlX", "policy/sqrt_kl", "sqrt_nats", "k3", None, ("rollout_scores/mean",), "rollout_scores/mean"),
)
"""In order of preference within a framework."""

_PREVIOUS = "KL from the policy of the step before, not from the initial one"
NOT_KL = {
    "policy/approxkl_avg": _PREVIOUS,
    "actor/ppo_kl": _PREVIOUS,
    "ppo_kl": _PREVIOUS,
    "vllm_kl": "KL between the engines that sample and train",
    "gen_kl_error": "KL between the engines that sample and train",
    "policy_kl_error": "KL between the engines that sample and train",
    "loss/kl_avg": "the KL penalty: KL times its coefficient",
}
"""Keys that look like the KL from the initial policy and are not: the last words of a key, and what it is."""

SHAPED = {
    "objective/rlhf_reward": "objective/scores",
    "critic/rewards/mean": "critic/score/mean",
}
"""Rewards less a KL penalty, and the raw score that is logged beside."""

MOVING = {"sync_ref_model": ("true", "1"), "ref_policy_update_freq": ()}
"""Settings that move the reference policy, and values that mean so (none listed: any number of steps)."""

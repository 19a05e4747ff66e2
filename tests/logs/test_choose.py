"""Which keys are read: known by what stands beside them, as asked, or refused with the candidates."""

from __future__ import annotations

import pytest

from goldpeak.io.keys import KL_KEYS, NOT_KL, UNITS
from goldpeak.logs.choose import Asked, Chosen, choose

TRL = ("loss", "kl", "completions/mean_length", "reward", "rewards/gold/mean", "eval_rewards/gold/mean")
TENSORBOARD = (*(f"train/{key}" for key in TRL[:-1]), "eval/rewards/gold/mean")
KNOWN = {
    "TRL GRPO or RLOO": (TRL, "kl", "nats_per_token", "completions/mean_length", "reward"),
    "TRL PPO or OnlineDPO": (
        ("objective/kl", "objective/scores", "objective/rlhf_reward", "policy/approxkl_avg", "gold"),
        "objective/kl",
        "nats",
        None,
        "objective/scores",
    ),
    "verl": (
        (
            "actor/reward_kl_penalty",
            "actor/kl_loss",
            "actor/ppo_kl",
            "response_length/mean",
            "critic/score/mean",
            "critic/rewards/mean",
            "val-core/gold/reward/mean@4",
        ),
        "actor/reward_kl_penalty",
        "nats_per_token_by_response",
        "response_length/mean",
        "critic/score/mean",
    ),
    "OpenRLHF": (
        ("train/kl", "train/reward", "train/response_length", "eval/gold"),
        "train/kl",
        "nats_per_token_by_response",
        "train/response_length",
        "train/reward",
    ),
    "NeMo-RL": (
        ("train/kl_penalty", "train/reward", "train/mean_gen_tokens_per_sample", "validation/accuracy"),
        "train/kl_penalty",
        "nats_per_token",
        "train/mean_gen_tokens_per_sample",
        "train/reward",
    ),
    "open-instruct": (
        ("objective/kl1_avg", "objective/kl0_avg", "objective/kl2_avg", "loss/kl_avg", "val/sequence_lengths", "gold"),
        "objective/kl0_avg",
        "nats_per_token",
        "val/sequence_lengths",
        None,
    ),
    "trlX": (
        ("policy/sqrt_kl", "rollout_scores/mean", "gold"),
        "policy/sqrt_kl",
        "sqrt_nats",
        None,
        "rollout_scores/mean",
    ),
}


def chosen(keys: tuple[str, ...], **asked: str) -> Chosen:
    found, problems = choose(keys, Asked(**asked))
    assert problems == ()
    assert found is not None
    return found


def refused(keys: tuple[str, ...], **asked: str) -> str:
    found, problems = choose(keys, Asked(**asked))
    assert found is None
    return "\n".join(problems)


def test_the_table_is_whole() -> None:
    assert {entry.framework for entry in KL_KEYS} == set(KNOWN)
    assert all(entry.unit is None or entry.unit in UNITS for entry in KL_KEYS)
    assert all(entry.length for entry in KL_KEYS if entry.unit and UNITS[entry.unit].per_token)
    assert not {entry.key for entry in KL_KEYS} & set(NOT_KL)


@pytest.mark.parametrize("framework", KNOWN)
def test_a_framework_is_known_by_its_keys(framework: str) -> None:
    keys, kl, unit, length, proxy = KNOWN[framework]
    found = chosen(keys, gold=keys[-1])
    assert found.entry is not None
    assert found.entry.framework == framework
    assert (found.kl, found.unit, found.length, found.proxy) == (kl, unit, length, proxy)


def test_train_kl_is_trls_or_openrlhfs_by_what_is_beside() -> None:
    assert chosen(TENSORBOARD, gold="rewards/gold/mean").entry.framework == "TRL GRPO or RLOO"
    bare = ("train/kl", "gold")
    assert "no key is known to hold the KL; keys that may: 'train/kl'" in refused(bare)
    said = refused(bare, kl="train/kl")
    assert "the unit of 'train/kl' is not known (a key of TRL GRPO or RLOO, OpenRLHF, but none" in said
    assert "give --kl-unit, one of nats, nats_per_token" in said
    both = (*TENSORBOARD, "train/response_length")
    assert "several keys may hold the KL: 'train/kl' (TRL GRPO or RLOO), 'train/kl' (OpenRLHF)" in refused(
        both, gold="train/reward"
    )
    assert "the unit of 'train/kl' is not known" in refused(both, gold="train/reward", kl="train/kl")
    assert chosen(both, gold="train/reward", kl="train/kl", kl_unit="nats").entry is None


def test_evaluations_of_gold_take_the_kl_of_the_same_evaluation() -> None:
    keys = (*TRL, "eval_kl", "eval_completions/mean_length", "eval_reward")
    found = chosen(keys, gold="eval_rewards/gold/mean")
    assert (found.kl, found.length, found.proxy) == ("eval_kl", "eval_completions/mean_length", "eval_reward")
    found = chosen(keys, gold="rewards/gold/mean")
    assert (found.kl, found.length, found.proxy) == ("kl", "completions/mean_length", "reward")
    found = chosen(TRL, gold="eval_rewards/gold/mean")
    assert (found.kl, found.proxy) == ("kl", "reward")


@pytest.mark.parametrize(
    ("asked", "key"),
    [
        ("train/rewards/gold/mean", "train/rewards/gold/mean"),
        ("rewards/gold/mean", "train/rewards/gold/mean"),
        ("eval_rewards/gold/mean", "eval/rewards/gold/mean"),
    ],
)
def test_keys_may_be_given_as_the_framework_or_the_tracker_spells_them(asked: str, key: str) -> None:
    assert chosen(TENSORBOARD, gold=asked).gold == key


def test_mlflow_has_no_at() -> None:
    keys = tuple(key.replace("@", "_at_") for key in KNOWN["verl"][0])
    assert chosen(keys, gold="val-core/gold/reward/mean@4").gold == "val-core/gold/reward/mean_at_4"


def test_gold_is_not_guessed() -> None:
    said = refused(TRL)
    assert said.startswith("no key is given for gold: give --gold KEY, one of 'rewards/gold/mean', 'eval_rewards/gold")
    assert chosen((*TRL, "gold")).gold == "gold"
    assert (
        "no key 'rewards/gld/mean' for gold (--gold) in the log; keys that may be meant: 'rewards/gold/mean'"
        in refused(TRL, gold="rewards/gld/mean")
    )


@pytest.mark.parametrize("key", [*NOT_KL, "train/actor/ppo_kl"])
def test_a_kl_that_is_not_from_the_initial_policy_is_refused(key: str) -> None:
    said = refused((key, "gold"), kl=key, kl_unit="nats")
    assert f"'{key}' is not the KL from the initial policy: it is" in said
    assert "the KL was not measured: no key holds it" in refused((key, "gold"))


def test_no_kl_with_trl_is_beta_0() -> None:
    keys = tuple(key for key in TRL if key != "kl")
    assert "TRL logs it only where beta is not 0, and beta is 0 by default" in refused(keys, gold="reward")


def test_a_unit_that_follows_a_setting_must_be_given() -> None:
    keys = KNOWN["verl"][0][1:]
    said = refused(keys, gold=keys[-1])
    assert "the unit of 'actor/kl_loss' is not known: its unit follows loss_agg_mode" in said
    assert chosen(keys, gold=keys[-1], kl_unit="nats").length is None
    assert chosen(keys, gold=keys[-1], kl_unit="nats_per_token").length == "response_length/mean"
    assert "kl_unit='nat'; allowed: nats, " in refused(keys, gold=keys[-1], kl_unit="nat")


def test_per_token_needs_a_length() -> None:
    keys = ("my_kl", "gold", "mean_tokens")
    said = refused(keys, kl="my_kl", kl_unit="nats_per_token")
    assert "give --length KEY (keys that may hold it: 'mean_tokens') or --length NUMBER" in said
    assert chosen(keys, kl="my_kl", kl_unit="bits_per_token", length="mean_tokens").length == "mean_tokens"
    assert chosen(keys, kl="my_kl", kl_unit="nats_per_token", length="53.5").length == 53.5
    assert "length='-1'; allowed: a key, or a number of tokens > 0" in refused(
        keys, kl="my_kl", kl_unit="nats_per_token", length="-1"
    )
    assert chosen(keys, kl="my_kl", kl_unit="nats").length is None


def test_all_problems_at_once() -> None:
    said = refused(("a", "b"), kl="k", gold="g", proxy="p", kl_unit="u")
    assert len(said.splitlines()) == 4


def test_what_to_keep_in_mind() -> None:
    def texts(name: str, **asked: str) -> str:
        keys = KNOWN[name][0]
        return " ".join(note.text for note in chosen(keys, **({"gold": keys[-1]} | asked)).notes)

    assert texts("TRL GRPO or RLOO") == ""
    assert "log ratios are clamped" in texts("OpenRLHF")
    assert "kl is approximate" in texts("OpenRLHF")
    assert texts("NeMo-RL") == "kl from 'train/kl_penalty' (NeMo-RL): log ratios are clamped: a large KL reads too low"
    shaped = texts("verl", proxy="critic/rewards/mean")
    assert "proxy 'critic/rewards/mean' is shaped" in shaped
    assert "the raw score is 'critic/score/mean'" in shaped
    assert "gold 'objective/rlhf_reward' is shaped" in texts("TRL PPO or OnlineDPO", gold="objective/rlhf_reward")

"""Train a tiny policy with TRL's GRPO on the CPU and let TRL, TensorBoard and MLflow write their logs into a folder.

Run by the interpreter of the dependency group ``trl``: ``python train_grpo.py FOLDER``. Nothing is downloaded: the
model and its tokenizer are made here. The gold reward has weight 0: it is logged and not optimised.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

LETTERS = "abcdefghijklmnopqrstuvwxyz"
STEPS, EVERY, SEED = 24, 4, 1


def make_model(place: Path) -> str:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

    words = {"<pad>": 0, "<eos>": 1, "<unk>": 2} | {letter: i for i, letter in enumerate(LETTERS, 3)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>", padding_side="left"
    ).save_pretrained(place)
    config = GPT2Config(
        n_layer=1, n_embd=32, n_head=2, vocab_size=len(words), bos_token_id=1, eos_token_id=1, pad_token_id=0
    )
    GPT2LMHeadModel(config).save_pretrained(place)
    return str(place)


def proxy(completions: list[str], **_: object) -> list[float]:
    """What is optimised: how often the letter a occurs."""
    return [float(text.count("a")) for text in completions]


def gold(completions: list[str], **_: object) -> list[float]:
    """What is wanted: some of it, not too much."""
    return [text.count("a") - 0.125 * text.count("a") ** 2 for text in completions]


def make_trainer(folder: Path) -> Any:
    """The trainer, with its trackers; nothing is trained yet."""
    os.environ |= {
        "MLFLOW_TRACKING_URI": f"sqlite:///{folder / 'mlflow.db'}",
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "true",
    }
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer

    prompts = Dataset.from_dict({"prompt": ["a b c", "d e f", "g h", "x y z"] * 8})
    settings = GRPOConfig(
        output_dir=str(folder / "rm-3M"),
        beta=0.05,
        reward_weights=[1.0, 0.0],
        use_cpu=True,
        bf16=False,
        num_generations=4,
        per_device_train_batch_size=8,
        per_device_eval_batch_size=8,
        max_completion_length=12,
        max_steps=STEPS,
        logging_steps=1,
        eval_strategy="steps",
        eval_steps=EVERY,
        eval_on_start=True,
        save_steps=STEPS // 2,
        learning_rate=5e-3,
        lr_scheduler_type="constant",
        report_to=["tensorboard", "mlflow"],
        seed=SEED,
    )
    return GRPOTrainer(
        model=make_model(folder / "model"),
        reward_funcs=[proxy, gold],
        args=settings,
        train_dataset=prompts,
        eval_dataset=prompts.select(range(4)),
    )


if __name__ == "__main__":
    make_trainer(Path(sys.argv[1])).train()

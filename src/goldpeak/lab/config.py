"""Settings of the small over-optimisation experiment: one flat, frozen record, read from TOML."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from goldpeak.errors import CardError

__all__ = ["LabConfig"]

# Smallest value allowed, by field; `True` marks an open bound (the value itself is refused).
_AT_LEAST: dict[str, tuple[float, bool]] = {
    "seed": (0, False),
    "dim": (1, False),
    "humps": (1, False),
    "s": (0, True),
    "excess": (0, False),
    "pairs": (1, False),
    "val_pairs": (1, False),
    "label_noise": (0, False),
    "seeds": (1, False),
    "epochs": (1, False),
    "rm_batch": (1, False),
    "rm_lr": (0, True),
    "rm_weight_decay": (0, False),
    "rl_steps": (1, False),
    "rl_batch": (2, False),
    "rl_lr": (0, True),
    "rl_checkpoints": (1, False),
    "rl_eval": (2, False),
    "rl_kl_max": (0, True),
    "bon_pools": (2, False),
    "bon_exact_pools": (2, False),
    "bon_samples": (2, False),
    "bon_n_values": (2, False),
}


@dataclass(frozen=True)
class LabConfig:
    """What world to build, which reward models to train in it, and how hard to optimise against them.

    Attributes
    ----------
    seed : int
        Seed of everything: the world, the pairs, the networks, the policies.
    dim : int
        Length of an output vector x; the initial policy is N(0, I).
    humps : int
        Number of attributes the gold reward adds up.
    s : float
        Width of an attribute's useful range.
    excess, excess_start : float
        Penalty coefficient on, and start of, an attribute's excess: ``- excess * relu(z - excess_start)**2``.
    pairs, val_pairs : int
        Comparisons each reward model is trained on, and held-out comparisons it is scored on.
    label_noise : float
        Probability that a label is flipped, on top of the randomness of Bradley-Terry labels.
    one_layer, two_layer : tuple of int
        Widths of the ReLU reward models with one hidden layer, and with two of equal width.
    seeds : int
        Reward models of each size; each has its own pairs and initialisation.
    epochs, rm_batch : int
        Passes over the pairs, and pairs a step.
    rm_lr, rm_weight_decay : float
        AdamW's peak learning rate (cosine decay to 0) and weight decay.
    rl_steps, rl_batch, rl_lr : int, int, float
        Policy-gradient steps, samples a step, Adam's learning rate.
    rl_checkpoints, rl_eval : int
        Checkpoints kept (spaced geometrically in step), and samples each is evaluated on.
    rl_kl_max : float
        Checkpoints beyond this KL (nats) are not kept.
    bon_pools, bon_exact_pools : int
        Independent pools ("prompts") behind `gold`, and fresh ones behind `gold_exact`.
    bon_samples, bon_n_values : int
        Samples in a pool, and the number of values of n from 1 to that.

    Examples
    --------
    >>> LabConfig(seeds=1, one_layer=(4,), two_layer=()).architectures
    ((4,),)
    """

    seed: int = 2
    dim: int = 16
    humps: int = 24
    s: float = 0.8
    excess: float = 0.06
    excess_start: float = 2.0
    pairs: int = 20_000
    val_pairs: int = 20_000
    label_noise: float = 0.0
    one_layer: tuple[int, ...] = (2, 3, 5, 8, 14)
    two_layer: tuple[int, ...] = (16, 32, 64, 128, 256)
    seeds: int = 4
    epochs: int = 10
    rm_batch: int = 128
    rm_lr: float = 0.01
    rm_weight_decay: float = 0.1
    rl_steps: int = 500
    rl_batch: int = 512
    rl_lr: float = 0.02
    rl_checkpoints: int = 45
    rl_eval: int = 512
    rl_kl_max: float = 60.0
    bon_pools: int = 40
    bon_exact_pools: int = 160
    bon_samples: int = 20_000
    bon_n_values: int = 27

    def __post_init__(self) -> None:
        problems = self._problems()
        if problems:
            raise CardError("lab config", problems)

    @property
    def architectures(self) -> tuple[tuple[int, ...], ...]:
        """Hidden-layer widths of every size of reward model, those with one layer first."""
        return tuple((w,) for w in self.one_layer) + tuple((w, w) for w in self.two_layer)

    @classmethod
    def from_toml(cls, path: str | Path) -> LabConfig:
        """Read a config; settings not in the file keep their defaults.

        Parameters
        ----------
        path : str or Path
            A TOML file of flat ``key = value`` lines.

        Returns
        -------
        LabConfig

        Raises
        ------
        CardError
            For a file that cannot be read, and for all unknown keys and wrong values in it at once.
        """
        path = Path(path)
        try:
            table = tomllib.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise CardError(path.name, [f"cannot be read: {error.strerror or error}"]) from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise CardError(path.name, [f"is not TOML: {error}"]) from error
        return cls.from_mapping(table, source=path.name)

    @classmethod
    def from_mapping(cls, table: Mapping[str, Any], source: str = "lab config") -> LabConfig:
        """Build a config from plain values (lists become tuples); raises `CardError` like `from_toml`."""
        known: dict[str, Any] = {f.name: f.default for f in fields(cls)}
        problems = [f"unknown key {key!r}; valid keys: {', '.join(known)}" for key in table if key not in known]
        values: dict[str, Any] = {}
        for key in known:
            if key in table:
                values[key] = tuple(table[key]) if isinstance(table[key], list) else table[key]
        probe = object.__new__(cls)  # the checks need all fields but must not stop at the first problem
        for key, default in known.items():
            object.__setattr__(probe, key, values.get(key, default))
        problems += probe._problems()
        if problems:
            raise CardError(source, problems)
        sound: dict[str, Any] = {k: float(v) if isinstance(known[k], float) else v for k, v in values.items()}
        return cls(**sound)

    def _problems(self) -> list[str]:
        problems = [p for f in fields(self) if (p := _wrong_type(f.name, getattr(self, f.name), f.default))]
        sound = {f.name for f in fields(self)} - {p.split(" ", 1)[0] for p in problems}
        for name, (low, is_open) in _AT_LEAST.items():
            value = getattr(self, name)
            if name in sound and (value <= low if is_open else value < low):
                problems.append(f"{name} must be {'>' if is_open else '>='} {low:g}, got {value!r}")
        if "label_noise" in sound and self.label_noise > 0.5:
            problems.append(f"label_noise must be <= 0.5, got {self.label_noise!r}")
        for name in {"one_layer", "two_layer"} & sound:
            widths = getattr(self, name)
            if any(w < 1 for w in widths) or len(set(widths)) < len(widths):
                problems.append(f"{name} must hold different whole numbers >= 1, got {list(widths)}")
        if {"one_layer", "two_layer"} <= sound and not self.one_layer + self.two_layer:
            problems.append("one_layer and two_layer must not both be empty")
        if {"rm_batch", "pairs"} <= sound and self.rm_batch > self.pairs:
            problems.append(f"rm_batch must be <= pairs ({self.pairs}), got {self.rm_batch}")
        return sorted(problems)


def _wrong_type(name: str, value: object, default: object) -> str | None:
    """One sentence if `value` is not of the sort `default` is, else None (bool is no number; int serves as float)."""

    def is_whole(v: object) -> bool:
        return isinstance(v, int) and not isinstance(v, bool)

    if isinstance(default, tuple):
        fine, wanted = isinstance(value, tuple) and all(is_whole(v) for v in value), "a list of whole numbers"
    elif isinstance(default, int):
        fine, wanted = is_whole(value), "a whole number"
    else:
        fine = (is_whole(value) or isinstance(value, float)) and math.isfinite(value)  # type: ignore[arg-type]
        wanted = "a finite number"
    return None if fine else f"{name} must be {wanted}, got {value!r}"

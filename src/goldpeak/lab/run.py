"""Run the whole experiment and write its tables."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from goldpeak.errors import FitError
from goldpeak.lab.config import LabConfig
from goldpeak.lab.gold import Gold, make_gold
from goldpeak.stack import versions

__all__ = ["run"]

RM_COLUMNS = ["rm", "rm_params", "rm_data", "seed", "val_loss", "val_accuracy"]
VERSIONS_OF = ("goldpeak", "jax", "jaxlib", "numpy", "optax", "pandas", "pyarrow", "scipy")


def run(config: LabConfig, out: Path, progress: Callable[[str], None] | None = None) -> None:
    """Train the reward models, optimise against each by policy gradient and by best-of-n, and write the tables.

    Files, all written at the end: ``rl.parquet`` and ``bon.parquet`` (one row a point), ``bon_prompts.parquet`` (one
    row a pool and n), ``rms.csv`` (one row a reward model), ``lab.json`` (settings and versions).

    Parameters
    ----------
    config : LabConfig
        The same config gives the same tables on the same machine and versions.
    out : Path
        Folder; made if missing. Files of an earlier run in it are replaced.
    progress : callable, optional
        Called with a line of text after each reward model.

    Raises
    ------
    FitError
        Where jax and optax are missing, or `out` is not a folder that can be made; nothing is written then.
    """
    _require_jax()
    out = Path(out)
    existing = next(p for p in [out, *out.parents] if p.exists() or p == p.parent)
    if not existing.is_dir() or not os.access(existing, os.W_OK):
        raise FitError(f"cannot write to {out}: {existing} is not a folder that can be written to")
    _write(out, _measure(config, progress or (lambda line: None)), config)


def _require_jax() -> None:
    try:
        import jax  # noqa: F401
        import optax  # noqa: F401
    except ImportError as error:
        raise FitError(f"the experiment needs jax and optax ({error}): pip install 'goldpeak[lab]'") from error


def _measure(config: LabConfig, progress: Callable[[str], None]) -> dict[str, pd.DataFrame]:
    """All tables, by file stem."""
    gold = make_gold(config)
    parts: dict[str, list[pd.DataFrame]] = {"rl": [], "bon": [], "bon_prompts": [], "rms": []}
    jobs = [(widths, seed) for widths in config.architectures for seed in range(config.seeds)]
    for done, (widths, seed) in enumerate(jobs, start=1):
        tables = _one_reward_model(config, gold, widths, seed)
        for name, table in tables.items():
            parts[name].append(table)
        row = tables["rms"].iloc[0]
        progress(f"{done}/{len(jobs)} {row['rm']}: {row['rm_params']} parameters, accuracy {row['val_accuracy']:.3f}")
    return {name: pd.concat(tables, ignore_index=True) for name, tables in parts.items()}


def _one_reward_model(config: LabConfig, gold: Gold, widths: tuple[int, ...], seed: int) -> dict[str, pd.DataFrame]:
    import jax

    from goldpeak.lab.optimise import best_of_n, policy_gradient
    from goldpeak.lab.proxy import count_params, train

    # The key depends on the network and its seed only, so adding sizes to a config leaves the others as they were.
    key = jax.random.key(config.seed)
    for number in (*widths, len(widths), seed):
        key = jax.random.fold_in(key, number)
    key_train, key_rl, key_bon = jax.random.split(key, 3)

    proxy, val_loss, val_accuracy = train(key_train, gold, widths, config)
    rm = f"w{'x'.join(map(str, widths))}-s{seed}"
    about: dict[str, Any] = {
        "rm": rm,
        "rm_params": count_params(config.dim, widths),
        "rm_data": config.pairs,
        "seed": seed,
    }
    bon = best_of_n(key_bon, gold, proxy, config)
    prompts = bon.pop("prompt_gold")
    return {
        "rl": _labelled(about, "rl", policy_gradient(key_rl, gold, proxy, config)),
        "bon": _labelled(about, "bon", bon),
        "bon_prompts": _prompt_table(f"bon-{rm}", about["rm_params"], bon["n"], prompts),
        "rms": pd.DataFrame([about | {"val_loss": float(val_loss), "val_accuracy": float(val_accuracy)}])[RM_COLUMNS],
    }


def _labelled(about: dict[str, Any], method: str, columns: dict[str, Any]) -> pd.DataFrame:
    labels = {"run": f"{method}-{about['rm']}", "rm": about["rm"], "method": method}
    return pd.DataFrame(labels | about | columns)


def _prompt_table(run_name: str, rm_params: int, n: np.ndarray, prompts: np.ndarray) -> pd.DataFrame:
    count = len(prompts)
    return pd.DataFrame(
        {
            "run": run_name,
            "rm_params": rm_params,
            "prompt": np.repeat(np.arange(count, dtype=np.int32), n.size),
            "n": np.tile(n, count),
            "gold": prompts.ravel().astype(np.float32),
        }
    )


def _about(config: LabConfig) -> dict[str, Any]:
    """What made the tables; nothing about the machine or the time, so that running again changes nothing."""
    command = "goldpeak lab --out DIR" + ("" if config == LabConfig() else " --config FILE")
    return {"command": command, "seed": config.seed, "config": asdict(config), "versions": versions(VERSIONS_OF)}


def _write(out: Path, tables: dict[str, pd.DataFrame], config: LabConfig) -> None:
    """Write everything under temporary names first, then rename: a full disk leaves no half run behind."""
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out, prefix=".lab-") as folder:
        temporary = Path(folder)
        for name in ("rl", "bon", "bon_prompts"):
            tables[name].to_parquet(temporary / f"{name}.parquet", index=False, compression="zstd")
        tables["rms"].to_csv(temporary / "rms.csv", index=False, float_format="%.6f", lineterminator="\n")
        (temporary / "lab.json").write_text(json.dumps(_about(config), indent=2) + "\n", encoding="utf-8")
        for file in sorted(temporary.iterdir()):
            os.replace(file, out / file.name)

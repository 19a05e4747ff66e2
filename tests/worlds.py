"""Further worlds of the lab experiment, stored small under ``tests/worlds``: other seeds, dimensions, humps, labels.

``<world>.toml`` is the configuration: ``goldpeak lab --out DIR --config tests/worlds/a.toml`` measures it again, and
``python tests/worlds.py a DIR`` packs the result.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

import goldpeak
from goldpeak.names import POINT, RUN, RUN_INDEX
from goldpeak.runs import read_runs

FOLDER = Path(__file__).parent / "worlds"
BUNDLED = "lab"
WORLDS = (BUNDLED, "a", "b", "c", "d", "e", "f", "g", "h")
KEPT = ["run", "rm_params", "seed", "step", "kl", "gold", "gold_se", "gold_exact"]


def available() -> tuple[str, ...]:
    """The worlds that are there: not in a source distribution."""
    return tuple(w for w in WORLDS if w == BUNDLED or (FOLDER / f"{w}_rl.parquet").is_file())


def world(name: str, method: str) -> xr.Dataset:
    """Runs of one world with ``gold_exact``; best-of-n from its prompts, so with ``gold_cov``."""
    if name == BUNDLED:
        runs = goldpeak.datasets.lab(method)
    elif method == "rl":
        table = pd.read_parquet(FOLDER / f"{name}_rl.parquet")
        runs = with_exact(read_runs(table.drop(columns="gold_exact")), table, "step")
    else:
        exact = pd.read_parquet(FOLDER / f"{name}_bon.parquet")
        prompts = pd.read_parquet(FOLDER / f"{name}_bon_prompts.parquet")
        runs = with_exact(read_runs(prompts, method="bon"), exact, "n")
    return runs


def with_exact(runs: xr.Dataset, table: pd.DataFrame, key: str) -> xr.Dataset:
    """The true curve beside the measured one."""
    names = runs[RUN].values[runs[RUN_INDEX].values]
    exact = table.set_index(["run", key])["gold_exact"]
    at = pd.MultiIndex.from_arrays([names, runs[key].values.astype(np.int64)])
    return runs.assign(gold_exact=(POINT, exact.reindex(at).to_numpy(dtype=float)))


def pack(name: str, source: Path) -> None:
    """Keep of a lab's output what `world` reads."""
    frames = {
        "rl": pd.read_parquet(source / "rl.parquet")[KEPT],
        "bon": pd.read_parquet(source / "bon.parquet")[["run", "n", "gold_exact"]],
        "bon_prompts": pd.read_parquet(source / "bon_prompts.parquet"),
    }
    start = frames["bon"].query("n == 1").set_index("run")["gold_exact"]
    frames["bon"]["gold_exact"] -= frames["bon"]["run"].map(start)
    for kind, frame in frames.items():
        frame.to_parquet(FOLDER / f"{name}_{kind}.parquet", index=False, compression="zstd")


if __name__ == "__main__":
    pack(sys.argv[1], Path(sys.argv[2]))

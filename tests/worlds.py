"""Further worlds of the lab experiment, stored small under ``tests/worlds``: other seeds, dimensions, humps, labels.

``<world>.toml`` is the configuration: ``goldpeak lab --out DIR --config tests/worlds/a.toml`` measures it again, and
``python tests/worlds.py a DIR`` packs the result. Worlds a to d were there while defaults were chosen, e and f not.
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
CHOOSING = (BUNDLED, "a", "b", "c", "d")
HELD_OUT = ("e", "f")
PROMPTS = 40
EVERY = 3
"""Of best-of-n curves every third n is used, see `thinned`."""
KEPT = ["run", "rm_params", "seed", "step", "kl", "gold", "gold_se", "gold_exact"]


def available() -> tuple[str, ...]:
    """The worlds that are there: not in a source distribution."""
    return tuple(w for w in (*CHOOSING, *HELD_OUT) if w == BUNDLED or (FOLDER / f"{w}_rl.parquet").is_file())


def world(name: str, method: str) -> xr.Dataset:
    """Runs of one world with ``gold_exact``; best-of-n from its prompts, so with ``gold_cov``, and thinned."""
    if name == BUNDLED:
        runs = goldpeak.datasets.lab(method)
    elif method == "rl":
        table = pd.read_parquet(FOLDER / f"{name}_rl.parquet")
        runs = with_exact(read_runs(table.drop(columns="gold_exact")), table, "step")
    else:
        exact = pd.read_parquet(FOLDER / f"{name}_bon.parquet")
        prompts = pd.read_parquet(FOLDER / f"{name}_bon_prompts.parquet")
        runs = with_exact(read_runs(prompts, method="bon"), exact, "n")
    return thinned(runs) if method == "bon" else runs


def with_exact(runs: xr.Dataset, table: pd.DataFrame, key: str) -> xr.Dataset:
    """The true curve beside the measured one."""
    names = runs[RUN].values[runs[RUN_INDEX].values]
    exact = table.set_index(["run", key])["gold_exact"]
    at = pd.MultiIndex.from_arrays([names, runs[key].values.astype(np.int64)])
    return runs.assign(gold_exact=(POINT, exact.reindex(at).to_numpy(dtype=float)))


def thinned(runs: xr.Dataset, every: int = EVERY, prompts: int = PROMPTS) -> xr.Dataset:
    """Every so many-th point of each run, the last one among them, and a covariance that allows for few prompts.

    The inverse of a covariance of p points that was estimated from m prompts is too large, by (m - 1) / (m - p - 2)
    on average (Hartlap, Simon & Schneider 2007, doi:10.1051/0004-6361:20066170): with 26 points and 40 prompts by 3.2,
    with 9 points by 1.3. So fewer points tell more, and the covariance is widened by that factor.
    """
    kept, blocks = [], []
    for r in range(runs.sizes[RUN]):
        mine = np.flatnonzero(runs[RUN_INDEX].values == r)
        chosen = np.arange(len(mine))[::-1][::every][::-1]
        kept.append(mine[chosen])
        factor = (prompts - 1) / (prompts - len(chosen) - 2)
        blocks.append(factor * runs["gold_cov"].values[np.ix_(mine[chosen], chosen)])
    width = max(map(len, kept))
    padded = [np.pad(block, ((0, 0), (0, width - len(block)))) for block in blocks]
    few = runs.isel({POINT: np.concatenate(kept), "peer": slice(0, width)})
    return few.assign(gold_cov=((POINT, "peer"), np.concatenate(padded))).drop_vars("gold_se", errors="ignore")


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

"""Time of the stopper's updates: ``OMP_NUM_THREADS=1 python tests/benchmarks/stopper.py``.

The fleet is the smaller half of the bundled lab's sizes, the run one of the larger half, with gold at every checkpoint.
For each card: preparing a `Stopper` of 2,000 draws; updates in which the particles stay (median and worst) and those in
which they are made anew (number, median and worst), which happens where the effective number fell below one half; an
update without gold; and resuming from the state of the whole run. Processor time in milliseconds, the least of
`REPEATS` runs of the same checkpoints.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import numpy as np
import xarray as xr

import goldpeak
from goldpeak.stopping.particles import Particles

DRAWS, REPEATS = 2000, 5
CARDS = ("rl_paper", "rl", "boxcox", "similar")
COLUMNS = ("kl", "gold", "gold_se", "proxy", "step")


def measure(post: xr.DataTree, run: xr.Dataset) -> dict[str, float]:
    """Times of one pass over a run, repeated."""
    rows = [tuple(map(float, row)) for row in zip(*(run[name].values for name in COLUMNS), strict=True)]
    rm_params = float(run["rm_params"].values[0])
    anew: list[int] = []
    original = Particles.rejuvenate

    def noted(particles: Particles) -> None:
        anew.append(len(particles.points) - 1)
        original(particles)

    Particles.rejuvenate = noted  # type: ignore[method-assign]
    times, prepare = [], []
    for _ in range(REPEATS):
        anew.clear()
        start = time.process_time()
        stopper = goldpeak.Stopper(post, rm_params, draws=DRAWS)
        prepare.append(time.process_time() - start)
        each = []
        for row in rows:
            start = time.process_time()
            stopper.update(*row)
            each.append(time.process_time() - start)
        times.append(each)
    Particles.rejuvenate = original  # type: ignore[method-assign]
    least = 1e3 * np.min(times, axis=0)
    made = np.isin(np.arange(len(rows)), anew)
    start = time.process_time()
    stopper.update(rows[-1][0], step=rows[-1][-1] + 1.0)
    without_gold = 1e3 * (time.process_time() - start)
    with tempfile.TemporaryDirectory() as folder:
        state = Path(folder, "state.json")
        stopper.save(state)
        start = time.process_time()
        goldpeak.Stopper(post, rm_params, draws=DRAWS, state=state)
        resume = 1e3 * (time.process_time() - start)
    return {
        "prepare": 1e3 * min(prepare),
        "update median": float(np.median(least[1:][~made[1:]])),
        "worst": float(least[1:][~made[1:]].max()),
        "anew": int(made.sum()),
        "anew median": float(np.median(least[made])) if made.any() else np.nan,
        "anew worst": float(least[made].max()) if made.any() else np.nan,
        "without gold": without_gold,
        "resume": resume,
    }


def main() -> None:
    """Print the table."""
    small, large = goldpeak.split_by_size(goldpeak.datasets.lab("rl"))
    run = goldpeak.select(large, np.arange(large.sizes["run"]) == 11)
    for card in CARDS:
        post = goldpeak.fit(small, card, draws=500, seed=1, kl_max=2.0 * float(large["kl"].max()))
        found = measure(post, run)
        print(f"{card:9}", "  ".join(f"{name} {value:.1f}" for name, value in found.items()), flush=True)


if __name__ == "__main__":
    main()

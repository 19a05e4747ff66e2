"""Speed of nuts and the fast engine of a card, side by side: ``python tests/benchmarks/engines.py [--help]``.

Every fit runs in a process of its own. Printed per fit: wall time of `goldpeak.fit` after import (compilation counts),
effective draws per second of one run's ``kl_peak``, peak memory of the process; and the ratio of effective draws per
second, fast : nuts. A fit that passes the time limit is stopped and printed as such. Nothing here is asserted: machines
differ, ratios less.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
import warnings
from pathlib import Path
from typing import Any

SIZES = {"9x25": (9, 25), "27x1000": (27, 1000), "200x200": (200, 200), "1000x50": (1000, 50)}
LAB = {"lab": 1, "lab10": 4}
"""The bundled RL runs: all 40, or every fourth."""


def data(size: str) -> Any:
    """Simulated runs of the given number and length (three runs a size), or bundled ones."""
    import numpy as np
    import simulate

    import goldpeak

    if size in LAB:
        bundled = goldpeak.datasets.lab("rl")
        return goldpeak.select(bundled, np.arange(bundled.sizes["run"]) % LAB[size] == 0)
    runs, points = SIZES[size]
    sizes = tuple(np.geomspace(1e6, 1e10, max(runs // 3, 3)))
    per_size = -(-runs // len(sizes))
    made = simulate.runs(np.random.default_rng(5), sizes=sizes, runs_per_size=per_size, points=points)
    return goldpeak.select(made, np.arange(made.sizes["run"]) < runs)


def one(size: str, card: str, engine: str) -> dict[str, Any]:
    """Fit once, in this process."""
    import arviz_stats
    import numpy as np

    import goldpeak
    from goldpeak.gates import gates_of

    runs = data(size)
    if engine == "nuts":
        import pymc  # noqa: F401  (imported before the clock starts, as everything else)
    else:
        import scipy.optimize  # noqa: F401
    start = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        post = goldpeak.fit(runs, card, engine=engine, seed=1)
    seconds = time.perf_counter() - start
    peak = goldpeak.peak(post).draws["kl_peak"].isel(run=0)
    finite = peak.where(np.isfinite(peak), 2 * float(post.attrs["kl_max"]))
    if engine != "nuts":
        ess = clustered_ess(finite.values.ravel(), post["posterior"]["sigma"].values.ravel())
    else:
        ess = float(arviz_stats.ess(finite.to_dataset(name="k"))["k"])
    gates = gates_of(post)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    return {"seconds": seconds, "ess": ess, "memory": memory, "gates": gates.summary(), "passed": gates.passed}


def fast_engine(card: str) -> str:
    """The engine that is held against nuts: that for the card's coordinates."""
    from goldpeak.library import load_card

    return "laplace_is" if load_card(card).coordinates == "peak" else "exact"


def clustered_ess(values: Any, outer: Any) -> float:
    """Effective draws of a fast engine: independent given the outer draw, which several of them may share."""
    import numpy as np

    _, cluster = np.unique(outer, return_inverse=True)
    centred = values - values.mean()
    return float(len(values) * np.sum(centred**2) / np.sum(np.bincount(cluster, centred) ** 2))


def in_process(size: str, card: str, engine: str, limit: float) -> dict[str, Any] | None:
    """The same in a process of its own; None where it took longer than `limit` seconds."""
    command = [sys.executable, __file__, "--one", size, card, engine]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=limit, check=True)
    except subprocess.TimeoutExpired:
        return None
    except subprocess.CalledProcessError as error:
        return {"failed": error.stderr.strip().splitlines()[-1]}
    return dict(json.loads(done.stdout.splitlines()[-1]))


def line(size: str, card: str, engine: str, found: dict[str, Any] | None, limit: float) -> str:
    head = f"{size:>8}  {card:<9} {engine:<10}"
    if found is None:
        return f"{head}  > {limit:.0f} s: stopped"
    if "failed" in found:
        return f"{head}  {found['failed']}"
    speed = found["ess"] / found["seconds"]
    return f"{head} {found['seconds']:8.1f} s {speed:10.1f} ess/s {found['memory']:6.2f} GB  {found['gates']}"


def main() -> None:
    """Run what the arguments select."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="9x25,27x1000,200x200,1000x50,lab", help="comma-separated")
    parser.add_argument("--cards", default="rl_paper,rl", help="comma-separated")
    parser.add_argument(
        "--engines", default="fast,nuts", help="comma-separated; fast is exact or, for similar, laplace_is"
    )
    parser.add_argument("--limit", type=float, default=600.0, help="seconds a fit may take")
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.one:
        print(json.dumps(one(*chosen.one)))
        return
    load = ", ".join(f"{v:.1f}" for v in os.getloadavg())
    print(f"{os.cpu_count()} cores, load {load}; seconds of fit() after import", flush=True)
    for size in chosen.sizes.split(","):
        for card in chosen.cards.split(","):
            found = {}
            for name in chosen.engines.split(","):
                engine = fast_engine(card) if name == "fast" else name
                found[engine] = in_process(size, card, engine, chosen.limit)
                print(line(size, card, engine, found[engine], chosen.limit), flush=True)
            speeds = [f["ess"] / f["seconds"] for f in found.values() if f and "ess" in f]
            if len(speeds) == 2:
                print(f"{'':>8}  {card:<9} fast : nuts {speeds[0] / speeds[1]:.0f}", flush=True)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    main()

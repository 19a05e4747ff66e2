"""Cost of the noise kinds by number of points: ``python tests/benchmarks/noise.py [--help]``.

Printed per kind and number of points in each of three runs: processor time of one evaluation of the exact engine's log
marginal likelihood, averaged over a batch of outer draws, and its ratio to that of the number before. ``iid`` should
not depend on the points, ``ou`` be linear in them; ``dense`` is the same density as ``ou`` from one Cholesky
factorisation a run, cubic, and left out beyond `DENSE` points. Nothing here is asserted: machines differ, ratios less.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

DRAWS = 24
DENSE = 1000


def prepared(kind: str, card: str, points: int) -> Callable[[], Any]:
    """One batch of evaluations, everything that is done once a fit already done."""
    import numpy as np
    import simulate
    from dense import noise_covariance
    from noisy import NOISES

    from goldpeak.design import make_design
    from goldpeak.engines.linear_model import LinearModel
    from goldpeak.engines.threads import one_thread_each
    from goldpeak.library import load_card

    noise = NOISES["iid" if kind == "iid" else "ou"]
    runs = simulate.runs(np.random.default_rng(0), runs_per_size=1, points=points)
    design = make_design(runs, dataclasses.replace(load_card(card), noise=noise))
    model = LinearModel(design)
    z = 0.5 * np.random.default_rng(1).standard_normal((DRAWS, len(model.names)))
    h = model.outer(z)

    def dense() -> None:
        for s in range(DRAWS):
            covariance = noise_covariance(design, {name: values[s] for name, values in h.items()})
            for r in range(len(design.run)):
                mine = design.run_index == r
                factor = np.linalg.cholesky(covariance[np.ix_(mine, mine)])
                np.linalg.solve(factor, np.column_stack([design.columns()[mine], design.y[mine]]))

    def fast() -> None:
        with one_thread_each():
            model.log_density(z)

    return dense if kind == "dense" else fast


def seconds(evaluate: Callable[[], Any]) -> float:
    """Best of three, for one draw; of the processor, so that a busy machine does not matter much."""
    found = []
    for _ in range(3):
        start = time.process_time()
        evaluate()
        found.append(time.process_time() - start)
    return min(found) / DRAWS


def main() -> None:
    """Run what the arguments select."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", default="200,2000,20000", help="of each run, comma-separated")
    parser.add_argument("--cards", default="rl_paper,rl", help="comma-separated")
    parser.add_argument("--kinds", default="iid,ou,dense", help="comma-separated")
    chosen = parser.parse_args()
    for card in chosen.cards.split(","):
        for kind in chosen.kinds.split(","):
            last = None
            for points in map(int, chosen.points.split(",")):
                if kind == "dense" and points > DENSE:
                    continue
                took = seconds(prepared(kind, card, points))
                ratio = "" if last is None else f"  {took / last:6.1f} times"
                print(f"{card:<9} {kind:<6} {points:>7,} points {1e3 * took:10.3f} ms a draw{ratio}", flush=True)
                last = took


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    main()

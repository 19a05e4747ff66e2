"""How often the divergence monitor raises an alarm where nothing happens: ``python tests/stopping/monitor_rates.py``.

A run has 100 checkpoints. The growth of sqrt(KL) per step scatters about a constant, independently, with normal or
Student-t noise, or follows a random walk; likewise the proxy per nat. Share of runs with a spike anywhere, of each of
the two series by itself; and the threshold at which normal noise would have 2.5 % (both series together 5 %). Below,
the runs of the bundled lab: those with a spike, and those where a jump of sqrt(KL) by one half was put into the last
third and was seen there.
"""

from __future__ import annotations

import numpy as np

from goldpeak.datasets import lab
from goldpeak.stopping.monitor import MAD, THRESHOLD, WARM_UP, Monitor

CHECKPOINTS = 100


def noises(runs: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Series of growth, (run, checkpoint)."""
    rng = np.random.default_rng(seed)
    shape = (runs, CHECKPOINTS)
    return {
        "normal": rng.standard_normal(shape),
        "Student t, 5 degrees of freedom": rng.standard_t(5, shape),
        "Student t, 3 degrees of freedom": rng.standard_t(3, shape),
        "random walk": np.cumsum(rng.standard_normal(shape), axis=1),
    }


def largest(values: np.ndarray) -> np.ndarray:
    """Of each run the largest change in units of the usual change at its time, as `monitor.is_spike` takes it."""
    change = np.diff(values, axis=1)
    found = np.zeros(len(values))
    for t in range(WARM_UP, change.shape[1]):
        before = change[:, :t]
        middle = np.median(before, axis=1)
        usual = MAD * np.median(np.abs(before - middle[:, None]), axis=1)
        found = np.maximum(found, np.abs(change[:, t] - middle) / usual)
    return found


def lab_alarms(jump: float = 0.0) -> tuple[int, int]:
    """Runs of the lab with a spike in KL (with a jump: at it), and in all."""
    runs = lab("rl")
    found = 0
    for r in range(runs.sizes["run"]):
        mine = runs["run_index"].values == r
        kl, step, proxy = (runs[name].values[mine] for name in ("kl", "step", "proxy"))
        at = 2 * len(kl) // 3
        if jump:
            kl = (np.sqrt(kl) + jump * (np.arange(len(kl)) >= at)) ** 2
        monitor = Monitor()
        said = [monitor.update(float(k), float(p), float(s)) for k, p, s in zip(kl, proxy, step, strict=True)]
        found += said[at].kl_spike if jump else any(one.kl_spike or one.proxy_spike for one in said)
    return found, runs.sizes["run"]


def main() -> None:
    """Print the table."""
    for name, values in noises(20_000).items():
        top = largest(values)
        print(f"{name:34} {np.mean(top > THRESHOLD):7.4f}   97.5 % quantile {np.quantile(top, 0.975):.2f}")
    print("lab runs with a spike: {} of {}".format(*lab_alarms()))
    print("lab runs whose jump was seen: {} of {}".format(*lab_alarms(0.5)))


if __name__ == "__main__":
    main()

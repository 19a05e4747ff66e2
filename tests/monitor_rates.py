"""How often the divergence monitor raises an alarm where nothing happens: ``python tests/monitor_rates.py``.

Spikes. A run has 100 checkpoints. The growth of sqrt(KL) per step scatters about a constant, independently, with normal
or Student-t noise, or follows a random walk; likewise the proxy per nat. Share of runs with a spike anywhere, of each
of the two series by itself; and the threshold at which normal noise would have 2.5 % (both series together 5 %). Below,
the runs of the bundled lab: those with a spike, and those where a jump of sqrt(KL) by one half was put into the last
third and was seen there.

Hacking. A proxy that always rises, the worst case, so that all hangs on P(past the peak): share of runs in which the
first alarm comes before the true peak, from KL alone and with gold as well; and the median of its KL over that of the
peak, from KL alone. Runs drawn from a posterior, where the model is true (gold with 15 % noise), and the larger runs of
each of the lab's worlds with the smaller ones fitted by the card `similar` (gold as measured).
"""

from __future__ import annotations

import functools
import warnings
from typing import TYPE_CHECKING

import closed_loop
import numpy as np
import worlds

import goldpeak
from goldpeak.datasets import lab, measured_peaks
from goldpeak.stopping.monitor import MAD, THRESHOLD, WARM_UP, Monitor

if TYPE_CHECKING:
    import xarray as xr

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


def hacking(post: xr.DataTree, runs: xr.Dataset, with_gold: bool, draws: int = 2000) -> np.ndarray:
    """KL at the first alarm of hacking over that at the true peak, for each run; inf where there is none."""
    found = np.full(runs.sizes["run"], np.inf)
    peaks = measured_peaks(runs)["kl_peak"].to_numpy()
    for r, size in enumerate(runs["rm_params"].values):
        one = runs.isel(point=np.flatnonzero(runs["run_index"].values == r))
        stopper = goldpeak.Stopper(post, float(size), draws=draws)
        gold, se = (one[name].values if with_gold else [None] * one.sizes["point"] for name in ("gold", "gold_se"))
        for i, kl in enumerate(one["kl"].values):
            if stopper.update(float(kl), gold[i], se[i], proxy=float(i)).divergence.hacking:
                found[r] = kl / peaks[r]
                break
    return found


def drawn_hacking(runs: int, with_gold: bool) -> np.ndarray:
    """`hacking` on runs drawn from the posterior itself."""
    post = closed_loop.fast_fleet()
    made = closed_loop.drawn(post, runs)
    best = made["gold_exact"].groupby(made["run_index"]).max().values[made["run_index"].values]
    se = closed_loop.NOISY * np.maximum(best, 0.1)
    noise = se * np.random.default_rng(0).standard_normal(len(se))
    return hacking(post, made.assign(gold=made["gold_exact"] + noise, gold_se=("point", se)), with_gold)


def lab_hacking(world: str, with_gold: bool, draws: int = 2000) -> np.ndarray:
    """`hacking` on the larger runs of one of the lab's worlds."""
    return hacking(*fleet_and_runs(world), with_gold, draws)


@functools.cache
def fleet_and_runs(world: str) -> tuple[xr.DataTree, xr.Dataset]:
    """Posterior of a world's smaller sizes, and its runs of the larger ones."""
    small, large = goldpeak.split_by_size(worlds.world(world, "rl"))
    return goldpeak.fit(small, "similar", seed=1), large


def main() -> None:
    """Print the table."""
    warnings.simplefilter("ignore")
    for name, values in noises(20_000).items():
        top = largest(values)
        print(f"{name:34} {np.mean(top > THRESHOLD):7.4f}   97.5 % quantile {np.quantile(top, 0.975):.2f}")
    print("lab runs with a spike: {} of {}".format(*lab_alarms()))
    print("lab runs whose jump was seen: {} of {}".format(*lab_alarms(0.5)))
    both = [[drawn_hacking(400, gold)] for gold in (False, True)]
    print(_told("drawn from the posterior", both), flush=True)
    both = [[lab_hacking(world, gold) for world in worlds.available()] for gold in (False, True)]
    print(_told(f"lab, {len(both[0])} worlds", both))


def _told(name: str, both: list[list[np.ndarray]]) -> str:
    alone, with_gold = (np.concatenate(each) for each in both)
    early = f"{np.mean(alone <= 1.0):.3f} from KL alone, {np.mean(with_gold <= 1.0):.3f} with gold"
    return (
        f"{name}: hacking before the peak in {early} ({len(alone)} runs); median KL of it {np.median(alone):.2f} peaks"
    )


if __name__ == "__main__":
    main()

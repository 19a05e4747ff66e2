"""Speed of `goldpeak.bon.estimate` beside a direct computation: ``python tests/benchmarks/bon.py [--help]``.

The direct computation is what one writes from the formula: binomial coefficients as exact integers, sample by sample.
It does one prompt and two small n, and its time is scaled up (larger n have larger numbers and take longer); beside it
the usual shortcut, logarithms of gamma functions. Both are compared with the estimate. Nothing here is asserted.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable

import numpy as np
from scipy.special import gammaln
from threadpoolctl import threadpool_limits

from goldpeak import bon


def exact(proxy: np.ndarray, gold: np.ndarray, n: int) -> float:
    """One prompt, one n; C(i, n-1) = C(i-1, n-1) i / (i-n+1), all in whole numbers."""
    ranked = gold[np.argsort(proxy)]
    ways, total, weighted = 1, 0, []
    for i in range(n - 1, len(ranked)):
        weighted.append(ways)
        total += ways
        ways = ways * (i + 1) // (i + 2 - n)
    return sum(way / total * float(value) for way, value in zip(weighted, ranked[n - 1 :], strict=True))


def by_logarithms(proxy: np.ndarray, gold: np.ndarray, n: int) -> float:
    """One prompt, one n."""
    ranked, samples = gold[np.argsort(proxy)], len(gold)
    rank = np.arange(n, samples + 1)
    log = gammaln(rank) - gammaln(n) - gammaln(rank - n + 1)
    log -= gammaln(samples + 1) - gammaln(n + 1) - gammaln(samples - n + 1)
    return float(np.exp(log) @ ranked[n - 1 :])


def timed(work: Callable[[], np.ndarray]) -> tuple[float, np.ndarray]:
    start = time.perf_counter()
    found = work()
    return time.perf_counter() - start, found


def main() -> None:
    """Print the times, their ratios and the largest differences."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=int, default=40)
    parser.add_argument("--samples", type=int, default=20_000)
    parser.add_argument("--repeats", type=int, default=5)
    chosen = parser.parse_args()
    rng = np.random.default_rng(1)
    proxy = rng.standard_normal((chosen.prompts, chosen.samples))
    gold = 0.6 * proxy + 0.8 * rng.standard_normal(proxy.shape)
    n = bon.default_n(chosen.samples)
    print(f"{chosen.prompts} prompts x {chosen.samples} samples x {len(n)} n, one core; load {os.getloadavg()[0]:.1f}")
    runs = [timed(lambda: bon.estimate(proxy, gold, n).gold) for _ in range(chosen.repeats)]
    seconds, found = min(run[0] for run in runs), runs[0][1]
    print(f"{'estimate, with covariance':<28} {seconds:9.3f} s")

    def logs() -> np.ndarray:
        return np.array([np.mean([by_logarithms(p, g, k) for p, g in zip(proxy, gold, strict=True)]) for k in n])

    slow, values = timed(logs)
    off = np.abs(values - found).max()
    print(f"{'logarithms, no covariance':<28} {slow:9.3f} s  x {slow / seconds:.0f}, differs {off:.1e}")
    few, curves = n[[0, len(n) // 3]], bon.pool_curves(proxy[0], gold[0], np.array([chosen.samples]), n)[0][0]
    slow, values = timed(lambda: np.array([exact(proxy[0], gold[0], int(k)) for k in few]))
    whole = slow / len(few) * len(n) * chosen.prompts
    off = np.abs(values - curves[[0, len(n) // 3]]).max()
    print(f"{'whole numbers (scaled up)':<28} {whole:9.1f} s  x {whole / seconds:.0f}, differs {off:.1e}")


if __name__ == "__main__":
    with threadpool_limits(1):
        main()

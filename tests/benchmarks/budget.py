"""Time of every budget rule at five sizes on 4,000 draws: python tests/benchmarks/budget.py."""

from __future__ import annotations

import time

import numpy as np

import goldpeak

small, _ = goldpeak.split_by_size(goldpeak.datasets.lab("rl"))
for card in ("rl_paper", "rl", "similar"):
    post = goldpeak.fit(small, card, seed=1)
    times = []
    for _ in range(5):
        start = time.perf_counter()
        goldpeak.budget(post, np.geomspace(1e3, 1e5, 5), rule="all")
        times.append(time.perf_counter() - start)
    draws = post["posterior"].sizes["chain"] * post["posterior"].sizes["draw"]
    print(f"{card}: {draws} draws, 5 sizes, 5 rules: median {np.median(times):.2f} s, first {times[0]:.2f} s")

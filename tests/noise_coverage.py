"""What the kind of noise does to the interval of the peak: true kind by fitted kind, on simulated runs.

``python tests/noise_coverage.py`` prints the table; ``--write`` puts it into README.md between its markers. Slow tests
in `test_recovery` compute its diagonal again.

Each data set has ten runs on five sizes, of the paper's RL form, exact but for the noise (see `noisy`). Each cell gives
the share of runs whose true peak lies in the 90 % interval, and the mean of log(hi / lo), over all data sets.
"""

from __future__ import annotations

import argparse
import re
import sys
import warnings
from pathlib import Path

import noisy
import numpy as np
import xarray as xr

import goldpeak

README = Path(__file__).resolve().parents[1] / "README.md"
MARKED = re.compile(r"(<!-- noise coverage: .*? -->\n)(.*?)\n?(<!-- end -->)", re.DOTALL)
KINDS = ("iid", "known", "cov", "ou", "student_t")
PROB = 0.9


def score(fitted: str, runs: xr.Dataset, truth: np.ndarray, seed: int) -> tuple[float, float]:
    """Coverage and mean log-width of one data set's peaks."""
    if fitted != "cov" and "gold_cov" in runs:
        runs = runs.drop_vars("gold_cov")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # A sampler's gate does not matter here: no single fit is looked at.
        engine = "nuts" if fitted == "student_t" else "exact"
        settings = {"draws": 500, "tune": 500, "chains": 2} if engine == "nuts" else {"draws": 250}
        post = goldpeak.fit(runs, noisy.card_of(fitted), engine=engine, seed=seed, **settings)
        table = goldpeak.peak(post, prob=PROB, kl_max=1e6).table
    inside = (table["lo"] <= truth) & (truth <= table["hi"])
    return float(np.mean(inside)), float(np.mean(np.log(table["hi"] / table["lo"])))


def scores(true: str, fitted: str, sets: int) -> np.ndarray:
    """Coverage and log-width of each data set, shape (set, 2)."""
    made = (noisy.data_set(true, np.random.default_rng([seed, 9])) for seed in range(sets))
    return np.array([score(fitted, runs, truth, seed) for seed, (runs, truth) in enumerate(made)])


def table(sets: int, few: int) -> str:
    """The table as Markdown; with engine ``nuts`` only `few` data sets are fitted."""
    lines = ["| true noise | " + " | ".join(f"`{kind}`" for kind in KINDS) + " |", "|---" * (len(KINDS) + 1) + "|"]
    for true in KINDS:
        cells = []
        for fitted in KINDS:
            if fitted == "cov" != true:
                # There is no covariance that it could take.
                cells.append("–")
                continue
            found = scores(true, fitted, few if fitted == "student_t" else sets)
            text = f"{found[:, 0].mean():.2f} ({np.mean(found[:, 1]):.2f})"
            cells.append(f"**{text}**" if true == fitted else text)
            print(".", end="", file=sys.stderr, flush=True)
        lines.append(f"| `{true}` | " + " | ".join(cells) + " |")
        print(f"\n{lines[-1]}", file=sys.stderr, flush=True)
    return "\n".join(lines)


def main() -> None:
    """Print the table, and write it where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", type=int, default=40, help="data sets for each cell")
    parser.add_argument("--few", type=int, default=5, help="of them for cells of engine nuts")
    parser.add_argument("--write", action="store_true", help="into README.md")
    chosen = parser.parse_args()
    made = table(chosen.sets, chosen.few)
    print(made)
    if chosen.write:
        README.write_text(MARKED.sub(lambda m: f"{m[1]}{made}\n{m[3]}", README.read_text()))


if __name__ == "__main__":
    main()

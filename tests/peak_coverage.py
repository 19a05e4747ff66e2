"""Does the 90 % interval of the peak cover it? By simulation, over the situations that fits meet.

``python tests/peak_coverage.py`` fits every cell and prints a table for each column of cards; ``--write`` puts those
that have results into notebooks/how_we_know.md between their markers. Results go to a file of JSON lines as they come
(``--results``), so that an interrupted run goes on where it stopped. Slow tests in `test_peak_coverage` compute a few
cells again.

A data set has about ten runs. Their curves are the paper's RL form unless said otherwise, with alpha and beta that
scatter about a trend in log size. *fitted*: share of runs whose true peak lies in the interval, with the mean of
log(hi / lo), an infinite end counted as KL_MAX. *10x*: the same of new runs at ten times the largest size. A true peak
beyond KL_MAX is infinite, as it is in the posterior.
"""

from __future__ import annotations

import argparse
import json
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import noisy
import numpy as np
import pandas as pd
import xarray as xr
from pages import put

import goldpeak
from goldpeak.card import Card
from goldpeak.fitting import fast_engine
from goldpeak.forms import FORMS
from goldpeak.library import load_card
from goldpeak.runs import read_runs

COLUMNS = ("paper", "smooth", "similar")
PROB = 0.9
KL_MAX = 160.0
GRID = np.linspace(0.0, np.sqrt(KL_MAX), 4001)
NEW = 5
"""New runs at ten times the largest size, for each data set."""

Curve = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class World:
    """How data sets of one situation are made.

    `curve` makes one run's curve from x = log size, centred, and two standard normal deviations.
    """

    curve: Callable[[float, np.ndarray], Curve]
    sizes: int = 5
    runs: int = 10
    points: int = 15
    kl_max: float = 40.0
    noise: float = 0.05
    correlation: float = 0.0
    method: str = "rl"


def rl(alpha: float = 0.7, beta: float = 0.3, slope: float = -0.01, gamma: float = 0.0) -> Callable:
    """Form ``boxcox``; gamma 0 is the paper's RL form and 1 its best-of-n form."""

    def curve(x: float, z: np.ndarray) -> Curve:
        theta = np.array([alpha + 0.05 * z[0], beta + slope * x + 0.02 * z[1]])
        return lambda d: FORMS["boxcox"].basis(d, gamma) @ theta

    return curve


def shaped(shape: Curve) -> Callable:
    """One shape, stretched."""

    def curve(x: float, z: np.ndarray) -> Curve:
        place, height = np.exp(1.1 + 0.06 * x + 0.08 * z[0]), np.exp(0.05 * x + 0.08 * z[1])
        return lambda d: height * shape(d / place)

    return curve


def plateau(u: np.ndarray) -> np.ndarray:
    """A hump that falls to a plateau."""
    return 0.55 * u * np.exp(1.0 - u) + 0.55 * (1.0 - np.exp(-1.5 * u))


def two_humps(u: np.ndarray) -> np.ndarray:
    """A lower hump before the higher one."""
    return 0.75 * np.exp(-(((u - 0.45) / 0.25) ** 2)) + np.exp(-(((u - 1.1) / 0.4) ** 2)) - 0.9 * np.exp(-8.0 * u)


def two_humps_from_0(u: np.ndarray) -> np.ndarray:
    """The same, counted from the initial policy."""
    return two_humps(u) - two_humps(np.zeros(1))


BON = rl(alpha=0.6, beta=0.15, slope=-0.005, gamma=1.0)
WORLDS: dict[str, World] = {
    "as assumed": World(rl()),
    "3 sizes, 9 runs": World(rl(), sizes=3, runs=9),
    "9 sizes, 9 runs": World(rl(), sizes=9, runs=9),
    "3 sizes, 3 runs": World(rl(), sizes=3, runs=3),
    "4 points a run": World(rl(), points=4),
    "8 points a run": World(rl(), points=8),
    "noise 1 % of the peak": World(rl(), noise=0.01),
    "noise 10 %": World(rl(), noise=0.1),
    "noise 30 %": World(rl(), noise=0.3),
    "no peak: beta near 0": World(rl(alpha=0.3, beta=0.02, slope=0.0)),
    "peak beyond the range": World(rl(), kl_max=6.0),
    "best-of-n, correlation .9": World(BON, noise=0.05, correlation=0.9, kl_max=12.0, method="bon"),
    "wrong form: `boxcox`, gamma .5": World(rl(alpha=0.7, beta=0.2, slope=-0.007, gamma=0.5)),
    "wrong form: hump and plateau": World(shaped(plateau)),
    "wrong form: two humps": World(shaped(two_humps_from_0)),
}


def peak_of(curve: Curve) -> float:
    """KL at the highest point, infinite at the end of the grid."""
    best = int(np.argmax(curve(GRID)))
    return np.inf if best == len(GRID) - 1 else float(GRID[best] ** 2)


def data_set(world: World, seed: int) -> tuple[xr.Dataset, np.ndarray, float, np.ndarray]:
    """Runs with their true peaks, a size ten times the largest, and true peaks of new runs there."""
    rng = np.random.default_rng([seed, 11])
    sizes = np.geomspace(1e6, 1e9, world.sizes)
    middle = np.log(sizes).mean()
    kl = np.geomspace(0.2, world.kl_max, world.points)
    i = np.arange(world.points)
    truth, tables, blocks = [], [], []
    for r in range(world.runs):
        size = sizes[r * world.sizes // world.runs]
        curve = world.curve(np.log(size) - middle, rng.standard_normal(2))
        noise = world.noise * max(curve(GRID).max(), 0.1)
        block = (
            noise**2 * world.correlation ** np.abs(i[:, None] - i) if world.correlation else noise**2 * np.eye(len(i))
        )
        gold = curve(np.sqrt(kl)) + rng.multivariate_normal(np.zeros(len(i)), block)
        truth.append(peak_of(curve))
        tables.append(
            pd.DataFrame(
                {"run": f"r{r}", "rm_params": size, "kl": kl, "gold": gold, "gold_se": noise, "method": world.method}
            )
        )
        blocks.append(block)
    runs = read_runs(pd.concat(tables), baseline="none", gold_scale=1.0)
    if world.correlation:
        runs = noisy.with_covariance(runs, blocks)
    beyond = 10.0 * sizes[-1]
    new = [peak_of(world.curve(np.log(beyond) - middle, rng.standard_normal(2))) for _ in range(NEW)]
    return runs, np.array(truth), beyond, np.array(new)


def cards(world: World) -> dict[str, Card]:
    """Cards that are fitted to a world, by the table's column."""
    form = "rl" if world.method == "rl" else "bon"
    paper = load_card(f"{form}_paper")
    return {
        "paper": replace(paper, name="paper", noise=load_card("rl").noise),
        "smooth": load_card("rl" if form == "rl" else "boxcox"),
        "similar": load_card("similar"),
    }


def interval(table: pd.DataFrame, truth: np.ndarray) -> tuple[list[bool], list[float]]:
    """Whether each truth is inside, and the log-widths."""
    lo, hi = (table[end].to_numpy() for end in ("lo", "hi"))
    inside = (lo <= truth) & (truth <= hi)
    widths = np.log(np.clip(hi, 0.01, KL_MAX) / np.clip(lo, 0.01, KL_MAX))
    return inside.tolist(), widths.tolist()


def score(name: str, column: str, seed: int) -> dict[str, object]:
    """Coverage and width of one data set, under one card."""
    world = WORLDS[name.removesuffix(", not told")]
    runs, truth, beyond, new = data_set(world, seed)
    if name.endswith(", not told"):
        runs = runs.drop_vars("gold_cov")
    card = cards(world)[column]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            post = goldpeak.fit(runs, card, engine=fast_engine(card), seed=seed, draws=250, kl_max=KL_MAX)
        except goldpeak.FitError as error:
            return {"world": name, "card": column, "seed": seed, "refused": str(error)}
        found: dict[str, object] = {"world": name, "card": column, "seed": seed}
        found["passed"] = goldpeak.gates.gates_of(post).passed
        found["fitted"] = interval(goldpeak.peak(post, prob=PROB, kl_max=KL_MAX).table, truth)
        for include in ("new_run", "typical"):
            table = goldpeak.peak(post, [beyond] * NEW, include=include, prob=PROB, kl_max=KL_MAX, seed=seed + 1).table
            found[include] = interval(table, new)
    return found


def share(rows: list[dict], key: str) -> str:
    """Coverage and mean log-width of some data sets, as text."""
    done = [row[key] for row in rows if key in row]
    if not done:
        return "–"
    inside = np.mean([np.mean(each[0]) for each in done])
    width = np.mean([np.mean(each[1]) for each in done])
    return f"{inside:.2f} ({width:.2f})"


def table(rows: list[dict], column: str = "paper") -> str:
    """The results of one card as Markdown."""
    keys = ("fitted", "new_run", "typical")
    lines = ["| situation | fitted runs | 10x, `new_run` | 10x, `typical` |", "|---" * (1 + len(keys)) + "|"]
    for name in names():
        cell = [row for row in rows if (row["world"], row["card"]) == (name, column)]
        lines.append(f"| {name} | " + " | ".join(share(cell, key) for key in keys) + " |")
    return "\n".join(lines)


def names() -> list[str]:
    """Rows of the table."""
    found = []
    for name, world in WORLDS.items():
        found.append(name)
        if world.correlation:
            found.append(f"{name}, not told")
    return found


def main() -> None:
    """Fit what is missing, print the table, and write it where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--sets", type=int, nargs=3, default=(100, 40, 20), help="data sets a cell: paper smooth similar"
    )
    parser.add_argument("--results", type=Path, default=Path("peak_coverage.jsonl"))
    parser.add_argument("--write", action="store_true", help="into notebooks/how_we_know.md")
    chosen = parser.parse_args()
    rows = [json.loads(line) for line in chosen.results.read_text().splitlines()] if chosen.results.exists() else []
    done = {(row["world"], row["card"], row["seed"]) for row in rows}
    for column, sets in zip(COLUMNS, chosen.sets, strict=True):
        for seed in range(sets):
            for name in names():
                if (name, column, seed) not in done:
                    rows.append(score(name, column, seed))
                    with chosen.results.open("a") as file:
                        file.write(json.dumps(rows[-1]) + "\n")
    for column in COLUMNS:
        made = table(rows, column)
        print(f"\n{column}\n\n{made}")
        if chosen.write and any(row["card"] == column for row in rows):
            put(f"peak coverage, {column}", made)


if __name__ == "__main__":
    main()

"""How stopping rules fare on runs that were not fitted.

``python tests/closed_loop.py`` prints the tables; ``--write`` puts them into notebooks/how_we_know.md between their
markers, and ``--worlds FOLDER ...`` scores worlds that ``goldpeak lab`` has measured. A slow test holds the default
rule's rows and those of the competitors against that page, and against the bars that were set before.

``lab``: the bundled runs; the smaller half of the sizes is fitted, every larger run is acted on with gold at every
checkpoint. ``simulated``: fleets drawn from a card's prior, fitted with that card. ``drawn``: runs drawn from a
posterior itself, so that the model is true and only the rule is tried.
"""

from __future__ import annotations

import dataclasses
import re
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

import goldpeak
from goldpeak.check import stopping_backtest
from goldpeak.curves import new_curves
from goldpeak.library import load_card
from goldpeak.simulation import Fleet, Simulated, simulate
from goldpeak.stopping.rules import Rule

PAGE = Path(__file__).resolve().parents[1] / "notebooks" / "how_we_know.md"
CARD = {"rl": "similar", "bon": "boxcox"}
EXACT, NOISY = 0.002, 0.15
"""Noise of gold as a share of a run's best: nearly exact, and what a few dozen responses give."""
SEED = 1
DEFAULT: tuple[tuple[Rule, float], ...] = (("regret", 0.25),)
OTHERS: tuple[tuple[Rule, float], ...] = (
    ("expected", 0.25),
    ("cvar", 0.25),
    ("drawdown", 0.25),
    ("chance", 0.1),
    ("chance", 0.25),
    ("chance", 0.5),
)
KEYS = ["rule", "level"]
LEVELS = (0.1, 0.25, 0.5)
"""Of ``chance``: the stated probabilities of going too far."""
FLEETS = 12
FLEET_DRAWS = 250
DRAWN = 400
SIMULATED_SIZES = tuple(np.geomspace(1e6, 1e9, 6))


def lab(
    method: str, noise: float, rules: Sequence[tuple[Rule, float]], post: xr.DataTree | None = None
) -> pd.DataFrame:
    """A row for each rule and each competitor, on the bundled runs."""
    small, large = goldpeak.split_by_size(goldpeak.datasets.lab(method))
    known = goldpeak.fit(small, CARD[method], seed=SEED) if post is None else post
    return scores([(known, large)], noise, rules)


def scores(
    pairs: Sequence[tuple[xr.DataTree, xr.Dataset]], noise: float, rules: Sequence[tuple[Rule, float]]
) -> pd.DataFrame:
    """The rules with their levels, then the competitors."""
    parts = [
        stopping_backtest(pairs, [rule], [level], noise=noise, competitors=False, seed=SEED).table
        for rule, level in rules
    ]
    return pd.concat([*parts, stopping_backtest(pairs, (), noise=noise, seed=SEED).table], ignore_index=True)


def simulated_fleets(card: str) -> list[tuple[xr.DataTree, xr.Dataset]]:
    """Posteriors of the smaller sizes of fleets that the card itself has drawn, and larger runs with their truth."""
    design = Fleet(SIMULATED_SIZES, rms_per_size=4, points=30, kl_min=0.1, kl_max=60.0)
    found = []
    for seed in range(100, 100 + FLEETS):
        made = simulate(load_card(card), design, seed=seed)
        small, large = goldpeak.split_by_size(made.runs.assign(gold_exact=("point", truth(made))))
        post = goldpeak.fit(small.drop_vars("gold_exact"), card, seed=seed, draws=FLEET_DRAWS)
        found.append((post, large))
    return found


def fast_fleet() -> xr.DataTree:
    """Posterior of the bundled RL runs of the smaller sizes by the paper's card, with known noise: fast."""
    small, _ = goldpeak.split_by_size(goldpeak.datasets.lab("rl"))
    paper = load_card("rl_paper")
    card = dataclasses.replace(paper, noise=dataclasses.replace(paper.noise, kind="known"))
    return goldpeak.fit(small, card, seed=SEED, draws=100)


def drawn(post: xr.DataTree, count: int, seed: int = SEED) -> xr.Dataset:
    """New runs of a posterior, one a draw, of sizes beyond those fitted, with checkpoints as the bundled RL runs'."""
    _, large = goldpeak.split_by_size(goldpeak.datasets.lab("rl"))
    sizes, kl = np.unique(large["rm_params"].values), large["kl"].values[large["run_index"].values == 0]
    gold = new_curves(post, sizes, seed=seed).gold(np.sqrt(kl)).reshape(-1, len(sizes), len(kl))
    gold = gold[np.random.default_rng(seed).permutation(len(gold))[:count]]
    parts = [
        pd.DataFrame({"run": f"{i:03}", "rm_params": sizes[i % len(sizes)], "kl": kl, "gold": each[i % len(sizes)]})
        for i, each in enumerate(gold)
    ]
    table = pd.concat(parts)
    runs = goldpeak.read_runs(table, method="rl", baseline="none")
    return runs.assign(gold_exact=("point", table["gold"].to_numpy()))


def truth(made: Simulated) -> np.ndarray:
    """True gold at every point of a simulated fleet."""
    runs = made.runs
    kl, at = np.unique(runs["kl"].values, return_inverse=True)
    gold = goldpeak.predict(made.truth, kl)["gold"].values[0, 0]
    return gold[runs["run_index"].values, at]


def as_markdown(tables: Sequence[pd.DataFrame]) -> str:
    """Tables of the same rules side by side: one row a rule."""
    head = ["stop", "worst quarter", "kept", "worst quarter", "overshoot", "own P(past)", "evaluations"]
    columns = ["regret", "regret_worst", "kept", "kept_worst", "overshoot", "stated", "evaluations"]
    digits = [3, 3, 3, 3, 2, 2, 0]
    lines = ["| rule | " + " | ".join(head * len(tables)) + " |", "|---" * (len(head) * len(tables) + 1) + "|"]
    for i, first in tables[0].iterrows():
        level = "" if np.isnan(first["level"]) else f" {first['level']:g}"
        name = f"`{first['rule']}`{level}" if not np.isnan(first["stated"]) else first["rule"]
        cells = [_cell(table.loc[i, c], k) for table in tables for c, k in zip(columns, digits, strict=True)]
        bold = f"**{name}** (default)" if (first["rule"], first["level"]) == DEFAULT[0] else name
        lines.append(f"| {bold} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cell(value: float, digits: int) -> str:
    return f"{value:.{digits}f}" if np.isfinite(value) else "–"


def marked(name: str) -> re.Pattern[str]:
    """Where notebooks/how_we_know.md holds a table."""
    return re.compile(rf"(<!-- closed loop {name}: .*? -->\n)(.*?)\n?(<!-- end -->)", re.DOTALL)


def all_tables() -> dict[str, pd.DataFrame]:
    """Every table of notebooks/how_we_know.md."""
    found = {}
    for method in CARD:
        small, _ = goldpeak.split_by_size(goldpeak.datasets.lab(method))
        post = goldpeak.fit(small, CARD[method], seed=SEED)
        for kind, noise in (("exact", EXACT), ("noisy", NOISY)):
            rules = DEFAULT + OTHERS if (method, kind) == ("rl", "noisy") else (*DEFAULT, ("chance", 0.25))
            found[f"{method} {kind}"] = lab(method, noise, rules, post)
            print(f"\n{method} {kind}\n{as_markdown([found[f'{method} {kind}']])}", flush=True)
    chances: list[tuple[Rule, float]] = [("chance", level) for level in LEVELS]
    found["simulated"] = scores(simulated_fleets("similar"), NOISY, [*DEFAULT, *chances])
    print(f"\nsimulated\n{as_markdown([found['simulated']])}", flush=True)
    found["drawn"] = overshoots(fast_fleet(), DRAWN)
    print(f"\ndrawn\n{as_markdown([found['drawn']])}", flush=True)
    return found


def overshoots(post: xr.DataTree, count: int) -> pd.DataFrame:
    """Stated and realised probability of going too far, where the model is true: rows of ``chance`` at `LEVELS`."""
    pairs = [(post, drawn(post, count))]
    return stopping_backtest(pairs, ["chance"], LEVELS, noise=NOISY, competitors=False, seed=SEED).table


def worlds(folders: Sequence[str]) -> None:
    """The default rule and the competitors on other worlds."""
    for folder in folders:
        for method in CARD:
            runs = read_world(Path(folder), method)
            small, large = goldpeak.split_by_size(runs)
            known = goldpeak.fit(small, CARD[method], seed=SEED)
            for noise in (EXACT, NOISY):
                print(f"\n{Path(folder).name} {method} noise {noise}")
                print(as_markdown([scores([(known, large)], noise, DEFAULT)]), flush=True)


def read_world(folder: Path, method: str) -> xr.Dataset:
    """Tables of ``goldpeak lab`` with their truth, as `goldpeak.datasets.lab` reads the bundled ones."""
    frame = pd.read_parquet(folder / f"{method}.parquet")
    key = {"rl": "step", "bon": "n"}[method]
    exact = frame.set_index(["run", key])["gold_exact"]
    if method == "bon":
        exact = exact - exact.xs(1, level="n").reindex(exact.index, level="run")
    runs = goldpeak.read_runs(frame.drop(columns=[c for c in frame if c.startswith("gold_exact")]))
    names = runs["run"].values[runs["run_index"].values]
    at = pd.MultiIndex.from_arrays([names, runs[key].values.astype(np.int64)])
    return runs.assign(gold_exact=("point", exact.reindex(at).to_numpy()))


def main() -> None:
    """Print the tables, and write them where asked."""
    warnings.simplefilter("ignore")
    if "--worlds" in sys.argv:
        worlds(sys.argv[sys.argv.index("--worlds") + 1 :])
        return
    made = {name: as_markdown([table]) for name, table in all_tables().items()}
    if "--write" in sys.argv:
        text = PAGE.read_text()
        for name, table in made.items():
            text = marked(name).sub(lambda m, table=table: f"{m[1]}{table}\n{m[3]}", text)
        PAGE.write_text(text)


if __name__ == "__main__":
    main()

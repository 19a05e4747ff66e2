"""How stopping rules fare on runs that were not fitted.

``python tests/closed_loop.py`` prints the tables; ``--write`` puts each into notebooks/how_we_know.md between its
markers as soon as it is made (``"rl exact" drawn``: those only). A slow test holds the default rule's rows and those of
the competitors against that page, and against the bars that were set before.

``lab``: the bundled runs; the smaller half of the sizes is fitted, every larger run is acted on with gold at every
checkpoint. ``simulated``: fleets drawn from a card's prior, fitted with that card. ``drawn``: runs drawn from a
posterior itself, so that the model is true and only the rule is tried. ``worlds``: all worlds of the lab, with the fits
of `evidence`.
"""

from __future__ import annotations

import dataclasses
import sys
import warnings
from collections.abc import Sequence

import numpy as np
import pandas as pd
import xarray as xr
from evidence import fitted, halves
from pages import put
from worlds import available

import goldpeak
from goldpeak.check import stopping_backtest
from goldpeak.curves import new_curves
from goldpeak.library import RECOMMENDED, load_card
from goldpeak.simulation import Fleet, Simulated, simulate
from goldpeak.stopping.rules import Rule

CARD = {method: cards[0] for method, cards in RECOMMENDED.items()}
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
FLEETS = 10
FLEET_DRAWS = 250
DRAWN = 400
NOISES = 4
"""Draws of the noise of gold for each run of the lab's worlds: one alone moves overshoot by .05."""
NAMES = ("rl exact", "rl noisy", "bon exact", "bon noisy", "simulated", "drawn", "worlds rl", "worlds bon")
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
    named, levels = dict.fromkeys(rule for rule, _ in rules), sorted({level for _, level in rules})
    found = stopping_backtest(pairs, list(named), levels, noise=noise, seed=SEED).table
    asked = [(rule, level) for rule, level in rules if rule != "expected"]
    mine = [pair in asked or np.isnan(pair[1]) for pair in zip(found["rule"], found["level"], strict=True)]
    return found[mine].reset_index(drop=True)


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


def table(name: str) -> pd.DataFrame:
    """A table of notebooks/how_we_know.md: one of `NAMES`."""
    if name == "drawn":
        return overshoots([(post := fast_fleet(), drawn(post, DRAWN))])
    chances: list[tuple[Rule, float]] = [("chance", level) for level in LEVELS]
    if name == "simulated":
        return scores(simulated_fleets("similar"), NOISY, [*DEFAULT, *chances])
    first, second = name.split()
    if first == "worlds":
        return overshoots(world_fleets(second) * NOISES)
    method, kind = first, second
    rules = DEFAULT + OTHERS if name == "rl noisy" else (*DEFAULT, ("chance", 0.25))
    return lab(method, {"exact": EXACT, "noisy": NOISY}[kind], rules)


def overshoots(pairs: Sequence[tuple[xr.DataTree, xr.Dataset]]) -> pd.DataFrame:
    """Stated and realised probability of going too far: rows of ``chance`` at `LEVELS`."""
    return stopping_backtest(pairs, ["chance"], LEVELS, noise=NOISY, competitors=False, seed=SEED).table


def world_fleets(method: str) -> list[tuple[xr.DataTree, xr.Dataset]]:
    """Posteriors of the smaller sizes of each of the lab's worlds, and the larger runs."""
    return [(fitted(method, w, (CARD[method],))[0].value, halves(w, method)[1]) for w in available()]


def main() -> None:
    """Print the tables, and write them where asked."""
    warnings.simplefilter("ignore")
    asked = [word for word in sys.argv[1:] if word != "--write"] or NAMES
    for name in asked:
        made = as_markdown([table(name)])
        print(f"\n{name}\n{made}", flush=True)
        if "--write" in sys.argv:
            put(f"closed loop {name}", made)


if __name__ == "__main__":
    main()

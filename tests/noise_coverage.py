"""What the kind of noise does to the interval of the peak: true kind by fitted kind, on simulated runs.

``python tests/noise_coverage.py`` prints the table; ``--write`` puts it into notebooks/how_we_know.md between its
markers. It takes about ten minutes, most of them for engine ``nuts``; scores are kept in a file (``--results``), so it
can be stopped and started again: delete the file when the code has changed. Slow tests in `test_recovery` compute its
diagonal again.

Each data set has ten runs on five sizes, of the paper's RL form, exact but for the noise (see `noisy`). Each cell gives
the share of runs whose true peak lies in the 90 % interval, and the mean of log(hi / lo), over all data sets.
"""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from pathlib import Path
from typing import Any
from unittest import mock

import noisy
import numpy as np
import nutpie
import pymc as pm
import xarray as xr
from pages import put

import goldpeak

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
    return np.array([score_of_set(true, fitted, seed) for seed in range(sets)])


def score_of_set(true: str, fitted: str, seed: int) -> tuple[float, float]:
    """Coverage and log-width of the data set of that number."""
    runs, truth = noisy.data_set(true, np.random.default_rng([seed, 9]))
    return score(fitted, runs, truth, seed)


class CompiledOnce:
    """In place of `pm.sample`: models that differ in their gold and its standard errors only are compiled once."""

    def __init__(self) -> None:
        self.compiled: dict[tuple[str, ...], Any] = {}

    def __call__(self, **settings: Any) -> xr.DataTree:
        """As nutpie samples for `pm.sample`."""
        model = pm.modelcontext(None)
        # Whether coefficients are centred may differ between data sets; nothing else does.
        key = tuple(model.named_vars)
        if key not in self.compiled:
            self.compiled[key] = nutpie.compile_pymc_model(model)
        compiled = self.compiled[key].with_data(**{data.name: data.get_value() for data in model.data_vars})
        names = ("draws", "tune", "chains", "cores", "target_accept")
        chosen = {name: settings[name] for name in names}
        return nutpie.sample(compiled, seed=settings["random_seed"], progress_bar=False, **chosen)


class Kept:
    """Scores in a file of JSON lines, so that a table that was interrupted goes on where it stopped."""

    def __init__(self, path: Path) -> None:
        self.path = path
        lines = path.read_text().splitlines() if path.exists() else []
        self.scores = {(true, fitted, seed): found for true, fitted, seed, *found in map(json.loads, lines)}

    def score(self, true: str, fitted: str, seed: int) -> tuple[float, float]:
        """The score of one data set, computed if it is not in the file."""
        key = true, fitted, seed
        if key not in self.scores:
            self.scores[key] = score_of_set(*key)
            with self.path.open("a") as file:
                file.write(json.dumps([*key, *self.scores[key]]) + "\n")
        return self.scores[key]


def table(sets: int, kept: Kept) -> str:
    """The table as Markdown."""
    head = ["| true noise | " + " | ".join(f"`{kind}`" for kind in KINDS) + " |", "|---" * (len(KINDS) + 1) + "|"]
    rows = [f"| `{true}` | " + " | ".join(_cell(true, fitted, sets, kept) for fitted in KINDS) + " |" for true in KINDS]
    return "\n".join([*head, *rows])


def _cell(true: str, fitted: str, sets: int, kept: Kept) -> str:
    if fitted == "cov" != true:
        # There is no covariance that it could take.
        return "–"
    coverage, width = np.mean([kept.score(true, fitted, seed) for seed in range(sets)], axis=0)
    text = f"{coverage:.2f} ({width:.2f})"
    print(f"{true}, fitted as {fitted}: {text}", file=sys.stderr, flush=True)
    return f"**{text}**" if true == fitted else text


def main() -> None:
    """Print the table, and write it where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", type=int, default=40, help="data sets for each cell")
    parser.add_argument("--results", type=Path, default=Path("noise_coverage.jsonl"), help="where scores are kept")
    parser.add_argument("--write", action="store_true", help="into notebooks/how_we_know.md")
    chosen = parser.parse_args()
    with mock.patch.object(pm, "sample", CompiledOnce()):
        made = table(chosen.sets, Kept(chosen.results))
    print(made)
    if chosen.write:
        put("noise coverage", made)


if __name__ == "__main__":
    main()

"""Simulation-based calibration of every shipped card, as a table.

``python tests/calibration.py`` prints it; ``--write`` puts it into notebooks/how_we_know.md between its markers, where
rows of cards that were not asked for stay; ``--pictures`` draws the ECDF differences. Run it with ``nice``: at 200
replications all cards take most of an hour on two processors.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from pages import put, table_of

import goldpeak
from goldpeak.check.sbc import Calibration

DESIGN = goldpeak.Fleet(rms_per_size=3, points=25)
"""Nine runs on three sizes."""
HEAD = ("card", "engine", "replications", "p, all quantities", "worst quantity", "90 % covers: peak", "10x", "s each")


def row(found: Calibration, seconds: float) -> str:
    """A line of the table."""
    table = found.table
    observed = table["coverage_90"].loc[["kl_peak[smallest]", "kl_peak[largest]"]].mean()
    worst = table["p_value"].idxmin()
    cells = (
        f"`{found.card}`",
        f"`{found.engine}`",
        str(found.pit.sizes["replication"]),
        f"{found.p_value:.2f}" if found.passed else f"**{found.p_value:.2g}: outside**",
        f"{worst} ({table['p_value'].min():.2g} of {len(table)})",
        f"{observed:.2f}",
        f"{table['coverage_90'].loc['kl_peak[10x]']:.2f}",
        f"{seconds:.2f}",
    )
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    """Calibrate the cards, print the table, and write it where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cards", nargs="*", default=[*goldpeak.models().index])
    parser.add_argument("-n", type=int, default=200, help="replications")
    parser.add_argument("--jobs", type=int, default=-1)
    parser.add_argument("--seed", type=int, default=2026)
    parser.add_argument("--pictures", type=Path, help="folder for a picture of each card")
    parser.add_argument("--write", action="store_true", help="into notebooks/how_we_know.md")
    chosen = parser.parse_args()
    rows = {}
    for card in chosen.cards:
        start = time.perf_counter()
        found = goldpeak.sbc(card, design=DESIGN, n=chosen.n, seed=chosen.seed, n_jobs=chosen.jobs)
        rows[card] = row(found, (time.perf_counter() - start) / chosen.n)
        print(rows[card], f"\n{found.summary()}", flush=True)
        if chosen.pictures:
            goldpeak.plots.sbc(found).savefig(chosen.pictures / f"sbc_{card}.png", dpi=90)
        if chosen.write:
            put("calibration", table(rows, table_of("calibration")))
    print(table(rows))


def table(rows: dict[str, str], before: str = "") -> str:
    """The rows under their head, after those of other cards in the table that was there before."""
    kept = {line.split("`")[1]: line for line in before.splitlines() if line.startswith("| `")}
    lines = ["| " + " | ".join(HEAD) + " |", "|---" * len(HEAD) + "|", *(kept | rows).values()]
    return "\n".join(lines)


if __name__ == "__main__":
    main()

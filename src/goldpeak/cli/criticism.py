"""`goldpeak check POST.nc`: what speaks against a fit."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from goldpeak.cli import show
from goldpeak.cli.posterior import finish
from goldpeak.errors import FitError

if TYPE_CHECKING:
    from goldpeak.check.criticism import Criticism

__all__ = ["check"]

WORDS = """
p_loo: all points of a run against what the other runs predict (rough where pareto_k > 0.7).
p_trend: slow waves of residuals along KL. p_noise: their size, residual_ratio times what the noise allows.
p_off_trend: how far a run lies off the trend in size.
share: root mean square of what is smooth, shared or the run's own, over that of the curve.
A small p, below 0.05 over the number of runs, speaks against the fit; a large one says nothing."""
TOGETHER = "Of several cards combined: all draws together, a card's by its weight."


def check(files: list[Path], told: bool) -> NoReturn:
    """Print the criticism of one posterior; `told` says that options were given, of which it takes none."""
    if len(files) > 1 or told:
        raise FitError("a posterior (.nc) is checked by itself: give one file and no options")

    from goldpeak import store
    from goldpeak.check.criticism import criticise

    post = store.load(files[0])
    printed(criticise(post))
    finish(post, files[0])


def printed(found: Criticism) -> None:
    """A criticism as a table and sentences, on stdout."""
    names = ("p_loo", "p_trend", "p_noise", "residual_ratio", "p_off_trend", "share_shared", "share_own", "pareto_k")
    rows = [
        (str(run), show.size(row["rm_params"]), *(_short(row[name]) for name in names))
        for run, row in found.table.iterrows()
    ]
    show.table(("run", "rm_params", *names), rows, left=("run",))
    show.text(f"{WORDS}" + f"\n{TOGETHER}" * bool(found.by_card))
    show.text(f"Slow waves that all runs share: p {_short(found.p_common)}.\n")
    _findings(found)
    for name, each in found.by_card.items():
        show.text(f"\nThe card {name} (weight {found.weights[name]:.2f}) by itself:")
        _findings(each)


def _findings(found: Criticism) -> None:
    for finding in found.findings:
        show.text(f"- {finding.what}.")
    show.text(found.recommendation)


def _short(value: float) -> str:
    return "<0.001" if 0 <= value < 0.001 else f"{value:.3f}" if abs(value) < 0.1 else f"{value:.2f}"

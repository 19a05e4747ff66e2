"""What commands about posteriors share: the argument, the options, a sentence, and how they end."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from goldpeak.cli import show
from goldpeak.cli.status import FINE, GATE_FAILED

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

__all__ = ["AsJson", "Include", "KlMax", "Posterior", "Prob", "finish", "gold_words", "leave"]

Posterior = Annotated[Path, typer.Argument(metavar="POST.nc", help="A posterior that 'goldpeak fit' wrote.")]
Include = Annotated[
    str,
    typer.Option(
        help="What a prediction at a size includes: typical (the trend), new_rm (and how RMs scatter about it), "
        "new_run (and how runs scatter about their RM)."
    ),
]
KlMax = Annotated[
    float | None, typer.Option(metavar="NATS", help="Largest KL in question.", show_default="that of the fit")
]
Prob = Annotated[float, typer.Option(help="Probability of the equal-tailed intervals.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")]


def finish(tree: xr.DataTree, path: Path) -> NoReturn:
    """Say loudly where the posterior's gate had failed, and exit by it."""
    from goldpeak.gates import gates_of

    gates = gates_of(tree)
    if not gates.passed:
        show.gates(gates, hint=f"So it was when {path} was fitted; fit again before you use this.")
    leave(gates.passed)


def leave(passed: bool) -> NoReturn:
    """Exit by whether the gates passed."""
    raise typer.Exit(FINE if passed else GATE_FAILED)


def gold_words(table: pd.DataFrame) -> str:
    """From where gold counts in a table of peaks or budgets; at sizes it has no baseline."""
    if (table["baseline"] != 0).any():
        return "Gold as in the file: the initial policy's is added back."
    return "Gold is relative to the initial policy."

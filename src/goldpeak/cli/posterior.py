"""What commands about a stored posterior share: the argument, the options, and how they end."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from goldpeak.cli import show
from goldpeak.cli.status import FINE, GATE_FAILED

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["AsJson", "Include", "KlMax", "Posterior", "Prob", "finish"]

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
    raise typer.Exit(FINE if gates.passed else GATE_FAILED)

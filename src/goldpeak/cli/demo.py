"""The commands on the bundled data: `goldpeak demo`, and `goldpeak lab`, which measures them again."""

from __future__ import annotations

from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from goldpeak.cli import interrupt, parse, show
from goldpeak.cli.posterior import leave

if TYPE_CHECKING:
    from goldpeak.demo import Demo

__all__ = ["DEMO_EXAMPLES", "LAB_EXAMPLES", "demo", "lab"]

DEMO_EXAMPLES = "\nExample:\n  goldpeak demo --out goldpeak-demo"
LAB_EXAMPLES = "\nExamples:\n  goldpeak lab --out goldpeak-lab\n  goldpeak lab --out goldpeak-lab --config mine.toml"


def demo(
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for the results; made if missing.")] = Path(
        "goldpeak-demo"
    ),
) -> None:
    """Fit the bundled runs of small reward models, predict the larger ones, and compare with what was measured."""
    import sys

    from goldpeak import demo as demonstration

    parse.folder_to_write(out)
    with redirect_stdout(sys.stderr):
        result = demonstration.run(out, _say)
    _print(result)
    if not result.gates.passed:
        show.gates(result.gates)
    leave(result.gates.passed)


def lab(
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for the tables; made if missing.")],
    config: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Settings (TOML).", show_default="those of the bundled data")
    ] = None,
) -> None:
    """Run the small real experiment that made the bundled data (minutes; needs the extra 'lab')."""
    from goldpeak import lab as experiment

    settings = experiment.LabConfig() if config is None else experiment.LabConfig.from_toml(config)
    experiment.run(settings, out, _say)
    show.note(f"wrote {out}")


def _say(line: str) -> None:
    interrupt.check()
    show.note(line)


def _print(result: Demo) -> None:
    """The prediction beside the measurement; misses included."""
    smaller, larger = result.fitted_sizes, result.held_out_sizes
    show.text(
        f"Fitted: {result.fitted_runs} runs on {len(smaller)} reward-model sizes, {show.size(smaller[0])} to "
        f"{show.size(smaller[-1])} parameters (card {result.card}, engine {result.engine}).\n"
        f"Predicted: the KL at which gold peaks for {len(result.table)} runs on {len(larger)} sizes that were not "
        f"fitted, {show.size(larger[0])} to {show.size(larger[-1])}.\n"
    )
    rows = [
        (
            row["run"],
            show.size(row["rm_params"]),
            show.number(row["median"]),
            show.interval(row["lo"], row["hi"]),
            show.number(row["measured"]),
            "yes" if row["inside"] else "no",
        )
        for row in show.records(result.table)
    ]
    columns = ("run", "rm_params", "predicted KL", f"{100 * result.prob:g}% interval", "measured KL", "inside")
    show.table(columns, rows, left=("run",))
    show.text(
        f"\nThe measured peak lies inside the predicted {100 * result.prob:g}% interval in {result.inside} of "
        f"{len(result.table)} runs; about {result.prob * len(result.table):.0f} were to be expected."
    )
    if result.gates.passed:
        show.text(f"The {result.gates.summary()}.")
    show.text("\nWrote " + "\n      ".join(str(file) for file in result.files))
    show.text("\nTry next:\n" + "\n".join(f"  {command}" for command in result.next_commands))

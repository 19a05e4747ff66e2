"""The command `doctor`."""

from __future__ import annotations

from typing import Annotated

import typer

from goldpeak.cli import show
from goldpeak.cli.posterior import AsJson
from goldpeak.cli.status import FAULT

__all__ = ["EXAMPLES", "doctor"]

EXAMPLES = "\nExamples:\n  goldpeak doctor\n  goldpeak doctor --nuts --json"


def doctor(
    nuts: Annotated[bool, typer.Option("--nuts", help="Sample with NUTS too; may compile for half a minute.")] = False,
    as_json: AsJson = False,
) -> None:
    """Check this installation: versions, engines, compile cache, and fits whose answers are known.

    Exit status 1 if something is broken; what is optional and absent is no fault.
    """
    import dataclasses

    from goldpeak.doctor import examine

    found = examine(nuts=nuts)
    if as_json:
        show.text(show.json_text([dataclasses.asdict(finding) for finding in found]))
    else:
        rows = [(f.check, f.verdict.upper() if f.verdict == "fault" else f.verdict, f.detail) for f in found]
        show.table(("check", "verdict", "found"), rows, left=("check", "verdict", "found"))
        show.text(f"\nTook {sum(f.seconds for f in found):.1f} s.")
        for finding in found:
            if finding.next_step:
                show.text(f"{finding.check}: {finding.next_step}")
    faults = [finding.check for finding in found if finding.verdict == "fault"]
    if faults:
        show.error(f"this installation is not whole: {', '.join(faults)}")
        raise typer.Exit(FAULT)

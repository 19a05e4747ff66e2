"""The program: its options, and every command in the order of its use.

Help must come quickly: nothing here imports a heavy library (numpy included) before a command runs.
"""

from __future__ import annotations

import inspect
from typing import Annotated

import typer

from goldpeak.cli import (
    backtest,
    budget,
    check,
    compare,
    convert,
    demo,
    doctor,
    fit,
    models,
    peak,
    plan,
    report,
    show,
    watch,
)

__all__ = ["app"]

STATUSES = """\
Exit status: 0 fine, 1 fault in goldpeak, 2 bad input, 3 a gate failed (the result is printed and saved all the same, \
but do not trust it), 10 'watch' found that the run should stop, 11 'watch --no-gold' only raised an alarm, \
130 interrupted.

Examples:
  goldpeak demo
  goldpeak check runs.csv
  goldpeak convert trainer_state.json --gold rewards/gold/mean --rm-params 3M --out runs.csv
  goldpeak fit runs.csv --card auto --out post.nc
  goldpeak peak post.nc --rm-params 1e9,3B"""

COMMANDS = (
    ("demo", demo.demo, demo.DEMO_EXAMPLES),
    ("convert", convert.convert, convert.EXAMPLES),
    ("check", check.check, check.EXAMPLES),
    ("fit", fit.fit, fit.EXAMPLES),
    ("peak", peak.peak, peak.EXAMPLES),
    ("budget", budget.budget, budget.EXAMPLES),
    ("report", report.report, report.EXAMPLES),
    ("watch", watch.watch, watch.EXAMPLES),
    ("allocate", plan.allocate, plan.ALLOCATE_EXAMPLES),
    ("next", plan.next_run, plan.NEXT_EXAMPLES),
    ("compare", compare.compare, compare.EXAMPLES),
    ("backtest", backtest.backtest, backtest.EXAMPLES),
    ("models", models.models, models.EXAMPLES),
    ("lab", demo.lab, demo.LAB_EXAMPLES),
    ("doctor", doctor.doctor, doctor.EXAMPLES),
)

app = typer.Typer(
    help="At which KL divergence from the initial policy does gold reward peak, and how sure are we?",
    epilog=STATUSES,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        from goldpeak.stack import versions

        found = versions()
        show.text(f"goldpeak {found.pop('goldpeak')}\n" + ", ".join(f"{name} {v}" for name, v in found.items()))
        raise typer.Exit


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Show versions (also the stack's) and exit."),
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Results, warnings and errors only: no notes, summaries, progress.")
    ] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Tell on stderr what the library logs.")] = False,
) -> None:
    """Options before the command; `entry` acts on --debug and --verbose."""
    show.be_quiet(quiet)


def _flowing(text: str | None) -> str:
    """A docstring whose lines break where the terminal ends, not where the source does."""
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in inspect.cleandoc(text or "").split("\n\n"))


for _name, _command, _examples in COMMANDS:
    app.command(_name, help=_flowing(_command.__doc__), epilog=_examples)(_command)

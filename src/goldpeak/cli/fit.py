"""The command `goldpeak fit`: from run curves or training logs to a posterior on disk."""

from __future__ import annotations

from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from goldpeak.cli import interrupt, parse, show
from goldpeak.cli.log_options import CurvesOrLogs, LogOptions, Method, curves_or_logs, tell_readings, with_log_options
from goldpeak.cli.posterior import leave

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["EXAMPLES", "fit"]

EXAMPLES = """
Examples:
  goldpeak fit runs.csv --card auto --out post.nc --seed 1
  goldpeak fit runs/*/ --gold eval/gold --rm-params-from 'rm-{rm_params}-*' --card similar --out post.nc"""

PROB = 0.9
MOST_RUNS = 12


@with_log_options
def fit(
    logs: LogOptions,
    card: Annotated[
        str,
        typer.Option(
            help="Name of a shipped card (see 'goldpeak models'), path of a .toml file, or auto: the recommended "
            "cards, combined by how well they predict larger sizes.",
            autocompletion=parse.cards,
        ),
    ],
    out: Annotated[Path, typer.Option(metavar="POST.nc", help="Where to write the posterior.")],
    files: CurvesOrLogs = None,
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same answer.")] = 0,
    method: Method = None,
    engine: Annotated[
        str | None,
        typer.Option(
            help="Which sampler: auto, exact, laplace_is or nuts.",
            show_default="the library's choice",
            autocompletion=parse.engines,
        ),
    ] = None,
    draws: Annotated[int | None, typer.Option(help="Draws kept per chain.", show_default="the engine's")] = None,
    chains: Annotated[int | None, typer.Option(help="Number of chains.", show_default="the engine's")] = None,
    kl_max: Annotated[
        float | None,
        typer.Option(
            metavar="NATS", help="Largest KL that will be asked about.", show_default="twice the largest observed"
        ),
    ] = None,
) -> None:
    """Fit a model card to run curves, or straight to training logs, and write the posterior.

    The summary goes to stderr. If a gate fails, the posterior is still written and the exit status is 3.
    """
    import sys

    from goldpeak import automatic, fitting, store
    from goldpeak.gates import gates_of
    from goldpeak.library import load_card
    from goldpeak.wording import counted

    parse.output_file(out, logs.inputs(files or []), (".nc",))
    asked = {"engine": engine, "draws": draws, "chains": chains, "kl_max": kl_max}
    options: dict[str, Any] = {name: value for name, value in asked.items() if value is not None}
    model: Any = card if card == automatic.AUTO else load_card(card)
    runs, readings = curves_or_logs(files or [], method, logs)
    tell_readings(readings, runs, show.note)
    fitted, named = (automatic.fit, "the recommended cards") if card == automatic.AUTO else (fitting.fit, model.name)
    show.note(f"fitting {named} to {counted(runs.sizes['run'], 'run')}, {runs.sizes['point']} points ...")
    # Samplers draw progress bars on stdout.
    with redirect_stdout(sys.stderr):
        post = fitted(runs, model, seed=seed, **options)
    interrupt.check()
    store.save(post, out)
    _summary(post)
    _run_peaks(post, f"goldpeak peak {out}")
    show.note(f"wrote {out}")
    gates = gates_of(post)
    show.gates(gates, hint="Try more --draws, or look at the runs with 'goldpeak check'.")
    leave(gates.passed)


def _summary(post: xr.DataTree) -> None:
    """Which cards and engine ran and why, and median and 90 % interval of what all runs share; on stderr."""
    from goldpeak.peaks import quantiles
    from goldpeak.summaries import shared

    if "card_reason" in post.attrs:
        show.note(post.attrs["card_reason"])
    show.note(f"engine {post.attrs['engine']}: {post.attrs['engine_reason']}\n")
    rows = []
    for name, values in shared(post):
        lo, median, hi = quantiles(values, PROB)
        rows.append((name, show.number(float(median)), show.interval(float(lo), float(hi))))
    show.table(("coefficient", "median", f"{PROB:.0%} interval"), rows, stderr=True, left=("coefficient",))


def _run_peaks(post: xr.DataTree, more: str) -> None:
    """The peaks of the first runs, on stderr; `more` is the command that shows all."""
    from goldpeak.peaks import peak

    table = peak(post, prob=PROB).table
    rows = [
        (str(row["run"]), show.size(row["rm_params"]), show.number(row["median"]), show.interval(row["lo"], row["hi"]))
        for row in show.records(table.head(MOST_RUNS).reset_index())
    ]
    show.note("")
    show.table(("run", "rm_params", "KL at peak", f"{PROB:.0%} interval"), rows, stderr=True, left=("run",))
    if len(table) > MOST_RUNS:
        show.note(f"and {len(table) - MOST_RUNS} more: {more}")

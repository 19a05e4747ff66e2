"""The commands that read training logs: `convert`, and `check`, which reads run curves as well."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from goldpeak.cli import criticism, interrupt, parse, show
from goldpeak.cli.log_options import LogOptions, Method, curves_or_logs, with_log_options

__all__ = ["CHECK_EXAMPLES", "CONVERT_EXAMPLES", "CurvesOrLogs", "check", "convert"]

CHECK_EXAMPLES = """
Examples:
  goldpeak check runs.csv more.parquet --method rl
  goldpeak check out/checkpoint-500 --gold rewards/gold/mean --rm-params 3M
  goldpeak check post.nc"""
CONVERT_EXAMPLES = """
Examples:
  goldpeak convert trainer_state.json --gold rewards/gold/mean --rm-params 3M --out runs.parquet
  goldpeak convert runs/*/ --gold eval/gold --rm-params-from 'rm-{rm_params}-*' --out runs.csv
  goldpeak convert log.csv --map kl=mykl --map gold=g --kl-unit nats --rm-params 1e9 --out runs.csv
  goldpeak convert --table fleet.toml --out runs.parquet"""

Sources = Annotated[
    list[Path] | None,
    typer.Argument(
        metavar="SOURCE...",
        show_default=False,
        help="Logs: trainer_state.json or a checkpoint folder (TRL), TensorBoard folder, W&B chart CSV or history "
        "(Parquet, JSONL), mlflow.db or mlruns (MLflow), JSONL of verl, or any CSV, Parquet, JSONL.",
    ),
]
CurvesOrLogs = Annotated[
    list[Path] | None,
    typer.Argument(
        metavar="FILE...",
        show_default=False,
        help="Run curves (CSV or Parquet; columns run, rm_params, gold, and kl in nats or n), or training logs as "
        "'convert' takes them: then give its options. 'check' takes a posterior (POST.nc) too.",
    ),
]


@with_log_options
def convert(
    out: Annotated[Path, typer.Option(metavar="FILE", help="Where to write run curves: .csv or .parquet.")],
    logs: LogOptions,
    sources: Sources = None,
) -> None:
    """Convert training logs to run curves: KL in nats per response beside gold.

    The unit of the KL is known from its key or must be given. What was read, converted and dropped goes to stderr.
    """
    from goldpeak.logs.write import write_table

    parse.output_file(out, logs.inputs(sources or []), (".csv", ".parquet"))
    found = logs.read(sources or [])
    interrupt.check()
    write_table(found.table, out)

    from goldpeak.cli import summary

    summary.readings(found.readings, found.runs, stderr=True)
    show.note(f"wrote {out}: {found.runs.sizes['run']} runs, {len(found.table)} points")


@with_log_options
def check(logs: LogOptions, files: CurvesOrLogs = None, method: Method = None) -> None:
    """Check run curves, or training logs, as 'fit' or 'convert' would read them, and summarise them.

    Of a posterior (POST.nc) it says what speaks against the fit, and what to do.

    Every problem is listed at once. A run counts as turned over where its gold ends clearly below its highest. CSV and
    Parquet files are run curves unless an option of logs is given.
    """
    from goldpeak.cli import summary
    from goldpeak.runs import summarise

    if any(file.suffix.lower() == ".nc" for file in files or []):
        criticism.check(files or [], logs.given or method is not None)
    runs, readings = curves_or_logs(files or [], method, logs)
    summary.checked(summarise(runs))
    if readings:
        show.text()
        summary.readings(readings, runs)

"""The command `goldpeak convert`: from training logs to run curves."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from goldpeak.cli import interrupt, parse, show
from goldpeak.cli.log_options import LogOptions, tell_readings, with_log_options

__all__ = ["EXAMPLES", "convert"]

EXAMPLES = """
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
    from goldpeak.wording import counted

    parse.output_file(out, logs.inputs(sources or []), (".csv", ".parquet"))
    found = logs.read(sources or [])
    interrupt.check()
    write_table(found.table, out)
    tell_readings(found.readings, found.runs, show.note)
    show.note(f"wrote {out}: {counted(found.runs.sizes['run'], 'run')}, {counted(len(found.table), 'point')}")

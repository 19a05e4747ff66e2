"""The commands that read training logs: `convert`, and `check`, which reads run curves as well."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from goldpeak.cli import interrupt, parse, show
from goldpeak.errors import FitError

if TYPE_CHECKING:
    from goldpeak.logs import Converted
    from goldpeak.logs.fleet import Source

__all__ = ["CHECK_EXAMPLES", "CONVERT_EXAMPLES", "check", "convert"]

CHECK_EXAMPLES = """
Examples:
  goldpeak check runs.csv more.parquet --method rl
  goldpeak check out/checkpoint-500 --gold rewards/gold/mean --rm-params 3M"""
CONVERT_EXAMPLES = """
Examples:
  goldpeak convert trainer_state.json --gold rewards/gold/mean --rm-params 3M --out runs.parquet
  goldpeak convert runs/*/ --gold eval/gold --rm-params-from 'rm-{rm_params}-*' --out runs.csv
  goldpeak convert log.csv --map kl=mykl --map gold=g --kl-unit nats --rm-params 1e9 --out runs.csv
  goldpeak convert --table fleet.toml --out runs.parquet"""
TABLES = (".csv", ".parquet")

Sources = Annotated[
    list[Path] | None,
    typer.Argument(
        metavar="SOURCE...",
        show_default=False,
        help="Logs: trainer_state.json or a checkpoint folder (TRL), TensorBoard folder, W&B chart CSV or history "
        "(Parquet, JSONL), mlflow.db or mlruns (MLflow), JSONL of verl, or any CSV, Parquet, JSONL.",
    ),
]
Out = Annotated[Path, typer.Option(metavar="FILE", help="Where to write run curves: .csv or .parquet.")]
Format = Annotated[
    str, typer.Option(help="auto, trl, tensorboard, wandb (chart CSV), mlflow, verl, jsonl, csv or parquet.")
]
Kl = Annotated[str | None, typer.Option(metavar="KEY", help="KL from the initial policy.", show_default="as known")]
Gold = Annotated[str | None, typer.Option(metavar="KEY", help="Gold reward.", show_default="the key 'gold'")]
Proxy = Annotated[str | None, typer.Option(metavar="KEY", help="Proxy reward, raw.", show_default="as known")]
Length = Annotated[
    str | None,
    typer.Option(metavar="KEY", help="Mean response length in tokens, or a number.", show_default="as known"),
]
KlUnit = Annotated[
    str | None,
    typer.Option(
        metavar="UNIT",
        help="Of the KL as logged: nats or bits (per response), nats_per_token, bits_per_token, sqrt_nats, or "
        "nats_per_token_by_response (mean over responses of their means).",
        show_default="as known",
    ),
]
RmParams = Annotated[
    str | None, typer.Option(metavar="N", help="Parameters of the reward model, of all runs: 1e9, 3M.")
]
RmParamsFrom = Annotated[
    str | None,
    typer.Option(
        metavar="PATTERN",
        help="Where the size stands in a run's name or path: text with {rm_params} and *, or a regular expression with "
        "a group (?P<rm_params>...).",
    ),
]
Run = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Name of the run (several sources are its parts), or which run of several."),
]
Map = Annotated[
    list[str] | None,
    typer.Option("--map", metavar="NAME=COLUMN", help="Column for kl, gold, proxy, length, step, run or rm_params."),
]
Fleet = Annotated[
    Path | None, typer.Option("--table", metavar="FILE", help="CSV or TOML that lists runs: path, rm_params, run, ...")
]
DropUnmatched = Annotated[
    bool, typer.Option("--drop-unmatched", help="Leave out gold with no KL nearby instead of refusing.")
]
Method = Annotated[
    str | None,
    typer.Option(
        help="Use the rows of this method only: rl or bon. In a file without a column method: what all rows are."
    ),
]


def convert(
    out: Out,
    sources: Sources = None,
    format: Format = "auto",
    kl: Kl = None,
    gold: Gold = None,
    proxy: Proxy = None,
    length: Length = None,
    kl_unit: KlUnit = None,
    rm_params: RmParams = None,
    rm_params_from: RmParamsFrom = None,
    run: Run = None,
    columns: Map = None,
    table: Fleet = None,
    drop_unmatched: DropUnmatched = False,
) -> None:
    """Convert training logs to run curves: KL in nats per response beside gold.

    The unit of the KL is known from its key or must be given. What was read, converted and dropped goes to stderr.
    """
    from goldpeak.logs.write import write_table

    parse.table_file(out, [*(sources or []), *([table] if table else [])])
    keys = {"kl": kl, "gold": gold, "proxy": proxy, "length": length, "kl_unit": kl_unit}
    read = _sources(sources or [], keys, format, rm_params, rm_params_from, run, columns or [], table)
    found = _read(read, drop_unmatched)
    interrupt.check()
    write_table(found.table, out)

    from goldpeak.cli import summary

    summary.readings(found.readings, found.runs, stderr=True)
    show.note(f"wrote {out}: {found.runs.sizes['run']} runs, {len(found.table)} points")


def check(
    files: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="FILE...",
            show_default=False,
            help="Run curves (CSV or Parquet; columns run, rm_params, gold, and kl in nats or n), or training logs as "
            "'convert' takes them: then give its options.",
        ),
    ] = None,
    method: Method = None,
    format: Format = "auto",
    kl: Kl = None,
    gold: Gold = None,
    proxy: Proxy = None,
    length: Length = None,
    kl_unit: KlUnit = None,
    rm_params: RmParams = None,
    rm_params_from: RmParamsFrom = None,
    run: Run = None,
    columns: Map = None,
    table: Fleet = None,
    drop_unmatched: DropUnmatched = False,
) -> None:
    """Check run curves, or training logs, as 'fit' or 'convert' would read them, and summarise them.

    Every problem is listed at once. A run counts as turned over where its gold ends clearly below its highest. CSV and
    Parquet files are run curves unless an option of logs is given.
    """
    from goldpeak.cli import summary
    from goldpeak.runs import read_runs, summarise

    keys = {"kl": kl, "gold": gold, "proxy": proxy, "length": length, "kl_unit": kl_unit}
    told = [*keys.values(), rm_params, rm_params_from, run, columns, table]
    if not files and table is None:
        raise FitError("Missing argument 'FILE': run curves or training logs")
    if _are_curves(files or [], told, format):
        paths = files or []
        summary.checked(summarise(read_runs(paths[0] if len(paths) == 1 else paths, method=method)))
        return
    read = _sources(files or [], keys, format, rm_params, rm_params_from, run, columns or [], table)
    found = _read(read, drop_unmatched)
    summary.checked(summarise(found.runs))
    show.text()
    summary.readings(found.readings, found.runs)


def _are_curves(files: list[Path], told: list[Any], format: str) -> bool:
    return all(file.suffix.lower() in TABLES for file in files) and format == "auto" and not any(told)


def _sources(
    paths: list[Path],
    keys: dict[str, str | None],
    format: str,
    rm_params: str | None,
    rm_params_from: str | None,
    run: str | None,
    columns: list[str],
    table: Path | None,
) -> list[Source]:
    """The logs to read, as the options and the table describe them."""
    from goldpeak.logs.choose import Asked
    from goldpeak.logs.fleet import Pattern, Source, read_fleet

    if bool(paths) == (table is not None):
        raise FitError("give either SOURCE or --table" if paths else "Missing argument 'SOURCE' (or --table)")
    if rm_params is not None and rm_params_from is not None:
        raise FitError("give --rm-params or --rm-params-from, not both")
    named = parse.columns(columns)
    asked = Asked(**{key: value or named.get(key) for key, value in keys.items()})
    size = Pattern(rm_params_from) if rm_params_from is not None else _size(rm_params)
    defaults = Source("", format, asked, size, run, named)
    if table is not None:
        return read_fleet(table, defaults)
    return [Source(path, format, asked, size, run, named) for path in paths]


def _size(text: str | None) -> float | None:
    if text is None:
        return None
    sizes = parse.sizes(text)
    if len(sizes) > 1:
        raise FitError("--rm-params takes one size here; for a fleet use --rm-params-from or --table")
    return sizes[0]


def _read(sources: list[Source], drop_unmatched: bool) -> Converted:
    from goldpeak.logs import convert as read

    return read(sources, drop_unmatched=drop_unmatched)

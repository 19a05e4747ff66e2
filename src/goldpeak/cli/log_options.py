"""What commands share that read run curves or training logs: the options, the reading, and what is told of it."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_type_hints

import typer

from goldpeak.cli import parse, show
from goldpeak.errors import FitError

if TYPE_CHECKING:
    import xarray as xr

    from goldpeak.logs import Converted, Reading
    from goldpeak.logs.fleet import Source

__all__ = [
    "CurvesOrLogs",
    "LogOptions",
    "Method",
    "curves",
    "curves_or_logs",
    "tell_readings",
    "with_log_options",
]

TABLES = (".csv", ".parquet")
KEYS = ("kl", "gold", "proxy", "length", "kl_unit")
MOST_READINGS = 12
CurvesOrLogs = Annotated[
    list[Path] | None,
    typer.Argument(
        metavar="FILE...",
        show_default=False,
        help="Run curves (CSV or Parquet; columns run, rm_params, gold, and kl in nats or n), or training logs as "
        "'convert' takes them: then give its options. 'check' takes a posterior (POST.nc) too.",
    ),
]
Method = Annotated[
    str | None,
    typer.Option(
        help="Use the rows of this method only: rl or bon. In a file without a column method: what all rows are."
    ),
]


def _option(*words: str, **settings: Any) -> Any:
    return typer.Option(*words, rich_help_panel="Training logs", **settings)


@dataclass(frozen=True)
class LogOptions:
    """What was said of the logs; each field is an option."""

    format: Annotated[
        str, _option(help="auto, trl, tensorboard, wandb (chart CSV), mlflow, verl, jsonl, csv or parquet.")
    ] = "auto"
    kl: Annotated[str | None, _option(metavar="KEY", help="KL from the initial policy.", show_default="as known")] = (
        None
    )
    gold: Annotated[str | None, _option(metavar="KEY", help="Gold reward.", show_default="the key 'gold'")] = None
    proxy: Annotated[str | None, _option(metavar="KEY", help="Proxy reward, raw.", show_default="as known")] = None
    length: Annotated[
        str | None,
        _option(metavar="KEY", help="Mean response length in tokens, or a number.", show_default="as known"),
    ] = None
    kl_unit: Annotated[
        str | None,
        _option(
            metavar="UNIT",
            help="Of the KL as logged: nats or bits (per response), nats_per_token, bits_per_token, sqrt_nats, or "
            "nats_per_token_by_response (mean over responses of their means).",
            show_default="as known",
        ),
    ] = None
    rm_params: Annotated[
        str | None, _option(metavar="N", help="Parameters of the reward model, of all runs: 1e9, 3M.")
    ] = None
    rm_params_from: Annotated[
        str | None,
        _option(
            metavar="PATTERN",
            help="Where the size stands in a run's name or path: text with {rm_params} and *, or a regular expression "
            "with a group (?P<rm_params>...).",
        ),
    ] = None
    run: Annotated[
        str | None,
        _option(metavar="NAME", help="Name of the run (several sources are its parts), or which run of several."),
    ] = None
    columns: Annotated[
        list[str] | None,
        _option("--map", metavar="NAME=COLUMN", help="Column for kl, gold, proxy, length, step, run or rm_params."),
    ] = None
    table: Annotated[
        Path | None,
        _option("--table", metavar="FILE", help="CSV or TOML that lists runs: path, rm_params, run, ..."),
    ] = None
    drop_unmatched: Annotated[
        bool, _option("--drop-unmatched", help="Leave out gold with no KL nearby instead of refusing.")
    ] = False

    @property
    def given(self) -> bool:
        """Whether anything was said."""
        return any(value and value != field.default for field, value in zip(fields(self), self._values, strict=True))

    @property
    def _values(self) -> list[Any]:
        return [getattr(self, field.name) for field in fields(self)]

    def inputs(self, paths: Sequence[Path]) -> list[Path]:
        """All files that will be read, as far as the command line names them."""
        return [*paths, *([self.table] if self.table else [])]

    def read(self, paths: Sequence[Path], without_gold: bool = False) -> Converted:
        """Read these logs, or those that ``--table`` lists; without gold every point has gold 0.

        Raises
        ------
        FitError
            If options are missing or stand against each other.
        RunsError
            As `goldpeak.logs.convert`.
        """
        from goldpeak.logs import convert

        return convert(self._sources(paths, without_gold), drop_unmatched=self.drop_unmatched)

    def _sources(self, paths: Sequence[Path], without_gold: bool) -> list[Source]:
        from goldpeak.logs.choose import Asked
        from goldpeak.logs.fleet import Pattern, Source, read_fleet

        posteriors = ", ".join(str(path) for path in paths if path.suffix.lower() == ".nc")
        if posteriors:
            raise FitError(f"{posteriors}: .nc is the ending of a posterior; needed are run curves or training logs")
        if bool(paths) == (self.table is not None):
            raise FitError("give either SOURCE or --table" if paths else "Missing argument 'SOURCE' (or --table)")
        if self.rm_params is not None and self.rm_params_from is not None:
            raise FitError("give --rm-params or --rm-params-from, not both")
        named = parse.columns(self.columns or [])
        asked = Asked(**{key: getattr(self, key) or named.get(key) for key in KEYS}, without_gold=without_gold)
        size = _size(self.rm_params) if self.rm_params_from is None else Pattern(self.rm_params_from)
        if self.table is not None:
            return read_fleet(self.table, Source("", self.format, asked, size, self.run, named))
        return [Source(path, self.format, asked, size, self.run, named) for path in paths]


def _size(text: str | None) -> float | None:
    if text is None:
        return None
    sizes = parse.sizes(text)
    if len(sizes) > 1:
        raise FitError("--rm-params takes one size here; for a fleet use --rm-params-from or --table")
    return sizes[0]


def with_log_options[R](command: Callable[..., R]) -> Callable[..., R]:
    """A command with an option for each field of `LogOptions` in place of its argument ``logs``."""
    signature, hints = inspect.signature(command, eval_str=True), get_type_hints(LogOptions, include_extras=True)
    own = [parameter for parameter in signature.parameters.values() if parameter.name != "logs"]
    options = [
        inspect.Parameter(f.name, inspect.Parameter.KEYWORD_ONLY, default=f.default, annotation=hints[f.name])
        for f in fields(LogOptions)
    ]

    @functools.wraps(command)
    def run(**given: Any) -> R:
        said = {field.name: given.pop(field.name) for field in fields(LogOptions)}
        return command(**given, logs=LogOptions(**said))

    run.__signature__ = signature.replace(parameters=[*own, *options])  # type: ignore[attr-defined]
    return run


def tell_readings(found: Sequence[Reading], runs: xr.Dataset, say: Callable[[str], None]) -> None:
    """What was read from logs, run by run: keys, unit, estimator, conversions, and what was dropped."""
    for reading in found[:MOST_READINGS]:
        kl = runs["kl"].values[runs["run_index"].values == list(runs["run"].values).index(reading.run)]
        length = f", length '{reading.length}'" if reading.length else ""
        proxy = f", proxy '{reading.proxy}'" if reading.proxy else ""
        say(f"{reading.run}: {reading.source} (format {reading.format}; framework {reading.framework})")
        say(
            f"  read: kl '{reading.kl}' in {reading.kl_unit}, estimator {reading.estimator}{length}; "
            f"gold '{reading.gold}'{proxy}"
        )
        say(f"  points: {reading.points}, KL {show.interval(kl.min(), kl.max())} nats per response")
        for label, notes in (
            ("conversion", reading.conversions),
            ("dropped", reading.dropped),
            ("note", reading.notices),
        ):
            for note in notes:
                say(f"  {label}: {note}")
    if len(found) > MOST_READINGS:
        say(f"and {len(found) - MOST_READINGS} more runs")


def curves(files: Sequence[Path], method: str | None, baseline: Literal["auto", "none"] = "auto") -> xr.Dataset:
    """The run curves of one file or several."""
    from goldpeak.runs import read_runs

    return read_runs(files[0] if len(files) == 1 else list(files), method=method, baseline=baseline)


def curves_or_logs(
    files: Sequence[Path], method: str | None, logs: LogOptions
) -> tuple[xr.Dataset, tuple[Reading, ...]]:
    """Run curves, and how they were read where they come from logs.

    CSV and Parquet files are run curves unless an option of logs is given.

    Raises
    ------
    FitError
        If there is nothing to read, or an option does not go with what there is.
    RunsError
        With all that is wrong in the files.
    """
    if not files and logs.table is None:
        raise FitError("Missing argument 'FILE': run curves or training logs")
    if not logs.given and all(file.suffix.lower() in TABLES for file in files):
        return curves(files, method), ()
    if method not in (None, "rl"):
        raise FitError(f"--method {method} is for run curves; training logs are of method rl")
    found = logs.read(files)
    return found.runs, found.readings

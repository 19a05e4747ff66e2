"""The command `goldpeak watch`: should a run that is going on be stopped?"""

from __future__ import annotations

import json
import re
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from goldpeak.cli import interrupt, parse, show
from goldpeak.cli.log_options import TABLES, LogOptions, curves, with_log_options
from goldpeak.cli.posterior import KlMax, finish
from goldpeak.cli.status import ALARM, STOP
from goldpeak.errors import FitError, RunsError, RunsWarning

if TYPE_CHECKING:
    import pandas as pd

    from goldpeak.logs.follow import Follower, Measured
    from goldpeak.stopping.online import Decision

__all__ = ["EXAMPLES", "watch"]

EXAMPLES = """
Exit status: 10 as soon as a stop is due, 0 where the log ends before that, 3 likewise but the posterior's gate had \
failed; else as for all commands. With --no-gold 11 where the log ends without a stop and an alarm was raised.

Examples:
  goldpeak watch runs.csv --posterior post.nc --rm-params 3M
  goldpeak watch out/rm-3M --posterior post.nc --rm-params 3M --gold rewards/gold/mean --follow
  goldpeak watch log.jsonl --posterior post.nc --rm-params 3M --gold g -f --json; test $? -ne 10 || kill $TRAINER"""

Tell = Callable[["Measured", "Decision"], None]


@with_log_options
def watch(
    source: Annotated[
        list[Path],
        typer.Argument(
            metavar="SOURCE...",
            help="The run's log, as 'convert' takes it: then give its options. Or its run curve, as 'fit' takes it.",
        ),
    ],
    logs: LogOptions,
    posterior: Annotated[
        Path, typer.Option(metavar="POST.nc", help="The fleet's posterior, which 'goldpeak fit' wrote.")
    ],
    rule: Annotated[str, typer.Option(help="regret, expected, chance, cvar or drawdown: see 'budget'.")] = "regret",
    level: Annotated[float, typer.Option(help="The rule's probability or share; small is careful.")] = 0.25,
    patience: Annotated[int, typer.Option(min=1, help="Stop after so many checkpoints in a row that say so.")] = 1,
    kl_max: KlMax = None,
    baseline: Annotated[
        float | None,
        typer.Option(metavar="GOLD", help="Gold of the initial policy.", show_default="that at KL 0, else 0"),
    ] = None,
    gold_se: Annotated[
        float | None,
        typer.Option(metavar="SE", help="Standard error of logged gold.", show_default="as logged, else the fleet's"),
    ] = None,
    no_gold: Annotated[
        bool, typer.Option("--no-gold", help="No gold is logged: go by the fleet, KL and proxy alone.")
    ] = False,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Wait for more until a stop is due or Ctrl-C.")
    ] = False,
    every: Annotated[float, typer.Option(metavar="SECONDS", help="How often to look, with --follow.")] = 5.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object a line for each decision.")] = False,
) -> None:
    """Decide after each checkpoint of a run whether it should stop.

    Ends at the first checkpoint at which a stop is due, with exit status 10. It survives logs that are truncated,
    rotated or cut off in their last line. Nothing is decided before three checkpoints are there. Started again, it
    reads the log from its start.

    Without gold a stop is due where the fleet's own runs would best have stopped, whatever this run does; what this run
    says is whether its KL and proxy break their pattern, and whether the proxy still rises beyond the peak. Those are
    alarms: they are printed, and end nothing.
    """
    from goldpeak import store
    from goldpeak.gates import gates_of
    from goldpeak.logs.follow import Follower
    from goldpeak.stopping.online import Stopper

    size = _size(logs, every)
    if no_gold:
        _refuse_gold(logs, gold_se, baseline)
    tree = store.load(posterior)
    stopper = Stopper(tree, size, rule, level, kl_max, patience, baseline=baseline)  # type: ignore[arg-type]
    follower = Follower(source, lambda: _read(source, logs, no_gold), growing=follow)
    stopped = alarmed = False
    with _said_once() as say, _lines() if as_json else _table() as tell:
        for one in _arriving(follower, every if follow else None, say):
            decision = stopper.update(one.kl, one.gold, one.gold_se or gold_se, one.proxy, one.step)
            tell(one, decision)
            for text in decision.warnings:
                say(text)
            stopped, alarmed = decision.stop, alarmed or decision.divergence.alarm
            if stopped:
                break
    gates = gates_of(tree)
    if not stopped and no_gold and alarmed and gates.passed:
        raise typer.Exit(ALARM)
    if not stopped:
        finish(tree, posterior)
    alone = " (from KL alone)" if no_gold else ""
    show.note(f"stop{alone}: {decision.reason}; keep the checkpoint at kl {show.number(decision.best_kl)}")
    if not gates.passed:
        show.gates(gates, hint=f"So it was when {posterior} was fitted: do not act on this stop.")
    raise typer.Exit(STOP)


def _size(logs: LogOptions, every: float) -> float:
    problems = []
    if logs.rm_params is None:
        problems.append("Missing option '--rm-params': parameters of the run's reward model")
    if logs.rm_params_from is not None or logs.table is not None:
        problems.append("--rm-params-from and --table are for fleets; watch takes one run and its --rm-params")
    if not 0.05 <= every < float("inf"):
        problems.append(f"--every is {every:g}; allowed: at least 0.05 seconds")
    sizes = parse.sizes(logs.rm_params) if logs.rm_params is not None else []
    if len(sizes) > 1:
        problems.append(f"--rm-params is {logs.rm_params}; allowed here: one size")
    if problems:
        raise FitError("; ".join(problems))
    return sizes[0]


def _refuse_gold(logs: LogOptions, gold_se: float | None, baseline: float | None) -> None:
    named = {"--gold": logs.gold, "--gold-se": gold_se, "--baseline": baseline}
    given = ", ".join(name for name, value in named.items() if value is not None)
    if given:
        raise FitError(f"{given} and --no-gold stand against each other; give one")


def _read(paths: list[Path], logs: LogOptions, no_gold: bool) -> pd.DataFrame:
    """Gold as it stands in the files: the stopper itself finds the initial policy's."""
    try:
        table = _table_of(paths, logs, no_gold)
    except RunsError as error:
        if any("gold" in text and ("no key is given" in text or "is missing" in text) for text in error.problems):
            raise RunsError(error.source, [*error.problems, "where no gold is measured, give --no-gold"]) from error
        raise
    return table.drop(columns="gold") if no_gold else table


def _table_of(paths: list[Path], logs: LogOptions, no_gold: bool) -> pd.DataFrame:
    if all(path.suffix.lower() in TABLES for path in paths) and not replace(logs, rm_params=None, run=None).given:
        from goldpeak.runs import read_runs
        from goldpeak.subset import as_table

        runs = read_runs(_with_no_gold(paths), baseline="none") if no_gold else curves(paths, None, baseline="none")
        table = as_table(runs)
        return table if logs.run is None else table[table["run"] == logs.run]
    return logs.read(paths, without_gold=no_gold).table


def _with_no_gold(paths: list[Path]) -> pd.DataFrame:
    """Run curves with gold 0; rows are called by their lines."""
    import pandas as pd

    from goldpeak.io.tables import read_table

    parts = []
    for table in map(read_table, paths):
        of_gold = [name for name in map(str, table.frame.columns) if name.startswith("gold_")]
        parts.append(pd.DataFrame(table.frame.drop(columns=of_gold)).set_index(table.rows).assign(gold=0.0))
    return pd.concat(parts)


def _arriving(follower: Follower, every: float | None, say: Callable[[str], None]) -> Iterator[Measured]:
    """Checkpoints as they come: those that are there, and with `every` (seconds) what is added, without end."""
    while True:
        yield from follower.poll()
        if follower.trouble is not None and every is None:
            raise follower.trouble
        if every is None:
            return
        if follower.trouble is not None:
            say(f"waiting: {follower.trouble}")
        interrupt.check()
        time.sleep(every)


@contextmanager
def _said_once() -> Iterator[Callable[[str], None]]:
    """Print warnings, those of reading included, once for each kind: a log is read again and again."""
    said: set[str] = set()

    def say(text: str) -> None:
        kind = re.sub(r"[0-9][0-9.e+-]*", "0", text)
        if kind not in said:
            said.add(kind)
            show.warning(text)

    with warnings.catch_warnings():
        warnings.simplefilter("always", RunsWarning)
        warnings.showwarning = lambda message, *_, **__: say(str(message))
        yield say


@contextmanager
def _lines() -> Iterator[Tell]:
    def tell(one: Measured, decision: Decision) -> None:
        show.line(json.dumps({"step": one.step, "gold": one.gold} | decision.to_dict(), allow_nan=False))

    yield tell


@contextmanager
def _table() -> Iterator[Tell]:
    columns = ("step", "KL", "gold", "P(past peak)", "KL at peak", "90% interval", "gain left", "keep KL", "decision")
    with show.growing_table(columns, left=("decision",)) as add:

        def tell(one: Measured, decision: Decision) -> None:
            median, lo, hi = decision.kl_peak
            add(
                (
                    f"{one.step:g}",
                    show.number(one.kl),
                    "–" if one.gold is None else show.number(one.gold),
                    f"{decision.p_past_peak:.2f}",
                    show.number(median),
                    show.interval(lo, hi),
                    show.number(decision.remaining_gain[0]),
                    show.number(decision.best_kl),
                    _word(decision),
                )
            )

        yield tell


def _word(decision: Decision) -> str:
    if decision.stop:
        return "STOP"
    return decision.reason.split(":")[0] + (", ALARM" if decision.divergence.alarm else "")

"""The command `goldpeak check`: of run curves and logs what was read, of a posterior what speaks against the fit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from goldpeak.cli import show
from goldpeak.cli.log_options import CurvesOrLogs, LogOptions, Method, curves_or_logs, tell_readings, with_log_options
from goldpeak.cli.posterior import AsJson, finish
from goldpeak.errors import FitError

if TYPE_CHECKING:
    import pandas as pd

    from goldpeak.check.criticism import Criticism
    from goldpeak.logs import Reading

__all__ = ["EXAMPLES", "check"]

EXAMPLES = """
Examples:
  goldpeak check runs.csv more.parquet --method rl
  goldpeak check out/checkpoint-500 --gold rewards/gold/mean --rm-params 3M
  goldpeak check post.nc --json"""

WORDS = """
p_loo: all points of a run against what the other runs predict (rough where pareto_k > 0.7).
p_trend: slow waves of residuals along KL. p_noise: their size, residual_ratio times what the noise allows.
p_off_trend: how far a run lies off the trend in size.
share: root mean square of what is smooth, shared or the run's own, over that of the curve.
A small p, below 0.05 over the number of runs, speaks against the fit; a large one says nothing."""
TOGETHER = "Of several cards combined: all draws together, a card's by its weight."


@with_log_options
def check(logs: LogOptions, files: CurvesOrLogs = None, method: Method = None, as_json: AsJson = False) -> None:
    """Check run curves, or training logs, as 'fit' or 'convert' would read them, and summarise them.

    Of a posterior (POST.nc) it says what speaks against the fit, and what to do.

    Every problem is listed at once. A run counts as turned over where its gold ends clearly below its highest. CSV and
    Parquet files are run curves unless an option of logs is given.
    """
    from goldpeak.runs import summarise

    if any(file.suffix.lower() == ".nc" for file in files or []):
        if len(files or []) > 1 or logs.given or method is not None:
            raise FitError("a posterior (.nc) is checked by itself: give one file and no option but --json")
        _posterior((files or [])[0], as_json)
    runs, readings = curves_or_logs(files or [], method, logs)
    table = summarise(runs)
    if as_json:
        show.text(show.json_text(_runs_json(table, readings)))
        return
    _print_runs(table)
    if readings:
        show.text()
        tell_readings(readings, runs, show.text)


def _runs_json(table: pd.DataFrame, readings: Sequence[Reading]) -> list[dict[str, Any]]:
    """An object for each run; of logs with how it was read."""
    how = {reading.run: {"reading": asdict(reading)} for reading in readings}
    return [row | how.get(row["run"], {}) for row in show.records(table)]


def _print_runs(table: pd.DataFrame) -> None:
    rows = [
        (
            row["run"],
            row["method"],
            show.size(row["rm_params"]),
            str(row["points"]),
            show.interval(row["kl_min"], row["kl_max"]),
            show.number(row["gold_max"]),
            "yes" if row["turned"] else "no",
        )
        for row in show.records(table)
    ]
    columns = ("run", "method", "rm_params", "points", "KL (nats)", "highest gold", "turned over")
    show.table(columns, rows, left=("run", "method"))
    kl = show.interval(table["kl_min"].min(), table["kl_max"].max())
    show.text(
        f"\nRuns: {len(table)}, reward-model sizes: {table['rm_params'].nunique()}, points: {table['points'].sum()}, "
        f"KL {kl} nats.\nGold visibly turns over in {table['turned'].sum()} of {len(table)} runs."
    )


def _posterior(path: Path, as_json: bool) -> NoReturn:
    """What speaks against a posterior; of several cards combined also against each by itself."""
    from goldpeak import store
    from goldpeak.check.criticism import criticise

    post = store.load(path)
    found = criticise(post)
    if as_json:
        parts = [(name, found.weights[name], each) for name, each in found.by_card.items()]
        show.text(show.json_text([_criticism_json(*one) for one in ((post.attrs["card_name"], 1.0, found), *parts)]))
    else:
        _print_criticism(found)
    finish(post, path)


def _criticised(found: Criticism) -> list[str]:
    """What was looked at in each run."""
    return [str(name) for name in found.table.columns if name != "rm_params"]


def _criticism_json(card: str, weight: float, found: Criticism) -> dict[str, Any]:
    return {
        "card": card,
        "weight": weight,
        "recommendation": found.recommendation,
        "findings": [asdict(finding) for finding in found.findings],
        "p_common": found.p_common,
        "runs": found.table.reset_index()[["run", "rm_params", *_criticised(found)]].to_dict("records"),
    }


def _print_criticism(found: Criticism) -> None:
    names = _criticised(found)
    rows = [
        (str(run), show.size(row["rm_params"]), *(_short(row[name]) for name in names))
        for run, row in found.table.iterrows()
    ]
    show.table(("run", "rm_params", *names), rows, left=("run",))
    show.text(f"{WORDS}" + f"\n{TOGETHER}" * bool(found.by_card))
    show.text(f"Slow waves that all runs share: p {_short(found.p_common)}.\n")
    _print_findings(found)
    for name, each in found.by_card.items():
        show.text(f"\nThe card {name} (weight {found.weights[name]:.2f}) by itself:")
        _print_findings(each)


def _print_findings(found: Criticism) -> None:
    for finding in found.findings:
        show.text(f"- {finding.what}.")
    show.text(found.recommendation)


def _short(value: float) -> str:
    if value == 0:
        return "0"
    return "<0.001" if 0 < value < 0.001 else f"{value:.3f}" if abs(value) < 0.1 else f"{value:.2f}"

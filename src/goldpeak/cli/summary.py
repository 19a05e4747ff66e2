"""Results as tables for people: posteriors, peaks, cards, the demo."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from goldpeak.cli import show

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

    from goldpeak.card import Card
    from goldpeak.demo import Demo
    from goldpeak.logs import Reading
    from goldpeak.peaks import Peak

__all__ = ["card", "cards", "checked", "demo", "peak", "posterior", "readings", "run_peaks"]

PROB = 0.9
MOST_RUNS = 12


def checked(table: pd.DataFrame) -> None:
    """What `goldpeak.runs.summarise` found, on stdout."""
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


def readings(found: Sequence[Reading], runs: xr.Dataset, *, stderr: bool = False) -> None:
    """What was read from logs, run by run: keys, unit, estimator, conversions, and what was dropped."""
    say = show.note if stderr else show.text
    for reading in found[:MOST_RUNS]:
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
    if len(found) > MOST_RUNS:
        say(f"and {len(found) - MOST_RUNS} more runs")


def posterior(post: xr.DataTree) -> None:
    """Which engine ran and why, and median and 90 % interval of what all runs share; on stderr."""
    from goldpeak.peaks import quantiles
    from goldpeak.summaries import shared

    show.note(f"engine {post.attrs['engine']}: {post.attrs['engine_reason']}\n")
    rows = []
    for name, values in shared(post):
        lo, median, hi = quantiles(values, PROB)
        rows.append((name, show.number(float(median)), show.interval(float(lo), float(hi))))
    show.table(("coefficient", "median", f"{PROB:.0%} interval"), rows, stderr=True, left=("coefficient",))


def run_peaks(post: xr.DataTree, more: str) -> None:
    """The peaks of the first runs, on stderr; `more` is the command that shows all."""
    from goldpeak.peaks import peak as peak_of_runs

    table = peak_of_runs(post, prob=PROB).table
    rows = [
        (str(row["run"]), show.size(row["rm_params"]), show.number(row["median"]), show.interval(row["lo"], row["hi"]))
        for row in show.records(table.head(MOST_RUNS).reset_index())
    ]
    show.note("")
    show.table(("run", "rm_params", "KL at peak", f"{PROB:.0%} interval"), rows, stderr=True, left=("run",))
    if len(table) > MOST_RUNS:
        show.note(f"and {len(table) - MOST_RUNS} more: {more}")


def peak(found: Peak) -> None:
    """A `Peak`'s table, on stdout."""
    observed = found.table.index.name == "run"
    within = f"{100 * found.prob:g}% interval"
    columns = (*(("run",) if observed else ()), "rm_params", "KL at peak", within, "P(in range)")
    columns = (*columns, "gold at peak", within, "extrapolated")
    rows = [_peak_row(row, observed) for row in show.records(found.table.reset_index(drop=not observed))]
    show.table(columns, rows, left=("run",))
    what = "fitted runs" if observed else f"predictions ({found.include})"
    show.text(
        f"\nMedian and equal-tailed interval of the {what}. KL in nats; a peak beyond KL {found.kl_max:.4g} counts as "
        f"inf. P(in range): probability of a peak within the observed KL. {_gold_words(found, observed)}"
    )


def _gold_words(found: Peak, observed: bool) -> str:
    if observed and (found.table["baseline"] != 0).any():
        return "Gold as in the file: the initial policy's is added back."
    return "Gold is relative to the initial policy."


def _peak_row(row: dict[str, Any], observed: bool) -> tuple[str, ...]:
    return (
        *((str(row["run"]),) if observed else ()),
        show.size(row["rm_params"]),
        show.number(row["median"]),
        show.interval(row["lo"], row["hi"]),
        f"{row['p_peak_in_range']:.2f}",
        show.number(row["gold_median"]),
        show.interval(row["gold_lo"], row["gold_hi"]),
        show.outside(row),
    )


def cards(table: pd.DataFrame) -> None:
    """The list of cards, on stdout."""
    columns = ("name", *table.columns)
    rows = [tuple(map(str, row)) for row in table.itertuples()]
    show.table(columns, rows, left=columns)


def card(shown: Card) -> None:
    """One card, on stdout: formula, structure with priors, references."""
    from goldpeak.forms import FORMS

    form = FORMS[shown.form.kind]
    show.text(f"{shown.name}: {shown.title}")
    if shown.description:
        show.text(f"\n{shown.description}")
    part = {"coefficients": " + delta(d)", "peak": " + R* delta(u) + own(d)"}[shown.coordinates]
    smooth = "" if shown.discrepancy.kind == "none" else part
    show.text(f"\ngold(d) = {shown.formula}{smooth}, d = sqrt(KL in nats)\n  {form.citation}\n")
    table = shown.to_dict()
    parts = {key: value for key, value in table.items() if isinstance(value, dict)}
    show.table(("part", "is"), _leaves(parts), left=("part", "is"))
    show.text("\nPriors are in units of gold_scale; a log size is taken from the geometric mean of the sizes.")
    if shown.references:
        show.text("\nReferences:\n" + "\n".join(f"  {reference}" for reference in shown.references))
    show.text(f"\nhash {shown.hash()}")


def _leaves(table: dict[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """A nested table as rows: dotted key, value; priors in one piece."""
    rows: list[tuple[str, str]] = []
    for key, value in table.items():
        name = prefix if key == "kind" else f"{prefix}.{key}".lstrip(".")
        if isinstance(value, dict) and not any(isinstance(v, dict) for v in value.values()) and "kind" in value:
            inner = ", ".join(f"{k}={v}" for k, v in value.items() if k != "kind")
            rows.append((name, value["kind"] + (f"({inner})" if inner else "")))
        elif isinstance(value, dict):
            rows += _leaves(value, name)
        else:
            rows.append((name, str(value)))
    return rows


def demo(result: Demo) -> None:
    """The demo's prediction beside the measurement, on stdout; misses included."""
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

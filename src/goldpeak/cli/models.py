"""The command `goldpeak models`: the model cards, and where one expects the peak before it has seen data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from goldpeak.cli import parse, show
from goldpeak.errors import FitError

if TYPE_CHECKING:
    import pandas as pd

    from goldpeak.card import Card

__all__ = ["EXAMPLES", "models"]

EXAMPLES = "\nExamples:\n  goldpeak models\n  goldpeak models similar --prior\n  goldpeak models my_card.toml"

FACTORS = (0.1, 1.0, 10.0)
"""Sizes, times N0, the geometric mean of the sizes that would be fitted."""
KL = 100.0
"""Largest KL of the runs, nats; peaks are looked for up to twice that."""


def models(
    name: Annotated[
        str | None,
        typer.Argument(metavar="[NAME]", help="Of a card, or path of a .toml file.", autocompletion=parse.cards),
    ] = None,
    prior: Annotated[
        bool, typer.Option("--prior", help="Also where the card expects the peak before any data.")
    ] = False,
) -> None:
    """List the model cards, or show one: its formula, priors and references."""
    from goldpeak import library

    if name is not None:
        _card(library.load_card(name))
        if prior:
            _peaks_before_data(name)
    elif prior:
        raise FitError("--prior shows what one card expects: name it, e.g. goldpeak models similar --prior")
    else:
        _cards(library.models())


def _cards(table: pd.DataFrame) -> None:
    columns = ("name", *table.columns)
    rows = [tuple(map(str, row)) for row in table.itertuples()]
    show.table(columns, rows, left=columns)


def _card(shown: Card) -> None:
    """Formula, structure with priors, references."""
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


def _peaks_before_data(name: str) -> None:
    """The prior's peak at three sizes."""
    from goldpeak.simulation import Fleet, peak_before_data

    middle = 1e7
    design = Fleet(rm_params=(middle / 10.0, middle, 10.0 * middle), points=3, kl_max=KL)
    found = peak_before_data(name, design, [factor * middle for factor in FACTORS])
    rows = []
    for i, factor in enumerate(FACTORS):
        row = {key: float(values[i]) for key, values in found.data_vars.items()}
        kl, gold = show.interval(row["lo"], row["hi"]), show.interval(row["gold_lo"], row["gold_hi"])
        within = f"{row['p_peak_below_kl_max']:.2f}"
        rows.append((f"{factor:g} N0", show.number(row["median"]), kl, show.number(row["gold_median"]), gold, within))
    limit, interval = found.attrs["kl_max"], f"{found.attrs['prob']:.0%} interval"
    show.text("\nBefore any data, of a new run (N0: the geometric mean of the sizes; gold in units of gold_scale):\n")
    show.table(("size", "KL at peak", interval, "gold at peak", interval, f"P(peak up to KL {limit:g})"), rows)

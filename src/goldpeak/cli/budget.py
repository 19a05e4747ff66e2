"""The command `goldpeak budget`: how much KL the next run may use."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from goldpeak.cli import parse, show
from goldpeak.cli.posterior import AsJson, Include, KlMax, Posterior, Prob, finish, gold_words

if TYPE_CHECKING:
    from goldpeak.stopping.budget import Budget

__all__ = ["EXAMPLES", "budget"]

EXAMPLES = """
Examples:
  goldpeak budget post.nc --rm-params 1e9
  goldpeak budget post.nc --rm-params 1e9,3B --rule chance --level 0.1 --json
  goldpeak budget post.nc --rm-params 1e9 --rule all"""

JSON_FIELDS = (
    "rm_params",
    "rule",
    "level",
    "kl",
    "n",
    "gold_median",
    "gold_lo",
    "gold_hi",
    "p_past_peak",
    "regret_mean",
    "regret_cvar",
)


def budget(
    post: Posterior,
    rm_params: Annotated[
        str | None,
        typer.Option(metavar="SIZES", help="Reward-model sizes: 1e9,3_000_000,1.2B.", show_default="the fitted runs"),
    ] = None,
    rule: Annotated[
        str,
        typer.Option(
            help="regret (least regret in the worst share of cases), expected (most gold on average), chance (P(past "
            "the peak) at most so much), cvar (most gold in the worst share), drawdown (P(fallen by more than --drop "
            "past the peak) at most so much), or all."
        ),
    ] = "regret",
    level: Annotated[float, typer.Option(help="The rule's probability or share; small is careful.")] = 0.25,
    include: Include = "new_run",
    kl_max: KlMax = None,
    drop: Annotated[
        float | None,
        typer.Option(metavar="GOLD", help="A fall that counts for drawdown.", show_default="5 % of the peak"),
    ] = None,
    prob: Prob = 0.9,
    as_json: AsJson = False,
) -> None:
    """Show how much KL the next run may use, and at what risk.

    A KL of 'inf' means that the rule found no reason to stop up to --kl-max; the other figures are then at --kl-max.
    """
    from goldpeak import store
    from goldpeak.stopping.budget import budget as found_by

    asked = None if rm_params is None else parse.sizes(rm_params)
    tree = store.load(post)
    found = found_by(tree, asked, rule, level, include, kl_max, drop=drop, prob=prob)  # type: ignore[arg-type]
    if as_json:
        named = ("run",) if found.include == "observed" else ()
        show.text(show.json_text(found.table[[*named, *JSON_FIELDS]].to_dict("records")))
    else:
        _print(found)
    finish(tree, post)


def _print(found: Budget) -> None:
    table, observed = found.table, found.include == "observed"
    named = ("run",) if observed else ()
    bon = ("n",) if table["n"].notna().any() else ()
    leveled = found.sensitivity["level"].dropna().unique()
    beside = (f"at {leveled[0]:g}, {leveled[-1]:g}",) if len(leveled) else ()
    columns = (*named, "rm_params", "rule", "level", "stop at KL", *beside, *bon, "gold there")
    columns += (f"{100 * found.prob:g}% interval", "P(past peak)", "mean regret", "worst quarter", "extrapolated")
    around, rows = iter(found.sensitivity["kl"]), []
    for row in table.to_dict("records"):
        kl = [next(around) for _ in range(1 if row["rule"] == "expected" else 3)]
        ends = (f"{show.number(kl[0])}, {show.number(kl[-1])}" if len(kl) > 1 else "",)
        rows.append((*(row[name] for name in named), *_row(row, ends if beside else (), bool(bon))))
    show.table(columns, rows, left=("run", "rule"))
    show.text("\n" + _words(found, observed, beside))


def _row(row: Mapping[Any, Any], ends: tuple[str, ...], bon: bool) -> tuple[str, ...]:
    return (
        show.size(row["rm_params"]),
        row["rule"],
        "" if math.isnan(row["level"]) else f"{row['level']:g}",
        show.number(row["kl"]),
        *ends,
        *((f"{row['n']}",) if bon else ()),
        show.number(row["gold_median"]),
        show.interval(row["gold_lo"], row["gold_hi"]),
        f"{row['p_past_peak']:.2f}",
        show.number(row["regret_mean"]),
        show.number(row["regret_cvar"]),
        show.outside(row),
    )


def _words(found: Budget, observed: bool, beside: tuple[str, ...]) -> str:
    what = "the fitted runs" if observed else f"predictions ({found.include})"
    limit = show.number(found.kl_max)
    text = f"Budgets of {what}. KL in nats; inf: no reason to stop up to KL {limit}, where the other figures then are. "
    if beside:
        text += f"'{beside[0]}': KL of the same rule at these levels. "
    text += "Regret: gold lost against stopping at the peak, on average and over the worst quarter of cases. "
    if "drawdown" in set(found.table["rule"]):
        text += f"drawdown: a fall of more than {_span(found.table['drop'])} gold counts. "
    return text + gold_words(found.table)


def _span(values: Any) -> str:
    lo, hi = values.min(), values.max()
    return show.number(lo) if lo == hi else show.interval(lo, hi)

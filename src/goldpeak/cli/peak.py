"""The command `goldpeak peak`: at which KL gold reward peaks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from goldpeak.cli import parse, show
from goldpeak.cli.posterior import AsJson, Posterior, Prob, finish, gold_words

if TYPE_CHECKING:
    import pandas as pd

    from goldpeak.peaks import Peak

__all__ = ["EXAMPLES", "peak"]

EXAMPLES = "\nExamples:\n  goldpeak peak post.nc\n  goldpeak peak post.nc --rm-params 1e9,3_000_000,1.2B --json"

JSON_FIELDS = (
    "rm_params",
    "median",
    "lo",
    "hi",
    "prob",
    "interval",
    "p_peak_in_range",
    "extrapolated",
    "gold_median",
    "gold_lo",
    "gold_hi",
)


def peak(
    post: Posterior,
    rm_params: Annotated[
        str | None,
        typer.Option(
            metavar="SIZES", help="Reward-model sizes to predict for: 1e9,3_000_000,1.2B.", show_default=False
        ),
    ] = None,
    include: Annotated[
        str | None,
        typer.Option(
            help="What a prediction at a size includes: typical (the trend), new_rm (and how RMs scatter about it), "
            "new_run (and how runs scatter about their RM).",
            show_default="new_run",
        ),
    ] = None,
    prob: Prob = 0.9,
    kl_max: Annotated[
        float | None,
        typer.Option(metavar="NATS", help="Largest KL at which a peak counts.", show_default="that of the fit"),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show at which KL gold reward peaks: of each observed run, or at any reward-model sizes.

    An upper end of 'inf' means that there may be no peak up to --kl-max.
    """
    from goldpeak import peaks, store

    asked = None if rm_params is None else parse.sizes(rm_params)
    if include is not None and asked is None:
        show.warning("--include says what a prediction holds; without --rm-params nothing is predicted")
    tree = store.load(post)
    found = peaks.peak(tree, asked, include=include or "new_run", kl_max=kl_max, prob=prob)  # type: ignore[arg-type]
    if as_json:
        show.text(_json(found.table))
    else:
        _print(found)
    finish(tree, post)


def _json(table: pd.DataFrame) -> str:
    """A list with an object for each run or size."""
    named = ("run",) if table.index.name == "run" else ()
    return show.json_text(table.reset_index()[[*named, *JSON_FIELDS]].to_dict("records"))


def _print(found: Peak) -> None:
    observed = found.table.index.name == "run"
    within = f"{100 * found.prob:g}% interval"
    columns = (*(("run",) if observed else ()), "rm_params", "KL at peak", within, "P(in range)")
    columns = (*columns, "gold at peak", within, "extrapolated")
    rows = [_row(row, observed) for row in show.records(found.table.reset_index(drop=not observed))]
    show.table(columns, rows, left=("run",))
    what = "fitted runs" if observed else f"predictions ({found.include})"
    show.text(
        f"\nMedian and equal-tailed interval of the {what}. KL in nats; a peak beyond KL {found.kl_max:.4g} counts as "
        f"inf. P(in range): probability of a peak within the observed KL. {gold_words(found.table)}"
    )


def _row(row: dict[str, Any], observed: bool) -> tuple[str, ...]:
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

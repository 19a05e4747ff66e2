"""The command `goldpeak compare`: cards side by side."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from goldpeak.cli import parse, show
from goldpeak.cli.log_options import Method, curves
from goldpeak.cli.posterior import AsJson, Include, KlMax, Prob, leave

if TYPE_CHECKING:
    from goldpeak.check.compare import Comparison

__all__ = ["EXAMPLES", "compare"]

EXAMPLES = """
Examples:
  goldpeak fit runs.csv --card auto --out post.nc && goldpeak compare post.nc --rm-params 1e9
  goldpeak compare similar.nc rl.nc --rm-params 1e9,3B --json
  goldpeak compare runs.csv --cards similar,rl,my.toml --rm-params 1e9"""


def compare(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE", help="Posteriors (.nc) of the same runs, one combined posterior, or run curves and --cards."
        ),
    ],
    cards: Annotated[
        str | None,
        typer.Option(
            metavar="NAMES", help="Cards to fit to run curves: similar,rl,my.toml.", show_default="the recommended ones"
        ),
    ] = None,
    rm_params: Annotated[
        str | None,
        typer.Option(
            metavar="SIZES",
            help="Reward-model sizes: 1e9,3_000_000,1.2B.",
            show_default="the largest that was fitted, and ten times that",
        ),
    ] = None,
    include: Include = "new_run",
    kl_max: KlMax = None,
    prob: Prob = 0.9,
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same answer.")] = 0,
    method: Method = None,
    loo: Annotated[bool, typer.Option(help="Leave out each run; the slowest part.")] = True,
    as_json: AsJson = False,
) -> None:
    """Compare cards: weights, evidence, leave-one-run-out, and where they disagree about the peak.

    Posteriors of single cards, or run curves, are weighed by how well each card predicts larger sizes from smaller
    ones; that takes three sizes, and fits each card several times.
    """
    from goldpeak.check.compare import compare as compared

    asked = None if rm_params is None else parse.sizes(rm_params)
    what, runs = _read(files, cards, method)
    options: dict[str, Any] = {"include": include, "kl_max": kl_max, "prob": prob, "seed": seed, "loo": loo}
    found = compared(what, runs, asked, **options)
    if as_json:
        show.text(_json(found))
    else:
        _text(found)
    passed = bool(found.table["gates"].all())
    if not passed:
        bad = ", ".join(found.table.index[~found.table["gates"]])
        show.warning(f"the gate of {bad} failed: do not trust its numbers, nor the combined ones")
    leave(passed)


def _read(files: list[Path], cards: str | None, method: str | None) -> tuple[Any, Any]:
    from goldpeak import store
    from goldpeak.errors import FitError
    from goldpeak.library import RECOMMENDED
    from goldpeak.runs import method_of

    stored = [path for path in files if path.suffix.lower() == ".nc"]
    if stored and (len(stored) < len(files) or cards or method):
        raise FitError("posteriors (.nc) go without run curves, --cards and --method: they hold their runs and cards")
    if len(stored) == 1:
        return store.load(stored[0]), None
    if stored:
        return [store.load(path) for path in stored], None
    runs = curves(files, method)
    used = method_of(runs, how=" with --method")
    names = RECOMMENDED[used] if cards is None else parse.names(cards)
    return names, runs


def _text(found: Comparison) -> None:
    number = show.number
    rows = [
        (
            str(card),
            f"{row['weight']:.3f}",
            _decimal(row["log_score"]),
            _with_error(row["log_marginal_likelihood"], row["log_marginal_likelihood_se"]),
            _with_error(row["elpd_loo"], row["elpd_loo_se"]),
            number(float(row["khat_max"])),
            str(int(row["khat_bad"])),
            "passed" if row["gates"] else "FAILED",
        )
        for card, row in found.table.iterrows()
    ]
    columns = ("card", "weight", "log score", "log evidence", "PSIS-LOO", "worst k", "runs with k >= 0.7", "gates")
    show.table(columns, rows, left=("card",))
    show.text(f"\nWeights: {found.how}.")
    show.text(
        "Log score: mean log density of a larger run predicted from smaller ones. Log evidence: log marginal "
        "likelihood (± Monte Carlo error). PSIS-LOO: sum over runs of the log density given the others "
        "(± standard error).\n"
    )
    peaks = [
        (
            show.size(row["rm_params"]),
            str(row["card"]),
            number(row["median"]),
            show.interval(row["lo"], row["hi"]),
            f"{row['p_peak_below_kl_max']:.2f}",
        )
        for _, row in found.peaks.iterrows()
    ]
    within = f"{100 * found.prob:g}% interval"
    show.table(("rm_params", "card", "KL at peak", within, "P(peak)"), peaks, left=("card",))
    show.text(f"\nKL in nats ({found.include}); P(peak): probability of a peak up to KL {found.kl_max:.4g}.")
    for size, row in found.disagreement.iterrows():
        show.text(
            f"At {show.size(size)} {row['first']} and {row['second']} lie furthest apart: medians "  # type: ignore[arg-type]
            f"{number(row['first_median'])} and {number(row['second_median'])} nats, distance {row['distance']:.2f} "
            "(0 the same, 1 nothing in common)."
        )
    for note in found.notes:
        show.text(f"Note: {note}")


def _decimal(value: float) -> str:
    return "–" if value != value else f"{value:.1f}"


def _with_error(value: float, error: float) -> str:
    return "–" if value != value else f"{value:.1f} ± {number_of(error)}"


def number_of(error: float) -> str:
    """An error in two digits."""
    return f"{error:.2g}" if abs(error) < 100 else f"{error:.0f}"


def _json(found: Comparison) -> str:
    """One object: infinite numbers are ``"inf"``, missing ones null."""
    return show.json_text(
        {
            "cards": show.records(found.table.reset_index()),
            "weights_from": found.how,
            "peaks": show.records(found.peaks),
            "disagreement": show.records(found.disagreement.reset_index()),
            "loo": {
                str(card): show.records(found.loo.sel(card=card, drop=True).to_dataframe().reset_index())
                for card in found.loo["card"].values
            },
            "prob": found.prob,
            "interval": "eti",
            "kl_max": found.kl_max,
            "include": found.include,
            "notes": list(found.notes),
        }
    )

"""The command `backtest`: how well cards predict runs that they have not seen."""

from __future__ import annotations

from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from goldpeak.cli import interrupt, parse, show
from goldpeak.cli.log_options import Method, curves
from goldpeak.cli.posterior import AsJson, leave
from goldpeak.wording import counted

if TYPE_CHECKING:
    from goldpeak.check.backtest import Backtest

__all__ = ["EXAMPLES", "backtest"]

EXAMPLES = """
Examples:
  goldpeak backtest runs.csv --cards similar,rl
  goldpeak backtest runs.csv --cards similar,my_card.toml --scheme leave_one_size_out --json"""

COLUMNS = {
    "predictions": "predictions",
    "coverage_50": "in 50 %",
    "coverage_90": "in 90 %",
    "width": "width",
    "crps": "CRPS",
    "regret": "regret",
    "log_predictive": "log density",
}


def backtest(
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE", help="CSV or Parquet; columns run, rm_params, gold, and kl (nats) or n."),
    ],
    cards: Annotated[
        str, typer.Option(metavar="CARDS", help="Names of shipped cards or paths of .toml files: similar,rl.")
    ],
    scheme: Annotated[
        str, typer.Option(help="small_to_large, leave_one_size_out or leave_one_run_out.")
    ] = "small_to_large",
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same answer.")] = 0,
    method: Method = None,
    engine: Annotated[
        str, typer.Option(help="auto, exact, laplace_is, nuts, or fast (the first two, without a fallback).")
    ] = "auto",
    draws: Annotated[int, typer.Option(min=1, help="Draws kept per chain.")] = 500,
    jobs: Annotated[int | None, typer.Option(min=1, help="Processes.", show_default="one for each processor")] = None,
    cache: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Keeps the refits.", show_default="in the user's cache folder")
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(metavar="PICTURE", help="Draw predicted against measured peaks (.png, .pdf, .svg).")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Fit cards to part of the runs, predict the rest, and score the predictions.

    Refits are kept on disk: after an interruption the same command goes on where it was.
    """
    import sys

    from goldpeak.check import backtest as checking

    if plot is not None:
        parse.output_file(plot, files, (".png", ".pdf", ".svg"))
    runs = curves(files, method)
    options: dict[str, Any] = {"seed": seed, "engine": engine, "draws": draws, "jobs": jobs}
    with redirect_stdout(sys.stderr):
        found = checking.backtest(
            runs,
            parse.names(cards),
            scheme,  # type: ignore[arg-type]
            cache=True if cache is None else cache,
            **options,
        )
    interrupt.check()
    if plot is not None:
        _draw(found, plot)
    if as_json:
        show.text(_json(found))
    else:
        _show(found)
    leave(not found.table["failed_gates"].any())


def _draw(found: Backtest, path: Path) -> None:
    from goldpeak.io.atomic import replacing
    from goldpeak.plots import backtest as draw

    kind = path.suffix.lower().lstrip(".")
    with replacing(path) as temporary:
        draw(found).savefig(temporary, format=kind, dpi=150)
    show.note(f"wrote {path}")


def _show(found: Backtest) -> None:
    table = found.table
    rows = [[str(card), *(show.number(float(row[name])) for name in COLUMNS)] for card, row in table.iterrows()]
    show.table(["card", *COLUMNS.values()], rows, left=["card"])
    show.note(
        f"{counted(len(found.folds), 'fold')}. in 90 %: share of measured peaks in the 90 % interval of a new run; "
        "width: mean log(hi / lo) of that interval; CRPS: of log KL; regret: share of the best gold lost by stopping "
        "at the predicted median; log density: of a held-out run's points together. Measured peaks are smoothing "
        "splines', with their error, within the KL that the run covers."
    )


def _json(found: Backtest) -> str:
    keep = ["kl_peak_median", "regret", "crps", "log_predictive", "decades"]
    scores = found.scores.sel(prob=0.9)
    predictions = []
    for card in scores["card"].values:
        for fold in scores["fold"].values:
            at = scores.sel(card=card, fold=fold).dropna("run", subset=["kl_peak_median"])
            for run in at["run"].values:
                one = at.sel(run=run)
                ends = {"kl_peak_lo": one["kl_peak_lo"], "kl_peak_hi": one["kl_peak_hi"], "prob": 0.9}
                named = {"card": str(card), "fold": str(fold), "run": str(run)}
                measured = {"kl_peak_measured": one["kl_peak"], "rm_params": one["rm_params"]}
                predictions.append(named | {name: one[name] for name in keep} | ends | measured)
    cards = found.table.to_dict("index")
    return show.json_text({"cards": cards, "refused": list(found.refused), "predictions": predictions})

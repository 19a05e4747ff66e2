"""The commands. Each reads its arguments, calls the library, and prints.

Help must come quickly: nothing here imports a heavy library (numpy included) before a command runs.
"""

from __future__ import annotations

from contextlib import redirect_stdout
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from goldpeak.cli import backtest, budget, compare, doctor, interrupt, logs, parse, plan, report, show, watch
from goldpeak.cli.log_options import LogOptions, Method, curves_or_logs, with_log_options
from goldpeak.cli.logs import CurvesOrLogs
from goldpeak.cli.posterior import AsJson, Posterior, Prob, finish
from goldpeak.cli.status import FINE, GATE_FAILED

__all__ = ["app"]

STATUSES = """\
Exit status: 0 fine, 1 fault in goldpeak, 2 bad input, 3 a gate failed (the result is printed and saved all the same, \
but do not trust it), 10 'watch' found that the run should stop, 130 interrupted.

Examples:
  goldpeak demo
  goldpeak check runs.csv
  goldpeak convert trainer_state.json --gold rewards/gold/mean --rm-params 3M --out runs.csv
  goldpeak fit runs.csv --card rl_paper --out post.nc
  goldpeak peak post.nc --rm-params 1e9,3B"""

FIT_EXAMPLES = """
Examples:
  goldpeak fit runs.csv --card rl_paper --out post.nc --seed 1
  goldpeak fit runs/*/ --gold eval/gold --rm-params-from 'rm-{rm_params}-*' --card similar --out post.nc"""

app = typer.Typer(
    help="At which KL divergence from the initial policy does gold reward peak, and how sure are we?",
    epilog=STATUSES,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        from goldpeak.stack import versions

        found = versions()
        show.text(f"goldpeak {found.pop('goldpeak')}\n" + ", ".join(f"{name} {v}" for name, v in found.items()))
        raise typer.Exit


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Show versions (also the stack's) and exit."),
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Results, warnings and errors only: no notes, summaries, progress.")
    ] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Tell on stderr what the library logs.")] = False,
) -> None:
    """Options before the command; `entry` acts on --debug and --verbose."""
    show.be_quiet(quiet)


app.command(epilog=logs.CHECK_EXAMPLES)(logs.check)
app.command(epilog=logs.CONVERT_EXAMPLES)(logs.convert)
app.command(epilog=budget.EXAMPLES)(budget.budget)
app.command(epilog=compare.EXAMPLES)(compare.compare)
app.command(epilog=watch.EXAMPLES)(watch.watch)
app.command(epilog=doctor.EXAMPLES)(doctor.doctor)
app.command(epilog=plan.ALLOCATE_EXAMPLES)(plan.allocate)
app.command("next", epilog=plan.NEXT_EXAMPLES)(plan.next_run)
app.command(epilog=backtest.EXAMPLES)(backtest.backtest)
app.command(epilog=report.EXAMPLES)(report.report)


@app.command(epilog=FIT_EXAMPLES)
@with_log_options
def fit(
    logs: LogOptions,
    card: Annotated[
        str,
        typer.Option(
            help="Name of a shipped card (see 'goldpeak models'), path of a .toml file, or auto: the recommended "
            "cards, combined by how well they predict larger sizes.",
            autocompletion=parse.cards,
        ),
    ],
    out: Annotated[Path, typer.Option(metavar="POST.nc", help="Where to write the posterior.")],
    files: CurvesOrLogs = None,
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same answer.")] = 0,
    method: Method = None,
    engine: Annotated[
        str | None,
        typer.Option(
            help="Which sampler: auto, exact, laplace_is or nuts.",
            show_default="the library's choice",
            autocompletion=parse.engines,
        ),
    ] = None,
    draws: Annotated[int | None, typer.Option(help="Draws kept per chain.", show_default="the engine's")] = None,
    chains: Annotated[int | None, typer.Option(help="Number of chains.", show_default="the engine's")] = None,
    kl_max: Annotated[
        float | None,
        typer.Option(
            metavar="NATS", help="Largest KL that will be asked about.", show_default="twice the largest observed"
        ),
    ] = None,
) -> None:
    """Fit a model card to run curves, or straight to training logs, and write the posterior.

    The summary goes to stderr. If a gate fails, the posterior is still written and the exit status is 3.
    """
    import sys

    from goldpeak import automatic, fitting, store
    from goldpeak.cli import summary
    from goldpeak.gates import gates_of
    from goldpeak.library import load_card
    from goldpeak.wording import counted

    parse.output_file(out, logs.inputs(files or []), (".nc",))
    asked = {"engine": engine, "draws": draws, "chains": chains, "kl_max": kl_max}
    options: dict[str, Any] = {name: value for name, value in asked.items() if value is not None}
    model: Any = card if card == automatic.AUTO else load_card(card)
    runs, readings = curves_or_logs(files or [], method, logs)
    summary.readings(readings, runs, stderr=True)
    fitted, named = (automatic.fit, "the recommended cards") if card == automatic.AUTO else (fitting.fit, model.name)
    show.note(f"fitting {named} to {counted(runs.sizes['run'], 'run')}, {runs.sizes['point']} points ...")
    # Samplers draw progress bars on stdout.
    with redirect_stdout(sys.stderr):
        post = fitted(runs, model, seed=seed, **options)
    interrupt.check()
    store.save(post, out)
    if "card_reason" in post.attrs:
        show.text(post.attrs["card_reason"])
    summary.posterior(post)
    summary.run_peaks(post, f"goldpeak peak {out}")
    show.note(f"wrote {out}")
    gates = gates_of(post)
    show.gates(gates, hint="Try more --draws, or look at the runs with 'goldpeak check'.")
    _exit_by(gates.passed)


@app.command(
    epilog="\nExamples:\n  goldpeak peak post.nc\n  goldpeak peak post.nc --rm-params 1e9,3_000_000,1.2B --json"
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
    from goldpeak.cli import summary

    asked = None if rm_params is None else parse.sizes(rm_params)
    if include is not None and asked is None:
        show.warning("--include says what a prediction holds; without --rm-params nothing is predicted")
    tree = store.load(post)
    found = peaks.peak(tree, asked, include=include or "new_run", kl_max=kl_max, prob=prob)  # type: ignore[arg-type]
    if as_json:
        show.text(show.peak_json(found.table))
    else:
        summary.peak(found)
    finish(tree, post)


@app.command(
    epilog="\nExamples:\n  goldpeak models\n  goldpeak models rl_paper --prior\n  goldpeak models my_card.toml"
)
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
    from goldpeak.cli import priors, summary
    from goldpeak.library import load_card
    from goldpeak.library import models as shipped

    if name is None:
        summary.cards(shipped())
    else:
        summary.card(load_card(name))
    if prior:
        priors.show_peaks(name)


@app.command(
    epilog="\nExamples:\n  goldpeak lab --out goldpeak-lab\n  goldpeak lab --out goldpeak-lab --config mine.toml"
)
def lab(
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for the tables; made if missing.")],
    config: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Settings (TOML).", show_default="those of the bundled data")
    ] = None,
) -> None:
    """Run the small real experiment that made the bundled data (minutes; needs the extra 'lab')."""
    from goldpeak import lab as experiment

    settings = experiment.LabConfig() if config is None else experiment.LabConfig.from_toml(config)
    experiment.run(settings, out, _say)
    show.note(f"wrote {out}")


@app.command(epilog="\nExample:\n  goldpeak demo --out goldpeak-demo")
def demo(
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for the results; made if missing.")] = Path(
        "goldpeak-demo"
    ),
) -> None:
    """Fit the bundled runs of small reward models, predict the larger ones, and compare with what was measured."""
    import sys

    from goldpeak import demo as demonstration
    from goldpeak.cli import summary

    parse.folder_to_write(out)
    with redirect_stdout(sys.stderr):
        result = demonstration.run(out, _say)
    summary.demo(result)
    if not result.gates.passed:
        show.gates(result.gates)
    _exit_by(result.gates.passed)


def _say(line: str) -> None:
    interrupt.check()
    show.note(line)


def _exit_by(passed: bool) -> NoReturn:
    raise typer.Exit(FINE if passed else GATE_FAILED)

"""The commands that plan: `goldpeak allocate` and `goldpeak next`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from goldpeak.cli import parse, show
from goldpeak.cli.posterior import AsJson, Include, KlMax, Posterior, Prob, finish
from goldpeak.errors import FitError

if TYPE_CHECKING:
    from goldpeak.stopping.measuring import Candidate, NextMeasurement
    from goldpeak.stopping.planning import Allocation

__all__ = ["ALLOCATE_EXAMPLES", "NEXT_EXAMPLES", "allocate", "next_run"]

ALLOCATE_EXAMPLES = """
Examples:
  goldpeak allocate post.nc --rm-params 1e8,3e8,1e9 --budget 1e21 --rm-tokens 1e8 --policy-params 7e9 \
--response-tokens 1000 --samples 1024 --kl-per-step 0.02
  goldpeak allocate bon.nc --rm-params 1e8,1e9 --budget 500 --price 1e-18 --rm-tokens 1e8 --policy-params 7e9 \
--response-tokens 1000 --samples 10000"""
NEXT_EXAMPLES = """
Examples:
  goldpeak next post.nc --target 3B --rm-params 1e8,1e9 --kl 20,60
  goldpeak next post.nc --target 3B --rm-params 1e9 --kl 60 --runs 1,2,4 --points 20 --gold-se 0.02 --json"""

Sizes = Annotated[str, typer.Option(metavar="SIZES", help="Sizes that come into question: 1e9,3_000_000,1.2B.")]


def allocate(
    post: Posterior,
    rm_params: Sizes,
    budget: Annotated[float, typer.Option(metavar="COST", help="FLOPs, or money with --price.")],
    rm_tokens: Annotated[float, typer.Option(metavar="NUMBER", help="Tokens a reward model is trained on.")],
    policy_params: Annotated[float, typer.Option(metavar="NUMBER", help="Parameters of the policy.")],
    response_tokens: Annotated[float, typer.Option(metavar="NUMBER", help="Tokens of a prompt with its response.")],
    samples: Annotated[
        float, typer.Option(metavar="NUMBER", help="RL: samples a training step. Best-of-n: prompts to answer.")
    ],
    kl_per_step: Annotated[
        float | None,
        typer.Option(metavar="NATS", help="RL: KL after a step is this times step^--kl-power.", show_default="bon"),
    ] = None,
    kl_power: Annotated[float, typer.Option(help="1: KL grows evenly; 2: quadratically.")] = 1.0,
    price: Annotated[float, typer.Option(help="Of a FLOP; 1: costs are in FLOPs.")] = 1.0,
    extra: Annotated[float, typer.Option(help="How much more money the next step has, as a share.")] = 0.1,
    level: Annotated[
        float, typer.Option(help="Gold is averaged over the worst share of cases; 1: over all of them.")
    ] = 1.0,
    include: Include = "new_run",
    kl_max: KlMax = None,
    prob: Prob = 0.9,
    as_json: AsJson = False,
) -> None:
    """Split a budget between a larger reward model and more optimisation against it.

    Training a reward model takes 6 FLOPs per parameter and token, a forward pass 2. Shows the best KL within the budget
    for each size, which size is best and how surely, and what more money should go into.
    """
    from goldpeak import store
    from goldpeak.stopping.cost import CostModel
    from goldpeak.stopping.planning import allocate as split

    sizes = parse.sizes(rm_params)
    cost = CostModel(rm_tokens, policy_params, response_tokens, samples, kl_per_step, kl_power, price)
    tree = store.load(post)
    found = split(tree, sizes, cost, budget, extra=extra, level=level, include=include, kl_max=kl_max, prob=prob)  # type: ignore[arg-type]
    if as_json:
        show.text(show.json_text(_allocation(found)))
    else:
        _print_allocation(found)
    finish(tree, post)


def next_run(
    post: Posterior,
    rm_params: Annotated[str, typer.Option(metavar="SIZES", help="Sizes that could be measured: 1e9,3_000_000,1.2B.")],
    kl: Annotated[str, typer.Option(metavar="NATS", help="Ends of the KL range that could be measured: 20,60.")],
    target: Annotated[
        str | None,
        typer.Option(metavar="SIZE", help="The size whose peak is in question.", show_default="10 x the largest"),
    ] = None,
    kl_min: Annotated[float, typer.Option(metavar="NATS", help="Start of the KL range.")] = 0.0,
    points: Annotated[int, typer.Option(help="Points of each run, evenly spaced in the square root of KL.")] = 12,
    runs: Annotated[str, typer.Option(metavar="COUNTS", help="Numbers of such runs: 1,2,4.")] = "1",
    gold_se: Annotated[
        float | None,
        typer.Option(metavar="GOLD", help="Standard error of gold at a point.", show_default="as in the fitted runs"),
    ] = None,
    kl_max: KlMax = None,
    as_json: AsJson = False,
) -> None:
    """Show which further run would tell most about the peak at a target size.

    Every size, KL range and number of runs is compared with every other by the variance that log KL at the peak can be
    expected to have once it is measured.
    """
    from goldpeak import store
    from goldpeak.stopping.measuring import Candidate, next_measurement

    ends, counts = _numbers("--kl", kl), _numbers("--runs", runs)
    if any(count != int(count) for count in counts):
        raise FitError(f"--runs holds {runs!r}; allowed: whole numbers >= 1, e.g. 1,2,4")
    candidates = [
        Candidate(size, (kl_min, end), points, gold_se, int(count))
        for size in parse.sizes(rm_params)
        for end in ends
        for count in counts
    ]
    asked = None if target is None else _one_size(target)
    tree = store.load(post)
    found = next_measurement(tree, candidates, asked, kl_max=kl_max)
    if as_json:
        show.text(show.json_text(_next(found)))
    else:
        _print_next(found, candidates)
    finish(tree, post)


def _allocation(found: Allocation) -> dict[str, Any]:
    return {
        "rm_params": found.rm_params,
        "kl": found.kl,
        "next_step": found.next_step,
        "p_right": found.p_right,
        "budget": found.budget,
        "extra": found.extra,
        "sizes": found.table.to_dict("records"),
        "steps": found.steps.to_dict("records"),
        "frontier": found.frontier.to_dict("records"),
    }


def _print_allocation(found: Allocation) -> None:
    bon = bool(found.table["n"].notna().any())
    columns = ("rm_params", "reward model", "run", "KL", *(("n",) if bon else ()), "limited by", "mean gold")
    columns += (f"{100 * found.prob:g}% interval", "P(best)", "P(past peak)", "extrapolated")
    show.table(columns, [_size_row(row, bon) for row in found.table.to_dict("records")], left=("limited by",))
    show.text(
        f"\nBest for {found.budget:.3g}: {show.size(found.rm_params)} parameters, KL {show.number(found.kl)}.\n"
        f"With {found.extra:.3g} more:"
    )
    names = {"stay": "stay", "more_optimisation": "more optimisation", "larger_rm": "larger reward model"}
    steps = [
        (
            names[row["step"]],
            show.size(row["rm_params"]),
            show.number(row["kl"]),
            f"{row['cost']:.3g}",
            f"{row['gain']:+.3g}",
            f"{row['p_right']:.2f}",
        )
        for row in found.steps.to_dict("records")
    ]
    show.table(("step", "rm_params", "KL", "cost", "gain", "P(right)"), steps, left=("step",))
    share = "" if found.level == 1 else f"; mean: over the worst {100 * found.level:g} % of cases"
    show.text(
        f"\nNext: {names[found.next_step]}, the right choice with probability {found.p_right:.2f}. Gold is relative to "
        f"the initial policy; gain: of mean gold{share}. Predictions include {found.include}."
    )


def _size_row(row: Mapping[Any, Any], bon: bool) -> tuple[str, ...]:
    """One size; of one that is too dear little is to be said."""
    there = row["limited_by"] != "price"
    figures = (
        show.number(row["worth"]),
        show.interval(row["gold_lo"], row["gold_hi"]),
        f"{row['p_best']:.2f}",
        f"{row['p_past_peak']:.2f}",
    )
    return (
        show.size(row["rm_params"]),
        f"{row['rm_cost']:.3g}",
        f"{row['run_cost']:.3g}" if there else "–",
        show.number(row["kl"]) if there else "–",
        *((f"{row['n']}" if there else "–",) if bon else ()),
        row["limited_by"],
        *(figures if there else ("–",) * len(figures)),
        show.outside(row),
    )


def _next(found: NextMeasurement) -> dict[str, Any]:
    return {
        "target": found.rm_params,
        "variance_now": found.variance_now,
        "p_censored": found.p_censored,
        "best": int(found.table["variance_expected"].to_numpy().argmin()),
        "candidates": found.table.to_dict("records"),
    }


def _print_next(found: NextMeasurement, candidates: list[Candidate]) -> None:
    best = candidates.index(found.best)
    rows = [
        (
            show.size(row["rm_params"]),
            show.interval(row["kl_lo"], row["kl_hi"]),
            str(row["runs"]),
            str(row["points"]),
            show.number(row["gold_se"]),
            f"{100 * row['reduction']:.1f} % ± {100 * row['reduction_se']:.1f}",
            f"{100 * row['narrower']:.1f} %",
            "best" if i == best else "",
        )
        for i, row in enumerate(found.table.to_dict("records"))
    ]
    columns = ("rm_params", "KL", "runs", "points", "gold_se", "variance falls by", "interval narrower by", "")
    show.table(columns, rows)
    show.text(
        f"\nOf log KL at the peak of a new run at {show.size(found.rm_params)} parameters, whose posterior sd is "
        f"{show.number(found.variance_now**0.5)} now. ±: Monte Carlo error."
    )
    if found.p_censored > 0:
        show.text(
            f"{_percent(found.p_censored)} of the draws have their peak outside KL "
            f"{show.interval(found.kl_min, found.kl_max)} and were taken to be at its end."
        )


def _percent(share: float) -> str:
    """A share that is not 0 is not said to be.

    Examples
    --------
    >>> _percent(0.0), _percent(0.002), _percent(0.25)
    ('0 %', 'less than 1 %', '25 %')
    """
    return "less than 1 %" if 0 < share < 0.01 else f"{100 * share:.0f} %"


def _numbers(option: str, text: str) -> list[float]:
    try:
        return [float(word) for word in text.split(",")]
    except ValueError:
        raise FitError(f"{option} holds {text!r}; allowed: numbers, separated by commas") from None


def _one_size(text: str) -> float:
    from goldpeak.io.sizes import size_of

    size = size_of(text.strip())
    if size is None:
        raise FitError(f"--target is {text!r}; allowed: a number > 0, e.g. 1e9, 70k, 1.2B")
    return size

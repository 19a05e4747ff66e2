"""The command `goldpeak report`: one HTML file for people who do not program."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from goldpeak.cli import interrupt, parse, show
from goldpeak.cli.posterior import Include, KlMax, Posterior, Prob, finish

__all__ = ["EXAMPLES", "report"]

EXAMPLES = """
Examples:
  goldpeak report post.nc --out report.html
  goldpeak report post.nc --rm-params 1e9,3B --title 'Release candidate 4' --out report.html"""


def report(
    post: Posterior,
    out: Annotated[Path, typer.Option(metavar="FILE", help="Where to write the page: .html.")],
    rm_params: Annotated[
        str | None,
        typer.Option(
            metavar="SIZES",
            help="Reward-model sizes that matter, the most important first: 1e9,3B.",
            show_default="the largest observed",
        ),
    ] = None,
    level: Annotated[float, typer.Option(help="Of the stopping rules; small is careful.")] = 0.25,
    include: Include = "new_run",
    kl_max: KlMax = None,
    prob: Prob = 0.9,
    title: Annotated[str | None, typer.Option(help="Of the page.", show_default="card and number of runs")] = None,
) -> None:
    """Write a report: one HTML file with verdict, stops, peaks, curves and how it was made; nothing is fetched."""
    from goldpeak import store
    from goldpeak.reporting import report as made
    from goldpeak.summits import searching_once

    parse.output_file(out, [post], (".html", ".htm"))
    asked = None if rm_params is None else parse.sizes(rm_params)
    tree = store.load(post)
    with searching_once():
        found = made(tree, asked, level=level, include=include, prob=prob, kl_max=kl_max, title=title)  # type: ignore[arg-type]
        interrupt.check()
        found.save(out)
    show.text(found.verdict)
    for caveat in found.caveats:
        show.text(f"  - {caveat}")
    show.note(f"wrote {out}")
    finish(tree, post)

"""A report as one HTML page: text from the user is escaped, pictures and scripts lie inside, nothing is fetched."""

from __future__ import annotations

import base64
import html
import io
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from importlib.resources import files
from string import Template
from typing import TYPE_CHECKING, Any

import numpy as np

from goldpeak import plots
from goldpeak.check.criticism import Criticism, criticise
from goldpeak.mixture import components, is_mixture, named_components, weights_of
from goldpeak.names import RUN
from goldpeak.plots.curve_data import CurveView, curve_view
from goldpeak.reporting.content import Report, gold_limits, payload
from goldpeak.reporting.svg import run_panel, stop_chart, stop_plane
from goldpeak.runs import is_bon
from goldpeak.stopping.rules import RULES
from goldpeak.wording import decades, interval, number, size

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

__all__ = ["page"]

MOST_PANELS = 12
RULE_WORDS = {
    "regret": "regret: least loss in the worst share of cases",
    "expected": "expected: most gold on average",
    "chance": "chance: P(past the peak) at most so much",
    "cvar": "cvar: most gold in the worst share of cases",
    "drawdown": "drawdown: P(fallen by 5 % past the peak) at most so much",
}


def page(found: Report) -> str:
    """The whole page."""
    template = Template(_file("page.html"))
    view = curve_view(found.post, prob=found.summary.prob, max_panels=MOST_PANELS)
    low, high = gold_limits(found)
    bon = is_bon(found.post)
    plane = stop_plane(float(found.d[-1]), low, high, bon=bon)
    drawn = {**asdict(plane), "dMax": plane.d_max}
    within = f"{100 * found.summary.prob:g} % equal-tailed interval"
    return template.substitute(
        title=html.escape(found.title),
        state="ok" if found.summary.gates.passed else "failed",
        css=_file("page.css"),
        js=_file("page.js"),
        verdict=html.escape(found.verdict),
        caveats=_caveats(found),
        over="Reward-model parameters" if found.sizes is not None else "Run",
        last=len(found.items) - 1,
        shown=found.shown,
        rules="".join(f'<option value="{rule}">{html.escape(RULE_WORDS[rule])}</option>' for rule in _rules()),
        levels=len(found.levels) - 1,
        level=found.levels.index(found.level),
        chart=stop_chart(plane),
        budget=_budget(found),
        peaks=_peaks(found, within),
        peakpictures=_peak_pictures(found),
        within=within,
        note=html.escape(f"Shown: {view.note}." if view.note else ""),
        panels="".join(run_panel(view, i, _panel_limits(view), bon=bon) for i in range(len(view.labels))),
        extrapolation=_extrapolation(found, within),
        gates=_gates(found),
        criticism=_criticism(found),
        provenance=_provenance(found),
        footer="KL in nats from the initial policy, per response. Gold at a size is relative to the initial policy; "
        "of a fitted run it is as in its file. Intervals are equal-tailed; an end at infinity: there may be no "
        f"peak up to KL {number(found.budget.kl_max)}. Made by goldpeak, in one file that fetches nothing.",
        data=payload(found),
        plane=json.dumps(drawn),
    )


def _file(name: str) -> str:
    return files("goldpeak.reporting").joinpath(name).read_text(encoding="utf-8")


def _rules() -> list[str]:
    return ["regret", *(rule for rule in RULES if rule != "regret")]


def _caveats(found: Report) -> str:
    if not found.caveats:
        return '<p class="soft">No caveat applies beyond what an interval says.</p>'
    failed = len(found.summary.gates.failures)
    lines = [
        f"<li{' class=loud' if i < failed else ''}>{html.escape(text)}</li>" for i, text in enumerate(found.caveats)
    ]
    return f'<ul class="caveats">{"".join(lines)}</ul>'


def _table(
    caption: str,
    columns: Sequence[str],
    rows: Iterable[Sequence[str]],
    marked: Sequence[int] = (),
    kind: str = "numbers",
) -> str:
    head = "".join(f'<th scope="col">{html.escape(column)}</th>' for column in columns)
    body = "".join(
        f"<tr{' class=mark' if i in marked else ''}>{''.join(f'<td>{html.escape(cell)}</td>' for cell in row)}</tr>"
        for i, row in enumerate(rows)
    )
    return (
        f'<div class="wide" tabindex="0"><table class="{kind}"><caption>{html.escape(caption)}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(key): value for key, value in row.items()} for row in table.to_dict("records")]


def _budget(found: Report) -> str:
    table, prob = _records(found.budget.table), f"{100 * found.budget.prob:g} % interval"
    of_runs, bon = RUN in found.budget.table, is_bon(found.post)
    rows = []
    for row in table:
        level = "" if not np.isfinite(row["level"]) else f" ({row['level']:g})"
        who = str(row[RUN]) if of_runs else size(row["rm_params"])
        rows.append(
            [
                who,
                row["rule"] + level,
                number(row["kl"]),
                *([str(row["n"])] if bon else []),
                number(row["gold_median"]),
                interval(row["gold_lo"], row["gold_hi"]),
                f"{row['p_past_peak']:.2f}",
                number(row["regret_mean"]),
            ]
        )
    stop_at = ["stop at KL", "n"] if bon else ["stop at KL"]
    columns = ["run" if of_runs else "parameters", "rule (level)", *stop_at, "gold there", prob, "P(past the peak)"]
    marked = [i for i, row in enumerate(table) if row["rule"] == "regret"]
    caption = (
        "How far to optimise by each rule. inf: no reason to stop was found; the other figures are then at the end."
    )
    return _table(caption, [*columns, "mean loss to the peak"], rows, marked)


def _peak_rows(table: list[dict[str, Any]], named: bool) -> list[list[str]]:
    return [
        [
            *([str(row[RUN])] if named else []),
            size(row["rm_params"]),
            number(row["median"]),
            interval(row["lo"], row["hi"]),
            f"{row['p_peak_in_range']:.2f}",
            number(row["gold_median"]),
            interval(row["gold_lo"], row["gold_hi"]),
        ]
        for row in table
    ]


def _peaks(found: Report, within: str) -> str:
    columns = ["parameters", "KL at peak", within, "P(peak in observed KL)", "gold at peak", within]
    parts = []
    if found.sizes is not None:
        rows = _peak_rows(_records(found.sizes), named=False)
        parts.append(_table(f"Predicted, {found.budget.include.replace('_', ' ')}", columns, rows))
    runs = _peak_rows(_records(found.summary.peak.table.reset_index()), named=True)
    listed = _table("Fitted runs", ["run", *columns], runs)
    parts.append(listed if len(runs) <= 12 else f"<details><summary>All {len(runs)} runs</summary>{listed}</details>")
    return "".join(parts)


def _peak_pictures(found: Report) -> str:
    sizes = None if found.sizes is None else found.sizes["rm_params"].tolist()
    options: dict[str, Any] = {"prob": found.summary.prob, "kl_max": found.budget.kl_max}
    include: dict[str, Any] = {} if sizes is None else {"include": found.budget.include}
    return _picture(
        plots.density(found.post, sizes, **options, **include),
        "Posterior density of the KL at the peak, with P(no peak)",
    )


def _extrapolation(found: Report, within: str) -> str:
    if found.sizes is None:
        return "<p>All runs are on reward models of one size, which says nothing of others. Add runs of another.</p>"
    observed = found.summary.peak.table["rm_params"]
    rows = [
        [
            item.label,
            decades(item.row["decades"]) if item.row["extrapolated"] else "no",
            number(item.row["median"]),
            interval(item.row["lo"], item.row["hi"]),
            f"{1.0 - item.row['p_peak_below_kl_max']:.2f}",
        ]
        for item in found.items
    ]
    words = (
        f"Fitted were reward models of {size(observed.min())} to {size(observed.max())} parameters. Beyond them the "
        "answer rests on the trend of the card: that a larger reward model continues what was seen. It is least sure "
        "where it is most wanted."
    )
    columns = ["parameters", "extrapolated", "KL at peak", within, f"P(no peak up to {number(found.budget.kl_max)})"]
    options: dict[str, Any] = {"include": found.budget.include, "kl_max": found.budget.kl_max}
    sizes = [item.row["rm_params"] for item in found.items]
    picture = plots.peak_vs_size(found.post, sizes, prob=found.summary.prob, **options)
    return (
        f"<p>{html.escape(words)}</p>{_picture(picture, 'KL at the peak against reward-model size')}"
        + _table("By size", columns, rows)
        + _trends(found, sizes)
    )


def _trends(found: Report, sizes: list[float]) -> str:
    """Nothing for a mixture: its cards have no coefficients in common."""
    if is_mixture(found.post):
        return ""
    picture = plots.trends(found.post, rm_params=sizes, prob=found.summary.prob)
    return _picture(picture, "Coefficients against reward-model size")


def _gates(found: Report) -> str:
    gates = found.summary.gates
    said = "The sampler passed its checks" if gates.passed else "The sampler FAILED its checks"
    reason = f"Engine {found.summary.engine}: {found.summary.engine_reason}."
    rows = [[name, number(value)] for name, value in gates.measured.items()]
    words = (
        "These checks are of the computation. Whether the model is right for these runs is another question: hold its "
        "predictions against runs that it has not seen, and look at the curves above."
    )
    loud = "" if gates.passed else ' class="loud"'
    return f"<p{loud}>{said}.</p><p>{html.escape(reason)} {words}</p>" + _table(
        "What was measured", ["check", "found"], rows
    )


def _provenance(found: Report) -> str:
    attrs, parts = found.post.attrs, components(found.post)
    weighed = [f", weight {weight:.2f}" if len(parts) > 1 else "" for weight, _ in parts]
    rows = [
        [f"card {each.attrs['card_name']}{words}", f"hash {each.attrs['card_hash']}, engine {each.attrs['engine']}"]
        for (_, each), words in zip(parts, weighed, strict=True)
    ]
    rows += [["run curves", f"digest {attrs['data_digest']}"], ["seed", str(attrs["seed"])]]
    rows += [["versions", found.summary.provenance["versions"]]]
    sizes = "" if found.sizes is None else " --rm-params " + ",".join(f"{n:.10g}" for n in found.sizes["rm_params"])
    given = "" if _by_auto(found) else " and each card below in a file of its name"
    commands = f"{_fitting(found)}\ngoldpeak report post.nc{sizes} --out report.html"
    return (
        _table("Provenance", ["what", "which"], rows, kind="words")
        + f"<p>With the run curves of that digest in RUNS{given}:</p>"
        + f"<pre>{html.escape(commands)}</pre>"
        + "".join(_card(each) for _, each in parts)
    )


def _by_auto(found: Report) -> bool:
    return is_mixture(found.post) and "card_reason" in found.post.attrs


def _fitting(found: Report) -> str:
    """The commands that make this posterior again."""
    parts = named_components(found.post)
    if _by_auto(found):
        return f"goldpeak fit RUNS --card auto {_settings(next(iter(parts.values())))} --out post.nc"
    lines = {
        name: f"--card {name}.toml --engine {each.attrs['engine']} {_settings(each)}" for name, each in parts.items()
    }
    if not is_mixture(found.post):
        return "\n".join(f"goldpeak fit RUNS {line} --out post.nc" for line in lines.values())
    posts = ", ".join(f"goldpeak.load('{name}.nc')" for name in parts)
    combined = f"goldpeak.combine([{posts}], weights={weights_of(found.post)}, seed={found.post.attrs['seed']})"
    return "\n".join(
        [
            *(f"goldpeak fit RUNS {line} --out {name}.nc" for name, line in lines.items()),
            f"python -c \"import goldpeak; goldpeak.save({combined}, 'post.nc')\"",
        ]
    )


def _settings(post: xr.DataTree) -> str:
    sizes, attrs = post["posterior"].sizes, post.attrs
    return (
        f"--seed {attrs['seed']} --draws {sizes['draw']} --chains {sizes['chain']} --kl-max {float(attrs['kl_max'])!r}"
    )


def _card(each: xr.DataTree) -> str:
    name, text = str(each.attrs["card_name"]), str(each.attrs["card"])
    return f"<details><summary>The model card {html.escape(name)}</summary><pre>{html.escape(text)}</pre></details>"


def _criticism(found: Report) -> str:
    """What speaks against the fit; of a mixture, against it as a whole and against each of its cards."""
    criticism = criticise(found.post)
    columns = ["run", "against the other runs", "pattern along KL", "size of residuals", "off the trend"]
    kinds = ("p_loo", "p_trend", "p_noise", "p_off_trend")
    rows = [[str(run), *(f"{row[kind]:.3f}" for kind in kinds)] for run, row in criticism.table.iterrows()]
    table = _table("Probability, under the fitted model, of something as odd as this; small is odd", columns, rows)
    each = "".join(
        f"<p>The card {html.escape(name)} (weight {criticism.weights[name]:.2f}) by itself:</p>{_findings(one)}"
        for name, one in criticism.by_card.items()
    )
    return f"{_findings(criticism)}{each}<details><summary>Run by run</summary>{table}</details>"


def _findings(criticism: Criticism) -> str:
    listed = "".join(f"<li>{html.escape(finding.what)}.</li>" for finding in criticism.findings)
    recommended = f"<p>{html.escape(criticism.recommendation)}</p>"
    return recommended + (f'<ul class="caveats">{listed}</ul>' if listed else "")


def _panel_limits(view: CurveView) -> tuple[float, float]:
    gold = np.concatenate([view.points["gold"].to_numpy(), view.bands["median"].values.ravel(), [0.0]])
    low, high = float(gold.min()), float(gold.max())
    room = 0.06 * ((high - low) or 1.0)
    return low - room, high + room


def _picture(figure: Any, words: str) -> str:
    """A matplotlib figure as an image of its own, in which nothing can run and no id clashes with the page's."""
    import matplotlib

    buffer = io.BytesIO()
    # Fixed salt and no date: the same posterior gives the same bytes.
    with matplotlib.rc_context({"svg.hashsalt": "goldpeak", "svg.fonttype": "none"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None}, bbox_inches="tight")
    content = base64.b64encode(buffer.getvalue()).decode("ascii")
    picture = f'<img alt="{html.escape(words)}" src="data:image/svg+xml;base64,{content}">'
    return f'<div class="wide" tabindex="0">{picture}</div>'

"""What a report says: the verdict and its caveats, and the numbers behind them; nothing is laid out here."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from goldpeak.curves import Include, card_of, new_curves, observed_curves
from goldpeak.mixture import named_components, weights_of
from goldpeak.names import RUN
from goldpeak.peaks import quantiles
from goldpeak.plots.curve_data import choose_runs, gold_bands, thinned
from goldpeak.plots.peak_data import default_sizes
from goldpeak.runs import is_bon
from goldpeak.stopping.budget import Budget, budget
from goldpeak.stopping.rules import RULES, CurveDraws, draws_of, stops
from goldpeak.summaries import Summary, summary
from goldpeak.summits import searching_once
from goldpeak.wording import counted, decades, interval, number, size

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["LEVELS", "Report", "report"]

Array = NDArray[np.float64]
LEVELS = (0.05, 0.1, 0.25, 0.5)
"""Of the rules, to choose among in the page, beside the one that was asked for."""
EVERY = 2
"""Every which of the sizes that pictures have, up to ten times the largest observed, can be chosen in the page."""
MOST_RUNS = 40
BAND_POINTS = 64
UNSURE = 0.1
"""A probability of no peak in the observed range above this is worth a caveat."""
FEW_RUNS = 4
MOSTLY = 0.25
"""A component of a mixture with more weight than this is worth a caveat of its own."""


@dataclass(frozen=True)
class Item:
    """A size, or a run, that the page can show.

    Attributes
    ----------
    label : str
        For people.
    row : dict
        Its row of the peak's table.
    band : ndarray, shape (3, point)
        Lower end, median and upper end of the gold curve at `Report.d`.
    stops : dict of str to list of (float, float, float)
        By rule, for each of `Report.levels`: the KL to stop at (nats, may be inf), median gold there, P(past the peak).
    """

    label: str
    row: dict[str, Any]
    band: Array
    stops: dict[str, list[tuple[float, float, float]]]


@dataclass(frozen=True)
class Report:
    """What is to be said of a posterior; `html` gives the page, `save` writes it.

    Attributes
    ----------
    title : str
    verdict : str
        One sentence with its interval.
    caveats : tuple of str
        What speaks against it, most serious first; the first says so where a gate failed.
    summary : Summary
        The posterior in a few lines; ``summary.peak`` has the fitted runs.
    sizes : pandas.DataFrame or None
        ``peak(...).table`` of the asked sizes; None where one size was observed and none can be asked for.
    budget : Budget
        All rules, at the asked sizes or, of one size, for the fitted runs.
    items : tuple of Item
        What the page's slider goes over.
    shown : int
        The item that is shown first.
    d : ndarray
        Square root of KL of the items' bands.
    level : float
        Of the rules in `budget` and in the verdict.
    levels : tuple of float
        Among which the page's slider chooses; `level` is one of them.
    post : xarray.DataTree

    Examples
    --------
    >>> import goldpeak
    >>> post = goldpeak.fit(goldpeak.datasets.lab("rl"), "rl_paper", draws=250)
    >>> found = goldpeak.report(post, rm_params=[1e6])
    >>> found.verdict.partition(" peaks")[0]
    'For a new run against a reward model of 1M parameters, gold reward'
    >>> found.caveats[0]
    '1M parameters lie 1.2 decades beyond the largest reward model that was fitted (70.4k).'
    """

    title: str
    verdict: str
    caveats: tuple[str, ...]
    summary: Summary
    sizes: pd.DataFrame | None
    budget: Budget
    items: tuple[Item, ...]
    shown: int
    d: Array
    level: float
    levels: tuple[float, ...]
    post: xr.DataTree

    @searching_once()
    def html(self) -> str:
        """The page as text, with everything in it."""
        from goldpeak.reporting.page import page

        return page(self)

    def save(self, path: str | Path) -> None:
        """Write the page, whole or not at all.

        Raises
        ------
        StoreError
            If the file cannot be written.
        """
        from goldpeak.io.atomic import replacing

        path, text = Path(path), self.html()
        with replacing(path) as temporary:
            temporary.write_text(text, encoding="utf-8")


@searching_once()
def report(
    post: xr.DataTree,
    rm_params: Sequence[float] | ArrayLike | None = None,
    *,
    level: float = 0.25,
    include: Include = "new_run",
    prob: float = 0.9,
    kl_max: float | None = None,
    title: str | None = None,
) -> Report:
    """Say what follows from a posterior, for people who do not program.

    Parameters
    ----------
    post : xarray.DataTree
        As returned by `fit`.
    rm_params : array_like, optional
        Reward-model sizes that matter, the most important first; the largest observed one by default.
    level : float
        Of the stopping rules, see `budget`; the verdict's rule is ``regret``.
    include : {"typical", "new_rm", "new_run"}
        What a prediction at a size includes, see `peak`.
    prob : float
        Probability of the equal-tailed intervals.
    kl_max : float, optional
        Largest KL (nats) in question; the posterior's own by default.
    title : str, optional

    Returns
    -------
    Report

    Raises
    ------
    FitError
        If an argument is out of range, or sizes are asked of a posterior that saw a single one.

    Examples
    --------
    >>> import goldpeak
    >>> post = goldpeak.fit(goldpeak.datasets.lab("rl"), "rl_paper", draws=250)
    >>> page = goldpeak.report(post).html()
    >>> page.startswith("<!doctype html>"), len(page) < 3e6
    (True, True)
    """
    whole = summary(post, prob=prob)
    observed = np.unique(whole.peak.table["rm_params"])
    grid, shown = None, 0
    if rm_params is not None or len(observed) > 1:
        asked = np.atleast_1d(np.asarray(observed[-1:] if rm_params is None else rm_params, dtype=float))
        grid = np.unique([*default_sizes(observed)[::EVERY], observed[-1], *asked])
        shown = int(np.searchsorted(grid, asked[0]))
    found = budget(post, grid, "all", level, include, kl_max, prob=prob)
    levels = tuple(sorted({*LEVELS, level}))
    d, items = _items(post, grid, include, found.kl_max, prob, levels)
    rows = None
    if grid is not None:
        import pandas as pd

        rows = pd.DataFrame([items[i].row for i in np.searchsorted(grid, asked)])
        found = _only(found, asked)
    return Report(
        title=title or f"When to stop: {whole.card}, {counted(whole.peak.table.shape[0], 'run')}",
        verdict=_verdict(items[shown], found, level, prob),
        caveats=tuple(_caveats(post, whole, items[shown], found.kl_max)),
        summary=whole,
        sizes=rows,
        budget=found,
        items=items,
        shown=shown,
        d=d,
        level=level,
        levels=levels,
        post=post,
    )


def _only(found: Budget, asked: Array) -> Budget:
    """The rows of the asked sizes, in their order."""
    import dataclasses

    order = {float(value): i for i, value in enumerate(asked)}

    def chosen(table: pd.DataFrame) -> pd.DataFrame:
        kept = table[table["rm_params"].isin(order)]
        return kept.sort_values("rm_params", key=lambda s: s.map(order), kind="stable", ignore_index=True)

    return dataclasses.replace(found, table=chosen(found.table), sensitivity=chosen(found.sensitivity))


def _items(
    post: xr.DataTree, grid: Array | None, include: Include, kl_max: float, prob: float, levels: tuple[float, ...]
) -> tuple[Array, tuple[Item, ...]]:
    """Every size of the grid, or without one the fitted runs: peak, band and stops from the same draws."""
    from goldpeak.peaks import peak

    table = peak(post, grid, include=include, kl_max=kl_max, prob=prob).table
    few = thinned(post)
    curves = observed_curves(post) if grid is None else new_curves(post, grid, include=include)
    chosen = choose_runs(table["rm_params"], MOST_RUNS) if grid is None else np.arange(len(table))
    d = np.linspace(0.0, np.sqrt(kl_max), BAND_POINTS)
    thin = observed_curves(few) if grid is None else new_curves(few, grid, include=include)
    bands = gold_bands(thin, d, prob, chosen)
    items: list[Item] = []
    kept = set(chosen.tolist())
    for i, draws in enumerate(draws_of(curves, kl_max)):
        if i not in kept:
            continue
        row = {str(key): value for key, value in table.iloc[i].items()}
        label = size(row["rm_params"])
        if grid is None:
            row[RUN] = str(table.index[i])
            label = f"{row[RUN]} ({label})"
        at = bands.isel({curves.dim: len(items)})
        band = np.stack([at[name].values for name in ("lo", "median", "hi")])
        items.append(Item(label, row, band, _stops(draws, levels)))
    return d, tuple(items)


def _stops(draws: CurveDraws, levels: tuple[float, ...]) -> dict[str, list[tuple[float, float, float]]]:
    found: dict[str, list[tuple[float, float, float]]] = {}
    for rule in RULES:
        kls = np.array(stops(draws, rule, levels))
        gold = quantiles(draws.gold_at(np.minimum(kls, draws.kl_max)), 0.9)[1]
        past = [float(np.mean(draws.kl_peak < min(kl, draws.kl_max))) for kl in kls]
        found[rule] = [(float(kl), float(g), p) for kl, g, p in zip(kls, gold, past, strict=True)]
    return found


def _verdict(item: Item, found: Budget, level: float, prob: float) -> str:
    row = item.row
    stop = _regret_row(found, row)
    who = f"run {row[RUN]}" if RUN in row else f"{_subject(found.include)} of {item.label} parameters"
    within = f"{100 * prob:g} % equal-tailed interval"
    if np.isinf(row["median"]):
        peaks = f"more likely than not does not peak up to KL {number(found.kl_max)} nats ({within} of the peak "
        peaks += f"{interval(row['lo'], row['hi'])})"
    else:
        peaks = f"peaks at KL {number(row['median'])} nats (median; {within} {interval(row['lo'], row['hi'])})"
    gold = f"{number(stop['gold_median'])} ({interval(stop['gold_lo'], stop['gold_hi'])})"
    if np.isinf(stop["kl"]):
        end = f"there is no reason to stop before KL {number(found.kl_max)} by the rule regret at level {level:g}"
        return f"For {who}, gold reward {peaks}; {end}."
    return (
        f"For {who}, gold reward {peaks}; stop at KL {number(stop['kl'])} (rule regret at level {level:g}), where gold "
        f"is {gold}."
    )


def _regret_row(found: Budget, row: dict[str, Any]) -> dict[str, Any]:
    table = found.table[found.table["rule"] == "regret"]
    mine = table[RUN] == row[RUN] if RUN in row else table["rm_params"] == row["rm_params"]
    return {str(key): value for key, value in table[mine].iloc[0].items()}


def _subject(include: str) -> str:
    return {
        "typical": "a typical run against a reward model",
        "new_rm": "a typical run against a new reward model",
        "new_run": "a new run against a reward model",
    }[include]


def _caveats(post: xr.DataTree, whole: Summary, item: Item, kl_max: float) -> list[str]:
    """What speaks against the verdict, most serious first."""
    table, row = whole.peak.table, item.row
    rigid = {name: w for name, w in weights_of(post).items() if w > 0 and _is_rigid(post, name)}
    data = post["constant_data"].to_dataset()
    sizes = np.unique(table["rm_params"])
    found = [f"A check of the sampler failed, do not trust these numbers: {text}." for text in whole.gates.failures]
    if row["extrapolated"]:
        beyond = row["rm_params"] > sizes[-1]
        where, which = ("beyond the largest", sizes[-1]) if beyond else ("below the smallest", sizes[0])
        found.append(
            f"{item.label} parameters lie {decades(row['decades'])} {where} reward model that was fitted "
            f"({size(which)})."
        )
    if len(sizes) == 1:
        found.append("All runs are on reward models of one size: nothing is said about other sizes.")
    # Peaks beyond kl_max do not count: below the observed KL it says nothing of what was observed.
    if kl_max >= row["kl_observed"] and (np.isinf(row["hi"]) or 1.0 - row["p_peak_in_range"] > UNSURE):
        found.append(
            f"The probability of a peak within the KL that was observed ({number(row['kl_observed'])} nats) is "
            f"{row['p_peak_in_range']:.2f}: beyond it the answer hangs on the form of the curve and its prior."
        )
    if len(table) < FEW_RUNS:
        found.append(f"There are {len(table)} runs only." if len(table) > 1 else "There is one run only.")
    found += [
        f"The card {name} takes its form to be exactly right: where it is not, intervals are too narrow."
        for name, weight in rigid.items()
        if weight > MOSTLY
    ]
    if is_bon(post) and "gold_cov" not in data:
        found.append(
            "The points of a best-of-n run share their samples, and these runs do not say how they vary together "
            "(gold_cov): intervals of fitted runs are too narrow."
        )
    return found


def _is_rigid(post: xr.DataTree, name: str) -> bool:
    return card_of(named_components(post)[name]).discrepancy.kind == "none"


def payload(found: Report) -> str:
    """What the page's script needs, as JSON that is safe inside HTML; infinite numbers are null."""
    items = [
        {
            "label": item.label,
            "extrapolated": bool(item.row["extrapolated"]),
            "peak": [_finite(item.row[name]) for name in ("lo", "median", "hi")],
            "p": round(float(item.row["p_peak_in_range"]), 3),
            "band": [[_short(value) for value in line] for line in item.band],
            "stops": {rule: [[_finite(v) for v in stop] for stop in rows] for rule, rows in item.stops.items()},
        }
        for item in found.items
    ]
    content = {
        "d": [_short(value) for value in found.d],
        "klMax": found.budget.kl_max,
        "levels": found.levels,
        "items": items,
        "prob": found.summary.prob,
    }
    text = json.dumps(content, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _finite(value: Any) -> float | None:
    return _short(value) if np.isfinite(value) else None


def _short(value: Any) -> float:
    return float(f"{float(value):.5g}")


def gold_limits(found: Report) -> tuple[float, float]:
    """Limits of gold for all items: the peaks whole, bands and what falls far below 0 as far as they stay near."""
    top = max(max(float(item.band[1].max()) for item in found.items), 1e-9)
    high = max(float(item.band[2].max()) for item in found.items)
    low = min(float(item.band[0].min()) for item in found.items)
    return max(low, -0.6 * top), min(high, 1.6 * top) + 0.05 * top

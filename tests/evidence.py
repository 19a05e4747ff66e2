"""How well peaks of larger reward models are predicted from smaller ones, on the lab's worlds.

``python tests/evidence.py`` prints the tables; ``--write`` puts them into notebooks/how_we_know.md between their
markers, and the short one into README.md (``--short`` does only that, without a fit); a list such as ``lab,a``
restricts it to these worlds. A slow test computes some of it again and holds the page against the result.

Each row fits the runs of the smaller half of the RM sizes and predicts the peak of every run of the larger half; its
figures are means over runs and worlds. Truth is the peak of a smoothing spline through ``gold_exact``, with its error:
nine in ten lie within 5 % in KL, and for best-of-n there is besides that of 160 pools, a quarter of the covariance of
the 40 that were fitted; a table says what other errors would make of the defaults' coverage. The error is added to the
draws (`goldpeak.check.backtest`), and a truth at the run's last point is only known to be there or beyond.
``coverage`` is the share of runs whose true peak lies in the 90 % interval, ``width`` the mean of log(hi / lo) of the
peak itself with an infinite end counted as ``kl_max``, ``regret`` the mean share of a run's best gold that is lost by
stopping at the predicted median.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, partial

import numpy as np
import pandas as pd
import xarray as xr
from pages import README, put, table_of
from scipy.stats import t as student
from worlds import BUNDLED, WORLDS, available, world

import goldpeak
from goldpeak.check.folds import half_by_size
from goldpeak.check.model_free import MeasuredPeak, spline_peaks
from goldpeak.check.refits import Refit, Task, refits
from goldpeak.forms import FORMS, peak_of
from goldpeak.library import RECOMMENDED
from goldpeak.names import RUN, RUN_INDEX
from goldpeak.peaks import quantiles

__all__ = [
    "BUNDLED",
    "CARDS",
    "DEFAULT",
    "WORLDS",
    "available",
    "default_by_world",
    "short",
    "table",
]

PROB = 0.9
CARDS = {"rl": ("rl", "similar"), "bon": ("bon", "boxcox", "similar_bon")}
"""The alpha-beta hierarchies with straight lines, and last the default."""
DEFAULT = {method: cards[0] for method, cards in RECOMMENDED.items()}
MEASURED = 0.05 / 1.645
"""How well a measured peak is known at best: sd in log KL, of 5 % in nine of ten."""
ERRORS = (0.0, 0.01, 0.02, MEASURED, 0.05)
"""Others, to see what hangs on it."""
COLUMNS = {"coverage": 2, "width": 2, "regret": 3, "fitted coverage": 2, "fitted width": 2}

Array = np.ndarray


@dataclass(frozen=True)
class Predicted:
    """Draws of kl_peak: of a new run at each size (draw, size), and of the fitted runs (draw, run) where there are."""

    new: Array
    own: Array | None = None
    plug_in: bool = False


@cache
def halves(name: str, method: str) -> tuple[xr.Dataset, xr.Dataset]:
    """The runs of the smaller and of the larger half of a world's sizes."""
    runs = world(name, method)
    return half_by_size(runs).split(runs)


@cache
def spline_truths(name: str, method: str, half: int) -> list[MeasuredPeak]:
    """The true peaks of one half, in the order of its runs, with the error of the pools only."""
    runs = halves(name, method)[half]
    known = runs.assign(gold=runs["gold_exact"])
    if method == "bon":
        known["gold_cov"] = runs["gold_cov"] / 4.0
    else:
        known["gold_se"] = xr.full_like(runs["gold"], 0.01)
    peaks = spline_peaks(known)
    found = [peaks[str(run)] for run in runs[RUN].values]
    return [p if method == "bon" else replace(p, bootstrap=np.full(200, p.kl_peak)) for p in found]


def truths(name: str, method: str, half: int, measured: float = MEASURED) -> list[MeasuredPeak]:
    """The same with an error of a measured peak besides, its sd in log KL."""
    noise = np.exp(measured * np.random.default_rng(0).standard_normal(200))
    return [replace(p, bootstrap=p.bootstrap * noise) for p in spline_truths(name, method, half)]


def _points(small: xr.Dataset) -> list[tuple[Array, Array]]:
    """D and gold of each run."""
    return [
        (np.sqrt(small["kl"].values[mine]), small["gold"].values[mine])
        for mine in (small[RUN_INDEX].values == r for r in range(small.sizes[RUN]))
    ]


def papers_recipe(form: str) -> Callable[[xr.Dataset, Array], Predicted]:
    """Least squares per run, straight lines of the coefficients in log N (alpha of RL constant), plugged in."""

    def predict(small: xr.Dataset, sizes: Array) -> Predicted:
        theta = [np.linalg.lstsq(FORMS[form].basis(d), gold, rcond=None)[0] for d, gold in _points(small)]
        alpha, beta = np.transpose(theta)
        x = np.log(small["rm_params"].values)
        line = [
            np.polyval(np.polyfit(x, c, 0 if form == "rl" and c is alpha else 1), np.log(sizes)) for c in (alpha, beta)
        ]
        return Predicted(peak_of(FORMS[form], *line)[None] ** 2, plug_in=True)

    return predict


def fixed_budget(small: xr.Dataset, sizes: Array) -> Predicted:
    """Stop at the geometric mean of the fitted runs' peaks, whatever the size."""
    peaks = [peak.kl_peak for peak in spline_peaks(small, replicates=2).values()]
    return Predicted(np.full((1, len(sizes)), np.exp(np.mean(np.log(peaks)))), plug_in=True)


def spline_and_line(small: xr.Dataset, sizes: Array) -> Predicted:
    """Peak of a smoothing spline per run, a straight line of its log in log N, Student-t prediction interval."""
    peaks = spline_peaks(small, replicates=2)
    return _line(small, np.log([peaks[str(run)].kl_peak for run in small[RUN].values]), sizes)


def two_stage(small: xr.Dataset, sizes: Array) -> Predicted:
    """Least squares per run up to 1.6 d*, one gamma for all, a straight line of log d* in log N, t intervals."""
    points = _points(small)
    start = np.sqrt([peak.kl_peak for peak in spline_peaks(small, replicates=2).values()])

    def fit(gamma: float) -> tuple[float, Array]:
        misfit, top = 0.0, []
        for (d, gold), d_star in zip(points, start, strict=True):
            near = d <= max(1.6 * d_star, np.sort(d)[min(4, len(d) - 1)])
            phi = FORMS["boxcox"].basis(d[near], np.full(near.sum(), gamma))
            theta = np.linalg.lstsq(phi, gold[near], rcond=None)[0]
            misfit += float(np.mean((gold[near] - phi @ theta) ** 2)) / float(np.mean(gold[near] ** 2))
            top.append(float(peak_of(FORMS["boxcox"], *theta, gamma)))
        return misfit, np.array(top)

    _, top = min((fit(gamma) for gamma in np.linspace(0.05, 2.0, 40)), key=lambda found: found[0])
    limit = np.sqrt(2.0 * float(small["kl"].max()))
    return _line(small, 2.0 * np.log(np.clip(top, 0.05, limit)), sizes)


def _line(small: xr.Dataset, y: Array, sizes: Array) -> Predicted:
    x, at = np.log(small["rm_params"].values), np.log(sizes)
    slope, middle = np.polyfit(x, y, 1)
    residual = np.sqrt(np.sum((y - middle - slope * x) ** 2) / (len(x) - 2))
    spread = residual * np.sqrt(1 + 1 / len(x) + (at - x.mean()) ** 2 / np.sum((x - x.mean()) ** 2))
    quantile = student.ppf((np.arange(1000) + 0.5) / 1000, len(x) - 2)
    return Predicted(np.exp(middle + slope * at + quantile[:, None] * spread))


def fitted(
    method: str, name: str, cards: tuple[str, ...], task: Task | None = None, jobs: int | None = None
) -> list[Refit]:
    """Cards fitted to the smaller half of a world; fits are kept on disk, so that they are made once."""
    runs, small = world(name, method), halves(name, method)[0]
    limit = max(2.0 * float(small["kl"].max()), float(runs["kl"].max()))
    asked = {"seed": 1, "engine": "fast", "draws": 250, "kl_max": limit, "jobs": jobs}
    return refits(runs, cards, [half_by_size(runs)], task, **asked)


def by_cards(method: str, names: tuple[str, ...], cards: tuple[str, ...], jobs: int | None) -> dict[str, Predicted]:
    """Predictions of fitted cards, by ``"card world"``."""

    def predict(post: xr.DataTree, fold: object, sizes: Array) -> Predicted:
        held = np.unique(sizes)
        new = goldpeak.peak(post, held, prob=PROB).draws["kl_peak"].values
        own = goldpeak.peak(post, prob=PROB).draws["kl_peak"].values
        return Predicted(new.reshape(-1, len(held)), own.reshape(-1, own.shape[-1]))

    found = {}
    for name in names:
        sizes = halves(name, method)[1]["rm_params"].values
        for each in fitted(method, name, cards, partial(predict, sizes=sizes), jobs):
            found[f"{each.card} {name}"] = each.value
            print(".", end="", file=sys.stderr, flush=True)
    return found


def score(predicted: Array, truth: list[MeasuredPeak], kl_max: float, plug_in: bool = False) -> dict[str, float]:
    """Coverage, log-width and relative regret of draws (draw, run) of the peaks of runs."""
    rows = []
    for kl, peak in zip(predicted.T, truth, strict=True):
        lo, median, hi = quantiles(kl, PROB)
        seen_lo, _, seen_hi = quantiles(peak.log_estimates(kl), PROB)
        at = np.log(peak.kl_peak)
        width = np.log(min(hi, kl_max) / min(max(lo, 0.01), kl_max))
        inside = float(seen_lo - 1e-9 <= at <= seen_hi + 1e-9)
        rows.append((np.nan, np.nan, peak.regret(median)) if plug_in else (inside, width, peak.regret(median)))
    return dict(zip(("coverage", "width", "regret"), np.mean(rows, axis=0).tolist(), strict=True))


def rows(method: str, names: tuple[str, ...], jobs: int | None = None) -> dict[str, dict[str, Predicted]]:
    """Predictions by label of the row and by world."""
    simple = {
        "paper's recipe: least squares, lines, plug-in": papers_recipe(method),
        "fixed KL: geometric mean of the fitted runs' peaks": fixed_budget,
        "no model: spline peak, line, t interval": spline_and_line,
        "two stages: one shape per run, line, t interval": two_stage,
    }
    made = {}
    for label, predict in simple.items():
        made[label] = {
            name: predict(halves(name, method)[0], np.unique(halves(name, method)[1]["rm_params"].values))
            for name in names
        }
    fitted = by_cards(method, names, CARDS[method], jobs)
    for card in CARDS[method]:
        label = f"**`{card}`** (default)" if card == DEFAULT[method] else f"`{card}`"
        made[label] = {name: fitted[f"{card} {name}"] for name in names}
    return made


def score_world(predicted: Predicted, name: str, method: str, measured: float = MEASURED) -> dict[str, float]:
    """Scores on the unseen larger sizes, coverage and width of the fitted runs."""
    small, large = halves(name, method)
    kl_max = 2.0 * float(small["kl"].max())
    which = np.searchsorted(np.unique(large["rm_params"].values), large["rm_params"].values)
    new = score(predicted.new[:, which], truths(name, method, 1, measured), kl_max, predicted.plug_in)
    own = {"coverage": np.nan, "width": np.nan}
    if predicted.own is not None:
        own = score(predicted.own, truths(name, method, 0, measured), kl_max)
    return new | {"fitted coverage": own["coverage"], "fitted width": own["width"]}


def table(method: str, names: tuple[str, ...], jobs: int | None = None) -> pd.DataFrame:
    """A row for each predictor and world: scores on the unseen larger sizes, coverage and width of the fitted runs."""
    found = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = rows(method, names, jobs)
    for label, by_world in made.items():
        for name, predicted in by_world.items():
            found.append({"model": label, "world": name} | score_world(predicted, name, method))
    return pd.DataFrame(found)


def by_error(names: tuple[str, ...], jobs: int | None = None) -> str:
    """Coverage by the default cards, were peaks measured better or worse, as Markdown; fits are those of `table`."""
    made = {method: by_cards(method, names, (card,), jobs) for method, card in DEFAULT.items()}
    lines = ["| sd of a measured peak | RL: new | RL: fitted | best-of-n: new | best-of-n: fitted |", "|---" * 5 + "|"]
    for error in ERRORS:
        cells = []
        for method, card in DEFAULT.items():
            scores = [score_world(made[method][f"{card} {name}"], name, method, error) for name in names]
            cells += [f"{np.mean([each[what] for each in scores]):.2f}" for what in ("coverage", "fitted coverage")]
        said = "none but the pools'" if error == 0.0 else f"{100 * error:.0f} %"
        lines.append("| " + " | ".join([said, *cells]) + " |")
    return "\n".join(lines)


def means(scores: pd.DataFrame) -> pd.DataFrame:
    """Means over worlds, in the order of the rows."""
    return scores.groupby("model", sort=False)[list(COLUMNS)].mean().reset_index()


def as_markdown(scores: pd.DataFrame) -> str:
    """The means as Markdown; what has no interval shows a dash."""
    lines = ["| model | " + " | ".join(COLUMNS) + " |", "|---" * (len(COLUMNS) + 1) + "|"]
    for _, row in scores.iterrows():
        cells = [f"{row[c]:.{k}f}" if np.isfinite(row[c]) else "–" for c, k in COLUMNS.items()]
        lines.append(f"| {row['model']} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def default_by_world(scores: pd.DataFrame) -> str:
    """The default card in each world, as Markdown."""
    mine = scores[scores["model"].str.contains(r"\(default\)")]
    return as_markdown(mine.assign(model="world " + mine["world"]))


def short() -> str:
    """README's table: the default beside what needs no hierarchy."""
    columns = [(method, name) for method in CARDS for name in ("coverage", "width", "regret")]
    default = f"goldpeak's default: {', '.join(f'`{card}`' for card in DEFAULT.values())}"
    found: dict[str, list[str]] = {}
    for method, name in columns:
        for label, cell in _cells(method, name).items():
            if label.startswith("`"):
                # The other hierarchy: it is on the page.
                continue
            row = default if "(default)" in label else label
            found.setdefault(row, []).append(cell)
    named = {"rl": "RL", "bon": "best-of-n"}
    head = ["predictor", *(f"{named[method]}: {name}" for method, name in columns)]
    lines = [head, ["---"] * len(head), *([label, *cells] for label, cells in found.items())]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _cells(kind: str, column: str) -> dict[str, str]:
    """One column of a table of the page, by row."""
    lines = table_of(f"evidence {kind}").splitlines()
    head, _, *rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in lines)
    return {row[0]: row[head.index(column)] for row in rows}


def main() -> None:
    """Print the tables, and write them where asked."""
    if "--short" in sys.argv:
        put("evidence short", short(), README)
        return
    asked = [word for word in sys.argv[1:] if not word.startswith("-")]
    names = tuple(asked[0].split(",")) if asked else available()
    for method in CARDS:
        scores = table(method, names)
        print(file=sys.stderr)
        parts = {
            method: as_markdown(means(scores)),
            f"{method} by world": default_by_world(scores),
        }
        for kind, made in parts.items():
            print(f"\n{kind}\n{made}", flush=True)
            if "--write" in sys.argv:
                put(f"evidence {kind}", made)
    found = by_error(names)
    print(f"\nby error\n{found}")
    if "--write" in sys.argv:
        put("evidence by error", found)
        put("evidence short", short(), README)


if __name__ == "__main__":
    main()

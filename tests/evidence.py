"""How well peaks of larger reward models are predicted from smaller ones, on the bundled lab data.

``python tests/evidence.py`` prints the tables; ``--write`` puts them into README.md between their markers. A slow test
computes them again and holds README against the result.

Each row fits the runs of the smaller half of the RM sizes and predicts the peak of every run of the larger half. Truth
is the peak of ``gold_exact``, read off a run's checkpoints. ``coverage`` is the share of runs whose true peak lies
in the 90 % interval, ``width`` the mean of log(hi / lo) with an infinite end counted as ``kl_max``, ``regret`` the mean
share of a run's best gold that is lost by stopping at the predicted median.
"""

from __future__ import annotations

import dataclasses
import re
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr
from scipy.interpolate import PchipInterpolator, make_smoothing_spline
from scipy.stats import t as student

import goldpeak
from goldpeak.card import Card, Coefficient, Constant, LogLinear, LogQuadratic, RandomWalk
from goldpeak.forms import FORMS, peak_of
from goldpeak.priors import HalfNormal, Normal

README = Path(__file__).resolve().parents[1] / "README.md"
PROB = 0.9
TRENDS = ("log_linear", "constant", "log_quadratic", "random_walk")
CARDS = {"rl": ("rl_paper", "rl", "boxcox", "similar"), "bon": ("bon_paper", "bon", "boxcox", "similar")}
DEFAULT = {"rl": "similar", "bon": "boxcox"}

Predict = Callable[[xr.Dataset, np.ndarray], pd.DataFrame]


def with_trend(card: Card, name: str) -> Card:
    """The card with another trend in its coefficients; the intercept's and slope's priors stay."""

    def change(c: Coefficient) -> Coefficient:
        middle, slope = c.trend.intercept, getattr(c.trend, "slope", Normal(0.0, 0.1))
        trend = {
            "constant": Constant(middle),
            "log_linear": LogLinear(middle, slope),
            "log_quadratic": LogQuadratic(middle, slope, Normal(0.0, slope.sigma / 4)),
            "random_walk": RandomWalk(middle, slope, HalfNormal(0.03)),
        }[name]
        return dataclasses.replace(c, trend=trend)

    return dataclasses.replace(card, **{name: change(c) for name, c in card.coefficients.items()})


def by_card(card: Card) -> Predict:
    """Predict with a fitted card: median and interval for a new run of each size, and of the fitted runs."""

    def predict(small: xr.Dataset, sizes: np.ndarray) -> pd.DataFrame:
        engine = "laplace_is" if card.coordinates == "peak" else "exact"
        post = goldpeak.fit(small, card, engine=engine, seed=1)
        new = goldpeak.peak(post, sizes, prob=PROB).table
        own = goldpeak.peak(post, prob=PROB).table.reset_index()
        return pd.concat([new, own])[["run", "rm_params", "median", "lo", "hi"]]

    return predict


def papers_recipe(form: str) -> Predict:
    """Least squares per run, straight lines of the coefficients in log N (alpha of RL constant), plugged in."""

    def predict(small: xr.Dataset, sizes: np.ndarray) -> pd.DataFrame:
        theta = []
        for r in range(small.sizes["run"]):
            mine = small["run_index"].values == r
            phi = FORMS[form].basis(np.sqrt(small["kl"].values[mine]))
            theta.append(np.linalg.lstsq(phi, small["gold"].values[mine], rcond=None)[0])
        alpha, beta = np.transpose(theta)
        x = np.log(small["rm_params"].values)
        line = [
            np.polyval(np.polyfit(x, c, 0 if form == "rl" and c is alpha else 1), np.log(sizes)) for c in (alpha, beta)
        ]
        median = peak_of(FORMS[form], *line) ** 2
        return pd.DataFrame({"rm_params": sizes, "median": median, "lo": np.nan, "hi": np.nan})

    return predict


def spline_and_line(small: xr.Dataset, sizes: np.ndarray) -> pd.DataFrame:
    """Peak of a smoothing spline per run, a straight line of its log in log N, Student-t prediction interval."""
    x, y = [], []
    for r in range(small.sizes["run"]):
        mine = small["run_index"].values == r
        d = np.append(0.0, np.sqrt(small["kl"].values[mine]))
        gold = np.append(0.0, small["gold"].values[mine])
        se = np.append(small["gold_se"].values[mine].min() / 10, small["gold_se"].values[mine])
        grid = np.linspace(0.0, d.max(), 2001)
        top = grid[np.argmax(make_smoothing_spline(d, gold, w=1 / se)(grid))]
        x.append(np.log(small["rm_params"].values[r]))
        y.append(2 * np.log(max(top, grid[1])))
    x, y = np.array(x), np.array(y)
    slope, middle = np.polyfit(x, y, 1)
    residual = np.sqrt(np.sum((y - middle - slope * x) ** 2) / (len(x) - 2))
    at = np.log(sizes)
    spread = residual * np.sqrt(1 + 1 / len(x) + (at - x.mean()) ** 2 / np.sum((x - x.mean()) ** 2))
    reach = student.ppf((1 + PROB) / 2, len(x) - 2) * spread
    middle = middle + slope * at
    return pd.DataFrame(
        {"rm_params": sizes, "median": np.exp(middle), "lo": np.exp(middle - reach), "hi": np.exp(middle + reach)}
    )


def rows(method: str) -> Iterator[tuple[str, Predict]]:
    """Names and predictors of a method's table."""
    paper, *others = CARDS[method]
    yield "paper's recipe: least squares, lines, plug-in", papers_recipe(method)
    yield "no model: spline peak, line, t interval", spline_and_line
    yield f"`{paper}`", by_card(goldpeak.load_card(paper))
    for name in others:
        card = goldpeak.load_card(name)
        own, *_ = (c.trend.kind for c in reversed(card.coefficients.values()))
        # Of the trends that are wrong in one way or another one card's are enough to look at in peak coordinates.
        for trend in TRENDS if card.coordinates == "coefficients" else ("log_linear", "random_walk"):
            label = f"`{name}`" if trend == own else f"`{name}`, {trend}"
            bold = f"**{label}** (default)" if label == f"`{DEFAULT[method]}`" else label
            yield bold, by_card(with_trend(card, trend))


def regret(runs: xr.Dataset, run: int, kl: float) -> float:
    """Share of a run's best exact gold that is lost by stopping at `kl` (at the last point if beyond it)."""
    mine = runs["run_index"].values == run
    d = np.append(0.0, np.sqrt(runs["kl"].values[mine]))
    curve = PchipInterpolator(d, np.append(0.0, runs["gold_exact"].values[mine]))
    best = float(curve(np.linspace(0.0, d.max(), 4001)).max())
    return (best - float(curve(min(np.sqrt(kl), d.max())))) / best


def score(runs: xr.Dataset, predicted: pd.DataFrame, kl_max: float) -> dict[str, float]:
    """Coverage, log-width and relative regret of one row's predictions of `runs`, in the order of the runs."""
    truth = goldpeak.datasets.measured_peaks(runs)["kl_peak"].to_numpy()
    lo, hi, median = (predicted[c].to_numpy() for c in ("lo", "hi", "median"))
    width = np.log(np.minimum(hi, kl_max) / np.maximum(lo, 0.01))
    found = {"coverage": np.mean((lo <= truth) & (truth <= hi)), "width": np.mean(width)}
    lost = float(np.mean([regret(runs, r, kl) for r, kl in enumerate(median)]))
    return {k: float(v) if np.isfinite(lo).all() else np.nan for k, v in found.items()} | {"regret": lost}


def table(method: str) -> pd.DataFrame:
    """One row per predictor: scores on the unseen larger sizes, and coverage and width on the fitted runs."""
    small, large = goldpeak.split_by_size(goldpeak.datasets.lab(method))
    sizes, kl_max = np.unique(large["rm_params"].values), 2 * float(small["kl"].max())
    found = []
    for name, predict in rows(method):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            made = predict(small, sizes)
        new = made[made.get("run", pd.Series(np.nan, made.index)).isna()].set_index("rm_params")
        unseen = score(large, new.loc[large["rm_params"].values], kl_max)
        row = {"model": name, **unseen, "fitted coverage": np.nan, "fitted width": np.nan}
        if "run" in made:
            own = score(small, made.dropna(subset="run").set_index("run").loc[small["run"].values], kl_max)
            row |= {"fitted coverage": own["coverage"], "fitted width": own["width"]}
        found.append(row)
        print(".", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return pd.DataFrame(found)


def as_markdown(scores: pd.DataFrame) -> str:
    """The table as Markdown; what has no interval shows a dash."""
    digits = {"coverage": 2, "width": 2, "regret": 3, "fitted coverage": 2, "fitted width": 2}
    lines = ["| model | " + " | ".join(digits) + " |", "|---" * (len(digits) + 1) + "|"]
    for _, row in scores.iterrows():
        cells = [f"{row[c]:.{k}f}" if np.isfinite(row[c]) else "–" for c, k in digits.items()]
        lines.append(f"| {row['model']} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def marked(method: str) -> re.Pattern[str]:
    """Where README.md holds a method's table."""
    return re.compile(rf"(<!-- evidence {method}: .*? -->\n)(.*?)\n?(<!-- end -->)", re.DOTALL)


def main() -> None:
    """Print the tables, and write them where asked."""
    text = README.read_text()
    for method in CARDS:
        made = as_markdown(table(method))
        print(f"\n{method}\n{made}")
        text = marked(method).sub(lambda m, made=made: f"{m[1]}{made}\n{m[3]}", text)
    if "--write" in sys.argv:
        README.write_text(text)


if __name__ == "__main__":
    main()

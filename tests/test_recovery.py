"""Parameters that made the data are found again: coverage of 90 % intervals over simulated data sets."""

from __future__ import annotations

from unittest import mock

import noise_coverage
import noisy
import numpy as np
import pandas as pd
import pymc as pm
import pytest

import goldpeak
from goldpeak.card import Card
from goldpeak.design import make_design
from goldpeak.forms import FORMS, peak_of
from goldpeak.library import load_card
from goldpeak.peaks import quantiles
from goldpeak.runs import read_runs

SETS = 40


def drawn_from(card: Card, rng: np.random.Generator) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """Hyperparameters near the middle of the card's prior, and coefficients of each run drawn given them."""
    x = np.log(noisy.SIZES) - np.mean(np.log(np.unique(noisy.SIZES)))
    hyper, theta = {}, {}
    for name, middle, slope, sd in (("alpha", 0.7, 0.0, 0.05), ("beta", 0.3, -0.02, 0.03)):
        if card.form.kind == "bon" and name == "beta":
            middle, slope, sd = 0.15, -0.01, 0.01
        terms = len(getattr(card, name).trend.__dict__)
        hyper |= {f"{name}_intercept": middle, f"{name}_sd_run": sd}
        if terms > 1:
            hyper[f"{name}_slope"] = slope
        theta[name] = middle + (slope if terms > 1 else 0.0) * x + sd * rng.standard_normal(len(x))
    hyper["sigma"] = 0.05
    return hyper, theta


def simulated(card: Card, rng: np.random.Generator) -> tuple[dict[str, float], np.ndarray, object]:
    hyper, theta = drawn_from(card, rng)
    form = FORMS[card.form.kind]
    kl = np.geomspace(0.2, 40.0 if card.form.kind == "rl" else 20.0, 15)
    tables = []
    for r, size in enumerate(noisy.SIZES):
        gold = form.basis(np.sqrt(kl)) @ [theta["alpha"][r], theta["beta"][r]] + 0.05 * rng.standard_normal(len(kl))
        tables.append(pd.DataFrame({"run": f"r{r:02d}", "rm_params": size, "kl": kl, "gold": gold}))
    truth = peak_of(form, theta["alpha"], theta["beta"]) ** 2
    return hyper, truth, read_runs(pd.concat(tables), gold_scale=1.0)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["rl_paper", "bon_paper"])
def test_intervals_cover_what_made_the_data(name: str) -> None:
    card = load_card(name)
    inside: dict[str, list[bool]] = {}
    for seed in range(SETS):
        rng = np.random.default_rng([seed, 5])
        hyper, truth, runs = simulated(card, rng)
        assert make_design(runs, card).scale == 1.0
        post = goldpeak.fit(runs, card, engine="exact", seed=seed, draws=500)
        posterior = post["posterior"].to_dataset().stack(sample=("chain", "draw"))
        for key, value in hyper.items():
            coefficient, _, term = key.partition("_")
            if term in ("intercept", "slope"):
                draws = posterior[f"{coefficient}_coef"].sel({f"{coefficient}_term": term}).values
            else:
                draws = posterior[key].values
            lo, _, hi = quantiles(draws, 0.9)
            inside.setdefault(key, []).append(bool(lo <= value <= hi))
        table = goldpeak.peak(post, kl_max=1e6).table
        inside.setdefault("kl_peak", []).extend((table["lo"] <= truth) & (truth <= table["hi"]))
    share = {key: float(np.mean(values)) for key, values in inside.items()}
    assert all(0.75 <= value <= 1.0 for value in share.values()), share
    # Ten runs a data set: known to about .02, so this one is held closer to its nominal value.
    assert 0.84 <= share["kl_peak"] <= 0.96, share


@pytest.mark.slow
@pytest.mark.parametrize("kind", [kind for kind in noisy.NOISES if kind != "student_t"])
def test_intervals_of_the_peak_cover_it_whatever_the_noise(kind: str) -> None:
    """Nominally .9; of 40 data sets with ten runs each the share has a standard error of about .016: three of them."""
    share = float(np.mean(noise_coverage.scores(kind, kind, 40)[:, 0]))
    assert 0.85 <= share <= 0.95, share


@pytest.mark.slow
def test_intervals_of_the_peak_cover_it_beside_outliers() -> None:
    """As above, with 30 data sets: a standard error of about .019."""
    with mock.patch.object(pm, "sample", noise_coverage.CompiledOnce()):
        share = float(np.mean(noise_coverage.scores("student_t", "student_t", 30)[:, 0]))
    assert 0.84 <= share <= 0.96, share


@pytest.mark.slow
def test_outliers_widen_intervals_less_where_noise_allows_for_them() -> None:
    with mock.patch.object(pm, "sample", noise_coverage.CompiledOnce()):
        robust, plain = (noise_coverage.scores("student_t", kind, 3)[:, 1].mean() for kind in ("student_t", "iid"))
    assert robust < 0.8 * plain

"""One line per run: what was read, and which curves count as turned."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from run_tables import good

from goldpeak.runs import read_runs
from goldpeak.turning import summarise

pytestmark = [
    pytest.mark.filterwarnings("error::goldpeak.errors.RunsWarning"),
    # Of the two runs of `good` one has no start, and gold drawn at random may start anywhere: test_validate has this.
    pytest.mark.filterwarnings(r"ignore:[\s\S]* row at kl 0:goldpeak.errors.RunsWarning"),
]


def test_summary():
    table = summarise(read_runs(good()))
    assert table.drop(columns="turned").to_dict("records") == [
        {"run": "b", "method": "rl", "rm_params": 1e6, "points": 3, "kl_min": 1, "kl_max": 9, "gold_max": 0.75},
        {"run": "a", "method": "rl", "rm_params": 3e6, "points": 4, "kl_min": 1, "kl_max": 16, "gold_max": 1.0},
    ]
    assert table["turned"].tolist() == [False, False]


@pytest.mark.parametrize("points", [8, 30, 300])
@pytest.mark.parametrize("with_se", [True, False])
@pytest.mark.parametrize(
    ("curve", "turned"),
    [(lambda d: d * (1 - 0.16 * d), True), (lambda d: d, False), (lambda d: d * (1 - 0.05 * d), False)],
)
def test_turned(points, with_se, curve, turned):
    rng = np.random.default_rng(points)
    kl = np.linspace(0.2, 30, points)
    table = pd.DataFrame({"run": "a", "rm_params": 1e6, "kl": kl})
    table["gold"] = curve(np.sqrt(kl)) + 0.05 * rng.normal(size=points)
    if with_se:
        table["gold_se"] = 0.05
    assert summarise(read_runs(table))["turned"].tolist() == [turned]


def test_a_turn_within_the_noise_is_no_turn():
    kl = np.linspace(0.2, 30, 30)
    table = pd.DataFrame({"run": "a", "rm_params": 1e6, "kl": kl, "gold": np.sqrt(kl) * (1 - 0.16 * np.sqrt(kl))})
    assert summarise(read_runs(table.assign(gold_se=0.1)))["turned"].item()
    assert not summarise(read_runs(table.assign(gold_se=1.0)))["turned"].item()

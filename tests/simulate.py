"""Simulated run curves for tests: known coefficients, known noise."""

from __future__ import annotations

import numpy as np
import pandas as pd
import xarray as xr

from goldpeak.forms import FORMS
from goldpeak.runs import read_runs


def table(
    rng: np.random.Generator,
    *,
    form: str = "rl",
    sizes: tuple[float, ...] = (1e6, 1e7, 1e8),
    runs_per_size: int = 2,
    points: int = 12,
    kl_max: float = 40.0,
    alpha: float = 0.6,
    beta: float = 0.3,
    beta_slope: float = -0.02,
    sd: float = 0.02,
    noise: float = 0.03,
    gamma: float = 0.0,
    share_rm: bool = False,
) -> pd.DataFrame:
    """A table of runs whose coefficients follow the paper's trends."""
    rows = []
    x = np.log(np.asarray(sizes)) - np.mean(np.log(sizes))
    for size, centred in zip(sizes, x, strict=True):
        for k in range(runs_per_size):
            theta = np.array([alpha, beta + beta_slope * centred]) + sd * rng.standard_normal(2)
            kl = np.geomspace(0.2, kl_max, points)
            gold = FORMS[form].basis(np.sqrt(kl), gamma) @ theta + noise * rng.standard_normal(points)
            name = f"{form}-{size:g}-{k}"
            rm = f"{size:g}" if share_rm else name
            rows.append(
                pd.DataFrame(
                    {
                        "run": name,
                        "rm": rm,
                        "rm_params": size,
                        "kl": kl,
                        "gold": gold,
                        "gold_se": noise * rng.uniform(0.5, 1.0, points),
                    }
                )
            )
    return pd.concat(rows, ignore_index=True)


def runs(rng: np.random.Generator, **settings: object) -> xr.Dataset:
    """The same, validated."""
    return read_runs(table(rng, **settings))  # type: ignore[arg-type]

"""Simulated runs of the paper's RL form, exact but for noise of a known kind: what each kind makes of the peak."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import xarray as xr

from goldpeak.card import Card, Noise
from goldpeak.forms import FORMS, peak_of
from goldpeak.library import load_card
from goldpeak.names import PEER, POINT, RUN_INDEX
from goldpeak.priors import HalfNormal, LogNormal
from goldpeak.runs import read_runs

SIZES = np.repeat(np.geomspace(1e6, 1e9, 5), 2)
KL = np.geomspace(0.2, 40.0, 20)
SD = HalfNormal(0.1)
NOISES = {
    "iid": Noise("iid", SD),
    "known": Noise("known", SD),
    "cov": Noise("cov", SD),
    "ou": Noise("ou", SD, lengthscale=LogNormal(0.0, 1.0), time="d"),
    "student_t": Noise("student_t", SD, nu=LogNormal(1.4, 0.6)),
    "offset": Noise("known", SD, offset_sd=HalfNormal(0.1)),
    "kl_se": Noise("known", SD),
}
"""The kinds, and two things that come with any of them: an offset, and errors of KL."""


def card_of(kind: str) -> Card:
    """The paper's card with that noise."""
    return dataclasses.replace(load_card("rl_paper"), name=kind, noise=NOISES[kind])


def with_covariance(runs: xr.Dataset, blocks: list[np.ndarray]) -> xr.Dataset:
    """Runs with a covariance of each run's points, which are in ascending KL."""
    count = runs.sizes[POINT]
    found = np.zeros((count, max(map(len, blocks))))
    for r, block in enumerate(blocks):
        found[np.flatnonzero(runs[RUN_INDEX].values == r), : len(block)] = block
    return runs.assign(gold_cov=((POINT, PEER), found))


def shared_samples(n: int, scale: float = 0.08) -> np.ndarray:
    """A covariance such as best-of-n has: neighbours share most of their samples, and the error grows with n."""
    i = np.arange(n)
    grows = scale * (0.4 + 0.6 * i / n)
    return np.outer(grows, grows) * np.exp(-np.abs(i[:, None] - i) / 6.0)


def errors(kind: str, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray | None]:
    """Noise of one run, and the standard error that its evaluation reports, if any."""
    n, d = len(KL), np.sqrt(KL)
    white = rng.standard_normal(n)
    if kind == "student_t":
        return 0.03 * rng.standard_t(2.0, n), None
    if kind == "iid":
        return 0.06 * white, None
    if kind == "cov":
        covariance = shared_samples(n)
        return rng.multivariate_normal(np.zeros(n), covariance) + 0.01 * white, np.sqrt(np.diag(covariance))
    if kind == "ou":
        process = 0.06**2 * np.exp(-np.abs(d[:, None] - d))
        return rng.multivariate_normal(np.zeros(n), process) + 0.02 * white, np.full(n, 0.02)
    se = 0.02 * 6.0 ** rng.random(n)
    offset = 0.1 * rng.standard_normal() if kind == "offset" else 0.0
    return offset + se * white, se


def data_set(kind: str, rng: np.random.Generator) -> tuple[xr.Dataset, np.ndarray]:
    """Ten runs, and the KL of each one's true peak."""
    x = np.log(SIZES) - np.mean(np.log(np.unique(SIZES)))
    alpha = 0.7 + 0.05 * rng.standard_normal(len(x))
    beta = 0.3 - 0.02 * x + 0.02 * rng.standard_normal(len(x))
    tables = []
    for r, size in enumerate(SIZES):
        noise, se = errors(kind, rng)
        gold = FORMS["rl"].basis(np.sqrt(KL)) @ [alpha[r], beta[r]] + noise
        table = pd.DataFrame({"run": f"r{r:02d}", "rm_params": size, "kl": KL, "gold": gold})
        if kind == "kl_se":
            kl_se = 0.15 * KL
            table = table.assign(kl=np.maximum(KL + kl_se * rng.standard_normal(len(KL)), 0.01), kl_se=kl_se)
        tables.append(table if se is None else table.assign(gold_se=se))
    runs = read_runs(pd.concat(tables), gold_scale=1.0)
    if kind == "cov":
        runs = with_covariance(runs, [shared_samples(len(KL))] * len(SIZES))
    return runs, np.asarray(peak_of(FORMS["rl"], alpha, beta)) ** 2

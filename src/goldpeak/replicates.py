"""Tables with a row for each prompt: averaged over prompts, their covariance kept.

Prompts are what is independent in such a table. Rows of the same run, point and prompt (several samples of a prompt)
are averaged first, so that each prompt counts the same. Only prompts that are there at *every* point of their run are
used: with others a curve would move because its prompts change, and covariances from pairs that happen to be there
need not be a covariance at all.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from goldpeak._cells import Findings
from goldpeak._validate import is_start
from goldpeak.bon import n_of_kl
from goldpeak.covariances import block_columns, pair_columns
from goldpeak.shrinkage import few_prompts, mean_covariance

__all__ = ["average_prompts"]

Array = NDArray[np.float64]

_AVERAGED = ("gold", "kl", "proxy", "step")
_NEEDED = ("run", "prompt", "kl", "gold")


def average_prompts(frame: pd.DataFrame, findings: Findings, *, recentre: bool) -> pd.DataFrame:
    """Turn a row for each prompt into a row for each point, with columns ``gold_cov_k`` over prompts.

    Parameters
    ----------
    frame : pandas.DataFrame
        As `check_columns` returns it, ``kl`` filled in. Without a column ``prompt`` it is returned as it is.
    recentre : bool
        Whether a run's gold at its start will be subtracted: then it is differences from it whose variances are exact.

    Returns
    -------
    pandas.DataFrame
        Index: where each point is first met. A table with problems is thinned to such rows and not averaged.
    """
    if "prompt" not in frame:
        return frame
    unused = [name for name in ("gold_se", *pair_columns(frame)) if name in frame]
    if unused:
        findings.notice(f"column '{unused[0]}' is not used: the spread over prompts says how uncertain gold is")
    frame = frame.drop(columns=unused)
    if not set(_NEEDED) <= set(frame):
        return frame.drop(columns="prompt")
    frame = frame.assign(_point=_point(frame))
    if frame[list(_NEEDED)].isna().any(axis=None):
        return frame.drop_duplicates(["run", "_point"]).drop(columns=["_point", "prompt"])
    few = few_prompts(frame.groupby("run", sort=False)["prompt"].nunique().to_dict())
    if few:
        findings.notice(few)
    parts = [_average(run, findings, recentre) for _, run in frame.groupby("run", sort=False)]
    return pd.concat(parts).drop(columns=["_point", "prompt"]).sort_index()


def _point(frame: pd.DataFrame) -> Array:
    """What tells the points of a run apart: n if best-of-n rows give it, else kl; the initial policy is one point."""
    bon = (frame["method"] == "bon").to_numpy()
    by_n = "n" in frame and frame["n"].notna()[bon].all()
    key = np.where(bon, frame["n"], frame["kl"]) if by_n else frame["kl"]
    return np.asarray(np.where(is_start(frame), 0.0, key))


def _average(run: pd.DataFrame, findings: Findings, recentre: bool) -> pd.DataFrame:
    """One run: averaged over the prompts that are at all of its points."""
    points = run.drop_duplicates("_point")
    curves = {key: _by_prompt(run, key) for key in _AVERAGED if key in run}
    whole = ~np.isnan(curves["gold"]).any(axis=1)
    name, found = run["run"].iloc[0], int(whole.sum())
    if found < 2:
        text = f"run '{name}' has {found} of its {len(whole)} prompts at all of its {len(points)} points"
        findings.problem(f"{text}; allowed: at least 2 (rows of a point must agree in n or kl)")
        return points
    if found < len(whole):
        text = f"{len(whole) - found} of {len(whole)} prompts are left out, for they are not at all of the run's points"
        findings.notice(f"run '{name}': {text}")
    points = points.assign(**{key: _mean(table[whole]) for key, table in curves.items()})
    order = np.argsort(points["kl"].to_numpy(), kind="stable")
    points, gold = points.iloc[order], curves["gold"][whole][:, order]
    start = int(np.argmax(is_start(points))) if recentre and is_start(points).any() else None
    cov = mean_covariance(gold, n_of_kl(points["kl"]), start).cov
    return points.join(pd.DataFrame(block_columns(cov), index=points.index))


def _by_prompt(run: pd.DataFrame, name: str) -> Array:
    """A column as (prompt, point), both in order of appearance; NaN where a prompt is not at a point."""
    prompt, prompts = pd.factorize(run["prompt"])
    point, points = pd.factorize(run["_point"])
    cell, size = prompt * len(points) + point, len(prompts) * len(points)
    total = np.bincount(cell, weights=run[name].to_numpy(dtype=float), minlength=size)
    count = np.bincount(cell, minlength=size)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan).reshape(len(prompts), len(points))


def _mean(curves: Array) -> Array:
    """Over prompts; what is the same for all of them stays as it is, to the last digit."""
    return np.where((curves == curves[0]).all(axis=0), curves[0], curves.mean(axis=0))

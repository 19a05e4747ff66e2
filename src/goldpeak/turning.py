"""One line per run: what was read, and whether its gold visibly turns over."""

from __future__ import annotations

import numpy as np
import pandas as pd
import xarray as xr

from goldpeak.names import RUN, RUN_INDEX

__all__ = ["summarise"]


def summarise(runs: xr.Dataset) -> pd.DataFrame:
    """One line per run, and whether its gold visibly turns over.

    A curve counts as *turned* if the mean of its last quarter of points (at least 2), in order of kl, lies below the
    highest value of a running median over the points *before* it by more than 2 x noise: a peak inside the last
    quarter does not count yet. The running median takes about a quarter of the points (an odd number, at least 3).
    The noise of a point is the largest of: the root mean square of ``gold_se``; the root mean square deviation from
    the running median; and the deviation from the line between the two neighbours (Gasser, Sroka & Jennen-Steinmetz
    1986). No model enters, and fewer than 5 points are too few to tell. It is a remark for the reader, not a test:
    in short runs (some 30 points or fewer) slow drift on a plateau often passes for a turn.

    Parameters
    ----------
    runs : xarray.Dataset
        As :func:`read_runs` returns it.

    Returns
    -------
    pandas.DataFrame
        Columns ``run, method, rm_params, points, kl_min, kl_max`` (nats), ``gold_max`` (recentred) and ``turned``.

    Examples
    --------
    >>> from goldpeak.runs import read_runs
    >>> kl = np.linspace(0.5, 20, 40)
    >>> gold = np.sqrt(kl) * (1 - 0.2 * np.sqrt(kl))
    >>> summarise(read_runs(pd.DataFrame({"run": "a", "rm_params": 1e6, "kl": kl, "gold": gold})))["turned"].tolist()
    [True]
    """
    lines = []
    edges = np.searchsorted(runs[RUN_INDEX].values, np.arange(runs.sizes[RUN] + 1))
    kls, golds = runs["kl"].values, runs["gold"].values
    for i, run in enumerate(runs[RUN].values):
        part = slice(edges[i], edges[i + 1])
        se = runs["gold_se"].values[part] if "gold_se" in runs else None
        kl, gold = kls[part], golds[part]
        size = float(runs["rm_params"].values[i])
        line = (str(run), str(runs["method"].values[i]), size, len(kl), kl.min(), kl.max(), gold.max())
        lines.append((*line, _turned(kl, gold, se)))
    columns = ["run", "method", "rm_params", "points", "kl_min", "kl_max", "gold_max", "turned"]
    return pd.DataFrame(lines, columns=columns)


def _turned(kl: np.ndarray, gold: np.ndarray, se: np.ndarray | None) -> bool:
    if len(gold) < 5:
        return False
    width, quarter = max(3, 2 * (len(gold) // 8) + 1), max(2, len(gold) // 4)
    noise = max(_noise(np.sqrt(kl), gold), _scatter(gold, width))
    if se is not None:
        noise = max(noise, float(np.sqrt(np.mean(se**2))))
    top = _running_median(gold[:-quarter], width).max()
    return bool(top - gold[-quarter:].mean() > 2 * noise)


def _running_median(gold: np.ndarray, width: int) -> np.ndarray:
    return pd.Series(gold).rolling(width).median().to_numpy()[width - 1 :]


def _scatter(gold: np.ndarray, width: int) -> float:
    smooth = _running_median(gold, width)
    return float(np.sqrt(np.mean((gold[width // 2 :][: len(smooth)] - smooth) ** 2)))


def _noise(d: np.ndarray, gold: np.ndarray) -> float:
    """Standard deviation of a point about the line through its two neighbours, scaled to that of one point."""
    gap = d[2:] - d[:-2]
    share = np.divide(d[1:-1] - d[:-2], gap, out=np.full(len(gap), 0.5), where=gap > 0)
    off = gold[1:-1] - (1 - share) * gold[:-2] - share * gold[2:]
    return float(np.sqrt(np.mean(off**2 / (1 + share**2 + (1 - share) ** 2))))

"""The demo: fit the small reward models, predict the larger ones, and hold the prediction against what was measured."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from goldpeak.io.atomic import replacing
from goldpeak.names import POINT, RUN
from goldpeak.subset import as_table, split_by_size

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

    from goldpeak.gates import Gates
    from goldpeak.peaks import Peak

__all__ = ["CARD", "Demo", "compare", "run"]

CARD = "similar"
SEED = 1
PROB = 0.9
CURVE_SIZES = 25


@dataclass(frozen=True)
class Demo:
    """What the demo found.

    Attributes
    ----------
    table : pandas.DataFrame
        A row for each run that was not fitted: ``run``, ``rm_params``, ``median``, ``lo``, ``hi`` (KL at the peak as
        predicted for a new run of that size, nats), ``measured`` (nats, inf if gold never turned) and ``inside``.
    fitted_sizes, held_out_sizes : tuple of float
        Reward-model sizes on either side of the split.
    fitted_runs : int
        How many runs were fitted.
    card, engine : str
        What was fitted, and how.
    prob : float
        Probability of the intervals.
    gates : Gates
        Whether the fit can be trusted.
    files : tuple of Path
        What was written.
    next_commands : tuple of str
        Command lines to try on these files.
    """

    table: pd.DataFrame
    fitted_sizes: tuple[float, ...]
    held_out_sizes: tuple[float, ...]
    fitted_runs: int
    card: str
    engine: str
    prob: float
    gates: Gates
    files: tuple[Path, ...]
    next_commands: tuple[str, ...]

    @property
    def inside(self) -> int:
        """In how many held-out runs the measured peak lies in the predicted interval."""
        return int(self.table["inside"].sum())


def run(
    out: Path,
    progress: Callable[[str], None] | None = None,
    *,
    runs: xr.Dataset | None = None,
    measured: pd.DataFrame | None = None,
    card: str = CARD,
    engine: str | None = None,
    seed: int = SEED,
) -> Demo:
    """Fit the runs of the smaller half of the reward-model sizes and predict the peaks of the larger half.

    Writes ``posterior.nc``, ``runs.csv`` (what was fitted), ``peaks.csv`` (prediction and measurement),
    ``curves.png`` and ``peak_vs_size.png``, each whole or not at all.

    Parameters
    ----------
    out : Path
        An existing folder.
    progress : callable, optional
        Called with a line of text before each step; what it raises stops the demo.
    runs : xarray.Dataset, optional
        Run curves of several sizes; the bundled ones of the RL experiment by default.
    measured : pandas.DataFrame, optional
        Where those curves peak (columns ``run``, ``rm_params``, ``kl_peak``); that of the bundled ones by default.
    card, engine, seed
        As for `goldpeak.fit`; `engine` None is its default.

    Returns
    -------
    Demo

    Raises
    ------
    StoreError
        If a file cannot be written.
    """
    from goldpeak import fitting, peaks, store
    from goldpeak.gates import gates_of

    say = progress or (lambda line: None)
    small, large, measured = _data(runs, measured)
    say(_fitting(small, card))
    options: dict[str, Any] = {} if engine is None else {"engine": engine}
    post = fitting.fit(small, card, seed=seed, **options)
    sizes = np.unique(large["rm_params"].values)
    found = peaks.peak(post, sizes, prob=PROB)
    table = compare(found, measured)

    say("saving and drawing ...")
    files = tuple(out / name for name in ("posterior.nc", "runs.csv", "peaks.csv", "curves.png", "peak_vs_size.png"))
    store.save(post, files[0])
    _write_table(as_table(small), files[1])
    _write_table(table, files[2])
    _draw(post, sizes, measured, files[3], files[4])
    return Demo(
        table=table,
        fitted_sizes=tuple(np.unique(small["rm_params"].values).tolist()),
        held_out_sizes=tuple(sizes.tolist()),
        fitted_runs=small.sizes[RUN],
        card=card,
        engine=str(post.attrs["engine"]),
        prob=PROB,
        gates=gates_of(post),
        files=files,
        next_commands=_next_commands(files[0], files[1], float(sizes.max())),
    )


def compare(found: Peak, measured: pd.DataFrame) -> pd.DataFrame:
    """Predicted interval by size beside each run's measured peak; see `Demo.table`."""
    predicted = found.table.set_index("rm_params")[["median", "lo", "hi"]]
    table = (
        measured[["run", "rm_params", "kl_peak"]]
        .rename(columns={"kl_peak": "measured"})
        .join(predicted, on="rm_params")
    )
    table["inside"] = (table["lo"] <= table["measured"]) & (table["measured"] <= table["hi"])
    order = ["run", "rm_params", "median", "lo", "hi", "measured", "inside"]
    return table[order].sort_values(["rm_params", "run"], ignore_index=True)


def _data(runs: xr.Dataset | None, measured: pd.DataFrame | None) -> tuple[xr.Dataset, xr.Dataset, pd.DataFrame]:
    """What to fit, what to predict, and the measured peaks of the latter."""
    from goldpeak import datasets

    small, large = split_by_size(datasets.lab("rl") if runs is None else runs)
    if measured is None:
        return small, large, datasets.measured_peaks(large)
    return small, large, measured[measured["run"].isin(large[RUN].values)]


def _fitting(small: xr.Dataset, card: str) -> str:
    sizes = np.unique(small["rm_params"].values)
    return (
        f"fitting card {card} to {small.sizes[RUN]} runs on the {len(sizes)} smaller sizes "
        f"({sizes[0]:g} to {sizes[-1]:g} parameters), {small.sizes[POINT]} points ..."
    )


def _draw(post: xr.DataTree, sizes: np.ndarray, measured: pd.DataFrame, curves: Path, peak_vs_size: Path) -> None:
    from goldpeak import plots

    smallest = float(post["constant_data"]["rm_params"].min())
    grid = np.geomspace(smallest, float(sizes.max()), CURVE_SIZES)
    _save_figure(plots.curves(post), curves)
    _save_figure(plots.peak_vs_size(post, grid, prob=PROB, measured=measured), peak_vs_size)


def _save_figure(figure: Any, path: Path) -> None:
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=150)


def _write_table(table: pd.DataFrame, path: Path) -> None:
    with replacing(path) as temporary:
        table.to_csv(temporary, index=False)


def _next_commands(posterior: Path, runs: Path, largest: float) -> tuple[str, ...]:
    import shlex

    beyond = f"{largest:.0f},{10 * largest:.0f}"
    return (
        shlex.join(["goldpeak", "peak", str(posterior)]),
        shlex.join(["goldpeak", "peak", str(posterior), "--rm-params", beyond, "--json"]),
        shlex.join(["goldpeak", "check", str(runs)]),
    )

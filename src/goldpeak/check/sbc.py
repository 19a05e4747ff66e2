"""Simulation-based calibration: fit what the prior made, and see where the truth falls among the draws.

If card and engine are right, the rank of the truth among posterior draws is uniform: for every parameter, for the peak,
and for any function of parameters and data, of which the joint log likelihood finds most mistakes (Talts et al. 2018,
arXiv:1804.06788; Modrák et al. 2023, doi:10.1214/23-BA1404).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from goldpeak.card import Card
from goldpeak.check.bands import uniformity
from goldpeak.curves import new_curves, observed_curves
from goldpeak.design import make_design
from goldpeak.engines import exact
from goldpeak.errors import ConvergenceWarning, FitError, problems_of_counts
from goldpeak.fitting import ENGINES, Engine, fast_engine, fit
from goldpeak.gates import gates_of
from goldpeak.library import load_card
from goldpeak.names import POINT, RUN
from goldpeak.simulation import Fleet, Simulated, simulate, template_of
from goldpeak.summaries import shared
from goldpeak.summits import peak_draws

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Calibration", "sbc"]

Array = NDArray[np.float64]
Fitter = Callable[[xr.Dataset, Card, int], xr.DataTree]

ALLOWED = 0.05
"""Chance that a right engine is called wrong, all quantities together."""


@dataclass(frozen=True)
class Calibration:
    """What simulation-based calibration found.

    Attributes
    ----------
    pit : xarray.DataArray
        Where the truth falls among the draws, in (0, 1), dims (quantity, replication); ties broken at random.
    table : pandas.DataFrame
        One row for each quantity: ``p_value`` of uniformity (simultaneous ECDF band), ``mean`` of the PIT (.5) and its
        ``spread``, the standard deviation over that of a uniform variable (1; above it posteriors are too narrow), and
        ``coverage_90``, the share of truths in the central 90 % interval.
    card, engine : str
    gates_failed : int
        Replications whose gate failed; they count.
    failures : tuple of str
        What happened where a replication could not be fitted; these do not count.

    Examples
    --------
    >>> import goldpeak
    >>> found = goldpeak.sbc("rl_paper", design=goldpeak.Fleet(points=8), n=8, seed=1, n_jobs=1)
    >>> found.pit.sizes["replication"], found.passed
    (8, True)
    """

    pit: xr.DataArray
    table: pd.DataFrame
    card: str
    engine: str
    gates_failed: int
    failures: tuple[str, ...]

    @property
    def p_value(self) -> float:
        """Of all quantities together, by Bonferroni."""
        return float(min(1.0, len(self.table) * self.table["p_value"].min()))

    @property
    def passed(self) -> bool:
        """Whether all quantities are within simultaneous bands that a right engine leaves one time in twenty."""
        return self.p_value >= ALLOWED and not self.failures

    def summary(self) -> str:
        """One line for people."""
        worst = str(self.table["p_value"].idxmin())
        row = {name: float(self.table[name].loc[worst]) for name in ("p_value", "spread", "mean")}
        verdict = "within the bands" if self.passed else "OUTSIDE the bands"
        more = f", gates failed in {self.gates_failed}" if self.gates_failed else ""
        more += f", {len(self.failures)} could not be fitted: {self.failures[0]}" if self.failures else ""
        return (
            f"{self.card}, engine {self.engine}: {verdict}; {self.pit.sizes['replication']} replications{more}; of "
            f"{len(self.table)} quantities the worst is {worst} (p {row['p_value']:.3g}, spread {row['spread']:.2f}, "
            f"mean {row['mean']:.2f})"
        )


def sbc(
    card: str | Path | Card,
    engine: Engine | Fitter = "auto",
    design: Fleet | xr.Dataset | None = None,
    n: int = 200,
    *,
    seed: int = 0,
    draws: int = 250,
    n_jobs: int | None = -1,
) -> Calibration:
    """Simulation-based calibration of a card and an engine.

    Parameters
    ----------
    card : str, path or Card
    engine : {"auto", "exact", "laplace_is", "nuts"} or callable
        ``auto`` is the fast engine that the card allows, without a fallback. Or a function of runs, card and seed that
        returns what `fit` does.
    design : Fleet or xarray.Dataset
        Which runs there are: `Fleet()`, or run curves whose gold is replaced.
    n : int
        Replications.
    seed : int
        Same seed, same answer, however many jobs.
    draws : int
        Posterior draws per chain, of four. Chains of ``nuts`` are thinned to nearly independent draws.
    n_jobs : int or None
        Processes, -1 for one on each processor, None for what ``joblib.parallel_config`` says. The backend is that of
        ``parallel_config``, so that replications run on a Dask cluster too.

    Returns
    -------
    Calibration
        Of the hyperparameters, ``kl_peak`` of the first and the last run and of a new run at ten times the largest
        size, and the joint log likelihood.

    Raises
    ------
    FitError
        If an argument is out of range, the card does not go with the runs, or no replication could be fitted.

    Notes
    -----
    Data that the card refuses are drawn again, which leaves ranks uniform: it looks at the data only.

    Examples
    --------
    >>> import goldpeak
    >>> found = goldpeak.sbc("rl_paper", "exact", goldpeak.Fleet(points=8), n=8, n_jobs=1)
    >>> bool(found.table["p_value"].loc["log_likelihood"] > 0.001)
    True
    """
    from joblib import Parallel, delayed

    problems = problems_of_counts(2, n=n) + problems_of_counts(1, draws=draws)
    if isinstance(engine, str) and engine not in ENGINES:
        problems.append(f"engine is {engine!r}; allowed: {', '.join(ENGINES)}, or a function")
    if problems:
        raise FitError("; ".join(problems))
    card, runs = load_card(card), template_of(design)
    chosen = _engine(card, engine, runs)
    task = delayed(_replication)
    found = Parallel(n_jobs=n_jobs)(task(card, chosen, runs, [seed, k], draws) for k in range(n))
    failures = tuple(each for each in found if isinstance(each, str))
    fitted = [each for each in found if not isinstance(each, str)]
    if not fitted:
        raise FitError(f"no replication could be fitted: {failures[0]}")
    names = list(fitted[0][0])
    pit = np.array([[values[name] for values, _ in fitted] for name in names])
    labelled = xr.DataArray(pit, dims=("quantity", "replication"), coords={"quantity": names}, name="pit")
    label = chosen if isinstance(chosen, str) else getattr(chosen, "__name__", "custom")
    gates_failed = sum(not passed for _, passed in fitted)
    return Calibration(labelled, _table(labelled), card.name, label, gates_failed, failures)


def _engine(card: Card, engine: Engine | Fitter, runs: xr.Dataset) -> Engine | Fitter:
    if engine != "auto":
        return engine
    placeholder = runs.assign(gold=(POINT, np.ones(runs.sizes[POINT])))
    fast = fast_engine(card)
    return "nuts" if fast == "exact" and exact.refusal(make_design(placeholder, card)) else fast


def _replication(
    card: Card, engine: Engine | Fitter, runs: xr.Dataset, seed: list[int], draws: int
) -> tuple[dict[str, float], bool] | str:
    """PIT values of one replication and whether its gate passed; or why it could not be fitted."""
    state = np.random.SeedSequence(seed)
    of_data, of_fit, of_new, of_ties = (int(each) for each in state.generate_state(4))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        made = simulate(card, runs, seed=of_data)
        try:
            if isinstance(engine, str):
                post = fit(made.runs, card, engine=engine, seed=of_fit, draws=draws)
            else:
                post = engine(made.runs, card, of_fit)
        except FitError as error:
            return f"seed {seed}: {error}"
    rng = np.random.default_rng(of_ties)
    true, drawn = _quantities(made, made.truth, of_new), _quantities(made, post, of_new + 1)
    thin = _thinning(post)
    return {name: _pit(float(true[name][0]), drawn[name][::thin], rng) for name in true}, gates_of(post).passed


def _thinning(post: xr.DataTree) -> int:
    """Chains are correlated; every so-many-th draw of them is not."""
    if post.attrs["engine"] != "nuts":
        return 1
    import arviz_stats

    draws = post["posterior"].sizes["chain"] * post["posterior"].sizes["draw"]
    ess = arviz_stats.ess(post["posterior"].to_dataset()[["sigma"]])["sigma"]
    return int(max(1, np.ceil(draws / max(float(ess), 1.0))))


def _pit(truth: float, draws: Array, rng: np.random.Generator) -> float:
    """Where the truth falls: uniform on (0, 1) if it is one of the draws, infinite ones and ties included."""
    below, equal = np.sum(draws < truth), np.sum(draws == truth)
    return float((below + rng.random() * (equal + 1.0)) / (len(draws) + 1.0))


def _quantities(made: Simulated, post: xr.DataTree, seed: int) -> dict[str, Array]:
    """Draws of everything that is ranked, each (draw,)."""
    found: dict[str, Array] = dict(shared(post))
    kl_max, size = float(made.truth.attrs["kl_max"]), made.runs["rm_params"].values
    likelihood = post["log_likelihood"].to_dataset()["gold_run"].sum(RUN)
    kl = peak_draws(observed_curves(post), kl_max)[0]
    for label, run in (("smallest", int(np.argmin(size))), ("largest", int(np.argmax(size)))):
        found[f"kl_peak[{label}]"] = kl[..., run].ravel()
    if len(np.unique(size)) > 1:
        beyond = new_curves(post, [10.0 * size.max()], include="new_run", seed=seed)
        found["kl_peak[10x]"] = peak_draws(beyond, kl_max)[0].ravel()
    return found | {"log_likelihood": likelihood.values.ravel()}


def _table(pit: xr.DataArray) -> pd.DataFrame:
    import pandas as pd

    values = pit.values
    columns = {
        "p_value": [uniformity(row) for row in values],
        "mean": values.mean(axis=1),
        "spread": np.sqrt(12.0 * np.mean((values - 0.5) ** 2, axis=1)),
        "coverage_90": np.mean((values > 0.05) & (values < 0.95), axis=1),
        "n": values.shape[1],
    }
    return pd.DataFrame(columns, index=pd.Index(pit["quantity"].values, name="quantity"))

"""Gates: no posterior leaves without having been checked, and a failed check is loud."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from goldpeak.errors import ConvergenceWarning, FitError

__all__ = ["MAX_KHAT", "Gates", "check_chains", "check_importance", "gates_of", "warn_if_failed"]

Array = NDArray[np.float64]

MAX_RHAT = 1.01
MIN_ESS = 400.0
MAX_KHAT = 0.7


@dataclass(frozen=True)
class Gates:
    """What was checked of a posterior, what was measured, and whether it passed.

    Attributes
    ----------
    passed : bool
    measured : dict of str to float
        The figures, e.g. ``rhat_max``, ``ess_bulk_min``, ``divergences``.
    failures : tuple of str
        One sentence for each gate that failed.
    """

    passed: bool
    measured: dict[str, float]
    failures: tuple[str, ...] = ()

    def to_json(self) -> str:
        """As JSON text, for a posterior's attributes."""
        return json.dumps(asdict(self))

    def summary(self) -> str:
        """One line for people."""
        figures = ", ".join(f"{name} {value:.4g}" for name, value in self.measured.items())
        return f"gates {'passed' if self.passed else 'FAILED'}: {figures}"


def gates_of(post: xr.DataTree) -> Gates:
    """The gates stored in a posterior.

    Raises
    ------
    FitError
        If there are none.
    """
    if "gates" not in post.attrs:
        raise FitError("these draws were not sampled by fit: they carry no gates (those of a prior have none)")
    stored = json.loads(post.attrs["gates"])
    return Gates(stored["passed"], stored["measured"], tuple(stored["failures"]))


def check_chains(posterior: xr.Dataset, diverging: xr.DataArray) -> Gates:
    """Gates of Markov chains: R-hat < 1.01, bulk and tail ESS > 400, no divergences.

    Parameters
    ----------
    posterior : xarray.Dataset
        Dims (chain, draw, ...). The worst entry of all variables counts.
    diverging : xarray.DataArray
        Dims (chain, draw).
    """
    import arviz_stats

    # A constant has no diagnostics; a variable with a NaN in it does, and they fail.
    moving = posterior[[name for name, v in posterior.data_vars.items() if float(np.ptp(v.values)) != 0]]
    worst = {
        "rhat_max": _extreme(arviz_stats.rhat(moving), np.max),
        "ess_bulk_min": _extreme(arviz_stats.ess(moving, method="bulk"), np.min),
        "ess_tail_min": _extreme(arviz_stats.ess(moving, method="tail"), np.min),
    }
    measured = worst | {"divergences": float(diverging.sum())}
    failures = []
    # Negated, so that a NaN fails.
    if not measured["rhat_max"] < MAX_RHAT:
        failures.append(f"R-hat reaches {measured['rhat_max']:.3f}; wanted: below {MAX_RHAT}")
    failures += [
        f"{kind} effective sample size falls to {measured[f'ess_{kind}_min']:.0f}; wanted: above {MIN_ESS:.0f}"
        for kind in ("bulk", "tail")
        if not measured[f"ess_{kind}_min"] > MIN_ESS
    ]
    if measured["divergences"]:
        failures.append(f"{measured['divergences']:.0f} divergent transitions; wanted: none")
    return Gates(not failures, measured, tuple(failures))


def check_importance(khat: float, ess: float) -> Gates:
    """Gates of importance sampling: Pareto k < 0.7 and more than 400 effective draws.

    Examples
    --------
    >>> check_importance(khat=0.2, ess=1500.0).passed
    True
    >>> check_importance(khat=0.9, ess=1500.0).failures
    ('Pareto k is 0.90; wanted: below 0.7',)
    """
    failures = []
    if not khat < MAX_KHAT:
        failures.append(f"Pareto k is {khat:.2f}; wanted: below {MAX_KHAT}")
    if not ess > MIN_ESS:
        failures.append(f"there are {ess:.0f} effective draws; wanted: above {MIN_ESS:.0f}")
    return Gates(not failures, {"pareto_k": khat, "ess": ess}, tuple(failures))


def warn_if_failed(gates: Gates) -> None:
    """Warn loudly of every failed gate."""
    if not gates.passed:
        text = "; ".join(gates.failures)
        warnings.warn(
            f"the sampler's gate failed, do not trust these numbers: {text}", ConvergenceWarning, stacklevel=3
        )


def _extreme(diagnostic: xr.Dataset, pick: Callable[[Array], float]) -> float:
    return float(pick(np.array([pick(v.values.ravel()) for v in diagnostic.data_vars.values()])))

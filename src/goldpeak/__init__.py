"""goldpeak: at which KL divergence does gold reward peak, and how sure are we?

Hierarchical Bayesian scaling laws for reward-model over-optimisation. Everything public is here and loaded when first
used, so that importing goldpeak is quick:

>>> import goldpeak
>>> "rl_paper" in goldpeak.models().index
True
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from goldpeak import bon, check, datasets, plots
    from goldpeak.automatic import fit
    from goldpeak.card import Card
    from goldpeak.check.backtest import Backtest, backtest
    from goldpeak.check.combining import combine
    from goldpeak.check.compare import Comparison, compare
    from goldpeak.check.criticism import Criticism, criticise
    from goldpeak.check.sbc import Calibration, sbc
    from goldpeak.check.sensitivity import Sensitivity, sensitivity
    from goldpeak.collapsing import Collapse, collapse
    from goldpeak.curves import Curves, StretchedCurves
    from goldpeak.errors import (
        CardError,
        ConvergenceWarning,
        FitError,
        GoldpeakError,
        RunsError,
        RunsWarning,
        StoreError,
    )
    from goldpeak.library import load_card, models
    from goldpeak.logs import read_log
    from goldpeak.peaks import Peak, peak
    from goldpeak.prediction import predict
    from goldpeak.reporting import Report, report
    from goldpeak.runs import read_runs
    from goldpeak.samples import read_samples
    from goldpeak.simulation import Fleet, prior, simulate
    from goldpeak.stopping.budget import Budget, budget
    from goldpeak.stopping.cost import CostModel
    from goldpeak.stopping.measuring import Candidate, NextMeasurement, next_measurement
    from goldpeak.stopping.online import Decision, Stopper
    from goldpeak.stopping.planning import Allocation, allocate
    from goldpeak.store import load, save
    from goldpeak.subset import select, split_by_size
    from goldpeak.sufficient import suffstats
    from goldpeak.summaries import Summary, summary

_WHERE = {
    "automatic": ("fit",),
    "card": ("Card",),
    "check.combining": ("combine",),
    "check.compare": ("Comparison", "compare"),
    "check.sbc": ("Calibration", "sbc"),
    "check.backtest": ("Backtest", "backtest"),
    "check.criticism": ("Criticism", "criticise"),
    "check.sensitivity": ("Sensitivity", "sensitivity"),
    "collapsing": ("Collapse", "collapse"),
    "curves": ("Curves", "StretchedCurves"),
    "errors": (
        "CardError",
        "ConvergenceWarning",
        "FitError",
        "GoldpeakError",
        "RunsError",
        "RunsWarning",
        "StoreError",
    ),
    "library": ("load_card", "models"),
    "logs": ("read_log",),
    "peaks": ("Peak", "peak"),
    "prediction": ("predict",),
    "reporting": ("Report", "report"),
    "runs": ("read_runs",),
    "samples": ("read_samples",),
    "stopping.budget": ("Budget", "budget"),
    "stopping.cost": ("CostModel",),
    "stopping.measuring": ("Candidate", "NextMeasurement", "next_measurement"),
    "stopping.online": ("Decision", "Stopper"),
    "stopping.planning": ("Allocation", "allocate"),
    "simulation": ("Fleet", "prior", "simulate"),
    "store": ("load", "save"),
    "subset": ("select", "split_by_size"),
    "sufficient": ("suffstats",),
    "summaries": ("Summary", "summary"),
}
_MODULE_OF = {name: module for module, names in _WHERE.items() for name in names}
_SUBMODULES = ("bon", "check", "datasets", "plots")

__all__ = [
    "Allocation",
    "Backtest",
    "Budget",
    "Calibration",
    "Candidate",
    "Card",
    "CardError",
    "Collapse",
    "Comparison",
    "ConvergenceWarning",
    "CostModel",
    "Criticism",
    "Curves",
    "Decision",
    "FitError",
    "Fleet",
    "GoldpeakError",
    "NextMeasurement",
    "Peak",
    "Report",
    "RunsError",
    "RunsWarning",
    "Sensitivity",
    "Stopper",
    "StoreError",
    "StretchedCurves",
    "Summary",
    "allocate",
    "backtest",
    "bon",
    "budget",
    "check",
    "collapse",
    "combine",
    "compare",
    "criticise",
    "datasets",
    "fit",
    "load",
    "load_card",
    "models",
    "next_measurement",
    "peak",
    "plots",
    "predict",
    "prior",
    "read_log",
    "read_runs",
    "read_samples",
    "report",
    "save",
    "sbc",
    "select",
    "sensitivity",
    "simulate",
    "split_by_size",
    "suffstats",
    "summary",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("goldpeak")
    if name in _SUBMODULES:
        return importlib.import_module(f"goldpeak.{name}")
    if name in _MODULE_OF:
        value = getattr(importlib.import_module(f"goldpeak.{_MODULE_OF[name]}"), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'goldpeak' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])

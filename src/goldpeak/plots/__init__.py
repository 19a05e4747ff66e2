"""Pictures of what was measured and what follows from it.

Every function returns a matplotlib ``Figure`` (nothing is shown, pyplot is never touched); in a notebook it displays
itself, and ``figure.savefig("peak.pdf")`` writes it. matplotlib is loaded with the first picture.

- `budget`: the gold curve to be expected at a size, and where each rule would stop.
- `backtest`: predicted against measured peaks of held-out runs.
- `curves`: measured points and posterior bands against the square root of KL, per run or per reward-model size.
- `density`: the posterior of the KL at the peak, with its atom at infinity.
- `gap`: proxy and gold reward of the same runs, and the gap between them.
- `timeline`: what a stopper said, checkpoint by checkpoint.
- `trends`: coefficients against reward-model size.
- `collapse`: curves of all sizes stretched to their peaks, on the shape they share.
- `comparison`: cards side by side, what each weighs and where it puts the peak.
- `frontier`: the most gold to be had for each cost, and with which reward-model size.
- `peak_vs_size`: the KL at the peak against reward-model size, observed and extrapolated.
- `sbc`: simulation-based calibration, with simultaneous bands.

The numbers behind the pictures come from `curve_view`, `peak_view` and `budget_view`, which draw nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from goldpeak.plots.curve_data import CurveView, curve_view
    from goldpeak.plots.draw_backtest import backtest
    from goldpeak.plots.draw_budget import BudgetView, budget, budget_view
    from goldpeak.plots.draw_collapse import collapse
    from goldpeak.plots.draw_comparison import comparison
    from goldpeak.plots.draw_curves import curves
    from goldpeak.plots.draw_density import density
    from goldpeak.plots.draw_frontier import frontier
    from goldpeak.plots.draw_gap import gap
    from goldpeak.plots.draw_peaks import peak_vs_size
    from goldpeak.plots.draw_sbc import sbc
    from goldpeak.plots.draw_timeline import timeline
    from goldpeak.plots.draw_trends import trends
    from goldpeak.plots.peak_data import PeakView, peak_view

# No module here has the name of a function: importing it would put the module in the function's place.
_MODULE_OF = {
    "BudgetView": "draw_budget",
    "CurveView": "curve_data",
    "PeakView": "peak_data",
    "budget": "draw_budget",
    "budget_view": "draw_budget",
    "backtest": "draw_backtest",
    "collapse": "draw_collapse",
    "comparison": "draw_comparison",
    "curve_view": "curve_data",
    "curves": "draw_curves",
    "density": "draw_density",
    "gap": "draw_gap",
    "frontier": "draw_frontier",
    "peak_view": "peak_data",
    "peak_vs_size": "draw_peaks",
    "sbc": "draw_sbc",
    "timeline": "draw_timeline",
    "trends": "draw_trends",
}

__all__ = [
    "BudgetView",
    "CurveView",
    "PeakView",
    "backtest",
    "budget",
    "budget_view",
    "collapse",
    "comparison",
    "curve_view",
    "curves",
    "density",
    "frontier",
    "gap",
    "peak_view",
    "peak_vs_size",
    "sbc",
    "timeline",
    "trends",
]


def __getattr__(name: str) -> Any:
    if name in _MODULE_OF:
        value = getattr(importlib.import_module(f"goldpeak.plots.{_MODULE_OF[name]}"), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'goldpeak.plots' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])

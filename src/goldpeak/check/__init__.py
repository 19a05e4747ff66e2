"""Whether what goldpeak says can be believed: calibration, backtests, criticism, stopping in closed loop."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from goldpeak.check.stopping import StoppingBacktest, stopping_backtest

__all__ = ["StoppingBacktest", "stopping_backtest"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from goldpeak.check import stopping

        return getattr(stopping, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

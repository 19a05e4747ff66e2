"""Which runs a card cannot take."""

from __future__ import annotations

import xarray as xr

from goldpeak.card import Card
from goldpeak.errors import FitError
from goldpeak.names import RUN, RUN_INDEX
from goldpeak.runs import method_of
from goldpeak.wording import listed

__all__ = ["refuse_unusable"]


def refuse_unusable(runs: xr.Dataset, card: Card) -> None:
    """Raise a `FitError` if a card cannot be fitted to these runs, whatever their numbers say of its parameters."""
    method_of(runs)
    sizes = runs["rm_params"].groupby(runs["rm"]).map(lambda n: n.max() - n.min())
    mixed = [str(rm) for rm in sizes["rm"].values[sizes.values > 0]]
    if mixed:
        raise FitError(f"rm {listed(mixed, most=5)}: runs that share a reward model differ in rm_params")
    if card.coordinates == "peak":
        _refuse_falling(runs, card)


def _refuse_falling(runs: xr.Dataset, card: Card) -> None:
    """In peak coordinates every curve has a peak above the initial policy: log R* of one that only falls is nowhere."""
    highest = runs["gold"].groupby(runs[RUN_INDEX]).max().values
    falling = [str(run) for run in runs[RUN].values[highest <= 0]]
    if falling:
        raise FitError(
            f"run {listed(falling, most=5)}: gold never rises above the initial policy's, and card {card.name!r} "
            "(coordinates 'peak') describes curves by the place and height of their peak; leave such runs out, or take "
            "a card on coefficients, such as 'boxcox'"
        )

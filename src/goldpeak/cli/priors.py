"""`goldpeak models CARD --prior`: where a card expects the peak before it has seen data."""

from __future__ import annotations

from goldpeak.cli import show
from goldpeak.errors import FitError

__all__ = ["show_peaks"]

FACTORS = (0.1, 1.0, 10.0)
"""Sizes, times N0, the geometric mean of the sizes that would be fitted."""
KL = 100.0
"""Largest KL of the runs, nats; peaks are looked for up to twice that."""


def show_peaks(name: str | None) -> None:
    """Print the prior's peak at three sizes, on stdout.

    Raises
    ------
    FitError
        If no card is named.
    """
    if name is None:
        raise FitError("--prior shows what one card expects: name it, e.g. goldpeak models similar --prior")

    from goldpeak.simulation import Fleet, peak_before_data

    middle = 1e7
    design = Fleet(rm_params=(middle / 10.0, middle, 10.0 * middle), points=3, kl_max=KL)
    found = peak_before_data(name, design, [factor * middle for factor in FACTORS])
    rows = []
    for i, factor in enumerate(FACTORS):
        row = {key: float(values[i]) for key, values in found.data_vars.items()}
        kl, gold = show.interval(row["lo"], row["hi"]), show.interval(row["gold_lo"], row["gold_hi"])
        within = f"{row['p_peak_below_kl_max']:.2f}"
        rows.append((f"{factor:g} N0", show.number(row["median"]), kl, show.number(row["gold_median"]), gold, within))
    limit, interval = found.attrs["kl_max"], f"{found.attrs['prob']:.0%} interval"
    show.text("\nBefore any data, of a new run (N0: the geometric mean of the sizes; gold in units of gold_scale):\n")
    show.table(("size", "KL at peak", interval, "gold at peak", interval, f"P(peak up to KL {limit:g})"), rows)

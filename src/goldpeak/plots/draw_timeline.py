"""Picture: what a stopper said, checkpoint by checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from goldpeak.errors import FitError
from goldpeak.plots.scales import kl_ticks, number_label
from goldpeak.plots.style import COLOUR, KL_LABEL, Picture, figure_of, legend_below, style
from goldpeak.stopping.decision import PROB, Decision

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["timeline"]


def timeline(decisions: Sequence[Decision], *, ax: Axes | None = None) -> Figure:
    """Draw the KL of each checkpoint, where the peak was thought to lie, and P(past the peak) below.

    Parameters
    ----------
    decisions : sequence of Decision
        As `Stopper.update` returned them, in order.
    ax : matplotlib.axes.Axes, optional
        Draw here, without the panel of the probability, instead of into a new figure.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    FitError
        If there are no decisions, or `ax` belongs to no figure.

    Examples
    --------
    >>> import goldpeak
    >>> small, large = goldpeak.split_by_size(goldpeak.datasets.lab("rl"))
    >>> stopper = goldpeak.Stopper(goldpeak.fit(small, "rl_paper", draws=100), rm_params=1e3)
    >>> decisions = [stopper.update(kl=kl, gold=0.5, gold_se=0.05) for kl in (1.0, 2.0)]
    >>> goldpeak.plots.timeline(decisions).axes[0].get_ylabel()
    'KL (nats)'
    """
    if not decisions:
        raise FitError("there are no decisions to draw; give what Stopper.update returned")
    at = np.arange(1, len(decisions) + 1)
    with style(ax):
        own = ax is None
        figure: Figure
        below: Axes | None = None
        if ax is None:
            figure = Picture(figsize=(7.0, 5.2), layout="constrained")
            ax, below = figure.subplots(2, 1, sharex=True, height_ratios=(5, 2))
        else:
            figure = figure_of(ax)
        _kl(ax, at, decisions)
        lowest = ax
        if below is not None:
            past = [d.p_past_peak for d in decisions]
            below.plot(at, past, color=COLOUR["peak"], marker="o", ms=3, lw=1.2, gid="past")
            below.set(ylim=(-0.03, 1.03), ylabel="P(past\nthe peak)")
            lowest = below
        lowest.set_xlabel("checkpoint")
        stop = next((i for i, d in enumerate(decisions) if d.stop), None)
        for panel in (ax,) if below is None else (ax, below):
            if stop is not None:
                panel.axvline(at[stop], color=COLOUR["limit"], ls="--", lw=1.1, gid="stop")
        ax.set_title("" if stop is None else f"stop after checkpoint {at[stop]}, at KL {decisions[stop].kl:.3g}")
        handles, _ = ax.get_legend_handles_labels()
        legend_below(ax, own=own, ncols=2, handles=handles)
    return figure


def _kl(ax: Axes, at: Any, decisions: Sequence[Decision]) -> None:
    """Checkpoints, and the peak's interval; an end at infinity goes to the upper edge."""
    kl = np.array([d.kl for d in decisions])
    median, lo, hi = (np.array([d.kl_peak[i] for d in decisions]) for i in range(3))
    rule = np.array([d.rule_kl for d in decisions])
    known = np.concatenate([values[np.isfinite(values)] for values in (kl, median, rule)])
    top = 1.6 * float(known.max())
    within = f"the peak: median, {100 * PROB:g} % equal-tailed interval"
    band: dict[str, Any] = {"color": COLOUR["band"], "lw": 0, "alpha": 0.22, "gid": "band", "label": within}
    ax.fill_between(at, np.minimum(lo, top), np.minimum(hi, top), **band)
    ax.plot(at, np.where(np.isfinite(median), median, np.nan), color=COLOUR["band"], lw=1.6, gid="median")
    ax.plot(
        at,
        np.where(np.isfinite(rule), rule, np.nan),
        color=COLOUR["limit"],
        ls=":",
        gid="rule",
        label="the rule's stop",
    )
    ax.plot(at, kl, color=COLOUR["point"], marker="o", ms=3.5, lw=0.8, gid="kl", label="checkpoints of the run")
    # Evenly spaced in √KL, as everywhere: a run's last steps would leave no room for its peak.
    ax.set_yscale("function", functions=(_root, np.square))
    ticks = kl_ticks(float(np.sqrt(top)))
    ax.set_yticks(ticks, [number_label(tick) for tick in ticks])
    ax.set(ylim=(0.0, top), ylabel=KL_LABEL)


def _root(kl: Any) -> Any:
    return np.sqrt(np.maximum(kl, 0.0))

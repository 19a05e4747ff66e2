"""Pictures of budgets and of the frontier: what is drawn where."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import xarray as xr
from artists import drawn
from matplotlib import rc_context
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

import goldpeak
from goldpeak.errors import FitError
from goldpeak.plots import budget, budget_view, frontier
from goldpeak.stopping.rules import RULES


def test_stops_and_neighbours_are_those_of_budget_and_lie_on_the_median(nine: xr.DataTree) -> None:
    view, figure = budget_view(nine, [1e6, 3e6]), budget(nine, [1e6, 3e6])
    wanted = goldpeak.budget(nine, [1e6, 3e6], "all")
    assert view.found.table.equals(wanted.table)
    for panel, size in enumerate((1e6, 3e6)):
        stops = wanted.table[wanted.table["rm_params"] == size].set_index("rule")
        around = wanted.sensitivity[wanted.sensitivity["rm_params"] == size].groupby("rule")["kl"]
        for rule in RULES:
            (dot,), (bar,), (mark,) = (
                drawn(figure.axes[panel], f"{name}:{rule}") for name in ("stop", "around", "on curve")
            )
            kl = stops.loc[rule, "kl"]
            assert dot.get_xdata()[0] ** 2 == pytest.approx(kl)
            assert np.square(bar.get_xdata()) == pytest.approx(
                [around.get_group(rule).min(), around.get_group(rule).max()]
            )
            assert mark.get_ydata()[0] == pytest.approx(stops.loc[rule, "gold_median"], abs=0.01)


def test_each_panel_goes_somewhat_beyond_its_own_latest_stop(nine: xr.DataTree) -> None:
    view, figure = budget_view(nine, [1e6, 1e8]), budget(nine, [1e6, 1e8])
    for item, size in enumerate((1e6, 1e8)):
        kl = [table.loc[table["rm_params"] == size, "kl"].max() for table in (view.found.table, view.found.sensitivity)]
        right = figure.axes[item].get_xlim()[1]
        assert right == pytest.approx(np.sqrt(min(1.7**2 * max(kl), view.found.kl_max)))
        assert view.bands[item]["d"].values[-1] == pytest.approx(right)


def test_without_a_reason_to_stop_there_is_an_arrow(posterior: Callable[..., xr.DataTree]) -> None:
    figure = budget(posterior([1e6, 1e7], kl_top=2.0, width=0.01), [1e7])
    for rule in RULES:
        assert drawn(figure.axes[0], f"endless:{rule}")
        assert not drawn(figure.axes[0], f"stop:{rule}")
        assert drawn(figure.axes[0], f"name:{rule}")[0].get_text() == f"{rule} ∞"
    assert figure.axes[0].get_xlim()[1] ** 2 == pytest.approx(4.0)


def test_an_axes_of_the_users_takes_one_size(nine: xr.DataTree) -> None:
    ax = Figure().add_subplot()
    assert budget(nine, [1e7], ax=ax) is ax.figure
    assert ax.get_legend() is not None
    with pytest.raises(FitError, match="ax takes one panel, and there are 2 sizes"):
        budget(nine, [1e7, 1e8], ax=ax)
    with pytest.raises(FitError, match="rm_params holds 7 sizes; a picture has room for 6"):
        budget(nine, np.geomspace(1e6, 1e7, 7))


@pytest.mark.parametrize("ground", ["white", "#15181c"])
def test_rules_can_be_read_on_either_ground(nine: xr.DataTree, ground: str) -> None:
    with rc_context({"figure.facecolor": ground}):
        figure = budget(nine, [1e7])
    for rule in RULES:
        (name,) = drawn(figure.axes[0], f"name:{rule}")
        box, words = (
            np.dot([0.2126, 0.7152, 0.0722], np.array(to_rgb(colour)) ** 2.2)
            for colour in (name.get_bbox_patch().get_facecolor(), name.get_color())
        )
        light, dark = sorted([box, words], reverse=True)
        assert (light + 0.05) / (dark + 0.05) > 3.0


def test_the_frontier_is_drawn_size_by_size_with_the_best_one_ringed(nine: xr.DataTree) -> None:
    cost = goldpeak.CostModel(
        rm_tokens=1e6, policy_params=1e8, response_tokens=100, samples=64, kl_per_step=0.01, kl_power=2.0
    )
    plan = goldpeak.allocate(nine, [1e6, 1e7, 1e8, 1e9], cost, 1e15)
    figure = frontier(plan)
    lines = {a.get_gid(): a for a in figure.axes[0].lines}
    sizes = plan.frontier["rm_params"].unique()
    assert {gid for gid in lines if gid.startswith("frontier:")} == {f"frontier:{size:g}" for size in sizes}
    best = plan.table.set_index("rm_params").loc[plan.rm_params]
    assert lines["best"].get_xydata().tolist() == [[best["cost"], best["worth"]]]
    assert lines["budget"].get_xdata()[0] == 1e15
    ax = Figure().add_subplot()
    assert frontier(plan, ax=ax) is ax.figure

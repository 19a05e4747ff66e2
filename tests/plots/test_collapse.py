"""The picture of the collapse holds its numbers."""

from __future__ import annotations

import dataclasses

import matplotlib
import numpy as np
import pandas as pd
from artists import drawn
from matplotlib.figure import Figure

import goldpeak
from goldpeak.collapsing import Collapse, Interval
from goldpeak.plots.draw_collapse import _limits
from goldpeak.shapes import shape_at

U = np.linspace(0.0, 3.0, 61)
FOUND = Collapse(
    points=pd.DataFrame(
        {
            "run": np.repeat(["a", "b", "c"], 5),
            "rm_params": np.repeat([1e6, 1e7, 1e8], 5),
            "u": np.tile(np.linspace(0.2, 2.5, 5), 3),
            "gold": np.linspace(-0.4, 1.1, 15),
        }
    ),
    shape=pd.DataFrame(
        {
            "u": U,
            "median": shape_at(U, 0.5),
            "lo": shape_at(U, 0.5) - 0.1,
            "hi": shape_at(U, 0.5) + 0.1,
            "rl": shape_at(U, 0.0),
            "bon": shape_at(U, 1.0),
        }
    ),
    explained=Interval(0.97, 0.95, 0.99, 0.9),
    p_value=0.41,
    gamma=Interval(0.5, 0.3, 0.7, 0.9),
    gamma_slope=None,
    p_gamma_rises=float("nan"),
)


def line(ax, gid):
    (found,) = drawn(ax, gid)
    return found.get_xydata().T


def test_the_picture_shows_points_shape_and_forms():
    ax = goldpeak.plots.collapse(FOUND).axes[0]
    (dots,) = drawn(ax, "points")
    np.testing.assert_allclose(dots.get_offsets(), FOUND.points[["u", "gold"]])
    np.testing.assert_allclose(dots.get_array(), FOUND.points["rm_params"])
    for gid in ("rl", "bon"):
        np.testing.assert_allclose(line(ax, gid), FOUND.shape[["u", gid]].to_numpy().T)
    np.testing.assert_allclose(line(ax, "shape"), FOUND.shape[["u", "median"]].to_numpy().T)
    assert "97.0 % [95.0, 99.0] (90 % eti)" in ax.get_title(loc="left")
    assert "0.41" in ax.get_title(loc="left")
    texts = [text.get_text() for text in ax.figure.legends[0].get_texts()]
    assert texts == [
        "observed points, each divided by its run's R* and d* (posterior medians)",
        "shared shape: median, 90 % equal-tailed interval",
        "paper's form for RL: u (1 − log u), γ = 0",
        "paper's form for best-of-n: u (2 − u), γ = 1",
    ]


def test_nothing_is_hidden_or_cut_off():
    """The forms lie on the shape where gamma is 0 or 1; the last point has room on its right."""
    ax = goldpeak.plots.collapse(FOUND).axes[0]
    (dots,) = drawn(ax, "points")
    over = {line.get_gid(): line.get_zorder() for line in ax.lines}
    assert min(over["rl"], over["bon"]) > dots.get_zorder() > over["shape"]
    assert ax.get_xlim()[1] > 1.02 * FOUND.shape["u"].max()
    assert ax.get_xlim()[0] < 0.0


def test_points_outside_the_picture_are_counted():
    gold = np.concatenate([[-9.0], np.linspace(0.0, 1.1, 999)])
    points = pd.DataFrame({"run": "a", "rm_params": 1e6, "u": np.linspace(0.0, 3.0, 1000), "gold": gold})
    legend = goldpeak.plots.collapse(dataclasses.replace(FOUND, points=points)).legends[0]
    assert legend.get_texts()[0].get_text().endswith("; 1 outside the picture")


def test_forms_far_below_do_not_squash_the_picture():
    deep = dataclasses.replace(FOUND, shape=FOUND.shape.assign(bon=-50.0))
    assert _limits(deep) == _limits(FOUND)
    assert goldpeak.plots.collapse(deep).axes[0].get_ylim()[0] > -2.0


def test_ax_is_used_and_settings_stay():
    before = dict(matplotlib.rcParams)
    ax = Figure().add_subplot()
    assert goldpeak.plots.collapse(FOUND, ax=ax) is ax.figure
    assert ax.get_legend() is not None
    assert dict(matplotlib.rcParams) == before


def test_what_cannot_be_said_is_left_out_or_explained():
    """One run on one size: no share of the variance, no p-value, no scale of colours."""
    nothing = Interval(*[float("nan")] * 3, 0.9)
    one = FOUND.points[FOUND.points["run"] == "a"]
    alone = dataclasses.replace(FOUND, points=one, explained=nothing, p_value=float("nan"))
    figure = goldpeak.plots.collapse(alone)
    (ax,) = figure.axes
    assert ax.get_title(loc="left").splitlines()[1:] == list(alone.gaps)
    assert alone.gaps[0].startswith("one run: ")

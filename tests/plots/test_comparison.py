"""Cards side by side: what is drawn, by the data of the artists."""

from __future__ import annotations

import dataclasses

import matplotlib.style
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from artists import drawn
from matplotlib.figure import Figure

from goldpeak import plots
from goldpeak.bon import kl_of_n
from goldpeak.check.compare import Comparison
from goldpeak.io.sizes import size_of
from goldpeak.plots.style import COLOUR

INF = float("inf")
CARDS = ["similar", "rl", "combined"]
ENDS = {
    1e6: [(4.0, 3.5, 4.5, 1.0), (4.2, 3.0, 5.5, 1.0), (4.1, 3.3, 5.0, 1.0)],
    1e7: [(6.0, 4.0, 9.0, 1.0), (INF, 5.0, INF, 0.4), (8.0, 4.5, INF, 0.8)],
}


@pytest.fixture
def found() -> Comparison:
    rows = [
        (size, card, *ends, 0.9, size > 1e6)
        for size, of_size in ENDS.items()
        for card, ends in zip(CARDS, of_size, strict=True)
    ]
    columns = ["rm_params", "card", "median", "lo", "hi", "p_peak_below_kl_max", "prob", "extrapolated"]
    apart = pd.DataFrame(
        {"first": "similar", "second": "rl", "distance": [0.2, 0.6]}, index=pd.Index([1e6, 1e7], name="rm_params")
    )
    weights = pd.DataFrame({"weight": [0.25, 0.75]}, index=pd.Index(CARDS[:2], name="card"))
    peaks = pd.DataFrame(rows, columns=columns)
    return Comparison(weights, xr.Dataset(), peaks, apart, "given", (), 0.9, 100.0, "new_run")


def test_bars_are_the_weights(found: Comparison) -> None:
    left, _ = plots.comparison(found).axes
    assert [bar.get_width() for bar in left.patches] == [0.25, 0.75]
    assert [label.get_text() for label in left.get_yticklabels()] == CARDS[:2]
    assert left.yaxis_inverted()


def test_every_size_and_card_has_its_interval(found: Comparison) -> None:
    _, ax = plots.comparison(found).axes
    assert [label.get_text() for label in ax.get_yticklabels()] == CARDS * 2
    first, second = (bar.get_segments()[0] for bar in drawn(ax, "similar:bar"))
    np.testing.assert_allclose((first[:, 0], second[:, 0]), [(3.5, 4.5), (4.0, 9.0)])
    assert first[0, 1] < second[0, 1]
    assert [line.get_xdata()[0] for line in drawn(ax, "combined:median")] == [4.1, 8.0]


def test_what_goes_on_is_an_arrow_and_says_how_likely(found: Comparison) -> None:
    _, ax = plots.comparison(found).axes
    (bar,) = drawn(ax, "rl:bar")[1:]
    (arrow,) = drawn(ax, "rl:endless")
    assert arrow.get_xdata()[0] == bar.get_segments()[0][1, 0] > found.kl_max
    assert len(drawn(ax, "rl:median")) == 1
    assert [text.get_text() for text in drawn(ax, "no peak")] == ["P(no peak) 0.60", "P(no peak) 0.20"]
    assert len(drawn(ax, "extrapolated")) == 1
    assert "similar and rl (0.60)" in drawn(ax, "heading")[1].get_text()


def test_best_of_n_has_n_across_from_kl(found: Comparison) -> None:
    assert not plots.comparison(found).axes[1].child_axes
    (top,) = plots.comparison(dataclasses.replace(found, method="bon")).axes[1].child_axes
    n = [size_of(label.get_text()) for label in top.get_xticklabels()]
    assert len(n) >= 4
    np.testing.assert_allclose(top.get_xticks(), kl_of_n(n))


def test_axes_of_the_users_and_a_dark_ground(found: Comparison) -> None:
    with matplotlib.style.context("dark_background"):
        figure = Figure()
        ax = figure.add_subplot()
        assert plots.comparison(found, ax=ax) is figure
    assert ax.get_yticklabels()[0].get_text() == "similar (0.25)"
    (bar, _) = drawn(ax, "similar:bar")
    assert matplotlib.colors.to_hex(bar.get_color()[0]) == "#ff8a50" != COLOUR["peak"]

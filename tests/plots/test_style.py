"""Pictures leave matplotlib as they found it, show themselves, and keep every word inside the frame."""

from __future__ import annotations

import subprocess
import sys

import matplotlib
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure

import goldpeak
from goldpeak.bon import kl_of_n
from goldpeak.io.sizes import size_of
from goldpeak.plots.scales import kl_ticks, log_ticks, number_label
from goldpeak.plots.style import size_colours, style
from goldpeak.wording import size as size_label

PICTURES = {
    "curves by run": lambda post: goldpeak.plots.curves(post),
    "curves by size": lambda post: goldpeak.plots.curves(post, by="rm_params"),
    "peak": lambda post: goldpeak.plots.peak_vs_size(post),
    "density of runs": lambda post: goldpeak.plots.density(post),
    "gap": lambda post: goldpeak.plots.gap(post),
    "trends": lambda post: goldpeak.plots.trends(post),
}


@pytest.mark.parametrize("draw", PICTURES.values(), ids=PICTURES)
def test_global_settings_are_untouched(nine, draw):
    before = dict(matplotlib.rcParams)
    draw(nine)._repr_png_()
    assert dict(matplotlib.rcParams) == before


def test_pyplot_is_never_imported_nor_matplotlib_before_the_first_picture():
    program = (
        "import sys, goldpeak; goldpeak.plots; assert 'matplotlib' not in sys.modules\n"
        "goldpeak.plots.curves, goldpeak.plots.peak_vs_size\n"
        "import goldpeak.plots.style, goldpeak.plots.draw_curves\n"
        "assert 'matplotlib.figure' in sys.modules and 'matplotlib.pyplot' not in sys.modules\n"
        "assert callable(goldpeak.plots.curves)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_a_notebook_gets_a_png(nine):
    png = goldpeak.plots.peak_vs_size(nine)._repr_png_()
    assert png.startswith(b"\x89PNG")
    assert len(png) > 10_000


@pytest.mark.parametrize("draw", PICTURES.values(), ids=PICTURES)
def test_words_stay_inside_the_figure_and_off_one_another(any_count, draw):
    assert_words_have_room(draw(any_count))


WITH_KL = {name: draw for name, draw in PICTURES.items() if name != "trends"} | {
    "budget": lambda post: goldpeak.plots.budget(post, [1e7]),
    "budgets": lambda post: goldpeak.plots.budget(post, [1e6, 1e7, 1e8, 1e10]),
}


@pytest.mark.parametrize("draw", WITH_KL.values(), ids=WITH_KL)
def test_pictures_of_best_of_n_have_n_beside_kl(nine, posterior, draw):
    """As a row of its own, and where peaks are set against sizes in the place of √KL; at the KL that an n has."""
    bon = posterior(np.geomspace(1e6, 1e9, 9).tolist(), kl_top=9.0)
    data = bon["constant_data"].to_dataset()
    bon["constant_data"] = xr.DataTree(data.assign(method=data["method"].str.replace("rl", "bon")))
    figure = draw(bon)
    assert_words_have_room(figure)
    beside = [axis for ax in figure.axes for child in ax.child_axes for axis in (child.xaxis, child.yaxis)]
    (axis, *_) = [axis for axis in beside if axis.label.get_text() == "n of best-of-n"]
    n = [size_of(label.get_text()) for label in axis.get_ticklabels()]
    assert len(n) >= 4
    kl = kl_of_n(n)
    np.testing.assert_allclose(axis.get_ticklocs(), kl if axis.axis_name == "y" else np.sqrt(kl))
    plain = [c.get_ylabel() + c.get_xlabel() for ax in draw(nine).axes for c in ax.child_axes]
    assert "n of best-of-n" not in plain


def assert_words_have_room(figure):
    FigureCanvasAgg(figure).draw()
    frame = figure.bbox.padded(3)
    for legend in figure.legends:
        assert frame.contains(*legend.get_window_extent().min)
        assert frame.contains(*legend.get_window_extent().max)
    boxes = []
    for ax in figure.axes:
        titles = [ax._left_title, ax.xaxis.label, ax.yaxis.label, *ax.texts]
        boxes += [t.get_window_extent() for t in titles if t.get_text() and t.get_visible()]
        boxes += [label.get_window_extent() for label in visible_tick_labels(ax)]
        for child in ax.child_axes:
            boxes += [label.get_window_extent() for label in visible_tick_labels(child)]
            names = (child.xaxis.label, child.yaxis.label)
            boxes += [name.get_window_extent() for name in names if name.get_text() and name.get_visible()]
    boxes += [legend.get_window_extent() for legend in figure.legends]
    assert all(frame.contains(*box.min) and frame.contains(*box.max) for box in boxes)
    overlaps = [(a, b) for i, a in enumerate(boxes) for b in boxes[:i] if shrunk(a).overlaps(shrunk(b))]
    assert not overlaps


@pytest.mark.parametrize("draw", PICTURES.values(), ids=PICTURES)
def test_dark_settings_give_a_dark_picture_that_can_be_read(nine, draw):
    with matplotlib.rc_context({"figure.facecolor": "black", "axes.facecolor": "black", "text.color": "white"}):
        figure = draw(nine)
    FigureCanvasAgg(figure).draw()
    ground = luminance(figure.get_facecolor())
    assert ground < 0.02
    for ax in figure.axes:
        assert luminance(ax.get_facecolor()) < 0.02
        words = [ax._left_title, ax.xaxis.label, ax.yaxis.label, *ax.texts, *visible_tick_labels(ax)]
        assert all(contrast(t.get_color(), ground) > 4.5 for t in words)
    for legend in figure.legends:
        assert all(contrast(t.get_color(), ground) > 4.5 for t in legend.get_texts())


def test_axes_of_a_dark_figure_get_colours_that_can_be_seen(nine):
    figure = Figure(facecolor="black")
    ax = figure.add_subplot(facecolor="none")
    goldpeak.plots.peak_vs_size(nine, measured=nine_measured(), ax=ax)
    drawn = [line.get_color() for line in ax.lines if line.get_gid() in ("measured", "median")]
    assert drawn
    assert all(contrast(colour, 0.0) > 4.5 for colour in drawn)


def test_sizes_differ_in_lightness_on_either_ground():
    for dark in (False, True):
        with matplotlib.rc_context({"figure.facecolor": "black" if dark else "white"}), style():
            cmap, norm = size_colours([1e6, 1e9])
            shades = [luminance(cmap(float(norm(size)))) for size in (1e6, 1e7, 1e8, 1e9)]
        assert shades == sorted(shades)
        assert contrast(cmap(0.0 if dark else 1.0), 0.0 if dark else 1.0) > 1.5


def nine_measured():
    return pd.DataFrame({"rm_params": [1e6, 1e9], "kl_peak": [5.0, 50.0]})


def luminance(colour):
    """As WCAG 2 defines it."""
    channels = np.array(to_rgba(colour)[:3])
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def contrast(colour, ground):
    light, dark = sorted((luminance(colour), ground), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def shrunk(box):
    """Boxes that merely touch do not overlap."""
    return box.padded(-1.0)


def visible_tick_labels(ax):
    for axis, (low, high) in ((ax.xaxis, ax.get_xlim()), (ax.yaxis, ax.get_ylim())):
        for tick in axis.get_major_ticks():
            if low <= tick.get_loc() <= high:
                yield from (t for t in (tick.label1, tick.label2) if t.get_visible() and t.get_text())


@given(st.floats(0.3, 60.0), st.integers(3, 15))
def test_kl_ticks_have_room(d_max, most):
    ticks = kl_ticks(d_max, most)
    assert ticks[0] == 0
    assert (np.diff(np.sqrt(ticks)) >= d_max / most * (1 - 1e-2)).all()
    assert np.sqrt(ticks[-1]) <= d_max * (1 + 1e-6)


@given(st.floats(1e-3, 1e12), st.floats(1.0, 1e10))
def test_log_ticks_lie_inside_and_are_not_too_many(low, ratio):
    ticks = log_ticks(low, low * ratio)
    assert len(ticks) <= 8
    assert ((ticks >= low * (1 - 1e-6)) & (ticks <= low * ratio * (1 + 1e-6))).all()


@pytest.mark.parametrize(("value", "text"), [(999_999.0, "1M"), (999.0, "999"), (1_000.0, "1k"), (2.5e13, "25T")])
def test_sizes_are_named_as_people_say_them(value, text):
    assert size_label(value) == text


@pytest.mark.parametrize(("value", "text"), [(0.0, "0"), (120.0, "120"), (1234.0, "1234"), (0.05, "0.05")])
def test_numbers_are_plain(value, text):
    assert number_label(value) == text

"""Picture of the peak against size: intervals, infinite ends, extrapolation and measured peaks."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from artists import drawn
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

import goldpeak
from goldpeak.errors import FitError
from goldpeak.peaks import peak
from goldpeak.plots.peak_data import default_sizes, kl_axis, peak_view, spread


def legend_text(figure):
    (legend,) = figure.legends
    return [legend.get_title().get_text(), *(text.get_text() for text in legend.get_texts())]


# ------------------------------------------------------------------------------------------------------ the numbers


def test_the_grid_goes_one_decade_beyond():
    grid = default_sizes([1e8, 1e6, 1e7])
    assert grid[[0, -1]] == pytest.approx([1e6, 1e9])
    assert (np.diff(np.log(grid)) > 0).all()


def test_runs_of_one_size_stand_side_by_side_and_keep_to_their_size():
    sizes = np.repeat([1e6, 2e6, 1e9], [10, 3, 1])
    x = spread(sizes)
    assert len(set(x)) == len(x)
    assert x[-1] == 1e9
    nearest = np.array([1e6, 2e6, 1e9])[np.abs(np.log(x[:, None] / [1e6, 2e6, 1e9])).argmin(1)]
    np.testing.assert_array_equal(nearest, sizes)


def test_view_holds_the_tables_of_peak(nine):
    view = peak_view(nine, [1e9, 1e7], prob=0.8, include="typical")
    assert view.sizes.equals(peak(nine, [1e7, 1e9], prob=0.8, include="typical").table)
    assert view.runs.drop(columns="x").equals(peak(nine, prob=0.8).table)
    assert view.observed == (1e6, pytest.approx(1e9))


def test_a_wild_lower_end_does_not_squeeze_the_rest(nine):
    view = peak_view(nine)
    view.runs.loc["run000", "lo"] = 1e-9
    axis = kl_axis(view)
    assert axis.low_arrow == pytest.approx(view.runs["median"].min() / 30 / 1.35, rel=0.2)
    assert axis.bottom < axis.low_arrow < axis.high_arrow < axis.top


@pytest.mark.parametrize(
    ("measured", "message"),
    [
        (pd.DataFrame({"rm_params": [1e6]}), "measured lacks the column kl_peak; it has rm_params"),
        (pd.DataFrame({"rm_params": [1e6], "kl_peak": [np.nan]}), "negative or missing"),
        (pd.DataFrame({"rm_params": [0.0], "kl_peak": [1.0]}), "no number > 0"),
    ],
)
def test_unusable_measured_peaks_are_refused(nine, measured, message):
    with pytest.raises(FitError, match=message):
        goldpeak.plots.peak_vs_size(nine, measured=measured)


# ---------------------------------------------------------------------------------------------------- what is drawn


def test_bars_of_runs_are_their_intervals(any_count):
    figure = goldpeak.plots.peak_vs_size(any_count)
    view = peak_view(any_count)
    axis = kl_axis(view)
    (bars,) = drawn(figure.axes[0], "run:bars")
    ends = np.array([segment[:, 1] for segment in bars.get_segments()])
    assert len(ends) == any_count["posterior"].sizes["run"]
    lo, median, hi = (view.runs[name].to_numpy() for name in ("lo", "median", "hi"))
    finite = np.isfinite(hi)
    np.testing.assert_allclose(ends[finite], np.column_stack([lo, hi])[finite])
    assert (ends[~finite, 1] == axis.high_arrow).all()
    (up,), (dots,) = drawn(figure.axes[0], "run:^"), drawn(figure.axes[0], "run:medians")
    np.testing.assert_array_equal(up.get_xdata(), view.runs["x"][~finite])
    np.testing.assert_array_equal(dots.get_ydata(), median[np.isfinite(median)])


def test_infinite_ends_of_the_band_are_arrows_inside_the_axes(nine):
    figure = goldpeak.plots.peak_vs_size(nine)
    view = peak_view(nine)
    (arrows,), (median,) = drawn(figure.axes[0], "endless"), drawn(figure.axes[0], "median")
    low, high = figure.axes[0].get_ylim()
    assert (arrows.get_ydata() > view.kl_max).all()
    assert (arrows.get_ydata() < high).all()
    endless = view.sizes.loc[np.isinf(view.sizes["hi"]), "rm_params"]
    assert set(arrows.get_xdata()) <= set(endless)
    assert arrows.get_xdata()[0] == endless.iloc[0]
    finite = np.isfinite(view.sizes["median"].to_numpy())
    np.testing.assert_array_equal(np.isfinite(median.get_ydata()), finite)
    assert (median.get_ydata()[finite] >= low).all()


def test_kl_max_is_drawn_only_where_an_interval_reaches_it(nine, posterior):
    (line,) = drawn(goldpeak.plots.peak_vs_size(nine, kl_max=100.0).axes[0], "kl_max")
    assert set(line.get_ydata()) == {100.0}
    near = posterior([1e6, 2e6, 4e6], kl_max=1e6)
    figure = goldpeak.plots.peak_vs_size(near, rm_params=[1e6])
    assert not drawn(figure.axes[0], "kl_max")
    assert not any("looked for" in text for text in legend_text(figure))


def test_extrapolation_is_shaded_from_the_largest_observed_size(nine):
    figure = goldpeak.plots.peak_vs_size(nine)
    (shade,) = drawn(figure.axes[0], "extrapolated")
    right = figure.axes[0].get_xlim()[1]
    assert shade.get_x() == pytest.approx(1e9)
    assert shade.get_x() + shade.get_width() == pytest.approx(right)
    assert {text.get_text() for text in figure.axes[0].texts} == {"observed sizes", "extrapolated"}
    assert not drawn(goldpeak.plots.peak_vs_size(nine, rm_params=[1e7]).axes[0], "extrapolated")
    below = drawn(goldpeak.plots.peak_vs_size(nine, rm_params=[1e4]).axes[0], "extrapolated")
    assert len(below) == 1
    assert below[0].get_x() + below[0].get_width() == pytest.approx(1e6)


def test_few_sizes_are_bars_not_a_band(nine):
    figure = goldpeak.plots.peak_vs_size(nine, rm_params=[2e6, 3e7])
    assert not drawn(figure.axes[0], "band")
    (bars,) = drawn(figure.axes[0], "size:bars")
    table = peak(nine, [2e6, 3e7]).table
    ends = np.array(bars.get_segments())
    np.testing.assert_allclose(ends[:, 0, 0], [2e6, 3e7])
    np.testing.assert_allclose(ends[:, :, 1], table[["lo", "hi"]])


def test_measured_peaks_are_crosses_and_open_arrows(nine):
    measured = pd.DataFrame(
        {"run": ["run002", "new", "newer"], "rm_params": [1e6 * 10**0.75, 3e9, 5e9], "kl_peak": [9.0, 70.0, np.inf]}
    )
    figure = goldpeak.plots.peak_vs_size(nine, measured=measured)
    (crosses,), (open_,) = drawn(figure.axes[0], "measured"), drawn(figure.axes[0], "not turned")
    view = peak_view(nine)
    assert crosses.get_marker() == "x"
    np.testing.assert_allclose(crosses.get_xydata(), [[view.runs.loc["run002", "x"], 9.0], [3e9, 70.0]])
    assert open_.get_markerfacecolor() == "none"
    assert view.kl_max < open_.get_ydata()[0] < figure.axes[0].get_ylim()[1]
    assert "measured peak" in legend_text(figure)
    assert "measured: had not turned" in legend_text(figure)


def test_measured_peaks_of_one_size_share_the_runs_places(posterior):
    post = posterior([1e6, 1e6, 1e7])
    measured = pd.DataFrame({"run": ["run001", "run000"], "rm_params": 1e6, "kl_peak": [9.0, 8.0]})
    for table in (measured, measured.set_index("run")):
        view = peak_view(post, measured=table)
        assert view.measured["x"].tolist() == view.runs.loc[["run001", "run000"], "x"].tolist()


def test_words_name_interval_probability_and_units(nine):
    figure = goldpeak.plots.peak_vs_size(nine, prob=0.8, include="typical")
    text = legend_text(figure)
    assert "80 % equal-tailed interval" in text[0]
    assert "typical run at each size" in text
    ax = figure.axes[0]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("reward-model parameters", "KL at the peak (nats)")
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")


def test_the_square_root_of_kl_is_on_the_other_side(nine):
    ax = goldpeak.plots.peak_vs_size(nine).axes[0]
    (right,) = ax.child_axes
    assert right.get_ylabel() == "√KL (square-root nats)"
    labels = {
        float(label.get_text()): tick for label, tick in zip(right.get_yticklabels(), right.get_yticks(), strict=True)
    }
    assert len(labels) > 2
    for d, kl in labels.items():
        assert kl == pytest.approx(d**2)
    figure = ax.figure
    FigureCanvasAgg(figure).draw()
    at = right.transData.transform([[1.0, kl] for kl in labels.values()])[:, 1]
    wanted = ax.transData.transform([[1.0, d**2] for d in labels])[:, 1]
    np.testing.assert_allclose(at, wanted, atol=0.5)


def test_one_size_draws_its_runs_only(posterior):
    post = posterior([1e6, 1e6])
    figure = goldpeak.plots.peak_vs_size(post)
    assert not drawn(figure.axes[0], "band")
    assert not drawn(figure.axes[0], "extrapolated")
    assert len(drawn(figure.axes[0], "run:bars")[0].get_segments()) == 2
    assert [tick.get_text() for tick in figure.axes[0].get_xticklabels()] == ["1M"]
    with pytest.raises(FitError, match="same rm_params"):
        goldpeak.plots.peak_vs_size(post, rm_params=[1e7])


def test_an_axes_of_ones_own_is_used(nine):
    own = Figure()
    ax = own.add_subplot()
    assert goldpeak.plots.peak_vs_size(nine, ax=ax) is own
    assert ax.get_legend() is not None

"""Pictures of curves: the numbers behind them, and that the artists hold these numbers."""

from __future__ import annotations

import matplotlib
import numpy as np
import pytest
from artists import drawn
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure

import goldpeak
from goldpeak.curves import new_curves, observed_curves
from goldpeak.errors import FitError
from goldpeak.peaks import peak
from goldpeak.plots import curve_data
from goldpeak.plots.curve_data import choose_runs, curve_view, gold_bands, measured_points, thinned


def points(ax):
    """x, y and the half-length of each error bar (None without bars), of all measured points of an axes."""
    bars_and_dots = [c for c in ax.containers if c.has_yerr or c.lines[0].get_gid() == "points"]
    x, y = np.concatenate([c.lines[0].get_xydata() for c in bars_and_dots]).T
    bars = [np.array(c.lines[2][0].get_segments()) for c in bars_and_dots if c.has_yerr]
    half = np.concatenate([b[:, 1, 1] - b[:, 0, 1] for b in bars]) / 2 if bars else None
    return x, y, half


def band_of(ax):
    """Upper and lower edge of the first band at each d: fill_between's polygon runs along one and back the other."""
    band = next(c for c in ax.collections if isinstance(c, PolyCollection) and c.get_gid() == "band")
    return band.get_paths()[0].vertices


# ------------------------------------------------------------------------------------------------------ the numbers


def test_bands_are_the_quantiles_of_the_draws(nine):
    curves, d = observed_curves(nine), np.array([0.0, 1.5, 6.0])
    bands = gold_bands(curves, d, 0.8)
    gold = curves.gold(d).reshape(-1, 9, 3)
    assert bands["median"].dims == ("run", "d")
    np.testing.assert_array_equal(bands["lo"], np.quantile(gold, 0.1, axis=0, method="inverted_cdf"))
    np.testing.assert_array_equal(bands["median"], np.quantile(gold, 0.5, axis=0, method="inverted_cdf"))
    np.testing.assert_array_equal(bands["hi"], np.quantile(gold, 0.9, axis=0, method="inverted_cdf"))
    assert (bands.sel(d=0.0).to_array() == 0).all()


def test_bands_do_not_depend_on_how_much_is_held_at_once(nine, monkeypatch):
    curves, d = observed_curves(nine), np.linspace(0, 8, 17)
    whole = gold_bands(curves, d, 0.9, np.array([2, 7]))
    asked = []
    real = type(curves).gold
    monkeypatch.setattr(type(curves), "gold", lambda self, d: asked.append(np.size(d)) or real(self, d))
    monkeypatch.setattr(curve_data, "MOST_VALUES", 5 * 1000 * 9)
    assert gold_bands(curves, d, 0.9, np.array([2, 7])).identical(whole)
    assert max(asked) == 5
    assert list(whole["run"].values) == ["run002", "run007"]


def test_bands_need_few_draws_of_many(posterior):
    post = posterior([1e6, 1e7], draws=3000, chains=2)
    few = thinned(post)
    assert 800 <= few["posterior"].sizes["chain"] * few["posterior"].sizes["draw"] <= 1000
    assert few.attrs == post.attrs
    assert post["posterior"].sizes["draw"] == 3000


def test_measured_points_are_the_fitted_ones(nine):
    table = measured_points(nine)
    np.testing.assert_array_equal(table["gold"], nine["observed_data"]["gold"])
    np.testing.assert_allclose(table["d"] ** 2, nine["constant_data"]["kl"])
    of_run = nine["constant_data"]["rm_params"].sel(run=table["run"].to_numpy()).values
    np.testing.assert_array_equal(table["rm_params"], of_run)
    assert (table["gold_se"] == 0.03).all()


def test_runs_are_chosen_evenly_over_sizes():
    sizes = np.repeat([1e6, 1e7, 1e8], [50, 5, 1])
    chosen = choose_runs(sizes, 7)
    assert [int((sizes[chosen] == n).sum()) for n in (1e6, 1e7, 1e8)] == [3, 3, 1]
    assert len(set(chosen)) == 7
    assert choose_runs(np.arange(1.0, 101.0), 3).tolist() == [0, 50, 99]
    assert choose_runs([3.0, 1.0, 2.0], 12).tolist() == [1, 2, 0]


def test_peaks_of_the_view_are_those_of_peak(nine):
    view = curve_view(nine, by="run", prob=0.8, max_panels=3)
    table = peak(nine, prob=0.8).table
    assert list(view.peaks.index) == ["run000", "run004", "run008"]
    assert view.peaks.equals(table.loc[view.peaks.index])
    assert view.note == "3 of 9 runs, chosen evenly over sizes"


def test_a_size_may_be_drawn_that_no_run_has(nine):
    view = curve_view(nine, by="rm_params", rm_params=[1e10, 1e6])
    assert view.bands["rm_params"].values.tolist() == [1e6, 1e10]
    assert len(view.points_of(0)) == 20
    assert len(view.points_of(1)) == 0
    expected = gold_bands(new_curves(thinned(nine), [1e6, 1e10]), view.bands["d"], 0.9)
    assert view.bands.equals(expected)


def test_no_curve_is_drawn_beyond_what_the_posterior_is_for(posterior):
    view = curve_view(posterior([1e6, 1e7], kl_max=60.0))
    assert view.bands["d"].values[-1] ** 2 == pytest.approx(60.0)
    assert curve_view(posterior([1e6, 1e7])).bands["d"].values[-1] == pytest.approx(1.15 * np.sqrt(60))


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"by": "size"}, "by is 'size'; allowed: run, rm_params"),
        ({"prob": 90}, "prob is 90"),
        ({"max_panels": 0}, "max_panels is 0"),
        ({"rm_params": [5.0]}, "no run has rm_params 5"),
        ({"by": "rm_params", "include": "all"}, "include is 'all'"),
    ],
)
def test_wrong_arguments_are_refused(nine, kwargs, message):
    with pytest.raises(FitError, match=message):
        goldpeak.plots.curves(nine, **kwargs)


# ---------------------------------------------------------------------------------------------------- what is drawn


def panels(figure):
    return [ax for ax in figure.axes if drawn(ax, "median")]


def test_each_run_has_its_panel_with_its_points(any_count):
    figure = goldpeak.plots.curves(any_count)
    view = curve_view(any_count)
    shown = panels(figure)
    assert len(shown) == min(any_count["posterior"].sizes["run"], 12)
    for i, ax in enumerate(shown):
        x, y, half = points(ax)
        mine = view.points_of(i)
        np.testing.assert_allclose(x**2, mine["kl"])
        np.testing.assert_array_equal(y, mine["gold"])
        np.testing.assert_allclose(half, 0.03)
        (median,) = drawn(ax, "median")
        np.testing.assert_array_equal(median.get_ydata(), view.bands["median"].values[i])
        name = str(view.bands["run"].values[i])
        assert ax.get_title(loc="left").startswith(name if len(name) < 20 else name[:12])


def test_the_band_drawn_is_the_band_computed(nine):
    view = curve_view(nine, max_panels=1)
    outline = band_of(panels(goldpeak.plots.curves(nine, max_panels=1))[0])
    band = view.bands.isel(run=0)
    for edge in ("lo", "hi"):
        expected = np.column_stack([band["d"], band[edge]])
        distance = np.abs(outline[:, None] - expected[None]).sum(-1).min(0)
        assert distance.max() < 1e-12


def test_peak_marks_show_the_interval_and_an_arrow_where_it_goes_on(nine):
    figure = goldpeak.plots.curves(nine)
    table = peak(nine).table
    right = panels(figure)[0].get_xlim()[1]
    finite, endless = "run000", "run008"
    assert np.isfinite(table.loc[finite, "hi"])
    assert np.isinf(table.loc[endless, "hi"])
    by_run = dict(zip(table.index, panels(figure), strict=True))
    (bar,) = drawn(by_run[finite], "peak:")
    np.testing.assert_allclose(np.square(bar.get_xdata()), table.loc[finite, ["lo", "hi"]].astype(float))
    assert not drawn(by_run[finite], "beyond:")
    (bar,), (arrow,) = drawn(by_run[endless], "peak:"), drawn(by_run[endless], "beyond:")
    assert 0.9 * right < arrow.get_xdata()[0] < right
    assert bar.get_xdata()[1] == arrow.get_xdata()[0]
    assert by_run[endless].get_title(loc="left").endswith("no peak up to KL 120")


def test_a_narrow_interval_is_drawn_as_narrow_as_it_is(posterior):
    post = posterior([1e6, 1e7], width=0.05)
    ax = panels(goldpeak.plots.curves(post))[0]
    (bar,) = drawn(ax, "peak:")
    np.testing.assert_allclose(np.square(bar.get_xdata()), peak(post).table.loc["run000", ["lo", "hi"]].astype(float))


def test_kl_axis_on_top_says_the_square(nine):
    ax = panels(goldpeak.plots.curves(nine, max_panels=1))[0]
    (top,) = ax.child_axes
    labels = [float(label.get_text()) for label in top.get_xticklabels()]
    np.testing.assert_allclose(np.square(top.get_xticks()), labels)
    assert len(labels) >= 5


def test_sizes_share_one_axes_and_one_colour_scale(any_count):
    figure = goldpeak.plots.curves(any_count, by="rm_params")
    view = curve_view(any_count, by="rm_params")
    (ax,) = panels(figure)
    medians = drawn(ax, "median")
    assert len(medians) == len(view.labels) <= 6
    assert len(points(ax)[0]) == len(view.points)
    lightness = [np.dot(matplotlib.colors.to_rgb(line.get_color()), [0.3, 0.6, 0.1]) for line in medians]
    assert (np.diff(lightness) > 0.03).all()


def test_points_without_standard_errors_have_no_bars(posterior):
    figure = goldpeak.plots.curves(posterior([1e6, 1e7], gold_se=False))
    assert points(panels(figure)[0])[2] is None
    assert "bar" not in figure.legends[0].get_texts()[0].get_text()


def test_an_axes_of_ones_own_is_used(nine):
    own = Figure()
    ax = own.add_subplot()
    assert goldpeak.plots.curves(nine, by="rm_params", ax=ax) is own
    assert len(own.axes) == 1
    assert ax.get_legend() is not None
    with pytest.raises(FitError, match="ax takes one panel"):
        goldpeak.plots.curves(nine, ax=ax)

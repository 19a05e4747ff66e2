"""What the pictures of the gap, the coefficients and the peak's density show is what the data and the posterior say."""

from __future__ import annotations

import numpy as np
import pytest
from artists import drawn
from matplotlib.figure import Figure

import goldpeak
from goldpeak.errors import FitError
from goldpeak.plots.draw_density import BINS, HEIGHT, density_view
from goldpeak.plots.draw_gap import gap_view
from goldpeak.plots.draw_trends import trend_view
from goldpeak.store import stored_runs

# ---- gap


def test_gap_shows_proxy_gold_and_their_difference_from_each_runs_start(nine):
    figure = goldpeak.plots.gap(nine)
    above, below = figure.axes[:2]
    runs = stored_runs(nine)
    name = str(runs["run"].values[3])
    here = runs["run_index"].values == 3
    order = np.argsort(runs["kl"].values[here])
    d = np.sqrt(runs["kl"].values[here][order])
    gold, proxy = (runs[v].values[here][order] for v in ("gold", "proxy"))
    (line,) = drawn(above, f"gold:{name}")
    np.testing.assert_allclose(line.get_xydata(), np.column_stack([d, gold - gold[0]]))
    (line,) = drawn(above, f"proxy:{name}")
    np.testing.assert_allclose(line.get_ydata(), proxy - proxy[0])
    (line,) = drawn(below, f"gap:{name}")
    np.testing.assert_allclose(line.get_ydata(), (proxy - proxy[0]) - (gold - gold[0]))
    colours = {drawn(above, f"{kind}:{name}")[0].get_color() for kind in ("gold", "proxy")}
    assert len(colours) == 1


def test_gap_of_many_runs_says_how_many_it_shows(any_count):
    figure = goldpeak.plots.gap(any_count, max_runs=20)
    count = any_count["constant_data"].sizes["run"]
    assert len(drawn(figure.axes[0], "gold:")) == min(20, count)
    assert (figure.axes[0]._left_title.get_text() == "20 of 200 runs, chosen evenly over sizes") == (count == 200)


def test_gap_in_axes_of_ones_own_and_of_run_curves():
    ax = Figure().add_subplot()
    figure = goldpeak.plots.gap(goldpeak.datasets.lab("rl"), ax=ax)
    assert figure is ax.figure
    assert len(drawn(ax, "proxy:")) == len(drawn(ax, "gap:")) == 40


def test_gap_needs_a_proxy():
    runs = goldpeak.datasets.lab("rl")
    with pytest.raises(FitError, match="give read_runs a column 'proxy'"):
        gap_view(runs.drop_vars("proxy"))
    with pytest.raises(FitError, match="the column 'proxy' is empty"):
        gap_view(runs.assign(proxy=runs["proxy"] * np.nan))


# ---- trends


def test_trends_show_every_runs_coefficients_and_the_trend(nine):
    figure = goldpeak.plots.trends(nine, prob=0.8)
    for ax, name in zip(figure.axes, ("alpha", "beta"), strict=True):
        draws = nine["posterior"][name].values.reshape(-1, 9)
        (medians,) = drawn(ax, "run:medians")
        np.testing.assert_allclose(medians.get_ydata(), np.median(draws, axis=0), atol=2e-3)
        (bars,) = drawn(ax, "run:bars")
        segments = np.array(bars.get_segments())
        inside = (draws >= segments[:, 0, 1]) & (draws <= segments[:, 1, 1])
        np.testing.assert_allclose(inside.mean(axis=0), 0.8, atol=0.01)
        assert drawn(ax, "extrapolated")
    coef = nine["posterior"]["beta_coef"].values.reshape(-1, 2)
    (line,) = drawn(figure.axes[1], "median")
    x = np.log(line.get_xdata() / float(nine.attrs["n0"]))
    np.testing.assert_allclose(line.get_ydata(), np.median(coef[:, :1] + coef[:, 1:] * x, axis=0), atol=2e-3)


def test_trends_of_one_size_have_no_band(posterior):
    ax = goldpeak.plots.trends(posterior([1e6, 1e6]), ["beta"]).axes[0]
    assert not drawn(ax, "band")
    assert not drawn(ax, "extrapolated")


def test_trends_of_a_card_in_peak_coordinates():
    some = goldpeak.select(goldpeak.datasets.lab("rl"), [True] * 2 + [False] * 36 + [True] * 2)
    post = goldpeak.fit(some, "similar", draws=100)
    view = trend_view(post)
    assert view.coefficients == ("d_star", "gold_star", "gamma")
    found = view.runs[view.runs["coefficient"] == "d_star"].set_index("run")["median"]
    stars = np.sqrt(goldpeak.peak(post).table["kl_star_median"])
    np.testing.assert_allclose(found[stars.index], stars, rtol=1e-2)


def test_what_all_runs_share_is_drawn_once():
    some = goldpeak.select(goldpeak.datasets.lab("rl"), [True] * 2 + [False] * 36 + [True] * 2)
    figure = goldpeak.plots.trends(goldpeak.fit(some, "similar", draws=100), ["d_star", "gamma"])
    own, shared = figure.axes
    assert (own._left_title.get_text(), shared._left_title.get_text()) == ("", "one for all runs")
    assert drawn(own, "run:bars")
    assert not drawn(shared, "run:bars")


def test_the_unit_of_beta_is_that_of_the_form(nine):
    assert trend_view(nine).labels[1] == "beta (gold per √nat)"
    some = goldpeak.select(goldpeak.datasets.lab("bon"), [True] * 2 + [False] * 36 + [True] * 2)
    assert trend_view(goldpeak.fit(some, "bon_paper", draws=100)).labels[1] == "beta (gold per nat)"


def test_trends_of_a_mixture_ask_for_one_card():
    post = goldpeak.fit(goldpeak.datasets.lab("rl"), "rl_paper", draws=100)
    mixed = goldpeak.combine([post], weights={"rl_paper": 1.0})
    with pytest.raises(FitError, match="here one is needed"):
        trend_view(mixed)


@pytest.mark.parametrize(("asked", "message"), [(["gamma"], "allowed: alpha, beta"), ([], "nothing")])
def test_trends_refuse_what_is_not_there(nine, asked, message):
    with pytest.raises(FitError, match=message):
        goldpeak.plots.trends(nine, asked)


def test_trends_in_axes_of_ones_own_take_one_coefficient(nine):
    ax = Figure().add_subplot()
    with pytest.raises(FitError, match="ask for one of them"):
        goldpeak.plots.trends(nine, ax=ax)
    assert goldpeak.plots.trends(nine, ["beta"], ax=ax) is ax.figure


# ---- density


def test_density_and_atom_hold_all_probability(any_count):
    view = density_view(any_count)
    step = np.sqrt(view.kl_max) / BINS
    total = view.density.sum(axis=1) * step + view.peaks["p_none"] + view.peaks["p_start"]
    np.testing.assert_allclose(total, 1.0, atol=1e-9)
    assert len(view.labels) <= 10


def test_density_has_the_quantiles_of_the_draws(nine):
    view = density_view(nine, rm_params=[1e6, 1e8])
    draws = np.sqrt(goldpeak.peak(nine, [1e6, 1e8]).draws["kl_peak"].values.reshape(-1, 2))
    share = np.cumsum(view.density, axis=1) * np.sqrt(view.kl_max) / BINS
    for i in range(2):
        for q in (0.1, 0.5):
            assert view.d[np.searchsorted(share[i], q)] == pytest.approx(np.quantile(draws[:, i], q), rel=0.05)


def test_the_bar_at_the_edge_is_the_probability_of_no_peak(nine):
    figure = goldpeak.plots.density(nine, [1e6, 1e12])
    ax, view = figure.axes[0], density_view(nine, [1e6, 1e12])
    assert view.peaks["p_none"].iloc[1] > 0.2
    for i, expected in enumerate(view.peaks["p_none"]):
        (bar,) = drawn(ax, f"none:{i}")
        assert bar.get_height() == pytest.approx(HEIGHT * expected)
        (region,) = drawn(ax, "infinity")
        assert bar.get_x() > region.get_x() > ax.get_xticks()[-1]
    (words,) = drawn(ax, "percent:1")
    assert words.get_text() == f"{100 * view.peaks['p_none'].iloc[1]:.0f} %"
    assert drawn(ax, "endless:1")


def test_the_axis_goes_as_far_as_the_peaks_do(posterior):
    near = posterior([1e6, 2e6], kl_max=1e5)
    (region,) = drawn(goldpeak.plots.density(near).axes[0], "infinity")
    latest = np.sqrt(np.nanquantile(goldpeak.peak(near).draws["kl_peak"].values, 0.995, axis=(0, 1)).max())
    assert latest < region.get_x() < 1.5 * latest
    far = posterior([1e6, 1e7], kl_max=0.5)
    (region,) = drawn(goldpeak.plots.density(far).axes[0], "infinity")
    assert region.get_x() == pytest.approx(np.sqrt(0.5))


def test_a_peak_that_never_comes_is_all_atom(posterior):
    view = density_view(posterior([1e6, 1e7], kl_max=0.5))
    assert (view.peaks["p_none"] == 1).all()
    assert (view.density == 0).all()
    goldpeak.plots.density(posterior([1e6, 1e7], kl_max=0.5))


def test_density_in_axes_of_ones_own(nine):
    ax = Figure().add_subplot()
    assert goldpeak.plots.density(nine, ax=ax) is ax.figure
    assert ax.get_legend() is not None

"""Calibration: a right engine stays within the bands and a broken one does not."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure
from scipy import stats

import goldpeak
from goldpeak.check import sbc as module
from goldpeak.errors import FitError
from goldpeak.simulation import Fleet

SMALL = Fleet(rm_params=(1e6, 1e7, 1e8), rms_per_size=1, runs_per_rm=1, points=8)


def halved(runs, card, seed):
    """The exact engine with the posterior's variance halved."""
    post = goldpeak.fit(runs, card, engine="exact", seed=seed, draws=100)
    posterior = post["posterior"].to_dataset()
    middle = posterior.median(("chain", "draw"))
    post["posterior"] = xr.DataTree(middle + (posterior - middle) * np.sqrt(0.5))
    return post


def test_ranks_with_infinite_draws_and_ties_are_uniform() -> None:
    rng = np.random.default_rng(4)
    draws = np.where(rng.random((500, 101)) < 0.4, np.inf, rng.integers(0, 3, (500, 101)))
    found = [module._pit(float(row[0]), row[1:], rng) for row in draws]
    assert stats.kstest(found, "uniform").pvalue > 0.01


def test_the_same_seed_gives_the_same_answer_whatever_the_jobs() -> None:
    one, two = (goldpeak.sbc("rl_paper", design=SMALL, n=6, seed=3, draws=50, n_jobs=jobs) for jobs in (1, 2))
    np.testing.assert_array_equal(one.pit, two.pit)
    assert one.pit.sizes["quantity"] == len(one.table) == 10
    assert "kl_peak[10x]" in one.table.index
    assert one.summary().startswith("rl_paper, engine exact: within the bands; 6 replications")


def test_a_backend_of_the_user_s_is_used() -> None:
    from joblib import parallel_config

    with parallel_config(backend="threading", n_jobs=2):
        found = goldpeak.sbc("rl_paper", design=SMALL, n=6, seed=3, draws=50, n_jobs=None)
    np.testing.assert_array_equal(found.pit, goldpeak.sbc("rl_paper", design=SMALL, n=6, seed=3, draws=50).pit)


@pytest.mark.slow
def test_an_engine_that_halves_the_variance_is_outside() -> None:
    found = goldpeak.sbc("rl_paper", halved, SMALL, n=150, seed=1, n_jobs=1)
    assert not found.passed
    assert found.p_value < 0.01
    assert (found.table["spread"].drop("log_likelihood") > 1.05).mean() > 0.7
    assert "OUTSIDE" in found.summary()
    assert found.engine == "halved"


def test_what_cannot_be_fitted_is_said_and_does_not_pass() -> None:
    def sometimes(runs, card, seed):
        if seed % 2:
            raise FitError("odd")
        return goldpeak.fit(runs, card, seed=seed, draws=20)

    found = goldpeak.sbc("rl_paper", sometimes, SMALL, n=8, n_jobs=1)
    assert 0 < len(found.failures) < 8
    assert not found.passed
    assert "could not be fitted" in found.summary()

    def never(runs, card, seed):
        raise FitError("no")

    with pytest.raises(FitError, match="no replication could be fitted"):
        goldpeak.sbc("rl_paper", never, SMALL, n=2, n_jobs=1)
    with pytest.raises(FitError, match=r"n is 1.5; .* draws is 0; .* engine is 'quick'; allowed: auto, exact"):
        goldpeak.sbc("rl_paper", "quick", n=1.5, draws=0)


def test_the_picture_shows_the_differences_and_colours_what_is_outside() -> None:
    found = goldpeak.sbc("rl_paper", design=SMALL, n=8, seed=3, draws=20, n_jobs=1)
    figure = goldpeak.plots.sbc(found)
    assert len(figure.axes) == len(found.table)
    (line,) = (drawn for drawn in figure.axes[0].lines if drawn.get_gid() == "ecdf")
    x, y = line.get_data()
    values = np.sort(found.pit.values[0])
    np.testing.assert_allclose(y[1:-1], np.searchsorted(values, x[1:-1], side="right") / 8 - x[1:-1])
    assert "replications" in figure.get_suptitle()
    assert len(goldpeak.plots.sbc(found, quantity="sigma").axes) == 1
    ax = Figure().add_subplot()
    assert goldpeak.plots.sbc(found, quantity="sigma", ax=ax) is ax.figure
    assert ax.get_ylabel() == "ECDF − uniform"
    with pytest.raises(FitError, match=r"quantity is 'tau'; allowed: .*sigma"):
        goldpeak.plots.sbc(found, quantity="tau")
    with pytest.raises(FitError, match=r"ax takes one panel, and there are .* quantities; give quantity"):
        goldpeak.plots.sbc(found, ax=ax)


@pytest.mark.slow
@pytest.mark.parametrize("name", [*goldpeak.models().index])
def test_every_shipped_card_is_within_the_bands(name: str) -> None:
    """Three runs of six points; bands that one card in two hundred leaves by chance, for there are nine of them."""
    n = {"similar": 12, "similar_bon": 12}.get(name, 25)
    found = goldpeak.sbc(name, design=Fleet(points=6, kl_max=20.0), n=n, seed=7, draws=100)
    assert not found.failures
    assert found.p_value > 0.005, found.summary()

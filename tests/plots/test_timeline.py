"""The picture of a stopper's decisions shows what it said."""

from __future__ import annotations

import numpy as np
import pytest
from artists import drawn
from matplotlib.figure import Figure

import goldpeak
from goldpeak.errors import FitError


@pytest.fixture(scope="module")
def decisions():
    small, _ = goldpeak.split_by_size(goldpeak.datasets.lab("rl"))
    stopper = goldpeak.Stopper(goldpeak.fit(small, "rl_paper", draws=250, seed=1), rm_params=1e3)
    d = np.linspace(0.5, 6.0, 12)
    gold = d * (0.9 - 0.55 * np.log(d))
    return [stopper.update(kl=float(x**2), gold=float(g), gold_se=0.05) for x, g in zip(d, gold, strict=True)]


def test_it_shows_checkpoints_probabilities_and_the_first_stop(decisions):
    figure = goldpeak.plots.timeline(decisions)
    above, below = figure.axes
    np.testing.assert_allclose(drawn(above, "kl")[0].get_ydata(), [d.kl for d in decisions])
    np.testing.assert_allclose(drawn(below, "past")[0].get_ydata(), [d.p_past_peak for d in decisions])
    first = next(i for i, d in enumerate(decisions) if d.stop)
    assert drawn(above, "stop")[0].get_xdata()[0] == first + 1
    assert f"stop after checkpoint {first + 1}" in above._left_title.get_text()
    low, middle, high = above.transData.transform([(1, 0.0), (1, 1.0), (1, 4.0)])[:, 1]
    assert high - low == pytest.approx(2.0 * (middle - low)), "evenly spaced in the root of KL"
    medians = [d.kl_peak[0] for d in decisions]
    np.testing.assert_allclose(drawn(above, "median")[0].get_ydata(), np.where(np.isfinite(medians), medians, np.nan))


def test_one_decision_in_axes_of_ones_own(decisions):
    ax = Figure().add_subplot()
    assert goldpeak.plots.timeline(decisions[:1], ax=ax) is ax.figure
    assert ax.get_xlabel() == "checkpoint"
    with pytest.raises(FitError, match="no decisions"):
        goldpeak.plots.timeline([])

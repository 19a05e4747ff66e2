"""A run given the rest, in standard units: its curve is what the posterior says."""

from __future__ import annotations

import numpy as np

import goldpeak
from goldpeak.check.standard import given_rest, in_standard_units
from goldpeak.simulation import Fleet, simulate


def test_the_curve_of_a_run_is_the_posteriors() -> None:
    """What is put together here, in standard units, is what `observed_curves` says."""
    for card, engine in (("rl", "exact"), ("boxcox", "exact"), ("similar", "laplace_is")):
        made = simulate(card, Fleet(points=6, kl_max=20.0), seed=4)
        post = goldpeak.fit(made.runs, card, engine=engine, draws=5, chains=2, seed=1)
        design, flat = in_standard_units(post)
        one = given_rest(design, flat, 1)
        gold = goldpeak.curves.observed_curves(post).gold(one.d)[:, :, 1].reshape(10, -1)
        np.testing.assert_allclose(one.fitted() * design.scale, gold, atol=2e-5 * np.abs(gold).max())
        rows, at = np.arange(10), one.posterior()
        step = 1e-5 * np.eye(2)
        numeric = [(one.curve(at + h, rows) - one.curve(at - h, rows)) / 2e-5 for h in step]
        np.testing.assert_allclose(one.slopes(at, rows), np.stack(numeric, axis=-1), rtol=1e-4, atol=1e-5)

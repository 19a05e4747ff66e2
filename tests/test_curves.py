"""Curves at new sizes: what each level adds, and what a drifting trend adds beyond the data."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import simulate
import xarray as xr

import goldpeak
from goldpeak.card import Card, Coefficient, LogLinear, RandomWalk
from goldpeak.curves import Curves, new_curves, observed_curves
from goldpeak.forms import FORMS
from goldpeak.library import load_card
from goldpeak.priors import HalfNormal, LogNormal, Normal

LEVELS = dataclasses.replace(
    load_card("rl"),
    alpha=dataclasses.replace(load_card("rl").alpha, sd_rm=LogNormal(-2.0, 0.05), sd_run=LogNormal(-1.5, 0.05)),
)
LINE = LogLinear(Normal(0.3, 0.4), Normal(0.0, 0.1))
WALK = RandomWalk(Normal(0.3, 0.4), Normal(0.0, 0.1), LogNormal(-2.0, 0.1))


def fitted(card: Card, **settings: object) -> xr.DataTree:
    runs = simulate.runs(np.random.default_rng(0), points=6, **settings)
    return goldpeak.fit(runs, card, engine="exact", draws=1000)


@pytest.fixture(scope="module")
def post() -> xr.DataTree:
    return fitted(LEVELS)


def test_levels_add_their_variances(post: xr.DataTree) -> None:
    """Of each draw: new_run = typical + N(0, sd_rm^2 + sd_run^2), new_rm = typical + N(0, sd_rm^2)."""
    sizes = [1e7, 1e7, 1e9]
    typical, new_rm, new_run = (
        new_curves(post, sizes, include=level).alpha for level in ("typical", "new_rm", "new_run")
    )
    assert np.all(typical[..., 0] == typical[..., 1])
    sd_rm, sd_run = (post["posterior"][f"alpha_sd_{level}"].values[..., None] for level in ("rm", "run"))
    for found, sd in ((new_rm, sd_rm), (new_run, np.hypot(sd_rm, sd_run))):
        z = (found - typical) / sd
        n = z[..., 0].size
        assert np.all(np.abs(z.mean(axis=(0, 1))) < 4 / np.sqrt(n))
        assert np.all(np.abs(z.var(axis=(0, 1)) - 1) < 4 * np.sqrt(2 / n))
        # Two sizes asked for, even the same one, are two reward models.
        assert abs(np.corrcoef(z[..., 0].ravel(), z[..., 1].ravel())[0, 1]) < 4 / np.sqrt(n)


def test_a_new_run_has_a_discrepancy_of_its_own(post: xr.DataTree) -> None:
    typical, new_rm, new_run = (
        new_curves(post, [1e7, 1e9], include=level) for level in ("typical", "new_rm", "new_run")
    )
    shared = post["posterior"]["delta_shared"].values
    np.testing.assert_array_equal(typical.delta, np.stack([shared, shared], axis=2))
    np.testing.assert_array_equal(new_rm.delta, typical.delta)
    spread = post["posterior"]["eta_run"].values[..., None] * np.sqrt(
        typical.sines.variances(post["posterior"]["lengthscale"].values)
    )
    z = (new_run.delta - typical.delta) / spread[..., None, :]
    assert z.mean() == pytest.approx(0.0, abs=4 / np.sqrt(z.size))
    assert z.var() == pytest.approx(1.0, abs=4 * np.sqrt(2 / z.size))


def test_the_typical_curve_is_the_trend(post: xr.DataTree) -> None:
    x = np.log(1e9 / post.attrs["n0"])
    coef = post["posterior"]["beta_coef"]
    wanted = coef.sel(beta_term="intercept") + coef.sel(beta_term="slope") * x
    np.testing.assert_allclose(new_curves(post, [1e9], include="typical").beta[..., 0], wanted)


def test_a_log_link_is_a_power_law() -> None:
    card = dataclasses.replace(load_card("rl_paper"), beta=Coefficient(LINE))
    post = fitted(card)
    logged = post.copy()
    logged.attrs["card"] = dataclasses.replace(card, beta=Coefficient(LINE, link="log")).to_toml()
    plain, power = (new_curves(p, [1e5, 1e10], include="typical").beta for p in (post, logged))
    np.testing.assert_allclose(power, np.exp(plain))


def test_draws_are_those_of_the_seed(post: xr.DataTree) -> None:
    first, again, other = (new_curves(post, [1e9], seed=seed).alpha for seed in (None, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert not np.any(first == other)


def test_a_drifting_slope_widens_beyond_the_data_only() -> None:
    card = dataclasses.replace(load_card("rl_paper"), beta=Coefficient(WALK))
    post = fitted(card, sizes=(1e6, 4e6, 1.6e7))
    inside, edge, near, far = (
        new_curves(post, [size], include="typical").beta.std() for size in (5e6, 1.6e7, 1.6e8, 1.6e9)
    )
    # Knots 0.7 apart with slope changes of sd drift sqrt(0.7): each change weighs in with its distance.
    drift = float(np.sqrt((post["posterior"]["beta_drift"] ** 2).mean()))
    steps = 0.7 * np.arange(7)
    new_slopes = drift * np.sqrt(0.7 * np.sum((np.log(100) - steps[steps < np.log(100)]) ** 2))
    assert far > new_slopes * 0.75
    assert far > 2 * near > 4 * edge
    assert inside < near
    straight = fitted(dataclasses.replace(card, beta=Coefficient(LINE)), sizes=(1e6, 4e6, 1.6e7))
    assert far > 2 * new_curves(straight, [1.6e9], include="typical").beta.std()


def test_the_knots_of_a_larger_size_leave_the_fitted_sizes_alone() -> None:
    card = dataclasses.replace(load_card("rl_paper"), beta=Coefficient(WALK))
    post = fitted(card)
    alone, with_far = (new_curves(post, sizes, include="typical").beta[..., 0] for sizes in ([1e7], [1e7, 1e12]))
    np.testing.assert_allclose(alone, with_far)


def test_observed_curves_are_the_posteriors(post: xr.DataTree) -> None:
    found = observed_curves(post)
    assert found.dim == "run"
    assert found.items.tolist() == post["posterior"]["run"].values.tolist()
    np.testing.assert_array_equal(found.alpha, post["posterior"]["alpha"].values)
    # On average they go through the data, up to its noise of 0.03.
    d = np.sqrt(post["constant_data"]["kl"].values)
    gold = found.gold(d).mean(axis=(0, 1))[post["constant_data"]["run_index"].values, np.arange(len(d))]
    assert np.sqrt(np.mean((gold - post["observed_data"]["gold"].values) ** 2)) < 0.05


def test_flat_and_part_keep_the_curves() -> None:
    rng = np.random.default_rng(0)
    from goldpeak.discrepancy import Sines

    drawn = Curves(
        FORMS["boxcox"], "run", np.array(["a", "b", "c"]), *rng.standard_normal((2, 2, 5, 3)),
        gamma=rng.uniform(0, 1, (2, 5)), sines=Sines(5.0, 4), delta=rng.standard_normal((2, 5, 3, 4)),
    )  # fmt: skip
    d = np.linspace(0, 4, 9)
    gold = drawn.gold(d)
    assert gold.shape == (2, 5, 3, 9)
    assert np.all(gold[..., 0] == 0)
    np.testing.assert_allclose(drawn.flat().gold(d).reshape(gold.shape), gold)
    np.testing.assert_array_equal(drawn.part(slice(1, 3)).gold(d), gold[:, 1:3])
    chain, draw, item, at = 1, 3, 2, 5
    phi = FORMS["boxcox"].basis(d[at], drawn.gamma[chain, draw])
    by_hand = phi @ [drawn.alpha[chain, draw, item], drawn.beta[chain, draw, item]]
    by_hand += drawn.sines.columns(d[at]) @ drawn.delta[chain, draw, item]
    assert gold[chain, draw, item, at] == pytest.approx(float(by_hand))


def test_scales_of_the_unused_levels_are_absent() -> None:
    card = dataclasses.replace(load_card("rl_paper"), alpha=Coefficient(LINE, sd_run=HalfNormal(0.1)))
    post = fitted(card)
    typical, new_rm = (new_curves(post, [1e9], include=level).alpha for level in ("typical", "new_rm"))
    np.testing.assert_array_equal(typical, new_rm)

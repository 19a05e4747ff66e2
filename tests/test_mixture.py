"""Mixtures of posteriors: whatever takes a posterior takes them, and their numbers are those of weighted draws."""

from __future__ import annotations

import json

import numpy as np
import pytest
import xarray as xr
from numpy.testing import assert_allclose, assert_array_equal

import goldpeak
from goldpeak.errors import FitError, StoreError
from goldpeak.mixture import components, mix, weights_of

CARDS = ("rl_paper", "rl", "similar")


@pytest.fixture(scope="module")
def runs() -> xr.Dataset:
    lab = goldpeak.datasets.lab("rl")
    return goldpeak.select(lab, np.arange(lab.sizes["run"]) % 5 == 0)


@pytest.fixture(scope="module")
def posts(runs) -> dict[str, xr.DataTree]:
    return {card: goldpeak.fit(runs, card, seed=1, draws=400) for card in CARDS}


@pytest.fixture(scope="module")
def mixed(posts) -> xr.DataTree:
    return mix(posts, {"rl_paper": 0.25, "rl": 0.5, "similar": 0.25}, how="by hand", seed=3)


def weighted(values: list[np.ndarray], weights: list[float]) -> tuple[np.ndarray, np.ndarray]:
    return np.concatenate(values), np.concatenate(
        [np.full(len(v), w / len(v)) for v, w in zip(values, weights, strict=True)]
    )


@pytest.mark.parametrize("sizes", [None, [1e3, 1e7]])
def test_peaks_are_those_of_weighted_draws(posts, mixed, sizes):
    found = goldpeak.peak(mixed, sizes).draws["kl_peak"]
    assert found.dims[:2] == ("chain", "draw")
    assert found.shape[:2] == (4, 400)
    each = [goldpeak.peak(post, sizes, seed=3).draws["kl_peak"].values.reshape(1600, -1) for post in posts.values()]
    for item in range(found.shape[2]):
        values, weights = weighted([v[:, item] for v in each], [0.25, 0.5, 0.25])
        for level in (2.0, 4.0, 6.0, 15.0, np.inf):
            share = float(np.sum(weights[values < level]))
            assert abs(float(np.mean(found.values[..., item] < level)) - share) < 0.045


def test_each_draw_is_one_of_its_component(posts, mixed):
    found = goldpeak.predict(mixed, [1.0, 9.0])["gold"].values.reshape(1600, -1)
    component, row = (mixed["posterior"][name].values.ravel() for name in ("component", "row"))
    for k, post in enumerate(posts.values()):
        own = goldpeak.predict(post, [1.0, 9.0])["gold"].values.reshape(1600, -1)
        assert_allclose(found[component == k], own[row[component == k]])


def test_all_weight_on_one_gives_that_one(posts):
    alone = mix(posts, {"rl_paper": 0.0, "rl": 1.0, "similar": 0.0}, how="by hand")
    assert json.loads(alone.attrs["mixed_draws"]) == {"rl_paper": 0, "rl": 1600, "similar": 0}
    found, own = (
        np.sort(goldpeak.peak(post).draws["kl_peak"].values.reshape(1600, -1), axis=0) for post in (alone, posts["rl"])
    )
    assert_allclose(found, own)


def test_a_small_weight_gets_its_share_on_average(posts):
    few = {"rl_paper": posts["rl_paper"], "rl": posts["rl"]}
    share = 0.4 / 1600
    counts = [
        json.loads(mix(few, {"rl_paper": share, "rl": 1 - share}, how="by hand", seed=seed).attrs["mixed_draws"])[
            "rl_paper"
        ]
        for seed in range(40)
    ]
    assert set(counts) == {0, 1}


def test_components_are_what_was_mixed(posts, mixed):
    assert weights_of(mixed) == {"rl_paper": 0.25, "rl": 0.5, "similar": 0.25}
    for (weight, each), (name, post) in zip(components(mixed), posts.items(), strict=True):
        assert weight == weights_of(mixed)[name]
        assert xr.DataTree(each.dataset, children=each.children).identical(
            xr.DataTree(post.dataset, children=post.children)
        )
        assert each.attrs == post.attrs


def test_it_survives_the_disk(mixed, tmp_path):
    goldpeak.save(mixed, tmp_path / "mixed.nc")
    again = goldpeak.load(tmp_path / "mixed.nc")
    assert again.identical(mixed)
    assert_array_equal(goldpeak.peak(again).draws["kl_peak"], goldpeak.peak(mixed).draws["kl_peak"])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda post: post["posterior"].dataset["row"].values.__setitem__((0, 0), 10**6), "beyond those"),
        (lambda post: post["components"]["rl"].attrs.__setitem__("card_hash", "x"), "its component 'rl'"),
        (lambda post: post.attrs.__setitem__("weights", json.dumps({"no": 1.0})), "says how cannot be read"),
    ],
)
def test_a_damaged_file_is_refused(mixed, tmp_path, damage, message):
    broken = mixed.copy(deep=True)
    damage(broken)
    goldpeak.save(broken, tmp_path / "broken.nc")
    with pytest.raises(StoreError, match=message):
        goldpeak.load(tmp_path / "broken.nc")


def test_a_failed_gate_of_a_component_fails_the_mixture(posts):
    bad = posts["rl"].copy()
    gates = {"passed": False, "measured": {"ess": 3.0}, "failures": ["there are 3 effective draws"]}
    bad.attrs = posts["rl"].attrs | {"gates": json.dumps(gates)}
    mixed = mix({"rl_paper": posts["rl_paper"], "rl": bad}, {"rl_paper": 0.5, "rl": 0.5}, how="by hand")
    found = json.loads(mixed.attrs["gates"])
    assert not found["passed"]
    assert found["failures"] == ["rl: there are 3 effective draws"]


def test_what_cannot_be_mixed_is_refused_with_all_reasons(posts, mixed, runs):
    other = goldpeak.fit(goldpeak.select(runs, np.arange(runs.sizes["run"]) < 4), "rl_paper", draws=100)
    with pytest.raises(FitError, match=r"sum to 1.*different runs"):
        mix({"rl": posts["rl"], "other": other}, {"rl": 0.5, "other": 0.6}, how="by hand")
    with pytest.raises(FitError, match="a mixture already"):
        mix({"all": mixed}, {"all": 1.0}, how="by hand")
    with pytest.raises(FitError, match="no posteriors"):
        mix({}, {}, how="by hand")


def test_what_needs_one_card_says_so(mixed):
    with pytest.raises(FitError, match="mixes several cards"):
        goldpeak.collapse(mixed)


def test_budgets_and_pictures_take_it(mixed):
    table = goldpeak.budget(mixed, [1e4], rule="all").table
    assert len(table) == 5
    figure = goldpeak.plots.peak_vs_size(mixed)
    assert figure.axes
    assert goldpeak.plots.curves(mixed).axes

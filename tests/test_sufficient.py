"""Sufficient statistics of run curves: chunks add up, and the number of points costs nothing under iid noise."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
import pandas as pd
import pytest
import simulate
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

import goldpeak
from goldpeak.card import Card, FormSpec
from goldpeak.design import make_design
from goldpeak.engines.linear_model import LinearModel
from goldpeak.library import load_card
from goldpeak.noise import Statistics, variance

IID = dataclasses.replace(load_card("rl"), noise=load_card("rl_paper").noise)
CARDS = {"rl_paper": load_card("rl_paper"), "rl": load_card("rl"), "rl, iid": IID, "bon_paper": load_card("bon_paper")}


@functools.cache
def some_runs() -> xr.Dataset:
    """Six runs of unequal length; a third of the points of a run share a standard error."""
    rng = np.random.default_rng(1)
    table = simulate.table(rng, points=9)
    table["gold_se"] = np.where(rng.random(len(table)) < 0.3, 0.02, table["gold_se"])
    table = table[(table["run"] != table["run"].iloc[0]) | (table["kl"] < 5.0)]
    return goldpeak.read_runs(pd.DataFrame(table))


def by_error(found: Statistics) -> dict[tuple[int, float], tuple[float, np.ndarray]]:
    """Number and matrix of each run and standard error, in whatever slot they are."""
    return {
        (run, float(found.se[run, slot])): (float(found.count[run, slot]), found.gram[run, slot])
        for run, slot in zip(*np.nonzero(found.count), strict=True)
    }


@pytest.mark.parametrize("card", CARDS.values(), ids=CARDS)
@settings(deadline=None, max_examples=10)
@given(data=st.data())
def test_chunks_add_up_to_the_whole(card: Card, data: st.DataObject) -> None:
    runs = some_runs()
    whole = goldpeak.suffstats(runs, card)
    owner = np.array(data.draw(st.lists(st.integers(0, 3), min_size=runs.sizes["point"], max_size=runs.sizes["point"])))
    chunks = [goldpeak.suffstats(runs, card, points=owner == chunk) for chunk in range(4)]
    merged, wanted = by_error(functools.reduce(Statistics.__add__, chunks)), by_error(whole)
    assert merged.keys() == wanted.keys()
    for key, (count, gram) in wanted.items():
        assert merged[key][0] == count
        # Relative to the matrix: single entries may cancel.
        np.testing.assert_allclose(merged[key][1], gram, rtol=0, atol=1e-10 * np.abs(gram).max())


@pytest.mark.parametrize("card", CARDS.values(), ids=CARDS)
def test_they_are_the_sums_over_the_points(card: Card) -> None:
    runs = some_runs()
    design = make_design(runs, card)
    sines = design.sines.columns(design.d) if design.sines else np.empty((len(design.d), 0))
    z = np.column_stack([design.form.basis(design.d), sines, design.y])
    sigma = np.array([0.01, 0.3])
    found = goldpeak.suffstats(runs, card).weighted(sigma)
    for s, value in enumerate(sigma):
        weight = 1.0 / variance(design.se, value)
        for run in range(len(design.run)):
            mine = design.run_index == run
            wanted = (z[mine].T * weight[mine]) @ z[mine]
            np.testing.assert_allclose(found[s, run], wanted, rtol=1e-10, atol=1e-10 * np.abs(wanted).max())


def test_points_by_index_and_by_mask_are_the_same() -> None:
    runs = some_runs()
    mask = np.arange(runs.sizes["point"]) % 3 == 0
    by_mask, by_index = (goldpeak.suffstats(runs, "rl", points=p) for p in (mask, np.flatnonzero(mask)))
    np.testing.assert_array_equal(by_mask.gram, by_index.gram)
    assert goldpeak.suffstats(runs, "rl", points=[]).count.sum() == 0


def test_a_larger_kl_max_is_another_basis_and_does_not_add() -> None:
    runs = some_runs()
    near, far = (goldpeak.suffstats(runs, "rl", kl_max=kl_max) for kl_max in (40.0, 4000.0))
    assert near.gram.shape[-1] < far.gram.shape[-1]
    with pytest.raises(goldpeak.FitError, match="do not add to those"):
        near + far


@pytest.mark.parametrize(
    ("points", "message"),
    [
        ([0, 0], "more than once"),
        ([3, -47], "more than once"),
        ([10**6], "allowed: a mask or indices of"),
        ([True, False], "a mask of shape"),
    ],
)
def test_points_that_make_no_sense_are_refused(points: list[int], message: str) -> None:
    with pytest.raises(goldpeak.FitError, match=message):
        goldpeak.suffstats(some_runs(), "rl", points=points)


def test_cards_whose_columns_move_have_none() -> None:
    with pytest.raises(goldpeak.FitError, match="columns change with gamma"):
        goldpeak.suffstats(some_runs(), "boxcox")
    fixed = dataclasses.replace(load_card("similar"), form=FormSpec("rl"))
    with pytest.raises(goldpeak.FitError, match="in peak coordinates"):
        goldpeak.suffstats(some_runs(), fixed)


@pytest.mark.parametrize("card", [CARDS["rl_paper"], IID], ids=["rl_paper", "rl, iid"])
def test_under_iid_noise_the_number_of_points_does_not_count(card: Card) -> None:
    """Statistics, and so every array that an evaluation of the posterior touches, have the shapes of ten points."""
    rng = np.random.default_rng(2)
    few, many = (
        simulate.runs(rng, sizes=(1e6, 1e8), runs_per_size=1, points=points, kl_max=40.0) for points in (10, 10_000)
    )
    small, large = (goldpeak.suffstats(runs, card) for runs in (few, many))
    for name in ("gram", "count", "se"):
        assert getattr(small, name).shape == getattr(large, name).shape
    assert large.count.sum() == 20_000
    for runs in (few, many):
        model = LinearModel(make_design(runs, card))
        assert [tile.points.gram(model.outer(np.zeros((1, len(model.names)))))[0].shape for tile in model._tiles] == [
            (1, 2, *small.gram.shape[-2:])
        ]
        assert all(tile.points.padded is None for tile in model._tiles)

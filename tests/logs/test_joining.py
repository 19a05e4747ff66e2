"""KL and gold put together: units, sparse evaluations, resumed runs, and values that are none."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from goldpeak.io.keys import LN2, UNITS
from goldpeak.io.log import Series
from goldpeak.logs.choose import Chosen
from goldpeak.logs.joining import Points, join


def series(points: Mapping[float, float] | list[tuple[float, float]]) -> Series:
    pairs = list(points.items()) if isinstance(points, dict) else points
    return Series(np.array([s for s, _ in pairs], dtype=float), np.array([v for _, v in pairs], dtype=float))


def joined(
    kl: object, gold: object, unit: str = "nats", length: object = None, proxy: object = None, drop: bool = False
) -> Points:
    found = {"kl": series(kl), "gold": series(gold)}
    if isinstance(length, dict):
        found["length"] = series(length)
    if proxy is not None:
        found["proxy"] = series(proxy)
    tokens = "length" if isinstance(length, dict) else length
    chosen = Chosen("kl", unit, "gold", tokens, None if proxy is None else "proxy", None, ())
    return join(found, chosen, drop_unmatched=drop)


def kl_by_step(points: Points) -> dict[float, float]:
    assert points.problems == ()
    return dict(zip(points.columns["step"].tolist(), points.columns["kl"].tolist(), strict=True))


def said(points: Points) -> list[str]:
    return [f"{note.kind}: {note}" for note in points.notes]


EVERY = {step: float(step) for step in range(1, 11)}


@pytest.mark.parametrize("unit", UNITS)
def test_units(unit: str) -> None:
    """Against the definitions, written out again."""
    length = {step: 10.0 + step for step in EVERY}
    expected = {
        "nats": lambda s: s,
        "nats_per_token": lambda s: s * (10 + s),
        "nats_per_token_by_response": lambda s: s * (10 + s),
        "bits": lambda s: s * np.log(2),
        "bits_per_token": lambda s: s * np.log(2) * (10 + s),
        "sqrt_nats": lambda s: s * s,
    }[unit]
    found = kl_by_step(joined(EVERY, EVERY, unit, length if UNITS[unit].per_token else None))
    assert found == pytest.approx({step: expected(step) for step in EVERY}, rel=1e-14)
    assert pytest.approx(np.log(2)) == LN2


def test_sparse_gold_is_joined_on_step() -> None:
    points = joined(EVERY, {5: 1.0, 10: 2.0})
    assert kl_by_step(points) == {5: 5, 10: 10}
    assert not points.columns["kl_interpolated"].any()
    assert said(points) == ["conversion: kl = 'kl' (nats per response)"]


def test_kl_is_interpolated_between_neighbouring_steps_and_marked() -> None:
    kl = {10: 1.0, 20: 2.0, 30: 6.0}
    points = joined(kl, {10: 1.0, 15: 2.0, 25: 3.0})
    assert kl_by_step(points) == {10: 1.0, 15: 1.5, 25: 4.0}
    assert points.columns["kl_interpolated"].tolist() == [0, 1, 1]
    assert "notice: 2 x kl interpolated between neighbouring steps" in said(points)[-1]


def test_not_across_a_hole() -> None:
    kl = {step: float(step) for step in (10, 20, 30, 40, 100, 110, 120)}
    points = joined(kl, {20: 1.0, 70: 2.0, 110: 3.0})
    assert "gold has no kl nearby at step 70; kl is there at 7 steps from 10 to 120" in points.problems[0]
    points = joined(kl, {20: 1.0, 70: 2.0, 110: 3.0}, drop=True)
    assert kl_by_step(points) == {20: 20, 110: 110}
    assert "dropped: 1 x gold has no kl nearby" in said(points)


def test_steps_that_grow_are_no_holes() -> None:
    kl = {2.0**i: float(i) for i in range(1, 10)}
    assert kl_by_step(joined(kl, {3.0: 1.0, 384.0: 1.0})) == {3: 1.5, 384: 8.5}


def test_gold_outside() -> None:
    """Just outside it is dropped and said so (the last evaluation of a run), far outside it is refused."""
    points = joined({10: 1.0, 20: 2.0, 30: 3.0}, {20: 1.0, 35: 2.0})
    assert kl_by_step(points) == {20: 2.0}
    assert "dropped: 1 x gold before the first or after the last kl" in said(points)
    assert "no kl nearby at step 90" in joined({10: 1.0, 20: 2.0, 30: 3.0}, {20: 1.0, 90: 2.0}).problems[0]
    assert "no kl nearby at step 90" in joined({10: 1.0}, {10: 1.0, 90: 2.0}).problems[0]


def test_gold_at_step_0_is_the_initial_policys() -> None:
    points = joined({10: 1.0, 20: 2.0}, {0: 0.5, 10: 1.0})
    assert kl_by_step(points) == {0: 0.0, 10: 1.0}
    assert "conversion: gold at step 0 is the initial policy's: kl 0" in said(points)
    assert kl_by_step(joined({0: 0.5, 10: 1.0}, {0: 0.5, 10: 1.0})) == {0: 0.5, 10: 1.0}


def test_of_a_step_logged_twice_the_last_is_kept() -> None:
    kl = [(1, 1.0), (2, 2.0), (3, 3.0), (2, 20.0), (3, 30.0), (4, 40.0)]
    points = joined(kl, [(1, 1.0), (2, 2.0), (2, 5.0), (4, 3.0)])
    assert kl_by_step(points) == {1: 1, 2: 20, 4: 40}
    assert points.columns["gold"].tolist() == [1, 5, 3]
    assert "dropped: 2 x kl logged earlier at the same step (a resumed run?): the last is kept" in said(points)
    assert "dropped: 1 x gold logged earlier at the same step (a resumed run?): the last is kept" in said(points)


def test_gold_that_is_no_number_during_warm_up() -> None:
    points = joined(EVERY, {1: np.nan, 2: np.inf, 3: 1.0, 4: 2.0})
    assert kl_by_step(points) == {3: 3, 4: 4}
    assert "dropped: 2 x gold is NaN or infinite" in said(points)


def test_kl_0_throughout_was_not_measured() -> None:
    assert "is 0 throughout: it was not measured" in joined(dict.fromkeys(EVERY, 0.0), EVERY).problems[0]
    assert "has no finite value" in joined({1: np.nan}, EVERY).problems[0]
    assert "has no finite value" in joined({}, EVERY).problems[0]


def test_kl_0_is_the_start_only_at_the_start() -> None:
    points = joined({1: 0.0, 2: 0.0, 3: 1.0, 4: 0.0, 5: 3.0}, {1: 1.0, 2: 3.0, 3: 4.0, 4: 5.0})
    assert kl_by_step(points) == {1: 0.0, 3: 1.0, 4: 2.0}
    assert points.columns["gold"].tolist() == [2.0, 4.0, 5.0]
    assert points.columns["kl_interpolated"].tolist() == [0, 0, 1]
    assert "dropped: 1 x kl is 0 after it was above: it was not measured there" in said(points)
    assert "conversion: 2 x points at the same kl are averaged" in said(points)


def test_negative_averages_are_dropped_not_interpolated() -> None:
    points = joined({1: -0.1, 2: 0.2, 3: -0.05, 4: 0.4}, EVERY, drop=True)
    assert kl_by_step(points) == {2: 0.2, 4: 0.4}
    assert points.negative
    assert any(text.startswith("dropped: 2 x kl is negative: an average of k1") for text in said(points))
    assert joined({1: -0.1, 2: -0.2}, {1: 1.0}).problems == ("no point is left",)


def test_ties_become_means() -> None:
    points = joined({1: 1.0, 2: 2.0, 3: 1.0}, {1: 1.0, 2: 5.0, 3: 3.0}, proxy={1: 0.0, 2: 1.0, 3: 1.0})
    assert {name: values.tolist() for name, values in points.columns.items()} == {
        "step": [1, 2],
        "kl": [1, 2],
        "gold": [2, 5],
        "kl_interpolated": [0, 0],
        "proxy": [0.5, 1],
    }


def test_lengths() -> None:
    points = joined({1: 1.0, 2: 2.0, 3: 3.0}, EVERY, "nats_per_token", {1: 10.0, 3: 30.0}, drop=True)
    assert kl_by_step(points) == {1: 10, 2: 40, 3: 90}
    assert any("its step has no length, which was interpolated" in text for text in said(points))
    points = joined({1: 1.0, 2: 2.0, 3: 3.0}, {1: 1.0, 3: 1.0}, "nats_per_token", {1: 10.0, 2: 0.0, 3: 10.0})
    assert "dropped: 1 x kl has no response length > 0 at or between its steps" in said(points)
    assert "no value > 0 where kl" in joined({1: 1.0}, EVERY, "nats_per_token", {1: -1.0}).problems[0]
    points = joined({1: 1.0, 2: 2.0}, {1: 1.0}, "nats_per_token", 7.0)
    assert kl_by_step(points) == {1: 7}
    assert "notice: kl is approximate: one mean response length for all steps was given" in said(points)


def test_a_proxy_where_there_is_one() -> None:
    assert joined(EVERY, EVERY, proxy={5: 1.0}).columns["proxy"][4] == 1
    assert "proxy" not in joined(EVERY, {5: 1.0}, proxy={50: 1.0}).columns


NUMBERS = st.one_of(st.floats(), st.sampled_from([0.0, 1.0, -1.0]))
LOGGED = st.lists(st.tuples(st.integers(0, 30).map(float), NUMBERS), max_size=20)


@given(LOGGED, LOGGED, LOGGED, st.booleans())
def test_whatever_was_logged_points_are_finite_and_distinct(kl: list, gold: list, proxy: list, drop: bool) -> None:
    points = joined(kl, gold, proxy=proxy, drop=drop)
    if not points.problems:
        table = points.columns
        assert (table["kl"] >= 0).all()
        assert len(np.unique(table["kl"])) == len(table["kl"]) > 0
        assert np.isfinite(table["gold"]).all()
        assert set(table["step"]) <= {step for step, _ in gold}
        assert {len(values) for values in table.values()} == {len(table["kl"])}


def test_a_step_that_is_infinite_is_none() -> None:
    points = joined(EVERY, {5: 1.0, np.inf: 3.0}, proxy=[(5, 1.0), (np.inf, 2.0)])
    assert kl_by_step(points) == {5: 5}
    assert {"dropped: 1 x gold has no step", "dropped: 1 x proxy has no step"} <= set(said(points))

"""From series to points: KL in nats per response at the steps where gold was measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from goldpeak.io.keys import UNITS
from goldpeak.io.log import EMPTY, Series
from goldpeak.logs.choose import Chosen
from goldpeak.logs.record import Note
from goldpeak.wording import listed

__all__ = ["Points", "join"]

EXACT, BETWEEN, BEYOND, FAR = range(4)
"""How a step lies to those of a series: one of them, between two neighbours, just outside, or far from any."""
HOLE = 3.0
"""A gap so many times larger than the gaps beside it is a hole: nothing is interpolated across it."""
NEAR = 1.5
"""Just outside: within so many of the last (or first) gap."""


type Table = dict[str, np.ndarray]


@dataclass(frozen=True)
class Points:
    """Points of a run, what was done to get them, and what stands against them.

    Attributes
    ----------
    columns : dict
        ``step``, ``kl`` (nats per response), ``gold``, ``kl_interpolated`` (0 or 1) and, if there is one, ``proxy``:
        arrays of one length.
    notes : tuple of Note
    problems : tuple of str
    negative : bool
        Whether a KL was negative, as only an average of k1 can be.
    """

    columns: Table
    notes: tuple[Note, ...]
    problems: tuple[str, ...]
    negative: bool = False


def join(series: Mapping[str, Series], chosen: Chosen, *, drop_unmatched: bool = False) -> Points:
    """The points of one run.

    Values that are not finite are dropped; of a step logged twice the last is kept; KL is interpolated (linearly)
    between neighbouring steps only, and such points carry ``kl_interpolated`` 1; gold far from any KL is a problem
    unless `drop_unmatched`. Gold at step 0 is the initial policy's, at KL 0. A KL below 0 (an average of k1) is
    dropped; points at one KL become their mean.

    Parameters
    ----------
    series : mapping
        By key, as logged.
    chosen : Chosen
    drop_unmatched : bool
    """
    notes: list[Note] = []
    kl, problems = _in_nats(series, chosen, notes)
    # Without gold every KL is a point, of gold 0; what was left out of the KL is told already.
    if chosen.gold is None:
        steps = _tidy(series.get(chosen.kl, EMPTY), "kl", []).steps
        gold = Series(steps, np.zeros(len(steps)))
    else:
        gold = _tidy(series.get(chosen.gold, EMPTY), "gold", notes)
        if not len(gold.steps):
            problems.append(f"gold {chosen.gold!r} has no finite value")
    if problems:
        return Points({}, tuple(notes), tuple(problems))
    values, how = _at(kl, gold.steps)
    table = {"step": gold.steps, "kl": values, "gold": gold.values, "kl_interpolated": (how == BETWEEN).astype(float)}
    if chosen.proxy is not None:
        table["proxy"] = _at(_tidy(series.get(chosen.proxy, EMPTY), "proxy", notes), gold.steps)[0]
    table, how = _place_start(table, how, kl, notes)
    table, problems = _drop_unplaced(table, how, kl, drop_unmatched, notes)
    negative = bool((table["kl"] < 0).any())
    table = _merge_ties(_drop_negative(table, notes), notes)
    interpolated = int(table["kl_interpolated"].sum())
    if interpolated:
        text = "kl interpolated between neighbouring steps where gold was measured (marked in kl_interpolated)"
        notes.append(Note("notice", text, interpolated))
    if not len(table["kl"]) and not problems:
        problems.append("no point is left")
    if "proxy" in table and np.isnan(table["proxy"]).all():
        del table["proxy"]
    return Points(table, tuple(notes), tuple(problems), negative)


def _keep(table: Table, which: np.ndarray) -> Table:
    return {name: values[which] for name, values in table.items()}


def _tidy(series: Series, what: str, notes: list[Note]) -> Series:
    """Finite values, one for each step (the last that was written), in order of step."""
    placed = np.isfinite(series.steps)
    lost = series.lost + int((~placed).sum())
    if lost:
        notes.append(Note("dropped", f"{what} has no step", lost))
    finite = np.isfinite(series.values)
    if not finite[placed].all():
        notes.append(Note("dropped", f"{what} is NaN or infinite", int((~finite[placed]).sum())))
    steps, values = series.steps[placed & finite], series.values[placed & finite]
    order = np.argsort(steps, kind="stable")
    steps, values = steps[order], values[order]
    last = np.append(steps[1:] != steps[:-1], True) if len(steps) else np.empty(0, dtype=bool)
    if not last.all():
        text = f"{what} logged earlier at the same step (a resumed run?): the last is kept"
        notes.append(Note("dropped", text, int((~last).sum())))
    return Series(steps[last], values[last])


def _in_nats(series: Mapping[str, Series], chosen: Chosen, notes: list[Note]) -> tuple[Series, list[str]]:
    """The KL in nats per response at the steps where it was logged, and what stands against it."""
    unit = UNITS[chosen.unit]
    raw = _measured(_tidy(series.get(chosen.kl, EMPTY), "kl", notes), notes)
    if not len(raw.steps):
        return raw, [f"kl {chosen.kl!r} has no finite value: the KL was not measured"]
    if not raw.values.any():
        return raw, [f"kl {chosen.kl!r} is 0 throughout: it was not measured (is the KL's coefficient 0?)"]
    said = f"kl = {chosen.kl!r}"
    if not unit.per_token:
        notes.append(Note("conversion", f"{said}{' squared' if unit.squared else ''} ({unit.meaning})"))
        return Series(raw.steps, unit.nats(raw.values)), []
    if isinstance(chosen.length, float):
        notes.append(Note("conversion", f"{said} ({unit.meaning}) x {chosen.length:g} tokens"))
        notes.append(Note("notice", "kl is approximate: one mean response length for all steps was given"))
        return Series(raw.steps, unit.nats(raw.values, chosen.length)), []
    lengths = _tidy(series.get(str(chosen.length), EMPTY), "length", notes)
    length, how = _at(lengths, raw.steps)
    notes.append(Note("conversion", f"{said} ({unit.meaning}) x {chosen.length!r}"))
    if (how == BETWEEN).any():
        text = "kl is approximate: its step has no length, which was interpolated between neighbouring steps"
        notes.append(Note("notice", text, int((how == BETWEEN).sum())))
    usable = (how <= BETWEEN) & (length > 0)
    if not usable.all():
        notes.append(Note("dropped", "kl has no response length > 0 at or between its steps", int((~usable).sum())))
    if not usable.any():
        return EMPTY, [f"length {chosen.length!r} has no value > 0 where kl {chosen.kl!r} has one"]
    return Series(raw.steps[usable], unit.nats(raw.values, length)[usable]), []


def _measured(kl: Series, notes: list[Note]) -> Series:
    """Without zeros after the start: there a KL is 0 only where it was not computed."""
    started = np.maximum.accumulate(kl.values != 0) if len(kl.values) else np.empty(0, dtype=bool)
    zero = (kl.values == 0) & started
    if zero.any():
        notes.append(Note("dropped", "kl is 0 after it was above: it was not measured there", int(zero.sum())))
    return Series(kl.steps[~zero], kl.values[~zero])


def _at(series: Series, steps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Values of a series at other steps (NaN where there is none), and how each step lies to those of the series."""
    known, last = series.steps, len(series.steps) - 1
    if last < 0:
        return np.full(len(steps), np.nan), np.full(len(steps), FAR)
    right = np.searchsorted(known, steps)
    exact = known[np.minimum(right, last)] == steps
    inside = (right > 0) & (right <= last)
    gaps = np.diff(known) if last else np.array([1.0])
    hole = _holes(gaps)[np.clip(right - 1, 0, len(gaps) - 1)]
    outside = np.maximum((known[0] - steps) / gaps[0], (steps - known[-1]) / gaps[-1])
    how = np.where(inside & ~hole, BETWEEN, np.where(~inside & (outside <= NEAR), BEYOND, FAR))
    how = np.where(exact, EXACT, how)
    return np.where(how <= BETWEEN, np.interp(steps, known, series.values), np.nan), how


def _holes(gaps: np.ndarray) -> np.ndarray:
    if len(gaps) < 2:
        return np.zeros(len(gaps), dtype=bool)
    before, after = np.append(0.0, gaps[:-1]), np.append(gaps[1:], 0.0)
    return np.asarray(gaps > HOLE * np.maximum(before, after))


def _place_start(table: Table, how: np.ndarray, kl: Series, notes: list[Note]) -> tuple[Table, np.ndarray]:
    """Gold at step 0, before the first KL, is the initial policy's: its KL is 0 and need not be measured."""
    start = (table["step"] == 0) & (how >= BEYOND) & (kl.steps[0] > 0)
    if start.any():
        notes.append(Note("conversion", "gold at step 0 is the initial policy's: kl 0"))
    return table | {"kl": np.where(start, 0.0, table["kl"])}, np.where(start, EXACT, how)


def _drop_unplaced(table: Table, how: np.ndarray, kl: Series, drop: bool, notes: list[Note]) -> tuple[Table, list[str]]:
    beyond, far = how == BEYOND, how == FAR
    if beyond.any():
        notes.append(Note("dropped", "gold before the first or after the last kl", int(beyond.sum())))
    problems = []
    if far.any() and drop:
        notes.append(Note("dropped", "gold has no kl nearby", int(far.sum())))
    elif far.any():
        steps = listed([f"{step:g}" for step in table["step"][far]], most=5)
        problems.append(
            f"gold has no kl nearby at step {steps}; kl is there at {len(kl.steps)} steps from {kl.steps[0]:g} to "
            f"{kl.steps[-1]:g}. Give another --kl, or --drop-unmatched to leave these out"
        )
    return _keep(table, ~(beyond | far)), problems


def _drop_negative(table: Table, notes: list[Note]) -> Table:
    negative = table["kl"] < 0
    if negative.any():
        text = "kl is negative: an average of k1 near KL 0, where its noise is larger than it"
        notes.append(Note("dropped", text, int(negative.sum())))
    return _keep(table, ~negative)


def _merge_ties(table: Table, notes: list[Note]) -> Table:
    """Points at one KL, the initial policy measured several times above all, as their mean, at the first step."""
    kl, first, group, counts = np.unique(table["kl"], return_index=True, return_inverse=True, return_counts=True)
    if len(kl) == len(group):
        return table
    notes.append(Note("conversion", "points at the same kl are averaged", int(counts[counts > 1].sum())))
    means = {name: np.bincount(group, values) / counts for name, values in table.items()}
    marked = (means["kl_interpolated"] > 0).astype(float)
    merged = means | {"kl": kl, "step": table["step"][first], "kl_interpolated": marked}
    return _keep(merged, np.argsort(first))

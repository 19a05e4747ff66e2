"""The stopper: exact against refits, deaf to bad input, resumable after a kill.

With it what it is made of: `belief`, `particles`, `checkpoints`, `decision` and `settings`.
"""

from __future__ import annotations

import dataclasses
import json
import math
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import goldpeak
from goldpeak.conditioning import condition
from goldpeak.engines.proposal import effective
from goldpeak.errors import FitError, StoreError
from goldpeak.mixture import mix
from goldpeak.newrun import Known
from goldpeak.priors import LogNormal
from goldpeak.stopping.checkpoints import Checkpoint, Checkpoints
from goldpeak.stopping.particles import FEW, Point
from goldpeak.stopping.rules import Rule
from goldpeak.subset import as_table

NEW = 22
"""The lab's run that is under way: not of the fleet, of a size in the middle of it."""


@pytest.fixture(scope="module")
def lab() -> xr.Dataset:
    runs = goldpeak.datasets.lab("rl")
    runs.attrs["gold_scale"] = 1.0
    return runs


@pytest.fixture(scope="module")
def fleet(lab: xr.Dataset) -> xr.Dataset:
    keep = np.zeros(lab.sizes["run"], dtype=bool)
    keep[0:40:4] = True
    return goldpeak.select(lab, keep)


@pytest.fixture(scope="module")
def post(fleet: xr.Dataset) -> xr.DataTree:
    paper = goldpeak.load_card("rl_paper")
    known = dataclasses.replace(paper, noise=dataclasses.replace(paper.noise, kind="known"))
    return goldpeak.fit(fleet, known, draws=500, seed=1)


@pytest.fixture(scope="module")
def run(lab: xr.Dataset) -> xr.Dataset:
    return goldpeak.select(lab, np.arange(lab.sizes["run"]) == NEW)


def feed(stopper: goldpeak.Stopper, run: xr.Dataset, points: int | None = None) -> list[goldpeak.Decision]:
    columns = [run[name].values[:points] for name in ("kl", "gold", "gold_se", "proxy", "step")]
    return [stopper.update(*map(float, row)) for row in zip(*columns, strict=True)]


def size(run: xr.Dataset) -> float:
    return float(run["rm_params"].values[0])


@pytest.mark.parametrize("card", ["rl_paper", *(pytest.param(c, marks=pytest.mark.slow) for c in ("rl", "similar"))])
def test_state_equals_a_refit_with_the_points(fleet: xr.Dataset, run: xr.Dataset, card: str) -> None:
    """Gold and the peak of the run under way, given its first points: by updates, and by a fit to all of them."""
    points, kl_max = 26, 2.0 * float(fleet["kl"].max())
    begun = run.isel(point=slice(points))
    both = _joined(fleet, begun)
    refit = goldpeak.fit(both, card, seed=5, draws=500, kl_max=kl_max)
    post = goldpeak.fit(fleet, card, seed=4, draws=500, kl_max=kl_max)
    stopper = goldpeak.Stopper(post, size(run), kl_max=kl_max)
    decision = feed(stopper, begun)[-1]
    particles = stopper._belief.parts[0]
    kl = np.array([1.0, 4.0, 9.0, 20.0])
    expected = goldpeak.predict(refit, kl)["gold"].values[:, :, -1].reshape(-1, len(kl))
    found = np.stack([np.interp(np.sqrt(kl), particles.d_grid, curve) for curve in particles.gold().T])
    weights = particles.weights
    mean, sd = weights @ found, expected.std(axis=0)
    error = sd * np.sqrt(1.0 / decision.ess + 1.0 / 400.0)
    assert decision.ess > 100
    assert np.abs((mean - expected.mean(axis=0)) / error).max() < 4.0
    np.testing.assert_allclose(np.sqrt(weights @ (found - mean) ** 2), sd, rtol=0.25)
    peaks = goldpeak.peak(refit, kl_max=kl_max).draws["kl_peak"].values[:, :, -1].ravel()
    p = np.mean(peaks < decision.kl)
    assert decision.p_past_peak == pytest.approx(p, abs=4.0 * np.sqrt(0.25 * (1.0 / decision.ess + 1.0 / 400.0)))
    spread = np.log(np.quantile(peaks, 0.84) / np.quantile(peaks, 0.16)) / 2.0
    off = abs(np.log(decision.kl_peak[0] / np.median(peaks)))
    assert off < 5.0 * spread * np.sqrt(1.0 / decision.ess + 1.0 / 400.0)


def _joined(fleet: xr.Dataset, begun: xr.Dataset) -> xr.Dataset:
    table = pd.concat([as_table(fleet), as_table(begun)])
    return goldpeak.read_runs(table, baseline="none", gold_scale=1.0)


def test_evidence_and_means_are_those_of_all_points_at_once(post: xr.DataTree, run: xr.Dataset) -> None:
    particles = goldpeak.Stopper(post, size(run))._belief.parts[0]
    for row in zip(*(run[name].values[:20] for name in ("kl", "gold", "gold_se")), strict=True):
        particles.add(Point(float(np.sqrt(row[0])), float(row[1]), float(row[2])))
    d, gold, se = (np.array(v) for v in zip(*((p.d, p.gold, p.se) for p in particles.points), strict=True))
    at_once = condition(particles.fleet, d, gold, Known(se)).log_density
    np.testing.assert_allclose(particles.log_weights, at_once, atol=1e-6)
    assert particles.log_evidence == pytest.approx(np.logaddexp.reduce(at_once) - np.log(len(at_once)), abs=1e-6)
    away = particles._draw - particles._mean
    assert np.abs(away.mean(axis=0) / (away.std(axis=0) / np.sqrt(len(away)))).max() < 4.5


def test_rejuvenation_changes_nothing_but_the_particles(post: xr.DataTree, run: xr.Dataset) -> None:
    stopper = goldpeak.Stopper(post, size(run))
    feed(stopper, run, 22)
    particles = stopper._belief.parts[0]
    before, weights = particles.gold(), particles.weights
    particles.rejuvenate()
    after = particles.gold()
    mean = before @ weights
    sd = np.sqrt((before - mean[:, None]) ** 2 @ weights)
    error = sd * np.sqrt(2.0 / effective(particles.fleet_weights)) + 1e-12
    assert np.abs((after.mean(axis=1) - mean) / error)[1:].max() < 4.0
    assert np.ptp(particles.weights) == 0.0


def test_many_points_are_compressed_without_loss(post: xr.DataTree, run: xr.Dataset) -> None:
    stopper = goldpeak.Stopper(post, size(run))
    particles = stopper._belief.parts[0]
    rng = np.random.default_rng(0)
    d = np.sort(rng.uniform(0.3, 4.0, 60))
    gold = 0.8 * d - 0.1 * d**2 + 0.1 * rng.standard_normal(len(d))
    for point in zip(d, gold, strict=True):
        particles.add(Point(*map(float, point), se=0.1))
    assert particles._count < len(d)
    at_once = condition(particles.fleet, d, gold, Known(np.full(len(d), 0.1))).log_density
    np.testing.assert_allclose(particles.log_weights, at_once, atol=1e-6)


def test_stops_a_lab_run_near_its_peak(post: xr.DataTree, run: xr.Dataset, lab: xr.Dataset) -> None:
    decisions = feed(goldpeak.Stopper(post, size(run)), run)
    first = next(d for d in decisions if d.stop)
    exact = run["gold_exact"].values
    kept = exact[np.argmin(np.abs(run["kl"].values - first.best_kl))]
    assert exact.max() - kept < 0.03 * exact.max()
    assert first.kl < 2.5 * run["kl"].values[np.argmax(exact)]
    assert "rule 'regret' at level 0.25 stops at kl" in first.reason
    assert all(d.kl_peak[1] <= d.kl_peak[0] <= d.kl_peak[2] for d in decisions)
    last = decisions[-1]
    assert last.audit.fallen
    assert last.audit.drop > 0.3
    json.dumps(last.to_dict(), allow_nan=False)


def test_same_points_same_decisions(post: xr.DataTree, run: xr.Dataset) -> None:
    first, second = (feed(goldpeak.Stopper(post, size(run)), run, 12) for _ in range(2))
    assert repr(first) == repr(second)


def test_kl_max_patience_and_falling_kl(post: xr.DataTree, run: xr.Dataset) -> None:
    far = goldpeak.Stopper(post, size(run), kl_max=5.0).update(6.0)
    assert far.stop
    assert far.reason == "kl 6 has reached kl_max, 5"
    stopper = goldpeak.Stopper(post, size(run), patience=2)
    found = [stopper.update(kl) for kl in (10.0, 20.0, 30.0, 28.0, 31.0, 32.0)]
    assert [d.stop for d in found] == [False, True, True, False, False, True]
    assert "kl is falling back towards it" in found[3].reason


def test_a_far_kl_max_changes_no_decision(post: xr.DataTree, run: xr.Dataset) -> None:
    near, far = (goldpeak.Stopper(post, size(run), kl_max=kl_max).update(3.0, 0.9, 0.05) for kl_max in (120.0, 1e6))
    assert not far.stop
    assert far.kl_peak == pytest.approx(near.kl_peak, rel=0.05)
    assert far.rule_kl == pytest.approx(near.rule_kl, rel=0.05)


@pytest.mark.parametrize("rule", ["chance", "drawdown", "regret", "cvar"])
def test_rules_with_a_probability_stop_at_the_nearest_checkpoint(
    post: xr.DataTree, run: xr.Dataset, rule: Rule
) -> None:
    """Without gold the place stays where it is, so that one can step up to it."""
    where = math.sqrt(goldpeak.Stopper(post, size(run), rule, kl_max=40.0).update(0.01).rule_kl)
    for last, nearest in ((0.93, False), (0.97, True)):
        stopper = goldpeak.Stopper(post, size(run), rule, kl_max=40.0)
        for share in (last - 0.2, last - 0.1, last):
            decision = stopper.update((share * where) ** 2)
        assert decision.stop == (nearest and rule in ("chance", "drawdown")), decision.reason
        assert math.sqrt(decision.next_kl) == pytest.approx((last + 0.12) * where, rel=0.02)
        assert stopper.update((1.01 * where) ** 2).stop


def test_another_rule_decides_as_it_would_by_itself(post: xr.DataTree, run: xr.Dataset) -> None:
    rules: list[tuple[Rule, float]] = [("chance", 0.1), ("chance", 0.9), ("cvar", 0.25), ("drawdown", 0.25)]
    shared = goldpeak.Stopper(post, size(run))
    assert not shared.would_stop("chance", 0.1)
    alone = {pair: goldpeak.Stopper(post, size(run), *pair) for pair in rules}
    rows = [[float(run[name].values[i]) for name in ("kl", "gold", "gold_se")] for i in range(18, 32)]
    for row in [*rows, [np.nan, 1.0, 0.1]]:
        shared.update(*row)
        for pair, stopper in alone.items():
            assert shared.would_stop(*pair) == stopper.update(*row).stop, (pair, row)
    assert not shared.would_stop("chance", 0.9)
    with pytest.raises(FitError, match=r"rule is 'best'; allowed: expected, .*level is 2.0.*drop is -1"):
        shared.would_stop("best", 2.0, drop=-1)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("kls", "expected"),
    [
        ([4.0], 4.0),
        ([0.0, 4.0], 4.0),
        ([4.0, 4.0], 4.0),
        ([4.0, 3.0], 3.0),
        ([1.0, 2.0, 4.0, 8.0], (math.sqrt(8) + 1.25 * (2 - math.sqrt(2))) ** 2),
        ([5.0, 6.0, 7.2], 7.2 * 1.2),
        ([19.0**2, 20.0**2, 21.0**2], 22.08**2),
        ([1e-6, 1.0], (1.0 + 1.25 * 0.999) ** 2),
    ],
)
def test_the_next_checkpoint_is_where_growth_goes_on(kls: list[float], expected: float) -> None:
    taken = [Checkpoint(kl, None, None, None, None) for kl in kls]
    assert Checkpoints(0.0, taken=taken).next_kl == pytest.approx(expected, rel=2e-3)


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        ({"kl": np.nan}, "kl is nan; allowed: a finite number of nats >= 0"),
        ({"kl": -1.0}, "kl is -1.0; allowed"),
        ({"kl": "3.0"}, "kl is '3.0'; allowed"),
        ({"kl": 400.0}, "kl jumped from"),
        ({"kl": 0.001}, "kl fell back from"),
        ({"gold": np.nan}, "gold is nan; allowed: a finite number. The KL counts"),
        ({"gold": np.inf}, "gold is inf"),
        ({"gold": 600.0}, "is it in other units?"),
        ({"gold_se": -0.1}, "gold_se is -0.1; allowed: a finite number > 0"),
        ({"gold_se": None}, "no gold_se: taken as"),
        ({"proxy": np.nan}, "proxy is nan: not counted"),
        ({"step": 1.0}, "step went back from"),
    ],
)
def test_bad_input_is_said_and_never_stops_a_run(
    post: xr.DataTree, run: xr.Dataset, bad: dict[str, float], says: str
) -> None:
    stopper = goldpeak.Stopper(post, size(run))
    before = feed(stopper, run, 22)[-1]
    row = {name: float(run[name].values[22]) for name in ("kl", "gold", "gold_se", "proxy", "step")} | bad
    decision = stopper.update(**row)
    assert not before.stop
    assert not decision.stop
    assert any(says in text for text in decision.warnings), decision.warnings
    if "set aside" in decision.warnings[0]:
        assert decision.kl_peak == before.kl_peak


def test_repeated_steps_count_once(post: xr.DataTree, run: xr.Dataset) -> None:
    stopper = goldpeak.Stopper(post, size(run))
    first = stopper.update(1.0, 0.5, 0.05, step=3)
    again = stopper.update(1.1, 0.5, 0.05, step=3)
    assert again.warnings == ("set aside: step 3 came before",)
    assert again.kl_peak == first.kl_peak
    assert stopper.update(1.2, 0.5, 0.05, step=4).warnings == ()


def test_a_jump_that_lasts_is_real(post: xr.DataTree, run: xr.Dataset) -> None:
    stopper = goldpeak.Stopper(post, size(run), kl_max=60.0)
    found = [stopper.update(kl, step=i) for i, kl in enumerate((1.0, 2.0, 20.0, 21.0))]
    assert [d.kl for d in found] == [1.0, 2.0, 2.0, 21.0]
    assert "taken as real" in found[3].warnings[0]


@pytest.mark.parametrize("step", [None, 2])
def test_a_jump_that_is_only_told_twice_is_not_real(post: xr.DataTree, run: xr.Dataset, step: int | None) -> None:
    stopper = goldpeak.Stopper(post, size(run), kl_max=60.0)
    stopper.update(1.0, step=None if step is None else 1)
    twice = [stopper.update(20.0, step=step) for _ in range(2)]
    assert "came before" in twice[1].warnings[0] or "same numbers" in twice[1].warnings[0]
    assert twice[1].kl == 1.0


def test_jumps_both_ways_are_not_one_that_lasts(post: xr.DataTree, run: xr.Dataset) -> None:
    stopper = goldpeak.Stopper(post, size(run), kl_max=60.0)
    found = [stopper.update(kl, step=i) for i, kl in enumerate((4.0, 30.0, 0.01, 4.5))]
    assert [d.kl for d in found] == [4.0, 4.0, 4.0, 4.5]
    assert "kl fell back from 4 to 0.01 nats; the next checkpoint decides" in found[2].warnings[0]


def test_gold_counts_from_the_start(post: xr.DataTree, run: xr.Dataset) -> None:
    plain, shifted = goldpeak.Stopper(post, size(run)), goldpeak.Stopper(post, size(run))
    shifted.update(0.0, 7.0)
    first, second = plain.update(2.0, 0.8, 0.05), shifted.update(2.0, 7.8, 0.05)
    assert second.kl_peak[0] == pytest.approx(first.kl_peak[0], rel=0.1)
    assert second.p_value == pytest.approx(first.p_value, abs=0.02)


def test_a_run_unlike_the_fleet_widens_and_then_leaves_it_to_the_audit(post: xr.DataTree, run: xr.Dataset) -> None:
    stopper = goldpeak.Stopper(post, size(run))
    d = np.linspace(0.5, 5.0, 12)
    odd = [stopper.update(float(k), float(g), 0.05) for k, g in zip(d**2, 1.7 * d - 0.55 * d**2, strict=True)]
    assert any("unlike the fleet" in text for decision in odd for text in decision.warnings)
    assert odd[-1].widened > 1.0
    assert odd[-1].stop
    truth = d[np.argmax(1.7 * d - 0.55 * d**2)] ** 2
    assert odd[-1].best_kl == pytest.approx(truth, rel=0.6)
    lost = goldpeak.Stopper(post, size(run))
    rng = np.random.default_rng(3)
    kl = np.linspace(1.0, 30.0, 20)
    wild = [lost.update(float(k), float(g), 0.02) for k, g in zip(kl, 3.0 * rng.standard_normal(20), strict=True)]
    assert any("the model-free audit decides" in text for decision in wild for text in decision.warnings)


def test_one_far_point_at_the_start_does_not_lose_the_model(post: xr.DataTree, run: xr.Dataset) -> None:
    stopper = goldpeak.Stopper(post, size(run))
    first = stopper.update(0.01, -0.6, 0.15)
    assert first.p_value < 1e-3
    assert first.widened == 1.0
    kl, gold = run["kl"].values, run["gold_exact"].values
    order = np.argsort(kl)
    for k, g in zip(kl[order], gold[order], strict=True):
        decision = stopper.update(float(k), float(g), 0.15)
        if decision.stop:
            break
    assert decision.reason.startswith("rule 'regret'")
    assert decision.kl < 3.0 * kl[np.argmax(gold)]


def test_a_run_that_was_lost_is_taken_back_when_its_points_are_likely_again(post: xr.DataTree, run: xr.Dataset) -> None:
    stopper = goldpeak.Stopper(post, size(run))
    for k in (0.01, 0.02, 0.03):
        lost = stopper.update(k, -0.6, 0.14)
    assert "the model-free audit decides" in " ".join(lost.warnings)
    kl, gold = run["kl"].values, run["gold_exact"].values
    order = np.argsort(kl)
    found = [stopper.update(float(k), float(g), 0.15) for k, g in zip(kl[order], gold[order], strict=True)]
    assert found[-1].p_value > 1e-3
    assert found[-1].stop


def test_all_problems_of_the_arguments_at_once(post: xr.DataTree) -> None:
    with pytest.raises(FitError, match=r"rm_params is -1.*patience is 0.*draws is 5.*rule is 'best'.*level is 2"):
        goldpeak.Stopper(post, -1, rule="best", level=2.0, patience=0, draws=5)  # type: ignore[arg-type]
    with pytest.raises(FitError, match=r"rm_params is '3M'; allowed: one finite number > 0.*level is None; allowed"):
        goldpeak.Stopper(post, "3M", level=None)  # type: ignore[arg-type]
    assert goldpeak.Stopper(post, np.float32(1e3), draws=np.int64(100), patience=np.int64(2)).patience == 2


def test_resumes_after_a_kill(post: xr.DataTree, run: xr.Dataset, tmp_path: Path) -> None:
    """Kill -9 between updates: whatever was acknowledged is there, and decisions go on as if nothing had happened."""
    goldpeak.save(post, tmp_path / "post.nc")
    state = tmp_path / "state.json"
    program = textwrap.dedent(
        f"""
        import sys, goldpeak
        stopper = goldpeak.Stopper(goldpeak.load({str(tmp_path / "post.nc")!r}), {size(run)}, state={str(state)!r})
        for line in sys.stdin:
            print(stopper.update(*map(float, line.split())).kl, flush=True)
        """
    )
    rows = [[float(run[name].values[i]) for name in ("kl", "gold", "gold_se", "proxy", "step")] for i in range(15)]
    job = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert job.stdin
    assert job.stdout
    for row in rows[:10]:
        job.stdin.write(" ".join(map(str, row)) + "\n")
        job.stdin.flush()
        assert float(job.stdout.readline()) == row[0]
    job.kill()
    job.wait()
    job.stdin.close()
    job.stdout.close()
    assert len(json.loads(state.read_text())["updates"]) == 10
    resumed, whole = goldpeak.Stopper(post, size(run), state=state), goldpeak.Stopper(post, size(run))
    feed(whole, run, 10)
    assert [repr(s.update(*row)) for s in (resumed,) for row in rows[10:]] == [
        repr(whole.update(*r)) for r in rows[10:]
    ]
    assert not list(tmp_path.glob(".*.part"))
    with pytest.raises(StoreError, match=r"belongs to another stopper: level is 0\.25, here 0\.5"):
        goldpeak.Stopper(post, size(run), level=0.5, state=state)
    state.write_text(state.read_text()[:50])
    with pytest.raises(StoreError, match="not a stopper's state that can be read"):
        goldpeak.Stopper(post, size(run), state=state)


def test_a_mixture_weighs_its_cards_by_what_they_said_of_the_run(fleet: xr.Dataset, run: xr.Dataset) -> None:
    paper = goldpeak.load_card("rl_paper")
    known = dataclasses.replace(paper.noise, kind="known")
    cards = {
        form: dataclasses.replace(paper, name=form, form=dataclasses.replace(paper.form, kind=form), noise=known)
        for form in ("rl", "bon")
    }
    posts = {form: goldpeak.fit(fleet, card, draws=250) for form, card in cards.items()}
    mixed = mix(posts, {"rl": 0.3, "bon": 0.7}, how="by hand")
    stopper = goldpeak.Stopper(mixed, size(run), draws=1000)
    decision = feed(stopper, run, 20)[-1]
    belief = stopper._belief
    d, gold, se = (np.array(v) for v in zip(*((p.d, p.gold, p.se) for p in belief.parts[0].points), strict=True))
    evidence = [condition(part.fleet, d, gold, Known(se)).log_density for part in belief.parts]
    logs = np.log([0.3, 0.7]) + [np.logaddexp.reduce(each) - np.log(len(each)) for each in evidence]
    expected = np.exp(logs - np.logaddexp.reduce(logs))
    np.testing.assert_allclose(belief.component_weights, expected, atol=0.05)
    assert len(belief.weights) == 1000
    assert belief.weights.sum() == pytest.approx(1.0)
    alone = {form: feed(goldpeak.Stopper(post, size(run), draws=1000), run, 20)[-1] for form, post in posts.items()}
    both = [one.kl_peak[0] for one in alone.values()]
    assert min(both) * 0.97 < decision.kl_peak[0] < max(both) * 1.03
    only = mix(posts, {"rl": 1.0, "bon": 0.0}, how="by hand")
    found = feed(goldpeak.Stopper(only, size(run), draws=1000), run, 20)[-1]
    assert found.kl_peak == alone["rl"].kl_peak


def test_without_gold_the_fleet_alone_speaks(post: xr.DataTree, run: xr.Dataset) -> None:
    stopper = goldpeak.Stopper(post, size(run), kl_max=40.0)
    found = [stopper.update(kl, proxy=float(i), step=i) for i, kl in enumerate((2.0, 4.0, 7.0, 12.0, 30.0))]
    peaks = goldpeak.peak(post, [size(run)], kl_max=40.0, seed=9).draws["kl_peak"].values.ravel()
    for decision in found:
        assert decision.p_past_peak == pytest.approx(np.mean(peaks < decision.kl), abs=0.05)
        assert decision.audit.points == 0
    assert [d.p_past_peak for d in found] == sorted(d.p_past_peak for d in found)
    assert found[-1].stop
    assert found[-1].divergence.hacking
    assert any("proxy still rises" in text for text in found[-1].warnings)
    expected = goldpeak.predict(post, [d.kl for d in found], [size(run)])["gold"].mean(("chain", "draw")).values[0]
    assert found[-1].best_kl == found[int(np.argmax(expected))].kl


def test_a_run_that_hardly_any_draw_agrees_with_keeps_many(post: xr.DataTree, run: xr.Dataset) -> None:
    """Nearly exact gold: the few draws that agree would be sure of too much."""
    stopper = goldpeak.Stopper(post, size(run), draws=400)
    columns = (run["kl"].values[:24], run["gold_exact"].values[:24])
    found = [stopper.update(float(kl), float(gold), 1e-3) for kl, gold in zip(*columns, strict=True)]
    worst = min(found, key=lambda one: one.ess)
    assert worst.ess < FEW
    assert any("fit again with its points" in text for text in worst.warnings)
    assert len(np.unique(stopper._belief.parts[0]._index)) > 0.5 * FEW


def test_standard_errors_do_not_count_where_the_card_says_so(fleet: xr.Dataset, run: xr.Dataset) -> None:
    post = goldpeak.fit(fleet, "rl_paper", draws=250)
    found = [goldpeak.Stopper(post, size(run)).update(3.0, 0.9, se) for se in (0.01, 0.3)]
    assert found[0].kl_peak == found[1].kl_peak
    assert found[0].warnings == ()


def test_noise_along_time_is_refused(fleet: xr.Dataset) -> None:
    paper = goldpeak.load_card("rl_paper")
    noise = dataclasses.replace(paper.noise, kind="ou", lengthscale=LogNormal(0.0, 0.3), time="d")
    post = goldpeak.fit(fleet, dataclasses.replace(paper, noise=noise), draws=50, chains=2)
    with pytest.raises(FitError, match="noise 'ou', whose points cannot be taken one by one"):
        goldpeak.Stopper(post, 1e3)

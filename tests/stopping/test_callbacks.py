"""The stopper in a training loop: rows of logs to decisions, and the callback on a minimal fake of a trainer."""

from __future__ import annotations

import sys
import types
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import xarray as xr

import goldpeak
from goldpeak.errors import FitError, RunsWarning
from goldpeak.stopping import callbacks
from goldpeak.stopping.callbacks import LogStopper, tracked

GOLD = "rewards/gold/mean"
TOKENS = 50.0


@pytest.fixture(scope="module")
def fleet() -> xr.DataTree:
    small, _ = goldpeak.split_by_size(goldpeak.datasets.lab("rl"))
    return goldpeak.fit(small, "rl_paper", draws=200, seed=1)


def stopper(fleet: xr.DataTree) -> goldpeak.Stopper:
    return goldpeak.Stopper(fleet, rm_params=600, draws=400)


def rows() -> list[tuple[int, dict[str, float]]]:
    """A larger run as TRL's GRPO would log it: KL per token beside the mean length."""
    _, large = goldpeak.split_by_size(goldpeak.datasets.lab("rl"))
    mine = large["run_index"].values == 0
    columns = [large[name].values[mine] for name in ("step", "kl", "gold_exact", "proxy")]
    return [
        (int(step), {"kl": kl / TOKENS, "completions/mean_length": TOKENS, GOLD: gold, "reward": proxy, "loss": 0.1})
        for step, kl, gold, proxy in zip(*columns, strict=True)
    ]


def test_rows_give_the_decisions_of_the_points(fleet: xr.DataTree) -> None:
    loop, plain = LogStopper(stopper(fleet), gold=GOLD), stopper(fleet)
    for step, row in rows()[:12]:
        found = loop.update(row, step)
        wanted = plain.update(row["kl"] * TOKENS, row[GOLD], proxy=row["reward"], step=step)
        assert found is not None
        assert found.to_dict() == wanted.to_dict()
    assert loop.decision is found


def test_kl_in_other_units(fleet: xr.DataTree) -> None:
    named = LogStopper(stopper(fleet), kl="my_kl", kl_unit="bits", gold="gold")
    found = named.update({"my_kl": 2.0, "gold": 0.3}, 5)
    assert found is not None
    assert found.kl == pytest.approx(2.0 * np.log(2))
    rooted = LogStopper(stopper(fleet))
    row = {"policy/sqrt_kl": 1.5, "rollout_scores/mean": 0.1, "gold": 0.3}
    found = rooted.update(row, 5)
    assert found is not None
    assert found.kl == pytest.approx(2.25)


def test_rows_of_other_kinds_are_passed_over(fleet: xr.DataTree, recwarn: pytest.WarningsRecorder) -> None:
    loop = LogStopper(stopper(fleet), gold=GOLD)
    for row in ({"loss": 0.1}, {"train_runtime": 3.0, "note": "text"}, {"eval_kl": 0.1, "eval_loss": 1.0}, {}):
        assert loop.update(row, 1) is None
    assert not [w for w in recwarn if issubclass(w.category, RunsWarning)]
    with pytest.warns(RunsWarning, match="no logged row held a KL beside gold 'rewards/gold/mean'"):
        loop.finish()


def test_gold_without_a_kl_is_warned_of_once(fleet: xr.DataTree) -> None:
    loop = LogStopper(stopper(fleet), gold=GOLD)
    row = {GOLD: 0.5, "completions/mean_length": 10.0}
    with pytest.warns(RunsWarning, match="beta is 0 by default") as said:
        found = [loop.update(row, step) for step in (1, 2)]
    assert found == [None, None]
    assert len(said) == 1


def test_evaluations_alone_count_where_their_gold_is_asked_for(fleet: xr.DataTree) -> None:
    loop = LogStopper(stopper(fleet), gold=f"eval_{GOLD}")
    step, row = rows()[5]
    assert loop.update(row, step) is None
    found = loop.update({f"eval_{key}": value for key, value in row.items()}, step)
    assert found is not None
    assert found.kl == pytest.approx(row["kl"] * TOKENS)


def test_gold_counts_from_an_evaluation_before_training(fleet: xr.DataTree) -> None:
    """As with ``eval_on_start``: the initial policy is evaluated, then training rows are logged."""
    loop, plain = LogStopper(stopper(fleet), gold=GOLD), stopper(fleet)
    start = {"eval_kl": 0.0, "eval_completions/mean_length": TOKENS, f"eval_{GOLD}": 5.0}
    assert loop.update(start, 0) is not None
    for step, row in rows()[3:6]:
        found = loop.update(row | {GOLD: row[GOLD] + 5.0}, step)
        wanted = plain.update(row["kl"] * TOKENS, row[GOLD], proxy=row["reward"], step=step)
        assert found is not None
        assert found.p_past_peak == pytest.approx(wanted.p_past_peak, abs=1e-9)
        assert found.best_kl == wanted.best_kl


def test_without_any_gold_kl_and_proxy_are_watched(fleet: xr.DataTree) -> None:
    loop = LogStopper(stopper(fleet))
    past = []
    for step, row in rows():
        found = loop.update({key: value for key, value in row.items() if key != GOLD}, step)
        assert found is not None
        past.append(found.p_past_peak)
    assert past[0] < 0.05
    assert past[-1] > 0.95


def test_wrong_settings_are_refused(fleet: xr.DataTree) -> None:
    with pytest.raises(FitError, match="kl_unit is 'cm'; allowed: nats"):
        LogStopper(stopper(fleet), kl_unit="cm")
    with pytest.raises(FitError, match="gold_se is -1"):
        LogStopper(stopper(fleet), gold_se=-1)


def test_trackers_get_finite_numbers(fleet: xr.DataTree) -> None:
    first, last = stopper(fleet), stopper(fleet)
    step, row = rows()[0]
    found = tracked(first.update(row["kl"] * TOKENS, row[GOLD], step=step))
    assert {"goldpeak/p_past_peak", "goldpeak/kl_peak_median", "goldpeak/kl_peak_lo"} <= set(found)
    for step, row in rows():
        decision = last.update(row["kl"] * TOKENS, row[GOLD], 0.03, step=step)
    assert tracked(decision)["goldpeak/stop"] == 1.0
    assert all(np.isfinite(value) for value in tracked(decision).values())


# --- the callback, on a fake of what transformers hands to it --------------------------------------------------------


@dataclass
class State:
    global_step: int = 0
    log_history: list[dict[str, Any]] = field(default_factory=list)


@dataclass
class Control:
    should_training_stop: bool = False


class Tracker:
    """What a tracker's callback does: it keeps the rows it is given."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any], **_: Any) -> None:
        self.rows.append(dict(logs))

    def on_train_end(self, *_: Any, **__: Any) -> None:
        pass


class Trainer:
    """Logs as `transformers.Trainer.log` does (5.24): history first, then the callbacks, all with one dictionary."""

    def __init__(self, *given: Any) -> None:
        self.callback_handler = types.SimpleNamespace(callbacks=[Tracker(), *given])
        self.state, self.control = State(), Control()

    def log(self, row: dict[str, Any]) -> None:
        row = dict(row)
        self.state.log_history.append({**row, "step": self.state.global_step})
        for callback in self.callback_handler.callbacks:
            callback.on_log(None, self.state, self.control, logs=row, model=None)

    def train(self) -> None:
        for step, row in rows():
            self.state.global_step = step
            self.log(row)
            if self.control.should_training_stop:
                break
        for callback in self.callback_handler.callbacks:
            callback.on_train_end(None, self.state, self.control)


@pytest.fixture
def callback_class(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    fake = types.ModuleType("transformers")
    fake.TrainerCallback = type("TrainerCallback", (), {})  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "transformers", fake)
    yield callbacks.TRLCallback
    vars(callbacks).pop("TRLCallback", None)


def test_a_trainer_is_stopped_near_the_peak_and_trackers_are_told(fleet: xr.DataTree, callback_class: Any) -> None:
    told: list[Any] = []
    callback = callback_class(stopper(fleet), gold=GOLD, gold_se=0.04, on_decision=told.append)
    trainer = Trainer()
    callback.attach(trainer)
    callback.attach(trainer)
    assert len(trainer.callback_handler.callbacks) == 2
    trainer.train()
    assert trainer.control.should_training_stop
    assert callback.stopped_at == trainer.state.global_step
    assert callback.decision is told[-1]
    assert len(told) == len(trainer.state.log_history) < len(rows())
    gold = {step: row[GOLD] for step, row in rows()}
    assert gold[trainer.state.global_step] > 0.95 * max(gold.values())
    (tracker,) = (c for c in trainer.callback_handler.callbacks if isinstance(c, Tracker))
    for row in (*tracker.rows, *trainer.state.log_history):
        assert {"goldpeak/p_past_peak", "goldpeak/kl_peak_median", "goldpeak/kl_peak_lo"} <= set(row)


def test_a_callback_given_to_the_trainer_stops_it_too(fleet: xr.DataTree, callback_class: Any) -> None:
    trainer = Trainer(callback_class(stopper(fleet), gold=GOLD))
    trainer.train()
    assert trainer.control.should_training_stop
    assert "goldpeak/p_past_peak" in trainer.state.log_history[-1]


def test_it_can_watch_without_acting(fleet: xr.DataTree, callback_class: Any) -> None:
    callback = callback_class(stopper(fleet), gold=GOLD, act=False)
    trainer = Trainer(callback)
    trainer.train()
    assert not trainer.control.should_training_stop
    assert callback.stopped_at is None
    assert len(trainer.state.log_history) == len(rows())


def test_an_evaluation_that_was_logged_is_not_taken_twice(fleet: xr.DataTree, callback_class: Any) -> None:
    callback = callback_class(stopper(fleet), gold=f"eval_{GOLD}")
    trainer = Trainer(callback)
    step, row = rows()[3]
    evaluation = {f"eval_{key}": value for key, value in row.items()}
    trainer.state.global_step = step
    trainer.log(evaluation)
    first = callback.decision
    callback.on_evaluate(None, trainer.state, trainer.control, metrics=dict(evaluation))
    assert callback.decision is first
    trainer.state.global_step = step + 1
    callback.on_evaluate(None, trainer.state, trainer.control, metrics=dict(evaluation))
    assert callback.decision is not first


def test_transformers_is_needed_for_the_class_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    vars(callbacks).pop("TRLCallback", None)
    with pytest.raises(ImportError, match="needs transformers: pip install transformers"):
        _ = callbacks.TRLCallback

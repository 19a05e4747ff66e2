"""The stopper inside a training loop: rows of a trainer's log in, decisions out.

`LogStopper` is for any loop: give it each row that is logged. ``TRLCallback`` does so for the trainers of TRL and
transformers; it exists only where transformers can be imported, and is made when it is first asked for.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from goldpeak.errors import FitError, RunsWarning
from goldpeak.io.keys import UNITS
from goldpeak.io.log import number
from goldpeak.logs.choose import EVALUATION, Asked, Chosen, choose
from goldpeak.stopping.checkpoints import Given

if TYPE_CHECKING:
    from goldpeak.stopping.online import Decision, Stopper

__all__ = ["LogStopper", "tracked"]


class LogStopper:
    """Takes rows of a training log, as they are logged, and decides after each.

    Parameters
    ----------
    stopper : Stopper
    gold : str, optional
        Key of the gold reward; by default ``gold``, where there is such a key. Rows without it are passed over, unless
        there is no gold at all (``gold=None`` and no such key): then KL and proxy alone are watched.
    kl, proxy, length, kl_unit : str, optional
        As in `goldpeak.read_log`; known for the frameworks in `goldpeak.io.keys`.
    gold_se : float or str, optional
        Standard error of gold, or the key that holds it.

    Attributes
    ----------
    decision : Decision or None
        The last one.

    Notes
    -----
    What is wrong with a row never ends a training run: it is warned of (`RunsWarning`), once for each kind, and the row
    is passed over. A row at KL 0 before all others holds the initial policy's gold, from which gold then counts;
    an evaluation before training (``eval_on_start``) does as well. Otherwise give the `Stopper` its ``baseline``.

    Examples
    --------
    >>> import goldpeak
    >>> small, large = goldpeak.split_by_size(goldpeak.datasets.lab("rl"))
    >>> stopper = goldpeak.Stopper(goldpeak.fit(small, "rl_paper", draws=100), rm_params=1e3)
    >>> loop = LogStopper(stopper, gold="rewards/gold/mean")
    >>> row = {"kl": 0.02, "completions/mean_length": 50.0, "reward": 0.9, "rewards/gold/mean": 0.5}
    >>> loop.update(row, step=10).kl  # 0.02 nats a token x 50 tokens
    1.0
    >>> loop.update({"loss": 0.1}, step=11) is None
    True
    """

    def __init__(
        self,
        stopper: Stopper,
        *,
        gold: str | None = None,
        kl: str | None = None,
        proxy: str | None = None,
        length: str | None = None,
        kl_unit: str | None = None,
        gold_se: float | str | None = None,
    ) -> None:
        if kl_unit is not None and kl_unit not in UNITS:
            raise FitError(f"kl_unit is {kl_unit!r}; allowed: {', '.join(UNITS)}")
        if isinstance(gold_se, float | int) and not (math.isfinite(gold_se) and gold_se > 0):
            raise FitError(f"gold_se is {gold_se}; allowed: a finite number > 0, or a key")
        self.stopper = stopper
        self.decision: Decision | None = None
        self._asked = Asked(kl, gold, proxy, length, kl_unit)
        self._gold_se = gold_se
        self._with_gold = gold is not None
        self._said: set[str] = set()

    def update(self, logs: Mapping[str, object], step: float) -> Decision | None:
        """Take one row in.

        Parameters
        ----------
        logs : mapping
            Key to value; what is no number is passed over.
        step : float
            Training step.

        Returns
        -------
        Decision or None
            None where the row holds no checkpoint.
        """
        row = {key: value for key, cell in logs.items() if (value := number(cell)) is not None}
        point = self._initial(row) if self.decision is None else None
        point = point or self._point(row)
        if point is None:
            return None
        gold_se = row.get(self._gold_se) if isinstance(self._gold_se, str) else self._gold_se
        self.decision = self.stopper.update(point.kl, point.gold, gold_se, point.proxy, step)
        for text in self.decision.warnings:
            self._warn(text)
        return self.decision

    def finish(self) -> None:
        """Say so where not one row held a checkpoint."""
        if self.decision is None:
            self._warn(
                "no logged row held a KL"
                + (f" beside gold {self._asked.gold!r}" if self._with_gold else "")
                + ", so nothing was decided: is the KL logged (TRL: beta not 0), are the keys right?"
            )

    def _initial(self, row: dict[str, float]) -> Given | None:
        """Gold of the initial policy from an evaluation before training, also where training rows are asked for."""
        if self._asked.gold is None or self._asked.gold.startswith(EVALUATION):
            return None
        names = (f"{prefix}{self._asked.gold}" for prefix in EVALUATION)
        gold = next((name for name in names if name in row), None)
        if gold is None:
            return None
        chosen, _ = choose(tuple(row), replace(self._asked, gold=gold))
        if chosen is None or _in_nats(row, chosen) != 0.0:
            return None
        return Given(0.0, row[gold], proxy=row.get(chosen.proxy) if chosen.proxy else None)

    def _point(self, row: dict[str, float]) -> Given | None:
        keys = tuple(row)
        if not self._with_gold and "gold" in row:
            self._with_gold = True
        chosen, problems = choose(keys, self._asked)
        if chosen is None and not self._with_gold and keys:
            chosen, problems = choose(keys, replace(self._asked, without_gold=True))
        if chosen is None:
            self._unreadable(row, problems)
            return None
        proxy = row.get(chosen.proxy) if chosen.proxy is not None else None
        return Given(_in_nats(row, chosen), None if chosen.gold is None else row[chosen.gold], proxy=proxy)

    def _unreadable(self, row: Mapping[str, float], problems: tuple[str, ...]) -> None:
        """Rows of other kinds are logged beside; one that has the gold and yet cannot be read is a fault."""
        if (self._asked.gold or "gold") in row:
            self._warn("; ".join(problems))

    def _warn(self, text: str) -> None:
        kind = "".join(letter for letter in text if not letter.isdigit())
        if kind not in self._said:
            self._said.add(kind)
            warnings.warn(f"goldpeak: {text}", RunsWarning, stacklevel=4)


def tracked(decision: Decision) -> dict[str, float]:
    """What of a decision goes to experiment trackers: numbers by key; an infinite peak is left out.

    Returns
    -------
    dict
        ``goldpeak/p_past_peak``, ``goldpeak/kl_peak_median``, ``goldpeak/kl_peak_lo``, ``goldpeak/kl_peak_hi`` (ends of
        the 90 % interval), ``goldpeak/remaining_gain``, ``goldpeak/best_kl``, ``goldpeak/kl`` (nats per response) and
        ``goldpeak/stop`` (0 or 1).
    """
    median, lo, hi = decision.kl_peak
    values = {
        "p_past_peak": decision.p_past_peak,
        "kl_peak_median": median,
        "kl_peak_lo": lo,
        "kl_peak_hi": hi,
        "remaining_gain": decision.remaining_gain[0],
        "best_kl": decision.best_kl,
        "kl": decision.kl,
        "stop": float(decision.stop),
    }
    return {f"goldpeak/{name}": float(value) for name, value in values.items() if math.isfinite(value)}


def _in_nats(row: Mapping[str, float], chosen: Chosen) -> float:
    length = row[chosen.length] if isinstance(chosen.length, str) else chosen.length
    return UNITS[chosen.unit].nats(row[chosen.kl], 1.0 if length is None else length)


def _callback() -> Any:
    """The class `TRLCallback`; needs transformers."""
    try:
        from transformers import TrainerCallback
    except ImportError as error:
        raise ImportError("goldpeak.stopping.callbacks.TRLCallback needs transformers: pip install transformers") from (
            error
        )

    class TRLCallback(TrainerCallback):
        """Stops a trainer of TRL or transformers where a `goldpeak.Stopper` says so.

        Parameters
        ----------
        stopper : Stopper
        gold : str, optional
            Key of the gold reward as it is logged, e.g. ``rewards/gold/mean``, or with ``eval_`` before it.
        act : bool
            Whether to stop the trainer; False only watches and logs.
        on_decision : callable, optional
            Called with every decision.
        **keys
            As `LogStopper` takes them.

        Attributes
        ----------
        decision : Decision or None
            The last one.
        stopped_at : int or None
            The step at which it stopped the trainer.

        Notes
        -----
        ``callback.attach(trainer)`` puts it before the trackers, so that ``goldpeak/p_past_peak``,
        ``goldpeak/kl_peak_median`` and the others of `tracked` go to every tracker in the row that they belong to, and
        into ``trainer_state.json``. A callback that is given to the trainer in its ``callbacks`` stands behind the
        trackers: it stops the run, and its figures reach ``trainer_state.json`` only. Nothing is logged anew, so there
        is no recursion. Every process of a distributed run decides for itself, from the same row.

        Examples
        --------
        ::

            stopper = goldpeak.Stopper(goldpeak.load("post.nc"), rm_params=3e6, state="stopper.json")
            callback = TRLCallback(stopper, gold="rewards/gold/mean")
            trainer = GRPOTrainer(...)
            callback.attach(trainer)
            trainer.train()
        """

        def __init__(
            self,
            stopper: Stopper,
            *,
            gold: str | None = None,
            act: bool = True,
            on_decision: Callable[[Decision], object] | None = None,
            **keys: Any,
        ) -> None:
            self.rows = LogStopper(stopper, gold=gold, **keys)
            self.act, self.on_decision = act, on_decision
            self.stopped_at: int | None = None
            self._last: tuple[int, frozenset[str]] | None = None

        @property
        def decision(self) -> Decision | None:
            return self.rows.decision

        def attach(self, trainer: Any) -> Any:
            """Add it to a trainer, before all other callbacks; return it."""
            handler = trainer.callback_handler
            handler.callbacks = [self, *(other for other in handler.callbacks if other is not self)]
            return self

        def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any) -> Any:
            if logs:
                self._take(state, control, logs)
            return control

        def on_evaluate(
            self, args: Any, state: Any, control: Any, metrics: dict[str, Any] | None = None, **_: Any
        ) -> Any:
            # Most trainers have logged this row already; some hand it over here only.
            if metrics and not self._seen(state, metrics):
                self._take(state, control, metrics)
            return control

        def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
            self.rows.finish()
            return control

        def _seen(self, state: Any, row: Mapping[str, Any]) -> bool:
            return (
                self._last is not None
                and self._last[0] == state.global_step
                and any(key in self._last[1] for key in row if key.startswith(EVALUATION))
            )

        def _take(self, state: Any, control: Any, row: dict[str, Any]) -> None:
            self._last = (state.global_step, frozenset(row))
            decision = self.rows.update(row, state.global_step)
            if decision is None:
                return
            found = tracked(decision)
            row.update(found)
            if state.log_history and state.log_history[-1].get("step") == state.global_step:
                state.log_history[-1].update(found)
            if self.on_decision is not None:
                self.on_decision(decision)
            if decision.stop and self.act:
                control.should_training_stop = True
                self.stopped_at = state.global_step if self.stopped_at is None else self.stopped_at

    TRLCallback.__module__ = __name__
    return TRLCallback


def __getattr__(name: str) -> Any:
    if name == "TRLCallback":
        globals()[name] = _callback()
        return globals()[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

"""Should this run go on? The stopper takes a run's checkpoints one by one and decides after each."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from goldpeak.errors import StoreError
from goldpeak.io.atomic import replacing
from goldpeak.stopping.audit import Audit, DropAudit
from goldpeak.stopping.belief import Belief, Summary
from goldpeak.stopping.checkpoints import FAR, Checkpoint, Checkpoints, Given
from goldpeak.stopping.decision import Decision, alarms, interval, plain
from goldpeak.stopping.monitor import Divergence, Monitor
from goldpeak.stopping.particles import FEW, Point
from goldpeak.stopping.rules import Rule, reached
from goldpeak.stopping.settings import identity, refuse, refuse_rule, usual_se

__all__ = ["Decision", "Stopper"]

Array = NDArray[np.float64]

UNLIKE = 1e-3
"""Predictive p-value below which a run is unlike the fleet."""
WIDER = 3.0
"""Factor by which a run's own scatter is widened then, once more if that is not enough."""
WIDENINGS = 2
JUDGED = 3
"""Points with gold from which on a run can be unlike the fleet: one far point is noise more often than not."""
STATE = 1
"""Version of the state's layout."""


class Stopper:
    """Decides after each checkpoint of a run whether to go on.

    Parameters
    ----------
    post : xarray.DataTree
        The fleet's posterior, as returned by `fit`.
    rm_params : float
        Size of the run's reward model.
    rule : {"regret", "expected", "chance", "cvar", "drawdown"}
        See `goldpeak.budget`. A stop is due at the first checkpoint at or beyond the KL at which the rule would stop,
        given the points so far; with ``chance`` and ``drawdown`` at the nearest one, see Notes.
    level : float
        Of the rule.
    kl_max : float, optional
        Stop there in any case; by default the posterior's own, beyond which it says nothing.
    patience : int, optional
        So many checkpoints in a row must find that a stop is due; 1 by default.
    drop : float, optional
        For ``drawdown``, in gold.
    baseline : float, optional
        Gold of the initial policy, in the units of `gold`. By default that of a checkpoint at KL 0 that comes before
        all others with gold, else 0.
    alpha : float
        Error probability of the model-free audit over the whole run.
    draws : int
        Draws of the fleet that are used, evenly spaced over the posterior's.
    seed : int, optional
        The posterior's own by default.
    state : path, optional
        A JSON file that holds every checkpoint before its decision is returned; where it exists the run is resumed.

    Raises
    ------
    FitError
        Naming every argument that is out of range; or if the posterior saw one size only, or its noise is ``ou`` or
        ``student_t``.
    StoreError
        If the state cannot be read or written, or belongs to another posterior or other settings.

    Notes
    -----
    A run can stop at its checkpoints only. The first one beyond the place where ``chance`` or ``drawdown`` would stop
    exceeds the level that was stated, in every run. So a stop is due where that place lies nearer, in sqrt(KL), to this
    checkpoint than to the next, whose KL is extrapolated: the level is then met on average over runs. Other rules state
    no probability, and lose less by going on for a checkpoint too many than by stopping at one too few.

    KL may fall during RL. The curve is in KL and the decision is about going on: where KL is falling back, a stop is
    not due, because going on leads back towards the peak.

    The run counts as one with a newly trained reward model. The noise of its points counts as independent: not so of
    best-of-n points that are computed from the same samples, which are then trusted too much.

    Where fewer than a hundred of the fleet's draws agree with the run (with gold far more exact than the fleet's, say),
    its say on which draws do is tempered and a warning says so: then fit again with its points.

    Examples
    --------
    >>> import goldpeak
    >>> small, large = goldpeak.split_by_size(goldpeak.datasets.lab("rl"))
    >>> stopper = goldpeak.Stopper(goldpeak.fit(small, "rl_paper", draws=100), rm_params=1e3)
    >>> decision = stopper.update(kl=1.0, gold=0.5, gold_se=0.05, step=10)
    >>> decision.stop, decision.best_kl
    (False, 1.0)
    """

    def __init__(
        self,
        post: xr.DataTree,
        rm_params: float,
        rule: Rule = "regret",
        level: float = 0.25,
        kl_max: float | None = None,
        patience: int | None = None,
        *,
        drop: float | None = None,
        baseline: float | None = None,
        alpha: float = 0.05,
        draws: int = 2000,
        seed: int | None = None,
        state: str | Path | None = None,
    ) -> None:
        limit = float(post.attrs["kl_max"]) if kl_max is None else kl_max
        refuse(rm_params, rule, level, limit, patience, drop, baseline, alpha, draws)
        self.rule: Rule = rule
        self.level, self.kl_max, self.patience, self.drop = level, limit, patience or 1, drop
        self.alpha = alpha
        self._seed = int(post.attrs["seed"]) if seed is None else seed
        self._belief = Belief.of(post, rm_params, limit, draws, self._seed)
        self._settings = {
            "posterior": identity(post),
            "rm_params": float(rm_params),
            "rule": rule,
            "level": level,
            "kl_max": limit,
            "patience": self.patience,
            "drop": drop,
            "baseline": baseline,
            "alpha": alpha,
            "draws": draws,
            "seed": self._seed,
        }
        self._checkpoints = Checkpoints(usual_se(post), baseline)
        self._audit, self._monitor = DropAudit(alpha), Monitor()
        self._points: list[Point] = []
        self._scores: list[float] = []
        self._odd, self._due, self._widened = 0, 0, 1.0
        self._history: list[Given] = []
        self._summary: Summary | None = None
        self._last: tuple[Checkpoint | None, bool] = None, False
        self._state = None if state is None else Path(state)
        if self._state is not None and self._state.exists():
            self._resume(self._state)

    def update(
        self,
        kl: float,
        gold: float | None = None,
        gold_se: float | None = None,
        proxy: float | None = None,
        step: float | None = None,
    ) -> Decision:
        """Take a checkpoint in and decide.

        Parameters
        ----------
        kl : float
            From the initial policy, nats per response.
        gold, gold_se : float, optional
            Gold reward in the fleet's units, and its standard error; by default the median of the fleet's.
        proxy : float, optional
        step : float, optional

        Returns
        -------
        Decision

        Raises
        ------
        StoreError
            If there is a `state` and it cannot be written.
        """
        given = Given(kl, gold, gold_se, proxy, step)
        self._history.append(given)
        if self._state is not None:
            try:
                self.save(self._state)
            except StoreError:
                self._history.pop()
                raise
        return self._update(given)

    def save(self, path: str | Path) -> None:
        """Write what a later `Stopper` with ``state=path`` resumes from: the settings and every checkpoint.

        The file is written beside its place and renamed: at any moment there is a whole one.

        Raises
        ------
        StoreError
            If it cannot be written.
        """
        found = {"goldpeak_stopper": STATE, "settings": self._settings, "updates": [asdict(g) for g in self._history]}
        with replacing(Path(path)) as temporary:
            temporary.write_text(json.dumps(plain(found)))

    def _resume(self, path: Path) -> None:
        try:
            found = json.loads(path.read_text())
            version, settings = found["goldpeak_stopper"], found["settings"]
            updates = [Given(**{k: _number(v) for k, v in one.items()}) for one in found["updates"]]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise StoreError(f"{path}: not a stopper's state that can be read ({error!r})") from error
        if version != STATE:
            raise StoreError(f"{path}: has layout {version}, this goldpeak reads layout {STATE}")
        mine = plain(self._settings)
        other = [f"{k} is {settings.get(k)}, here {v}" for k, v in mine.items() if settings.get(k) != v]
        if other:
            raise StoreError(f"{path}: belongs to another stopper: {'; '.join(other)}")
        for given in updates:
            self._history.append(given)
            self._update(given)

    def _update(self, given: Given) -> Decision:
        offer = self._checkpoints.offer(given)
        notes = list(offer.warnings)
        checkpoint = offer.checkpoint
        falling = False
        if checkpoint is not None:
            before = self._checkpoints.taken[-1].kl if self._checkpoints.taken else 0.0
            falling = checkpoint.kl < before
            checkpoint, more = self._learn(checkpoint)
            notes += more
            self._checkpoints.take(checkpoint, given)
        self._last = checkpoint, falling
        return self._decide(checkpoint, falling, notes)

    def _learn(self, checkpoint: Checkpoint) -> tuple[Checkpoint, list[str]]:
        """Take a checkpoint's gold into the particles and the audit; without gold nothing changes."""
        if checkpoint.gold is None or checkpoint.kl > self.kl_max:
            return checkpoint, []
        point = Point(float(np.sqrt(checkpoint.kl)), checkpoint.gold, checkpoint.se or 0.0)
        found = self._belief.look(point)
        if min(one.away for one in found) > FAR and self._odd < 2:
            self._odd += 1
            text = f"set aside: gold {checkpoint.gold:.4g} is far from anything expected at kl {checkpoint.kl:.4g}"
            return replace(checkpoint, gold=None), [f"{text}; is it in other units?"]
        self._odd = 0
        if point.se > 0:
            self._audit.update(checkpoint.kl, checkpoint.gold, point.se)
        self._summary = None
        self._points.append(point)
        self._scores.append(_normal_score(self._belief.add(point, found)))
        return checkpoint, self._widen() if self._unlike else []

    @property
    def p_value(self) -> float:
        """Of the run's gold so far: each point's predictive score given those before it, squared and summed."""
        from scipy.special import chdtrc

        return float(chdtrc(len(self._scores), np.sum(np.square(self._scores)))) if self._scores else 1.0

    @property
    def _unlike(self) -> bool:
        return len(self._scores) >= JUDGED and self.p_value < UNLIKE

    @property
    def _lost(self) -> bool:
        """Whether the run is unlike the fleet however wide its scatter; later points may bring it back."""
        return self._unlike and self._widened >= WIDER**WIDENINGS

    def _widen(self) -> list[str]:
        """Let the run scatter more than the fleet's runs do, until its points are likely."""
        says = f"the run is unlike the fleet (predictive p-value {self.p_value:.1g})"
        while self.p_value < UNLIKE and self._widened < WIDER**WIDENINGS:
            self._widened *= WIDER
            self._belief = self._belief.widened(WIDER)
            self._scores = [_normal_score(self._belief.add(point)) for point in self._points]
        if self._lost:
            return [f"{says}, however wide its scatter: the model's answer is not used, the model-free audit decides"]
        return [f"{says}: its own scatter is taken as {self._widened:g} times as wide"]

    def _decide(self, checkpoint: Checkpoint | None, falling: bool, notes: list[str]) -> Decision:
        taken = self._checkpoints.taken
        kl = taken[-1].kl if taken else np.nan
        summary = self._summary = self._summary or self._belief.summary(self.kl_max, self.rule, self.level, self.drop)
        p_past = float(summary.weights @ (summary.kl_peak < kl)) if taken else np.nan
        audit, ess = self._audit.found, self._belief.ess
        if checkpoint is not None:
            self._divergence = self._monitor.update(kl, checkpoint.proxy, checkpoint.step, p_past)
        elif not taken:
            self._divergence = Divergence(False, False, np.nan, False, np.nan, False)
        if ess < min(FEW, 0.25 * len(summary.weights)) and checkpoint is not None and checkpoint.gold is not None:
            says = f"only {ess:.0f} of the fleet's draws agree with this run"
            notes.append(f"{says}: others are kept, so that intervals are wide; fit again with its points")
        if self._divergence.alarm and checkpoint is not None:
            notes += alarms(self._divergence)
        next_kl = self._checkpoints.next_kl if taken else np.nan
        stop, reason = self._rule(kl, next_kl, checkpoint, summary.rule_kl, falling, audit)
        return Decision(
            stop=stop,
            reason=reason,
            kl=kl,
            p_past_peak=p_past,
            kl_peak=interval(summary.kl_peak, summary.weights),
            remaining_gain=interval(summary.gain_at(kl), summary.weights) if taken else (np.nan,) * 3,
            best_kl=_best_measured(taken) if self._lost else summary.best([c.kl for c in taken if c.kl <= self.kl_max]),
            rule_kl=summary.rule_kl,
            next_kl=next_kl,
            ess=ess,
            p_value=self.p_value,
            widened=self._widened,
            audit=audit,
            divergence=self._divergence,
            warnings=tuple(notes),
        )

    def would_stop(self, rule: Rule, level: float, drop: float | None = None) -> bool:
        """Whether another rule would stop at the last checkpoint, from what this stopper knows.

        Parameters
        ----------
        rule, level, drop
            As of `Stopper`, with a `patience` of 1.

        Returns
        -------
        bool
            False where the last checkpoint was set aside, or none has come.

        Raises
        ------
        FitError
            Naming every argument that is out of range.
        """
        refuse_rule(rule, level, drop=drop)
        checkpoint, falling = self._last
        taken = self._checkpoints.taken
        if checkpoint is None or not taken:
            return False
        settled = self._settled(taken[-1].kl, self._audit.found)
        if settled is not None:
            return settled[0]
        rule_kl = self._belief.summary(self.kl_max, rule, level, drop).rule_kl
        return not falling and reached(rule, rule_kl, taken[-1].kl, self._checkpoints.next_kl)

    def _rule(
        self, kl: float, next_kl: float, checkpoint: Checkpoint | None, rule_kl: float, falling: bool, audit: Audit
    ) -> tuple[bool, str]:
        if checkpoint is None:
            return False, "going on: this checkpoint was set aside"
        settled = self._settled(kl, audit)
        if settled is not None:
            return settled
        where = f"rule {self.rule!r} at level {self.level:g} stops at kl {rule_kl:.4g}"
        if not reached(self.rule, rule_kl, kl, next_kl):
            self._due = 0
            return False, f"going on: {where}"
        if falling:
            self._due = 0
            return False, f"going on: {where}, and kl is falling back towards it"
        self._due += 1
        if self._due < self.patience:
            return False, f"going on: {where}; {self._due} of {self.patience} checkpoints in a row"
        if rule_kl <= kl:
            return True, f"{where}, and the run is at {kl:.4g}"
        return True, f"{where}, nearer to this checkpoint, at {kl:.4g}, than to the next, expected at {next_kl:.4g}"

    def _settled(self, kl: float, audit: Audit) -> tuple[bool, str] | None:
        """What is decided whatever the rule; None where the rule decides."""
        if kl >= self.kl_max:
            return True, f"kl {kl:.4g} has reached kl_max, {self.kl_max:.4g}"
        if self._lost:
            fallen = f"gold has fallen by {audit.drop:.3g} at least since kl {audit.since_kl:.4g}"
            return audit.fallen, fallen if audit.fallen else "going on: no drop is certain without the model"
        return None


def _best_measured(taken: Sequence[Checkpoint]) -> float:
    return max((one.gold, one.kl) for one in taken if one.gold is not None)[1]


def _normal_score(u: float) -> float:
    from scipy.special import ndtri

    return float(ndtri(np.clip(u, 1e-12, 1.0 - 1e-12)))


def _number(value: Any) -> Any:
    return float(value) if isinstance(value, str) else value

"""Should this run go on? The stopper takes a run's checkpoints one by one and decides after each."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from goldpeak.curves import card_of, sines_of
from goldpeak.errors import FitError, StoreError
from goldpeak.io.atomic import replacing
from goldpeak.newrun import new_runs
from goldpeak.peaks import refuse_basis_short_of
from goldpeak.stopping.audit import Audit, DropAudit
from goldpeak.stopping.checkpoints import FAR, Checkpoint, Checkpoints, Given
from goldpeak.stopping.monitor import Divergence, Monitor
from goldpeak.stopping.particles import Particles, Point, effective, systematic
from goldpeak.stopping.rules import GRID, RULES, CurveDraws, Rule, above_share, stop_at

__all__ = ["Decision", "Stopper"]

Array = NDArray[np.float64]
Interval = tuple[float, float, float]

SHARE = 0.5
"""Particles are made anew when their effective number falls below this share of them."""
FEW = 100.0
"""Effective draws of the fleet below which a decision says that the fleet hardly covers the run."""
UNLIKE = 1e-3
"""Predictive p-value below which a run is unlike the fleet."""
WIDER = 3.0
"""Factor by which a run's own scatter is widened then, once more if that is not enough."""
WIDENINGS = 2
PROB = 0.9
STATE = 1
"""Version of the state's layout."""


@dataclass(frozen=True)
class Decision:
    """What to do after a checkpoint, and why.

    Attributes
    ----------
    stop : bool
    reason : str
    kl : float
        Of the checkpoint, nats.
    p_past_peak : float
        P(kl_peak < kl) given the fleet and the run's gold so far.
    kl_peak, remaining_gain : tuple of float
        Median and ends of the 90 % equal-tailed interval: of the KL at the peak (inf where gold still rises at
        `kl_max`), and of gold at the peak less gold here.
    best_kl : float
        KL of the checkpoint to keep: of those seen the one with the highest posterior expected gold (the highest
        measured gold where the model is not used). NaN before any.
    rule_kl : float
        Where the rule would stop, from what is known now; inf where not up to `kl_max`.
    ess : float
        Effective number of the fleet's draws that the run agrees with.
    p_value : float
        Predictive p-value of the run's gold so far, with `widened`: below .001 the model's answer is not used.
    widened : float
        Factor by which the run's own scatter was widened because of it; 1 where it was not.
    audit : Audit
        The model-free confidence sequence on a drop of gold.
    divergence : Divergence
        What KL and proxy say by themselves.
    warnings : tuple of str
        Of this checkpoint: what was set aside, and what to know.
    """

    stop: bool
    reason: str
    kl: float
    p_past_peak: float
    kl_peak: Interval
    remaining_gain: Interval
    best_kl: float
    rule_kl: float
    ess: float
    p_value: float
    widened: float
    audit: Audit
    divergence: Divergence
    warnings: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for JSON or a tracker; inf and NaN as the words "inf" and "nan"."""
        return _plain(asdict(self) | {"alarm": self.divergence.alarm})


class Stopper:
    """Decides after each checkpoint of a run whether to go on.

    Parameters
    ----------
    post : xarray.DataTree
        The fleet's posterior, as returned by `fit`.
    rm_params : float
        Size of the run's reward model.
    rule : {"regret", "expected", "chance", "cvar", "drawdown"}
        See `goldpeak.budget`. A stop is due when the KL at which the rule would stop, given the points so far, is not
        above the run's KL.
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
    KL may fall during RL. The curve is in KL and the decision is about going on: where KL is falling back, a stop is
    not due, because going on leads back towards the peak.

    The run counts as one with a newly trained reward model.

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
        _refuse(rm_params, rule, level, limit, patience, drop, baseline, alpha, draws)
        refuse_basis_short_of(sines_of(post), limit)
        self.rule: Rule = rule
        self.level, self.kl_max, self.patience, self.drop = level, limit, patience or 1, drop
        self.alpha = alpha
        self._seed = int(post.attrs["seed"]) if seed is None else seed
        self._particles = _particles(post, rm_params, limit, draws, self._seed)
        self._settings = {
            "posterior": f"{post.attrs['card_hash']} {post.attrs['data_digest']} {post.attrs['seed']}",
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
        self._checkpoints = Checkpoints(_usual_se(post), baseline)
        self._audit, self._monitor = DropAudit(alpha), Monitor()
        self._scores: list[float] = []
        self._counts_se = card_of(post).noise.kind != "iid"
        self._odd, self._due, self._widened, self._lost = 0, 0, 1.0, False
        self._history: list[Given] = []
        self._summary: _Summary | None = None
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
        """
        found = {"goldpeak_stopper": STATE, "settings": self._settings, "updates": [asdict(g) for g in self._history]}
        try:
            with replacing(Path(path)) as temporary:
                temporary.write_text(json.dumps(_plain(found)))
        except OSError as error:
            raise StoreError(f"{path}: cannot be written: {error}") from error

    def _resume(self, path: Path) -> None:
        try:
            found = json.loads(path.read_text())
            version, settings = found["goldpeak_stopper"], found["settings"]
            updates = [Given(**{k: _number(v) for k, v in one.items()}) for one in found["updates"]]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise StoreError(f"{path}: not a stopper's state that can be read ({error!r})") from error
        if version != STATE:
            raise StoreError(f"{path}: has layout {version}, this goldpeak reads layout {STATE}")
        mine = _plain(self._settings)
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
        return self._decide(checkpoint, falling, notes)

    def _learn(self, checkpoint: Checkpoint) -> tuple[Checkpoint, list[str]]:
        """Take a checkpoint's gold into the particles and the audit; without gold nothing changes."""
        if checkpoint.gold is None or checkpoint.kl > self.kl_max:
            return checkpoint, []
        se = checkpoint.se or 0.0
        point = Point(float(np.sqrt(checkpoint.kl)), checkpoint.gold, se if self._counts_se else 0.0)
        if self._particles.away(point) > FAR and self._odd < 2:
            self._odd += 1
            text = f"set aside: gold {checkpoint.gold:.4g} is far from anything expected at kl {checkpoint.kl:.4g}"
            return replace(checkpoint, gold=None), [f"{text}; is it in other units?"]
        self._odd = 0
        if se > 0:
            self._audit.update(checkpoint.kl, checkpoint.gold, se)
        self._summary = None
        self._add(point)
        return checkpoint, self._widen() if self.p_value < UNLIKE else []

    def _add(self, point: Point) -> None:
        self._scores.append(_normal_score(self._particles.add(point)))
        if effective(self._particles.weights) < SHARE * self._particles.fleet.draws:
            self._particles.rejuvenate()

    @property
    def p_value(self) -> float:
        """Of the run's gold so far: each point's predictive score given those before it, squared and summed."""
        from scipy.stats import chi2

        return float(chi2.sf(np.sum(np.square(self._scores)), len(self._scores))) if self._scores else 1.0

    def _widen(self) -> list[str]:
        """Let the run scatter more than the fleet's runs do, until its points are likely; else give up the model."""
        says = f"the run is unlike the fleet (predictive p-value {self.p_value:.1g})"
        while self.p_value < UNLIKE and self._widened < WIDER**WIDENINGS:
            self._widened *= WIDER
            points, self._particles, self._scores = self._particles.points, self._particles.widened(WIDER), []
            for point in points:
                self._add(point)
        self._lost = self.p_value < UNLIKE
        if self._lost:
            return [f"{says}, however wide its scatter: the model's answer is not used, the model-free audit decides"]
        return [f"{says}: its own scatter is taken as {self._widened:g} times as wide"]

    def _decide(self, checkpoint: Checkpoint | None, falling: bool, notes: list[str]) -> Decision:
        taken = self._checkpoints.taken
        kl = taken[-1].kl if taken else np.nan
        summary = self._summary = self._summary or _Summary.of(self._particles, self)
        p_past = float(summary.weights @ (summary.kl_peak < kl)) if taken else np.nan
        audit, ess = self._audit.report(), self._particles.effective_fleet
        if checkpoint is not None:
            self._divergence = self._monitor.update(kl, checkpoint.proxy, checkpoint.step, p_past)
        elif not taken:
            self._divergence = Divergence(False, False, np.nan, False, np.nan, False)
        if ess < FEW and checkpoint is not None and checkpoint.gold is not None:
            notes.append(f"only {ess:.0f} of the fleet's draws agree with this run: fit again with its points")
        if self._divergence.alarm and checkpoint is not None:
            notes += _alarms(self._divergence)
        stop, reason = self._rule(kl, checkpoint, summary.rule_kl, falling, audit)
        return Decision(
            stop=stop,
            reason=reason,
            kl=kl,
            p_past_peak=p_past,
            kl_peak=_interval(summary.kl_peak, summary.weights),
            remaining_gain=_interval(summary.gain_at(kl), summary.weights) if taken else (np.nan,) * 3,
            best_kl=_best_measured(taken) if self._lost else summary.best([c.kl for c in taken if c.kl <= self.kl_max]),
            rule_kl=summary.rule_kl,
            ess=ess,
            p_value=self.p_value,
            widened=self._widened,
            audit=audit,
            divergence=self._divergence,
            warnings=tuple(notes),
        )

    def _rule(
        self, kl: float, checkpoint: Checkpoint | None, rule_kl: float, falling: bool, audit: Audit
    ) -> tuple[bool, str]:
        if checkpoint is None:
            return False, "going on: this checkpoint was set aside"
        if kl >= self.kl_max:
            return True, f"kl {kl:.4g} has reached kl_max, {self.kl_max:.4g}"
        if self._lost:
            fallen = f"gold has fallen by {audit.drop:.3g} at least since kl {audit.since_kl:.4g}"
            return audit.fallen, fallen if audit.fallen else "going on: no drop is certain without the model"
        where = f"rule {self.rule!r} at level {self.level:g} stops at kl {rule_kl:.4g}"
        if rule_kl > kl:
            self._due = 0
            return False, f"going on: {where}"
        if falling:
            self._due = 0
            return False, f"going on: {where}, and kl is falling back towards it"
        self._due += 1
        if self._due < self.patience:
            return False, f"going on: {where}; {self._due} of {self.patience} checkpoints in a row"
        return True, f"{where}, and the run is at {kl:.4g}"


@dataclass(frozen=True)
class _Summary:
    """Curves of the particles on the grid, and what follows from them.

    Attributes
    ----------
    d : ndarray, shape (grid,)
    gold : ndarray, shape (grid, particle)
    kl_peak, gold_peak, weights : ndarray, shape (particle,)
    rule_kl : float
    """

    d: Array
    gold: Array
    kl_peak: Array
    gold_peak: Array
    weights: Array
    rule_kl: float

    @classmethod
    def of(cls, particles: Particles, stopper: Stopper) -> _Summary:
        gold, weights = particles.gold(), particles.weights
        kl_peak, gold_peak = _highest(particles.d_grid, gold)
        # With equal weights the worst share of 2,000 draws takes a tenth of the time.
        even = systematic(weights, len(weights))
        equal = (gold, kl_peak, gold_peak)
        if effective(weights) < len(weights) * (1.0 - 1e-9):
            equal = (gold[:, even], kl_peak[even], gold_peak[even])
        draws = CurveDraws(particles.curves(), stopper.kl_max, *equal)
        rule_kl = stop_at(draws, stopper.rule, stopper.level, stopper.drop)
        return cls(particles.d_grid, gold, kl_peak, gold_peak, weights, rule_kl)

    def gain_at(self, kl: float) -> Array:
        """Gold at the peak less gold at a KL, of each particle."""
        place = min(np.sqrt(kl), self.d[-1]) / self.d[1]
        cell = min(int(place), len(self.d) - 2)
        share = place - cell
        return np.asarray(self.gold_peak - (1.0 - share) * self.gold[cell] - share * self.gold[cell + 1])

    def best(self, kl: Sequence[float]) -> float:
        """Of some KLs the one with the highest expected gold."""
        if not kl:
            return np.nan
        return float(kl[int(np.argmax(np.interp(np.sqrt(kl), self.d, self.gold @ self.weights)))])


def _highest(d: Array, gold: Array) -> tuple[Array, Array]:
    """KL and gold at the highest point of curves (grid, particle), by a parabola; inf at the end, 0 at the start."""
    at, each = np.argmax(gold, axis=0), np.arange(gold.shape[1])
    inside = np.clip(at, 1, len(d) - 2)
    left, middle, right = (gold[inside + k, each] for k in (-1, 0, 1))
    bend = left - 2.0 * middle + right
    shift = np.clip(0.5 * (left - right) / np.where(bend < 0, bend, -1.0), -1.0, 1.0) * (bend < 0)
    kl = (d[inside] + shift * d[1]) ** 2
    top = middle - 0.25 * (left - right) * shift
    ends = gold[at, each]
    return np.where(at == len(d) - 1, np.inf, np.where(at == 0, 0.0, kl)), np.where(at == inside, top, ends)


def _best_measured(taken: Sequence[Checkpoint]) -> float:
    return max((one.gold, one.kl) for one in taken if one.gold is not None)[1]


def _interval(values: Array, weights: Array) -> Interval:
    """Median and ends of the equal-tailed interval."""
    tail = (1.0 - PROB) / 2.0
    lo, median, hi = (above_share(values, share, weights) for share in (tail, 0.5, 1.0 - tail))
    return median, lo, hi


def _normal_score(u: float) -> float:
    from scipy.special import ndtri

    return float(ndtri(np.clip(u, 1e-12, 1.0 - 1e-12)))


def _alarms(divergence: Divergence) -> list[str]:
    told = {
        "change point: kl per step broke its pattern": divergence.kl_spike,
        "change point: proxy per nat broke its pattern": divergence.proxy_spike,
        f"proxy still rises, and gold is past its peak with probability {divergence.p_falling:.2f}": divergence.hacking,
    }
    return [text for text, is_so in told.items() if is_so]


def _particles(post: xr.DataTree, rm_params: float, kl_max: float, draws: int, seed: int) -> Particles:
    (run,) = new_runs(post, [rm_params], seed=seed)
    if draws < run.draws:
        run = run.take((np.arange(draws) + 0.5).astype(np.int64) * run.draws // draws)
    return Particles(run, np.linspace(0.0, np.sqrt(kl_max), GRID + 1), seed)


def _usual_se(post: xr.DataTree) -> float:
    """Median standard error of the fleet's gold, where the card's noise counts it."""
    data = post["constant_data"].to_dataset()
    if card_of(post).noise.kind == "iid" or "gold_se" not in data:
        return 0.0
    return float(np.nanmedian(data["gold_se"].values))


def _refuse(
    rm_params: float,
    rule: str,
    level: float,
    kl_max: float,
    patience: int | None,
    drop: float | None,
    baseline: float | None,
    alpha: float,
    draws: int,
) -> None:
    top = 1.0 if rule in ("chance", "drawdown") else np.nextafter(1.0, 2.0)
    checks = (
        ("rm_params", rm_params, np.isscalar(rm_params) and rm_params > 0, "one finite number > 0"),
        ("rule", repr(rule), rule in RULES, ", ".join(RULES)),
        ("level", level, 0 < level < top, "a number above 0 and at most 1 (chance, drawdown: below 1)"),
        ("kl_max", kl_max, np.isfinite(kl_max) and kl_max > 0, "a finite number of nats > 0"),
        (
            "patience",
            patience,
            patience is None or (isinstance(patience, int) and patience >= 1),
            "a whole number >= 1",
        ),
        ("drop", drop, drop is None or (np.isfinite(drop) and drop >= 0), "a finite amount of gold >= 0"),
        ("baseline", baseline, baseline is None or np.isfinite(baseline), "a finite number"),
        ("alpha", alpha, 0 < alpha < 1, "a number between 0 and 1"),
        ("draws", draws, isinstance(draws, int) and draws >= 100, "a whole number >= 100"),
    )
    problems = [f"{name} is {value}; allowed: {allowed}" for name, value, fine, allowed in checks if not fine]
    if problems:
        raise FitError("; ".join(problems))


def _plain(value: Any) -> Any:
    """Without infinities and NaN, which JSON does not have."""
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, np.generic):
        value = value.item()
    return str(value) if isinstance(value, float) and not np.isfinite(value) else value


def _number(value: Any) -> Any:
    return float(value) if isinstance(value, str) else value

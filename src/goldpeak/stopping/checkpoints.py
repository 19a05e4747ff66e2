"""The checkpoints of a run as they come in: which are taken, which are set aside, and why."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from goldpeak.errors import is_number, refusal

__all__ = ["Checkpoint", "Checkpoints", "Given", "Offer"]

JUMP = 2.0
"""A checkpoint whose sqrt(KL) lies more than this factor, and `LEAST_JUMP`, off the last one's is held back once."""
LEAST_JUMP = 1.5
RECENT = 3
"""Steps between checkpoints whose median is the next one's."""
GROWTH = 1.25
"""The next step of sqrt(KL) is at most so many times the usual of the last ones."""
FAR = 8.0
"""Predictive standard deviations beyond which gold is held back as probably being in other units."""


@dataclass(frozen=True)
class Given:
    """The arguments of `Stopper.update`, as they were."""

    kl: float
    gold: float | None = None
    gold_se: float | None = None
    proxy: float | None = None
    step: float | None = None


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that is taken: gold relative to the initial policy, None where there is none that counts."""

    kl: float
    gold: float | None
    se: float | None
    proxy: float | None
    step: float | None


@dataclass(frozen=True)
class Offer:
    """What became of a checkpoint: taken or, with `checkpoint` None, set aside; and what there is to say."""

    checkpoint: Checkpoint | None
    warnings: tuple[str, ...]


@dataclass
class Checkpoints:
    """Those taken so far.

    Attributes
    ----------
    usual_se : float
        Of the fleet's gold, for points that come without one; 0 where the fleet had none.
    baseline : float or None
        Gold of the initial policy. None: that of a checkpoint at KL 0, if there is one before any other with gold.
    """

    usual_se: float
    baseline: float | None = None
    taken: list[Checkpoint] = field(default_factory=list)
    last: Given | None = None
    held: Given | None = None

    def offer(self, given: Given) -> Offer:
        """Judge a checkpoint by itself and by those before it; it is not taken before `take`."""
        notes: list[str] = []
        if not (is_number(given.kl) and given.kl >= 0):
            return Offer(None, ("set aside: " + refusal("kl", given.kl, "a finite number of nats >= 0"),))
        repeated = self._repeats(given)
        if repeated:
            return Offer(None, (f"set aside: {repeated}",))
        jump = self._jumps(given.kl)
        if jump and (self.held is None or jump != self._jumps(self.held.kl)):
            self.held = given
            return Offer(
                None, (f"set aside: kl {self._moved(given.kl)}; the next checkpoint decides whether it is real",)
            )
        if jump:
            notes.append(f"kl {self._moved(given.kl)}, and so did the checkpoint before: taken as real")
        self.held = None
        gold, more = self._gold(given)
        se, about_se = (None, []) if gold is None else self._se(given.gold_se)
        proxy = given.proxy if given.proxy is None or is_number(given.proxy) else None
        step = given.step if given.step is None or is_number(given.step) else None
        notes += [*more, *about_se]
        notes += [f"proxy is {given.proxy}: not counted"] if proxy is None and given.proxy is not None else []
        notes += [f"step is {given.step}: not counted"] if step is None and given.step is not None else []
        if step is not None and self.taken and self.taken[-1].step is not None and step < self.taken[-1].step:
            notes.append(f"step went back from {self.taken[-1].step:g} to {step:g}: not counted")
            step = None
        return Offer(Checkpoint(float(given.kl), gold, se, proxy, step), tuple(notes))

    def take(self, checkpoint: Checkpoint, given: Given) -> None:
        """Keep a checkpoint."""
        self.taken.append(checkpoint)
        self.last = given

    @property
    def next_kl(self) -> float:
        """KL at which the next checkpoint is expected: the last one's where KL does not grow, or was seen only once.

        KL grows by the same factor again, which holds of checkpoints that lie evenly in its logarithm, and nearly so of
        later ones that lie evenly in the step of training; the cap is for early ones.

        Examples
        --------
        >>> taken = [Checkpoint(kl, None, None, None, None) for kl in (4.0, 5.0, 6.25)]
        >>> round(Checkpoints(0.0, taken=taken).next_kl, 4)
        7.8125
        """
        last = self.taken[-1].kl
        d = np.sqrt([one.kl for one in self.taken[-RECENT - 1 :] if one.kl > 0])
        if len(d) < 2:
            return last
        step = min(d[-1] * (np.median(d[1:] / d[:-1]) - 1.0), GROWTH * np.median(np.diff(d)))
        return float(d[-1] + step) ** 2 if step > 0 else last

    def _repeats(self, given: Given) -> str:
        for last in (self.last, self.held):
            if last is None:
                continue
            if given.step is not None and given.step == last.step:
                return f"step {given.step:g} came before"
            if given.step is None and (given.kl, given.gold, given.proxy) == (last.kl, last.gold, last.proxy):
                return "the same numbers as the checkpoint before"
        return ""

    def _jumps(self, kl: float) -> str:
        """Which way KL jumped from the last checkpoint that was taken; "" where it did not."""
        if not self.taken:
            return ""
        before, now = np.sqrt(self.taken[-1].kl), np.sqrt(kl)
        if abs(now - before) <= LEAST_JUMP or max(now, before) <= JUMP * min(now, before):
            return ""
        return "jumped" if now > before else "fell back"

    def _moved(self, kl: float) -> str:
        return f"{self._jumps(kl)} from {self.taken[-1].kl:.4g} to {kl:.4g} nats"

    def _gold(self, given: Given) -> tuple[float | None, list[str]]:
        if given.gold is None:
            return None, []
        if not is_number(given.gold):
            return None, [f"set aside: {refusal('gold', given.gold, 'a finite number')}. The KL counts"]
        if given.kl == 0.0:
            if self.baseline is None:
                self.baseline = float(given.gold)
                return None, [f"gold {given.gold:g} at kl 0 is what the run's gold counts from"]
            return None, []
        if self.baseline is None:
            self.baseline = 0.0
        return float(given.gold) - self.baseline, []

    def _se(self, gold_se: float | None) -> tuple[float, list[str]]:
        if gold_se is not None and is_number(gold_se) and gold_se > 0:
            return float(gold_se), []
        if gold_se is not None:
            return self.usual_se, [
                f"{refusal('gold_se', gold_se, 'a finite number > 0')}. Taken as {self.usual_se:.3g}"
            ]
        if self.usual_se > 0:
            return self.usual_se, [f"no gold_se: taken as {self.usual_se:.3g}, the median of the fleet's"]
        return 0.0, []

"""A record of what was read from a log: keys, units, conversions, and rows that were dropped, with the reason."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from goldpeak.wording import listed

__all__ = ["Note", "Reading", "notices"]


@dataclass(frozen=True)
class Note:
    """One thing that was done or seen.

    Attributes
    ----------
    kind : {"conversion", "dropped", "notice"}
        What was computed; which values were left out; what to keep in mind. The last two are also warned of.
    text : str
    count : int
        How many values or rows it concerns; 0 where it concerns all.
    """

    kind: Literal["conversion", "dropped", "notice"]
    text: str
    count: int = 0

    def __str__(self) -> str:
        return f"{self.count} x {self.text}" if self.count else self.text


@dataclass(frozen=True)
class Reading:
    """What was read of one run.

    Attributes
    ----------
    run, source, format : str
        The run's name, the file or folder, and which reader read it.
    framework : str
        By whose keys it was read; "not known" where they were given.
    kl, kl_unit, estimator : str
        Key, unit as logged (of `goldpeak.io.keys.UNITS`) and estimator of the KL.
    length, proxy : str or None
        Key of the mean response length (or the number given) and of the proxy reward, where used.
    gold : str or None
        Key of the gold reward; None where none was to be read.
    points : int
        Points of the run that are left, the initial policy's included.
    interpolated : int
        Points whose KL was interpolated between neighbouring steps.
    notes : tuple of Note

    Examples
    --------
    >>> notes = (Note("dropped", "gold is NaN or infinite", 2),)
    >>> reading = Reading("a", "a.csv", "csv", "not known", "kl", "nats", "not known", None, "gold", None, 7, 0, notes)
    >>> [str(note) for note in reading.dropped], reading.conversions
    (['2 x gold is NaN or infinite'], ())
    """

    run: str
    source: str
    format: str
    framework: str
    kl: str
    kl_unit: str
    estimator: str
    length: str | None
    gold: str | None
    proxy: str | None
    points: int
    interpolated: int
    notes: tuple[Note, ...] = ()

    @property
    def conversions(self) -> tuple[Note, ...]:
        """What was computed."""
        return tuple(note for note in self.notes if note.kind == "conversion")

    @property
    def dropped(self) -> tuple[Note, ...]:
        """What was left out, and why."""
        return tuple(note for note in self.notes if note.kind == "dropped")

    @property
    def notices(self) -> tuple[Note, ...]:
        """What to keep in mind."""
        return tuple(note for note in self.notes if note.kind == "notice")


def notices(readings: Sequence[Reading], most: int = 3) -> list[str]:
    """One sentence for each thing to warn of, with the runs that it concerns."""
    found: dict[tuple[str, str], dict[str, int]] = {}
    for reading in readings:
        for note in (*reading.dropped, *reading.notices):
            found.setdefault((note.kind, note.text), {})[reading.run] = note.count
    return [_sentence(kind, text, runs, most) for (kind, text), runs in found.items()]


def _sentence(kind: str, text: str, runs: dict[str, int], most: int) -> str:
    names = listed([f"'{run}'" for run in runs], most)
    total = sum(runs.values())
    counted = f"{total} dropped: " if kind == "dropped" else (f"{total} x " if total else "")
    return f"run{'s' if len(runs) > 1 else ''} {names}: {counted}{text}"

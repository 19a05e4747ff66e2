"""Exceptions and warnings: what can go wrong, and whose turn it is.

Every error a user can cause is a :class:`GoldpeakError`; the command line turns it into one clean message and the
exit status it names.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Integral, Real

__all__ = [
    "CardError",
    "ConvergenceWarning",
    "FitError",
    "GoldpeakError",
    "NumericsWarning",
    "RunsError",
    "RunsWarning",
    "StoreError",
    "is_number",
    "is_whole",
    "problems_of_counts",
    "refusal",
]


class GoldpeakError(Exception):
    """Base of all errors that goldpeak raises on purpose."""

    exit_status = 2


class _ProblemsError(GoldpeakError):
    """An error that lists every problem found, not only the first."""

    def __init__(self, source: str, problems: Sequence[str]) -> None:
        self.source = source
        self.problems = tuple(problems)
        count = f"{len(self.problems)} problem" + ("s" if len(self.problems) != 1 else "")
        super().__init__("\n".join([f"{source}: {count}", *(f"  - {p}" for p in self.problems)]))

    def __reduce__(self) -> tuple[type, tuple[str, tuple[str, ...]]]:
        return type(self), (self.source, self.problems)


class RunsError(_ProblemsError):
    """Run curves that cannot be used; ``problems`` holds one sentence for each thing found."""


class CardError(_ProblemsError):
    """A model card that cannot be used; ``problems`` holds one sentence for each thing found."""


class FitError(GoldpeakError):
    """A question that the data, the card or the posterior cannot answer; the message says why."""


class StoreError(GoldpeakError):
    """A posterior file that cannot be read back or does not carry goldpeak's stamp."""


class RunsWarning(UserWarning):
    """Run curves that can be used, but hold something worth a look."""


class ConvergenceWarning(UserWarning):
    """A sampler's gate failed: the numbers may be wrong."""


class NumericsWarning(UserWarning):
    """Rounding was felt: the input is close to what double precision can hold."""


def is_number(value: object) -> bool:
    """Whether this is a finite number.

    Examples
    --------
    >>> [is_number(value) for value in (1, 0.5, float("inf"), "3M", None)]
    [True, True, False, False, False]
    """
    return isinstance(value, Real) and math.isfinite(value)


def refusal(name: str, value: object, allowed: str) -> str:
    """A sentence on an argument that is out of range; text stands in quotes.

    Examples
    --------
    >>> refusal("draws", "500", "a whole number >= 100")
    "draws is '500'; allowed: a whole number >= 100"
    """
    return f"{name} is {repr(value) if isinstance(value, str) else value}; allowed: {allowed}"


def is_whole(value: object, least: int) -> bool:
    """Whether this is a whole number and no less than another.

    Examples
    --------
    >>> [is_whole(value, 1) for value in (1, 0, 2.5, "2")]
    [True, False, False, False]
    """
    return isinstance(value, Integral) and int(value) >= least


def problems_of_counts(least: int, **counts: object) -> list[str]:
    """What is wrong with arguments that count something, by name.

    Examples
    --------
    >>> problems_of_counts(1, draws=0, chains=4)
    ['draws is 0; allowed: a whole number >= 1']
    """
    return [
        f"{name} is {value!r}; allowed: a whole number >= {least}"
        for name, value in counts.items()
        if not is_whole(value, least)
    ]

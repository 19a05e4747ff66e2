"""Model cards: one hierarchical model as data.

A card is a frozen dataclass that is read from TOML and written back to it. Everything that comes in several sorts has
an explicit ``kind``; unknown keys are refused; all problems of a file are reported at once.
"""

from __future__ import annotations

import hashlib
import json
import numbers
import tomllib
import types
import typing
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, ClassVar

from goldpeak.errors import CardError
from goldpeak.forms import COEFFICIENTS, FORMS
from goldpeak.noise_kinds import Noise
from goldpeak.priors import LKJ, Normal, ScalePrior
from goldpeak.shapes import SHAPE_FORMULA, SHAPE_GAMMA
from goldpeak.trends import TRENDS
from goldpeak.wording import did_you_mean

__all__ = [
    "COORDINATES",
    "Card",
    "Coefficient",
    "Constant",
    "FormSpec",
    "LogLinear",
    "LogQuadratic",
    "NoDiscrepancy",
    "Noise",
    "RandomWalk",
    "Smooth",
    "read_card",
]

LINKS = ("identity", "log")
COORDINATES = {"coefficients": COEFFICIENTS, "peak": ("d_star", "gold_star")}
"""What a card's hierarchy is on, and the coefficients that it then has."""


@dataclass(frozen=True)
class FormSpec:
    """Which functional form; `gamma` is the prior of its shape parameter, where it has one.

    In peak coordinates only: `gamma_slope` lets gamma drift, its prior is per unit of log N; `bend` is the prior of how
    much rounder curves with a later peak rise, per unit of log d* (see `shapes`).
    """

    kind: str
    gamma: Normal | None = None
    gamma_slope: Normal | None = None
    bend: Normal | None = None

    def problems(self) -> list[str]:
        """What is wrong, one sentence each."""
        if self.kind not in FORMS:
            return [f"kind is {self.kind!r}; allowed: {', '.join(FORMS)}{did_you_mean(self.kind, FORMS)}"]
        if FORMS[self.kind].has_gamma != (self.gamma is not None):
            return [f"form {self.kind!r} {'needs a' if self.gamma is None else 'has no'} gamma"]
        if self.gamma_slope and not self.gamma:
            return [f"form {self.kind!r} has no gamma that could have a slope"]
        return []


@dataclass(frozen=True)
class Constant:
    """The same for every size."""

    kind: ClassVar[str] = "constant"
    intercept: Normal


@dataclass(frozen=True)
class LogLinear:
    """A straight line in log(N / N0): `intercept` at N0, `slope` per unit of log N."""

    kind: ClassVar[str] = "log_linear"
    intercept: Normal
    slope: Normal


@dataclass(frozen=True)
class LogQuadratic:
    """A parabola in log(N / N0)."""

    kind: ClassVar[str] = "log_quadratic"
    intercept: Normal
    slope: Normal
    quadratic: Normal


@dataclass(frozen=True)
class RandomWalk:
    """A line whose slope drifts with log N; `drift` is the sd of the slope's change per unit of log N, to the half."""

    kind: ClassVar[str] = "random_walk"
    intercept: Normal
    slope: Normal
    drift: ScalePrior


@dataclass(frozen=True)
class Coefficient:
    """How one coefficient depends on reward-model size, and how much RMs and runs scatter about that trend."""

    trend: Constant | LogLinear | LogQuadratic | RandomWalk
    link: str = "identity"
    sd_rm: ScalePrior | None = None
    sd_run: ScalePrior | None = None

    def problems(self) -> list[str]:
        """What is wrong, one sentence each."""
        return [] if self.link in LINKS else [f"link is {self.link!r}; allowed: {', '.join(LINKS)}"]


@dataclass(frozen=True)
class NoDiscrepancy:
    """The form is taken to be exact."""

    kind: ClassVar[str] = "none"


@dataclass(frozen=True)
class Smooth:
    """A smooth Gaussian process in d (Matern 5/2) on top of the form.

    `shared` is the amplitude of the part common to all runs, `shared_trend` of a part proportional to log(N / N0),
    `run` of each run's own; `lengthscale` is in square-root nats. In peak coordinates `shared` is part of the shape:
    a function of d / d*, in units of R*, and so is `lengthscale`; `run` then has a `run_lengthscale` of its own, in
    square-root nats.
    """

    kind: ClassVar[str] = "smooth"
    lengthscale: ScalePrior
    shared: ScalePrior | None = None
    shared_trend: ScalePrior | None = None
    run: ScalePrior | None = None
    run_lengthscale: ScalePrior | None = None

    def problems(self) -> list[str]:
        """What is wrong, one sentence each."""
        if self.shared or self.shared_trend or self.run:
            return []
        return ["a smooth discrepancy needs at least one of shared, shared_trend, run"]


@dataclass(frozen=True)
class Card:
    """One hierarchical model.

    Priors are on standardised scales: gold in units of ``gold_scale``, log N centred at N0. With `coordinates`
    ``coefficients`` the hierarchy is on `alpha` and `beta`; with ``peak`` it is on the place `d_star` and the height
    `gold_star` of the shared shape's peak (see `shapes`), both with link ``log``, whose deviations from their trends
    may be correlated.

    Examples
    --------
    >>> from goldpeak.library import load_card
    >>> card = load_card("rl_paper")
    >>> card.form.kind, card.beta.trend.kind
    ('rl', 'log_linear')
    >>> Card.from_toml(card.to_toml()) == card
    True
    """

    name: str
    title: str
    form: FormSpec
    noise: Noise
    coordinates: str = "coefficients"
    alpha: Coefficient | None = None
    beta: Coefficient | None = None
    d_star: Coefficient | None = None
    gold_star: Coefficient | None = None
    correlation: LKJ | None = None
    discrepancy: NoDiscrepancy | Smooth = field(default_factory=NoDiscrepancy)
    description: str = ""
    references: tuple[str, ...] = ()

    @property
    def coefficients(self) -> dict[str, Coefficient]:
        """What the hierarchy is on, by name."""
        return {name: getattr(self, name) for name in COORDINATES[self.coordinates]}

    @property
    def formula(self) -> str:
        """gold(d), for people."""
        if self.coordinates == "coefficients":
            return FORMS[self.form.kind].formula
        return SHAPE_FORMULA[self.form.kind] + (", rounder where d* is larger" if self.form.bend else "")

    def problems(self) -> list[str]:
        """What is wrong with the card as a whole, one sentence each."""
        if self.coordinates not in COORDINATES:
            return [f"coordinates is {self.coordinates!r}; allowed: {', '.join(COORDINATES)}"]
        wanted = COORDINATES[self.coordinates]
        others = [name for names in COORDINATES.values() for name in names if name not in wanted]
        found = [f"{name} is missing" for name in wanted if getattr(self, name) is None]
        found += [
            f"{name} belongs to other coordinates than {self.coordinates!r}" for name in others if getattr(self, name)
        ]
        return found + (_peak_problems(self) if self.coordinates == "peak" else _coefficient_problems(self))

    @classmethod
    def from_toml(cls, text: str, source: str = "card") -> Card:
        """Read a card from TOML text.

        Raises
        ------
        CardError
            If the text is not TOML or not a card; lists every problem with the nearest valid key or kind.
        """
        try:
            table = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise CardError(source, [f"not valid TOML: {error}"]) from error
        problems: list[str] = []
        card = _decode(cls, table, "", problems)
        if problems:
            raise CardError(source, problems)
        return typing.cast(Card, card)

    @property
    def pivot(self) -> float:
        """Prior mean of log d* at the middle of the sizes, in peak coordinates: there a curve has no bend."""
        return self.coefficients["d_star"].trend.intercept.mu

    def to_dict(self) -> dict[str, Any]:
        """The card as plain nested dictionaries, as in its TOML; defaults that are None are left out."""
        return typing.cast(dict[str, Any], _encode(self))

    def to_toml(self) -> str:
        """The card as TOML text; `from_toml` reads it back to an equal card."""
        table = self.to_dict()
        top = [f"{key} = {_toml(value)}" for key, value in table.items() if not isinstance(value, dict)]
        parts = ["\n".join(top)]
        for key, value in table.items():
            if isinstance(value, dict):
                parts.append("\n".join([f"[{key}]", *(f"{k} = {_toml(v)}" for k, v in value.items())]))
        return "\n\n".join(parts) + "\n"

    def hash(self) -> str:
        """Hex digest of the model itself: the same for the same priors and structure, whatever the title says."""
        table = self.to_dict()
        for key in ("name", "title", "description", "references"):
            table.pop(key, None)
        if self.coordinates == "coefficients":
            # Not said by cards that are older than the choice: their hashes stay.
            del table["coordinates"]
        return hashlib.sha256(json.dumps(table, sort_keys=True).encode()).hexdigest()[:16]


def _coefficient_problems(card: Card) -> list[str]:
    only_peak = {
        "correlation": card.correlation,
        "form.gamma_slope": card.form.gamma_slope,
        "form.bend": card.form.bend,
        "discrepancy.run_lengthscale": getattr(card.discrepancy, "run_lengthscale", None),
    }
    return [f"{key} needs coordinates = 'peak'" for key, value in only_peak.items() if value is not None]


def _peak_problems(card: Card) -> list[str]:
    found = [
        f"{name}.link is {spec.link!r}; allowed in peak coordinates: log"
        for name, spec in card.coefficients.items()
        if spec is not None and spec.link != "log"
    ]
    if card.form.kind in FORMS and card.form.kind not in SHAPE_GAMMA:
        found.append(
            f"form.kind is {card.form.kind!r}; allowed in peak coordinates: {', '.join(SHAPE_GAMMA)}, which are one "
            "shape, stretched"
        )
    smooth = card.discrepancy
    if isinstance(smooth, Smooth):
        if smooth.shared_trend:
            found.append("discrepancy.shared_trend: in peak coordinates the shape is the same for all sizes")
        if (smooth.run is None) != (smooth.run_lengthscale is None):
            found.append("discrepancy.run and discrepancy.run_lengthscale go together in peak coordinates")
    return found + card.noise.problems_on_peaks()


def read_card(path: str | Path) -> Card:
    """Read a card from a TOML file.

    Raises
    ------
    CardError
        If the file cannot be read or is not a card.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or error
        raise CardError(str(path), [f"cannot be read: {why}"]) from error
    return Card.from_toml(text, source=str(path))


def _encode(value: Any) -> Any:
    if is_dataclass(value):
        kind = getattr(type(value), "kind", None)
        items = {f.name: _encode(getattr(value, f.name)) for f in fields(value)}
        named = {"kind": kind} if isinstance(kind, str) else {}
        return named | {k: v for k, v in items.items() if v is not None}
    if isinstance(value, numbers.Real):
        # Python's 1 and numpy's float64(1.0) are the 1.0 that TOML gives back: same text, same hash.
        return float(value)
    return list(value) if isinstance(value, tuple) else value


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{k} = {_toml(v)}" for k, v in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(_toml(v) for v in value) + "]"
    # JSON's escapes are TOML's, but for one control character that JSON leaves bare.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f") if isinstance(value, str) else repr(value)


def _decode(hint: Any, value: Any, where: str, problems: list[str]) -> Any:
    """Build what the type hint says from plain TOML data; append to `problems` what does not fit."""
    if isinstance(hint, types.UnionType):
        return _decode_union(hint, value, where, problems)
    if is_dataclass(hint):
        return _decode_table(hint, value, where, problems)
    if hint is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if hint is str and isinstance(value, str):
        return value
    if typing.get_origin(hint) is tuple and isinstance(value, list) and all(isinstance(v, str) for v in value):
        return tuple(value)
    wanted = {float: "a number", str: "a text"}.get(hint, "a list of texts")
    problems.append(f"{where} is {value!r}; allowed: {wanted}")
    return None


def _decode_union(hint: Any, value: Any, where: str, problems: list[str]) -> Any:
    options = [option for option in typing.get_args(hint) if option is not type(None)]
    if len(options) == 1:
        return _decode(options[0], value, where, problems)
    kinds = {option.kind: option for option in options}
    kind = value.get("kind") if isinstance(value, dict) else None
    if not isinstance(kind, str) or kind not in kinds:
        found = f"{where}.kind is {kind!r}" if isinstance(value, dict) else f"{where} is {value!r}, not a table"
        problems.append(f"{found}; allowed kinds: {', '.join(kinds)}{did_you_mean(str(kind), kinds)}")
        return None
    rest = {k: v for k, v in value.items() if k != "kind"}
    return _decode_table(kinds[kind], rest, where, problems)


def _decode_table(cls: Any, value: Any, where: str, problems: list[str]) -> Any:
    if not isinstance(value, dict):
        problems.append(f"{where} is {value!r}; allowed: a table")
        return None
    only = getattr(cls, "kind", None)
    if isinstance(only, str) and "kind" in value:
        if value["kind"] != only:
            problems.append(f"{where}.kind is {value['kind']!r}; allowed kinds: {only}")
            return None
        value = {k: v for k, v in value.items() if k != "kind"}
    hints = typing.get_type_hints(cls)
    known = {f.name: f for f in fields(cls)}
    dot = f"{where}." if where else ""
    count = len(problems)
    problems += [
        f"unknown key {dot}{key}{did_you_mean(key, known)}; allowed here: {', '.join(known)}"
        for key in value
        if key not in known
    ]
    for name, spec in known.items():
        if name not in value and spec.default is MISSING and spec.default_factory is MISSING:
            problems.append(f"{dot}{name} is missing")
    built = {k: _decode(hints[k], v, dot + k, problems) for k, v in value.items() if k in known}
    if len(problems) > count:
        return None
    made = cls(**built)
    check = getattr(made, "problems", None)
    problems.extend(f"{where}: {problem}" if where else problem for problem in (check() if check else []))
    return made


assert set(TRENDS) == {t.kind for t in (Constant, LogLinear, LogQuadratic, RandomWalk)}

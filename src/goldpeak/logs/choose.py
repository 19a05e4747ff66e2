"""Which keys of a log to read as KL, gold, proxy and length: as asked, or as known of a framework, never guessed."""

from __future__ import annotations

import difflib
import functools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from goldpeak.io.keys import KL_KEYS, NOT_KL, SHAPED, UNITS, KlKey
from goldpeak.io.log import number, quoted
from goldpeak.logs.record import Note

__all__ = ["EVALUATION", "Asked", "Chosen", "choose"]

TRAINING, EVALUATION = ("", "train/"), ("eval_", "eval/")
"""What trackers put before the keys of training and of evaluations."""
GOLD_WORDS = ("gold", "reward", "score", "acc", "val-", "win")
LENGTH_WORDS = ("length", "len", "tokens")


@dataclass(frozen=True)
class Asked:
    """Keys and unit as the caller gave them; None where not. `without_gold` says that there is none to be read."""

    kl: str | None = None
    gold: str | None = None
    proxy: str | None = None
    length: str | None = None
    kl_unit: str | None = None
    without_gold: bool = False


@dataclass(frozen=True)
class Chosen:
    """Keys that are in the log, and what is known of them.

    Attributes
    ----------
    kl, unit : str
    gold : str or None
        None where none is to be read: every KL is a point.
    length : str, float or None
        Key, or a constant.
    proxy : str or None
    entry : KlKey or None
        What is known of the KL's key.
    notes : tuple of Note
    """

    kl: str
    unit: str
    gold: str | None
    length: str | float | None
    proxy: str | None
    entry: KlKey | None
    notes: tuple[Note, ...]

    @property
    def averaged(self) -> bool:
        """Whether the trainer averages KL and length over steps before it logs them: TRL does, except evaluations."""
        known = self.entry is not None and self.entry.framework.startswith("TRL")
        return known and UNITS[self.unit].per_token and not self.kl.startswith(EVALUATION)

    @property
    def keys(self) -> list[str]:
        """The keys to load."""
        wanted = (self.kl, self.gold, self.proxy, self.length)
        return list(dict.fromkeys(key for key in wanted if isinstance(key, str)))


@functools.lru_cache(maxsize=256)
def choose(keys: tuple[str, ...], asked: Asked) -> tuple[Chosen | None, tuple[str, ...]]:
    """Choose among the keys of a log; return the choice, or None and everything that stands against it.

    Examples
    --------
    >>> keys = ("kl", "completions/mean_length", "reward", "rewards/gold/mean", "loss")
    >>> chosen, _ = choose(keys, Asked(gold="rewards/gold/mean"))
    >>> chosen.kl, chosen.unit, chosen.length, chosen.proxy
    ('kl', 'nats_per_token', 'completions/mean_length', 'reward')
    >>> choose(keys, Asked())[1]
    ("no key is given for gold: give --gold KEY, one of 'rewards/gold/mean', 'reward'",)
    """
    problems: list[str] = []
    named = None if asked.without_gold else asked.gold or ("gold" if "gold" in keys else None)
    gold = _asked_for("gold", named, keys, GOLD_WORDS, problems)
    if named is None and not asked.without_gold:
        likely = quoted(_like(keys, GOLD_WORDS) or keys)
        problems.append(f"no key is given for gold: give --gold KEY, one of {likely}")
    sides = (*EVALUATION, *TRAINING) if (gold or asked.gold or "").startswith(EVALUATION) else (*TRAINING, *EVALUATION)
    known = list(_known(keys, sides))
    kl, prefix, entry = _choose_kl(keys, asked, known, problems)
    unit = asked.kl_unit or (entry.unit if entry else None)
    if kl and unit is None:
        problems.append(_no_unit(kl, entry))
    if unit is not None and unit not in UNITS:
        problems.append(f"kl_unit={unit!r}; allowed: {', '.join(UNITS)}")
        unit = None
    length = _choose_length(keys, asked, entry, (prefix, *sides), problems) if unit and UNITS[unit].per_token else None
    proxy = _choose_proxy(keys, asked, entry, sides, gold, problems)
    if problems or kl is None or unit is None or (gold is None and not asked.without_gold):
        return None, tuple(problems)
    return Chosen(kl, unit, gold, length, proxy, entry, tuple(_remarks(kl, gold, proxy, unit, entry))), ()


def _known(keys: Sequence[str], sides: Sequence[str]) -> Iterator[tuple[str, str, KlKey]]:
    """Key, prefix and entry for every KL in the log that is known by what stands beside it."""
    for entry in KL_KEYS:
        for prefix in sides if entry.prefixed else ("",):
            if prefix + entry.key in keys and any(prefix + other in keys for other in entry.beside):
                yield prefix + entry.key, prefix, entry


def _choose_kl(
    keys: Sequence[str], asked: Asked, known: Sequence[tuple[str, str, KlKey]], problems: list[str]
) -> tuple[str | None, str, KlKey | None]:
    if asked.kl is not None:
        key = _asked_for("kl", asked.kl, keys, ("kl",), problems)
        reason = next((why for name, why in NOT_KL.items() if key and _ends(key, name)), None)
        if reason:
            problems.append(f"{key!r} is not the KL from the initial policy: it is {reason}")
            return None, "", None
        entries = [(prefix, entry) for name, prefix, entry in known if name == key]
        # Two frameworks use one key only where both are recognised: then nothing is known.
        return (key, *entries[0]) if len({entry.framework for _, entry in entries}) == 1 else (key, "", None)
    if len({entry.framework for _, _, entry in known}) == 1:
        return known[0]
    problems.append(_no_kl(keys, known))
    return None, "", None


def _no_kl(keys: Sequence[str], known: Sequence[tuple[str, str, KlKey]]) -> str:
    give = "give --kl KEY and --kl-unit " + " or ".join(UNITS)
    if known:
        found = ", ".join(dict.fromkeys(f"{key!r} ({entry.framework})" for key, _, entry in known))
        return f"several keys may hold the KL: {found}; {give}"
    candidates = [key for key in _like(keys, ("kl",)) if not any(_ends(key, name) for name in NOT_KL)]
    if candidates:
        return f"no key is known to hold the KL; keys that may: {quoted(candidates)}; {give}"
    unfit = [key for key in keys if any(_ends(key, name) for name in NOT_KL)]
    also = f" ({quoted(unfit)}: not the KL from the initial policy)" if unfit else ""
    if any(_ends(key, "completions/mean_length") for key in keys):
        also = " (TRL logs it only where beta is not 0, and beta is 0 by default)"
    return f"the KL was not measured: no key holds it{also}; keys there are: {quoted(keys)}"


def _no_unit(kl: str, entry: KlKey | None) -> str:
    caveat = f": {entry.caveat}" if entry else f": give --kl-unit, one of {', '.join(UNITS)}"
    likely = ", ".join(dict.fromkeys(e.framework for e in KL_KEYS if _ends(kl, e.key)))
    hint = f" (a key of {likely}, but none of the keys that it logs beside is there)" if likely and not entry else ""
    return f"the unit of {kl!r} is not known{hint}{caveat}"


def _choose_length(
    keys: Sequence[str], asked: Asked, entry: KlKey | None, sides: Sequence[str], problems: list[str]
) -> str | float | None:
    if asked.length is not None:
        constant = number(asked.length)
        if asked.length not in keys and constant is not None:
            if not 0 < constant < float("inf"):
                problems.append(f"length={asked.length!r}; allowed: a key, or a number of tokens > 0")
            return constant
        return _asked_for("length", asked.length, keys, LENGTH_WORDS, problems)
    if entry is not None and entry.length is not None:
        found = next((side + entry.length for side in sides if side + entry.length in keys), None)
        if found:
            return found
    likely = quoted(_like(keys, LENGTH_WORDS))
    problems.append(
        f"the KL is per token and the mean response length in tokens is not known: give --length KEY (keys that may "
        f"hold it: {likely}) or --length NUMBER"
    )
    return None


def _choose_proxy(
    keys: Sequence[str], asked: Asked, entry: KlKey | None, sides: Sequence[str], gold: str | None, problems: list[str]
) -> str | None:
    if asked.proxy is not None:
        return _asked_for("proxy", asked.proxy, keys, GOLD_WORDS, problems)
    names = ["proxy"]
    if entry is not None and entry.proxy is not None:
        names += [side + entry.proxy for side in (sides if entry.prefixed else ("",))]
    return next((name for name in names if name in keys and name != gold), None)


def _asked_for(
    what: str, name: str | None, keys: Sequence[str], words: Sequence[str], problems: list[str]
) -> str | None:
    """The key that was asked for, also as a tracker spells it; None, and a problem, if it is not there."""
    if name is None:
        return None
    found = next((spelling for spelling in _spellings(name) if spelling in keys), None)
    if found is None:
        near = difflib.get_close_matches(name, keys[:10_000], n=3)
        likely = near or _like(keys, words) or list(keys)
        problems.append(f"no key {name!r} for {what} (--{what}) in the log; keys that may be meant: {quoted(likely)}")
    return found


def _spellings(name: str) -> Iterator[str]:
    """TensorBoard and W&B put ``train/`` before a key and write ``eval_`` as ``eval/``; MLflow allows no ``@``."""
    for spelling in dict.fromkeys((name, name.replace("@", "_at_"))):
        yield spelling
        yield f"train/{spelling}"
        if spelling.startswith("eval_"):
            yield "eval/" + spelling.removeprefix("eval_")


def _ends(key: str, name: str) -> bool:
    return key == name or key.endswith(("/" + name, "_" + name))


def _like(keys: Iterable[str], words: Sequence[str]) -> list[str]:
    """Keys that hold one of the words, those with the first word first."""
    return [key for word in words for key in keys if word in key.lower() and not _earlier(key, word, words)]


def _earlier(key: str, word: str, words: Sequence[str]) -> bool:
    return any(other in key.lower() for other in words[: words.index(word)])


def _remarks(kl: str, gold: str | None, proxy: str | None, unit: str, entry: KlKey | None) -> Iterator[Note]:
    if entry is not None and entry.caveat and entry.unit is not None:
        yield Note("notice", f"kl from {kl!r} ({entry.framework}): {entry.caveat}")
    if not UNITS[unit].exact:
        yield Note(
            "notice",
            f"kl is approximate: {kl!r} is a mean over responses of means over tokens; its product with the mean "
            "length lacks their covariance",
        )
    for what, key in (("gold", gold), ("proxy", proxy)):
        raw = next((raw for shaped, raw in SHAPED.items() if key and _ends(key, shaped)), None)
        if raw:
            yield Note(
                "notice", f"{what} {key!r} is shaped: a KL penalty is subtracted from it; the raw score is {raw!r}"
            )

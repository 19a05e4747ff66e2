"""Criticism of a fit: runs unlike what the others predict, structure left in residuals, RMs far off the trend.

What the probabilities are, see `p_values`. Of a mixture each card is criticised by itself, and all together: a draw of
a mixture is a draw of one of its cards, so that the p-values of all draws are brought together as those of one card
are, a card's by its weight. So the whole's p-value is small where a card that has weight does not fit: that share of
the answers comes from a model that the data speak against.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from goldpeak.check.p_values import against_the_others, of_common_waves, pivots, slow_waves, together, whitened
from goldpeak.check.standard import RunGivenRest, by_card, given_rest, in_standard_units
from goldpeak.design import Design
from goldpeak.errors import FitError, problems_of_counts

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Criticism", "Finding", "criticise"]

Array = NDArray[np.float64]

LEVEL = 0.05
"""Chance that anything of one kind is found in a fit of the right model."""
LARGE_SHARE = 0.5
"""Share of a curve from which on the discrepancy is worth a word."""
COLUMNS = ("p_loo", "p_trend", "p_noise", "residual_ratio", "p_off_trend", "share_shared", "share_own", "pareto_k")
P_VALUES = tuple(name for name in COLUMNS if name.startswith("p_"))
SIZES = ("residual_ratio", "share_shared", "share_own")


@dataclass(frozen=True)
class Finding:
    """Something that does not fit, and what to do about it.

    Attributes
    ----------
    kind : {"pattern", "noise", "trend", "odd", "smooth"}
    what, do : str
    """

    kind: str
    what: str
    do: str


@dataclass(frozen=True)
class Criticism:
    """What speaks against a fit.

    Attributes
    ----------
    table : pandas.DataFrame
        One row for each run: ``p_loo``, ``p_trend`` (slow waves in residuals along KL), ``p_noise`` (size of residuals,
        two-sided) and ``residual_ratio`` (their root mean square over what the noise allows), ``p_off_trend`` (the
        run's coefficients about the trend in size), ``share_shared`` and ``share_own`` (root mean square of the two
        smooth parts over that of the curve, at the run's points; medians), ``pareto_k`` of the weights of ``p_loo``, of
        a mixture that of its worst card.
    p_common : float
        Slow waves that the runs have in common: what the model misses in all of them.
    findings : tuple of Finding
        Each kind of probability is held to `LEVEL` over all runs together (Bonferroni). A smooth part larger than
        half of the curves is a finding too. Those of a mixture say which cards they are of.
    by_card : dict of str to Criticism
        Of a mixture, each card by itself; else empty.
    weights : dict of str to float
        Their weights.

    Examples
    --------
    >>> import goldpeak
    >>> found = goldpeak.criticise(goldpeak.fit(goldpeak.datasets.lab("rl"), "rl_paper", draws=200))
    >>> "have a pattern along KL" in found.findings[0].what
    True
    """

    table: pd.DataFrame
    p_common: float
    findings: tuple[Finding, ...]
    by_card: Mapping[str, Criticism] = field(default_factory=dict)
    weights: Mapping[str, float] = field(default_factory=dict)

    @property
    def recommendation(self) -> str:
        """What to do, in one sentence or more."""
        if not self.findings:
            return "Nothing speaks against this fit."
        return " ".join(dict.fromkeys(f"{found.do[0].upper()}{found.do[1:]}." for found in self.findings))


def criticise(post: xr.DataTree, *, draws: int = 400, seed: int = 0) -> Criticism:
    """Look for what speaks against a fit.

    Parameters
    ----------
    post : xarray.DataTree
        As returned by `fit`, of one card or of several combined.
    draws : int
        Posterior draws that are looked at, of each card.
    seed : int
        Of the predictive draws.

    Returns
    -------
    Criticism

    Raises
    ------
    FitError
        If it is no posterior, or there are fewer than two draws to look at.

    Notes
    -----
    Cards with log links or in peak coordinates are linearised in a run's two coefficients for the weights of ``p_loo``,
    not for its predictive draws. Of noise ``student_t`` the weights take the normal distribution of its scale.

    A mixture is criticised as a whole, the p-values of all its draws brought together, a card's by its weight, and card
    by card. A small p of the whole says that answers of a card that has weight come from a model that does not fit.

    Examples
    --------
    >>> import goldpeak
    >>> few, _ = goldpeak.split_by_size(goldpeak.datasets.lab("rl"))
    >>> found = goldpeak.criticise(goldpeak.fit(few, "rl_paper", draws=200), draws=100)
    >>> found.table.columns[:2].tolist(), "rl" in found.recommendation
    (['p_loo', 'p_trend'], True)
    """
    if problems := problems_of_counts(2, draws=draws):
        raise FitError("; ".join(problems))
    cards = by_card(post)
    looks = {name: _look(each, draws, seed) for name, (_, each) in cards.items()}
    alone = {name: _of_one(look) for name, look in looks.items()}
    if len(alone) == 1:
        return next(iter(alone.values()))
    return _of_all(looks, alone, {name: weight for name, (weight, _) in cards.items()})


@dataclass(frozen=True)
class _Look:
    """What was seen of a fit with one card.

    Attributes
    ----------
    runs : list of dict
        For each run its p-values and sizes, at every draw: (draw,) each; of ``p_loo`` and ``pareto_k`` the only one.
    common : ndarray, shape (draw,)
        P-values of the waves in common.
    """

    design: Design
    runs: list[dict[str, Array]]
    common: Array


def _look(post: xr.DataTree, draws: int, seed: int) -> _Look:
    design, flat = in_standard_units(post, draws)
    rng = np.random.default_rng([seed, 3])
    runs, waves = [], []
    for run in range(len(design.run)):
        one = given_rest(design, flat, run)
        p_loo, khat = against_the_others(one, rng)
        white = whitened(one, one.y - one.fitted())
        slow = slow_waves(white)
        waves.append(slow)
        ratio = np.sqrt(np.mean(white**2, axis=1))
        of_run = {"p_loo": np.full(1, p_loo), "pareto_k": np.full(1, khat), "residual_ratio": ratio}
        runs.append(of_run | pivots(one, white, slow) | _shares(one))
    return _Look(design, runs, of_common_waves(waves))


def _shares(one: RunGivenRest) -> dict[str, Array]:
    """Root mean square of the two smooth parts over that of the curve, (draw,) each."""
    rows = np.arange(len(one.mean))
    own, shared, whole = one.smooth_own(), one.shared(rows, one.posterior()), one.fitted()
    size = np.maximum(np.sqrt(np.mean(whole**2, axis=1)), np.finfo(float).tiny)
    both = (("share_shared", shared), ("share_own", own))
    return {name: np.sqrt(np.mean(part**2, axis=1)) / size for name, part in both}


def _table(looks: Sequence[_Look], weights: Sequence[float]) -> pd.DataFrame:
    """A row for each run, the draws of all cards together, a card's by its weight."""
    import pandas as pd

    design, rows = looks[0].design, []
    for each in zip(*(look.runs for look in looks), strict=True):
        row = {name: together([of_card[name] for of_card in each], weights) for name in P_VALUES}
        row |= {name: _median([of_card[name] for of_card in each], weights) for name in SIZES}
        rows.append(row | {"pareto_k": max(float(of_card["pareto_k"][0]) for of_card in each)})
    table = pd.DataFrame(rows, index=pd.Index(design.run, name="run"))
    return table[list(COLUMNS)].assign(rm_params=design.n0 * np.exp(design.x))


def _median(draws: Sequence[Array], weights: Sequence[float]) -> float:
    """Of the draws of all cards; their numbers need not be the same."""
    each = np.repeat(np.array(weights) / [len(values) for values in draws], [len(values) for values in draws])
    return float(np.quantile(np.concatenate(draws), 0.5, weights=each, method="inverted_cdf"))


def _of_one(look: _Look) -> Criticism:
    table, p_common = _table([look], [1.0]), together([look.common])
    what = _what(table, p_common)
    return Criticism(table, p_common, tuple(Finding(kind, text, _do(kind, look.design)) for kind, text in what.items()))


def _of_all(looks: Mapping[str, _Look], alone: Mapping[str, Criticism], weights: Mapping[str, float]) -> Criticism:
    """Of a mixture. What is found in all its draws is found in those of one card at least, alone."""
    shares = list(weights.values())
    table = _table(list(looks.values()), shares)
    p_common = together([look.common for look in looks.values()], shares)
    findings = []
    for kind, text in _what(table, p_common).items():
        against = [name for name, each in alone.items() if kind in {found.kind for found in each.findings}]
        if len(against) in (0, len(alone)):
            heaviest = max(alone, key=lambda name: weights[name])
            findings.append(
                Finding(kind, text + " under every card" * bool(against), _do(kind, looks[heaviest].design))
            )
            continue
        named = " and ".join(f"{name} (weight {weights[name]:.2f})" for name in against)
        do = f"see in goldpeak.compare whether the peak hangs on {' and '.join(against)}; if so, combine cards without"
        findings.append(Finding(kind, f"{text} under {named}", do))
    return Criticism(table, p_common, tuple(findings), alone, weights)


def _what(table: pd.DataFrame, p_common: float) -> dict[str, str]:
    """What does not fit, by kind."""
    found = {}
    waves = _named(table, "p_trend")
    if waves or p_common < LEVEL:
        where = waves or f"all runs together (p {p_common:.2g})"
        found["pattern"] = f"residuals of {where} have a pattern along KL"
    if noise := _named(table, "p_noise"):
        found["noise"] = f"residuals of {noise} are not as large as the noise"
    if off := _named(table, "p_off_trend"):
        found["trend"] = f"{off} lie far off the trend in size"
    if odd := _named(table, "p_loo"):
        found["odd"] = f"{odd} are unlike what the other runs predict"
    share = float(np.median(np.hypot(table["share_own"], table["share_shared"])))
    if share > LARGE_SHARE:
        found["smooth"] = f"the smooth discrepancy is {share:.2g} times as large as the curves (median over runs)"
    return found


def _do(kind: str, design: Design) -> str:
    """What to do about it, with one card."""
    if kind == "pattern" and design.card.discrepancy.kind == "none":
        return "take a card with a smooth discrepancy, such as 'rl', 'boxcox' or 'similar'"
    without = "without these runs (goldpeak.select)"
    return {
        "pattern": "take a card whose noise has a memory (kind 'ou'), or give gold_cov",
        "noise": "look at gold_se of these runs: points scatter more, or less, than it and sigma allow",
        "trend": f"check these runs' rm_params and reward models, and fit {without} to see what changes",
        "odd": f"compare a fit {without}, and other cards (form, trend, noise)",
        "smooth": f"take a card with another form, such as {_other_forms(design)}: this one says little",
    }[kind]


def _other_forms(design: Design) -> str:
    """Cards whose form is learned or another one."""
    names = [name for name in ("similar", "boxcox", "saturating") if name != design.card.name]
    return " or ".join(f"'{name}'" for name in names[:2])


def _named(table: pd.DataFrame, column: str) -> str:
    """The runs whose p-value of one kind is too small, of all runs together."""
    small = table[column] * np.sum(table[column].notna()) < LEVEL
    names: list[Any] = table.index[small].tolist()
    if not names:
        return ""
    listed = ", ".join(map(str, names[:5])) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
    return f"{len(names)} of {len(table)} runs ({listed})"

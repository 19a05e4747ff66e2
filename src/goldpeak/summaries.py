"""A posterior in a few lines: how it was made, whether to trust it, what all runs share, and where each run peaks."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import xarray as xr

from goldpeak.gates import Gates, gates_of
from goldpeak.mixture import is_mixture, named_components
from goldpeak.peaks import Peak, peak, quantiles
from goldpeak.wording import html_table, interval, number

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Summary", "provenance", "shared", "summary"]


@dataclass(frozen=True)
class Summary:
    """What `summary` found; a notebook shows it as tables, and ``str`` gives it as text.

    Attributes
    ----------
    card : str
        Name of the model card.
    engine, engine_reason : str
        Which engine drew, and why that one.
    gates : Gates
        Whether the sampler can be trusted.
    coefficients : pandas.DataFrame
        ``median``, ``lo``, ``hi`` (equal-tailed) of what all runs share, by ``coefficient``.
    peak : Peak
        Of each fitted run.
    prob : float
        Probability of all intervals.
    provenance : dict of str to str
        Card hash, data digest, seed and versions.

    Examples
    --------
    >>> import goldpeak
    >>> found = goldpeak.summary(goldpeak.fit(goldpeak.datasets.lab("rl"), "rl_paper", draws=250))
    >>> print(str(found).splitlines()[0].partition(" (")[0])
    rl_paper, engine exact
    """

    card: str
    engine: str
    engine_reason: str
    gates: Gates
    coefficients: pd.DataFrame
    peak: Peak
    prob: float
    provenance: dict[str, str]

    def __str__(self) -> str:
        rows = [f"  {name}: {number(r['median'])} [{interval(r['lo'], r['hi'])}]" for name, r in self._coefficients()]
        return "\n".join([self._heading(), f"{self.prob:.0%} equal-tailed intervals:", *rows])

    def _repr_html_(self) -> str:
        rows = [(str(name), number(r["median"]), interval(r["lo"], r["hi"])) for name, r in self._coefficients()]
        columns = ("coefficient", "median", f"{self.prob:.0%} interval")
        return html_table(columns, rows, caption=self._heading()) + self.peak._repr_html_()

    def _heading(self) -> str:
        return f"{self.card}, engine {self.engine} ({self.engine_reason}); {self.gates.summary()}"

    def _coefficients(self) -> list[tuple[Any, Any]]:
        return list(self.coefficients.iterrows())


def summary(post: xr.DataTree, *, prob: float = 0.9) -> Summary:
    """Sum up a posterior.

    Parameters
    ----------
    post : xarray.DataTree
        As returned by `fit`.
    prob : float
        Probability of the equal-tailed intervals.

    Returns
    -------
    Summary

    Raises
    ------
    FitError
        If `prob` is not between 0 and 1, or `post` holds draws of a prior: those have passed no gates.

    Examples
    --------
    >>> import goldpeak
    >>> post = goldpeak.fit(goldpeak.datasets.lab("rl"), "rl_paper", draws=100)
    >>> found = goldpeak.summary(post)
    >>> found.coefficients.index.tolist()[:2], found.gates.passed
    (['sigma', 'alpha_sd_run'], True)
    """
    gates, found = gates_of(post), peak(post, prob=prob)
    return Summary(
        card=str(post.attrs.get("card_name", "")),
        engine=str(post.attrs["engine"]),
        engine_reason=str(post.attrs["engine_reason"]),
        gates=gates,
        coefficients=_coefficients(post, prob),
        peak=found,
        prob=prob,
        provenance=provenance(post),
    )


def provenance(post: xr.DataTree) -> dict[str, str]:
    """Card hash, data digest, seed and versions of a posterior, in words."""
    found = {name: str(post.attrs[name]) for name in ("card_hash", "data_digest", "seed") if name in post.attrs}
    stored = json.loads(post.attrs.get("versions", "{}"))
    return found | {"versions": ", ".join(f"{name} {version}" for name, version in stored.items())}


def _coefficients(post: xr.DataTree, prob: float) -> pd.DataFrame:
    import pandas as pd

    rows = []
    for name, values in shared(post):
        lo, median, hi = (float(q) for q in quantiles(values, prob))
        rows.append({"coefficient": name, "median": median, "lo": lo, "hi": hi})
    return pd.DataFrame(rows).set_index("coefficient")


def shared(post: xr.DataTree) -> list[tuple[str, Any]]:
    """Names and draws of the variables that are not one per run or RM, term by term."""
    if is_mixture(post):
        named = named_components(post).items()
        return [(f"{card}: {name}", values) for card, each in named for name, values in shared(each)]
    data = post["posterior"].to_dataset().stack(sample=("chain", "draw"))
    found = []
    for name, variable in data.data_vars.items():
        rest = [dim for dim in variable.dims if dim != "sample"]
        if not rest:
            found.append((str(name), variable.values))
        elif len(rest) == 1 and str(rest[0]).endswith("_term"):
            terms = variable.transpose(rest[0], "sample")
            found += [(f"{name}[{t}]", v) for t, v in zip(terms[rest[0]].values, terms.values, strict=True)]
    return found

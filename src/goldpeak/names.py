"""The one vocabulary: dimensions, variables and their units.

A concept has one name everywhere: CSV column, xarray variable, TOML key and command-line flag. Runs are stored as an
*indexed ragged array* (CF conventions, section 9.3.4): all points of all runs lie one after another along ``point``,
and ``run_index`` says to which entry of ``run`` each belongs. Where the points of a run vary together, row i of
``gold_cov`` (dims ``point``, ``peer``) holds the covariance of point i's gold with the k-th point of its own run, by
ascending kl, and zeros beyond the run's last point.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import xarray as xr

__all__ = [
    "COLUMNS",
    "GOLD_COV",
    "METHODS",
    "PEER",
    "POINT",
    "RUN",
    "RUN_INDEX",
    "UNITS",
    "Column",
    "column_of",
    "describe",
]

POINT = "point"
PEER = "peer"
RUN = "run"
RUN_INDEX = "run_index"
METHODS = ("rl", "bon")
GOLD_COV = "gold_cov"


@dataclass(frozen=True)
class Column:
    """One column of a table of run curves."""

    name: str
    per: Literal["point", "run", "prompt", "pair"]
    kind: Literal["number", "integer", "text"]
    meaning: str
    allowed: str = "a finite number"
    minimum: float | None = None
    exclusive: bool = False
    required: bool = False
    maximum: float | None = None


COLUMNS: dict[str, Column] = {
    c.name: c
    for c in [
        Column("run", "run", "text", "name of the run", "a name", required=True),
        Column("rm_params", "run", "number", "parameters of the reward model", "a finite number > 0", 0.0, True, True),
        Column("gold", "point", "number", "gold reward, mean over responses", required=True),
        Column("kl", "point", "number", "KL from the initial policy, nats per response", "a finite number >= 0", 0.0),
        Column("n", "point", "integer", "best-of-n: the n", "a whole number >= 1", 1.0),
        Column("method", "run", "text", "rl (default) or bon", "rl or bon"),
        Column("gold_se", "point", "number", "standard error of gold", "a finite number > 0", 0.0, True),
        Column("kl_se", "point", "number", "standard error of kl, nats per response", "a finite number >= 0", 0.0),
        Column("proxy", "point", "number", "proxy reward, mean over responses"),
        Column("step", "point", "number", "training step", "a finite number >= 0", 0.0),
        Column(
            "kl_interpolated",
            "point",
            "integer",
            "1 where kl is interpolated between steps",
            "0 or 1",
            0.0,
            maximum=1.0,
        ),
        Column("rm", "run", "text", "which trained reward model; runs may share one", "a name"),
        Column(
            "rm_data", "run", "number", "comparisons the reward model was trained on", "a finite number > 0", 0.0, True
        ),
        Column("policy_params", "run", "number", "parameters of the policy", "a finite number > 0", 0.0, True),
        Column("kl_coef", "run", "number", "coefficient of the KL penalty", "a finite number >= 0", 0.0),
        Column("seed", "run", "number", "seed of the run"),
        Column("baseline", "run", "number", "what was subtracted from gold already: the initial policy's gold"),
        Column("prompt", "prompt", "text", "which prompt: rows of a run and point are averaged over them", "a name"),
    ]
}

_PAIR = Column(GOLD_COV, "pair", "number", "covariance of gold with the k-th point of the same run, by ascending kl")


def column_of(name: str) -> Column | None:
    """What a column of this name holds: one of `COLUMNS`, or ``gold_cov_1``, ``gold_cov_2``, ...; None if unknown.

    Examples
    --------
    >>> column_of("gold_cov_12").meaning
    'covariance of gold with the k-th point of the same run, by ascending kl'
    """
    prefix, _, number = name.rpartition("_")
    if prefix == GOLD_COV and number.isascii() and number.isdigit() and not number.startswith("0"):
        return replace(_PAIR, name=name)
    return COLUMNS.get(name)


UNITS: dict[str, str] = {
    "kl": "nat",
    "kl_max": "nat",
    "kl_observed": "nat",
    "kl_peak": "nat",
    "kl_se": "nat",
    "kl_star": "nat",
    "gold": "gold",
    "gold_exact": "gold",
    "gold_se": "gold",
    "gold_cov": "gold^2",
    "gold_peak": "gold",
    "baseline": "gold",
    "proxy": "proxy",
    "rm_params": "1",
    "n": "1",
    "n_peak": "1",
    "d_star": "nat^1/2",
    "gold_star": "gold",
    "alpha": "gold nat^-1/2",
    "beta": "gold nat^-1/2",
    "sigma": "gold",
    "nugget": "gold",
    "offset": "gold",
    "offset_sd": "gold",
}


def describe(data: xr.Dataset) -> xr.Dataset:
    """Return `data` with units and meanings on the variables that have one.

    Examples
    --------
    >>> import xarray as xr
    >>> describe(xr.Dataset({"kl": ("point", [1.0])}))["kl"].attrs["units"]
    'nat'
    """
    data = data.copy()
    for name in data.variables:
        if name in UNITS:
            data[name].attrs.setdefault("units", UNITS[str(name)])
        column = _PAIR if name == GOLD_COV else COLUMNS.get(str(name))
        if column is not None:
            data[name].attrs.setdefault("long_name", column.meaning)
    return data

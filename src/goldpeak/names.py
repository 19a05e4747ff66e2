"""The one vocabulary: dimensions, variables and their units.

A concept has one name everywhere: CSV column, xarray variable, TOML key and command-line flag. Runs are stored as an
*indexed ragged array* (CF conventions, section 9.3.4): all points of all runs lie one after another along ``point``,
and ``run_index`` says to which entry of ``run`` each belongs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import xarray as xr

__all__ = ["COLUMNS", "METHODS", "POINT", "RUN", "RUN_INDEX", "UNITS", "Column", "describe"]

POINT = "point"
RUN = "run"
RUN_INDEX = "run_index"
METHODS = ("rl", "bon")


@dataclass(frozen=True)
class Column:
    """One column of a table of run curves."""

    name: str
    per: Literal["point", "run"]
    kind: Literal["number", "integer", "text"]
    meaning: str
    allowed: str = "a finite number"
    minimum: float | None = None
    exclusive: bool = False
    required: bool = False


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
        Column("proxy", "point", "number", "proxy reward, mean over responses"),
        Column("step", "point", "number", "training step", "a finite number >= 0", 0.0),
        Column("rm", "run", "text", "which trained reward model; runs may share one", "a name"),
        Column(
            "rm_data", "run", "number", "comparisons the reward model was trained on", "a finite number > 0", 0.0, True
        ),
        Column("policy_params", "run", "number", "parameters of the policy", "a finite number > 0", 0.0, True),
        Column("kl_coef", "run", "number", "coefficient of the KL penalty", "a finite number >= 0", 0.0),
        Column("seed", "run", "number", "seed of the run"),
    ]
}

UNITS: dict[str, str] = {
    "kl": "nat",
    "kl_max": "nat",
    "kl_observed": "nat",
    "kl_peak": "nat",
    "kl_star": "nat",
    "gold": "gold",
    "gold_exact": "gold",
    "gold_se": "gold",
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
        if name in COLUMNS:
            data[name].attrs.setdefault("long_name", COLUMNS[str(name)].meaning)
    return data

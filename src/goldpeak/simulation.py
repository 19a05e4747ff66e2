"""Draws from the prior: curves and peaks before any data, and simulated run curves with their truth.

A prior is a DataTree with the variables of a posterior: `peak`, `predict` and the rest take it as they take one.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from goldpeak.card import Card
from goldpeak.curves import observed_curves
from goldpeak.design import Design, gold_scale_of, make_design
from goldpeak.engines.linear_model import Variables, as_dataset
from goldpeak.errors import FitError, RunsWarning, problems_of_counts
from goldpeak.library import load_card
from goldpeak.likelihood import log_likelihood
from goldpeak.names import METHODS, POINT, RUN, RUN_INDEX, describe
from goldpeak.noise import variance
from goldpeak.peaks import peak
from goldpeak.priors import correlated_pair
from goldpeak.runs import read_runs
from goldpeak.units import stamp_of, to_gold_units

__all__ = ["Fleet", "Simulated", "peak_before_data", "prior", "simulate", "template_of"]

Array = NDArray[np.float64]

TRIES = 1000
"""Fleets drawn until one is such as the card would take."""


@dataclass(frozen=True)
class Fleet:
    """A plan of runs: which sizes, how many runs, where along KL gold is measured and how well.

    Attributes
    ----------
    rm_params : tuple of float
        Sizes of the reward models.
    rms_per_size, runs_per_rm : int
    points : int
        Points of a run, evenly spaced in log KL; 3 at least.
    kl_min, kl_max : float
        First and last KL of a run, nats.
    gold_se : float or None
        Standard error of each point, in units of the gold scale; None: not known.
    method : {"rl", "bon"}

    Examples
    --------
    >>> runs = Fleet(rm_params=(1e6, 1e8), points=5).runs()
    >>> runs.sizes["run"], runs.sizes["point"]
    (2, 10)
    """

    rm_params: tuple[float, ...] = (1e6, 1e7, 1e8)
    rms_per_size: int = 1
    runs_per_rm: int = 1
    points: int = 25
    kl_min: float = 0.2
    kl_max: float = 40.0
    gold_se: float | None = 0.03
    method: str = "rl"

    def runs(self) -> xr.Dataset:
        """Run curves with gold still to come (it is all zero), as `read_runs` returns them.

        Raises
        ------
        FitError
            If a number is out of range; all problems at once.
        """
        import pandas as pd

        self._refuse()
        rows = []
        for size in self.rm_params:
            for rm in range(self.rms_per_size):
                for run in range(self.runs_per_rm):
                    name = f"{_label(size)}-{rm + 1}"
                    table = {"run": f"{name}-{run + 1}", "rm": name, "rm_params": size, "gold": 0.0}
                    kl = np.geomspace(self.kl_min, self.kl_max, self.points)
                    se = {} if self.gold_se is None else {"gold_se": self.gold_se}
                    rows.append(pd.DataFrame({**table, **se, "kl": kl, "step": np.arange(self.points) + 1.0}))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RunsWarning)
            return read_runs(pd.concat(rows), method=self.method, baseline="none", gold_scale=1.0)

    def _refuse(self) -> None:
        problems = problems_of_counts(1, rms_per_size=self.rms_per_size, runs_per_rm=self.runs_per_rm)
        problems += problems_of_counts(3, points=self.points)
        if not self.rm_params or not all(np.isfinite(n) and n > 0 for n in self.rm_params):
            problems.append(f"rm_params is {self.rm_params!r}; allowed: finite numbers > 0, one at least")
        elif len({_label(n) for n in self.rm_params}) < len(self.rm_params):
            problems.append("rm_params holds a size twice (to six digits); allowed: each once, with rms_per_size RMs")
        if not 0 < self.kl_min < self.kl_max < np.inf:
            problems.append(f"kl_min, kl_max are {self.kl_min}, {self.kl_max}; allowed: 0 < kl_min < kl_max, nats")
        if self.gold_se is not None and not 0 < self.gold_se < np.inf:
            problems.append(f"gold_se is {self.gold_se}; allowed: a finite number > 0, or None")
        if self.method not in METHODS:
            problems.append(f"method is {self.method!r}; allowed: {' or '.join(METHODS)}")
        if problems:
            raise FitError("fleet: " + "; ".join(problems))


def _label(rm_params: float) -> str:
    return f"{rm_params:.6g}"


@dataclass(frozen=True)
class Simulated:
    """A simulated fleet and what made it.

    Attributes
    ----------
    runs : xarray.Dataset
        As `read_runs` returns run curves.
    truth : xarray.DataTree
        Like a posterior with one draw: `peak` of it gives the true peaks, `predict` the true curves.
    """

    runs: xr.Dataset
    truth: xr.DataTree


def prior(
    card: str | Path | Card,
    design: Fleet | xr.Dataset | None = None,
    *,
    draws: int = 1000,
    seed: int = 0,
    kl_max: float | None = None,
) -> xr.DataTree:
    """Draw from a card's prior.

    Parameters
    ----------
    card : str, path or Card
    design : Fleet or xarray.Dataset
        Which runs there are; of run curves gold is not looked at, but for the unit of the priors. `Fleet()` by default.
    draws : int
    seed : int
    kl_max : float, optional
        Largest KL (nats) that will be asked about; twice the largest of the runs by default.

    Returns
    -------
    xarray.DataTree
        With the variables of a posterior, dims (chain, draw, ...) and one chain, in the user's units of gold.

    Raises
    ------
    FitError
        If the card does not go with the runs.

    Examples
    --------
    >>> import goldpeak
    >>> before = goldpeak.prior("rl", draws=200)
    >>> goldpeak.peak(before, rm_params=[1e8]).table["median"].shape
    (1,)
    """
    runs = template_of(design)
    if problems := problems_of_counts(1, draws=draws):
        raise FitError("; ".join(problems))
    return _tree(make_design(_placeholder(runs), load_card(card), kl_max=kl_max), runs, draws, seed)[1]


def simulate(card: str | Path | Card, design: Fleet | xr.Dataset | None = None, *, seed: int = 0) -> Simulated:
    """Draw one fleet from a card's prior predictive distribution.

    Parameters
    ----------
    card : str, path or Card
    design : Fleet or xarray.Dataset
        Which runs there are. Of run curves gold is replaced; KL is taken as exact, whatever ``kl_se`` says.
    seed : int

    Returns
    -------
    Simulated

    Raises
    ------
    FitError
        If the card does not go with the runs.

    Notes
    -----
    A card in peak coordinates refuses runs whose gold never rises. Fleets with such a run are drawn again: what is
    returned is the prior predictive distribution given that the card takes the data.

    Examples
    --------
    >>> import goldpeak
    >>> fleet = goldpeak.simulate("rl_paper", goldpeak.Fleet(rms_per_size=3), seed=1)
    >>> fleet.runs.sizes["point"], len(goldpeak.peak(fleet.truth).table)
    (225, 9)
    """
    runs, card = template_of(design), load_card(card)
    known = make_design(_placeholder(runs), card)
    for attempt in range(TRIES):
        rng = np.random.default_rng([seed, 2, attempt])
        plain, truth = _tree(known, runs, 1, [seed, attempt])
        curves = observed_curves(truth)
        gold = curves.gold(known.d)[0, 0, known.run_index, np.arange(len(known.d))] / known.scale
        if "offset" in plain:
            gold = gold + plain["offset"].values[0, 0, known.run_index] * (known.d > 0)
        y = gold + noise_of(known, {str(k): float(v.values.ravel()[0]) for k, v in plain.items() if v.ndim == 2}, rng)
        made = runs.assign(gold=(POINT, y * known.scale))
        if card.coordinates == "peak" and (made["gold"].groupby(made[RUN_INDEX]).max() <= 0).any():
            continue
        truth["log_likelihood"] = xr.DataTree(log_likelihood(replace(known, y=y), plain))
        truth["observed_data"] = xr.DataTree(made[["gold"]])
        return Simulated(describe(made), truth)
    raise FitError(f"card {card.name!r}: of {TRIES} fleets none had only runs whose gold rises")


def peak_before_data(
    card: str | Path | Card,
    design: Fleet | xr.Dataset | None = None,
    rm_params: Sequence[float] | None = None,
    *,
    prob: float = 0.9,
    draws: int = 2000,
    seed: int = 0,
) -> xr.Dataset:
    """Where a card expects gold to peak before it has seen data: `peak` of the prior, as (rm_params) variables.

    Parameters
    ----------
    card : str, path or Card
    design : Fleet or xarray.Dataset
        See `prior`.
    rm_params : sequence of float, optional
        Sizes; those of the design, and ten times its largest, by default.
    prob : float
        Probability of the equal-tailed intervals.
    draws, seed : int

    Returns
    -------
    xarray.Dataset
        Dim ``rm_params``: ``median``, ``lo``, ``hi`` (nats, of a new run), ``gold_median``, ``gold_lo``, ``gold_hi``
        and ``p_peak_below_kl_max``, the probability of a peak up to ``attrs["kl_max"]``.

    Examples
    --------
    >>> found = peak_before_data("similar", draws=200)
    >>> found.sizes["rm_params"], found.attrs["kl_max"]
    (4, 80.0)
    """
    tree = prior(card, design, draws=draws, seed=seed)
    sizes = np.unique(tree["constant_data"].to_dataset()["rm_params"].values)
    asked = np.append(sizes, 10.0 * sizes.max()) if rm_params is None else np.asarray(rm_params, dtype=float)
    found = peak(tree, asked, prob=prob)
    names = ["median", "lo", "hi", "gold_median", "gold_lo", "gold_hi", "p_peak_below_kl_max"]
    table = found.table.set_index("rm_params")[names]
    return xr.Dataset.from_dataframe(table).assign_attrs(prob=prob, kl_max=found.kl_max, include=found.include)


def template_of(design: Fleet | xr.Dataset | None) -> xr.Dataset:
    """The runs of a design, with a fixed unit of gold, and KL without errors."""
    runs = (design or Fleet()).runs() if design is None or isinstance(design, Fleet) else design
    runs = runs.drop_vars([name for name in ("kl_se", "gold_exact", "proxy") if name in runs])
    return runs.assign_attrs(gold_scale=gold_scale_of(runs))


def noise_of(design: Design, h: dict[str, float], rng: np.random.Generator) -> Array:
    """Noise of every point given its parameters, (point,), in standardised units."""
    known, white = design.measurement, rng.standard_normal(len(design.y))
    if known.turn is not None:
        own = np.empty(len(white))
        for mine, q in zip(known.members, known.turn.vectors, strict=True):
            own[mine] = q @ (known.turn.se[mine] * white[mine])
        return np.asarray(own + np.sqrt(variance(np.zeros(1), np.full(1, h["sigma"]))) * rng.standard_normal(len(own)))
    if known.time is not None:
        independent = np.sqrt(variance(known.se, np.full(1, h.get("nugget", 0.0)))) * white
        return np.asarray(independent + h["sigma"] * _process(design, h["noise_lengthscale"], rng))
    scale = np.sqrt(variance(known.se, np.full(1, h["sigma"])))
    if design.card.noise.kind == "student_t":
        white = rng.standard_t(design.card.noise.degrees(h), len(white))
    return np.asarray(scale * white)


def _process(design: Design, lengthscale: float, rng: np.random.Generator) -> Array:
    """A unit Ornstein-Uhlenbeck process along each run's times."""
    found = np.empty(len(design.y))
    assert design.measurement.time is not None
    for mine in design.measurement.members:
        order = mine[np.argsort(design.measurement.time[mine], kind="stable")]
        rho = np.exp(-np.diff(design.measurement.time[order], prepend=-np.inf) / lengthscale)
        value = 0.0
        for point, share, z in zip(order, rho, rng.standard_normal(len(order)), strict=True):
            value = share * value + np.sqrt(1.0 - share**2) * z
            found[point] = value
    return found


def _placeholder(runs: xr.Dataset) -> xr.Dataset:
    """Gold that only says that the basis of a shared shape must reach as far as it ever does."""
    return runs.assign(gold=(POINT, 1.0 / (1.0 + runs["kl"].values)))


def _tree(design: Design, runs: xr.Dataset, draws: int, seed: int | Sequence[int]) -> tuple[xr.Dataset, xr.DataTree]:
    """Draws of the prior in standardised units, and as a tree like a posterior's."""
    rng = np.random.default_rng(seed)
    plain = as_dataset(_variables(design, draws, rng), design.coords, 1, draws)
    groups = {"posterior": describe(to_gold_units(plain, design)), "constant_data": runs.drop_vars("gold")}
    tree = xr.DataTree.from_dict(groups)
    tree.attrs |= {**stamp_of(design), "card_name": design.card.name, "card_hash": design.card.hash()}
    tree.attrs |= {"engine": "prior", "seed": int(np.ravel(seed)[0])}
    return plain, tree


def _variables(design: Design, total: int, rng: np.random.Generator) -> Variables:
    """Every variable of a posterior, drawn from the prior."""
    h = {name: each.from_normal(rng.standard_normal(total)) for name, each in design.outer.items()}
    found: Variables = {name: ((), values) for name, values in h.items()}
    off, of_rm = _scatter(design, h, rng)
    for i, (name, c) in enumerate(design.coefficients.items()):
        sd = np.where(c.drift, c.sd * h.get(f"{name}_drift", np.ones(total))[:, None], c.sd)
        coef = c.mean + sd * rng.standard_normal((total, len(c.terms)))
        theta = coef @ c.columns.T + off[..., i]
        found[f"{name}_coef"] = ((f"{name}_term",), coef)
        found[name] = ((RUN,), np.exp(theta) if c.spec.link == "log" else theta)
        if c.spec.sd_rm is not None:
            found[f"{name}_rm"] = (("rm",), of_rm[..., i])
    found |= _smooth(design, h, rng)
    if design.shape:
        found |= _shape(design, h, rng)
    if design.has_offset:
        found["offset"] = ((RUN,), h["offset_sd"][:, None] * rng.standard_normal((total, len(design.run))))
    return found


def _scatter(design: Design, h: dict[str, Array], rng: np.random.Generator) -> tuple[Array, Array]:
    """Deviations of runs (draw, run, 2) and of RMs (draw, rm, 2) from the trend; the first include the second."""
    total = len(h["sigma"])
    rho = h.get("correlation", np.zeros(total))[:, None]
    parts = []
    for level, count in (("rm", len(design.rm)), ("run", len(design.run))):
        first, second = correlated_pair(rho, (total, count), rng)
        sds = [h.get(f"{name}_sd_{level}", np.zeros(total))[:, None] for name in design.coefficients]
        parts.append(np.stack([sds[0] * first, sds[1] * second], axis=-1))
    return parts[0][:, design.rm_index] + parts[1], parts[0]


def _smooth(design: Design, h: dict[str, Array], rng: np.random.Generator) -> Variables:
    """What is smooth in d: the runs' own part and, of cards on coefficients, what they share."""
    if design.sines is None:
        return {}
    total, found = len(h["sigma"]), {}
    delta = np.zeros((total, len(design.run), design.sines.count))
    if "eta_run" in h:
        own = h["eta_run"][:, None] * np.sqrt(design.sines.variances(h[design.run_lengthscale]))
        delta += own[:, None] * rng.standard_normal(delta.shape)
    for part in [] if design.shape else design.shared:
        spread = h[part.scale][:, None] * np.sqrt(design.sines.variances(h[part.lengthscale]))
        drawn = spread * rng.standard_normal(spread.shape)
        found[part.name] = (("sine",), drawn)
        delta += drawn[:, None] * part.weight[design.rm_index, None]
    return {**found, "delta": ((RUN, "sine"), delta)}


def _shape(design: Design, h: dict[str, Array], rng: np.random.Generator) -> Variables:
    """gamma, bend and the smooth part of the shared shape."""
    assert design.shape
    total = len(h["sigma"])
    found: Variables = {}
    form = design.card.form
    if form.gamma is not None:
        gamma, slope = np.full(total, -np.inf), np.zeros(total)
        # No shape has a gamma of -1 or less, at any run's size.
        while (bad := np.flatnonzero((gamma[:, None] + slope[:, None] * design.x <= -1.0).any(axis=1))).size:
            gamma[bad] = form.gamma.from_normal(rng.standard_normal(len(bad)))
            if form.gamma_slope is not None:
                slope[bad] = form.gamma_slope.from_normal(rng.standard_normal(len(bad)))
        found["gamma"] = ((), gamma)
        if form.gamma_slope is not None:
            found["gamma_slope"] = ((), slope)
    if form.bend is not None:
        found["bend"] = ((), form.bend.from_normal(rng.standard_normal(total)))
    if design.shape.sines:
        spread = h["eta_shared"][:, None] * np.sqrt(design.shape.sines.variances(h["lengthscale"]))
        found["delta_shape"] = (("shape_sine",), spread * rng.standard_normal(spread.shape))
    return found

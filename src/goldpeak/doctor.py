"""Is this installation whole? Versions, cards, data, engines, compile cache, and fits whose answers are known."""

from __future__ import annotations

import importlib
import os
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from goldpeak.errors import ConvergenceWarning
from goldpeak.stack import EXTRAS, STACK, versions

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["Finding", "examine"]

Verdict = Literal["ok", "absent", "fault"]
ALPHA, BETA, SLOPE, NOISE = 1.0, 0.5, -0.03, 0.03
SIZES = (1e6, 1e7)
CARD_OF = {"exact": "rl_paper", "laplace_is": "similar", "nuts": "rl_paper"}
RHAT = 1.05
"""Below this the few draws of `nuts` here show that it works; its gates are for posteriors that will be used."""
TOLERANCE = 0.15
"""Largest |log(found / true)| of a peak in the self-test; measured: up to .04."""


@dataclass(frozen=True)
class Finding:
    """What one check found.

    Attributes
    ----------
    check : str
        What was looked at.
    verdict : {"ok", "absent", "fault"}
        ``absent`` is an optional part that is not installed.
    detail : str
        What was found, in words.
    seconds : float
        How long the check took.
    next_step : str
        What to do about it; empty where nothing is to be done.
    """

    check: str
    verdict: Verdict
    detail: str
    seconds: float
    next_step: str = ""


REINSTALL = "install goldpeak again: pip install --force-reinstall . in its folder"


def examine(*, nuts: bool = False) -> tuple[Finding, ...]:
    """Look at everything that can be wrong with an installation.

    Parameters
    ----------
    nuts : bool
        Also sample with NUTS; the first time that compiles for up to half a minute.

    Returns
    -------
    tuple of Finding
        In the order of the checks. What a check raises is a ``fault``, never an exception.

    Examples
    --------
    >>> [finding.check for finding in examine()][:3]
    ['versions', 'cards', 'bundled data']
    """
    checks: list[tuple[str, Callable[[], tuple[Verdict, str, str]]]] = [
        ("versions", _versions),
        ("cards", _cards),
        ("bundled data", _data),
        ("engine exact", lambda: _engine("exact")),
        ("engine laplace_is", lambda: _engine("laplace_is")),
        ("engine nuts", (lambda: _engine("nuts")) if nuts else _nuts_imports),
        ("compile cache", _compile_cache),
        *((f"extra {name}", lambda name=name: _extra(name)) for name in EXTRAS),
        ("threads", _threads),
    ]
    return tuple(_run(name, check) for name, check in checks)


def _run(name: str, check: Callable[[], tuple[Verdict, str, str]]) -> Finding:
    began = time.perf_counter()
    try:
        verdict, detail, step = check()
    except (Exception, SystemExit) as error:
        verdict, detail, step = "fault", f"{type(error).__name__}: {error}", REINSTALL
    return Finding(name, verdict, " ".join(detail.split()), time.perf_counter() - began, step)


def _versions() -> tuple[Verdict, str, str]:
    found = versions()
    missing = [name for name in STACK if name not in found]
    if missing:
        return "fault", f"not installed: {', '.join(missing)}", REINSTALL
    return "ok", ", ".join(f"{name} {version}" for name, version in found.items()), ""


def _cards() -> tuple[Verdict, str, str]:
    from goldpeak.library import card_names, load_card, models_dir

    names = card_names()
    if not names:
        return "fault", f"no card in {models_dir()}", REINSTALL
    for name in names:
        load_card(name)
    return "ok", f"{len(names)} in {models_dir()}", ""


def _data() -> tuple[Verdict, str, str]:
    from goldpeak.datasets import lab

    counts = {method: lab(method).sizes["run"] for method in ("rl", "bon")}
    return "ok", ", ".join(f"{count} runs of {method}" for method, count in counts.items()), ""


def _engine(name: str) -> tuple[Verdict, str, str]:
    """Fit curves whose peaks are known, and hold the answer against them."""
    import numpy as np

    from goldpeak.fitting import fit
    from goldpeak.gates import gates_of
    from goldpeak.peaks import peak

    runs, truth = _known_runs()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        post = fit(runs, CARD_OF[name], engine=name, seed=1, draws=250)  # type: ignore[arg-type]
    gates = gates_of(post)
    off = float(np.abs(np.log(peak(post).table["median"] / truth)).max())
    detail = f"peaks found to {100 * off:.1f} %, {gates.summary()}"
    if off <= TOLERANCE and (gates.passed or gates.measured.get("rhat_max", np.inf) < RHAT):
        return "ok", detail, ""
    return "fault", detail, "report it with the output of 'goldpeak doctor --json'"


def _known_runs() -> tuple[xr.Dataset, list[float]]:
    """Four runs under the paper's RL form with a little noise, and the KL of their peaks (nats)."""
    import numpy as np
    import pandas as pd

    from goldpeak.runs import read_runs

    rng, d, parts, truth = np.random.default_rng(0), np.linspace(0.5, 7.0, 15), [], []
    for i, size in enumerate(np.repeat(SIZES, 2)):
        beta = BETA + SLOPE * np.log(size / 5e6)
        gold = d * (ALPHA - beta * np.log(d)) + NOISE * rng.standard_normal(d.size)
        parts.append(pd.DataFrame({"run": f"{i}", "rm_params": size, "kl": d**2, "gold": gold, "gold_se": NOISE}))
        truth.append(float(np.exp(2.0 * (ALPHA / beta - 1.0))))
    return read_runs(pd.concat(parts, ignore_index=True)), truth


def _nuts_imports() -> tuple[Verdict, str, str]:
    importlib.import_module("goldpeak.engines.nuts")
    return "ok", "imports; sample with it too by --nuts", ""


def _compile_cache() -> tuple[Verdict, str, str]:
    from goldpeak.engines.nuts import compile_cache

    folder = compile_cache()
    there = next(path for path in (folder, *folder.parents) if path.exists())
    if not os.access(there, os.W_OK):
        step = "set PYTENSOR_FLAGS=base_compiledir=FOLDER to a folder that can be written to"
        return "fault", f"{folder} cannot be written to: NUTS would compile every time", step
    megabytes = sum(_size(path) for path in folder.rglob("*")) / 1e6
    return "ok", f"{folder}, {megabytes:.0f} MB", ""


def _size(path: Path) -> int:
    """Bytes of a file; another process may just have removed it."""
    try:
        return path.stat().st_size if path.is_file() else 0
    except OSError:
        return 0


def _extra(name: str) -> tuple[Verdict, str, str]:
    found = versions(EXTRAS[name])
    missing = [package for package in EXTRAS[name] if package not in found]
    if missing:
        return "absent", f"not installed: {', '.join(missing)}", f"if you want it: pip install '.[{name}]'"
    return "ok", ", ".join(f"{package} {found[package]}" for package in EXTRAS[name]), ""


def _threads() -> tuple[Verdict, str, str]:
    limits = {name: os.environ[name] for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS") if name in os.environ}
    told = "".join(f", {name}={value}" for name, value in limits.items())
    return "ok", f"{len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()}{told}", ""

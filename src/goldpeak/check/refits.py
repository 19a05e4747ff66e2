"""Many fits of parts of the same runs: in parallel, each kept on disk, so that what was interrupted goes on.

The work goes through joblib: processes on this machine, or whatever ``joblib.parallel_config`` says, such as a dask
cluster. Each process works with one thread.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache as once
from pathlib import Path
from typing import Any, Literal

import numpy as np
import xarray as xr

from goldpeak.card import Card
from goldpeak.check.folds import Fold
from goldpeak.engines.threads import single_threaded
from goldpeak.errors import ConvergenceWarning, FitError, RunsWarning, StoreError, problems_of_counts
from goldpeak.fitting import ENGINES, Engine, fast_engine, fit
from goldpeak.gates import Gates, gates_of
from goldpeak.library import load_card
from goldpeak.runs import digest
from goldpeak.stack import versions
from goldpeak.store import SCHEMA, load, save

__all__ = ["CACHE_LIMIT", "Refit", "RefitEngine", "cache_folder", "refits"]

RefitEngine = Engine | Literal["fast"]
Task = Callable[[xr.DataTree, Fold], Any]

CACHE_LIMIT = 4 << 30
"""Bytes that the default cache may hold: beyond that the files that were used longest ago go."""


@dataclass(frozen=True)
class Refit:
    """One card fitted to the runs of one fold.

    Attributes
    ----------
    card : str
        The card's name.
    fold : Fold
    value : object
        What the task made of the posterior, or the posterior itself; None if the fit was refused.
    gates : Gates or None
        Whether the fit can be trusted; None if it was refused.
    engine : str
        The engine that ran.
    refused : str
        Why there is no fit; empty if there is one.
    warned : tuple of str
        What was said of the runs on the way.
    """

    card: str
    fold: Fold
    value: Any
    gates: Gates | None
    engine: str = ""
    refused: str = ""
    warned: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """Card and fold, for messages."""
        return f"{self.card} ({self.fold.name})"


@dataclass(frozen=True)
class _Job:
    """All that one fit needs."""

    runs: xr.Dataset
    card: Card
    fold: Fold
    engine: RefitEngine
    seed: int
    draws: int
    chains: int
    kl_max: float

    @property
    def key(self) -> str:
        """Digest of all that the posterior follows from, the code included."""
        asked: dict[str, Any] = {
            # Not part of the runs' digest, but of what is fitted.
            "gold_scale": self.runs.attrs.get("gold_scale"),
            **{name: getattr(self, name) for name in ("engine", "seed", "draws", "chains", "kl_max")},
        }
        text = json.dumps([digest(self.runs), self.card.to_toml(), asked, _code()])
        return hashlib.sha256(text.encode()).hexdigest()


def refits(
    runs: xr.Dataset,
    cards: Sequence[str | Path | Card],
    folds: Sequence[Fold],
    task: Task | None = None,
    *,
    seed: int = 0,
    engine: RefitEngine = "auto",
    draws: int = 500,
    chains: int = 4,
    kl_max: float | None = None,
    cache: bool | str | Path = True,
    jobs: int | None = None,
    progress: bool = True,
) -> list[Refit]:
    """Fit each card to the runs of each fold.

    Parameters
    ----------
    runs : xarray.Dataset
        As returned by `read_runs`.
    cards : sequence of str, path or Card
        No two of one name.
    folds : sequence of Fold
    task : callable, optional
        Called as ``task(posterior, fold)`` where the fit is made; what it returns is kept instead of the posterior,
        which may be large.
    seed, draws, chains
        As for `fit`.
    engine : str
        As for `fit`; ``fast`` is ``laplace_is`` for cards in peak coordinates and ``exact`` for the others, without a
        fallback to ``nuts``: a failed gate is only reported.
    kl_max : float, optional
        The same for all fits; by default twice the largest KL of all runs, those held out included.
    cache : bool or path
        Folder that keeps each posterior (netCDF, named by a digest of runs, card, arguments and code), so that a call
        after an interruption, or with one card more, fits only what is missing. Several processes may share it. True
        is `cache_folder`, which is kept below `CACHE_LIMIT`; False keeps nothing. A cluster's workers write to that
        path on their own machines.
    jobs : int, optional
        Processes; by default what ``joblib.parallel_config`` says, else one for each processor.
    progress : bool
        Draw a bar on standard error while it is a terminal.

    Returns
    -------
    list of Refit
        By card, then by fold. A fit that is refused for reasons in the data says why and stops no other.

    Raises
    ------
    FitError
        If two cards have one name, there is nothing to do, or an argument is out of range.
    CardError
        If a card is not there or not valid.

    Warns
    -----
    ConvergenceWarning
        Once, naming the fits whose gate failed.

    Examples
    --------
    >>> from goldpeak.check.folds import folds
    >>> from goldpeak.datasets import lab
    >>> runs = lab("rl")
    >>> found = refits(runs, ["rl_paper"], folds(runs, "small_to_large")[-1:], cache=False, jobs=1)
    >>> found[0].fold.name, found[0].gates.passed, found[0].value["posterior"].sizes["run"]
    ('up to 18817', True, 36)
    """
    import joblib

    if isinstance(cards, str | Path | Card):
        raise FitError("cards is one card; allowed: a sequence of cards, of one too")
    models = [load_card(card) for card in cards]
    _refuse(models, folds, engine, draws=draws, chains=chains)
    folder = _folder(cache)
    limit = 2.0 * float(runs["kl"].max()) if kl_max is None else float(kl_max)
    parts = [fold.split(runs)[0] for fold in folds]
    work = [
        _Job(part, card, fold, engine, int(seed), draws, chains, limit)
        for card in models
        for part, fold in zip(parts, folds, strict=True)
    ]
    configured = joblib.parallel.get_active_backend()[1]
    pool = joblib.Parallel(n_jobs=jobs or configured or -1, return_as="generator")
    with _bar(len(work), progress) as step:
        found = []
        for done in pool(joblib.delayed(_one)(job, task, folder) for job in work):
            found.append(done)
            step()
    if cache is True and folder:
        _prune(folder)
    _warn_of_gates(found)
    for text in dict.fromkeys(text for each in found for text in each.warned):
        warnings.warn(text, RunsWarning, stacklevel=2)
    return found


def cache_folder() -> Path:
    """Where refits are kept by default: ``$GOLDPEAK_CACHE``, else ``goldpeak`` in the user's cache folder."""
    named = os.environ.get("GOLDPEAK_CACHE")
    if named:
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "goldpeak"


def _refuse(cards: Sequence[Card], folds: Sequence[Fold], engine: str, **counts: int) -> None:
    names = [card.name for card in cards]
    twice = sorted({name for name in names if names.count(name) > 1})
    problems = [f"two cards have the name {name!r}; names tell results apart" for name in twice]
    problems += ["there are no cards"] if not names else []
    problems += ["there are no folds"] if not folds else []
    problems += [f"fold {fold.name!r} fits no run" for fold in folds if not fold.fitted]
    problems += [] if engine in (*ENGINES, "fast") else [f"engine is {engine!r}; allowed: {', '.join(ENGINES)}, fast"]
    problems += problems_of_counts(1, **counts)
    if problems:
        raise FitError("; ".join(problems))


def _folder(cache: bool | str | Path) -> Path | None:
    if cache is False:
        return None
    folder = cache_folder() if cache is True else Path(cache)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"{folder}: cannot be made a folder for refits ({error.strerror})") from error
    return folder.resolve()


def _one(job: _Job, task: Task | None, folder: Path | None) -> Refit:
    """Fit, or read what was fitted before, and do the task: this runs in the workers."""
    # Told at the end, once for all: by the gates, and what was said of the runs.
    with warnings.catch_warnings(record=True) as told, single_threaded():
        warnings.simplefilter("always", RunsWarning)
        warnings.simplefilter("ignore", ConvergenceWarning)
        try:
            post = _kept(job, folder)
            value = post if task is None else task(post, job.fold)
        except FitError as error:
            return Refit(job.card.name, job.fold, None, None, refused=str(error))
    warned = tuple(dict.fromkeys(str(each.message) for each in told if issubclass(each.category, RunsWarning)))
    for other in (each for each in told if not issubclass(each.category, RunsWarning)):
        warnings.warn_explicit(other.message, other.category, other.filename, other.lineno)
    return Refit(job.card.name, job.fold, value, gates_of(post), str(post.attrs["engine"]), warned=warned)


def _kept(job: _Job, folder: Path | None) -> xr.DataTree:
    if folder is None:
        return _fitted(job)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{job.key}.nc"
    # A file that is gone, damaged or of another layout is as good as none.
    with suppress(StoreError, OSError):
        post = load(path)
        path.touch()
        return post
    post = _fitted(job)
    save(post, path)
    return post


def _fitted(job: _Job) -> xr.DataTree:
    engine = fast_engine(job.card) if job.engine == "fast" else job.engine
    return fit(job.runs, job.card, engine=engine, seed=job.seed, draws=job.draws, chains=job.chains, kl_max=job.kl_max)


@once
def _code() -> str:
    """Digest of this package's sources and of what it computes with: a cache must not outlive a change to them."""
    total = hashlib.sha256(json.dumps([SCHEMA, versions()]).encode())
    root = Path(__file__).resolve().parents[1]
    for part in ("engines", "."):
        for path in sorted((root / part).glob("*.py")):
            total.update(path.read_bytes())
    return total.hexdigest()


def _prune(folder: Path) -> None:
    """Remove the files used longest ago until what is left is below the limit."""
    found = []
    for path in folder.glob("*.nc"):
        with suppress(OSError):
            found.append((path.stat().st_mtime, path.stat().st_size, path))
    found.sort(reverse=True)
    sizes = np.cumsum([size for _, size, _ in found])
    for (_, _, path), total in zip(found, sizes, strict=True):
        if total > CACHE_LIMIT:
            path.unlink(missing_ok=True)


@contextmanager
def _bar(total: int, wanted: bool) -> Iterator[Callable[[], object]]:
    """A progress bar on standard error, where somebody watches."""
    if not (wanted and total > 1 and sys.stderr.isatty()):
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("refits"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("refits", total=total)
        yield lambda: bar.advance(task)


def _warn_of_gates(found: Sequence[Refit]) -> None:
    failed = [each.label for each in found if each.gates and not each.gates.passed]
    if failed:
        more = f" and {len(failed) - 5} more" if len(failed) > 5 else ""
        warnings.warn(
            f"the gate of {len(failed)} of {len(found)} refits failed, do not trust these: "
            f"{', '.join(failed[:5])}{more}",
            ConvergenceWarning,
            stacklevel=3,
        )

"""Best-of-n run curves from long tables of samples: a row for each sample, of any length, in bounded memory.

The table is read twice. The first time counts the samples of each pool (the samples of one prompt of one run) and
checks every cell; the second estimates. Where the rows of each pool are next to each other, a pool is estimated as soon
as it has been read. Where they are not, samples are first written to temporary files of some million samples each,
sorted by pool. So what is held at a time is a piece of the file, the largest pool and the curves of all pools.
"""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from goldpeak._cells import Findings, check_number, check_text, hashable, numbers, report, show
from goldpeak.bon import BestOfN, default_n, n_problems, pool_curves, summarise_pools
from goldpeak.covariances import block_columns
from goldpeak.errors import RunsError, RunsWarning
from goldpeak.io.batches import Batches, open_batches
from goldpeak.names import COLUMNS
from goldpeak.runs import read_runs
from goldpeak.shrinkage import few_prompts
from goldpeak.wording import did_you_mean, listed

__all__ = ["read_samples"]

Array = NDArray[np.float64]
Whole = NDArray[np.int64]
type Pool = tuple[Whole, Array, Array]

_REWARDS = ("proxy", "gold")
_POOL = ("run", "prompt")
_REQUIRED = (*_POOL, "rm_params", *_REWARDS)
_OPTIONAL = ("rm", "rm_data", "policy_params", "kl_coef", "seed")
_LEAST = 4
"""Samples in a pool: for n = 1 and three points above it."""
_AT_ONCE = 1 << 20
"""Samples sorted in memory at a time where pools are scattered over the file."""
_ENOUGH = 10_000


def read_samples(
    source: str | os.PathLike[str] | pd.DataFrame,
    n: ArrayLike | None = None,
    *,
    baseline: Literal["auto", "none"] = "auto",
    gold_scale: float | None = None,
) -> xr.Dataset:
    """Best-of-n run curves, with their covariance, from a table that has a row for each sample.

    Parameters
    ----------
    source : path or pandas.DataFrame
        ``.csv``, ``.parquet``, ``.jsonl`` or ``.ndjson``, in any order (fastest where the samples of each run and
        prompt are next to each other). Columns: ``run``, ``rm_params``, ``prompt``, ``proxy`` (selects), ``gold`` (is
        reported); optional: ``rm``, ``rm_data``, ``policy_params``, ``kl_coef``, ``seed``. Prompts may differ in their
        number of samples, runs in their prompts.
    n : array_like of int, optional
        Which n, each at most the smallest pool of every run; by default about 27 for each run, from 1 to the size of
        its own smallest pool. The estimate at n = 1 is made in any case and is what gold is recentred by.
    baseline : {"auto", "none"}
        Subtract the estimate at n = 1; or do not, and keep it as a point only if `n` holds it.
    gold_scale : float, optional
        As for `read_runs`.

    Returns
    -------
    xarray.Dataset
        As `read_runs` returns it: ``n``, ``kl``, ``gold``, ``gold_se``, ``proxy`` along ``point``, ``gold_cov`` along
        ``point`` and ``peer``. `goldpeak.bon.estimate` says how they are estimated.

    Raises
    ------
    RunsError
        With every problem found: cells, values that change within a run, runs with fewer than two prompts or with
        pools of fewer than four samples, n above a run's smallest pool.

    Warns
    -----
    RunsWarning
        For a column whose name looks like a misspelt one, and for runs with fewer than ten prompts, whose covariance
        is too small.

    Notes
    -----
    Memory: a piece of the file, the largest pool, and one curve for each pool. Scattered files need about 24 bytes of
    temporary disk a sample.

    Examples
    --------
    >>> rng = np.random.default_rng(1)
    >>> proxy = rng.standard_normal(4000)
    >>> table = pd.DataFrame({"run": "a", "rm_params": 1e6, "prompt": np.repeat(np.arange(20), 200), "proxy": proxy})
    >>> runs = read_samples(table.assign(gold=proxy - 0.2 * proxy**2), n=[2, 8, 32])
    >>> runs["n"].values.tolist(), runs["gold_cov"].shape
    ([2, 8, 32], (3, 3))
    """
    batches = open_batches(source)
    title = f"{batches.name} ({batches.rows_are})"
    survey = _survey(batches)
    asked = None if n is None else np.asarray(n)
    problems = survey.problems()
    if baseline not in ("auto", "none"):
        problems.append(f"baseline={baseline!r}; allowed: auto or none")
    problems += [] if asked is None else _n_problems(survey, asked)
    if problems:
        raise RunsError(title, problems)
    few = few_prompts(survey.pools().groupby("run", sort=False).size().to_dict())
    if few:
        warnings.warn(f"{batches.name}: {few}", RunsWarning, stacklevel=2)
    table = _estimate(batches, survey, asked, keep_start=baseline == "auto")
    try:
        runs = read_runs(table, baseline=baseline, gold_scale=gold_scale)
    except RunsError as error:
        raise RunsError(title, error.problems) from error
    return runs.assign_attrs(source=os.path.basename(batches.name))


@dataclass
class _Survey:
    """What the first reading found out."""

    name: str
    codes: dict[tuple[str, str], int] = field(default_factory=dict)
    sizes: Whole = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    covariates: pd.DataFrame = field(default_factory=pd.DataFrame)
    bad: dict[str, list[pd.Series]] = field(default_factory=dict)
    grouped: bool = True
    whole: bool = True
    last: int = -1
    found: list[str] = field(default_factory=list)

    def code(self, piece: pd.DataFrame) -> Whole:
        """To which pool each row belongs; pools are numbered by first appearance."""
        run, runs = pd.factorize(piece["run"], use_na_sentinel=False)
        prompt, prompts = pd.factorize(piece["prompt"], use_na_sentinel=False)
        pair, pairs = pd.factorize(run * len(prompts) + prompt)
        words = [_words(runs), _words(prompts)]
        names = zip(words[0][pairs // len(prompts)], words[1][pairs % len(prompts)], strict=True)
        known = [self.codes.setdefault(name, len(self.codes)) for name in names]
        return np.array(known, dtype=np.int64)[pair]

    def count(self, codes: Whole) -> None:
        """Add to the sizes of the pools, and see whether a pool comes back after another."""
        sizes = np.bincount(codes, minlength=len(self.codes))
        heads = codes[np.r_[True, codes[1:] != codes[:-1]]]
        started = heads[1:] if heads[0] == self.last else heads
        before = np.zeros(len(sizes), dtype=np.int64)
        before[: len(self.sizes)] = self.sizes
        again = (before[started] > 0).any() or len(np.unique(heads)) < len(heads)
        self.grouped, self.last, self.sizes = self.grouped and not again, int(codes[-1]), before + sizes

    def pools(self) -> pd.DataFrame:
        """``run``, ``prompt`` and ``size`` of each pool, by its number."""
        return pd.DataFrame(list(self.codes), columns=list(_POOL)).assign(size=self.sizes)

    def smallest(self) -> pd.Series:
        """Samples in the smallest pool of each run."""
        return self.pools().groupby("run", sort=False)["size"].min()

    def problems(self) -> list[str]:
        """All that is wrong with the table."""
        if self.found:
            return self.found
        findings = Findings(self.name, np.array([]))
        for name, cells in self.bad.items():
            found = pd.concat(cells)
            findings.rows = found.index.to_numpy()
            report(COLUMNS[name], found.reset_index(drop=True), np.ones(len(found), dtype=bool), findings)
        if not self.whole:
            findings.problem(f"reading stopped after {_ENOUGH} cells that are not allowed; there may be more")
        if not self.bad:
            self._check_runs(findings)
        return findings.problems

    def _check_runs(self, findings: Findings) -> None:
        self.covariates = _constant_covariates(self.covariates, findings)
        prompts, smallest = self.pools().groupby("run", sort=False).size(), self.smallest()
        for counts, least, what in ((prompts, 2, "prompts"), (smallest, _LEAST, "samples in the smallest pool")):
            few = counts[counts < least]
            if len(few):
                runs = listed([f"'{run}' ({count})" for run, count in few.items()])
                findings.problem(f"too few {what} in run {runs}; allowed: at least {least}")


def _words(values: Iterable[Any]) -> NDArray[np.object_]:
    words = np.array(["" if pd.isna(value) else str(value).strip() for value in values], dtype=object)
    return np.asarray(words)


def _survey(batches: Batches) -> _Survey:
    survey = _Survey(batches.name)
    _check_names(batches, survey)
    if survey.found:
        return survey
    about = ["rm_params", *(name for name in _OPTIONAL if name in batches.columns)]
    for piece in batches.read([*_POOL, *about, *_REWARDS]):
        if not len(piece):
            continue
        piece = hashable(piece)
        _note_bad_cells(piece, survey)
        survey.count(survey.code(piece))
        parts = [survey.covariates, piece[["run", *about]].drop_duplicates()]
        survey.covariates = pd.concat([part for part in parts if len(part)]).drop_duplicates()
        if sum(len(cells) for found in survey.bad.values() for cells in found) > _ENOUGH:
            survey.whole = False
            break
    if not survey.codes:
        survey.found.append("there are no rows")
    return survey


def _check_names(batches: Batches, survey: _Survey) -> None:
    unknown = [name for name in batches.columns if name not in (*_REQUIRED, *_OPTIONAL)]
    for name in _REQUIRED:
        if name not in batches.columns:
            near = did_you_mean(name, unknown, "is it '{}'?")
            survey.found.append(f"column '{name}' is missing{near}; it holds: {COLUMNS[name].meaning}")
    missing = [name for name in _OPTIONAL if name not in batches.columns]
    for name in [] if survey.found else unknown:
        near = did_you_mean(name, missing)
        if near:
            warnings.warn(f"{batches.name}: column '{name}' is not used{near}", RunsWarning, stacklevel=4)


def _note_bad_cells(piece: pd.DataFrame, survey: _Survey) -> None:
    for name in _REWARDS:
        values, _, _ = numbers(piece[name])
        wrong = ~np.isfinite(values)
        if wrong.any():
            survey.bad.setdefault(name, []).append(piece[name][wrong].astype(object))
    for name in _POOL:
        codes, found = pd.factorize(piece[name], use_na_sentinel=False)
        wrong = (_words(found) == "")[codes]
        if wrong.any():
            survey.bad.setdefault(name, []).append(piece[name][wrong].astype(object))


def _constant_covariates(found: pd.DataFrame, findings: Findings) -> pd.DataFrame:
    """One row a run, as numbers and names; notes what is not allowed or changes within a run."""
    found = found.assign(run=_words(found["run"].to_numpy())).reset_index(drop=True)
    cells = Findings(findings.name, found["run"].map(repr).to_numpy(), noun="run")
    clean: dict[str, np.ndarray] = {"run": found["run"].to_numpy()}
    for name in found.columns.drop("run"):
        convert = check_text if COLUMNS[name].kind == "text" else check_number
        values = convert(COLUMNS[name], found[name], cells, None)
        if values is not None:
            clean[name] = values
    findings.problems += cells.problems
    table = pd.DataFrame(clean).drop_duplicates()
    for name in [] if cells.problems else table.columns.drop("run"):
        distinct = table[["run", name]].drop_duplicates()
        several = distinct[distinct["run"].duplicated(keep=False)]
        if len(several):
            run = several["run"].iloc[0]
            pair = ", then ".join(show(value) for value in several[several["run"] == run][name].iloc[:2])
            findings.problem(f"column '{name}' changes within run '{run}': {pair}; allowed: one value per run")
    return table.drop_duplicates("run")


def _n_problems(survey: _Survey, n: NDArray[np.number]) -> list[str]:
    """Of the n asked for, against the run with the smallest pool."""
    if survey.found or survey.bad:
        return []
    smallest = survey.smallest()
    problems = n_problems(n, int(smallest.min()))
    short = smallest[smallest < np.max(n)] if problems and n.dtype.kind in "iuf" and n.size else smallest[:0]
    where = f": run {listed([repr(run) for run in short.index])}" if len(short) else ""
    return [problem + where for problem in problems]


def _estimate(batches: Batches, survey: _Survey, n: NDArray[np.number] | None, *, keep_start: bool) -> pd.DataFrame:
    """The table of all runs, n by n, with covariances."""
    pools = survey.pools()
    row = pools.groupby("run", sort=False).cumcount().to_numpy()
    run, runs = pd.factorize(pools["run"])
    smallest = [int(size) for size in survey.smallest()[runs]]
    wanted = [_n_of_run(n, size, keep_start) for size in smallest]
    curves = [np.empty((2, count, len(of_run))) for count, of_run in zip(np.bincount(run), wanted, strict=True)]
    for codes, proxy, gold in _whole_pools(batches, survey):
        heads = np.flatnonzero(np.r_[True, codes[1:] != codes[:-1]])
        sizes, pool = np.diff(np.r_[heads, len(codes)]), codes[heads]
        for one in np.unique(run[pool]):
            mine = np.flatnonzero(run[pool] == one)
            rows = np.repeat(run[pool] == one, sizes)
            curves[one][:, row[pool[mine]]] = pool_curves(proxy[rows], gold[rows], sizes[mine], wanted[one])
    start = 0 if keep_start else None
    each = zip(curves, wanted, smallest, strict=True)
    found = [summarise_pools(one[0], one[1], of_run, size, start) for one, of_run, size in each]
    parts = [_points(str(name), one) for name, one in zip(runs, found, strict=True)]
    return pd.concat(parts, ignore_index=True).merge(survey.covariates, on="run", how="left", sort=False)


def _n_of_run(n: NDArray[np.number] | None, smallest: int, keep_start: bool) -> Whole:
    if n is None:
        return default_n(smallest)
    return np.unique([1, *n] if keep_start else n).astype(np.int64)


def _points(run: str, found: BestOfN) -> pd.DataFrame:
    columns = {"n": found.n, "kl": found.kl, "gold": found.gold, "proxy": found.proxy}
    return pd.DataFrame({"run": run, "method": "bon", **columns, **block_columns(found.gold_cov)})


def _whole_pools(batches: Batches, survey: _Survey) -> Iterator[Pool]:
    """Pool number, proxy and gold of the samples, in blocks that hold each of their pools whole and in one stretch."""
    if survey.grouped:
        return _as_they_come(_rewards(batches, survey))
    if survey.sizes.sum() <= _AT_ONCE:
        blocks = list(_rewards(batches, survey))
        return iter([_sorted(*(np.concatenate(parts) for parts in zip(*blocks, strict=True)))])
    return _by_way_of_disk(_rewards(batches, survey), survey.sizes)


def _rewards(batches: Batches, survey: _Survey) -> Iterator[Pool]:
    for piece in batches.read([*_POOL, *_REWARDS]):
        if len(piece):
            yield survey.code(hashable(piece)), numbers(piece["proxy"])[0], numbers(piece["gold"])[0]


def _as_they_come(pieces: Iterator[Pool]) -> Iterator[Pool]:
    """Hold back the last pool of each piece until the next pool begins."""
    held: list[Pool] = []
    for codes, proxy, gold in pieces:
        last = int(np.flatnonzero(np.r_[True, codes[1:] != codes[:-1]])[-1])
        if held and (last > 0 or held[-1][0][-1] != codes[0]):
            held.append((codes[:last], proxy[:last], gold[:last]))
            yield _joined(held)
            held = []
        elif last > 0:
            yield codes[:last], proxy[:last], gold[:last]
        held.append((codes[last:], proxy[last:], gold[last:]))
    yield _joined(held)


def _joined(parts: list[Pool]) -> Pool:
    codes, proxy, gold = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    return codes, proxy, gold


def _sorted(codes: Whole, proxy: Array, gold: Array) -> Pool:
    order = np.argsort(codes, kind="stable")
    return codes[order], proxy[order], gold[order]


def _by_way_of_disk(pieces: Iterator[Pool], sizes: Whole) -> Iterator[Pool]:
    """Sort samples by pool through files that each hold some whole pools."""
    bucket = np.cumsum(sizes) // _AT_ONCE
    record = np.dtype([("code", np.int64), ("proxy", np.float64), ("gold", np.float64)])
    with tempfile.TemporaryDirectory(prefix="goldpeak-") as folder:
        for codes, proxy, gold in pieces:
            order = np.argsort(bucket[codes], kind="stable")
            rows = np.empty(len(codes), dtype=record)
            rows["code"], rows["proxy"], rows["gold"] = codes[order], proxy[order], gold[order]
            present, starts = np.unique(bucket[rows["code"]], return_index=True)
            for number, part in zip(present, np.split(rows, starts[1:]), strict=True):
                with Path(folder, str(number)).open("ab") as file:
                    part.tofile(file)
        for number in np.unique(bucket):
            rows = np.fromfile(Path(folder, str(number)), dtype=record)
            yield _sorted(rows["code"], rows["proxy"], rows["gold"])

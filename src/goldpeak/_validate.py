"""Row against row: what the points of a run, and the runs of several files, must have in common."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from goldpeak._cells import Findings, show
from goldpeak.names import column_of
from goldpeak.wording import listed

__all__ = ["check_starts", "check_structure", "check_together", "is_start", "offset_notices"]

_MIN_POINTS = 3
_SMALL_OFFSET = 0.1
_OFFSET_NEAR, _OFFSET_FAR, _NEAR = 1.0, 5.0, 0.2
"""An offset counts from so many times the range of gold: the first where d starts below a fifth of its largest."""
_PER_TOKEN_KL, _PER_TOKEN_STEPS, _PER_TOKEN_POINTS = 0.05, 100, 20


def is_start(frame: pd.DataFrame) -> np.ndarray:
    """Which rows measure the initial policy itself: kl = 0, or best of n = 1."""
    start = np.asarray(frame["kl"].to_numpy() == 0)
    if "n" not in frame:
        return start
    return np.asarray(start | ((frame["method"] == "bon") & (frame["n"] == 1)).to_numpy())


def check_structure(frame: pd.DataFrame, findings: Findings) -> pd.DataFrame:
    """Check what rows of one run must have in common, and drop exact duplicates (with a notice).

    Parameters
    ----------
    frame : pandas.DataFrame
        As :func:`check_columns` returns it, ``kl`` filled in.
    """
    repeated = frame.duplicated().to_numpy()
    if repeated.any():
        findings.notice("exact copies of earlier rows are dropped", frame.index[repeated])
        frame = frame[~repeated]
    if "run" not in frame:
        return frame
    # Rows without a name were reported; they belong to no run.
    named = frame[frame["run"].notna()]
    for name in named.columns:
        column = column_of(name)
        if column is not None and column.per == "run" and name != "run":
            _check_constant(named, name, findings)
    if {"kl", "gold"} <= set(named.columns):
        _check_one_gold(named, findings)
    if "kl" in named:
        _check_enough(named, findings)
        _check_per_token(named, findings)
    return frame


def _check_constant(frame: pd.DataFrame, name: str, findings: Findings) -> None:
    if name in findings.bad_cells:
        frame = frame.drop(index=findings.bad_cells[name], errors="ignore")
    values = frame[name]
    codes = pd.factorize(values)[0]
    runs = pd.factorize(frame["run"])[0]
    first = np.unique(runs, return_index=True)[1]
    differs = codes != codes[first[runs]]
    if differs.any():
        where = np.flatnonzero(differs)
        run = frame["run"].iloc[where[0]]
        pair = f"{show(values.iloc[first[runs[where[0]]]])}, then {show(values.iloc[where[0]])}"
        count = len(np.unique(runs[where]))
        more = f" (and {count - 1} more runs)" if count > 1 else ""
        text = f"column '{name}' changes within run '{run}'{more}: {pair}; allowed: one value per run"
        findings.problem(text, frame.index[differs])


def _check_one_gold(frame: pd.DataFrame, findings: Findings) -> None:
    """One gold per run and kl; measurements of the initial policy all count as kl = 0."""
    kl = np.where(is_start(frame), 0.0, frame["kl"])
    keys = pd.DataFrame({"run": frame["run"], "kl": kl, "gold": frame["gold"]}).dropna()
    keys = keys[keys.duplicated(["run", "kl"], keep=False)]
    if len(keys) == 0:
        return
    gold = keys.groupby(["run", "kl"])["gold"]
    several = keys[gold.transform("min") != gold.transform("max")]
    if len(several):
        row = several.iloc[0]
        same = several[(several["run"] == row["run"]) & (several["kl"] == row["kl"])]["gold"].unique()
        found = ", ".join(map(str, same[:3].tolist())) + (", ..." if len(same) > 3 else "")
        text = f"column 'gold' holds {found} at the same run '{row['run']}' and kl {row['kl']}"
        findings.problem(f"{text}; allowed: one gold per run and kl", several.index)


def _check_enough(frame: pd.DataFrame, findings: Findings) -> None:
    above = (frame["kl"] > 0).to_numpy() & ~is_start(frame)
    # A kl that is not allowed was reported already: it counts, so that nobody is told twice.
    above |= frame["kl"].isna().to_numpy()
    counts = pd.Series(above).groupby(frame["run"].to_numpy(), sort=False).sum()
    few = counts[counts < _MIN_POINTS]
    if len(few):
        runs = listed([f"'{run}' ({count})" for run, count in few.items()], most=5)
        findings.problem(f"too few points above kl 0 in run {runs}; allowed: at least {_MIN_POINTS} per run")


def _check_per_token(frame: pd.DataFrame, findings: Findings) -> None:
    rl = frame[frame["method"] == "rl"]
    groups = rl.groupby("run", sort=False)
    many = groups.size() >= _PER_TOKEN_POINTS
    if "step" in rl:
        many |= groups["step"].max() - groups["step"].min() >= _PER_TOKEN_STEPS
    suspects = many.index[many & (groups["kl"].max() < _PER_TOKEN_KL)]
    if len(suspects):
        runs = listed([f"'{run}'" for run in suspects])
        findings.notice(
            f"kl stays below {_PER_TOKEN_KL} nats in run {runs} although there are many steps: is it the KL per "
            "token? goldpeak needs it per response: multiply by the mean response length in tokens"
        )


def check_together(parts: Sequence[tuple[str, pd.DataFrame]]) -> list[str]:
    """Problems that only show when all tables, (name, clean columns) each, are looked at together."""
    problems = []
    seen: dict[str, str] = {}
    for name, part in parts:
        for run in part["run"].dropna().unique() if "run" in part else []:
            if run in seen:
                problems.append(f"run '{run}' is in {seen[run]} and in {name}; allowed: a run in one file only")
            seen.setdefault(run, name)
    problems += _in_all_or_none("gold_se", parts) + _in_all_or_none("kl_se", parts)
    problems += _in_all_or_none("n", [(name, part) for name, part in parts if (part["method"] == "bon").any()])
    return problems + _one_size_per_rm([part for _, part in parts if "rm" in part])


def _in_all_or_none(column: str, parts: Sequence[tuple[str, pd.DataFrame]]) -> list[str]:
    having = [name for name, part in parts if column in part]
    lacking = [name for name, part in parts if column not in part]
    if not (having and lacking):
        return []
    return [f"column '{column}' is in {having[0]} but not in {lacking[0]}; allowed: in all files or in none"]


def _one_size_per_rm(parts: Sequence[pd.DataFrame]) -> list[str]:
    """Runs that share a trained reward model must agree on what it is."""
    problems = []
    for name in ("rm_params", "rm_data"):
        having = [part[["rm", name]] for part in parts if name in part]
        distinct = pd.concat(having).dropna().drop_duplicates() if having else pd.DataFrame({"rm": []})
        for rm, rows in distinct[distinct["rm"].duplicated(keep=False)].groupby("rm", sort=False):
            found = ", ".join(f"{value:g}" for value in rows[name][:3])
            problems.append(f"column '{name}' holds {found} for the same rm '{rm}'; allowed: one value per rm")
    return problems


def offset_notices(frame: pd.DataFrame, subtracted: pd.Series) -> list[str]:
    """Say so where gold seems not to start from the initial policy's: then every answer would be wrong.

    Parameters
    ----------
    frame : pandas.DataFrame
        All points that are left, gold recentred where a run had a start.
    subtracted : pandas.Series
        What was subtracted, by run; NaN where a run had no start.
    """
    lacking = subtracted.index[subtracted.isna()]
    if not len(lacking):
        return []
    runs = listed([f"'{run}'" for run in lacking])
    hint = "add a row at kl 0 (or n 1) with the initial policy's gold, or subtract that yourself"
    span = frame.groupby("run")["gold"].agg(np.ptp).median()
    if len(lacking) < len(subtracted):
        if not subtracted.abs().median() > _SMALL_OFFSET * span:
            return []
        return [
            f"{len(lacking)} of {len(subtracted)} runs have no row at kl 0 ({runs}): their gold is taken to be "
            f"relative to the initial policy, the others' was made so. If it is not: {hint}"
        ]
    if not np.median([_offset(run) for _, run in frame.groupby("run", sort=False)]) > 1.0:
        return []
    return [
        f"gold does not seem to start at 0 (run {runs}), and no run has a row at kl 0: goldpeak takes it to be "
        f"relative to the initial policy. If it is not: {hint}"
    ]


def _offset(run: pd.DataFrame) -> float:
    """Gold at d = 0 on a line through the points of lowest KL, as a share of what would be remarkable.

    Of the points in the first fifth of the range of d, and of three at least.
    """
    order = np.argsort(run["kl"].to_numpy(), kind="stable")
    d, gold = np.sqrt(run["kl"].to_numpy()[order]), run["gold"].to_numpy()[order]
    span = float(np.ptp(gold))
    first = max(3, int(np.searchsorted(d, d[0] + _NEAR * (d[-1] - d[0]))))
    if span == 0 or np.ptp(d[:first]) == 0:
        return 0.0
    slope = np.polyfit(d[:first], gold[:first], 1)[0]
    start = abs(gold[:first].mean() - slope * d[:first].mean())
    return float(start / span) / (_OFFSET_NEAR if d[0] < _NEAR * d[-1] else _OFFSET_FAR)


def check_starts(parts: Sequence[pd.DataFrame]) -> list[str]:
    """Say which runs have no point that measures the initial policy."""
    missing: list[str] = []
    for part in parts:
        if {"run", "kl"} <= set(part.columns):
            with_start = part["run"][is_start(part)].unique()
            missing += [f"'{run}'" for run in part["run"].dropna().unique() if run not in with_start]
    if not missing:
        return []
    return [f"no point at kl 0 in run {listed(missing, most=5)}; allowed with baseline='run': one in every run"]

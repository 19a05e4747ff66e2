"""Follow a log that grows: it is read again whenever it has changed, and what is new comes out once."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from goldpeak.errors import RunsError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Follower", "Measured"]

type Signature = tuple[tuple[str, int, int, int], ...]


@dataclass(frozen=True)
class Measured:
    """A checkpoint of a log.

    Attributes
    ----------
    step, kl : float
        KL in nats per response.
    gold, gold_se, proxy : float or None
        Gold as logged.
    """

    step: float
    kl: float
    gold: float | None = None
    gold_se: float | None = None
    proxy: float | None = None


class Follower:
    """Gives the checkpoints of one run's log once each, in order of step, however the log is written.

    A log may be appended to, written anew as a whole, cut short (`truncated`) or moved away and begun again (rotated):
    a checkpoint comes out where its step is beyond all that came out before. While it grows a last line of CSV without
    its end is waited for. While a log is missing, empty or cannot be read there is nothing new, and `trouble` says why.

    Parameters
    ----------
    paths : sequence of path
        Files or folders of the log.
    read : callable
        Reads them as a table with a row for each checkpoint: ``run``, ``step`` (or in their order), ``kl`` and,
        where there is any, ``gold``.
    growing : bool
        Whether more may come. Of a log that is finished the last line counts with or without its end.

    Attributes
    ----------
    trouble : RunsError or None
        Why the log could not be read the last time; None where it could.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> import pandas as pd
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "log.csv")
    ...     follower = Follower([path], lambda: pd.read_csv(path).assign(run="a"))
    ...     missing = list(follower.poll()), follower.trouble is not None
    ...     _ = path.write_text("step,kl,gold\\n1,0.5,0.1\\n2,0.9,0.2")
    ...     first = [one.kl for one in follower.poll()]
    ...     _ = path.write_text("step,kl,gold\\n1,0.5,0.1\\n2,0.95,0.2\\n")
    ...     second = [one.kl for one in follower.poll()]
    >>> missing, first, second
    (([], True), [0.5], [0.95])
    """

    def __init__(self, paths: Sequence[Path], read: Callable[[], pd.DataFrame], *, growing: bool = True) -> None:
        self._paths, self._read, self._growing = tuple(paths), read, growing
        self._seen: Signature | None = None
        self._last = -math.inf
        self.trouble: RunsError | None = None

    def poll(self) -> Iterator[Measured]:
        """What is new since the last time."""
        now = tuple(sorted(_signatures(self._paths)))
        if now == self._seen:
            return
        missing = [str(path) for path in self._paths if not path.exists()]
        try:
            if missing:
                raise RunsError(missing[0], ["no such file or folder"])
            found = self._checkpoints()
        except RunsError as error:
            self.trouble, self._seen = error, now
            return
        self.trouble, self._seen = None, now
        for one in found:
            if one.step > self._last:
                self._last = one.step
                yield one

    def _checkpoints(self) -> list[Measured]:
        unfinished = self._growing and any(map(_ends_within_a_line, self._paths))
        table = self._read()
        runs = table["run"].unique()
        if len(runs) != 1:
            named = ", ".join(map(str, runs[:5]))
            raise RunsError(", ".join(map(str, self._paths)), [f"holds {len(runs)} runs ({named}); name one (--run)"])
        if "step" not in table:
            table = table.assign(step=range(len(table)))
        found = [_measured(row) for row in table.sort_values("step", kind="stable").to_dict("records")]
        return found[:-1] if unfinished else found


def _measured(row: Mapping[Hashable, Any]) -> Measured:
    one = Measured(float(row["step"]), float(row["kl"]))
    more = {name: float(row[name]) for name in ("gold", "gold_se", "proxy") if math.isfinite(row.get(name, math.nan))}
    return replace(one, **more)


def _signatures(paths: Sequence[Path]) -> Iterator[tuple[str, int, int, int]]:
    """Of every file: its name, what tells it from another of that name, its size, and when it was written."""
    for path in paths:
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            try:
                stat = file.stat()
            except OSError:
                continue
            yield str(file), stat.st_ino, stat.st_size, stat.st_mtime_ns


def _ends_within_a_line(path: Path) -> bool:
    """Whether the last line of a CSV may look whole and not be: half a number is a number."""
    if path.suffix.lower() != ".csv":
        return False
    try:
        with path.open("rb") as file:
            file.seek(-1, os.SEEK_END)
            return file.read(1) not in (b"\n", b"\r")
    except OSError:
        return False

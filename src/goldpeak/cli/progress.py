"""A line that says that something is going on: only on a terminal, only after a while, and gone when it is over.

What it says is the last message of the loggers below ``goldpeak``, so the library knows nothing of terminals.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

__all__ = ["AFTER", "Line", "logged"]

AFTER = 2.0
"""Seconds until the line appears."""
DRAWS_ITS_OWN = "goldpeak.engines.nuts"
"""Logger of an engine that shows a progress bar itself."""


class Line:
    """The line: `start` it, and it appears after `AFTER` seconds, unless `stop` was called before."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._says = "working"
        self._shown: Progress | None = None
        self._lock = threading.Lock()
        self._over = False
        self._began = time.monotonic()
        self._timer = threading.Timer(AFTER, self._appear)
        self._timer.daemon = True

    def start(self) -> None:
        """Begin to wait; nothing happens where stderr is no terminal."""
        if self._console.is_terminal:
            self._timer.start()

    def say(self, message: str) -> None:
        """Change what it says."""
        with self._lock:
            self._says = message
            if self._shown is not None:
                self._shown.update(self._shown.task_ids[0], description=message)

    def stop(self) -> None:
        """Take it away for good: results are about to be printed, or the command is over."""
        self._timer.cancel()
        with self._lock:
            self._over = True
            shown, self._shown = self._shown, None
        if shown is not None:
            shown.stop()

    def _appear(self) -> None:
        from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        with self._lock:
            if self._over:
                return
            self._shown = Progress(
                SpinnerColumn(),
                TextColumn("{task.description}", markup=False),
                TimeElapsedColumn(),
                console=self._console,
                get_time=time.monotonic,
                refresh_per_second=4,
                transient=True,
                redirect_stdout=False,
                redirect_stderr=False,
            )
            self._shown.add_task(self._says, total=None)
            self._shown.tasks[0].start_time = self._began
            self._shown.start()


class _Handler(logging.Handler):
    def __init__(self, line: Line, console: Console | None) -> None:
        super().__init__(logging.INFO)
        self._line, self._console = line, console

    def emit(self, record: logging.LogRecord) -> None:
        message = " ".join(record.getMessage().split())
        if record.name.startswith(DRAWS_ITS_OWN):
            self._line.stop()
        self._line.say(message)
        if self._console is not None:
            self._console.print(f"{record.name}: {message}", soft_wrap=True)


@contextmanager
def logged(line: Line, console: Console | None) -> Iterator[None]:
    """Within the block, messages of goldpeak's loggers change the line and, with a `console`, are printed there."""
    logger = logging.getLogger("goldpeak")
    handler, before = _Handler(line, console), logger.level
    logger.addHandler(handler)
    if logger.getEffectiveLevel() > logging.INFO:
        logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        line.stop()
        logger.removeHandler(handler)
        logger.setLevel(before)

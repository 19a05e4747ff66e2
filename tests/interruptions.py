"""Processes that are to be interrupted."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def heeding_ctrl_c() -> Iterator[None]:
    """Processes started within get Ctrl-C, also where that of the tests ignores it, as in the background of a shell.

    Not by ``preexec_fn``: it runs Python between fork and exec, beside the threads that jax has started here.
    """
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)

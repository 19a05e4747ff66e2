"""Threads that work on chunks of draws, while the linear algebra library has none of its own."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from threadpoolctl import threadpool_limits

from goldpeak.memory import keep_freed_memory

__all__ = ["in_threads", "one_thread_each", "single_threaded"]

_alone: ContextVar[bool] = ContextVar("alone", default=False)


def one_thread_each() -> threadpool_limits:
    """A context in which threads work on chunks of draws, and BLAS has none of its own: the matrices are small."""
    keep_freed_memory()
    return threadpool_limits(1, user_api="blas")


def in_threads(function: Callable[..., Any], *arguments: Sequence[Any]) -> list[Any]:
    """Map over chunks; numpy's linear algebra releases the interpreter lock."""
    if len(arguments[0]) == 1 or _alone.get():
        return [function(*values) for values in zip(*arguments, strict=True)]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(function, *arguments))


@contextmanager
def single_threaded() -> Iterator[None]:
    """Within the block `in_threads` uses the caller's thread only: other fits run beside this one."""
    token = _alone.set(True)
    try:
        with one_thread_each():
            yield
    finally:
        _alone.reset(token)

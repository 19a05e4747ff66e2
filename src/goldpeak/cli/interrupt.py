"""Ctrl-C that is never lost.

Two libraries below the samplers lose it: inside an LLVM callback Python prints the KeyboardInterrupt and carries on,
and nutpie answers with the draws it has, as if sampling had ended. So an interrupt is remembered (`check` raises it
again before anything is written), and one that was dropped in a callback is sent again a moment later.
"""

from __future__ import annotations

import _thread
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

__all__ = ["check", "listen", "seen"]

AGAIN_AFTER = 0.1
"""Seconds until a dropped interrupt is sent again."""

_pressed = threading.Event()
_again: list[threading.Timer] = []
"""Interrupts that are about to be sent again."""


def seen() -> bool:
    """Whether Ctrl-C was pressed since `listen` began."""
    return _pressed.is_set()


def check() -> None:
    """Raise KeyboardInterrupt if Ctrl-C was pressed since `listen` began, even if a library has caught it."""
    if seen():
        raise KeyboardInterrupt


@contextmanager
def listen() -> Iterator[None]:
    """Remember Ctrl-C within the block. Off the main thread, or where SIGINT is ignored, nothing changes."""
    _pressed.clear()
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or before is not signal.default_int_handler:
        yield
        return
    hook = sys.unraisablehook
    signal.signal(signal.SIGINT, _remember)
    sys.unraisablehook = _send_again
    try:
        yield
    finally:
        # One that came through by another way must not come again: it would end the process that is about to exit.
        while _again:
            _again.pop().cancel()
        signal.signal(signal.SIGINT, before)
        sys.unraisablehook = hook


def _remember(number: int, frame: FrameType | None) -> None:
    _pressed.set()
    signal.default_int_handler(number, frame)


def _send_again(dropped: Any) -> None:
    if isinstance(dropped.exc_value, KeyboardInterrupt) or dropped.exc_type is KeyboardInterrupt:
        timer = threading.Timer(AGAIN_AFTER, _press_again)
        timer.daemon = True
        _again.append(timer)
        timer.start()
    else:
        sys.__unraisablehook__(dropped)


def _press_again() -> None:
    """A real signal where there are some: it also ends a wait that the main thread has begun."""
    if hasattr(signal, "pthread_kill"):
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
    else:
        _thread.interrupt_main()

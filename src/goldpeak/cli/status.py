"""Exit statuses of the command line."""

from __future__ import annotations

__all__ = ["ALARM", "BAD_INPUT", "BROKEN_PIPE", "FAULT", "FINE", "GATE_FAILED", "INTERRUPTED", "STOP"]

FINE = 0
FAULT = 1
BAD_INPUT = 2
GATE_FAILED = 3
STOP = 10
ALARM = 11
INTERRUPTED = 130
BROKEN_PIPE = 141

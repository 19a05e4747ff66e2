"""Training logs to run curves: which keys to read, how they become `kl` and `gold`, and a record of what was done."""

from __future__ import annotations

from goldpeak.logs.read import Converted, convert, read_log
from goldpeak.logs.record import Note, Reading

__all__ = ["Converted", "Note", "Reading", "convert", "read_log"]

"""How much memory a piece of code takes, in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

STATUS = Path("/proc/self/status")
needed = pytest.mark.skipif(not STATUS.exists(), reason="reads the peak of memory from /proc")


def peak() -> float:
    """Most memory that this process has held, MB.

    Not from getrusage: there a process starts from the peak of the one that started it, and after a large test
    nothing it does can be seen.
    """
    return int(STATUS.read_text().partition("VmHWM:")[2].split()[0]) / 1e3


def printed_by(code: str, *arguments: object) -> str:
    """What code prints that may import this module and its neighbours."""
    path = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": path}
    ).stdout

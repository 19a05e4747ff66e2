"""Seconds until something is there, beside what it is made of: python tests/benchmarks/start.py."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

REPEATS = 7
COMMANDS = {
    "python": ["-c", ""],
    "import goldpeak": ["-c", "import goldpeak"],
    "import numpy": ["-c", "import numpy"],
    "import pandas": ["-c", "import pandas"],
    "import typer, rich": ["-c", "import typer, rich.console"],
    "goldpeak --version": ["-m", "goldpeak", "--version"],
    "goldpeak --help": ["-m", "goldpeak", "--help"],
    "goldpeak models": ["-m", "goldpeak", "models"],
    "goldpeak.fit": ["-c", "import goldpeak; goldpeak.fit"],
}


def seconds(words: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, *words], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


print(f"{'':20} median, least of {REPEATS} processes (s)")
for name, words in COMMANDS.items():
    seconds(words)
    times = [seconds(words) for _ in range(REPEATS)]
    print(f"{name:20} {statistics.median(times):6.2f} {min(times):6.2f}")

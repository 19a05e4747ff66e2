"""Shared fixtures; puts the tests' own helpers on the path."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

# Looking for doctests imports a file: these would measure at every start.
collect_ignore = ["benchmarks"]

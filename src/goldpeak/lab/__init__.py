"""A small real over-optimisation experiment: networks trained on comparisons, and policies optimised against them.

Outputs are vectors, the initial policy is N(0, I), and the gold reward has a closed-form mean, so the true gold curve
of every run is known next to the sampled one. It runs in minutes on two cores (extra ``lab``: jax and optax).

Examples
--------
>>> from goldpeak.lab import LabConfig
>>> LabConfig().dim
16
"""

from __future__ import annotations

from goldpeak.lab.config import LabConfig
from goldpeak.lab.run import run

__all__ = ["LabConfig", "run"]

"""Bundled data: run curves measured in the lab experiment, and published coefficients.

Examples
--------
>>> from goldpeak import datasets
>>> runs = datasets.lab("rl")
>>> runs.sizes["run"]
40
"""

from __future__ import annotations

from goldpeak.datasets.measured import lab, lab_frame, lab_prompts, lab_rms, measured_peaks
from goldpeak.datasets.published import bon_rm_data, gao2022, gao2022_gold

__all__ = ["bon_rm_data", "gao2022", "gao2022_gold", "lab", "lab_frame", "lab_prompts", "lab_rms", "measured_peaks"]

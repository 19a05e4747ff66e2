"""Gold curves read off the paper's figures: not part of the repository, so tests that need them run where they are."""

from __future__ import annotations

import os
from pathlib import Path

import pandas as pd
import pytest

VARIABLE = "GOLDPEAK_GAO2022_TRACES"
PATH = Path(os.environ.get(VARIABLE) or Path(__file__).resolve().parents[2] / "shared" / "data" / "gao2022_traces.csv")
SIZES = {"12M": 12e6, "1.2B": 1.2e9, "3B": 3e9}

needed = pytest.mark.skipif(not PATH.is_file(), reason=f"no digitised curves; {VARIABLE} may name their file")


def bon_gold(gold_se: float = 0.01) -> pd.DataFrame:
    """The three best-of-n curves as the notebook takes them: above KL 0.5, every second point, an assumed error."""
    table = pd.read_csv(PATH)
    table = table[(table["method"] == "bon") & (table["series"] == "gold") & (table["kl_nats"] > 0.5)]
    columns = {"run": table["rm_size"], "rm_params": table["rm_size"].map(SIZES)}
    curves = pd.DataFrame(columns | {"kl": table["kl_nats"], "gold": table["score"]})
    curves = curves.assign(method="bon", gold_se=gold_se)
    return curves[curves.groupby("run").cumcount() % 2 == 0].reset_index(drop=True)

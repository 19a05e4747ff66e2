"""Published coefficients: what they are, and the curves they give."""

from __future__ import annotations

import numpy as np
import pytest

from goldpeak import datasets


def test_gao2022_is_labelled_as_digitised() -> None:
    table = datasets.gao2022()
    assert table.columns.tolist() == ["rm_params", "alpha_bon", "beta_bon", "beta_rl"]
    assert table["rm_params"].is_monotonic_increasing
    assert (table["rm_params"].iloc[0], table["rm_params"].iloc[-1]) == (3e6, 3e9)
    assert "digitised" in table.attrs["source"]
    assert "2210.10760" in table.attrs["source"]
    assert "0.002" in table.attrs["error"]


@pytest.mark.parametrize("rm_params", [12e6, 1.2e9])
def test_gold_curves_peak_where_the_closed_forms_say(rm_params: float) -> None:
    row = datasets.gao2022().set_index("rm_params").loc[rm_params]
    d = np.linspace(0, 15, 300_001)
    bon = datasets.gao2022_gold(d**2, rm_params)
    assert d[bon.argmax()] == pytest.approx(row["alpha_bon"] / (2 * row["beta_bon"]), abs=1e-4)
    rl = datasets.gao2022_gold(d**2, int(rm_params), method="rl", alpha_rl=0.35)
    assert d[rl.argmax()] == pytest.approx(np.exp(0.35 / row["beta_rl"] - 1), abs=1e-4)
    assert bon[0] == rl[0] == 0


def test_gao2022_gold_refuses() -> None:
    with pytest.raises(ValueError, match=r"tabulated sizes: 3e\+06, 1\.2e\+07"):
        datasets.gao2022_gold(1.0, 13e6)
    with pytest.raises(ValueError, match=">= 0"):
        datasets.gao2022_gold([-1.0], 12e6)
    with pytest.raises(ValueError, match="method"):
        datasets.gao2022_gold(1.0, 12e6, method="ppo")  # type: ignore[arg-type]


def test_bon_rm_data() -> None:
    table = datasets.bon_rm_data()
    assert "rush-srik/Overoptimization-Repro" in table.attrs["source"]
    for name in ("alpha", "beta"):
        assert (table[f"{name}_lo"] < table[name]).all()
        assert (table[name] < table[f"{name}_hi"]).all()
    assert table["alpha"].is_monotonic_increasing  # more data, better reward model

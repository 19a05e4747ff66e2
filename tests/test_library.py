"""Finding and listing cards."""

from __future__ import annotations

from pathlib import Path

import pytest

from goldpeak.errors import CardError
from goldpeak.library import card_names, load_card, models, models_dir


def test_the_shipped_cards_are_the_files() -> None:
    assert card_names() == sorted(path.stem for path in models_dir().iterdir() if path.suffix == ".toml")
    assert {"bon", "bon_paper", "rl", "rl_paper"} <= set(card_names())


def test_the_table_says_what_the_cards_say() -> None:
    table = models()
    assert table.index.tolist() == card_names()
    card = load_card("rl_paper")
    row = table.loc["rl_paper"]
    assert row.to_dict() == {
        "form": "rl",
        "coordinates": "coefficients",
        "trends": "constant, log_linear",
        "discrepancy": "none",
        "noise": "iid",
        "title": card.title,
    }


def test_a_path_is_read_and_a_card_is_passed_on(tmp_path: Path) -> None:
    card = load_card("bon")
    path = tmp_path / "my card.toml"
    path.write_text(card.to_toml(), encoding="utf-8")
    assert load_card(path) == load_card(str(path)) == load_card(card) == card


def test_a_misspelt_name_gets_the_nearest_and_the_list() -> None:
    with pytest.raises(CardError) as caught:
        load_card("rl_papr")
    assert "did you mean 'rl_paper'?" in str(caught.value)
    assert "bon_paper" in str(caught.value)
    with pytest.raises(CardError, match="cannot be read"):
        load_card("nowhere/rl.toml")

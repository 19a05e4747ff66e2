"""README.md against the code: its card table, and its evidence tables."""

from __future__ import annotations

import re

import evidence
import pytest

from goldpeak.library import card_names, load_card

SLACK = (0.051, 0.02, 0.003, 0.051, 0.01)
"""Of coverage, width, regret, fitted coverage and width: one run of twenty more or less, and Monte Carlo error."""
CARDS = re.compile(r"(<!-- cards -->\n)(.*?)(\n<!-- end -->)", re.DOTALL)


def card_table() -> str:
    lines = ["| card | gold(d) | discrepancy | noise | title |", "|---|---|---|---|---|"]
    for name in card_names():
        card = load_card(name)
        formula = card.formula
        lines.append(f"| `{name}` | {formula} | {card.discrepancy.kind} | {card.noise.kind} | {card.title} |")
    return "\n".join(lines)


def test_card_table_is_that_of_the_cards() -> None:
    assert CARDS.search(evidence.README.read_text())[2] == card_table()


@pytest.mark.slow
@pytest.mark.parametrize("method", ["rl", "bon"])
def test_evidence_table_is_what_the_data_give(method: str) -> None:
    written = evidence.marked(method).search(evidence.README.read_text())[2].splitlines()
    found = evidence.as_markdown(evidence.table(method)).splitlines()
    assert len(written) == len(found)
    for there, here in zip(written, found, strict=True):
        there_cells, here_cells = ([c.strip() for c in line.strip("|").split("|")] for line in (there, here))
        assert there_cells[0] == here_cells[0]
        for a, b, slack in zip(there_cells[1:], here_cells[1:], SLACK, strict=True):
            same = a == b or abs(float(a) - float(b)) <= slack + 0.05 * abs(float(a))
            assert same, f"{there_cells[0]}: README says {a}, found {b}"

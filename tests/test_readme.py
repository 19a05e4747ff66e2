"""README.md and notebooks/how_we_know.md against the code: cards and evidence."""

from __future__ import annotations

import re
from pathlib import Path

import evidence
import pages
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
    assert CARDS.search(pages.README.read_text())[2] == card_table()


def test_the_short_table_is_that_of_the_page() -> None:
    assert pages.table_of("evidence short", pages.README) == evidence.short()


def test_how_we_know_names_scripts_and_tests_that_exist() -> None:
    text = pages.HOW_WE_KNOW.read_text()
    named = set(re.findall(r"tests/[\w/]+\.py", text))
    assert len(named) >= 10
    assert not [name for name in named if not (pages.TOP / name).exists()]
    targets = set(re.findall(r"^## (.+)$", text, re.MULTILINE))
    anchors = {title.lower().replace(" ", "-") for title in targets}
    linked = re.findall(r"\(#([\w-]+)\)", text) + re.findall(r"how_we_know\.md#([\w-]+)", pages.README.read_text())
    assert len(linked) >= 8
    assert set(linked) <= anchors


def assert_same(there: str, here: str) -> None:
    """Two rows of an evidence table, up to Monte Carlo error."""
    written, found = ([cell.strip() for cell in line.strip("|").split("|")] for line in (there, here))
    assert written[0] == found[0]
    for a, b, slack in zip(written[1:], found[1:], SLACK, strict=True):
        same = a == b or abs(float(a) - float(b)) <= slack + 0.05 * abs(float(a))
        assert same, f"{written[0]}: the page says {a}, found {b}"


def written(kind: str) -> list[str]:
    return pages.table_of(f"evidence {kind}").splitlines()


@pytest.mark.slow
@pytest.mark.parametrize("method", ["rl", "bon"])
def test_the_default_does_on_the_bundled_world_what_the_page_says(
    method: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GOLDPEAK_CACHE", str(tmp_path))
    monkeypatch.setitem(evidence.CARDS, method, (evidence.DEFAULT[method],))
    found = evidence.default_by_world(evidence.table(method, (evidence.BUNDLED,))).splitlines()[-1]
    (there,) = (line for line in written(f"{method} by world") if line.startswith(f"| world {evidence.BUNDLED} "))
    assert_same(there, found)


@pytest.mark.slow
@pytest.mark.skipif(set(evidence.available()) < set(evidence.WORLDS), reason="the worlds are in the repository only")
def test_competitors_do_what_the_page_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evidence, "by_cards", lambda *_: {})
    monkeypatch.setitem(evidence.CARDS, "rl", ())
    found = evidence.as_markdown(evidence.means(evidence.table("rl", evidence.WORLDS))).splitlines()
    for there, here in zip(written("rl")[: len(found)], found, strict=True):
        if not here.startswith(("| model", "|---")):
            assert_same(there, here)

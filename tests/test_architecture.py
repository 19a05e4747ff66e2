"""README's table of modules against the tree: complete, and no module imports from a row above its own."""

from __future__ import annotations

import re
from pathlib import Path

import grimp
import pytest

import goldpeak

SOURCE = Path(goldpeak.__file__).parent
README = Path(__file__).resolve().parents[1] / "README.md"
MOST_LINES = 400


def rows() -> list[list[str]]:
    """Module names, row by row."""
    table = README.read_text().split("| module | its one job |\n|---|---|\n")[1].split("\n\n")[0]
    return [re.findall(r"`(\w+)`", line.split("|")[1]) for line in table.splitlines()]


def modules() -> set[str]:
    """What lies at the top level of the package; private helpers and the package's own files aside."""
    found = {path.stem for path in SOURCE.iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()}
    return {name for name in found if not name.startswith("_")}


def test_every_module_stands_in_the_table_once():
    named = [name for row in rows() for name in row]
    assert sorted(named) == sorted(modules())


def test_no_module_imports_from_a_row_above_its_own():
    graph = grimp.build_graph("goldpeak", cache_dir=None, exclude_type_checking_imports=True)
    row_of = {name: i for i, row in enumerate(rows()) for name in row}

    def top(module: str) -> str:
        return module.split(".")[1] if "." in module else ""

    above = [
        f"{module} imports {other}"
        for module in sorted(graph.modules)
        for other in sorted(graph.find_modules_directly_imported_by(module))
        if row_of.get(top(module), -1) > row_of.get(top(other), 99)
    ]
    assert above == []


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("*.py")), ids=lambda path: str(path.relative_to(SOURCE)))
def test_modules_are_short(path):
    assert len(path.read_text().splitlines()) <= MOST_LINES

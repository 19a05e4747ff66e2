"""The notebooks run from top to bottom, and are committed without outputs."""

from __future__ import annotations

import ast
import base64
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = Path(__file__).resolve().parents[1] / "notebooks"
FEW = 'card = "rl"\ndraws = 250\nchains = 4\nseed = 1\nprob = 0.9\n'
"""Stands in for the cell tagged ``parameters``: a posterior good enough for a picture, in seconds."""


def read(path):
    return nbformat.read(path, as_version=4)


def parameters_of(notebook):
    (cell,) = (c for c in notebook.cells if "parameters" in c.metadata.get("tags", []))
    return cell


def names_set(source):
    return {target.id for node in ast.parse(source).body for target in node.targets}


@pytest.mark.parametrize("path", sorted(NOTEBOOKS.glob("*.ipynb")), ids=lambda path: path.stem)
def test_notebook_is_valid_and_has_no_outputs(path):
    notebook = read(path)
    nbformat.validate(notebook)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert cells
    assert all(cell.outputs == [] and cell.execution_count is None for cell in cells)
    assert len({cell.id for cell in notebook.cells}) == len(notebook.cells)


def test_quickstart_runs_and_shows_its_pictures(tmp_path):
    notebook = read(NOTEBOOKS / "quickstart.ipynb")
    parameters = parameters_of(notebook)
    assert names_set(parameters.source) == names_set(FEW)
    parameters.source = FEW
    NotebookClient(
        notebook, timeout=240, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    ).execute()

    by_id = {cell.id: cell for cell in notebook.cells}
    for picture in ("curves", "peak-vs-size"):
        (shown,) = (o for o in by_id[picture].outputs if o.output_type == "execute_result")
        assert base64.b64decode(shown["data"]["image/png"]).startswith(b"\x89PNG")
    assert "20 runs, 5 sizes" in text_of(by_id["split"])
    assert "of 20 measured peaks" in text_of(by_id["compare"])
    assert text_of(by_id["fit"]).startswith("gates ")
    assert list(tmp_path.iterdir()) == []


def text_of(cell):
    return "".join(o["text"] for o in cell.outputs if o.output_type == "stream" and o.name == "stdout")

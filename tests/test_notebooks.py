"""The notebooks run from top to bottom, and are committed without outputs; only the gallery keeps its pictures."""

from __future__ import annotations

import ast
import base64
import re
from pathlib import Path

import gallery
import nbformat
import pytest
import traces
from nbclient import NotebookClient

from goldpeak import plots

NOTEBOOKS = Path(__file__).resolve().parents[1] / "notebooks"
FEW = 'card = "rl"\ndraws = 250\nchains = 4\nseed = 1\nprob = 0.9\n'
"""Stands in for the cell tagged ``parameters``: a posterior good enough for a picture, in seconds."""
ONE_SHAPE = "draws = 250\nchains = 4\nseed = 1\nprob = 0.9\ngold_se = 0.01\nkl_max = 200.0\nrepeats = 0\n"
"""The same for the notebook ``one_shape``; with no repeats its table of gates, eight fits more, has no columns."""
LOGS = 'card = "rl_paper"\ndraws = 250\nseed = 1\nrule, level = "regret", 0.25\n'
EXTRAPOLATING = 'cards = ["rl_paper", "similar"]\ndraws = 250\nseed = 1\nprob = 0.9\n'
BEST_OF_N = 'card = "bon"\ndraws = 250\nseed = 1\nprob = 0.9\n'
YOUR_CARD = "draws = 250\nseed = 1\n"
GALLERY = "draws = 250\nseed = 1\nreplications = 10\n"
NO_PICTURES = {"BudgetView", "CurveView", "PeakView", "budget_view", "curve_view", "peak_view"}


def read(path):
    return nbformat.read(path, as_version=4)


def parameters_of(notebook):
    (cell,) = (c for c in notebook.cells if "parameters" in c.metadata.get("tags", []))
    return cell


def names_set(source):
    targets = [target for node in ast.parse(source).body for target in node.targets]
    return {name.id for target in targets for name in getattr(target, "elts", [target])}


@pytest.mark.parametrize("path", sorted(NOTEBOOKS.glob("*.ipynb")), ids=lambda path: path.stem)
def test_notebook_is_valid_and_has_no_outputs(path):
    notebook = read(path)
    nbformat.validate(notebook)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert cells
    if path != gallery.PAGE:
        assert all(cell.outputs == [] and cell.execution_count is None for cell in cells)
    assert len({cell.id for cell in notebook.cells}) == len(notebook.cells)


@pytest.mark.parametrize("path", sorted(NOTEBOOKS.glob("*.ipynb")), ids=lambda path: path.stem)
def test_notebook_names_no_path_of_a_machine(path):
    for cell in read(path).cells:
        assert not re.search(r"""["'](/|~|\.\.)|[A-Z]:\\|/home/|/tmp/""", cell.source), cell.id


def executed(stem, parameters, folder):
    """A notebook after a run with other parameters, and its cells by their ids."""
    notebook = read(NOTEBOOKS / f"{stem}.ipynb")
    cell = parameters_of(notebook)
    assert names_set(cell.source) == names_set(parameters)
    cell.source = parameters
    NotebookClient(
        notebook, timeout=400, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
    ).execute()
    assert list(folder.iterdir()) == []
    return {cell.id: cell for cell in notebook.cells}


def assert_shows_picture(cell):
    (shown,) = (o for o in cell.outputs if o.output_type == "execute_result")
    assert base64.b64decode(shown["data"]["image/png"]).startswith(b"\x89PNG")


def test_quickstart_runs_and_shows_its_pictures(tmp_path):
    by_id = executed("quickstart", FEW, tmp_path)
    for picture in ("curves", "peak-vs-size"):
        assert_shows_picture(by_id[picture])
    assert "20 runs, 5 sizes" in text_of(by_id["split"])
    assert "of 20 measured peaks" in text_of(by_id["compare"])
    assert text_of(by_id["fit"]).startswith("gates ")


def intervals(text):
    """Of the lines ``name: run at KL median [lo, hi]; ...``, by name and run."""
    found = {}
    for line in text.splitlines():
        for run, *numbers in re.findall(r"(\S+) at KL (\S+) \[(\S+), (\S+)\]", line):
            found[line.split(":")[0], run] = tuple(map(float, numbers))
    return found


def width(interval):
    return interval[2] / interval[1]


def drift_of(text):
    """Median and probability of a rise, of the line on gamma's drift."""
    found = re.search(r"drift of gamma per unit of log N: (\S+) .* P\(> 0\) = (\S+)", text)
    return float(found[1]), float(found[2])


@pytest.mark.slow
def test_one_shape_runs_on_computed_curves(tmp_path, monkeypatch):
    monkeypatch.delenv(traces.VARIABLE, raising=False)
    by_id = executed("one_shape", ONE_SHAPE, tmp_path)
    for picture in ("least-squares-picture", "posterior-picture", "peak-vs-size", "collapse"):
        assert_shows_picture(by_id[picture])
    assert "computed from the paper's coefficients" in text_of(by_id["read"])
    assert text_of(by_id["least-squares-range"]).count("γ = 1 fits best") == 3
    assert text_of(by_id["fit"]).count("gates ") == 3
    assert abs(drift_of(text_of(by_id["collapse"]))[0]) < 0.05
    found = intervals(text_of(by_id["conclusion"]))
    assert {run for _, run in found} == {"1.2B", "3B"}
    assert width(found["1.2B alone", "1.2B"]) > width(found["fleet of 9", "1.2B"])


@pytest.mark.slow
@traces.needed
def test_one_shape_says_of_the_digitised_curves_what_its_text_says(tmp_path, monkeypatch):
    monkeypatch.setenv(traces.VARIABLE, str(traces.PATH))
    by_id = executed("one_shape", ONE_SHAPE.replace("repeats = 0", "repeats = 1"), tmp_path)
    assert "digitised traces" in text_of(by_id["read"])
    ranges = dict(re.findall(r"(\S+): peak from KL (\S+ to \S+);", text_of(by_id["least-squares-range"])))
    ratio = {run: float(text.split(" to ")[1]) / float(text.split(" to ")[0]) for run, text in ranges.items()}
    assert ratio["12M"] < 1.2 < 5 < min(ratio["1.2B"], ratio["3B"])
    assert re.findall(r"γ = (\S+) fits best", text_of(by_id["least-squares-range"])) == ["1", "0.5", "0.5"]
    assert "FAILED" not in text_of(by_id["fit"])
    assert drift_of(text_of(by_id["collapse"]))[1] < 0.2
    found = intervals(text_of(by_id["conclusion"]))
    alone, fleet, drifting = (found[name, "1.2B"] for name in ("1.2B alone", "fleet of 3", "fleet, γ drifts"))
    assert min(alone[1], fleet[1], drifting[1]) > 10.0
    assert width(alone) > width(drifting) > width(fleet)
    assert width(found["1.2B alone, vague prior", "1.2B"]) > width(alone)


def test_the_gallery_stores_every_picture_as_its_code_makes_it():
    notebook = gallery.read()
    assert gallery.stored(notebook) == gallery.digest(notebook), "code has changed: python tests/gallery.py"
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    drawn = {name for cell in code for name in re.findall(r"plots\.(\w+)\(", cell.source)}
    assert drawn == set(plots.__all__) - NO_PICTURES
    for cell in code:
        outputs = [set(output.data) for output in cell.outputs]
        assert outputs == ([{"image/png"}] if "plots." in cell.source else []), cell.id
    assert gallery.PAGE.stat().st_size < 1.5e6


@pytest.mark.slow
def test_the_gallery_is_drawn(tmp_path):
    by_id = executed("gallery", GALLERY, tmp_path)
    for cell in gallery.read().cells:
        if cell.cell_type == "code" and cell.outputs:
            (shown,) = by_id[cell.id].outputs
            assert base64.b64decode(shown["data"]["image/png"]).startswith(b"\x89PNG"), cell.id


def text_of(cell):
    return "".join(o["text"] for o in cell.outputs if o.output_type == "stream" and o.name == "stdout")


def shown_as(cell, kind):
    """What a cell shows, of that kind."""
    return "".join(o["data"][kind] for o in cell.outputs if o.output_type == "execute_result")


@pytest.mark.slow
def test_your_logs_are_read_and_lead_to_a_stop(tmp_path):
    by_id = executed("your_logs", LOGS, tmp_path)
    assert text_of(by_id["write"]).startswith("18 logs of 9 reward-model sizes; put aside: rl-w256x256-s0")
    assert "18 runs, 638 points" in text_of(by_id["read"])
    assert "stop at KL (nats)" in shown_as(by_id["budget"], "text/html")
    for picture in ("density", "timeline"):
        assert_shows_picture(by_id[picture])
    assert ">stop<" in shown_as(by_id["online"], "text/html")
    assert float(re.search(r"lost (\S+)%", text_of(by_id["honest"]))[1]) < 10


@pytest.mark.slow
def test_extrapolating_shows_what_coverage_shows(tmp_path):
    by_id = executed("extrapolating", EXTRAPOLATING, tmp_path)
    for picture in ("picture", "trends"):
        assert_shows_picture(by_id[picture])
    rows = {line.split()[0]: line.split()[1:] for line in shown_as(by_id["score"], "text/plain").splitlines()[1:]}
    assert float(rows["rl_paper"][0]) < 0.5 < 0.75 < float(rows["similar"][0])
    assert float(rows["similar"][2]) >= 0.8
    assert "rl_paper: Take a card with a smooth discrepancy" in text_of(by_id["criticise"])


@pytest.mark.slow
def test_best_of_n_shows_what_the_covariance_does(tmp_path):
    by_id = executed("best_of_n", BEST_OF_N, tmp_path)
    assert_shows_picture(by_id["curves"])
    lines = shown_as(by_id["fit"], "text/plain").splitlines()[1:]
    (wide, narrow) = ([float(word) for word in line.split()[-2:]] for line in lines)
    assert wide[0] >= narrow[0]
    assert wide[1] > narrow[1]


@pytest.mark.slow
def test_your_card_is_refused_changed_and_fitted(tmp_path):
    by_id = executed("your_card", YOUR_CARD, tmp_path)
    assert "did you mean 'log_linear'?" in text_of(by_id["change"])
    assert text_of(by_id["mine"]).startswith("mine d (alpha - beta log d)")
    assert text_of(by_id["fit"]).count("engine exact") == 2
    assert_shows_picture(by_id["trends"])
    assert "KL at peak (nats)" in shown_as(by_id["sizes"], "text/html")

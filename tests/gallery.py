"""Every picture of `goldpeak.plots`, executed and stored: python tests/gallery.py makes notebooks/gallery.ipynb."""

from __future__ import annotations

import base64
import hashlib
import io
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from PIL import Image

PAGE = Path(__file__).resolve().parents[1] / "notebooks" / "gallery.ipynb"
STAMP = "sources"


def read() -> nbformat.NotebookNode:
    return nbformat.read(PAGE, as_version=4)


def digest(notebook: nbformat.NotebookNode) -> str:
    """Of the code that made the pictures."""
    code = "\n\n".join(cell.source for cell in notebook.cells if cell.cell_type == "code")
    return hashlib.sha256(code.encode()).hexdigest()[:16]


def stored(notebook: nbformat.NotebookNode) -> str:
    """The digest of the code as it was when the pictures were made."""
    return str(notebook.metadata.get("goldpeak", {}).get(STAMP, ""))


def smaller(png: str) -> str:
    """The same picture with 256 colours, in base64: less than half as large, and no difference to the eye."""
    buffer = io.BytesIO()
    picture = Image.open(io.BytesIO(base64.b64decode(png))).convert("RGB")
    picture.quantize(256, dither=Image.Dither.NONE).save(buffer, "PNG", optimize=True)
    return base64.b64encode(buffer.getvalue()).decode()


def main() -> None:
    notebook = read()
    NotebookClient(notebook, timeout=400, kernel_name="python3", record_timing=False).execute()
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if "image/png" in output.get("data", {}):
                output.data = {"image/png": smaller(output.data["image/png"])}
    notebook.metadata["goldpeak"] = {STAMP: digest(notebook)}
    notebook.metadata["language_info"] = {"name": "python"}
    nbformat.write(notebook, PAGE)


if __name__ == "__main__":
    main()

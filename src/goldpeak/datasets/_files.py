"""Where the bundled files lie."""

from __future__ import annotations

from importlib.resources import files
from io import BytesIO

__all__ = ["open_bundled"]


def open_bundled(name: str) -> BytesIO:
    """Contents of a bundled file, e.g. ``"lab/rl.parquet"``."""
    return BytesIO(files("goldpeak.datasets").joinpath(*name.split("/")).read_bytes())

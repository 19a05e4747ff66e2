"""notebooks/reference.md against the docstrings and the commands."""

from __future__ import annotations

import re

import reference
from typer.main import get_command

import goldpeak
from goldpeak.cli.app import app


def test_the_page_is_not_stale() -> None:
    same = reference.PAGE.read_text() == reference.page()
    assert same, "docstrings or commands have changed: python tests/reference.py --write"


def test_everything_public_and_every_command_is_there() -> None:
    titles = set(re.findall(r"^##+ (?:Module )?(.+)$", reference.page(), re.MULTILINE))
    assert {f"goldpeak.{name}" for name in goldpeak.__all__} <= titles
    assert {f"goldpeak.plots.{name}" for name in goldpeak.plots.__all__} <= titles
    assert {f"goldpeak {name}" for name in get_command(app).commands} <= titles


def test_sections_of_a_docstring_become_lists_and_code() -> None:
    def half(x: float, *, of: int = 2) -> float:
        """Divide ``x``.

        Parameters
        ----------
        x : float
            A number,
            any.
        of : int, optional

        Returns
        -------
        float

        Examples
        --------
        >>> half(1.0)
        0.5
        """
        return x / of

    made = reference._thing("here.half", half)
    assert made.startswith("### here.half\n\n```python\nhalf(x: float, *, of: int = 2) -> float\n```\n\nDivide `x`.")
    assert "- `x` (float):\n  A number,\n  any.\n- `of` (int, optional)\n" in made
    assert made.endswith("**Returns**\n\n- `float`\n\n**Examples**\n\n```python\n>>> half(1.0)\n0.5\n```")

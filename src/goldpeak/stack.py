"""What goldpeak stands on: names and versions, read without importing any of it."""

from __future__ import annotations

import importlib.metadata
import platform

__all__ = ["EXTRAS", "STACK", "versions"]

STACK = ("goldpeak", "pymc", "nutpie", "arviz", "numpy", "scipy", "xarray")
"""Distributions whose versions are stamped into a posterior."""
EXTRAS = {"lab": ("jax", "optax"), "tensorboard": ("tensorboard",)}
"""Distributions of each optional extra, as in pyproject.toml."""


def versions(names: tuple[str, ...] = STACK) -> dict[str, str]:
    """Version of each distribution that is installed, and Python's last.

    Examples
    --------
    >>> list(versions(("goldpeak", "no-such-distribution")))
    ['goldpeak', 'python']
    """
    found = {}
    for name in names:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found | {"python": platform.python_version()}

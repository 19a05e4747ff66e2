"""What was drawn, by the ids that pictures give their artists."""

from __future__ import annotations

from typing import Any

from matplotlib.axes import Axes


def drawn(ax: Axes, gid: str) -> list[Any]:
    """Artists with that id in the order of their drawing; with an id that ends in ':', those whose ids begin so."""
    ids = ((artist, artist.get_gid() or "") for artist in ax.get_children())
    return [artist for artist, own in ids if own == gid or (gid.endswith(":") and own.startswith(gid))]

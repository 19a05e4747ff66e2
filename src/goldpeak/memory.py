"""What the memory allocator does with large arrays."""

from __future__ import annotations

import numpy as np

__all__ = ["keep_freed_memory"]


def keep_freed_memory() -> None:
    """Have the C library keep the memory of freed arrays instead of returning it.

    glibc takes the largest block it has seen freed, up to 32 MiB, for the size from which memory goes back to the
    system at once. Without this, chunks spend as long in page faults as in arithmetic. Elsewhere nothing happens.
    """
    np.empty(31 << 20, dtype=np.uint8)

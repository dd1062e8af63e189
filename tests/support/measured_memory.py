"""How much memory something takes."""

from __future__ import annotations

import tracemalloc
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

MIB = 1 << 20
SMALL = 64 << 10
"""Bytes that do not matter beside buffers of a MiB."""


@contextmanager
def no_more_memory_than(nbytes: int) -> Iterator[None]:
    """Check that no more is allocated inside, at any time, than so many bytes."""
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        yield
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak - before <= nbytes

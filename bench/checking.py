"""Digesting a tree, against hashing its files alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.comparing import alternate, figure, timed
from bench.ground import drop_caches, program, shell, words
from bench.transfers import mixed_snapshot

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.comparing import Extent, Figure
    from bench.ground import Ground


def checksumdir(ground: Ground, extent: Extent) -> Iterator[Figure]:
    """The tree of the benchmark `full`; the other hashes no names, owners, times or links."""
    with ground.file_system() as source:
        snapshot = mixed_snapshot(source, extent)

        def seconds(script: str) -> float:
            drop_caches()
            return timed(lambda: shell(script))

        ours = words(program("checksumdir"), "--quiet", snapshot)
        plain = words("find", snapshot, "-type", "f", "-exec", "sha256sum", "{}", "+")
        pairs = alternate(extent.pairs, lambda: seconds(ours), lambda: seconds(plain))
        yield figure("checksumdir: / find -exec sha256sum", pairs)

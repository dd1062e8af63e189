"""The worlds that each test of the contract runs in."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from contract.worlds import BtrfsWorld, MemoryWorld, Offer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from contract.worlds import End, World


@pytest.fixture(params=["memory", pytest.param("btrfs", marks=pytest.mark.kernel)])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    """Return a kind of stores to test."""
    if request.param == "memory":
        with MemoryWorld() as memory:
            yield memory
    else:
        scratch: Path = request.getfixturevalue("scratch")
        with BtrfsWorld(scratch) as btrfs:
            yield btrfs


@pytest.fixture
def source(world: World) -> Offer:
    """Return an end with three related snapshots: "1", "2" and "3"."""
    return Offer(world.source(3))


@pytest.fixture
def destination(world: World) -> End:
    """Return an empty end."""
    return world.destination()

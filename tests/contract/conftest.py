"""The worlds that each test of the contract runs in."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from contract.worlds import BtrfsWorld, MemoryWorld, Offer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from contract.worlds import End, World


_SUBVOLUME_WORLDS = ("memory", pytest.param("btrfs", marks=pytest.mark.kernel))
_STREAM_WORLDS = ()
"""Worlds whose destinations store streams."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test in all worlds, or in those of the kind that it is about."""
    if "world" not in metafunc.fixturenames:
        return
    kinds = (*_SUBVOLUME_WORLDS, *_STREAM_WORLDS)
    if "subvolume_world" in metafunc.fixturenames:
        kinds = _SUBVOLUME_WORLDS
    metafunc.parametrize("world", kinds, indirect=True)


@pytest.fixture
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
def subvolume_world(world: World) -> World:
    """Return a kind of stores that hold subvolumes; a test that asks for this sees no others."""
    assert not world.holds_streams
    return world


@pytest.fixture
def source(world: World) -> Offer:
    """Return an end with three related snapshots: "1", "2" and "3"."""
    return Offer(world.source(3))


@pytest.fixture
def destination(world: World) -> End:
    """Return an empty end."""
    return world.destination()

"""The worlds that each test of the contract runs in."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from contract.ssh_worlds import SshWorld
from contract.stream_worlds import BucketWorld, DirectoryWorld, StreamWorld, opened_bucket
from contract.worlds import BtrfsWorld, MemoryWorld, Offer
from support.pipe_ssh import pipe_ssh_command
from support.s3_servers import moto_server, seaweed_server
from support.sshd import sshd

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from buttersink.stores.shelf import Shelf
    from contract.stream_worlds import StreamEnd
    from contract.worlds import End, World
    from support.sshd import Sshd


_SUBVOLUME_WORLDS = (
    "memory",
    *(pytest.param(name, marks=pytest.mark.kernel) for name in ("btrfs", "ssh by pipe", "sshd")),
)
_STREAM_WORLDS = ("directory", "moto", "seaweedfs")
"""Worlds whose destinations store streams."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test in all worlds, or in those of the kind that it is about."""
    if "world" not in metafunc.fixturenames:
        return
    kinds: tuple[object, ...] = (*_SUBVOLUME_WORLDS, *_STREAM_WORLDS)
    if "subvolume_world" in metafunc.fixturenames:
        kinds = _SUBVOLUME_WORLDS
    if "stream_world" in metafunc.fixturenames:
        kinds = _STREAM_WORLDS
    metafunc.parametrize("world", kinds, indirect=True)


@pytest.fixture(scope="session")
def moto() -> Iterator[Shelf]:
    """Return a bucket of a server that has many features."""
    with moto_server() as server, opened_bucket(server) as bucket:
        yield bucket


@pytest.fixture(scope="session")
def seaweedfs() -> Iterator[Shelf]:
    """Return a bucket of a server that verifies what it gets."""
    with seaweed_server() as server, opened_bucket(server) as bucket:
        yield bucket


@pytest.fixture(scope="session")
def secure_shell() -> Iterator[Sshd]:
    """Return a real sshd on this machine."""
    with sshd() as server:
        yield server


@pytest.fixture
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    """Return a kind of stores to test."""
    with _make_world(request) as made:
        yield made


def _make_world(request: pytest.FixtureRequest) -> World:
    if request.param == "memory":
        return MemoryWorld()
    if request.param in {"moto", "seaweedfs"}:
        bucket: Shelf = request.getfixturevalue(request.param)
        return BucketWorld(bucket)
    scratch: Path = request.getfixturevalue("scratch")
    if request.param == "ssh by pipe":
        return SshWorld(scratch, ssh_command=pipe_ssh_command(scratch), port=22)
    if request.param == "sshd":
        server: Sshd = request.getfixturevalue("secure_shell")
        return SshWorld(scratch, ssh_command=server.ssh_command, port=server.port)
    return BtrfsWorld(scratch) if request.param == "btrfs" else DirectoryWorld(scratch)


@pytest.fixture
def subvolume_world(world: World) -> World:
    """Return a kind of stores that hold subvolumes; a test that asks for this sees no others."""
    assert not world.holds_streams
    return world


@pytest.fixture
def stream_world(world: World) -> StreamWorld:
    """Return a kind of stores that hold streams; a test that asks for this sees no others."""
    assert isinstance(world, StreamWorld)
    return world


@pytest.fixture
def end(stream_world: StreamWorld) -> StreamEnd:
    """Return an empty end that holds streams."""
    return stream_world.destination()


@pytest.fixture
def source(world: World) -> Offer:
    """Return an end with three related snapshots: "1", "2" and "3"."""
    return Offer(world.source(3))


@pytest.fixture
def destination(world: World) -> End:
    """Return an empty end."""
    return world.destination()

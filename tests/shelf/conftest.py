"""The shelves that each test of the contract runs on."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from shelf.worlds import DirectoryWorld, S3World
from support.s3_servers import S3Server, moto_server, seaweed_server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from buttersink.stores.shelf import Shelf
    from shelf.worlds import ShelfWorld


@pytest.fixture(scope="session")
def moto() -> Iterator[S3Server]:
    with moto_server() as server:
        yield server


@pytest.fixture(scope="session")
def seaweedfs() -> Iterator[S3Server]:
    with seaweed_server() as server:
        yield server


@pytest.fixture(params=["directory", "moto", "seaweedfs"])
def shelf_world(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, scratch: Path
) -> Iterator[ShelfWorld]:
    """Return an empty place for objects."""
    if request.param == "directory":
        with DirectoryWorld(scratch / "objects") as directory:
            yield directory
        return
    server: S3Server = request.getfixturevalue(request.param)
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in server.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("HOME", str(scratch))
    with S3World(server, scratch / "state") as bucket:
        yield bucket


@pytest.fixture
def shelf(shelf_world: ShelfWorld) -> Shelf:
    """Return a handle of it."""
    return shelf_world.open()

"""Servers for the whole run, and ends that hold streams, empty for each test."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from support.s3_servers import S3Server, moto_server, seaweed_server
from support.ssh_ends import Shell, piped
from support.sshd import Sshd, sshd
from support.stored_ends import BucketEnd, DirectoryEnd, StoredEnd, set_up_s3

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="session")
def seaweed() -> Iterator[S3Server]:
    with seaweed_server() as server:
        yield server


@pytest.fixture(scope="session")
def moto() -> Iterator[S3Server]:
    with moto_server() as server:
        yield server


@pytest.fixture(scope="session")
def secure_shell() -> Iterator[Sshd]:
    """Return a real sshd on this machine."""
    with sshd() as server:
        yield server


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    """Return ssh by pipe."""
    return piped(tmp_path)


@pytest.fixture
def bucket_end(seaweed: S3Server, monkeypatch: pytest.MonkeyPatch) -> BucketEnd:
    """Return a prefix of a new bucket."""
    set_up_s3(monkeypatch, seaweed)
    return BucketEnd(seaweed)


@pytest.fixture
def directory_end(scratch: Path) -> DirectoryEnd:
    """Return an empty directory that is not on btrfs."""
    path = scratch / "streams"
    path.mkdir()
    return DirectoryEnd(path)


@pytest.fixture(params=["directory_end", "bucket_end"], ids=["dir", "s3"])
def stored_end(request: pytest.FixtureRequest) -> StoredEnd:
    """Return an empty end that holds streams, of each kind."""
    end: StoredEnd = request.getfixturevalue(request.param)
    return end

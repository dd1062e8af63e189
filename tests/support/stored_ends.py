"""Ends that hold stored streams, seen from behind: a directory, or a prefix of a bucket."""

from __future__ import annotations

import os
import shutil
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pytest

from support.command import sync
from support.subvolume_facts import subvolumes
from support.tree import assert_same_tree

if TYPE_CHECKING:
    from collections.abc import Mapping

    from support.s3_servers import S3Server

PREFIX = "laptop/snapshots/"

in_a_directory = pytest.mark.parametrize(
    "stored_end", ["directory_end"], indirect=True, ids=["dir"]
)
"""For tests of what can't depend on where streams are stored: a directory is quicker."""

_SUBVOLUME_INODE = 256
"""BTRFS_FIRST_FREE_OBJECTID: the top directory of a subvolume."""

_USERS_OWN = (
    "AWS_SESSION_TOKEN",
    "AWS_PROFILE",
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
    "AWS_ENDPOINT_URL_S3",
    "BOTO_CONFIG",
)
"""What the user of this machine may have set up."""


class End(Protocol):
    """Any end; what is there can be told by looking, and by nothing that the command says."""

    @property
    def url(self) -> str:
        """The end as it is written on the command line, for all snapshots in it."""

    def traces(self) -> object:
        """Return what is equal only as long as nothing was written there."""


class StoredEnd(End, Protocol):
    """An end that holds streams. Keys are whole: they begin at the top of the shelf."""

    @property
    def prefix(self) -> str:
        """What stands in front of the path of each snapshot in a key."""

    @property
    def trash_url(self) -> str:
        """The end that the trash of this one is."""

    def stored_keys(self) -> list[str]:
        """Return the keys of all objects, sorted."""

    def read(self, key: str) -> bytes:
        """Return the content of an object."""

    def write(self, key: str, data: bytes) -> None:
        """Make or replace an object."""

    def remove(self, key: str) -> None:
        """Remove an object that is there."""


@dataclass(frozen=True, slots=True)
class SubvolumeEnd:
    """A directory of snapshots on btrfs."""

    path: Path

    @property
    def url(self) -> str:
        """See `End`."""
        return f"{self.path}/"

    def traces(self) -> object:
        """See `End`."""
        return subvolumes(self.path), _entries(self.path)


@dataclass(frozen=True, slots=True)
class DirectoryEnd:
    """A directory of streams."""

    path: Path
    prefix: str = ""

    @property
    def url(self) -> str:
        """See `End`."""
        return f"dir://{self.path}/"

    @property
    def trash_url(self) -> str:
        """See `StoredEnd`."""
        return f"{self.url}trash/"

    def traces(self) -> object:
        """See `End`."""
        return _entries(self.path)

    def stored_keys(self) -> list[str]:
        """See `StoredEnd`."""
        return sorted(
            os.path.relpath(os.path.join(top, name), self.path)
            for top, _, names in os.walk(self.path)
            for name in names
            if not name.startswith(".buttersink-")
        )

    def read(self, key: str) -> bytes:
        """See `StoredEnd`."""
        return (self.path / key).read_bytes()

    def write(self, key: str, data: bytes) -> None:
        """See `StoredEnd`; a key that ends in a slash makes a directory."""
        path = self.path / key
        if key.endswith("/"):
            path.mkdir(parents=True, exist_ok=True)
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    def remove(self, key: str) -> None:
        """See `StoredEnd`."""
        (self.path / key).unlink()


class BucketEnd:
    """A prefix of a bucket.

    Attributes:
        bucket: The bucket's name.
        client: One of boto3, to look behind the command.
    """

    def __init__(self, server: S3Server, *, bucket: str = "", prefix: str = PREFIX) -> None:
        """Use a bucket, a new one if none is named."""
        self.client = server.client()
        self.bucket = bucket or server.fresh_bucket()
        self._prefix = prefix

    @property
    def prefix(self) -> str:
        """See `StoredEnd`."""
        return self._prefix

    @property
    def url(self) -> str:
        """See `End`."""
        return f"s3://{self.bucket}/{self.prefix}"

    @property
    def trash_url(self) -> str:
        """See `StoredEnd`."""
        return f"s3://{self.bucket}/trash/{self.prefix}"

    def traces(self) -> object:
        """See `End`."""
        return [(o["Key"], o["LastModified"], o["ETag"], o["Size"]) for o in self._listing()]

    def stored_keys(self) -> list[str]:
        """See `StoredEnd`."""
        return sorted(found["Key"] for found in self._listing())

    def read(self, key: str) -> bytes:
        """See `StoredEnd`."""
        answer = self.client.get_object(Bucket=self.bucket, Key=key)
        content: bytes = answer["Body"].read()
        return content

    def write(self, key: str, data: bytes) -> None:
        """See `StoredEnd`."""
        self.client.put_object(Bucket=self.bucket, Key=key, Body=data)

    def remove(self, key: str) -> None:
        """See `StoredEnd`."""
        self.client.delete_object(Bucket=self.bucket, Key=key)

    def _listing(self) -> list[Mapping[str, Any]]:
        pages = self.client.get_paginator("list_objects_v2")
        return [
            found
            for page in pages.paginate(Bucket=self.bucket)
            for found in page.get("Contents", ())
        ]


def streams(end: StoredEnd, path: str = "") -> list[str]:
    """Return the keys of streams, or those of one snapshot."""
    below = f"{end.prefix}{path}/" if path else end.prefix
    return [
        key
        for key in end.stored_keys()
        if key.startswith(below)
        and not key.startswith("trash/")
        and not key.endswith((".json", ".hidden", ".bs"))
    ]


def assert_restores(end: End, originals: Mapping[str, Path], directory: Path) -> None:
    """Restore all of an end to a new directory, and compare it with what it should be."""
    directory.mkdir(parents=True)
    sync(end.url, directory)
    for path, original in originals.items():
        assert_same_tree(original, directory / path)
    assert snapshots_below(directory) == sorted(originals)


def snapshots_below(directory: Path) -> list[str]:
    """Return the relative paths of the subvolumes below a directory, hidden ones as well."""
    found = []
    pending = [directory]
    while pending:
        for entry in os.scandir(pending.pop()):
            if not entry.is_dir(follow_symlinks=False):
                continue
            if entry.stat().st_ino == _SUBVOLUME_INODE:
                found.append(os.path.relpath(entry.path, directory))
            else:
                pending.append(Path(entry.path))
    return sorted(found)


def needed_program(name: str) -> str:
    """Return the path of a program without which the test makes no sense."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"needs the program {name}")
    return found


def set_up_s3(monkeypatch: pytest.MonkeyPatch, server: S3Server, url: str = "") -> None:
    """Let the environment lead to a server, also of the programs that are run.

    Args:
        monkeypatch: What undoes it.
        server: Which one.
        url: Another address that leads there; that of the server if it is empty.
    """
    for name in _USERS_OWN:
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, "/dev/null")
    for name, value in server.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_ENDPOINT_URL", url or server.endpoint_url)


def _entries(top: Path) -> dict[str, tuple[int, ...]]:
    """Return inodes, times and sizes of what is in a directory, but not inside subvolumes."""
    found: dict[str, tuple[int, ...]] = {}
    pending = [top]
    while pending:
        for entry in os.scandir(pending.pop()):
            status = entry.stat(follow_symlinks=False)
            found[entry.path] = (status.st_ino, status.st_size, status.st_mtime_ns)
            if status.st_ino == _SUBVOLUME_INODE:
                # Its ctime goes back once it leaves the cache, as a rename does not save it.
                continue
            found[entry.path] += (status.st_ctime_ns,)
            if stat.S_ISDIR(status.st_mode):
                pending.append(Path(entry.path))
    return found

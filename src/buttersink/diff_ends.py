"""Opening the end that has two snapshots to compare."""

from __future__ import annotations

import os
import posixpath
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from buttersink.diffing import find_snapshot
from buttersink.ends import opened
from buttersink.errors import IsSnapshotError, MissingError, NotBtrfsError, UsageError
from buttersink.location import Scheme, parse_location

if TYPE_CHECKING:
    from collections.abc import Iterator

    from buttersink.ends import Means
    from buttersink.location import Location
    from buttersink.model import Snapshot
    from buttersink.store import Sink

    Opened = tuple[Sink, Snapshot, Snapshot]


def parse_snapshot(text: str) -> Location:
    """Take apart what a user wrote to name a snapshot; a slash at its end makes no difference.

    Returns:
        Where the snapshot is, as `directory`.

    Raises:
        UsageError: It names no end, or one that has no snapshots to compare.
    """
    location = parse_location(text, is_destination=True)
    if location.scheme in {Scheme.S3, Scheme.DIR}:
        raise UsageError(
            f"{text}: stored streams can't be compared",
            "restore both snapshots to a btrfs file system, and compare them there",
        )
    if location.scheme is Scheme.SSH and not location.directory.strip("/"):
        raise UsageError(f"{text} names no snapshot", "the path of one follows the host")
    return location


@contextmanager
def opened_pair(older: Location, newer: Location, means: Means) -> Iterator[Opened]:
    """Open the end that two snapshots are on.

    Args:
        older: The one; as of `parse_snapshot`.
        newer: The other.
        means: What opening takes.

    Yields:
        The end, and both snapshots as it knows them.

    Raises:
        UsageError: They are on different file systems, or one is no snapshot.
        ButterSinkError: The end can't be opened.
    """
    if _host(older) != _host(newer):
        raise UsageError(
            f"{older.text} and {newer.text} are on different hosts",
            "sync one to where the other is, then compare them there",
        )
    pair = _far_pair if older.scheme is Scheme.SSH else _local_pair
    with pair(older, newer, means) as found:
        yield found


def _host(location: Location) -> tuple[str, str | None, int | None] | None:
    if location.scheme is not Scheme.SSH:
        return None
    return location.host, location.user, location.port


@contextmanager
def _far_pair(older: Location, newer: Location, means: Means) -> Iterator[Opened]:
    """Open a directory on another host that has both; one that is no larger than need be."""
    paths = [posixpath.normpath(_plain(end)) for end in (older, newer)]
    directory = posixpath.commonpath([posixpath.dirname(path) for path in paths])
    host = "/".join(newer.text.split("/")[:3])
    end = replace(newer, text=f"{host}{directory}", directory=directory.rstrip("/") + "/")
    with opened(end, means) as store:
        inventory = store.inventory()
        one, other = (posixpath.relpath(path, directory) for path in paths)
        yield (
            store,
            find_snapshot(store, inventory, one, name=older.text),
            find_snapshot(store, inventory, other, name=newer.text),
        )


def _plain(location: Location) -> str:
    """Return the path on another host.

    Raises:
        UsageError: It has parts whose meaning only the other host knows.
    """
    if ".." in location.directory.split("/"):
        raise UsageError(f"{location.text}: .. can't be used there", "name the snapshot itself")
    return location.directory


@contextmanager
def _local_pair(older: Location, newer: Location, means: Means) -> Iterator[Opened]:
    """Open the directory of the newer one, whose end knows all of the file system."""
    old_directory, old_name = _split(older)
    directory, name = _split(newer)
    with _opened_directory(directory, means) as store:
        inventory = store.inventory()
        new = find_snapshot(store, inventory, name, name=newer.text)
        if old_directory == directory:
            yield store, find_snapshot(store, inventory, old_name, name=older.text), new
            return
        with _opened_directory(old_directory, means) as beside:
            old = find_snapshot(beside, beside.inventory(), old_name, name=older.text)
            if beside.place()[0] != store.place()[0]:
                raise UsageError(
                    f"{older.text} and {newer.text} are on different file systems",
                    "sync one to where the other is, then compare them there",
                )
        known = inventory.by_uuid().get(old.uuid)
        if known is None:
            raise MissingError(f"{older.text} has only come while this run began", "run it again")
        yield store, known, new


def _split(location: Location) -> tuple[str, str]:
    """Return the directory that a snapshot is in, and its name, behind all symbolic links.

    Raises:
        UsageError: It is no name.
    """
    directory, name = os.path.split(os.path.realpath(location.directory))
    if not name:
        raise UsageError(f"{location.text} names no snapshot")
    return directory, name


@contextmanager
def _opened_directory(directory: str, means: Means) -> Iterator[Sink]:
    with ExitStack() as stack:
        try:
            end = parse_location(directory, is_destination=True)
            store = stack.enter_context(opened(end, means))
        except NotBtrfsError as error:
            hint = "snapshots are found by way of the directory they are in"
            raise NotBtrfsError(error.message, hint) from error
        except IsSnapshotError as error:
            raise UsageError(
                f"{directory} is a snapshot itself, and what is in it is none",
                "name two snapshots: what changed in them is listed file by file",
            ) from error
        yield store

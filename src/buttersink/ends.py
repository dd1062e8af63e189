"""Opening the ends that a user named."""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from buttersink.errors import ButterSinkError, NotBtrfsError, RefusedError, UsageError
from buttersink.location import Location, Scheme

if TYPE_CHECKING:
    from collections.abc import Iterator

    from buttersink.options import Options
    from buttersink.store import Sink, Source
    from buttersink.storing import Storing

# Stores are imported when one is opened: nobody shall wait for boto3 who does not use S3.


@contextmanager
def opened(
    location: Location, storing: Storing, *, state: str, missing: str = ""
) -> Iterator[Sink]:
    """Open an end, and close it after the block.

    Args:
        location: Which one.
        storing: How streams are stored there.
        state: Directory for what has to be remembered between runs.
        missing: Relative path of a directory that is to be made below that of `location`.

    Raises:
        ButterSinkError: It can't be opened, or its kind is not built yet.
    """
    match location.scheme:
        case Scheme.BTRFS:
            store = _btrfs(location, missing)
        case Scheme.DIR | Scheme.S3:
            store = _streams(location, storing, state, missing)
        case Scheme.SSH:
            raise ButterSinkError(
                f"{location.text}: ssh:// ends are not built yet",
                "local directories and buckets are",
            )
    try:
        yield store
    finally:
        store.close()


@contextmanager
def opened_destination(options: Options, *, state: str) -> Iterator[Sink]:
    """Open the destination, which `--create` allows to be missing."""
    location = options.destination
    directory = location.directory
    local = location.scheme in {Scheme.BTRFS, Scheme.DIR}
    if not local or os.path.isdir(directory):
        with opened(location, options.storing, state=state) as store:
            yield store
        return
    if not options.create:
        raise UsageError(f"{directory} does not exist", "add --create to have it made")
    existing, missing = directory.rstrip("/"), []
    while not os.path.lexists(existing):
        existing, _, name = existing.rpartition("/")
        existing = existing or ("/" if directory.startswith("/") else ".")
        missing.append(name)
    with opened(
        replace(location, directory=existing + "/"),
        options.storing,
        state=state,
        missing="/".join(reversed(missing)),
    ) as store:
        if options.dry_run:
            yield store
            return
    try:
        os.makedirs(directory)
    except OSError as error:
        raise UsageError(f"{directory} can't be made: {error.strerror}") from error
    with opened(location, options.storing, state=state) as store:
        yield store


def check_pair(source: Source, destination: Sink, options: Options) -> None:
    """Refuse two ends that lie in each other.

    Raises:
        UsageError: They are the same.
        RefusedError: With --delete, snapshots outside the source would be deleted.
    """
    where, goal = source.place(), destination.place()
    if where[0] != goal[0]:
        return
    if where[1] == goal[1]:
        raise UsageError("source and destination are the same directory")
    inside = not goal[1] or where[1].startswith(goal[1] + "/")
    if options.delete and inside and not options.force:
        raise RefusedError(
            f"{options.destination.text} contains the source: --delete would delete all other "
            f"snapshots there",
            "name another destination, or add --force",
        )


def _btrfs(location: Location, missing: str) -> Sink:
    from buttersink.stores.btrfs import BtrfsStore  # noqa: PLC0415 - see the top

    try:
        return BtrfsStore(location.directory, name=location.text, missing=missing)
    except NotBtrfsError as error:
        if location.snapshot is None:
            raise NotBtrfsError(
                error.message,
                f"to keep send streams in any directory, write dir://{location.directory}",
            ) from error
        raise NotBtrfsError(
            f"{location.text} means the snapshot {location.snapshot} in {location.directory}, "
            f"which is not on a btrfs file system",
            f"the slash at the end matters: to mean the directory, write {location.text}/",
        ) from error


def _streams(location: Location, storing: Storing, state: str, missing: str) -> Sink:
    from buttersink.stores.streams import StreamStore  # noqa: PLC0415 - see the top

    if location.scheme is Scheme.DIR:
        from buttersink.stores.directory import DirectoryShelf  # noqa: PLC0415 - see the top

        shelf = DirectoryShelf(location.directory)
        prefix = f"{missing}/" if missing else ""
        return StreamStore(shelf, prefix, name=location.text, storing=storing)
    from buttersink.stores.s3 import S3Settings, open_shelf  # noqa: PLC0415 - see the top
    from buttersink.stores.s3.settings import MOST_PARTS  # noqa: PLC0415 - see the top

    bucket = open_shelf(
        S3Settings(
            bucket=location.host,
            endpoint_url=storing.endpoint_url,
            storage_class=storing.storage_class or "",
            sse=storing.sse,
            jobs=storing.jobs,
            part_count=storing.max_parts or MOST_PARTS,
            state_directory=state,
        )
    )
    return StreamStore(bucket, location.directory, name=location.text, storing=storing)

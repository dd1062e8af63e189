"""Opening the ends that a user named."""

from __future__ import annotations

import os
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from buttersink.errors import NotBtrfsError, RefusedError, UsageError
from buttersink.location import Location, Scheme
from buttersink.model import Mode
from buttersink.receiving import Receiving

if TYPE_CHECKING:
    from collections.abc import Iterator

    from buttersink.linking import Linking
    from buttersink.options import Options
    from buttersink.store import Sink, Source
    from buttersink.stores.ssh.store import SshStore
    from buttersink.storing import Storing

# Stores are imported when one is needed: nobody shall wait for boto3 who does not use S3.


@dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """What opening an end takes besides its name.

    Attributes:
        storing: How streams are stored.
        linking: How other hosts are reached.
        state: Directory for what has to be remembered between runs.
        sudo_user: Who became root by sudo to run this, if that is so.
        receiving: How streams are received, at an end of subvolumes.
    """

    storing: Storing
    linking: Linking
    state: str
    sudo_user: str | None = None
    receiving: Receiving = field(default_factory=Receiving)


def load(location: Location) -> None:
    """Import what opening an end takes, so that nothing interrupts that later."""
    match location.scheme:
        case Scheme.BTRFS:
            from buttersink.stores import btrfs  # noqa: F401, PLC0415 - see the top
        case Scheme.DIR:
            from buttersink.stores import directory, streams  # noqa: F401, PLC0415 - see the top
        case Scheme.S3:
            from buttersink.stores import s3, streams  # noqa: F401, PLC0415 - see the top
        case Scheme.SSH:
            from buttersink.stores.ssh import opening  # noqa: F401, PLC0415 - see the top


@contextmanager
def opened(
    location: Location, means: Means, *, mode: Mode = Mode.READ, missing: str = ""
) -> Iterator[Sink]:
    """Open an end, and close it after the block.

    Args:
        location: Which one.
        means: What that takes.
        mode: What is going to be done to it, at most.
        missing: Relative path of a directory that is to be made below that of `location`.

    Raises:
        ButterSinkError: It can't be opened.
    """
    match location.scheme:
        case Scheme.BTRFS:
            store = _btrfs(location, means, missing)
        case Scheme.DIR | Scheme.S3:
            store = _streams(location, means, missing)
        case Scheme.SSH:
            store = _existing(location, _ssh(location, means, mode))
    try:
        yield store
    finally:
        store.close()


@contextmanager
def opened_destination(options: Options, means: Means) -> Iterator[Sink]:
    """Open the destination, which `--create` allows to be missing."""
    location = options.destination
    directory = location.directory
    mode = Mode.WRITE if options.delete else Mode.APPEND
    mode = Mode.READ if options.dry_run else mode
    if location.scheme is Scheme.SSH:
        with closing(_ssh(location, means, mode)) as there:
            if there.missing and not options.create:
                raise UsageError(
                    f"{directory} does not exist on {_login(location)}",
                    "add --create to have it made",
                )
            if there.missing and not options.dry_run:
                there.create()
            yield there
        return
    local = location.scheme in {Scheme.BTRFS, Scheme.DIR}
    if not local or os.path.isdir(directory):
        with opened(location, means, mode=mode) as store:
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
        means,
        missing="/".join(reversed(missing)),
    ) as store:
        if options.dry_run:
            yield store
            return
    try:
        os.makedirs(directory)
    except OSError as error:
        from buttersink.stores.mapping import mapped_error  # noqa: PLC0415 - see the top

        raise mapped_error(error, f"making {directory}") from error
    with opened(location, means, mode=mode) as store:
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


def _btrfs(location: Location, means: Means, missing: str) -> Sink:
    from buttersink.stores.btrfs import BtrfsStore  # noqa: PLC0415 - see the top

    try:
        return BtrfsStore(
            location.directory,
            name=location.text,
            missing=missing,
            receiver=means.receiving.receiver,
            pace=means.receiving.pace,
        )
    except NotBtrfsError as error:
        if missing:
            message = f"{location.directory}{missing}/ does not exist, and {error.message}"
            raise NotBtrfsError(message, error.hint) from error
        hint = f"to keep send streams in any directory, write dir://{location.directory}"
        raise _means_snapshot(location) or NotBtrfsError(error.message, hint) from error


def _ssh(location: Location, means: Means, mode: Mode) -> SshStore:
    from buttersink.stores.ssh.command import Remote  # noqa: PLC0415 - see the top
    from buttersink.stores.ssh.opening import open_ssh  # noqa: PLC0415 - see the top

    remote = Remote(
        host=location.host,
        user=location.user,
        port=location.port,
        directory=location.directory,
        ssh_command=means.linking.ssh_command,
        remote_command=means.linking.remote_command,
        receiving=means.receiving,
    )
    try:
        return open_ssh(
            remote,
            mode,
            name=location.text,
            stall_seconds=means.linking.stall_seconds,
            sudo_user=means.sudo_user,
        )
    except NotBtrfsError as error:
        raise _means_snapshot(location) or error from error


def _existing(location: Location, store: SshStore) -> SshStore:
    if store.missing:
        store.close()
        raise UsageError(f"{location.directory} does not exist on {_login(location)}")
    return store


def _login(location: Location) -> str:
    """Return the other host as messages of ssh name it."""
    return f"{location.user}@{location.host}" if location.user else location.host


def _means_snapshot(location: Location) -> NotBtrfsError | None:
    """Return what explains that a snapshot was named without its file system being btrfs."""
    if location.snapshot is None:
        return None
    return NotBtrfsError(
        f"{location.text} means the snapshot {location.snapshot} in {location.directory}, "
        f"which is not on a btrfs file system",
        f"the slash at the end matters: to mean the directory, write {location.text}/",
    )


def _streams(location: Location, means: Means, missing: str) -> Sink:
    storing = means.storing
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
            state_directory=means.state,
        )
    )
    return StreamStore(bucket, location.directory, name=location.text, storing=storing)

"""A directory on a local btrfs file system, as source and as destination."""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from buttersink.btrfs import ioctl, subvolumes
from buttersink.btrfs.receive import find_program, receive_stream_version
from buttersink.btrfs.send import KernelSend, kernel_stream_version
from buttersink.errors import (
    BusyError,
    CorruptStreamError,
    MissingError,
    NotBtrfsError,
    PathTakenError,
    TransferError,
    UsageError,
)
from buttersink.model import Certainty, Size, StreamOptions
from buttersink.stores import beneath
from buttersink.stores.catalogue import Catalogue, make_catalogue
from buttersink.stores.estimates import estimate_size
from buttersink.stores.landing import RECEIVED_NAME, Landing, place
from buttersink.stores.mapping import mapped_error
from buttersink.stores.passing import Receiving, Rewritten
from buttersink.stream.guard import Expectation, Rewrite, StreamGuard
from buttersink.stream.size import StubMeter

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from uuid import UUID

    from buttersink.btrfs.subvolumes import Subvolume
    from buttersink.model import Diff, Inventory, Partial, Snapshot
    from buttersink.store import Reader

_LOCK_SECONDS: Final = 3.0
_LOCK_POLL_SECONDS: Final = 0.1
_MEASURE_BUFFER: Final = 1 << 18
_MAX_STREAM_VERSION: Final = 2
"""Version 3 carries fs-verity, which `btrfs receive` does not know."""


class BtrfsStore:
    """The snapshots below one directory of a btrfs file system; implements `store.Sink`.

    Methods other than `measure` must not run at the same time.
    """

    def __init__(self, path: str, *, name: str | None = None, missing: str = "") -> None:
        """Open the directory.

        Args:
            path: The directory.
            name: The end as the user wrote it, for messages.
            missing: Relative path below `path` of the directory that is really meant, but does
                not exist yet; the store then shows what it would be like.

        Raises:
            UsageError: It does not exist, is no directory, or is itself a snapshot.
            NotBtrfsError: It is not on btrfs.
            NotPermittedError: The kernel refuses to tell about subvolumes.
        """
        self.name = name or path
        self._path = path
        self._missing = missing
        self._fd = _open_directory(path)
        self._lock_fd: int | None = None
        self._placed: dict[UUID, int] = {}
        """Tree ids of the snapshots that came in since the catalogue was read."""
        try:
            self._fsid = _file_system_id(self._fd, path)
            self._catalogue = self._read_catalogue()
            if self._catalogue.directory_is_snapshot:
                alone = path.rstrip("/")
                raise UsageError(
                    f"{path} is itself a snapshot, not a directory of snapshots",
                    f"to mean this one snapshot, leave out the slash at the end: {alone}",
                )
        except BaseException:
            os.close(self._fd)
            raise

    @property
    def file_system(self) -> UUID:
        """The id of the file system."""
        return self._fsid

    @property
    def directory(self) -> str:
        """Path of the directory from the file system's top-level subvolume."""
        return self._catalogue.directory

    def close(self) -> None:
        """Let go of the directory."""
        os.close(self._fd)

    # Reading

    def inventory(self) -> Inventory:
        """See `store.Source`."""
        self._catalogue = self._read_catalogue()
        self._placed.clear()
        return self._catalogue.inventory

    def stream_options(self) -> StreamOptions:
        """See `store.Source`."""
        version = min(kernel_stream_version(), _MAX_STREAM_VERSION)
        # Without these features set no extent is compressed (but by zlib, which is not marked).
        compressed = version > 1 and subvolumes.uses_compression(self._fd)
        return StreamOptions(version=version, compressed=compressed)

    def measure(self, diff: Diff, options: StreamOptions, limit: int | None = None) -> Size:
        """See `store.Source`; a send of metadata alone, which names every extent it leaves out."""
        meter = StubMeter(options.version, page_size=mmap.PAGESIZE)
        buffer = memoryview(bytearray(_MEASURE_BUFFER))
        with self._kernel_send(diff, ioctl.SEND_NO_FILE_DATA, options.version) as stream:
            while count := stream.readinto(buffer):
                meter.feed(buffer[:count])
                if limit is not None and meter.nbytes > limit:
                    stream.abandon()
                    return Size(meter.nbytes, Certainty.AT_LEAST)
        if not meter.complete:
            raise CorruptStreamError(f"measuring {self._describe(diff)}: the stream ended early")
        return Size(meter.nbytes)

    def estimate(self, diff: Diff) -> Size:
        """See `store.Source`."""
        self._told_uuids(diff)  # what can't be sent can't be estimated
        known = self._catalogue.inventory.by_uuid()
        return estimate_size(known[diff.to], known[diff.parent] if diff.parent else None)

    @contextmanager
    def send(self, diff: Diff, options: StreamOptions) -> Iterator[Reader]:
        """See `store.Source`."""
        flags = ioctl.SEND_COMPRESSED if options.compressed else 0
        told = self._told_uuids(diff)
        with self._kernel_send(diff, flags, options.version) as stream:
            if all(kernel == identity for kernel, identity in told.items()):
                yield stream
                return
            # The kernel writes the received_uuid even where it is not to be trusted.
            to, *parents = told
            guard = StreamGuard(
                Expectation(
                    to=frozenset({to}),
                    parents=frozenset(parents) if parents else None,
                    max_version=options.version,
                ),
                Rewrite(name=None, uuids=told),
                check_all=False,
            )
            yield Rewritten(stream, guard)

    # Adding

    def accepts(self) -> StreamOptions:
        """See `store.Sink`."""
        version = receive_stream_version(find_program())
        return StreamOptions(version=version, compressed=version > 1)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """See `store.Sink`; a lock on the directory itself, so that no file is left behind.

        Receiving programs inherit it: while one is left of a killed run, the lock is held.
        """
        fd = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=self._fd)
        try:
            _wait_for_lock(fd, self.name)
            self._lock_fd = fd
            yield
        finally:
            self._lock_fd = None
            os.close(fd)

    def taken(self, paths: Iterable[str]) -> frozenset[str]:
        """See `store.Sink`."""
        if self._missing:
            return frozenset()
        return frozenset(path for path in paths if beneath.exists(self._fd, path))

    def free_bytes(self) -> int | None:
        """See `store.Sink`; unknown where compression was ever used, as more may fit then."""
        if subvolumes.uses_compression(self._fd):
            return None
        space = os.fstatvfs(self._fd)
        return space.f_bavail * space.f_frsize

    @contextmanager
    def receive(self, diff: Diff, path: str, options: StreamOptions) -> Iterator[Receiving]:
        """See `store.Sink`; by `btrfs receive`, confined as `landing` describes."""
        _, name = beneath.split(path)
        with self._mapped(f"receiving {path}"), self._room_for(path) as directory_fd:
            landing = Landing(directory_fd, diff.to)
            try:
                parent = self._prepare(landing, diff)
                guard = StreamGuard(
                    Expectation(
                        to=frozenset({diff.to}),
                        parents=frozenset({diff.parent}) if diff.parent else None,
                        max_version=options.version,
                    ),
                    Rewrite(
                        name=RECEIVED_NAME,
                        uuids={diff.parent: parent} if diff.parent and parent else {},
                    ),
                    check_all=False,  # btrfs receive checks every command again
                )
                with landing.program(find_program(), self._lock_fd) as process:
                    yield Receiving(process, guard)
                    guard.finish()
                    process.finish()
                self._placed[diff.to] = landing.commit(name)
            finally:
                landing.clear()

    def adopt(self, snapshot: Snapshot, path: str) -> None:
        """See `store.Sink`; a snapshot of the snapshot, which is then given its identity."""
        copy = self._copy(snapshot.uuid)
        _, name = beneath.split(path)
        with self._mapped(f"putting {path} in place"), self._room_for(path) as directory_fd:
            source_fd = self._open_copy(copy)
            try:
                # A received one passes on the sender's generation, an original is the sender.
                stransid = copy.stransid if snapshot.received else copy.ctransid
                self._placed[snapshot.uuid] = place(
                    directory_fd,
                    name,
                    source_fd=source_fd,
                    identity=snapshot.uuid,
                    stransid=stransid,
                )
            finally:
                os.close(source_fd)

    # Removing

    def delete(self, uuid: UUID, path: str) -> None:
        """See `store.Sink`."""
        copies = self._catalogue.copies.get(uuid, ())
        copy = next((s for s in copies if self._catalogue.relative(s) == path), None)
        if copy is None:
            raise MissingError(f"{path} is not the snapshot {uuid} (any more); it was not deleted")
        with self._mapped(f"deleting {path}"):
            self._destroy(copy, path)

    def clean(self, partial: Partial) -> None:
        """See `store.Sink`."""
        work = self._catalogue.at(partial.path)
        if work is None:
            raise MissingError(f"{partial.path} is gone already")
        with self._mapped(f"removing {partial.path}"):
            for inner in (*self._catalogue.inside(partial.path), work):
                self._destroy(inner, self._catalogue.relative(inner) or "")

    def flush(self) -> None:
        """See `store.Sink`."""
        with self._mapped("writing to the disk"):
            ioctl.sync(self._fd)

    # Within

    def _read_catalogue(self) -> Catalogue:
        with self._mapped("reading the subvolumes"):
            found = subvolumes.list_subvolumes(self._fd)
            by_id = {s.treeid: s for s in found}
            readonly = [s for s in found if s.readonly]
            return make_catalogue(
                found,
                directory="/".join(
                    filter(None, (subvolumes.directory_path(self._fd, by_id), self._missing))
                ),
                lineages={s.treeid: subvolumes.lineage(self._fd, s.treeid) for s in readonly},
                changed=frozenset(
                    s.treeid
                    for s in readonly
                    if s.received_uuid and subvolumes.changed_since_received(self._fd, s)
                ),
                quotas=subvolumes.read_quotas(self._fd),
            )

    def _copy(self, identity: UUID) -> Subvolume:
        copies = self._catalogue.copies.get(identity)
        if not copies:
            raise MissingError(f"{self.name} has no snapshot {identity} (any more)")
        return copies[0]

    def _told_uuids(self, diff: Diff) -> dict[UUID, UUID]:
        """Return the identities of a diff by what the kernel will call them, that of `to` first."""
        told: dict[UUID, UUID] = {}
        for identity in (diff.to, diff.parent):
            if identity is None:
                continue
            copy = self._copy(identity)
            kernel = copy.received_uuid or copy.uuid
            if kernel is None or kernel in told:
                raise TransferError(
                    f"{copy.path} carries the received_uuid of the snapshot it would build on, "
                    f"so that the two could not be told apart in a stream"
                )
            told[kernel] = identity
        return told

    @contextmanager
    def _kernel_send(self, diff: Diff, flags: int, version: int) -> Iterator[KernelSend]:
        self._told_uuids(diff)
        parent = self._copy(diff.parent) if diff.parent else None
        fd = self._open_copy(self._copy(diff.to))
        try:
            with (
                self._mapped(f"sending {self._describe(diff)}"),
                KernelSend(
                    fd, parent_id=parent.treeid if parent else None, flags=flags, version=version
                ) as stream,
            ):
                yield stream
        finally:
            os.close(fd)

    def _open_copy(self, copy: Subvolume) -> int:
        """Open a read-only subvolume, and make sure that it is still what the catalogue says."""
        with self._mapped(f"opening {copy.path}"):
            try:
                fd = ioctl.open_subvolume(self._fd, copy.treeid)
            except OSError as error:
                if error.errno not in {errno.ENOENT, errno.ESTALE}:
                    raise
                raise MissingError(f"{copy.path} has been deleted meanwhile") from error
            info = ioctl.subvolume_info(fd)
            if info.uuid != copy.uuid or not info.readonly:
                os.close(fd)
                raise MissingError(f"{copy.path} has been replaced or made writable meanwhile")
            return fd

    def _prepare(self, landing: Landing, diff: Diff) -> UUID | None:
        if diff.parent is None:
            return landing.prepare(None)
        placed = self._placed.get(diff.parent)
        if placed is None:
            parent_fd = self._open_copy(self._copy(diff.parent))
        else:
            parent_fd = ioctl.open_subvolume(self._fd, placed)
        try:
            return landing.prepare(parent_fd)
        finally:
            os.close(parent_fd)

    @contextmanager
    def _room_for(self, path: str) -> Iterator[int]:
        """Open the directory in which `path` is to be made; leave no directory after a failure."""
        parents, _ = beneath.split(path)
        made = beneath.make_directories(self._fd, parents)
        try:
            with beneath.opened(self._fd, parents) as directory_fd:
                if beneath.exists(self._fd, path):
                    raise PathTakenError(
                        f"something else is at {os.path.join(self._path, path)}",
                        "move it away, or exclude this snapshot",
                    )
                if _file_system_id(directory_fd, path) != self._fsid:
                    raise TransferError(f"another file system is mounted above {path}")
                yield directory_fd
        except BaseException:
            beneath.remove_directories(self._fd, made)
            raise

    def _destroy(self, subvolume: Subvolume, path: str) -> None:
        """Delete the subvolume at `path`, once it is seen to be that one."""
        parents, name = beneath.split(path)
        with beneath.opened(self._fd, parents) as directory_fd:
            fd = os.open(
                os.fsencode(name), os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=directory_fd
            )
            try:
                found = ioctl.subvolume_info(fd)
            finally:
                os.close(fd)
            if found.treeid != subvolume.treeid or found.uuid != subvolume.uuid:
                raise MissingError(f"{path} has been replaced meanwhile; it was not deleted")
            ioctl.destroy_subvolume(directory_fd, os.fsencode(name))

    def _describe(self, diff: Diff) -> str:
        to = self._copy(diff.to).path
        return f"{to} on {self._copy(diff.parent).path}" if diff.parent else to

    @contextmanager
    def _mapped(self, doing: str) -> Iterator[None]:
        """Turn errors of the operating system into ours, with what was being done."""
        try:
            yield
        except OSError as error:
            raise mapped_error(error, f"{self.name}: {doing}") from error


def _open_directory(path: str) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise UsageError(f"{path} does not exist") from error
    except NotADirectoryError as error:
        raise UsageError(f"{path} is not a directory") from error
    except OSError as error:
        raise mapped_error(error, f"opening {path}") from error


def _file_system_id(fd: int, path: str) -> UUID:
    try:
        return subvolumes.file_system_id(fd)
    except OSError as error:
        if error.errno not in {errno.ENOTTY, errno.EINVAL}:
            raise mapped_error(error, f"asking which file system {path} is on") from error
        raise NotBtrfsError(
            f"{path} is not on a btrfs file system",
            "both ends must be directories on mounted btrfs file systems",
        ) from error


def _wait_for_lock(fd: int, name: str) -> None:
    deadline = time.monotonic() + _LOCK_SECONDS
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if time.monotonic() > deadline:
                raise BusyError(
                    f"another run is writing to {name}", "wait until it has ended, then run again"
                ) from error
            time.sleep(_LOCK_POLL_SECONDS)
        else:
            return

"""A directory on a local btrfs file system, as source."""

from __future__ import annotations

import errno
import mmap
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from buttersink.btrfs import ioctl, subvolumes
from buttersink.btrfs.send import KernelSend, kernel_stream_version
from buttersink.errors import (
    CorruptStreamError,
    IsSnapshotError,
    MissingError,
    PausedError,
    RefusedError,
    RestartError,
    TransferError,
    UnfaithfulStreamError,
)
from buttersink.model import Certainty, Size, StreamOptions
from buttersink.stores.catalogue import Catalogue, make_catalogue
from buttersink.stores.estimates import estimate_size
from buttersink.stores.losscheck import LossCheck
from buttersink.stores.mapping import mapped_error
from buttersink.stores.old_sizes import read_recorded_sizes
from buttersink.stores.one_by_one import measure_one_by_one
from buttersink.stores.opening import file_system_id, machine_wide_id, open_directory
from buttersink.stores.passing import Passed, Rewritten
from buttersink.stores.resuming import EndsEarlyError, drop_beginning
from buttersink.stores.staying import StayingEnd
from buttersink.stores.subvolume_end import SubvolumeEnd
from buttersink.stream.guard import Expectation, Rewrite, StreamGuard
from buttersink.stream.size import StubMeter

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
    from uuid import UUID

    from buttersink.btrfs.ioctl import SubvolumeInfo
    from buttersink.btrfs.subvolumes import Subvolume
    from buttersink.errors import ButterSinkError
    from buttersink.model import Diff, Inventory, Measurement, Position, Snapshot
    from buttersink.store import Reader

_MOST_PAUSES: Final = 10
"""How often the system may stop us in the middle of one measurement."""
_MEASURE_BUFFER: Final = 1 << 18
_MAX_STREAM_VERSION: Final = 2
"""Version 3 carries fs-verity, which `btrfs receive` does not know."""


class BtrfsSource(SubvolumeEnd, StayingEnd):
    """The snapshots below one directory of a btrfs file system; implements `store.Source`.

    Nothing here changes the file system.
    """

    def __init__(
        self,
        path: str,
        *,
        name: str | None = None,
        missing: str = "",
        directory_fd: int | None = None,
    ) -> None:
        """Open the directory.

        Args:
            path: The directory.
            name: The end as the user wrote it, for messages.
            missing: Relative path below `path` of the directory that is really meant, but does
                not exist yet; the store then shows what it would be like.
            directory_fd: An open descriptor of `path`, which is taken over; None to open it here.

        Raises:
            UsageError: It does not exist, is no directory, or is itself a snapshot.
            RefusedError: It lies in what a transfer has made.
            NotBtrfsError: It is not on btrfs.
            NotPermittedError: The kernel refuses to tell about subvolumes.
        """
        self.name = name or path
        self._path = path
        self._missing = missing
        self._fd = open_directory(path) if directory_fd is None else directory_fd
        self._measured: dict[tuple[Diff, int], Size] = {}
        """Exact sizes by stream version."""
        self._placed: dict[UUID, SubvolumeInfo] = {}
        """What came in since the catalogue was read."""
        try:
            self._fsid = file_system_id(self._fd, path)
            self._catalogue = self._read_catalogue()
            if self._catalogue.directory_is_ours:
                raise RefusedError(
                    f"{path} belongs to a transfer: ButterSink made it, and will remove it",
                    "name the directory that it is in",
                )
            if self._catalogue.directory_is_snapshot:
                alone = path.rstrip("/")
                raise IsSnapshotError(
                    f"{path} is itself a snapshot, not a directory of snapshots",
                    f"to mean this one snapshot, leave out the slash at the end: {alone}",
                )
        except BaseException:
            os.close(self._fd)
            raise

    def place(self) -> tuple[tuple[str, str], str]:
        """See `store.Source`: the file system's id and machine, and the path from its top level."""
        return machine_wide_id(self._fsid), self._catalogue.directory

    def close(self) -> None:
        """Let go of the directory."""
        os.close(self._fd)

    def inventory(self) -> Inventory:
        """See `store.Source`."""
        self._catalogue = self._read_catalogue()
        self._placed.clear()
        self._measured.clear()
        return self._catalogue.inventory

    def parents(self, uuids: Collection[UUID]) -> tuple[Snapshot, ...]:
        """See `store.Source`; the inventory has all of the file system."""
        del uuids
        return ()

    def stream_options(self) -> StreamOptions:
        """See `store.Source`."""
        version = min(kernel_stream_version(), _MAX_STREAM_VERSION)
        # Without these features set no extent is compressed (but by zlib, which is not marked).
        compressed = version > 1 and subvolumes.uses_compression(self._fd)
        return StreamOptions(version=version, compressed=compressed)

    def measure(self, diff: Diff, options: StreamOptions, limit: int | None = None) -> Size:
        """See `store.Source`; a send of metadata alone, which names every extent it leaves out.

        Raises:
            UnfaithfulStreamError: The kernel would not send all that has changed.
        """
        for _ in range(_MOST_PAUSES):
            try:
                return self._measure(diff, options, limit)
            except PausedError:
                continue
        return self._measure(diff, options, limit)

    def _measure(self, diff: Diff, options: StreamOptions, limit: int | None) -> Size:
        with self._loss_check(diff, options.version) as losses:
            meter = StubMeter(
                options.version,
                page_size=mmap.PAGESIZE,
                observe=losses.observe if losses else None,
            )
            buffer = memoryview(bytearray(_MEASURE_BUFFER))
            with self._kernel_send(diff, ioctl.SEND_NO_FILE_DATA, options.version) as stream:
                while count := stream.readinto(buffer):
                    meter.feed(buffer[:count])
                    if limit is not None and meter.nbytes > limit:
                        stream.abandon()
                        return Size(meter.nbytes, Certainty.AT_LEAST)
            if not meter.complete:
                raise CorruptStreamError(
                    f"measuring {self._describe(diff)}: the stream ended early"
                )
            if losses and (lost := losses.first_loss()):
                raise UnfaithfulStreamError(
                    f"the kernel would send {self._describe(diff)} without {lost}"
                )
        size = self._measured[diff, options.version] = Size(meter.nbytes)
        return size

    def measure_each(
        self, measurements: Sequence[Measurement], options: StreamOptions
    ) -> Iterator[Size | ButterSinkError]:
        """See `store.Source`."""
        return measure_one_by_one(self, measurements, options)

    def estimate(self, diff: Diff) -> Size:
        """See `store.Source`."""
        self._told_uuids(diff)  # what can't be sent can't be estimated
        known = self._catalogue.inventory.by_uuid()
        return estimate_size(known[diff.to], known[diff.parent] if diff.parent else None)

    def recorded_sizes(self, snapshots: Iterable[Snapshot]) -> Mapping[Diff, Size]:
        """See `store.Source`; from the files `<path>.bs` beside snapshots."""
        paths = [path for snapshot in snapshots for path in snapshot.paths]
        return read_recorded_sizes(self._fd, paths) if not self._missing else {}

    @contextmanager
    def send(
        self, diff: Diff, options: StreamOptions, *, resume: Position | None = None
    ) -> Iterator[Reader]:
        """See `store.Source`.

        Raises:
            UnfaithfulStreamError: On leaving the block: the stream is not what the snapshot holds.
        """
        told = self._told_uuids(diff)
        to, *parents = told
        rewritten = any(kernel != identity for kernel, identity in told.items())
        # The kernel writes the received_uuid even where it is not to be trusted.
        guard = StreamGuard(
            Expectation(
                to=frozenset({to}),
                parents=frozenset(parents) if parents else None,
                max_version=options.version,
            ),
            Rewrite(name=None, uuids=told) if rewritten else None,
            check_all=False,
        )
        flags = ioctl.SEND_COMPRESSED if options.compressed else 0
        early = None
        with self._kernel_send(diff, flags, options.version) as stream:
            watching = guard if options.compressed else None
            reader = Rewritten(stream, guard) if rewritten else Passed(stream, watching)
            try:
                drop_beginning(reader, resume)
            except EndsEarlyError as error:
                early = error  # unless the kernel has failed, as leaving the block will tell
            else:
                yield reader
        if early is not None:
            raise RestartError(early.message)
        # Of streams known to go wrong in the kernel, make sure before the receiver commits.
        if diff.parent is not None and (diff, options.version) not in self._measured:
            self.measure(diff, options)
        if options.compressed and reader.plain_bytes is not None:
            self._check_compressed(diff, options, reader.plain_bytes)

    @contextmanager
    def outline(self, diff: Diff, version: int) -> Iterator[Reader]:
        """See `store.Source`."""
        with self._kernel_send(diff, ioctl.SEND_NO_FILE_DATA, version) as stream:
            yield stream

    def _check_compressed(self, diff: Diff, options: StreamOptions, plain_bytes: int) -> None:
        """Check that a stream with compressed data has all that an uncompressed one would have.

        It may not: Linux (6.18 and before) sends a small file whose compressed inline extent is
        shorter than the file, as after growing it by truncate, without what follows the extent
        (fs/btrfs/send.c, send_encoded_inline_extent), and the copy is too short.
        """
        measured = self._measured.get((diff, options.version)) or self.measure(diff, options)
        if plain_bytes != measured.nbytes:
            raise UnfaithfulStreamError(
                f"the kernel's stream of {self._describe(diff)} with compressed data is not "
                f"what the snapshot holds: it unpacks to {plain_bytes} bytes, not {measured.nbytes}"
            )

    @contextmanager
    def _loss_check(self, diff: Diff, version: int) -> Iterator[LossCheck | None]:
        """Open both snapshots of an incremental diff to check what it says of their files."""
        if diff.parent is None:
            yield None
            return
        parent_fd = self._open_copy(self._copy(diff.parent))
        try:
            to_fd = self._open_copy(self._copy(diff.to))
            try:
                yield LossCheck(parent_fd=parent_fd, to_fd=to_fd, version=version)
            finally:
                os.close(to_fd)
        finally:
            os.close(parent_fd)

    # For this class and those that extend it

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

    def _refresh(self, identity: UUID) -> None:
        """Read the catalogue again if that is needed to know a snapshot that has just come in."""
        if identity in self._placed:
            self.inventory()

    def _copy(self, identity: UUID) -> Subvolume:
        self._refresh(identity)
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
                    f"{self._shown(copy)} carries the received_uuid of the snapshot it would "
                    f"build on, so that the two could not be told apart in a stream"
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
        return self._open(self._shown(copy), treeid=copy.treeid, uuid=copy.uuid)

    def _open(self, path: str, *, treeid: int, uuid: UUID | None) -> int:
        """Open a snapshot by its tree id, and make sure that it is still the same."""
        with self._mapped(f"opening {path}"):
            try:
                fd = ioctl.open_subvolume(self._fd, treeid)
            except OSError as error:
                if error.errno not in {errno.ENOENT, errno.ESTALE}:
                    raise
                raise MissingError(f"{path} has been deleted meanwhile") from error
            info = ioctl.subvolume_info(fd)
            if info.uuid != uuid or not info.readonly:
                os.close(fd)
                raise MissingError(f"{path} has been replaced or made writable meanwhile")
            return fd

    def _describe(self, diff: Diff) -> str:
        to = self._shown(self._copy(diff.to))
        return f"{to} on {self._shown(self._copy(diff.parent))}" if diff.parent else to

    def _shown(self, copy: Subvolume) -> str:
        """Return what to call a subvolume in messages."""
        return copy.path

    @contextmanager
    def _mapped(self, doing: str) -> Iterator[None]:
        """Turn errors of the operating system into ours, with what was being done."""
        try:
            yield
        except OSError as error:
            raise mapped_error(error, f"{self.name}: {doing}") from error

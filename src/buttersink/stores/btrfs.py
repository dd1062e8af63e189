"""A directory on a local btrfs file system, as destination as well."""

from __future__ import annotations

import fcntl
import os
import time
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from buttersink.btrfs import ioctl, subvolumes
from buttersink.btrfs.freeing import wait_until_freed
from buttersink.btrfs.hosting import ReceiverHost
from buttersink.btrfs.progs_receive import find_program, receive_stream_version
from buttersink.errors import (
    BusyError,
    CorruptStreamError,
    MissingError,
    PathTakenError,
    UnavailableError,
)
from buttersink.model import Mode, Receiver, StreamOptions
from buttersink.receiving import Pace
from buttersink.stores import beneath, checkpoints
from buttersink.stores.btrfs_source import BtrfsSource
from buttersink.stores.landing import Landing, claim, place
from buttersink.stores.own_names import link_name, work_name
from buttersink.stores.receivers import Incoming, received_by_own, received_by_program
from buttersink.stores.receiving import WORTHLESS
from buttersink.stream.format import NEWEST_VERSION

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from uuid import UUID

    from buttersink.btrfs.subvolumes import Subvolume
    from buttersink.model import Diff, Partial, Size, Snapshot
    from buttersink.store import Writer
    from buttersink.stores.catalogue import Catalogue

_LOCK_SECONDS: Final = 3.0
_LOCK_POLL_SECONDS: Final = 0.1
_PACE: Final = Pace()


class BtrfsStore(BtrfsSource):
    """The snapshots below one directory of a btrfs file system; implements `store.Sink`."""

    _lock_fd: int | None = None

    def __init__(
        self,
        path: str,
        *,
        name: str | None = None,
        missing: str = "",
        directory_fd: int | None = None,
        receiver: Receiver = Receiver.OWN,
        pace: Pace = _PACE,
    ) -> None:
        """See `BtrfsSource`.

        Args:
            path: See there.
            name: See there.
            missing: See there.
            directory_fd: See there.
            receiver: What receives streams.
            pace: How often what has come is kept, where it can be gone on with.
        """
        self._receiver = receiver
        self._pace = pace
        self._host = ReceiverHost()
        super().__init__(path, name=name, missing=missing, directory_fd=directory_fd)
        self._released: list[int] = []
        """Tree ids of links that were removed, and whose space the next flush waits for."""

    def close(self) -> None:
        """See `store.Source`."""
        self._host.close()
        super().close()

    @property
    def mode(self) -> Mode:
        """See `store.Sink`."""
        return Mode.WRITE

    def accepts(self) -> StreamOptions:
        """See `store.Sink`."""
        if self._receiver is Receiver.OWN:
            return StreamOptions(version=NEWEST_VERSION, compressed=True)
        version = receive_stream_version(find_program())
        return StreamOptions(version=version, compressed=version > 1)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """See `store.Sink`; a lock on the directory itself, so that no file is left behind.

        Receiving programs inherit it: while one is left of a killed run, the lock is held.
        """
        with _locked(self._fd, self.name) as fd:
            if self._receiver is Receiver.OWN:
                with self._mapped("starting the receiver"):
                    self._host.start()  # it loads while a run makes its plan
            try:
                self._lock_fd = fd
                yield
            finally:
                self._lock_fd = None

    def taken(self, paths: Iterable[str]) -> frozenset[str]:
        """See `store.Sink`."""
        if self._missing:
            return frozenset()
        return frozenset(path for path in paths if beneath.exists(self._fd, path, same_mount=True))

    def free_bytes(self) -> int | None:
        """See `store.Sink`; unknown where compression was ever used, as more may fit then."""
        if subvolumes.uses_compression(self._fd):
            return None
        space = os.fstatvfs(self._fd)
        return space.f_bavail * space.f_frsize

    @contextmanager
    def receive(
        self,
        diff: Diff,
        path: str,
        options: StreamOptions,
        *,
        expected: Size | None = None,
        link: bool = False,
        snapshot: Snapshot | None = None,
        fresh: bool = False,
    ) -> Iterator[Writer]:
        """See `store.Sink`; in a place as `landing` describes it.

        A link gets a hidden name in the store's own directory, and leaves `path` alone.
        """
        del snapshot  # nothing is recorded
        self._vet_path(path)
        if diff.parent == diff.to:
            raise CorruptStreamError(f"a stream can't make {diff.to} from itself")
        target = link_name(diff.to) if link else path
        incoming = Incoming(
            diff=diff,
            options=options,
            expected=expected,
            fresh=fresh,
            open_snapshot=lambda uuid: self._open_for(diff, uuid),
            lock_fd=self._lock_fd,
        )
        with self._mapped(f"receiving {path}"), self._room_for(target) as directory_fd:
            landing = Landing(directory_fd, diff.to)
            with self._cleared(landing):
                if self._receiver is Receiver.OWN:
                    with received_by_own(landing, incoming, self._pace, self._host) as own_writer:
                        yield own_writer
                    ctransid = own_writer.ctransid
                else:
                    with received_by_program(landing, incoming) as writer:
                        yield writer
                    ctransid = writer.ctransid
                self._placed[diff.to] = landing.commit(os.path.basename(target), ctransid)

    def release(self, uuid: UUID) -> None:
        """See `store.Sink`; the next `flush` waits until its space is free."""
        self._refresh(uuid)
        name = link_name(uuid)
        link = self._catalogue.at(name)
        if link is None or link not in self._catalogue.copies.get(uuid, ()):
            raise MissingError(f"{self.name} has no link {uuid} (any more)")
        with self._mapped(f"removing {name}"):
            self._destroy(link, name)
        self._released.append(link.treeid)

    def adopt(self, snapshot: Snapshot, path: str) -> None:
        """See `store.Sink`; a snapshot of the snapshot, which is then given its identity."""
        copy = self._copy(snapshot.uuid)
        name = self._vet_path(path)
        with self._mapped(f"putting {path} in place"), self._room_for(path) as directory_fd:
            source_fd = self._open_copy(copy)
            try:
                # A received one passes on the sender's generation, an original is the sender.
                received = copy.received_uuid == snapshot.uuid
                stransid = copy.stransid if received else copy.ctransid
                self._placed[snapshot.uuid] = place(
                    directory_fd,
                    name,
                    source_fd=source_fd,
                    identity=snapshot.uuid,
                    stransid=stransid,
                )
            finally:
                os.close(source_fd)

    def delete(self, uuid: UUID, path: str) -> None:
        """See `store.Sink`."""
        self._refresh(uuid)
        copies = self._catalogue.copies.get(uuid, ())
        copy = next((s for s in copies if self._catalogue.shown(s) == path), None)
        if copy is None:
            raise MissingError(f"{path} is not the snapshot {uuid} (any more); it was not deleted")
        with self._mapped(f"deleting {path}"):
            self._destroy(copy, path)

    def clean(self, partial: Partial) -> None:
        """See `store.Sink`; of what may not be ours nothing but the subvolume itself goes."""
        work = self._catalogue.at(partial.path)
        if work is None or partial not in self._catalogue.inventory.partials:
            raise MissingError(f"{partial.path} is no leftover of a transfer (any more)")
        unfinished = partial.uuid is not None and not partial.link
        doomed = (*self._catalogue.inside(partial.path), work) if unfinished else (work,)
        with self._mapped(f"removing {partial.path}"):
            with self._claimed(partial):
                for subvolume in doomed:
                    path = self._catalogue.relative(subvolume) or ""
                    self._destroy(subvolume, path, unfinished=unfinished)
            # Not while it is claimed: what is open is not freed.
            wait_until_freed(self._fd, [subvolume.treeid for subvolume in doomed])

    def flush(self) -> None:
        """See `store.Sink`."""
        with self._mapped("writing to the disk"):
            if self._released:
                wait_until_freed(self._fd, self._released)
                self._released.clear()
            else:
                ioctl.sync(self._fd)

    @contextmanager
    def _claimed(self, partial: Partial) -> Iterator[None]:
        """Make sure that no run is at work on a partial, and keep it so."""
        parents, _ = beneath.split(partial.path)
        with ExitStack() as stack:
            directory_fd = stack.enter_context(beneath.opened(self._fd, parents, same_mount=True))
            if partial.link:
                # The runs that build on it hold the directory that it is in.
                if parents or self._lock_fd is None:
                    name = os.path.join(self._path, *parents)
                    stack.enter_context(_locked(directory_fd, name))
            elif partial.uuid is not None:
                with suppress(FileNotFoundError):
                    fd = claim(directory_fd, os.fsencode(work_name(partial.uuid)))
                    stack.callback(os.close, fd)
            yield

    def _read_catalogue(self) -> Catalogue:
        """See `BtrfsSource`; with what leftovers can be gone on from."""
        catalogue = super()._read_catalogue()
        inventory = catalogue.inventory
        if not inventory.partials or self._receiver is not Receiver.OWN:
            return catalogue
        with self._mapped("looking at leftovers"):
            partials = tuple(map(self._with_checkpoint, inventory.partials))
        return replace(catalogue, inventory=replace(inventory, partials=partials))

    def _with_checkpoint(self, partial: Partial) -> Partial:
        """Add what receiving the same stream again would go on from."""
        if partial.uuid is None or partial.link:
            return partial
        try:
            with beneath.opened(self._fd, partial.path.split("/"), same_mount=True) as work_fd:
                saved = checkpoints.load(work_fd)
        except OSError:  # it has gone, or something is mounted over it; it is a leftover anyway
            return partial
        if saved is None or saved.checkpoint.diff.to != partial.uuid:
            return partial
        return replace(partial, checkpoint=saved.checkpoint)

    @contextmanager
    def _cleared(self, landing: Landing) -> Iterator[None]:
        """Remove a landing after the block; if that fails, keep what can be gone on from.

        If that fails, it is a leftover like any other: the snapshot is there nevertheless, or
        the first cause is what counts.
        """
        worthless = True
        try:
            yield
            with suppress(OSError):
                landing.clear()
        except WORTHLESS:
            with suppress(OSError, BusyError):
                wait_until_freed(self._fd, landing.clear())
            raise
        except UnavailableError:
            worthless = False  # the other end has gone, so no transfer waits for the space
            raise
        except Exception:
            worthless = False
            with suppress(OSError, BusyError):
                # The next transfer may need the space.
                wait_until_freed(self._fd, landing.settle())
            raise
        except BaseException:
            worthless = False
            raise
        finally:
            with suppress(OSError, BusyError):
                # Perhaps interrupted in the middle of that.
                landing.clear() if worthless else landing.settle()
            landing.let_go()

    def _open_for(self, diff: Diff, uuid: UUID) -> int:
        """Open the parent of a diff, or another snapshot that its stream clones from.

        Raises:
            MissingError: It is not here, or is none of those that may be used.
        """
        # Of a series, each builds on the one that has just come in: no need to search for it.
        placed = self._placed.get(uuid)
        if placed is not None:
            return self._open(str(uuid), treeid=placed.treeid, uuid=placed.uuid)
        copy = self._copy(uuid)
        if uuid != diff.parent and self._catalogue.shown(copy) is None:
            raise MissingError(f"{self.name} has no snapshot {uuid}, which the stream clones from")
        return self._open_copy(copy)

    def _vet_path(self, path: str) -> str:
        """Check where a snapshot is to be; return its name there.

        Raises:
            UsageError: It is no path below the directory.
        """
        return beneath.split(path)[1]

    @contextmanager
    def _room_for(self, path: str) -> Iterator[int]:
        """Open the directory in which `path` is to be made; leave no directory after a failure."""
        parents, _ = beneath.split(path)
        made = beneath.make_directories(self._fd, parents, same_mount=True)
        try:
            with beneath.opened(self._fd, parents, same_mount=True) as directory_fd:
                if beneath.exists(self._fd, path, same_mount=True):
                    raise PathTakenError(
                        f"something else is at {os.path.join(self._path, path)}",
                        "move it away, or exclude this snapshot",
                    )
                yield directory_fd
        except BaseException:
            beneath.remove_directories(self._fd, made)
            raise

    def _destroy(self, subvolume: Subvolume, path: str, *, unfinished: bool = False) -> None:
        """Delete the subvolume at `path`, once it is seen to be that one, and as it was listed.

        What is `unfinished`, and surely ours, may have got farther since.
        """
        parents, name = beneath.split(path)
        gone = MissingError(f"{path} has gone or been replaced meanwhile; it was not deleted")
        try:
            with beneath.opened(self._fd, [*parents, name], same_mount=True) as fd:
                found = ioctl.subvolume_info(fd)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise gone from error
        if found.treeid != subvolume.treeid or found.uuid != subvolume.uuid:
            raise gone
        listed = (subvolume.readonly, subvolume.received_uuid)
        if not unfinished and (found.readonly, found.received_uuid) != listed:
            raise MissingError(f"{path} has been changed meanwhile; it was not deleted")
        with beneath.opened(self._fd, parents, same_mount=True) as directory_fd:
            try:
                ioctl.destroy_subvolume(directory_fd, os.fsencode(name))
            except PermissionError as error:
                # Whoever has got here has all rights (fs/btrfs/ioctl.c, btrfs_delete_subvolume).
                raise BusyError(
                    f"{path} can't be deleted: it is being sent, or is mounted by default",
                    "run again when that has ended",
                ) from error


@contextmanager
def _locked(directory_fd: int, name: str) -> Iterator[int]:
    """Lock a directory, called `name` in messages, while the block lasts; give what holds it."""
    fd = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=directory_fd)
    try:
        _wait_for_lock(fd, name)
        yield fd
    finally:
        os.close(fd)


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

"""Where a snapshot is received, and how it gets its final name.

A transfer takes place inside a subvolume with a hidden name, `.buttersink-<uuid>.part`, in the
final directory. It holds

    new      the subvolume being received: empty at first, or a copy of the parent; it is all
             that our own receiver can reach
    mark-…   what an interrupted transfer can go on from, see `checkpoints`
    parent   only for `btrfs receive`, whose root directory is the hidden subvolume: a snapshot
             of the parent; its fresh received_uuid is what the stream is told to build on, so
             that the program can't find another parent than the planned one

so that a hostile stream can reach nothing else, on a mount where device nodes are only names. When
all its data is on the disk, the finished subvolume is moved to `.buttersink-<uuid>.new` in the
final directory (for which it must be writable), is stamped with its identity, made read-only, and
only then gets its final name, which for a link is the hidden `.buttersink-<uuid>.link`. Whatever
is killed at any moment, nothing half-done has a final name.
"""

from __future__ import annotations

import fcntl
import os
from typing import TYPE_CHECKING, Final
from uuid import uuid4

from buttersink.btrfs import ioctl
from buttersink.btrfs.progs_receive import ReceiveProcess
from buttersink.errors import BusyError, PathTakenError, TransferError
from buttersink.stores import checkpoints
from buttersink.stores.own_names import staged_name, work_name

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

    from buttersink.btrfs.ioctl import SubvolumeInfo
    from buttersink.btrfs.receive import Mark
    from buttersink.model import Checkpoint
    from buttersink.stores.checkpoints import Saved

RECEIVED_NAME: Final = b"new"
_PARENT_NAME: Final = b"parent"
_WATCHERS: Final = 2
"""One more than a run can be interrupted while it waits for the disk."""
_WORK_MODE: Final = 0o700
"""Nobody else shall see, or touch, what is half done."""


class Landing:
    """The hidden subvolume in which one snapshot is received; see the module's text."""

    def __init__(self, directory_fd: int, identity: UUID) -> None:
        """Remember where; nothing is made yet."""
        self._directory_fd = directory_fd
        self._identity = identity
        self._name = os.fsencode(work_name(identity))
        self._work_fd: int | None = None
        """The work subvolume, locked; None while there is none of ours."""
        self._watchers: list[int] = []
        """Descriptors of the work subvolume that are still to be told of lost writes, once each."""
        self._parent: UUID | None = None
        """What `btrfs receive` has as parent."""
        self._lost = ""
        """Why what is being received may never be on the disk; empty if it will be."""

    @property
    def work_fd(self) -> int:
        """The hidden subvolume, once it is prepared."""
        if self._work_fd is None:
            raise AssertionError("prepare comes first")
        return self._work_fd

    def find_saved(self) -> Saved | None:
        """Return what an interrupted transfer has left to go on from; nothing is made for that.

        Raises:
            BusyError: Another run is receiving the same snapshot there.
        """
        try:
            self._claim()
        except FileNotFoundError:
            return None
        return checkpoints.load(self.work_fd)

    def begin(self, parent_fd: int | None) -> None:
        """Make it anew, with a copy of the parent, or nothing, to receive in.

        Raises:
            BusyError: Another run is receiving the same snapshot there.
        """
        self._begin()
        if parent_fd is None:
            ioctl.create_subvolume(self.work_fd, RECEIVED_NAME)
        else:
            ioctl.create_snapshot(self.work_fd, RECEIVED_NAME, source_fd=parent_fd, readonly=False)

    def go_on(self, saved: Saved) -> None:
        """Receive in what was saved, whatever else had come after that."""
        _destroy_if_there(self.work_fd, RECEIVED_NAME)
        saved_fd = _open_directory(self.work_fd, saved.name)
        try:
            ioctl.create_snapshot(self.work_fd, RECEIVED_NAME, source_fd=saved_fd, readonly=False)
        finally:
            os.close(saved_fd)

    def save(self, checkpoint: Checkpoint, mark: Mark) -> None:
        """Keep what has been received so far, to go on from there; nobody is receiving now.

        Raises:
            OSError: There is no room, say; what was saved before is there still.
            TransferError: Data that came has been lost on the way to the disk.
        """
        self._sync()
        received_fd = self.open_received()
        try:
            checkpoints.save(self.work_fd, received_fd, checkpoint, mark)
        finally:
            os.close(received_fd)

    def open_received(self) -> int:
        """Open the top directory of the subvolume in which is received."""
        return _open_directory(self.work_fd, RECEIVED_NAME)

    def prepare_for_program(self, parent_fd: int | None) -> UUID | None:
        """Make it anew for `btrfs receive`; return what a stream is to call the parent.

        Raises:
            BusyError: Another run is receiving the same snapshot there.
        """
        work_fd = self._begin()
        if parent_fd is None:
            return None
        ioctl.create_snapshot(work_fd, _PARENT_NAME, source_fd=parent_fd, readonly=False)
        copy_fd = _open_directory(work_fd, _PARENT_NAME)
        try:
            # The program finds the parent by either uuid, but the source of a CLONE only by
            # received_uuid (cmds/receive.c, process_snapshot and process_clone).
            alias = uuid4()
            ioctl.set_received(copy_fd, received_uuid=alias, stransid=0)
            self._parent = ioctl.subvolume_info(copy_fd).uuid
        finally:
            os.close(copy_fd)
        return alias

    def program(self, program: str, lock_fd: int | None) -> ReceiveProcess:
        """Start the receiving program, confined to the work subvolume.

        Args:
            program: Absolute path of `btrfs`.
            lock_fd: A lock that must be held as long as the program runs, also without us.
        """
        work_fd = self.work_fd
        keep = (work_fd,) if lock_fd is None else (work_fd, lock_fd)
        return ReceiveProcess(program, work_fd, keep_fds=keep)

    def take_from_program(self) -> int:
        """Check what `btrfs receive` has made, and return the sender's ctransid of it.

        Raises:
            TransferError: The result is not what it should be.
        """
        received_fd = self.open_received()
        try:
            info = ioctl.subvolume_info(received_fd)
            expected = (self._identity, self._parent, True)
            if (info.received_uuid, info.parent_uuid, info.readonly) != expected:
                raise TransferError(
                    f"the received subvolume is not what was sent: received_uuid "
                    f"{info.received_uuid}, parent_uuid {info.parent_uuid}, "
                    f"{'read-only' if info.readonly else 'writable'}"
                )
            # A read-only subvolume can't be renamed across directories.
            ioctl.set_writable(received_fd)
            return info.stransid
        finally:
            os.close(received_fd)

    def commit(self, name: str, stransid: int) -> SubvolumeInfo:
        """Put what was received at its final name, and return what is there now.

        Args:
            name: Its final name in the directory.
            stransid: The sender's ctransid.

        Raises:
            TransferError: The result is not what it should be.
            PathTakenError: Something has taken the name meanwhile.
        """
        work_fd = self.work_fd
        # All data must be on the disk before anything has the final name.
        self._sync()

        def move(staged: bytes) -> None:
            os.rename(RECEIVED_NAME, staged, src_dir_fd=work_fd, dst_dir_fd=self._directory_fd)

        return _stage(
            self._directory_fd, name, make=move, identity=self._identity, stransid=stransid
        )

    def settle(self) -> tuple[int, ...]:
        """Leave nothing but what the next transfer can go on from; return the ids of what was.

        Raises:
            BusyError: It belongs to another run.
        """
        if self.find_saved() is None:
            return self.clear()
        gone = _destroy_if_there(self.work_fd, RECEIVED_NAME)
        return () if gone is None else (gone,)

    def let_go(self) -> None:
        """Let others have what is left; nothing can be done with it afterwards."""
        if self._work_fd is not None:
            os.close(self._work_fd)
            self._work_fd = None
        while self._watchers:
            os.close(self._watchers.pop())

    def clear(self) -> tuple[int, ...]:
        """Remove the work subvolume, with all in it, if it is there; return the ids of what was.

        Raises:
            BusyError: It belongs to another run.
        """
        try:
            work_fd = self._claim()
        except FileNotFoundError:
            return ()
        work_id = ioctl.subvolume_info(work_fd).treeid
        inner = (RECEIVED_NAME, _PARENT_NAME, *checkpoints.mark_names(work_fd))
        inner_ids = [_destroy_if_there(work_fd, name) for name in inner]
        _destroy_if_there(self._directory_fd, self._name)
        self.let_go()
        return (*(treeid for treeid in inner_ids if treeid is not None), work_id)

    def _sync(self) -> None:
        """Wait until all that was received is on the disk.

        Raises:
            TransferError: It is not, and never will be.
        """
        if not self._lost:
            self._lost = "nobody was told whether all was written"
            try:
                ioctl.sync_surely(self._watchers[-1])
            except OSError as error:
                self._lost = error.strerror or str(error)  # it is told once, and stays lost
            except BaseException:
                # Interrupted. It may have been told already, and nobody has heard.
                os.close(self._watchers.pop())
                if self._watchers:
                    self._lost = ""
                raise
            else:
                self._lost = ""
        if self._lost:
            raise TransferError(
                f"data was lost on the way to the disk: {self._lost}",
                "see dmesg; what has come since the last checkpoint is sent again",
            )

    def _begin(self) -> int:
        self.clear()
        ioctl.create_subvolume(self._directory_fd, self._name)
        work_fd = self._claim()
        status = os.fstat(work_fd)
        if status.st_ino != ioctl.ROOT_DIRECTORY_INODE or status.st_uid != os.geteuid():
            raise BusyError(
                f"somebody has put something else in the place of {os.fsdecode(self._name)}",
                "receive in a directory that nobody else may write to",
            )
        os.fchmod(work_fd, _WORK_MODE)
        return work_fd

    def _claim(self) -> int:
        if self._work_fd is None:
            self._work_fd = claim(self._directory_fd, self._name)
            for _ in range(_WATCHERS):
                self._watchers.append(_open_directory(self._work_fd, b"."))
        return self._work_fd


def claim(directory_fd: int, name: bytes) -> int:
    """Open a work subvolume and lock it; the lock lasts until all copies of this are closed.

    The lock on a destination does not protect what another run receives somewhere below it.

    Raises:
        FileNotFoundError: There is none.
        BusyError: Another run holds it.
    """
    fd = _open_directory(directory_fd, name)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(fd)
        raise BusyError(
            f"another run is receiving in {os.fsdecode(name)}",
            "wait until it has ended, then run again",
        ) from error
    return fd


def place(
    directory_fd: int, name: str, *, source_fd: int, identity: UUID, stransid: int
) -> SubvolumeInfo:
    """Make a read-only copy of a subvolume at `name`, with the given identity.

    Returns what the kernel says of it.

    Raises:
        PathTakenError: Something is at `name`.
    """

    def copy(staged: bytes) -> None:
        ioctl.create_snapshot(directory_fd, staged, source_fd=source_fd, readonly=False)

    return _stage(directory_fd, name, make=copy, identity=identity, stransid=stransid)


def _stage(
    directory_fd: int,
    name: str,
    *,
    make: Callable[[bytes], None],
    identity: UUID,
    stransid: int,
) -> SubvolumeInfo:
    """Let `make` put a writable subvolume at a hidden name, finish it there, and name it.

    After a failure or an interrupt nothing has the hidden name. This is no context manager,
    because an interrupt can get in between the start of one and its block.
    """
    staged = os.fsencode(staged_name(identity))
    _destroy_if_there(directory_fd, staged)
    try:
        make(staged)
        return _finish(directory_fd, staged, name, identity=identity, stransid=stransid)
    except BaseException:
        _destroy_if_there(directory_fd, staged)
        raise


def _finish(
    directory_fd: int, staged: bytes, name: str, *, identity: UUID, stransid: int
) -> SubvolumeInfo:
    """Stamp the writable subvolume `staged` with its identity, and give it its final name.

    Its rtransid is newer than all its data, which tells later that it wasn't changed since.
    """
    fd = _open_directory(directory_fd, staged)
    try:
        ioctl.set_received(fd, received_uuid=identity, stransid=stransid)
        ioctl.set_readonly(fd)
        info = ioctl.subvolume_info(fd)
        if (info.received_uuid, info.stransid, info.readonly) != (identity, stransid, True):
            raise TransferError(f"the kernel did not record what was received: {info}")
        try:
            ioctl.rename_new(directory_fd, staged, os.fsencode(name))
        except FileExistsError as error:
            raise PathTakenError(f"{name} has come into being meanwhile", "move it away") from error
        return ioctl.subvolume_info(fd)
    finally:
        os.close(fd)


def _open_directory(directory_fd: int, name: bytes) -> int:
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    return os.open(name, flags, dir_fd=directory_fd)


def _destroy_if_there(directory_fd: int, name: bytes) -> int | None:
    """Delete a subvolume; return its tree id, None if there was none."""
    try:
        fd = _open_directory(directory_fd, name)
    except FileNotFoundError:
        return None
    try:
        treeid = ioctl.subvolume_info(fd).treeid
    finally:
        os.close(fd)
    ioctl.destroy_subvolume(directory_fd, name)
    return treeid

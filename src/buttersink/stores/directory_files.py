"""The files of a directory of objects: found beneath its descriptor, and changed durably.

Nothing here needs more of the file system than that a rename within it is atomic: no extended
attributes, hard links, unnamed files or stable inode numbers.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from buttersink.btrfs import ioctl
from buttersink.errors import MissingError, NotPermittedError, PathTakenError, TransferError
from buttersink.stores import beneath
from buttersink.stores.mapping import mapped_error
from buttersink.stores.shelf import ShelfObject

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from buttersink.errors import ButterSinkError

ABSENT: Final = (FileNotFoundError, NotADirectoryError)
"""What opening a path ends in where the path is not; also where a link is on the way."""

_CREATE_TRIES: Final = 10
_COPY_BYTES: Final = 1 << 30
_IN_THE_WAY: Final = (PathTakenError, "something else is in the way: move it elsewhere")
_NOT_ALLOWED: Final = (NotPermittedError, "check who owns the directory, and its mode")
_FAILURES: Final[Mapping[int, tuple[type[ButterSinkError], str]]] = {
    errno.EACCES: _NOT_ALLOWED,
    errno.EPERM: _NOT_ALLOWED,
    errno.EROFS: (TransferError, "the file system is mounted read-only"),
    errno.EIO: (TransferError, "the disk or server fails: see dmesg"),
    errno.ENAMETOOLONG: (TransferError, "shorten it: names are of 255 bytes at most"),
    errno.EFBIG: (TransferError, "that is the file system's limit: FAT ends at 4 GiB"),
    errno.EXDEV: (TransferError, "no other file system may be mounted in the directory"),
    errno.ENOTDIR: _IN_THE_WAY,
    errno.ELOOP: _IN_THE_WAY,
    errno.EISDIR: _IN_THE_WAY,
    errno.ENOTEMPTY: _IN_THE_WAY,
    errno.EEXIST: _IN_THE_WAY,
}
_UNSUPPORTED: Final = frozenset(
    {errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM, errno.EXDEV}
)


def failure(error: OSError, doing: str) -> ButterSinkError:
    """Return the error a user understands for one of the system's with a file of an object."""
    if error.errno is None or error.errno not in _FAILURES:
        return mapped_error(error, doing)
    kind, hint = _FAILURES[error.errno]
    return kind(f"{doing}: {os.strerror(error.errno)}", hint)


@contextmanager
def reporting(doing: str) -> Iterator[None]:
    """Let only errors that a user can act on leave the block.

    Args:
        doing: What is tried in the block, with the key.
    """
    try:
        yield
    except OSError as error:
        raise failure(error, doing) from error


def described(key: str, status: os.stat_result) -> ShelfObject | None:
    """Return the object that a file is; None if it is something else than a file.

    There is no inode number in the etag: those of FAT change while the file system is mounted.
    """
    if not stat.S_ISREG(status.st_mode):
        return None
    return ShelfObject(
        key=key,
        nbytes=status.st_size,
        modified=datetime.fromtimestamp(status.st_mtime, UTC),
        etag=f"{status.st_mtime_ns}-{status.st_size}",
    )


@contextmanager
def scanned(directory_fd: int) -> Iterator[Iterator[os.DirEntry[str]]]:
    """Look through a directory.

    It is opened anew: copies of one descriptor share a position, and btrfs shows through one
    only what was there when it was opened (fs/btrfs/inode.c, btrfs_opendir).
    """
    fd = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=directory_fd)
    try:
        with os.scandir(fd) as entries:
            yield entries
    finally:
        os.close(fd)


def sync_directory(fd: int) -> None:
    """Bring what was renamed in a directory to the disk, where that can be asked for."""
    try:
        os.fsync(fd)
    except OSError as error:  # directories of some FUSE and SMB mounts know no fsync
        if error.errno not in _UNSUPPORTED:
            raise


def write_all(fd: int, data: bytes | bytearray, offset: int) -> None:
    """Write all of `data` at `offset`."""
    view = memoryview(data)
    while view:
        written = os.pwrite(fd, view, offset)
        view, offset = view[written:], offset + written


def rename_new(directory_fd: int, old: str, new: str) -> None:
    """Rename within a directory; FileExistsError if `new` is there."""
    source, target = os.fsencode(old), os.fsencode(new)
    try:
        ioctl.rename_new(directory_fd, source, target)
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise
    else:
        return
    try:  # NFS has no such rename, but links
        os.link(source, target, src_dir_fd=directory_fd, dst_dir_fd=directory_fd)
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise
    else:
        os.unlink(source, dir_fd=directory_fd)
        return
    try:  # FAT by FUSE has neither; the lock of the directory keeps others away
        os.stat(target, dir_fd=directory_fd, follow_symlinks=False)
    except FileNotFoundError:
        os.rename(source, target, src_dir_fd=directory_fd, dst_dir_fd=directory_fd)
    else:
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))


def _refuse_others(directory_fd: int, name: str) -> None:
    """Raise FileExistsError if something else than an object is about to be replaced."""
    try:
        status = os.stat(os.fsencode(name), dir_fd=directory_fd, follow_symlinks=False)
    except FileNotFoundError:
        return
    if not stat.S_ISREG(status.st_mode):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))


@dataclass(frozen=True, slots=True)
class Files:
    """The files beneath one directory; all methods raise `OSError` unless they say otherwise.

    Attributes:
        fd: Descriptor of the directory.
        name: As a user would write it, ending in a slash.
    """

    fd: int
    name: str

    def described(self, key: str) -> ShelfObject | None:
        """Return the object at a path; None if there is none."""
        parents, name = beneath.split(key)
        try:
            with beneath.opened(self.fd, parents) as fd:
                status = os.stat(os.fsencode(name), dir_fd=fd, follow_symlinks=False)
        except ABSENT:
            return None
        return described(key, status)

    @contextmanager
    def opened(self, thing: ShelfObject) -> Iterator[int]:
        """Open the file of an object for reading.

        Raises:
            MissingError: It is gone, or is not the one that was listed.
        """
        parents, name = beneath.split(thing.key)
        # Non-blocking: opening a pipe that somebody put there must not wait for a writer.
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            with beneath.opened(self.fd, parents) as directory_fd:
                fd = os.open(os.fsencode(name), flags, dir_fd=directory_fd)
        except OSError as error:
            if isinstance(error, ABSENT) or error.errno in {errno.ELOOP, errno.ENXIO}:
                raise MissingError(f"{self.name}{thing.key} is gone", "run again") from error
            raise
        try:
            found = described(thing.key, os.fstat(fd))
            if found is None or found.etag != thing.etag:
                raise MissingError(f"{self.name}{thing.key} was replaced meanwhile", "run again")
            yield fd
        finally:
            os.close(fd)

    def create(self, parents: list[str], name: str) -> int:
        """Create a file, with the directories that lead to it, and open it for writing.

        Its mode lets nobody else read it: it holds files of the snapshot's every user.

        Raises:
            PathTakenError: Something stands where a directory is needed.
            TransferError: Others keep removing the directory.
        """
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        for _ in range(_CREATE_TRIES):
            try:
                self._make(parents)
                with beneath.opened(self.fd, parents) as fd:
                    return os.open(os.fsencode(name), flags, 0o600, dir_fd=fd)
            except FileNotFoundError:  # another thread or run removed the empty directory
                continue
            except OSError:
                self.prune(parents)
                raise
        raise TransferError(
            f"{self.name}{'/'.join(parents)}: the directory is removed all the time"
        )

    def _make(self, parents: list[str]) -> None:
        """Make directories, durably."""
        for path in beneath.make_directories(self.fd, parents):
            with beneath.opened(self.fd, beneath.split(path)[0]) as fd:
                sync_directory(fd)

    def finish(self, parents: list[str], name: str, *, at: str, replace: bool) -> None:
        """Give a file, whose data is on the disk, its name in its directory, durably.

        Raises:
            FileExistsError: An object is at it and `replace` is false, or something else is.
        """
        with beneath.opened(self.fd, parents) as fd:
            if replace:
                _refuse_others(fd, at)
                os.rename(os.fsencode(name), os.fsencode(at), src_dir_fd=fd, dst_dir_fd=fd)
            else:
                rename_new(fd, name, at)
            sync_directory(fd)

    def move(self, source: str, target: str) -> None:
        """Move a file, durably; an object that is at `target` is replaced.

        Raises:
            FileExistsError: Something else is there.
            PathTakenError: Something stands where a directory is needed.
        """
        (parents, name), (new_parents, new_name) = beneath.split(source), beneath.split(target)
        self._make(new_parents)
        try:
            with (
                beneath.opened(self.fd, parents) as fd,
                beneath.opened(self.fd, new_parents) as new_fd,
            ):
                _refuse_others(new_fd, new_name)
                os.rename(
                    os.fsencode(name), os.fsencode(new_name), src_dir_fd=fd, dst_dir_fd=new_fd
                )
                sync_directory(new_fd)
                sync_directory(fd)
        except OSError:
            self.prune(new_parents)
            raise
        self.prune(parents)

    def unlink(self, parents: list[str], name: str) -> None:
        """Remove a file, durably, if it is there."""
        try:
            with beneath.opened(self.fd, parents) as fd:
                os.unlink(os.fsencode(name), dir_fd=fd)
                sync_directory(fd)
        except ABSENT:
            return

    def prune(self, parents: list[str]) -> None:
        """Remove of the directories that `parents` lead through those that are empty."""
        paths = ["/".join(parents[: depth + 1]) for depth in range(len(parents))]
        beneath.remove_directories(self.fd, paths)


def copy_within_kernel(source_fd: int, target_fd: int, nbytes: int) -> bool:
    """Copy a file, by reference where the file system can.

    Returns:
        Whether it was copied; if not, the file systems can't do it among themselves.

    Raises:
        OSError: ENOSPC and the like; EIO if the source is shorter.
    """
    done = 0
    while done < nbytes:
        try:
            count = os.copy_file_range(source_fd, target_fd, min(nbytes - done, _COPY_BYTES))
        except OSError as error:
            if error.errno in _UNSUPPORTED:
                return False
            raise
        if not count:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        done += count
    return True

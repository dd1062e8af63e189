"""Ways to what a stream names: never through a link, never out of the snapshot."""

from __future__ import annotations

import errno
import os
import stat
from typing import Final

from buttersink.btrfs.file_calls import open_beneath
from buttersink.errors import CorruptStreamError, TransferError

NO_FOLLOW: Final = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
"""For opening whatever a stream has put at a name: a fifo or terminal must do nothing to us."""

_DIRECTORY: Final = os.O_PATH | os.O_DIRECTORY

_KEPT: Final = 64
"""Directories that are kept open; commands that follow each other are near each other."""

_NOT_A_NAME: Final = frozenset((b"", b".", b".."))


class Directories:
    """The directories below a top directory, as descriptors; some are kept open.

    Whoever renames or removes a directory has to `forget` it: what is kept is found by its path,
    and that path may be another directory then, or a link.
    """

    def __init__(self, root_fd: int) -> None:
        """Begin with nothing kept.

        Args:
            root_fd: The top directory; it stays the caller's.

        Raises:
            TransferError: The kernel can't keep paths below a directory.
        """
        self._root_fd = root_fd
        self.device = os.fstat(root_fd).st_dev
        """Device number of all that is in this subvolume, and of nothing else."""
        self._kept: dict[bytes, int] = {}
        """By path; what was used last is last."""
        _check_kernel(root_fd)

    def parent(self, path: bytes) -> tuple[int, bytes]:
        """Return the directory that `path` is in, and its name there.

        The descriptor was opened with O_PATH. It, and that of the call before, stay open until
        the call after the next.

        Args:
            path: Not empty.

        Raises:
            CorruptStreamError: The way leads through a symbolic link, or out.
            OSError: There is no such directory.
        """
        directory, slash, name = path.rpartition(b"/")
        if name in _NOT_A_NAME:
            raise CorruptStreamError(f"unsafe path {os.fsdecode(path)!r}")
        if not slash:
            return self._root_fd, name
        fd = self._kept.pop(directory, None)
        if fd is None:
            fd = self._open(directory)
        self._kept[directory] = fd
        return fd, name

    def _open(self, directory: bytes) -> int:
        try:
            fd = open_beneath(self._root_fd, directory, _DIRECTORY)
        except OSError as error:
            if error.errno in {errno.ELOOP, errno.EXDEV}:
                raise CorruptStreamError(
                    f"the path {os.fsdecode(directory)!r} goes through a symbolic link, or leads "
                    "out of the snapshot",
                    "a btrfs file system does not make such a stream",
                ) from error
            raise
        if len(self._kept) >= _KEPT:
            os.close(self._kept.pop(next(iter(self._kept))))
        return fd

    def forget(self, *paths: bytes) -> None:
        """Let go of what is kept at any of these paths, and below."""
        below = tuple(path + b"/" for path in paths)
        for known in [each for each in self._kept if each in paths or each.startswith(below)]:
            os.close(self._kept.pop(known))

    def close(self) -> None:
        """Let go of all that is kept."""
        while self._kept:
            os.close(self._kept.popitem()[1])


def open_file(directories: Directories, path: bytes, flags: int) -> int:
    """Open a regular file, not through a link.

    Args:
        directories: Where it is.
        path: Not empty.
        flags: O_RDONLY or O_WRONLY; what reads leaves no trace in the access time.

    Raises:
        CorruptStreamError: It is a link or something else than a regular file.
        OSError: As `os.open`.
    """
    dir_fd, name = directories.parent(path)
    # Before it is opened: to open a device may do something, and not every mount is without them.
    # Nobody can change that meanwhile. Another device number is that of another subvolume.
    status = os.stat(name, dir_fd=dir_fd, follow_symlinks=False)
    if stat.S_ISDIR(status.st_mode) and flags & os.O_WRONLY:
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not stat.S_ISREG(status.st_mode) or status.st_dev != directories.device:
        raise _not_a_file(path)
    return os.open(name, flags | os.O_NOATIME | NO_FOLLOW, dir_fd=dir_fd)


def open_inode(directories: Directories, path: bytes) -> int | None:
    """Open a regular file or a directory to change its flags; None if it is something else.

    Raises:
        CorruptStreamError: The way to it leads through a link.
        OSError: As `os.open`.
    """
    dir_fd, name = directories.parent(path)
    mode = os.stat(name, dir_fd=dir_fd, follow_symlinks=False).st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        return None
    return os.open(name, os.O_RDONLY | NO_FOLLOW, dir_fd=dir_fd)


def _not_a_file(path: bytes) -> CorruptStreamError:
    return CorruptStreamError(
        f"{os.fsdecode(path)!r} is used as a file, but is a symbolic link or something special",
        "a btrfs file system does not make such a stream",
    )


def _check_kernel(root_fd: int) -> None:
    """Find out in time whether there is openat2: there is no safe way without it.

    Where a container's filter does not know a system call, it may say EPERM.
    """
    try:
        os.close(open_beneath(root_fd, b".", _DIRECTORY))
    except OSError as error:
        if error.errno not in {errno.ENOSYS, errno.EPERM}:
            raise
        raise TransferError(
            "the kernel, or the container, does not have the system call openat2, without which "
            "a stream can't be confined to its snapshot",
            "Linux 5.6 or newer is needed; --receiver btrfs-progs does without",
        ) from error

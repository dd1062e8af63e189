"""What a manifest does not tell of files: their flags, and where they hold data."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import struct
from contextlib import contextmanager
from enum import IntFlag
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_GETFLAGS = 0x80086601  # FS_IOC_GETFLAGS, linux/fs.h
_SETFLAGS = 0x40086602
_GETVERSION = 0x80087601
_LONG = struct.Struct("=l")


class Flags(IntFlag):
    """The flags of inodes that btrfs has and users can set (FS_*_FL in linux/fs.h)."""

    COMPR = 0x4
    SYNC = 0x8
    IMMUTABLE = 0x10
    APPEND = 0x20
    NODUMP = 0x40
    NOATIME = 0x80
    NOCOMP = 0x400
    DIRSYNC = 0x10000
    NOCOW = 0x800000


FREE = Flags.SYNC | Flags.IMMUTABLE | Flags.APPEND | Flags.NODUMP | Flags.NOATIME | Flags.DIRSYNC
"""Those that do not depend on what a file holds, or on how the file system is mounted."""
PINS = Flags.IMMUTABLE | Flags.APPEND
"""With one of these a file can't be changed as others can."""


@contextmanager
def _opened(path: bytes) -> Iterator[int]:
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        yield fd
    finally:
        os.close(fd)


def get_flags(path: bytes) -> Flags:
    """Return the flags of a file or directory, as lsattr(1) shows them."""
    with _opened(path) as fd:
        (bits,) = _LONG.unpack(fcntl.ioctl(fd, _GETFLAGS, bytes(_LONG.size)))
    return Flags(bits)


def set_flags(path: bytes, flags: Flags) -> None:
    """Give a file or directory exactly these flags, as chattr(1) does."""
    with _opened(path) as fd:
        fcntl.ioctl(fd, _SETFLAGS, _LONG.pack(int(flags)))


def changed_flags(
    before: str | os.PathLike[str], after: str | os.PathLike[str], paths: Iterable[bytes]
) -> dict[bytes, Flags]:
    """Return the flags of files that have the same path in two snapshots, but not the same flags.

    Those are what the kernel tells of flags: it is silent on what files have from the start.
    Both snapshots have all of `paths`.
    """
    found = {}
    for path in paths:
        old, new = (os.path.join(os.fsencode(top), path) for top in (before, after))
        if _is_same_inode(old, new):
            flags = get_flags(new)
            if flags != get_flags(old):
                found[path] = flags
    return found


def _is_same_inode(one: bytes, two: bytes) -> bool:
    """Tell whether two paths of two snapshots are of one file or directory, which has flags."""
    status = [os.lstat(path) for path in (one, two)]
    if status[0].st_ino != status[1].st_ino:
        return False
    if not (stat.S_ISREG(status[1].st_mode) or stat.S_ISDIR(status[1].st_mode)):
        return False
    if stat.S_IFMT(status[0].st_mode) != stat.S_IFMT(status[1].st_mode):
        return False
    return _generation(one) == _generation(two)


def _generation(path: bytes) -> int:
    with _opened(path) as fd:
        (number,) = _LONG.unpack(fcntl.ioctl(fd, _GETVERSION, bytes(_LONG.size)))
    return int(number)


def all_layouts(
    top: str | os.PathLike[str], paths: Iterable[bytes]
) -> dict[bytes, tuple[tuple[int, int], ...]]:
    """Return where the regular files among the paths below `top` hold data: starts and ends."""
    found = {}
    for path in paths:
        full = os.path.join(os.fsencode(top), path)
        if stat.S_ISREG(os.lstat(full).st_mode):
            with _opened(full) as fd:
                found[path] = tuple(_data(fd))
    return found


def _data(fd: int) -> Iterator[tuple[int, int]]:
    end = 0
    while True:
        try:
            start = os.lseek(fd, end, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:  # no data any more
                return
            raise
        end = os.lseek(fd, start, os.SEEK_HOLE)
        yield start, end

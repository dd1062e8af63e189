"""System calls that Python has no name for. Numbers from linux/fs.h, falloc.h and btrfs.h.

Apart from the code under test on purpose, which is not to make the trees it is judged by.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import struct
from contextlib import contextmanager
from enum import IntFlag
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_libc = ctypes.CDLL(None, use_errno=True)
_libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]
_libc.renameat2.argtypes = [
    ctypes.c_int,
    ctypes.c_char_p,
    ctypes.c_int,
    ctypes.c_char_p,
    ctypes.c_uint,
]

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2
_FICLONE = 0x40049409
_FICLONERANGE = 0x4020940D
_FS_IOC_GETFLAGS = 0x80086601
_FS_IOC_SETFLAGS = 0x40086602
_FS_NOCOW_FL = 0x00800000
_BTRFS_IOC_SUBVOL_CREATE = 0x5000940E
_BTRFS_IOC_SNAP_CREATE_V2 = 0x50009417
_BTRFS_SUBVOL_RDONLY = 2
_VOL_ARGS = struct.Struct("=q4088s")
_VOL_ARGS_V2 = struct.Struct("=qQQ32x4040s")

CLONE_BLOCK = 4096
"""Clones of a part of a file start and end at multiples of this (the sector size)."""


class Fallocate(IntFlag):
    """The modes of fallocate(2) that btrfs has."""

    ALLOCATE = 0
    KEEP_SIZE = 1
    PUNCH_HOLE = 2
    ZERO_RANGE = 16


def fallocate(fd: int, mode: Fallocate, *, offset: int, length: int) -> None:
    """Call fallocate(2); offset and length in bytes."""
    _check(_libc.fallocate(fd, mode, offset, length))


def exchange(one: bytes, two: bytes) -> None:
    """Swap two names in one step: renameat2(2) with RENAME_EXCHANGE."""
    _check(_libc.renameat2(_AT_FDCWD, one, _AT_FDCWD, two, _RENAME_EXCHANGE))


def _check(result: int) -> None:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


@contextmanager
def unless_invalid() -> Iterator[None]:
    """Pass over what the kernel refuses as invalid (EINVAL), as it does each time it is tried."""
    try:
        yield
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise


def clone(source_fd: int, fd: int) -> None:
    """Make the file `fd` share all extents of `source_fd`."""
    fcntl.ioctl(fd, _FICLONE, source_fd)


def clone_range(source_fd: int, fd: int, *, source_offset: int, length: int, offset: int) -> None:
    """Make a range of `fd` share the extents of a range of `source_fd`; all in bytes."""
    fcntl.ioctl(fd, _FICLONERANGE, struct.pack("=qQQQ", source_fd, source_offset, length, offset))


def disable_copy_on_write(directory: bytes) -> None:
    """Do what `chattr +C` does; files that are made in the directory will inherit it."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        (flags,) = struct.unpack("=l", fcntl.ioctl(fd, _FS_IOC_GETFLAGS, bytes(4)))
        fcntl.ioctl(fd, _FS_IOC_SETFLAGS, struct.pack("=l", flags | _FS_NOCOW_FL))
    finally:
        os.close(fd)


def create_subvolume(path: str | os.PathLike[str]) -> None:
    """Make an empty subvolume."""
    parent, name = os.path.split(os.fsencode(path))
    _subvolume_ioctl(parent, _BTRFS_IOC_SUBVOL_CREATE, _VOL_ARGS.pack(0, name))


def snapshot_read_only(source: str | os.PathLike[str], path: str | os.PathLike[str]) -> None:
    """Make a read-only snapshot of the subvolume `source` at `path`."""
    parent, name = os.path.split(os.fsencode(path))
    fd = os.open(source, os.O_RDONLY | os.O_DIRECTORY)
    try:
        request = _VOL_ARGS_V2.pack(fd, 0, _BTRFS_SUBVOL_RDONLY, name)
        _subvolume_ioctl(parent, _BTRFS_IOC_SNAP_CREATE_V2, request)
    finally:
        os.close(fd)


def _subvolume_ioctl(parent: bytes, number: int, request: bytes) -> None:
    fd = os.open(parent or b".", os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.ioctl(fd, number, bytearray(request))  # ioctl takes no immutable bytes this long
    finally:
        os.close(fd)

"""fallocate(2) with any mode, which Python has no name for."""

from __future__ import annotations

import ctypes

from buttersink.btrfs.libc import checked, libc

_fallocate = libc.fallocate
_fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)


def fallocate(fd: int, mode: int, *, offset: int, size: int) -> None:
    """Change how a range of a file is allocated, as the system call of this name does.

    Args:
        fd: The file, open for writing.
        mode: FALLOC_FL_* of linux/falloc.h; 0 allocates.
        offset: Start of the range, in bytes.
        size: Its length, in bytes.

    Raises:
        OSError: As the kernel gave it.
    """
    checked(_fallocate(fd, mode, offset, size))

"""Opening directories without leaving the mount that one is in.

A subvolume has a device number of its own, and a directory that is bound to another place has
the one of its file system. So only the kernel's path walk, and the id of a mount, tell whether a
mount was crossed; subvolumes that are reached in the tree are not.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from typing import Final

_NR_OPENAT2: Final = 437
"""On all architectures that Python runs on but alpha (include/uapi/asm-generic/unistd.h)."""

_OPEN_HOW: Final = struct.Struct("=QQQ")
"""struct open_how of linux/openat2.h: flags, mode, resolve."""
_RESOLVE_NO_XDEV: Final = 0x01

_libc: Final = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long

_NOT_THERE: Final = frozenset({errno.ENOSYS, errno.EPERM})
"""What openat2 fails with before Linux 5.6, and where a container's filter does not know it."""


def open_in_mount(name: bytes, flags: int, *, dir_fd: int) -> int:
    """Open `name`, one component, in a directory; see openat2(2), RESOLVE_NO_XDEV.

    Raises:
        OSError: With EXDEV if something is mounted there; else as `os.open`.
    """
    how = _OPEN_HOW.pack(flags, 0, _RESOLVE_NO_XDEV)
    fd: int = _libc.syscall(
        ctypes.c_long(_NR_OPENAT2),
        ctypes.c_int(dir_fd),
        ctypes.c_char_p(name),
        ctypes.c_char_p(how),
        ctypes.c_size_t(len(how)),
    )
    if fd >= 0:
        return fd
    number = ctypes.get_errno()
    if number not in _NOT_THERE:
        raise OSError(number, os.strerror(number), os.fsdecode(name))
    fd = os.open(name, flags, dir_fd=dir_fd)
    try:
        if _mount_id(fd) != _mount_id(dir_fd):
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), os.fsdecode(name))
    except BaseException:
        os.close(fd)
        raise
    return fd


def _mount_id(fd: int) -> bytes:
    """Return the id of the mount that a descriptor is in (proc_pid_fdinfo(5))."""
    with open(f"/proc/self/fdinfo/{fd}", "rb") as file:
        return next(line for line in file if line.startswith(b"mnt_id:"))

"""A file system in memory that nobody else can see, and that is gone when it is closed.

Numbers of calls and flags from asm-generic/unistd.h and linux/mount.h; those of these calls are
the same on all architectures but alpha.
"""

from __future__ import annotations

import ctypes
import os

_NR_FSOPEN, _NR_FSCONFIG, _NR_FSMOUNT = 430, 431, 432
_CLOEXEC = 1
_SET_STRING, _CREATE = 1, 6
_NOSUID, _NODEV, _NOEXEC = 2, 4, 8

_libc = ctypes.CDLL(None, use_errno=True)


def memory_mount(*, nbytes: int, inodes: int) -> int:
    """Return the top directory of a new tmpfs, without devices, that is mounted nowhere.

    Args:
        nbytes: The room there is for data.
        inodes: How many files there can be.

    Raises:
        OSError: It takes CAP_SYS_ADMIN.
    """
    fs_fd = _check(_libc.syscall(_NR_FSOPEN, b"tmpfs", _CLOEXEC))
    try:
        for name, value in ((b"size", nbytes), (b"nr_inodes", inodes), (b"mode", 755)):
            text = b"%d" % value
            _check(_libc.syscall(_NR_FSCONFIG, fs_fd, _SET_STRING, name, text, 0))
        _check(_libc.syscall(_NR_FSCONFIG, fs_fd, _CREATE, None, None, 0))
        flags = _NOSUID | _NODEV | _NOEXEC
        mount_fd = _check(_libc.syscall(_NR_FSMOUNT, fs_fd, _CLOEXEC, flags))
    finally:
        os.close(fs_fd)
    try:
        # It is one with O_PATH.
        return os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=mount_fd)
    finally:
        os.close(mount_fd)


def _check(result: int) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result

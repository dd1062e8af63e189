"""System calls on files that Python has no name for, as thin typed functions.

Every function raises `OSError` as the kernel gave it.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import struct
from typing import Final

from buttersink.btrfs.libc import checked, libc

_NR_OPENAT2: Final = 437
"""On all architectures that Python runs on but alpha (include/uapi/asm-generic/unistd.h)."""

# linux/openat2.h
_OPEN_HOW: Final = struct.Struct("=QQQ")
"""struct open_how: flags, mode, resolve."""
_RESOLVE_NO_XDEV: Final = 0x01
_RESOLVE_NO_MAGICLINKS: Final = 0x02
_RESOLVE_NO_SYMLINKS: Final = 0x04
_RESOLVE_BENEATH: Final = 0x08
_NO_WAY_OUT: Final = (
    _RESOLVE_NO_XDEV | _RESOLVE_NO_MAGICLINKS | _RESOLVE_NO_SYMLINKS | _RESOLVE_BENEATH
)

# struct file_clone_range of linux/fs.h: src_fd, src_offset, src_length, dest_offset.
_CLONE_RANGE: Final = struct.Struct("=qQQQ")
_FICLONERANGE: Final = 0x4020940D

# struct btrfs_ioctl_ino_lookup_args of linux/btrfs.h: treeid, objectid, name.
_INO_LOOKUP_ARGS: Final = struct.Struct("=QQ4080s")
_IOC_INO_LOOKUP: Final = 0xD0009412

_LONG: Final = struct.calcsize("l")
# linux/fs.h declares the argument as a long; the kernel takes an int (fs/ioctl.c).
_FLAGS: Final = struct.Struct("=i")
_FS_IOC_GETFLAGS: Final = 2 << 30 | _LONG << 16 | ord("f") << 8 | 1
_FS_IOC_SETFLAGS: Final = 1 << 30 | _LONG << 16 | ord("f") << 8 | 2

assert _CLONE_RANGE.size == 32  # noqa: S101 - a wrong layout must not survive the import
assert _INO_LOOKUP_ARGS.size == 4096  # noqa: S101 - likewise

_openat2 = libc.syscall
_openat2.restype = ctypes.c_long
_openat2.argtypes = (
    ctypes.c_long,
    ctypes.c_int,
    ctypes.c_char_p,
    ctypes.c_char_p,
    ctypes.c_size_t,
)


def open_beneath(dir_fd: int, path: bytes, flags: int) -> int:
    """Open `path` below a directory; see openat2(2).

    Fails with ELOOP if any component, the last one included, is a symbolic link, and with EXDEV
    if the path is absolute, leads out by `..`, or into what is mounted there.

    Args:
        dir_fd: Where to begin.
        path: Relative, without NUL.
        flags: As for `os.open`; O_CLOEXEC is added.
    """
    how = _OPEN_HOW.pack(flags | os.O_CLOEXEC, 0, _NO_WAY_OUT)
    fd: int = _openat2(_NR_OPENAT2, dir_fd, path, how, _OPEN_HOW.size)
    if fd < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), os.fsdecode(path))
    return fd


def clone_range(source_fd: int, fd: int, *, source_offset: int, length: int, offset: int) -> None:
    """Let a range of `fd` share the data of a range of `source_fd`: ioctl_ficlonerange(2).

    Offsets and length, not 0, are in bytes and whole blocks, but for a length that reaches the
    end of the source.
    """
    args = _CLONE_RANGE.pack(source_fd, source_offset, length, offset)
    fcntl.ioctl(fd, _FICLONERANGE, args)


def lookup_inode(fd: int, inode: int) -> bytes:
    """Return a path of an inode, from the top directory of the subvolume that `fd` is in.

    Of a file with several names it is any of them; of the top directory it is empty. Needs
    CAP_SYS_ADMIN. ENOENT if there is no such inode, or it has no name (any more).
    """
    args = ctypes.create_string_buffer(_INO_LOOKUP_ARGS.pack(0, inode, b""), _INO_LOOKUP_ARGS.size)
    checked(libc.ioctl(fd, ctypes.c_ulong(_IOC_INO_LOOKUP), args))
    name: bytes = _INO_LOOKUP_ARGS.unpack(args.raw)[2]
    return name.partition(b"\0")[0].removesuffix(b"/")


def file_flags(fd: int) -> int:
    """Return the FS_*_FL flags of an inode: ioctl_iflags(2)."""
    (flags,) = _FLAGS.unpack(fcntl.ioctl(fd, _FS_IOC_GETFLAGS, bytes(_FLAGS.size)))
    return int(flags)


def set_file_flags(fd: int, flags: int) -> None:
    """Set the FS_*_FL flags of an inode: ioctl_iflags(2).

    On btrfs this sets or removes the extended attribute btrfs.compression as well, as
    FS_COMPR_FL says.
    """
    fcntl.ioctl(fd, _FS_IOC_SETFLAGS, _FLAGS.pack(flags))

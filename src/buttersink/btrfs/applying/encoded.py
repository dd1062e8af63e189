"""Writing extents as they are on disk, without unpacking them where the kernel agrees.

The authorities are include/uapi/linux/btrfs.h for BTRFS_IOC_ENCODED_WRITE, and
btrfs_do_encoded_write in fs/btrfs/inode.c for what is refused.
"""

from __future__ import annotations

import ctypes
import errno
import os
from typing import Final

from buttersink.btrfs.libc import libc
from buttersink.errors import CorruptStreamError, TransferError
from buttersink.stream.unpacking import MAX_UNPACKED, unpack

_IOC_ENCODED_WRITE: Final = 0x40809440
"""_IOW(0x94, 64, 128 bytes)."""

_LARGEST_OFFSET: Final = (1 << 63) - 1

_REFUSALS: Final = frozenset(
    {
        # The file is without checksums or not empty up to the extent's odd end, the file system
        # has another sector size than LZO data is made for, or the data is as long as what it
        # unpacks to.
        errno.EINVAL,
        errno.ENOTTY,  # a kernel before 5.18, or not btrfs
        errno.EOPNOTSUPP,
        errno.ENOSPC,  # no free space in one piece, which plain data needs not
        errno.EPERM,  # no CAP_SYS_ADMIN, which plain data needs not
    }
)
"""After these errors plain data may still be written; if not, that fails with its own error."""


class _Iovec(ctypes.Structure):
    """struct iovec."""

    _fields_ = (("iov_base", ctypes.c_void_p), ("iov_len", ctypes.c_size_t))


class _EncodedIoArgs(ctypes.Structure):
    """struct btrfs_ioctl_encoded_io_args."""

    _fields_ = (
        ("iov", ctypes.POINTER(_Iovec)),
        ("iovcnt", ctypes.c_ulong),
        ("offset", ctypes.c_int64),
        ("flags", ctypes.c_uint64),
        ("len", ctypes.c_uint64),
        ("unencoded_len", ctypes.c_uint64),
        ("unencoded_offset", ctypes.c_uint64),
        ("compression", ctypes.c_uint32),
        ("encryption", ctypes.c_uint32),
        ("reserved", ctypes.c_uint8 * 64),
    )


assert ctypes.sizeof(_EncodedIoArgs) == 128  # noqa: S101 - a wrong layout must not survive the import


def write_encoded(
    fd: int,
    offset: int,
    data: memoryview,
    *,
    file_length: int,
    unencoded_length: int,
    unencoded_offset: int,
    compression: int,
    encryption: int,
) -> None:
    """Write an extent to a file, compressed as it is, or else what it unpacks to.

    The kernel takes compressed data unseen; if it is damaged, only reading it will fail.

    Args:
        fd: The file, open for writing.
        offset: Where in the file, in bytes.
        data: The extent.
        file_length: How many bytes of the file it is.
        unencoded_length: How many bytes it unpacks to.
        unencoded_offset: Where among these those of the file begin.
        compression: A number of `unpacking.Compression`.
        encryption: 0; nothing else exists so far.

    Raises:
        CorruptStreamError: The lengths don't fit each other, or the data, if it had to be
            unpacked, is damaged.
        TransferError: It is encrypted.
        OSError: As the kernel gave it.
    """
    if encryption:
        raise TransferError(f"an extent is encrypted (type {encryption}), which nothing can undo")
    if not (
        data
        and unencoded_length <= MAX_UNPACKED
        and 0 < file_length <= unencoded_length - unencoded_offset
        and offset + file_length <= _LARGEST_OFFSET
    ):
        raise CorruptStreamError(
            f"an extent can't be as it says: {file_length} bytes at {offset} of the file are those"
            f" from {unencoded_offset} on of {unencoded_length}, packed into {len(data)}"
        )
    # Not copied where it lies in a buffer of ours, as what comes out of a pipe does.
    first = ctypes.c_char.from_buffer(bytearray(data) if data.readonly else data)
    iovec = _Iovec(ctypes.addressof(first), len(data))
    args = _EncodedIoArgs(
        iov=ctypes.pointer(iovec),
        iovcnt=1,
        offset=offset,
        len=file_length,
        unencoded_len=unencoded_length,
        unencoded_offset=unencoded_offset,
        compression=compression,
    )
    if libc.ioctl(fd, ctypes.c_ulong(_IOC_ENCODED_WRITE), ctypes.byref(args)) >= 0:
        return
    error = ctypes.get_errno()
    if error not in _REFUSALS:
        raise OSError(error, os.strerror(error))
    plain = memoryview(unpack(data, compression, unencoded_length))
    _write(fd, offset, plain[unencoded_offset : unencoded_offset + file_length])


def _write(fd: int, offset: int, data: memoryview) -> None:
    while data:
        count = os.pwrite(fd, data, offset)
        offset, data = offset + count, data[count:]

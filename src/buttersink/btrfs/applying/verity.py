"""Enabling fs-verity: the kernel checks what is read of a file, and no one can change it.

The authority is include/uapi/linux/fsverity.h.
"""

from __future__ import annotations

import ctypes
import errno
import os
from typing import Final

from buttersink.btrfs.libc import libc
from buttersink.errors import TransferError

_IOC_ENABLE_VERITY: Final = 0x40806685
"""_IOW('f', 133, 128 bytes)."""


class _EnableArg(ctypes.Structure):
    """struct fsverity_enable_arg; its pointers are 64 bits everywhere."""

    _fields_ = (
        ("version", ctypes.c_uint32),
        ("hash_algorithm", ctypes.c_uint32),
        ("block_size", ctypes.c_uint32),
        ("salt_size", ctypes.c_uint32),
        ("salt_ptr", ctypes.c_uint64),
        ("sig_size", ctypes.c_uint32),
        ("reserved1", ctypes.c_uint32),
        ("sig_ptr", ctypes.c_uint64),
        ("reserved2", ctypes.c_uint64 * 11),
    )


assert ctypes.sizeof(_EnableArg) == 128  # noqa: S101 - a wrong layout must not survive the import


def enable_verity(
    fd: int, *, algorithm: int, block_size: int, salt: bytes, signature: bytes
) -> None:
    """Enable fs-verity on a file.

    Args:
        fd: The file, open for reading; as long as anybody has it open for writing, the kernel
            fails with ETXTBSY.
        algorithm: FS_VERITY_HASH_ALG_*.
        block_size: Of the blocks that are hashed, in bytes.
        salt: Goes into each hash; may be empty.
        signature: For the kernel's key ring; may be empty.

    Raises:
        TransferError: The file system or the kernel can't do it.
        OSError: As the kernel gave it.
    """
    salt_buffer = ctypes.create_string_buffer(salt, max(len(salt), 1))
    signature_buffer = ctypes.create_string_buffer(signature, max(len(signature), 1))
    arg = _EnableArg(
        version=1,
        hash_algorithm=algorithm,
        block_size=block_size,
        salt_size=len(salt),
        salt_ptr=ctypes.addressof(salt_buffer) if salt else 0,
        sig_size=len(signature),
        sig_ptr=ctypes.addressof(signature_buffer) if signature else 0,
    )
    if libc.ioctl(fd, ctypes.c_ulong(_IOC_ENABLE_VERITY), ctypes.byref(arg)) >= 0:
        return
    error = OSError(number := ctypes.get_errno(), os.strerror(number))
    if number in {errno.EOPNOTSUPP, errno.ENOTTY}:
        raise TransferError(
            "the file has fs-verity, which the file system or the kernel here can't do",
            "receive it with a kernel built with CONFIG_FS_VERITY",
        ) from error
    if number == errno.ENOPKG:
        raise TransferError(
            f"the file has fs-verity with a hash (number {algorithm}) that the kernel here lacks"
        ) from error
    raise error

"""Verity is enabled, or it is said that it can't be."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from buttersink.btrfs.applying.verity import enable_verity
from buttersink.errors import TransferError

if TYPE_CHECKING:
    from pathlib import Path

    from support.loopfs import LoopFs

KERNEL_HAS_IT = os.path.exists("/sys/fs/btrfs/features/verity")
SHA256 = 1


def enable(path: Path, *, salt: bytes = b"", block_size: int = 4096) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        enable_verity(fd, algorithm=SHA256, block_size=block_size, salt=salt, signature=b"")
    finally:
        os.close(fd)


@pytest.mark.parametrize("salt", [b"", b"salt"])
def test_a_file_on_btrfs_can_not_be_changed_afterwards_or_nothing_is_done(
    fs_a: LoopFs, salt: bytes
) -> None:
    path = fs_a.path / "file"
    path.write_bytes(b"data" * 5000)

    if KERNEL_HAS_IT:
        enable(path, salt=salt)
        with pytest.raises(PermissionError):
            path.write_bytes(b"other")
    else:
        with pytest.raises(TransferError, match="fs-verity"):
            enable(path, salt=salt)

    assert path.read_bytes() == b"data" * 5000


def test_a_file_system_that_has_it_not_is_told(scratch: Path) -> None:
    path = scratch / "file"
    path.write_bytes(b"data")

    with pytest.raises(TransferError, match="fs-verity, which the file system or the kernel"):
        enable(path)


def test_other_errors_are_those_of_the_kernel() -> None:
    with pytest.raises(OSError, match="Bad file descriptor"):
        enable_verity(-1, algorithm=SHA256, block_size=4096, salt=b"", signature=b"")

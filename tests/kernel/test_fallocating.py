"""Ranges of files are allocated, freed and zeroed."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from buttersink.btrfs.applying.fallocating import fallocate

if TYPE_CHECKING:
    from pathlib import Path

    from support.loopfs import LoopFs

ALLOCATE, KEEP_SIZE, PUNCH_HOLE, ZERO_RANGE = 0, 1, 2, 16
BLOCK = 4096


@pytest.fixture
def path(fs_a: LoopFs) -> Path:
    path = fs_a.path / "file"
    path.write_bytes(b"x" * 4 * BLOCK)
    return path


def change(path: Path, mode: int, *, offset: int, size: int) -> None:
    with path.open("r+b") as file:
        fallocate(file.fileno(), mode, offset=offset, size=size)


def test_a_file_grows(path: Path) -> None:
    change(path, ALLOCATE, offset=4 * BLOCK, size=BLOCK)

    assert path.read_bytes() == b"x" * 4 * BLOCK + bytes(BLOCK)


def test_a_file_keeps_its_size(path: Path) -> None:
    before = path.stat().st_blocks

    change(path, KEEP_SIZE, offset=4 * BLOCK, size=1 << 20)

    os.sync()
    assert path.stat().st_size == 4 * BLOCK
    assert path.stat().st_blocks > before


@pytest.mark.parametrize("mode", [PUNCH_HOLE | KEEP_SIZE, ZERO_RANGE, ZERO_RANGE | KEEP_SIZE])
def test_a_range_becomes_zeros(path: Path, mode: int) -> None:
    change(path, mode, offset=BLOCK, size=2 * BLOCK)

    assert path.read_bytes() == b"x" * BLOCK + bytes(2 * BLOCK) + b"x" * BLOCK


@pytest.mark.parametrize(
    ("mode", "offset", "size"),
    [
        (ALLOCATE, 0, 0),
        (ALLOCATE, 2**63, 1),
        (ALLOCATE, 0, 2**64 - 1),
        (PUNCH_HOLE, 0, BLOCK),
        (2**31, 0, BLOCK),
        (2**32 - 1, 0, BLOCK),
    ],
)
def test_what_the_kernel_refuses_is_an_error(path: Path, mode: int, offset: int, size: int) -> None:
    with pytest.raises(OSError, match=r"Invalid argument|not supported|too large"):
        change(path, mode, offset=offset, size=size)

    assert path.read_bytes() == b"x" * 4 * BLOCK

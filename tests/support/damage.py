"""Damage on a disk, below a file of a file system that is mounted."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

from support.loopfs import run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.loopfs import LoopFs

_BLOCK = 4096


def damage(fs: LoopFs, path: Path) -> None:
    """Overwrite a block of a file on the disk, so that its checksum is wrong."""
    run("btrfs", "filesystem", "sync", fs.path)
    place = _find_on_disk(fs.image, path.read_bytes()[5 * _BLOCK : 6 * _BLOCK])
    with fs.image.open("r+b", buffering=0) as image:
        os.pwrite(image.fileno(), bytes(_BLOCK), place)
    with path.open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)  # or it is read from memory


def _find_on_disk(image: Path, block: bytes) -> int:
    """Return where on a disk a block of data is that is there once."""
    with image.open("rb", buffering=0) as disk:
        places = [
            start + found
            for start, stop in _data_ranges(disk.fileno())
            if (found := os.pread(disk.fileno(), stop - start, start).find(block)) >= 0
        ]
    (place,) = places
    return place


def _data_ranges(fd: int) -> Iterator[tuple[int, int]]:
    """Yield the start and end of all parts of a sparse file that are no holes."""
    stop = 0
    while True:
        try:
            start = os.lseek(fd, stop, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:  # no more of them
                return
            raise
        stop = os.lseek(fd, start, os.SEEK_HOLE)
        yield start, stop

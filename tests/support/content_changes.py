"""Random changes to what files hold."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from support.awkward import MIB, awkward_size
from support.kernel_calls import (
    CLONE_BLOCK,
    Fallocate,
    clone,
    clone_range,
    fallocate,
    unless_invalid,
)
from support.live import Kind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from support.live import Live

_FURTHEST = 4 * MIB


@contextmanager
def _opened(live: Live) -> Iterator[int | None]:
    """Open any file for reading and writing; None if there is none."""
    entry = live.draw(Kind.FILE)
    if entry is None:
        yield None
        return
    with _descriptor(live.path(entry), os.O_RDWR) as fd:
        yield fd


@contextmanager
def _descriptor(path: bytes, flags: int) -> Iterator[int]:
    fd = os.open(path, flags | os.O_NOFOLLOW, 0o644)
    try:
        yield fd
    finally:
        os.close(fd)


def create_file(live: Live) -> bool:
    """Make a file, small enough to be inline or not."""
    place = live.draw_place()
    if place is None:
        return False
    with _descriptor(live.path_in(*place), os.O_WRONLY | os.O_CREAT | os.O_EXCL) as fd:
        os.write(fd, live.data.draw(awkward_size(live.rng)))
    live.add(*place, Kind.FILE)
    return True


def create_sparse_file(live: Live) -> bool:
    """Make a file that starts with a hole, and may end with one."""
    place = live.draw_place()
    if place is None:
        return False
    with _descriptor(live.path_in(*place), os.O_WRONLY | os.O_CREAT | os.O_EXCL) as fd:
        start = live.rng.randrange(_FURTHEST)
        data = live.data.draw(awkward_size(live.rng))
        os.pwrite(fd, data, start)
        if live.rng.random() < 0.5:
            os.ftruncate(fd, start + len(data) + live.rng.randrange(MIB))
    live.add(*place, Kind.FILE)
    return True


def append(live: Live) -> bool:
    """Write at the end of a file."""
    with _opened(live) as fd:
        if fd is None:
            return False
        os.pwrite(fd, live.data.draw(awkward_size(live.rng)), os.fstat(fd).st_size)
    return True


def overwrite(live: Live) -> bool:
    """Write within a file, perhaps over its end."""
    with _opened(live) as fd:
        if fd is None:
            return False
        offset = live.rng.randrange(os.fstat(fd).st_size + 1)
        os.pwrite(fd, live.data.draw(awkward_size(live.rng)), offset)
    return True


def truncate(live: Live) -> bool:
    """Cut a file, to nothing or to a part, or let it grow by a hole."""
    with _opened(live) as fd:
        if fd is None:
            return False
        size = os.fstat(fd).st_size
        os.ftruncate(fd, live.rng.choice((0, size // 2, max(size - 1, 0), size + 1, size + 70_000)))
    return True


def allocate(live: Live) -> bool:
    """Punch a hole, zero a range, or preallocate, within a file or over its end."""
    modes = (
        Fallocate.PUNCH_HOLE | Fallocate.KEEP_SIZE,
        Fallocate.ZERO_RANGE,
        Fallocate.ZERO_RANGE | Fallocate.KEEP_SIZE,
        Fallocate.ALLOCATE,
        Fallocate.KEEP_SIZE,
    )
    with _opened(live) as fd:
        if fd is None:
            return False
        offset = live.rng.randrange(os.fstat(fd).st_size + 1)
        length = max(awkward_size(live.rng), 1)
        if live.rng.random() < 0.5:
            offset -= offset % CLONE_BLOCK
            length += -length % CLONE_BLOCK
        fallocate(fd, live.rng.choice(modes), offset=offset, length=length)
    return True


def clone_file(live: Live) -> bool:
    """Reflink a whole file to a new one."""
    source, place = live.draw(Kind.FILE), live.draw_place()
    if source is None or place is None:
        return False
    with (
        _descriptor(live.path(source), os.O_RDONLY) as source_fd,
        _descriptor(live.path_in(*place), os.O_WRONLY | os.O_CREAT | os.O_EXCL) as fd,
        unless_invalid(),  # it is between files with and without checksums
    ):
        clone(source_fd, fd)
    live.add(*place, Kind.FILE)
    return True


def clone_part(live: Live) -> bool:
    """Reflink a range of a file into a file, perhaps itself, within it or beyond its end."""
    source = live.draw(Kind.FILE)
    if source is None:
        return False
    with _descriptor(live.path(source), os.O_RDONLY) as source_fd, _opened(live) as fd:
        blocks = os.fstat(source_fd).st_size // CLONE_BLOCK
        if fd is None or not blocks:
            return False
        start = live.rng.randrange(blocks)
        count = live.rng.randint(1, min(blocks - start, 64))
        last = os.fstat(fd).st_size // CLONE_BLOCK
        with unless_invalid():  # likewise, and onto itself
            clone_range(
                source_fd,
                fd,
                source_offset=start * CLONE_BLOCK,
                length=count * CLONE_BLOCK,
                offset=live.rng.randint(0, last + 2) * CLONE_BLOCK,
            )
    return True


CONTENT_CHANGES: tuple[tuple[float, Callable[[Live], bool]], ...] = (
    (22, create_file),
    (2, create_sparse_file),
    (6, append),
    (8, overwrite),
    (4, truncate),
    (3, allocate),
    (2, clone_file),
    (3, clone_part),
)

"""Facts of subvolumes as the product reads them, and what changes them."""

from __future__ import annotations

import fcntl
import os
import struct
import subprocess
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from buttersink.btrfs.subvolumes import (
    Subvolume,
    changed_since_received,
    lineage,
    list_subvolumes,
)
from support.loopfs import run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.loopfs import LoopFs

SUBVOL_SETFLAGS = 0x4008941A
CLOCK_REALTIME_COARSE = 5


@contextmanager
def opened(path: Path) -> Iterator[int]:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield fd
    finally:
        os.close(fd)


def listed(path: Path) -> tuple[Subvolume, ...]:
    with opened(path) as fd:
        return list_subvolumes(fd)


def subvolume_at(path: Path) -> Subvolume:
    """Return the facts of a subvolume, found by its id rather than by its path."""
    shown = run("btrfs", "inspect-internal", "rootid", path)
    return next(s for s in listed(path) if s.treeid == int(shown))


def lineage_of(path: Path) -> str | None:
    with opened(path) as fd:
        return lineage(fd, subvolume_at(path).treeid)


def is_changed(path: Path) -> bool:
    with opened(path) as fd:
        return changed_since_received(fd, subvolume_at(path))


def receive(snapshot: Path, directory: Path, *, parent: Path | None = None) -> Path:
    """Copy a snapshot with plain `btrfs send` and `btrfs receive`."""
    since: tuple[str | Path, ...] = ("-p", parent) if parent else ()
    sent = subprocess.run(
        ["btrfs", "--quiet", "send", *since, snapshot], stdout=subprocess.PIPE, check=True
    )
    subprocess.run(["btrfs", "--quiet", "receive", directory], input=sent.stdout, check=True)
    return directory / snapshot.name


def commit(fs: LoopFs) -> None:
    run("btrfs", "filesystem", "sync", fs.path)


def flip(path: Path, *, readonly: bool) -> None:
    """Change the read-only flag by the bare ioctl, as old btrfs-progs do."""
    with opened(path) as fd:
        fcntl.ioctl(fd, SUBVOL_SETFLAGS, struct.pack("=Q", 2 if readonly else 0))


def wait_for_a_tick() -> None:
    """Wait until the clock that the kernel reads times of inodes from has gone on."""
    before = time.clock_gettime(CLOCK_REALTIME_COARSE)
    while time.clock_gettime(CLOCK_REALTIME_COARSE) <= before:
        time.sleep(0.001)

"""What btrfs-progs say of subvolumes, and changes that only the bare ioctl makes.

Shares nothing with the code under test, so that both can't be wrong in the same way.
"""

from __future__ import annotations

import fcntl
import os
import re
import struct
from typing import TYPE_CHECKING

from support.loopfs import run

if TYPE_CHECKING:
    from pathlib import Path

    from support.loopfs import LoopFs

_SUBVOL_SETFLAGS = 0x4008941A  # _IOW(0x94, 26, __u64), linux/btrfs.h
_RDONLY = 1 << 1


def subvolumes(path: str | os.PathLike[str]) -> str:
    """Return all subvolumes of a file system: ids, generations, parents, uuids, paths.

    Repeats only if none was made, deleted, changed, or replaced by an equal one.
    """
    run("btrfs", "filesystem", "sync", path)
    return run("btrfs", "subvolume", "list", "-pcguqR", path)


def show(path: str | os.PathLike[str], field: str) -> str:
    """Return a field of `btrfs subvolume show`, such as "UUID"; "-" if it is unset."""
    shown = run("btrfs", "subvolume", "show", path)
    match = re.search(rf"^\s*{field}:\s*(.*)$", shown, re.MULTILINE)
    assert match, shown
    return match[1].strip()


def own_uuid(path: str | os.PathLike[str]) -> str:
    """Return the uuid that no other subvolume has."""
    return show(path, "UUID")


def identity(path: str | os.PathLike[str]) -> str:
    """Return what a send stream of a snapshot would call it."""
    received = show(path, "Received UUID")
    return own_uuid(path) if received == "-" else received


def transaction(fs: LoopFs) -> int:
    """Return the number of the last transaction: any change to the file system raises it."""
    run("btrfs", "filesystem", "sync", fs.path)
    shown = run("btrfs", "inspect-internal", "dump-super", fs.device)
    match = re.search(r"^generation\s+(\d+)$", shown, re.MULTILINE)
    assert match, shown
    return int(match[1])


def snapshot_writable(source: Path, path: Path) -> Path:
    """Make a writable snapshot of a subvolume; return its path."""
    run("btrfs", "--quiet", "subvolume", "snapshot", source, path)
    return path


def make_writable(path: Path) -> None:
    """Make a snapshot writable by the bare ioctl, which leaves its received_uuid in place."""
    _set_flags(path, 0)


def make_read_only(path: Path) -> None:
    """Make a subvolume read-only."""
    _set_flags(path, _RDONLY)


def _set_flags(path: Path, flags: int) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.ioctl(fd, _SUBVOL_SETFLAGS, struct.pack("=Q", flags))
    finally:
        os.close(fd)

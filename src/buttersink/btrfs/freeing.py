"""Waiting for the space of deleted subvolumes, which the kernel frees in the background."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import btrfs

from buttersink.btrfs import ioctl

if TYPE_CHECKING:
    from collections.abc import Iterable

_LONGEST_SECONDS: Final = 30.0
"""Somebody may have a file of a deleted subvolume open, which keeps it as long as that lasts."""
_FIRST_POLL_SECONDS: Final = 0.01
_MAX_U64: Final = btrfs.ioctl.ULLONG_MAX


def wait_until_freed(fd: int, treeids: Iterable[int]) -> None:
    """Wait until the space of deleted subvolumes can be used again, though not for ever.

    Deleting takes a subvolume's name away at once, but a file system that it has filled stays
    full until the kernel's cleaner has dropped its tree, and that starts with the next commit.

    Args:
        fd: A directory of the file system.
        treeids: Their ids.
    """
    ioctl.sync(fd)  # commits, and wakes the cleaner (fs/btrfs/disk-io.c, transaction_kthread)
    deadline = time.monotonic() + _LONGEST_SECONDS
    pause = _FIRST_POLL_SECONDS
    for treeid in treeids:
        while _is_left(fd, treeid) and time.monotonic() < deadline:
            time.sleep(pause)
            pause = min(2 * pause, 1.0)
    ioctl.sync(fd)  # freed extents can be used again only after a commit


def _is_left(fd: int, treeid: int) -> bool:
    """Return whether a subvolume's root item is there: it goes when the cleaner is done."""
    items = btrfs.ioctl.search_v2(
        fd,
        btrfs.ctree.ROOT_TREE_OBJECTID,
        btrfs.ctree.Key(treeid, btrfs.ctree.ROOT_ITEM_KEY, 0),
        btrfs.ctree.Key(treeid, btrfs.ctree.ROOT_ITEM_KEY, _MAX_U64),
    )
    return any(True for _ in items)

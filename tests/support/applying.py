"""Subvolumes that commands are applied to in this process, and attributes to put on them."""

from __future__ import annotations

import os
import struct
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

from buttersink.btrfs.applying.applier import Applier
from buttersink.errors import MissingError
from support.kernel_calls import create_subvolume

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from buttersink.btrfs.applying.applier import Pending

OWN = UUID(int=1)
"""What the streams of these tests call the snapshot that is being made."""

DEFAULT_ACL = "system.posix_acl_default"
ACCESS_ACL = "system.posix_acl_access"
COMPRESSION = "btrfs.compression"
CAPABILITY = "security.capability"

CAP_NET_RAW = struct.pack("<IIIII", 0x02000001, 1 << 13, 0, 0, 0)
"""Value of security.capability: cap_net_raw=ep."""

_NAMED_USER = 65534


def acl(*, named: int = 7) -> bytes:
    """Return an ACL with an entry for one user, as linux/posix_acl_xattr.h has it."""
    nobody = 0xFFFFFFFF
    entries = [(1, 7, nobody), (2, named, _NAMED_USER), (4, 5, nobody), (16, 7, nobody)]
    entries.append((32, 5, nobody))
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


def no_sources(uuid: UUID) -> int:
    """Stand for the snapshots that can be cloned from where there are none."""
    raise MissingError(f"there is no {uuid}")


def new_subvolume(top: Path) -> Path:
    """Return a new, empty subvolume of a file system."""
    path = Path(tempfile.mkdtemp(dir=top)) / "new"
    create_subvolume(path)
    return path


@contextmanager
def applying(
    path: Path,
    *,
    sources: Callable[[UUID], int] = no_sources,
    pending: Pending | None = None,
    incremental: bool = False,
) -> Iterator[Applier]:
    """Apply commands to what is at `path`, with the umask of a receiver."""
    umask = os.umask(0)
    root_fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        applier = Applier(
            root_fd,
            own=frozenset({OWN}),
            sources=sources,
            pending=pending,
            incremental=incremental,
        )
        try:
            yield applier
        finally:
            applier.close()
    finally:
        os.close(root_fd)
        os.umask(umask)

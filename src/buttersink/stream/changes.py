"""What changed between two snapshots, as values."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class ChangeKind(Enum):
    """What became of a name. At one path they come in this order."""

    DELETED = "deleted"
    RENAMED = "renamed"
    CHANGED = "changed"
    CREATED = "created"


class FileType(Enum):
    """What something is."""

    FILE = "file"
    DIRECTORY = "directory"
    SYMLINK = "symlink"
    FIFO = "fifo"
    SOCKET = "socket"
    CHARACTER_DEVICE = "character device"
    BLOCK_DEVICE = "block device"
    OTHER = "other"
    """No directory; nothing more is known."""


@dataclass(slots=True, kw_only=True)
class Details:
    """What a stream says of one file: what it is made to be, though it may have been that before.

    It is filled while the stream is read, and not changed any more once it is part of a change.

    Attributes:
        data_bytes: Bytes that are written, holes among them.
        shared_bytes: Bytes that are taken from another file, or another place of the same.
        size: The size that the file gets; None if only writing tells of it.
        mode: Permissions (07777).
        owner: Ids of user and group.
        xattrs: Names of extended attributes, True for those set, False for those removed.
        flags: BTRFS_INODE_* (btrfs_tree.h); only told from stream version 2 on.
        verity: Whether fs-verity is enabled.
        times: Whether times are set. That goes along with most changes, also with those in a
            directory, and with those of the number of links.
        target: Of a symbolic link that was made.
        device: Major and minor number of a device node that was made.
    """

    data_bytes: int = 0
    shared_bytes: int = 0
    size: int | None = None
    mode: int | None = None
    owner: tuple[int, int] | None = None
    xattrs: dict[bytes, bool] = field(default_factory=dict)
    flags: int | None = None
    verity: bool = False
    times: bool = False
    target: bytes | None = None
    device: tuple[int, int] | None = None


_NOTHING = Details()
_ONLY_TIMES = Details(times=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One difference between an older and a newer snapshot.

    What is in a renamed directory is not told of, unless there is something else to tell.

    Attributes:
        kind: What became of the name.
        path: Where it is in the newer snapshot; of what was deleted, where it was in the older.
            Empty for the top directory. Bytes as the kernel has them.
        old_path: Where it was in the older snapshot; None if it was created.
        type: None if the stream doesn't tell.
        link_to: Another name of the same file, in the newer snapshot, where `details` are told.
        details: What else is told of it; nothing of what was deleted.
    """

    kind: ChangeKind
    path: bytes
    old_path: bytes | None
    type: FileType | None = None
    link_to: bytes | None = None
    details: Details = field(default_factory=Details)

    @property
    def only_times(self) -> bool:
        """Whether nothing is told but times: mostly a sign of changes in a directory."""
        return self.kind is ChangeKind.CHANGED and self.details == _ONLY_TIMES


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """How much changed.

    Attributes:
        created: Number of changes of this kind; likewise `deleted`, `renamed` and `changed`.
        only_times: Those of `changed` that only tell times, which are not counted there.
        data_bytes: Bytes of data written.
        shared_bytes: Bytes taken from other files.
    """

    created: int
    deleted: int
    renamed: int
    changed: int
    only_times: int
    data_bytes: int
    shared_bytes: int


def totals(changes: Iterable[Change]) -> Totals:
    """Add changes up."""
    kinds: Counter[ChangeKind] = Counter()
    only_times = data_bytes = shared_bytes = 0
    for change in changes:
        kinds[change.kind] += 1
        only_times += change.only_times
        data_bytes += change.details.data_bytes
        shared_bytes += change.details.shared_bytes
    return Totals(
        created=kinds[ChangeKind.CREATED],
        deleted=kinds[ChangeKind.DELETED],
        renamed=kinds[ChangeKind.RENAMED],
        changed=kinds[ChangeKind.CHANGED] - only_times,
        only_times=only_times,
        data_bytes=data_bytes,
        shared_bytes=shared_bytes,
    )

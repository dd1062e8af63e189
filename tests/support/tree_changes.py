"""What changed between two snapshots of one subvolume, by looking at both: the judge of diffs.

It knows files by their inode numbers, which btrfs gives out once in the life of a subvolume. It
shares nothing with the code under test but the values that this returns.
"""

from __future__ import annotations

import os
import stat
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from buttersink.stream.changes import Change, ChangeKind, Details, FileType

if TYPE_CHECKING:
    from collections.abc import Sequence

StrPath = str | os.PathLike[str]

_TOP_INODE = 256
_EMPTY_SUBVOLUME_INODE = 2
"""BTRFS_EMPTY_SUBVOL_DIR_OBJECTID: stands in a snapshot where its source has a subvolume."""
_TYPES = {
    stat.S_IFREG: FileType.FILE,
    stat.S_IFDIR: FileType.DIRECTORY,
    stat.S_IFLNK: FileType.SYMLINK,
    stat.S_IFIFO: FileType.FIFO,
    stat.S_IFSOCK: FileType.SOCKET,
    stat.S_IFCHR: FileType.CHARACTER_DEVICE,
    stat.S_IFBLK: FileType.BLOCK_DEVICE,
}


@dataclass(slots=True)
class Seen:
    """An inode of a snapshot.

    Attributes:
        full: A path by which it can be opened.
        status: As of lstat.
        places: Inode number of each directory that it is in, and its name there, with its path.
    """

    full: bytes
    status: os.stat_result
    places: dict[tuple[int, bytes], bytes] = field(default_factory=dict)

    @property
    def type(self) -> FileType:
        """What it is."""
        return _TYPES[stat.S_IFMT(self.status.st_mode)]

    def content(self) -> bytes:
        """Return what is in it."""
        match self.type:
            case FileType.FILE:
                with open(self.full, "rb") as file:
                    return file.read()
            case FileType.SYMLINK:
                return os.readlink(self.full)
            case _:
                return b""

    def xattrs(self) -> dict[bytes, bytes]:
        """Return its extended attributes."""
        return {
            os.fsencode(name): os.getxattr(self.full, name, follow_symlinks=False)
            for name in os.listxattr(self.full, follow_symlinks=False)
        }


Tree = dict[int, Seen]


def seen(top: StrPath) -> Tree:
    """Return all inodes of a snapshot by number; nested subvolumes are left out."""
    base = os.fsencode(top)
    device = os.lstat(base).st_dev
    found = {_TOP_INODE: Seen(base, os.lstat(base), {(0, b""): b""})}
    pending = [b""]
    while pending:
        path = pending.pop()
        directory = os.path.join(base, path) if path else base
        number = os.lstat(directory).st_ino
        for name in os.listdir(directory):
            inner = path + b"/" + name if path else name
            full = os.path.join(base, inner)
            status = os.lstat(full)
            if status.st_dev != device or status.st_ino == _EMPTY_SUBVOLUME_INODE:
                continue
            found.setdefault(status.st_ino, Seen(full, status)).places[number, name] = inner
            if stat.S_ISDIR(status.st_mode):
                pending.append(inner)
    return found


def assert_right(changes: Sequence[Change], older: StrPath, newer: StrPath) -> None:
    """Check that changes are those from one snapshot to another: no more, no less, in order."""
    was, now = seen(older), seen(newer)
    _assert_sorted(changes)
    _assert_names(changes, was, now)
    for change in changes:
        _assert_true(change, was, now)
    _assert_complete(changes, was, now)


def _assert_sorted(changes: Sequence[Change]) -> None:
    order = list(ChangeKind)
    assert list(changes) == sorted(changes, key=lambda c: (c.path, order.index(c.kind)))


def _assert_names(changes: Sequence[Change], was: Tree, now: Tree) -> None:
    """Check that exactly those names come and go that do, and renames are not torn apart."""
    lost, got, moved = set(), set(), set()
    for number in was.keys() | now.keys():
        old = was[number].places if number in was else {}
        new = now[number].places if number in now else {}
        removed = {old[place] for place in old.keys() - new.keys()}
        added = {new[place] for place in new.keys() - old.keys()}
        lost |= removed
        got |= added
        if len(old) == len(new) == len(removed) == 1:
            moved |= {(*removed, *added)}
    renames = [(c.old_path, c.path) for c in changes if c.kind is ChangeKind.RENAMED]
    deletions = [c.path for c in changes if c.kind is ChangeKind.DELETED]
    creations = [c.path for c in changes if c.kind is ChangeKind.CREATED]
    assert sorted([*deletions, *(old or b"" for old, _ in renames)]) == sorted(lost)
    assert sorted([*creations, *(new for _, new in renames)]) == sorted(got)
    assert moved <= set(renames)


def _numbers(tree: Tree) -> dict[bytes, int]:
    return {path: number for number, inode in tree.items() for path in inode.places.values()}


def _assert_true(change: Change, was: Tree, now: Tree) -> None:
    """Check what is told of one name."""
    old_numbers, new_numbers = _numbers(was), _numbers(now)
    if change.link_to is not None:
        path, numbers = change.path, new_numbers
        if change.kind is ChangeKind.DELETED:
            numbers = old_numbers
        assert numbers[path] == new_numbers[change.link_to]
        assert change.details == Details()
    match change.kind:
        case ChangeKind.DELETED:
            assert change.old_path == change.path
            inode = was[old_numbers[change.path]]
            assert change.details == Details()
        case ChangeKind.CREATED:
            assert change.old_path is None
            inode = now[new_numbers[change.path]]
            assert change.link_to is not None or new_numbers[change.path] not in was
        case _:
            assert change.old_path is not None
            assert old_numbers[change.old_path] == new_numbers[change.path]
            inode = now[new_numbers[change.path]]
    is_directory = inode.type is FileType.DIRECTORY
    match change.type:
        case None:
            assert change.kind in {ChangeKind.RENAMED, ChangeKind.CHANGED}
        case FileType.OTHER:
            assert not is_directory
        case _:
            assert change.type is inode.type
    _assert_details_true(change.details, inode)


def _assert_details_true(details: Details, inode: Seen) -> None:
    status = inode.status
    if details.mode is not None:
        assert details.mode == stat.S_IMODE(status.st_mode)
    if details.owner is not None:
        assert details.owner == (status.st_uid, status.st_gid)
    if details.size is not None:
        assert details.size == status.st_size
    if details.target is not None:
        assert details.target == inode.content()
    if details.device is not None:
        assert details.device == (os.major(status.st_rdev), os.minor(status.st_rdev))
    assert inode.xattrs().keys() >= {name for name, is_set in details.xattrs.items() if is_set}
    assert (
        inode.xattrs()
        .keys()
        .isdisjoint(name for name, is_set in details.xattrs.items() if not is_set)
    )


def _assert_complete(changes: Sequence[Change], was: Tree, now: Tree) -> None:
    """Check that nothing is left out that an inode in both snapshots has otherwise."""
    numbers = _numbers(now)
    told: defaultdict[int, list[Details]] = defaultdict(list)
    for change in changes:
        if change.kind is not ChangeKind.DELETED:
            told[numbers[change.path]].append(change.details)
    for number in was.keys() & now.keys():
        one, other, details = was[number], now[number], told[number]
        before, after = one.status, other.status
        if number != _TOP_INODE and before.st_mtime_ns != after.st_mtime_ns:
            assert any(detail.times for detail in details), other.full
        if before.st_mode != after.st_mode:
            assert any(detail.mode is not None for detail in details), other.full
        if (before.st_uid, before.st_gid) != (after.st_uid, after.st_gid):
            assert any(detail.owner is not None for detail in details), other.full
        if one.content() != other.content():
            assert any(
                detail.data_bytes or detail.shared_bytes or detail.size is not None
                for detail in details
            ), other.full
        differing = {name for name, _ in one.xattrs().items() ^ other.xattrs().items()}
        assert differing <= {name for detail in details for name in detail.xattrs}, other.full

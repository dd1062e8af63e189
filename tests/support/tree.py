"""What a tree is, to the last attribute: the judge of whether two trees are the same.

Shares nothing with the code under test, so that both can't be wrong in the same way.
"""

from __future__ import annotations

import hashlib
import os
import stat
from typing import NamedTuple

StrPath = str | os.PathLike[str]

_EMPTY_SUBVOLUME_INODE = 2
"""BTRFS_EMPTY_SUBVOL_DIR_OBJECTID: stands in a snapshot where its source has a subvolume."""
_SHOWN = 20


class Entry(NamedTuple):
    """One name in a tree, with everything that a send stream is to carry."""

    kind: str
    mode: int
    uid: int
    gid: int
    size: int
    mtime_ns: int
    target: bytes
    rdev: int
    xattrs: tuple[tuple[str, bytes], ...]
    links: tuple[bytes, ...]
    """All names of this file in the tree, if it has more than one."""
    digest: str


_KINDS = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "directory",
    stat.S_IFLNK: "symlink",
    stat.S_IFIFO: "fifo",
    stat.S_IFSOCK: "socket",
    stat.S_IFCHR: "character device",
    stat.S_IFBLK: "block device",
}


def describe(top: StrPath, *, times: bool = True) -> dict[bytes, Entry]:
    """Return every entry of the tree at `top` by its relative path; `top` itself is b".".

    Nested subvolumes are left out, as in a send stream. The modification time of `top` is left
    out too, because the kernel does not always send it; without `times` all of them are.
    """
    base = os.fsencode(top)
    device = os.lstat(base).st_dev
    found: dict[bytes, Entry] = {}
    names: dict[int, list[bytes]] = {}
    inodes: dict[bytes, int] = {}
    pending = [b"."]
    while pending:
        path = pending.pop()
        full = os.path.join(base, path)
        status = os.lstat(full)
        is_directory = stat.S_ISDIR(status.st_mode)
        if status.st_dev != device or (is_directory and status.st_ino == _EMPTY_SUBVOLUME_INODE):
            continue
        found[path] = _entry(full, status, times=times and path != b".")
        if is_directory:
            below = b"" if path == b"." else path + b"/"
            pending += [below + name for name in os.listdir(full)]
        else:
            names.setdefault(status.st_ino, []).append(path)
            inodes[path] = status.st_ino
    for path, inode in inodes.items():
        if len(names[inode]) > 1:
            found[path] = found[path]._replace(links=tuple(sorted(names[inode])))
    return dict(sorted(found.items()))


def _entry(full: bytes, status: os.stat_result, *, times: bool) -> Entry:
    mode = status.st_mode
    is_file = stat.S_ISREG(mode)
    is_device = stat.S_ISCHR(mode) or stat.S_ISBLK(mode)
    xattrs = sorted(os.listxattr(full, follow_symlinks=False))
    return Entry(
        kind=_KINDS[stat.S_IFMT(mode)],
        mode=stat.S_IMODE(mode),
        uid=status.st_uid,
        gid=status.st_gid,
        size=status.st_size if is_file else 0,
        mtime_ns=status.st_mtime_ns if times else 0,
        target=os.readlink(full) if stat.S_ISLNK(mode) else b"",
        rdev=status.st_rdev if is_device else 0,
        xattrs=tuple((x, os.getxattr(full, x, follow_symlinks=False)) for x in xattrs),
        links=(),
        digest=_digest(full) if is_file else "",
    )


def _digest(full: bytes) -> str:
    with open(full, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def differences(one: dict[bytes, Entry], two: dict[bytes, Entry]) -> list[str]:
    """Return a line for each path at which the descriptions differ, naming what differs."""
    lines = []
    for path in sorted(one.keys() | two.keys()):
        here, there = one.get(path), two.get(path)
        if here == there:
            continue
        if here is None or there is None:
            present = here or there
            kind = present.kind if present else ""
            lines.append(f"{path!r}: {kind} only in the {'first' if here else 'second'} tree")
            continue
        fields = zip(Entry._fields, here, there, strict=True)
        changes = [f"{name} {old!r} != {new!r}" for name, old, new in fields if old != new]
        lines.append(f"{path!r}: {', '.join(changes)}")
    return lines


def assert_same_tree(one: StrPath, two: StrPath, *, times: bool = True) -> None:
    """Fail, naming the paths that differ, unless the trees at `one` and `two` are the same."""
    lines = differences(describe(one, times=times), describe(two, times=times))
    if lines:
        more = [f"... and {len(lines) - _SHOWN} more"] if len(lines) > _SHOWN else []
        heading = f"{one} and {two} differ at {len(lines)} paths:"
        raise AssertionError("\n  ".join([heading, *lines[:_SHOWN], *more]))

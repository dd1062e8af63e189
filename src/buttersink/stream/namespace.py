"""The names of files, followed from one snapshot to another by the commands of a stream.

Of the older snapshot nothing is known but what the commands name. What they have not touched is as
it was, so that a name that comes up for the first time, in a directory that the older snapshot has,
is one that the older snapshot has as well.

The kernel goes from the one tree to the other in its own ways: what stands in the way gets a name
such as `o257-7-0` for a while, and what is no directory is renamed by making a link and removing
the old name. None of that is to be seen in the end: only first and last names are compared.

Streams come from other hosts, too. A command that no file system would obey is refused.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from buttersink.errors import CorruptStreamError
from buttersink.stream.changes import Details, FileType
from buttersink.stream.format import MAX_PATH

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_NAMES: Final = 5_000_000
"""How many names are followed: a few GiB of memory, and more than most systems have."""

_MOST_XATTRS: Final = 100_000
"""Of one file; both snapshots together. Linux lists 64 KiB of their names (XATTR_LIST_MAX)."""

_LONGEST_PATH: Final = 4 * MAX_PATH
"""Bytes of a path that is believed. By renaming directories, short ones can become very long."""


@dataclass(slots=True, eq=False)
class Inode:
    """What names stand for.

    Attributes:
        is_old: Whether the older snapshot has it.
        type: None as long as the stream has not told.
        names: Those that the stream has spoken of, also those that are gone.
        inside: Of a directory: what the stream has spoken of by name; None where there is nothing
            of that name any more.
        details: What the stream says of it.
    """

    is_old: bool
    type: FileType | None = None
    names: list[Name] = field(default_factory=list)
    inside: dict[bytes, Name | None] = field(default_factory=dict)
    details: Details = field(default_factory=Details)

    def note_range(self, end: int) -> None:
        """Note that a range of a file is filled, which may make it grow.

        Raises:
            CorruptStreamError: It is no regular file.
        """
        expect_file(self)
        size = self.details.size
        if size is not None and end > size:
            self.details.size = end

    def note_xattr(self, name: bytes, *, is_set: bool) -> None:
        """Note that an extended attribute is set, or removed.

        Raises:
            CorruptStreamError: There are more than can be.
        """
        self.details.xattrs[name] = is_set
        if len(self.details.xattrs) > _MOST_XATTRS:
            raise CorruptStreamError(f"a file has more than {_MOST_XATTRS} extended attributes")


@dataclass(slots=True, eq=False)
class Name:
    """A name of an inode: where it was, and where it is after the commands so far.

    Attributes:
        inode: What it stands for.
        old: The directory that the older snapshot has it in, and its name there; None if it has
            not.
        now: The same after the commands so far; None once it is gone.
    """

    inode: Inode
    old: tuple[Inode, bytes] | None
    now: tuple[Inode, bytes] | None


class Namespace:
    """A tree that is turned from the one snapshot into the other.

    Attributes:
        top: The top directory.
        inodes: All that the stream has spoken of, the top directory included.

    Methods raise `CorruptStreamError` for what can't be done. Paths must have been vetted.
    """

    def __init__(self) -> None:
        self.top = Inode(is_old=True, type=FileType.DIRECTORY)
        self.inodes = [self.top]
        self._count = 0

    def inode(self, path: bytes) -> Inode:
        """Return what is at `path` now; the empty path is the top directory."""
        inode = self.top
        for name in path.split(b"/") if path else ():
            expect_directory(inode)
            inode = self._look_up(inode, name).inode
        return inode

    def make(self, path: bytes, file_type: FileType) -> Inode:
        """Make something."""
        inode = Inode(is_old=False, type=file_type)
        place = self._free_place(path)
        self.inodes.append(inode)
        self._enter(Name(inode, old=None, now=place), place)
        return inode

    def link(self, path: bytes, existing: bytes) -> None:
        """Give what is at `existing` a further name."""
        inode = self.inode(existing)
        expect_no_directory(inode)
        place = self._free_place(path)
        self._enter(Name(inode, old=None, now=place), place)

    def rename(self, path: bytes, to: bytes) -> None:
        """Rename something; what is at the new name is gone then."""
        name = self._name(path)
        directory, last = place = self._place(to)
        if name.inode in _upwards(directory):
            raise CorruptStreamError("a directory is moved into itself")
        replaced = directory.inside.get(last)
        if replaced is name:
            return
        if replaced is not None:
            _expect_empty(replaced.inode)
            replaced.now = None
        self._vacate(name)
        name.now = place
        directory.inside[last] = name

    def unlink(self, path: bytes) -> None:
        """Remove a name of what is no directory."""
        name = self._name(path)
        expect_no_directory(name.inode)
        self._vacate(name)

    def rmdir(self, path: bytes) -> None:
        """Remove an empty directory."""
        name = self._name(path)
        expect_directory(name.inode)
        _expect_empty(name.inode)
        self._vacate(name)

    def _look_up(self, directory: Inode, name: bytes) -> Name:
        found = directory.inside.get(name)
        if found is not None:
            return found
        if name in directory.inside or not directory.is_old:
            raise CorruptStreamError("something is named that is not there")
        inode, place = Inode(is_old=True), (directory, name)
        self.inodes.append(inode)
        return self._enter(Name(inode, old=place, now=place), place)

    def _enter(self, name: Name, place: tuple[Inode, bytes]) -> Name:
        self._count += 1
        if self._count > MAX_NAMES:
            raise CorruptStreamError(f"more than {MAX_NAMES} names differ; so many can't be kept")
        directory, last = place
        directory.inside[last] = name
        name.inode.names.append(name)
        return name

    def _vacate(self, name: Name) -> None:
        if name.now is not None:
            directory, last = name.now
            directory.inside[last] = None
        name.now = None

    def _name(self, path: bytes) -> Name:
        directory, last = self._place(path)
        return self._look_up(directory, last)

    def _place(self, path: bytes) -> tuple[Inode, bytes]:
        parent, _, last = path.rpartition(b"/")
        directory = self.inode(parent)
        expect_directory(directory)
        return directory, last

    def _free_place(self, path: bytes) -> tuple[Inode, bytes]:
        directory, last = self._place(path)
        if directory.inside.get(last) is not None:
            raise CorruptStreamError("something is made where there is something already")
        return directory, last


def expect_directory(inode: Inode) -> None:
    """Note that something is a directory.

    Raises:
        CorruptStreamError: It is none.
    """
    if inode.type is None:
        inode.type = FileType.DIRECTORY
    elif inode.type is not FileType.DIRECTORY:
        raise CorruptStreamError("what is no directory is treated as one")


def expect_no_directory(inode: Inode) -> None:
    """Note that something is no directory.

    Raises:
        CorruptStreamError: It is one.
    """
    if inode.type is None:
        inode.type = FileType.OTHER
    elif inode.type is FileType.DIRECTORY:
        raise CorruptStreamError("a directory is treated as something else")


def expect_file(inode: Inode) -> None:
    """Note that something is a regular file.

    Raises:
        CorruptStreamError: It is none.
    """
    if inode.type in {None, FileType.OTHER}:
        inode.type = FileType.FILE
    elif inode.type is not FileType.FILE:
        raise CorruptStreamError("what is no regular file is treated as one")


def new_path(place: tuple[Inode, bytes]) -> bytes:
    """Return the path of a place in the tree as it is now."""
    directory, last = place
    above = (name.now[1] for name in _names_upwards(directory) if name.now is not None)
    return _joined(last, above)


def old_path(place: tuple[Inode, bytes]) -> bytes:
    """Return the path of a place in the older snapshot."""
    directory, last = place
    return _joined(last, _old_names_upwards(directory))


def _joined(last: bytes, above: Iterator[bytes]) -> bytes:
    """Return a path of its last name and those above it, from the innermost on."""
    parts, length = [last], len(last)
    for name in above:
        parts.append(name)
        length += 1 + len(name)
        if length > _LONGEST_PATH:
            raise CorruptStreamError(f"a path gets longer than {_LONGEST_PATH} bytes")
    return b"/".join(reversed(parts))


def _old_names_upwards(directory: Inode) -> Iterator[bytes]:
    """Yield the names of an old directory, of what it was in, and so on, but for the top."""
    while directory.names:
        old = directory.names[0].old
        if old is None:
            raise AssertionError("what an old directory was in is old as well")
        directory, last = old
        yield last


def _names_upwards(directory: Inode) -> Iterator[Name]:
    """Yield the name of a directory, that of what it is in, and so on; the top has none."""
    depth = 0
    while directory.names:
        name = directory.names[0]  # its only one, as directories have no further links
        if name.now is None:
            raise AssertionError("directories are empty when they go")
        yield name
        directory = name.now[0]
        depth += 1
        if depth > _LONGEST_PATH:
            raise CorruptStreamError("directories are nested too deeply")


def _upwards(directory: Inode) -> Iterator[Inode]:
    """Yield what `directory` is in, itself included, but for the top."""
    return (name.inode for name in _names_upwards(directory))


def _expect_empty(inode: Inode) -> None:
    if any(name is not None for name in inode.inside.values()):
        raise CorruptStreamError("a directory goes that is not empty")

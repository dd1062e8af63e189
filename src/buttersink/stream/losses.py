"""Finding files that an incremental stream may leave different from what the snapshot holds.

**Last bytes.** The kernel compares the extents of two snapshots, not their contents
(fs/btrfs/send.c, is_extent_unchanged). Where a file shrinks within its last block, the extent stays
as it is, with the old bytes behind the new end. A diff back from the shorter to the longer file,
as after a rollback or when an earlier snapshot is sent on a later one, then holds no data, only the
new size; and a receiver fills the gap with zeros. Seen on Linux 6.18 with every stream version.

**Set-user-id and set-group-id bits.** Where only the owner of a file differs, the kernel sends a
CHOWN, but no CHMOD after it (finish_inode_if_needed). A change of owner clears these bits.

The stream alone doesn't tell whether any of this happened: a hole looks like forgotten bytes, and
most files have no such bits. So `LossFinder` only names what is in question. Whoever has the
snapshots can look.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from buttersink.errors import CorruptStreamError
from buttersink.stream.format import Attribute, Command, decode_attributes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_NEW: Final = frozenset(
    (
        Command.MKFILE,
        Command.MKDIR,
        Command.MKNOD,
        Command.MKFIFO,
        Command.MKSOCK,
        Command.SYMLINK,
    )
)
_GONE: Final = frozenset((Command.UNLINK, Command.RMDIR))
_LENGTHS: Final = {
    Command.UPDATE_EXTENT: Attribute.SIZE,
    Command.CLONE: Attribute.CLONE_LEN,
    Command.FALLOCATE: Attribute.SIZE,
}
"""Commands that say what a range of a file holds, and where they tell its length."""

_FOLLOWED: Final = frozenset(
    (
        *_NEW,
        *_GONE,
        *_LENGTHS,
        Command.RENAME,
        Command.LINK,
        Command.TRUNCATE,
        Command.CHOWN,
        Command.CHMOD,
    )
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tail:
    """Bytes `start` to `end` of the file at `path`, which the stream leaves to be zeros."""

    path: bytes
    start: int
    end: int


@dataclass(slots=True)
class _File:
    """A file that the parent has, too.

    Attributes:
        old_size: Its size in the parent.
        size: Its size after the commands so far.
        told: Ranges behind the old end, in the same block, that the stream tells about.
    """

    old_size: int
    size: int
    told: list[tuple[int, int]] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class _Node:
    """A name, as it stands after the commands so far.

    Attributes:
        name: Its last component; None once it is gone.
        directory: What it is in; None for the top directory.
        origin: Where the parent has it; None if the parent has not.
        names: What is in it, as far as the stream has spoken of it.
        file: What is known of its content, shared by hard links; None until it matters.
    """

    name: bytes | None
    directory: _Node | None
    origin: bytes | None
    names: dict[bytes, _Node] = field(default_factory=dict)
    file: _File | None = None

    def path(self) -> bytes | None:
        """Return where it is, None if it is gone."""
        parts: list[bytes] = []
        node: _Node = self
        while node.directory is not None:
            if node.name is None:
                return None
            parts.append(node.name)
            node = node.directory
        return b"/".join(reversed(parts))


class LossFinder:
    """Follows the names and sizes of files through an incremental, metadata-only stream.

    Args:
        version: The stream's version.
        parent_size: Returns the size in bytes of the regular file at a path of the parent; None
            if there is no regular file.
        block_bytes: The file system's block size (sectorsize).
    """

    def __init__(
        self,
        version: int,
        parent_size: Callable[[bytes], int | None],
        *,
        block_bytes: int = 4096,
    ) -> None:
        self._version = version
        self._parent_size = parent_size
        self._block_bytes = block_bytes
        self._top = _Node(name=b"", directory=None, origin=b"")
        self._touched: dict[_Node, None] = {}
        self._chowned: dict[_Node, None] = {}
        """What the parent has and got another owner, but no mode since."""

    def observe(self, command: int, body: memoryview) -> None:
        """Take the next command.

        Raises:
            CorruptStreamError: It is malformed.
        """
        if command not in _FOLLOWED:
            return
        found = decode_attributes(body, self._version)
        path = _path(found, Attribute.PATH)
        if command in _NEW:
            self._put(path, _Node(name=None, directory=None, origin=None))
        elif command in _GONE:
            self._take(path)
        elif command == Command.RENAME:
            self._put(_path(found, Attribute.PATH_TO), self._take(path))
        elif command == Command.LINK:
            linked = self._at(_path(found, Attribute.PATH_LINK))
            self._look_up(linked)
            link = _Node(name=None, directory=None, origin=linked.origin, file=linked.file)
            self._put(path, link)
        elif command == Command.CHOWN:
            self._chowned[self._at(path)] = None
        elif command == Command.CHMOD:
            self._chowned.pop(self._at(path), None)
        elif command == Command.TRUNCATE:
            file = self._file(path)
            if file is not None:
                file.size = _number(found, Attribute.SIZE)
        else:
            start = _number(found, Attribute.FILE_OFFSET)
            self._tell(path, start, start + _number(found, _LENGTHS[Command(command)]))

    def tails(self) -> Iterator[Tail]:
        """Yield what the stream leaves to be zeros behind old ends, once it was all observed."""
        for node in self._touched:
            file, path = node.file, node.path()
            if file is None or path is None:
                continue
            end = min(file.size, self._block_end(file.old_size))
            start = file.old_size
            for told_start, told_end in sorted(file.told):
                if told_start > start:
                    yield Tail(path=path, start=start, end=min(told_start, end))
                start = max(start, told_end)
            if start < end:
                yield Tail(path=path, start=start, end=end)

    def chowned(self) -> Iterator[bytes]:
        """Yield the paths in the parent of what gets another owner, but no mode after it."""
        for node in self._chowned:
            if node.origin:
                yield node.origin

    def _tell(self, path: bytes, start: int, end: int) -> None:
        file = self._file(path)
        if file is None:
            return
        file.size = max(file.size, end)
        if start < self._block_end(file.old_size) and end > file.old_size:
            file.told.append((start, end))

    def _file(self, path: bytes) -> _File | None:
        """Return the file at `path` if its end in the parent may matter."""
        node = self._at(path)
        self._look_up(node)
        if node.file is not None:
            self._touched[node] = None
        return node.file

    def _look_up(self, node: _Node) -> None:
        if node.file is None and node.origin:
            size = self._parent_size(node.origin)
            if size is not None and size % self._block_bytes:
                node.file = _File(old_size=size, size=size)

    def _block_end(self, position: int) -> int:
        return -(-position // self._block_bytes) * self._block_bytes

    def _at(self, path: bytes) -> _Node:
        """Return what is at `path` now; what the stream hasn't touched is as in the parent."""
        node = self._top
        for name in path.split(b"/") if path else ():
            inner = node.names.get(name)
            if inner is None:
                origin = node.origin and node.origin + b"/" + name
                if node is self._top:
                    origin = name
                inner = node.names[name] = _Node(name=name, directory=node, origin=origin)
            node = inner
        return node

    def _take(self, path: bytes) -> _Node:
        node = self._at(path)
        if node is self._top:
            raise CorruptStreamError("the top directory is moved or removed")
        if node.directory is not None and node.name is not None:
            del node.directory.names[node.name]
        node.name = None
        return node

    def _put(self, path: bytes, node: _Node) -> None:
        if not path:
            raise CorruptStreamError("something else takes the place of the top directory")
        parent, _, name = path.rpartition(b"/")
        node.directory, node.name = self._at(parent), name
        replaced = node.directory.names.get(name)
        if replaced is not None:
            replaced.name = None
        node.directory.names[name] = node


def _path(attributes: dict[Attribute, memoryview], attribute: Attribute) -> bytes:
    data = attributes.get(attribute)
    if data is None:
        raise CorruptStreamError(f"{attribute.name} is missing")
    return bytes(data)


def _number(attributes: dict[Attribute, memoryview], attribute: Attribute) -> int:
    data = attributes.get(attribute)
    if data is None or len(data) != 8:  # noqa: PLR2004 - bytes of a u64
        raise CorruptStreamError(f"{attribute.name} is missing or damaged")
    return int.from_bytes(data, "little")

"""Reading a metadata-only stream: what changed between its two snapshots."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING, Final

from buttersink.errors import CorruptStreamError
from buttersink.stream.changes import FileType
from buttersink.stream.format import (
    COMMAND_HEADER,
    COMMAND_HEADER_SIZE,
    COMMANDS,
    HEADER_SIZE,
    MAX_COMMAND,
    MAX_PATH,
    Attribute,
    Command,
    checksum,
    decode_attributes,
    decode_stream_header,
)
from buttersink.stream.head import HEADS
from buttersink.stream.namespace import Namespace, expect_file
from buttersink.stream.outcome import changes_of
from buttersink.stream.vetting import decode_uuid, vet_path

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from buttersink.stream.changes import Change
    from buttersink.stream.namespace import Inode

    Attributes = Mapping[Attribute, memoryview]

_LARGEST_FILE: Final = (1 << 63) - 1
"""Bytes; MAX_LFS_FILESIZE of the kernel."""
_LONGEST_XATTR_NAME: Final = 255
_ID_BITS: Final = 32


class OutlineReader:
    """Takes the stream of an incremental send without file data, and tells what it changes.

    Nothing is believed: whatever no kernel would send is refused. What is kept in memory grows
    with the number of names that differ, and has an end.

    Args:
        version: The stream version that was asked for.
    """

    def __init__(self, version: int) -> None:
        self._version = version
        self._commands = COMMANDS[version]
        self._unread = bytearray()
        self._taken = 0
        """Bytes of the header and of whole commands so far."""
        self._head_seen = False
        self._ended = False
        self._space = Namespace()
        self._last: tuple[bytes, Inode] | None = None
        """The last path at which something was told: commands on one file come in a row."""

    def feed(self, data: memoryview) -> None:
        """Take the next part of the stream, cut anywhere.

        Raises:
            CorruptStreamError: It is no stream that a kernel would make.
        """
        self._unread += data
        if not self._taken:
            if len(self._unread) < HEADER_SIZE:
                return
            version = decode_stream_header(self._unread)
            if version != self._version:
                raise CorruptStreamError(f"a stream of version {version} came, not {self._version}")
            del self._unread[:HEADER_SIZE]
            self._taken = HEADER_SIZE
        with memoryview(self._unread) as unread:
            taken = self._take_commands(unread)
        del self._unread[:taken]
        self._taken += taken

    def changes(self) -> list[Change]:
        """Return what changed, sorted by path, once the whole stream was fed.

        Raises:
            CorruptStreamError: It ended early, or too much has changed.
        """
        if not self._ended:
            raise CorruptStreamError("the stream ended early, without its END command")
        return changes_of(self._space)

    def _take_commands(self, data: memoryview) -> int:
        """Take the whole commands at the start of `data`; return the bytes they take."""
        available, position = len(data), 0
        while available - position >= COMMAND_HEADER_SIZE and not self._ended:
            length, number, crc = COMMAND_HEADER.unpack_from(data, position)
            start = position + COMMAND_HEADER_SIZE
            end = start + length
            try:
                if length > MAX_COMMAND:
                    raise CorruptStreamError(f"a length of {length} bytes is impossible")
                if end > available:
                    break
                with data[start:end] as body:
                    if checksum(length, number, body) != crc:
                        raise CorruptStreamError("wrong checksum")
                    self._take(number, body)
            except CorruptStreamError as error:
                command = self._commands.get(number)
                name = f"command {number}" if command is None else command.name
                at = self._taken + position
                raise CorruptStreamError(
                    f"{name} at byte {at}: {error.message}", error.hint
                ) from error
            position = end
        if self._ended and position < available:
            raise CorruptStreamError("the stream goes on after its END command")
        return position

    def _take(self, number: int, body: memoryview) -> None:
        command = self._commands.get(number)
        if command is None:
            raise CorruptStreamError(f"it is unknown in stream version {self._version}")
        attributes = decode_attributes(body, self._version)
        if not self._head_seen:
            _vet_head(command, attributes)
            self._head_seen = True
        elif command in HEADS:
            raise CorruptStreamError("a second snapshot in one stream")
        elif command is Command.END:
            self._ended = True
        else:
            self._apply(command, attributes)

    def _apply(self, command: Command, attributes: Attributes) -> None:
        path = bytes(_data(attributes, Attribute.PATH))
        if command in _TOLD:
            _TOLD[command](self._inode(path), attributes)
            return
        self._last = None
        vet_path(path)
        if command in _NAMED:
            _NAMED[command](self._space, path, attributes)
        else:
            raise CorruptStreamError("it has data of a file, which was not asked for")

    def _inode(self, path: bytes) -> Inode:
        """Return what is at `path`; the empty path, as the kernel has it, is the top directory."""
        if self._last is not None and path == self._last[0]:
            return self._last[1]
        if path:
            vet_path(path)
        inode = self._space.inode(path)
        self._last = path, inode
        return inode


def _vet_head(command: Command, attributes: Attributes) -> None:
    if command is not Command.SNAPSHOT or attributes.keys() != HEADS[command]:
        raise CorruptStreamError("the stream does not begin with a snapshot and its parent")
    for uuid in (Attribute.UUID, Attribute.CLONE_UUID):
        decode_uuid(attributes, uuid)


# What changes names


def _make(space: Namespace, path: bytes, file_type: FileType) -> None:
    space.make(path, file_type)


def _make_node(space: Namespace, path: bytes, attributes: Attributes) -> None:
    mode = _number(attributes, Attribute.MODE)
    if stat.S_ISCHR(mode):
        inode = space.make(path, FileType.CHARACTER_DEVICE)
    elif stat.S_ISBLK(mode):
        inode = space.make(path, FileType.BLOCK_DEVICE)
    else:
        raise CorruptStreamError(f"mode {mode:o} is that of no device node")
    # As new_encode_dev of the kernel puts it together (include/linux/kdev_t.h).
    rdev = _number(attributes, Attribute.RDEV)
    inode.details.device = rdev >> 8 & 0xFFF, rdev & 0xFF | rdev >> 12 & 0xFFF00


def _make_symlink(space: Namespace, path: bytes, attributes: Attributes) -> None:
    target = bytes(_data(attributes, Attribute.PATH_LINK))
    if len(target) > MAX_PATH or b"\0" in target:
        raise CorruptStreamError("an impossible target of a symbolic link")
    space.make(path, FileType.SYMLINK).details.target = target


def _rename(space: Namespace, path: bytes, attributes: Attributes) -> None:
    to = bytes(_data(attributes, Attribute.PATH_TO))
    vet_path(to)
    space.rename(path, to)


def _link(space: Namespace, path: bytes, attributes: Attributes) -> None:
    existing = bytes(_data(attributes, Attribute.PATH_LINK))
    vet_path(existing)
    space.link(path, existing)


_NAMED: Final[Mapping[Command, Callable[[Namespace, bytes, Attributes], None]]] = {
    Command.MKFILE: lambda space, path, _: _make(space, path, FileType.FILE),
    Command.MKDIR: lambda space, path, _: _make(space, path, FileType.DIRECTORY),
    Command.MKFIFO: lambda space, path, _: _make(space, path, FileType.FIFO),
    Command.MKSOCK: lambda space, path, _: _make(space, path, FileType.SOCKET),
    Command.MKNOD: _make_node,
    Command.SYMLINK: _make_symlink,
    Command.RENAME: _rename,
    Command.LINK: _link,
    Command.UNLINK: lambda space, path, _: space.unlink(path),
    Command.RMDIR: lambda space, path, _: space.rmdir(path),
}


# What tells of something, and leaves names as they are


def _extent(inode: Inode, attributes: Attributes) -> None:
    start, length = _range(attributes, Attribute.SIZE)
    inode.note_range(start + length)
    inode.details.data_bytes += length


def _allocate(inode: Inode, attributes: Attributes) -> None:
    _, length = _range(attributes, Attribute.SIZE)
    inode.note_range(0)  # whether the file grows by it depends on its mode
    inode.details.data_bytes += length


def _clone(inode: Inode, attributes: Attributes) -> None:
    start, length = _range(attributes, Attribute.CLONE_LEN)
    inode.note_range(start + length)
    inode.details.shared_bytes += length


def _truncate(inode: Inode, attributes: Attributes) -> None:
    expect_file(inode)
    inode.details.size = _number(attributes, Attribute.SIZE, most=_LARGEST_FILE)


def _chmod(inode: Inode, attributes: Attributes) -> None:
    inode.details.mode = _number(attributes, Attribute.MODE, most=0o7777)


def _chown(inode: Inode, attributes: Attributes) -> None:
    most = (1 << _ID_BITS) - 1
    inode.details.owner = (
        _number(attributes, Attribute.UID, most=most),
        _number(attributes, Attribute.GID, most=most),
    )


def _set_xattr(inode: Inode, attributes: Attributes) -> None:
    inode.note_xattr(_xattr_name(attributes), is_set=True)


def _remove_xattr(inode: Inode, attributes: Attributes) -> None:
    inode.note_xattr(_xattr_name(attributes), is_set=False)


def _utimes(inode: Inode, _: Attributes) -> None:
    inode.details.times = True


def _fileattr(inode: Inode, attributes: Attributes) -> None:
    inode.details.flags = _number(attributes, Attribute.FILEATTR)


def _verity(inode: Inode, _: Attributes) -> None:
    expect_file(inode)
    inode.details.verity = True


_TOLD: Final[Mapping[Command, Callable[[Inode, Attributes], None]]] = {
    Command.UPDATE_EXTENT: _extent,
    Command.FALLOCATE: _allocate,
    Command.CLONE: _clone,
    Command.TRUNCATE: _truncate,
    Command.CHMOD: _chmod,
    Command.CHOWN: _chown,
    Command.SET_XATTR: _set_xattr,
    Command.REMOVE_XATTR: _remove_xattr,
    Command.UTIMES: _utimes,
    Command.FILEATTR: _fileattr,
    Command.ENABLE_VERITY: _verity,
}


# Attributes


def _data(attributes: Attributes, attribute: Attribute) -> memoryview:
    data = attributes.get(attribute)
    if data is None:
        raise CorruptStreamError(f"{attribute.name} is missing")
    return data


def _number(attributes: Attributes, attribute: Attribute, *, most: int | None = None) -> int:
    data = _data(attributes, attribute)
    if len(data) != 8:  # noqa: PLR2004 - bytes of a u64
        raise CorruptStreamError(f"{attribute.name} has {len(data)} bytes, not 8")
    number = int.from_bytes(data, "little")
    if most is not None and number > most:
        raise CorruptStreamError(f"{attribute.name} can't be {number}")
    return number


def _range(attributes: Attributes, attribute: Attribute) -> tuple[int, int]:
    """Return start and length of the range of a file that a command is about."""
    start = _number(attributes, Attribute.FILE_OFFSET, most=_LARGEST_FILE)
    return start, _number(attributes, attribute, most=_LARGEST_FILE - start)


def _xattr_name(attributes: Attributes) -> bytes:
    name = bytes(_data(attributes, Attribute.XATTR_NAME))
    if not 0 < len(name) <= _LONGEST_XATTR_NAME or b"\0" in name:
        raise CorruptStreamError("an impossible name of an extended attribute")
    return name

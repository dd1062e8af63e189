"""What a single command may say: nothing that reaches outside the snapshot being made.

Streams come from buckets and clients that are not trusted, and are applied by root. The rules
are lexical: a stream can still make a symbolic link and then name a path through it, so a
receiver must in addition be confined to its directory.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from uuid import UUID

from buttersink.errors import CorruptStreamError
from buttersink.stream.format import (
    ATTRIBUTE_HEADER,
    ATTRIBUTE_HEADER_SIZE,
    COMMAND_HEADER_SIZE,
    COMMANDS,
    MAX_PATH,
    UUID_SIZE,
    Attribute,
    Command,
    decode_attributes,
)
from buttersink.stream.size import largest_write, write_overhead

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_UNSAFE_COMPONENTS: Final = frozenset((b"", b".", b".."))

_PATHS: Final = (Attribute.PATH, Attribute.PATH_TO, Attribute.PATH_LINK, Attribute.CLONE_PATH)

ON_TOP_DIRECTORY: Final = frozenset(
    (
        Command.SET_XATTR,
        Command.REMOVE_XATTR,
        Command.CHMOD,
        Command.CHOWN,
        Command.UTIMES,
        Command.FILEATTR,
    )
)
"""Commands that may have the empty path, the kernel's name for the top directory."""

_FILE_LEN_SIZE: Final = 8
"""Bytes of UNENCODED_FILE_LEN."""

_SHOWN_BYTES: Final = 80
"""How much of a bad path a message shows."""


def is_safe_path(path: bytes) -> bool:
    """Whether `path` is a plain relative path.

    That is: not empty, absolute or longer than the kernel takes, without empty, `.` and `..`
    components, and without NUL.
    """
    return (
        len(path) <= MAX_PATH
        and b"\0" not in path
        and _UNSAFE_COMPONENTS.isdisjoint(path.split(b"/"))
    )


def vet_path(path: bytes) -> None:
    """Check a path of a stream.

    Raises:
        CorruptStreamError: It is not safe.
    """
    if not is_safe_path(path):
        raise CorruptStreamError(
            f"unsafe path {_show(path)}", "a btrfs file system does not make such a stream"
        )


def _vet_link_target(target: bytes) -> None:
    """Check the target of a symbolic link, which is free text that nothing follows here."""
    if len(target) > MAX_PATH or b"\0" in target:
        raise CorruptStreamError(f"impossible target of a symbolic link {_show(target)}")


def _show(path: bytes) -> str:
    shown = path[:_SHOWN_BYTES].decode("utf-8", "backslashreplace")
    more = "" if len(path) <= _SHOWN_BYTES else f" and {len(path) - _SHOWN_BYTES} bytes more"
    return f"{shown!r}{more}"


@dataclass(frozen=True, slots=True)
class _Layout:
    """How the kernel lays out a command: PATH, and after it only attributes of fixed size.

    Attributes:
        tail: What follows the data of PATH, with the data of those attributes skipped.
        headers: What `tail` must yield: the number and length of each attribute in turn.
        overhead: Size of a body less its path, in bytes; with `data`, the least it can be.
        data: Whether DATA, of any size, comes last.
    """

    tail: struct.Struct
    headers: tuple[int, ...]
    overhead: int
    data: bool

    @classmethod
    def of(cls, attributes: Iterable[tuple[Attribute, int]], data_header: str = "") -> _Layout:
        """Return the layout of attributes with these sizes, and then of DATA if it has a header."""
        attributes = tuple(attributes)
        tail = struct.Struct("<" + "".join(f"HH{size}x" for _, size in attributes) + data_header)
        headers = [int(number) for attribute in attributes for number in attribute]
        if data_header:
            headers.append(Attribute.DATA)
        return cls(tail, tuple(headers), ATTRIBUTE_HEADER_SIZE + tail.size, bool(data_header))


def _layouts(version: int) -> Mapping[int, _Layout]:
    """Return the layouts of the frequent commands (send.c of the kernel), by number."""
    times = [(Attribute.ATIME, 12), (Attribute.MTIME, 12), (Attribute.CTIME, 12)]
    if version > 1:
        times.append((Attribute.OTIME, 12))
    created = _Layout.of([(Attribute.INO, 8)])
    path_only = _Layout.of([])
    return {
        Command.MKFILE: created,
        Command.MKDIR: created,
        Command.UNLINK: path_only,
        Command.RMDIR: path_only,
        Command.TRUNCATE: _Layout.of([(Attribute.SIZE, 8)]),
        Command.CHMOD: _Layout.of([(Attribute.MODE, 8)]),
        Command.CHOWN: _Layout.of([(Attribute.UID, 8), (Attribute.GID, 8)]),
        Command.UTIMES: _Layout.of(times),
        Command.WRITE: _Layout.of([(Attribute.FILE_OFFSET, 8)], "HH" if version == 1 else "H"),
    }


class Vetter:
    """Checks the commands after the head of one stream.

    Args:
        version: The stream's version.
        clone_sources: Identities of the snapshots that the stream may clone from.
    """

    def __init__(self, version: int, clone_sources: frozenset[UUID]) -> None:
        self._version = version
        self._clone_sources = clone_sources
        self._commands = COMMANDS[version]
        self._layouts = _layouts(version)
        self._length_of_data = version == 1
        self._largest_write = largest_write(version)
        self._write_overhead = write_overhead(version)
        self._last_path = b"-"
        """A path known to be good: commands on one file come in a row."""

    def vet(self, number: int, data: memoryview, start: int, end: int) -> int:
        """Check the command whose body is `data[start:end]`.

        Returns:
            The bytes it counts in the plain stream: what it has, unless it is compressed.

        Raises:
            CorruptStreamError: It is unknown, malformed, or reaches outside.
        """
        layout = self._layouts.get(number)
        if layout is None or not self._vet_layout(layout, number, data, start, end):
            return self._vet_attributes(number, data[start:end])
        return COMMAND_HEADER_SIZE + end - start

    def _vet_layout(
        self, layout: _Layout, number: int, data: memoryview, start: int, end: int
    ) -> bool:
        """Check a command that is laid out as expected; return False if it is not.

        Every attribute header is compared, so that no second PATH can hide behind the first.
        """
        room = end - start - layout.overhead
        if room < 0:
            return False
        attribute, size = ATTRIBUTE_HEADER.unpack_from(data, start)
        if attribute != Attribute.PATH or size > room:
            return False
        start += ATTRIBUTE_HEADER_SIZE
        headers = layout.tail.unpack_from(data, start + size)
        room -= size
        if not layout.data:
            if room or headers != layout.headers:
                return False
        elif headers != ((*layout.headers, room) if self._length_of_data else layout.headers):
            return False
        self._vet_path(number, data[start : start + size].tobytes())
        return True

    def _vet_path(self, number: int, path: bytes) -> None:
        """Check the PATH of the command `number`."""
        if path != self._last_path and (path or number not in ON_TOP_DIRECTORY):
            vet_path(path)
            self._last_path = path

    def _vet_attributes(self, number: int, body: memoryview) -> int:
        """Check a command whatever its layout; return as `vet` does."""
        command = self._commands.get(number)
        if command is None:
            raise CorruptStreamError(
                f"command {number} is unknown in stream version {self._version}"
            )
        if command is Command.UPDATE_EXTENT:
            raise CorruptStreamError(
                "the stream was made without file data",
                "a stream from `btrfs send --no-data` restores nothing",
            )
        attributes = decode_attributes(body, self._version)
        if command is not Command.END and Attribute.PATH not in attributes:
            raise CorruptStreamError("PATH is missing")
        for attribute in _PATHS:
            if attribute in attributes:
                self._vet_named(command, attribute, bytes(attributes[attribute]))
        if command is Command.CLONE or Attribute.CLONE_UUID in attributes:
            self._vet_clone(attributes)
        if command is Command.ENCODED_WRITE:
            return self._decoded_bytes(attributes)
        return COMMAND_HEADER_SIZE + len(body)

    def _vet_named(self, command: Command, attribute: Attribute, path: bytes) -> None:
        """Check one path attribute of a command."""
        if attribute is Attribute.PATH:
            self._vet_path(command, path)
        elif attribute is Attribute.PATH_LINK and command is Command.SYMLINK:
            _vet_link_target(path)
        else:
            vet_path(path)

    def _vet_clone(self, attributes: Mapping[Attribute, memoryview]) -> None:
        """Check that a clone takes data only from the snapshots the stream may use."""
        uuid = decode_uuid(attributes, Attribute.CLONE_UUID)
        if uuid not in self._clone_sources:
            known = ", ".join(sorted(map(str, self._clone_sources)))
            raise CorruptStreamError(
                f"clone from outside: the stream takes data from {uuid}, but may only from {known}"
            )

    def _decoded_bytes(self, attributes: Mapping[Attribute, memoryview]) -> int:
        """Return the bytes of the WRITE commands that a compressed extent would have been."""
        field = attributes.get(Attribute.UNENCODED_FILE_LEN)
        if field is None or len(field) != _FILE_LEN_SIZE:
            raise CorruptStreamError("UNENCODED_FILE_LEN is missing or damaged")
        size = int.from_bytes(field, "little")
        writes = -(-size // self._largest_write)
        return size + writes * (self._write_overhead + len(attributes[Attribute.PATH]))


def decode_uuid(attributes: Mapping[Attribute, memoryview], attribute: Attribute) -> UUID:
    """Return the UUID that `attribute` has.

    Raises:
        CorruptStreamError: It is missing, or no UUID.
    """
    data = attributes.get(attribute)
    if data is None:
        raise CorruptStreamError(f"{attribute.name} is missing")
    if len(data) != UUID_SIZE:
        raise CorruptStreamError(f"{attribute.name} has {len(data)} bytes, not {UUID_SIZE}")
    return UUID(bytes=bytes(data))

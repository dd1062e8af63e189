"""The bytes of a send stream: numbers, headers, attributes and the checksum.

Everything is little-endian. A stream is a header (magic, version) and commands. A command is
a header (length of its body, command number, crc) and a body of attributes; an attribute is its
number, the length of its data, and the data. The authority is `fs/btrfs/send.h` of the kernel.
"""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import TYPE_CHECKING, Final

from buttersink.errors import CorruptStreamError
from buttersink.stream.crc import crc32c

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MAGIC: Final = b"btrfs-stream\0"

STREAM_HEADER: Final = struct.Struct("<13sI")
"""Magic, version."""
HEADER_SIZE: Final = STREAM_HEADER.size

COMMAND_HEADER: Final = struct.Struct("<IHI")
"""Length of the body, command number, crc of header (with crc 0) and body. Packed."""
COMMAND_HEADER_SIZE: Final = COMMAND_HEADER.size

ATTRIBUTE_HEADER: Final = struct.Struct("<HH")
"""Attribute number, length of its data."""
ATTRIBUTE_HEADER_SIZE: Final = ATTRIBUTE_HEADER.size

_OPEN_HEADER: Final = struct.Struct("<H")
"""The header of DATA from version 2 on: the data reaches to the end of the command."""
OPEN_HEADER_SIZE: Final = _OPEN_HEADER.size

MAX_COMMAND: Final = 1 << 20
"""The longest body that is believed, in bytes.

The kernel builds each command in one buffer: 64 KiB in version 1 (BTRFS_SEND_BUF_SIZE_V1),
16 KiB + 128 KiB rounded up to a page, so at most 192 KiB, in version 2 (BTRFS_SEND_BUF_SIZE_V2).
A longer one is a damaged length, and would have its reader collect gigabytes before it can tell.
"""

MAX_ATTRIBUTE: Final = 0xFFFF
"""The longest data of an attribute with a length field, in bytes."""

MAX_PATH: Final = 4095
"""The longest path the kernel takes: PATH_MAX without the NUL at its end."""

UUID_SIZE: Final = 16


class Command(IntEnum):
    """What a command does (`enum btrfs_send_cmd`)."""

    SUBVOL = 1
    SNAPSHOT = 2
    MKFILE = 3
    MKDIR = 4
    MKNOD = 5
    MKFIFO = 6
    MKSOCK = 7
    SYMLINK = 8
    RENAME = 9
    LINK = 10
    UNLINK = 11
    RMDIR = 12
    SET_XATTR = 13
    REMOVE_XATTR = 14
    WRITE = 15
    CLONE = 16
    TRUNCATE = 17
    CHMOD = 18
    CHOWN = 19
    UTIMES = 20
    END = 21
    UPDATE_EXTENT = 22
    """Stands for WRITE in a stream that was made without file data."""
    # Version 2
    FALLOCATE = 23
    FILEATTR = 24
    ENCODED_WRITE = 25
    # Version 3
    ENABLE_VERITY = 26


class Attribute(IntEnum):
    """What an attribute of a command is (`BTRFS_SEND_A_*`)."""

    UUID = 1
    CTRANSID = 2
    INO = 3
    SIZE = 4
    MODE = 5
    UID = 6
    GID = 7
    RDEV = 8
    CTIME = 9
    MTIME = 10
    ATIME = 11
    OTIME = 12
    XATTR_NAME = 13
    XATTR_DATA = 14
    PATH = 15
    PATH_TO = 16
    PATH_LINK = 17
    FILE_OFFSET = 18
    DATA = 19
    """From version 2 on always the last attribute, and without a length field."""
    CLONE_UUID = 20
    CLONE_CTRANSID = 21
    CLONE_PATH = 22
    CLONE_OFFSET = 23
    CLONE_LEN = 24
    # Version 2
    FALLOCATE_MODE = 25
    FILEATTR = 26
    UNENCODED_FILE_LEN = 27
    UNENCODED_LEN = 28
    UNENCODED_OFFSET = 29
    COMPRESSION = 30
    ENCRYPTION = 31
    # Version 3
    VERITY_ALGORITHM = 32
    VERITY_BLOCK_SIZE = 33
    VERITY_SALT_DATA = 34
    VERITY_SIG_DATA = 35


COMMANDS: Final[Mapping[int, Mapping[int, Command]]] = {
    version: {int(command): command for command in Command if command <= last}
    for version, last in (
        (1, Command.UPDATE_EXTENT),
        (2, Command.ENCODED_WRITE),
        (3, Command.ENABLE_VERITY),
    )
}
"""For each stream version the commands it has, by number."""

ATTRIBUTES: Final[Mapping[int, Mapping[int, Attribute]]] = {
    version: {int(attribute): attribute for attribute in Attribute if attribute <= last}
    for version, last in (
        (1, Attribute.CLONE_LEN),
        (2, Attribute.ENCRYPTION),
        (3, Attribute.VERITY_SIG_DATA),
    )
}
"""For each stream version the attributes it has, by number."""

NEWEST_VERSION: Final = max(COMMANDS)


def checksum(length: int, command: int, body: bytes | memoryview) -> int:
    """Return the crc of a command: CRC-32C from 0, without the usual inversions.

    `crc32c` inverts the value it starts from and its result; starting it from all ones and
    inverting at the end undoes both.
    """
    header = crc32c(COMMAND_HEADER.pack(length, command, 0), 0xFFFFFFFF)
    return crc32c(body, header) ^ 0xFFFFFFFF


def encode_stream_header(version: int) -> bytes:
    """Return the first `HEADER_SIZE` bytes of a stream."""
    return STREAM_HEADER.pack(MAGIC, version)


def decode_stream_header(header: bytes | bytearray | memoryview) -> int:
    """Return the stream version that the first `HEADER_SIZE` bytes of a stream declare.

    Raises:
        CorruptStreamError: They are not the start of a send stream.
    """
    magic, version = STREAM_HEADER.unpack_from(header)
    if magic != MAGIC:
        raise CorruptStreamError(f"not a btrfs send stream: it begins with {magic!r}")
    return int(version)


def encode_command(
    command: int, attributes: Sequence[tuple[int, bytes | memoryview]], version: int
) -> bytes:
    """Return a whole command, with its crc.

    Raises:
        ValueError: The data of an attribute is too long for its length field, or DATA is not
            last where it must be (version 2 and later).
    """
    parts: list[bytes | memoryview] = []
    for index, (attribute, data) in enumerate(attributes, start=1):
        if attribute == Attribute.DATA and version > 1:
            if index != len(attributes):
                raise ValueError(f"DATA must be the last attribute in version {version}")
            parts += (_OPEN_HEADER.pack(attribute), data)
        elif len(data) > MAX_ATTRIBUTE:
            raise ValueError(f"attribute {attribute} of {len(data)} bytes is too long")
        else:
            parts += (ATTRIBUTE_HEADER.pack(attribute, len(data)), data)
    body = b"".join(parts)
    crc = checksum(len(body), command, body)
    return COMMAND_HEADER.pack(len(body), command, crc) + body


def decode_attributes(body: memoryview, version: int) -> dict[Attribute, memoryview]:
    """Return the attributes in the body of a command, in their order, as slices of `body`.

    Raises:
        CorruptStreamError: An attribute reaches beyond the body, stands there twice (readers
            differ in which they believe), or is not one of this stream version.
    """
    known = ATTRIBUTES[version]
    attributes: dict[Attribute, memoryview] = {}
    position, end = 0, len(body)
    while position < end:
        if end - position < OPEN_HEADER_SIZE:
            raise CorruptStreamError("the last attribute is cut off")
        (number,) = _OPEN_HEADER.unpack_from(body, position)
        attribute = known.get(number)
        if attribute is None:
            raise CorruptStreamError(f"attribute {number} is unknown in stream version {version}")
        if attribute in attributes:
            raise CorruptStreamError(f"attribute {attribute.name} stands there twice")
        if attribute is Attribute.DATA and version > 1:
            attributes[attribute] = body[position + OPEN_HEADER_SIZE :]
            break
        start = position + ATTRIBUTE_HEADER_SIZE
        if start > end:
            raise CorruptStreamError(f"attribute {attribute.name} is cut off")
        _, size = ATTRIBUTE_HEADER.unpack_from(body, position)
        position = start + size
        if position > end:
            raise CorruptStreamError(f"attribute {attribute.name} reaches beyond its command")
        attributes[attribute] = body[start:position]
    return attributes

"""Send streams to test with, made by hand or captured from a kernel, and what takes them apart."""

from __future__ import annotations

from base64 import b64decode
from itertools import pairwise
from typing import TYPE_CHECKING
from uuid import UUID

from buttersink.stream.format import (
    COMMAND_HEADER,
    COMMAND_HEADER_SIZE,
    HEADER_SIZE,
    Attribute,
    Command,
    checksum,
    decode_attributes,
    decode_stream_header,
    encode_command,
    encode_stream_header,
)
from buttersink.stream.guard import Expectation, Rewrite, StreamGuard

if TYPE_CHECKING:
    from collections.abc import Iterable

A, C = Attribute, Command
TO = UUID("00000000-1111-2222-3333-444444444444")
PARENT = UUID("55555555-6666-7777-8888-999999999999")
OTHER = UUID("aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee")

FULL = Expectation(to=frozenset({TO}), parents=None, max_version=3)
INCREMENTAL = Expectation(to=frozenset({TO}), parents=frozenset({PARENT}), max_version=3)

# `btrfs send --proto 1` of Linux 6.18: a subvolume `e0` with one empty file.
REAL_FULL = b64decode(
    "YnRyZnMtc3RyZWFtAAEAAAAmAAAAAQBcCmz3DwACAGUwAQAQAFFSNW8DYaxGlcwD56OXqpYCAAgABwAAAAAAAAAcAAAA"
    "EwACNy2MDwAAAAYACAAAAAAAAAAAAAcACAAAAAAAAAAAABAAAAASAFlVdTUPAAAABQAIAO0BAAAAAAAAGAAAAAMAbG7b"
    "Aw8ACABvMjU3LTctMAMACAABAQAAAAAAABUAAAAJAIc4NqAPAAgAbzI1Ny03LTAQAAUAZW1wdHkhAAAAEwDp1A2/DwAF"
    "AGVtcHR5BgAIAAAAAAAAAAAABwAIAAAAAAAAAAAAFQAAABIARdmffw8ABQBlbXB0eQUACACkAQAAAAAAADkAAAAUAAyh"
    "af8PAAUAZW1wdHkLAAwAbn0DawAAAAC9l3kZCgAMAG59A2sAAAAAvZd5GQkADABufQNrAAAAAL2XeRk0AAAAFABxlBBG"
    "DwAAAAsADABufQNrAAAAAL2XeRkKAAwAbn0DawAAAAC9l3kZCQAMAG59A2sAAAAAvZd5GQAAAAAVAFBsyZ0="
)
REAL_FULL_UUID = UUID("5152356f-0361-ac46-95cc-03e7a397aa96")

# `btrfs send --proto 2 -p e0` of `e1`, in which a second empty file was made.
REAL_INCREMENT = b64decode(
    "YnRyZnMtc3RyZWFtAAIAAABGAAAAAgDaKZTzDwACAGUxAQAQALPJsXRJnRNLv15nwKlVJeUCAAgACAAAAAAAAAAUABAA"
    "UVI1bwNhrEaVzAPno5eqlhUACAAHAAAAAAAAABgAAAADAJ5zNLcPAAgAbzI1OC04LTADAAgAAgEAAAAAAAAWAAAACQAK"
    "Xgp9DwAIAG8yNTgtOC0wEAAGAHNlY29uZCIAAAATAIL+IfUPAAYAc2Vjb25kBgAIAAAAAAAAAAAABwAIAAAAAAAAAAAA"
    "FgAAABIAY5z7xQ8ABgBzZWNvbmQFAAgApAEAAAAAAABKAAAAFADYg3ksDwAGAHNlY29uZAsADABufQNrAAAAAL2p8xkK"
    "AAwAbn0DawAAAAC9qfMZCQAMAG59A2sAAAAAvanzGQwADABufQNrAAAAAL2p8xlEAAAAFACnU5qQDwAAAAsADABufQNr"
    "AAAAAL2XeRkKAAwAbn0DawAAAAC9qfMZCQAMAG59A2sAAAAAvanzGQwADABufQNrAAAAAL2XeRkAAAAAFQBQbMmd"
)
REAL_INCREMENT_UUID = UUID("b3c9b174-499d-134b-bf5e-67c0a95525e5")


def u64(number: int) -> bytes:
    return number.to_bytes(8, "little")


def head(
    to: UUID = TO, parent: UUID | None = None, *, name: bytes = b"snap", version: int = 1
) -> bytes:
    """Return the command that begins a stream."""
    attributes = [(A.PATH, name), (A.UUID, to.bytes), (A.CTRANSID, u64(7))]
    if parent is None:
        return encode_command(C.SUBVOL, attributes, version)
    attributes += [(A.CLONE_UUID, parent.bytes), (A.CLONE_CTRANSID, u64(5))]
    return encode_command(C.SNAPSHOT, attributes, version)


def write(path: bytes, data: bytes, *, offset: int = 0, version: int = 1) -> bytes:
    attributes = [(A.PATH, path), (A.FILE_OFFSET, u64(offset)), (A.DATA, data)]
    return encode_command(C.WRITE, attributes, version)


def clone(
    source: UUID, *, path: bytes = b"copy", source_path: bytes = b"file", version: int = 1
) -> bytes:
    attributes = [
        (A.FILE_OFFSET, u64(0)),
        (A.CLONE_LEN, u64(4096)),
        (A.PATH, path),
        (A.CLONE_UUID, source.bytes),
        (A.CLONE_CTRANSID, u64(5)),
        (A.CLONE_PATH, source_path),
        (A.CLONE_OFFSET, u64(0)),
    ]
    return encode_command(C.CLONE, attributes, version)


def utimes(path: bytes, *, version: int = 1) -> bytes:
    times = [A.ATIME, A.MTIME, A.CTIME, *([A.OTIME] if version > 1 else [])]
    return encode_command(C.UTIMES, [(A.PATH, path), *((t, bytes(12)) for t in times)], version)


def end(version: int = 1) -> bytes:
    return encode_command(C.END, [], version)


def stream(*commands: bytes, version: int = 1) -> bytes:
    """Return a stream of these commands, head included, and END."""
    return b"".join((encode_stream_header(version), *commands, end(version)))


def full(*commands: bytes, version: int = 1) -> bytes:
    """Return a full stream of `TO`."""
    return stream(head(version=version), *commands, version=version)


def sample(version: int = 1) -> bytes:
    """Return an incremental stream with the kinds of commands that a kernel makes."""
    return stream(
        head(parent=PARENT, version=version),
        utimes(b"", version=version),
        encode_command(C.MKFILE, [(A.PATH, b"o257-7-0"), (A.INO, u64(257))], version),
        encode_command(C.RENAME, [(A.PATH, b"o257-7-0"), (A.PATH_TO, b"dir/file")], version),
        write(b"dir/file", b"some data", version=version),
        write(b"dir/file", b"", offset=9, version=version),
        clone(PARENT, version=version),
        clone(TO, version=version),
        encode_command(
            C.SYMLINK,
            [(A.PATH, b"link"), (A.INO, u64(258)), (A.PATH_LINK, b"../../etc/passwd")],
            version,
        ),
        encode_command(C.UNLINK, [(A.PATH, b"old")], version),
        encode_command(
            C.SET_XATTR,
            [(A.PATH, b""), (A.XATTR_NAME, b"user.x"), (A.XATTR_DATA, b"\0/..")],
            version,
        ),
        utimes(b"dir/file", version=version),
        version=version,
    )


def split(data: bytes) -> list[bytes]:
    """Return the commands of a stream; every crc must be right."""
    decode_stream_header(data)
    commands = []
    position = HEADER_SIZE
    while position < len(data):
        length, number, crc = COMMAND_HEADER.unpack_from(data, position)
        start = position + COMMAND_HEADER_SIZE
        assert checksum(length, number, data[start : start + length]) == crc
        commands.append(data[position : start + length])
        position = start + length
    return commands


def parse(command: bytes, version: int) -> tuple[Command, dict[Attribute, bytes]]:
    """Return the number and the attributes of a command."""
    _, number, _ = COMMAND_HEADER.unpack_from(command)
    attributes = decode_attributes(memoryview(command)[COMMAND_HEADER_SIZE:], version)
    return Command(number), {name: bytes(data) for name, data in attributes.items()}


def pieces(data: bytes, cuts: Iterable[int]) -> list[bytes]:
    """Return `data` cut at these positions."""
    bounds = [0, *sorted(cuts), len(data)]
    return [data[a:b] for a, b in pairwise(bounds)]


def feed(guard: StreamGuard, parts: Iterable[bytes]) -> bytes:
    """Push the parts; return all that passes. Not finished."""
    passed = bytearray()
    for part in parts:
        for buffer in guard.push(memoryview(part)):
            passed += buffer
    return bytes(passed)


def passed(
    data: bytes,
    expectation: Expectation = FULL,
    rewrite: Rewrite | None = None,
    *,
    check_all: bool = True,
) -> bytes:
    """Return what a guard makes of a whole stream that came in one piece."""
    guard = StreamGuard(expectation, rewrite, check_all=check_all)
    result = feed(guard, [data])
    guard.finish()
    return result

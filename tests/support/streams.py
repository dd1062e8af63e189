"""Send streams of a store: captured whole, taken apart, put together again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from buttersink.stream.format import (
    COMMAND_HEADER,
    COMMAND_HEADER_SIZE,
    HEADER_SIZE,
    encode_stream_header,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from buttersink.model import Diff, StreamOptions
    from buttersink.store import Source


def captured(source: Source, diff: Diff, options: StreamOptions) -> bytes:
    """Return the whole stream of a diff."""
    stream = bytearray()
    buffer = memoryview(bytearray(1 << 20))
    with source.send(diff, options) as reader:
        while count := reader.readinto(buffer):
            stream += buffer[:count]
    return bytes(stream)


def commands(stream: bytes) -> list[tuple[int, bytes]]:
    """Return the number and the body of each command."""
    found = []
    position = HEADER_SIZE
    while position < len(stream):
        length, number, _ = COMMAND_HEADER.unpack_from(stream, position)
        position += COMMAND_HEADER_SIZE
        found.append((number, stream[position : position + length]))
        position += length
    return found


def with_commands(stream: bytes, version: int, added: Iterable[bytes]) -> bytes:
    """Return a stream with whole commands added before its last one, which is END."""
    end = len(stream) - COMMAND_HEADER_SIZE
    return b"".join((encode_stream_header(version), stream[HEADER_SIZE:end], *added, stream[end:]))

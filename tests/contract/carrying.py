"""Streams on their way from one store to another, and what can go wrong with them."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from buttersink.model import StreamOptions
from buttersink.transfer import pump
from support.processes import PATIENCE_SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from buttersink.model import Diff, Size
    from buttersink.store import Reader, Sink, Source, Writer

OPTIONS = StreamOptions(version=1)
"""What every store can make and take."""


class FailingReader:
    """A reader that raises `error` instead of going beyond the first `after` bytes."""

    def __init__(self, reader: Reader, error: BaseException, *, after: int) -> None:
        self._reader = reader
        self._error = error
        self._left = after

    def readinto(self, buffer: memoryview, /) -> int:
        if self._left == 0:
            raise self._error
        count = self._reader.readinto(buffer[: self._left])
        self._left -= count
        return count


@contextmanager
def failing_at_exit(reader: Reader, error: BaseException) -> Iterator[Reader]:
    """Give the whole stream, and only then tell that it isn't good."""
    yield reader
    raise error


def read_stream(
    source: Source, diff: Diff, options: StreamOptions = OPTIONS, *, chunk: int = 1 << 16
) -> bytes:
    """Return the stream of `diff`, read in chunks."""
    stream = bytearray()
    buffer = memoryview(bytearray(chunk))
    with source.send(diff, options) as reader:
        while count := reader.readinto(buffer):
            stream += buffer[:count]
    return bytes(stream)


def write_stream(writer: Writer, stream: bytes, *, chunk: int = 1 << 16) -> None:
    """Write a stream in chunks, from one buffer that is used again and again."""
    buffer = memoryview(bytearray(chunk))
    for start in range(0, len(stream), chunk):
        part = stream[start : start + chunk]
        buffer[: len(part)] = part
        writer.write(buffer[: len(part)])
        buffer[: len(part)] = bytes(len(part))


def write_until_refused(writer: Writer, stream: bytes) -> None:
    """Write a bad stream, again and again: of a far writer a refusal comes with some delay."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        write_stream(writer, stream)


def store_stream(sink: Sink, diff: Diff, path: str, stream: bytes, *, chunk: int = 1 << 16) -> int:
    """Receive a stream, or what of it is missing; return the plain bytes the writer counted."""
    with sink.receive(diff, path, OPTIONS) as writer:
        write_stream(writer, stream[writer.resume.offset if writer.resume else 0 :], chunk=chunk)
    return writer.plain_bytes


def carry(
    source: Source,
    sink: Sink,
    diff: Diff,
    path: str,
    options: StreamOptions = OPTIONS,
    *,
    expected: Size | None = None,
    link: bool = False,
) -> int:
    """Transfer a diff as a run does; return the plain bytes that the writer counted."""
    with (
        sink.receive(diff, path, options, expected=expected, link=link) as writer,
        source.send(diff, options, resume=writer.resume) as reader,
    ):
        pump(reader, writer, progress=lambda _: None)
    return writer.plain_bytes

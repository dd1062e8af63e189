"""As much of HTTP/1.1 as it takes to see where messages and their bodies end (RFC 9112)."""

from __future__ import annotations

import select
import socket
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_PIECE_BYTES = 64 << 10
_HEAD_LIMIT = 1 << 20


class ClosedError(OSError):
    """The other side has closed the connection."""


class DeafError(OSError):
    """The other side does not take what is sent to it."""


class Wire:
    """One side of a connection, with what was received but not used yet."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self._buffer = bytearray()

    def send(self, data: bytes) -> None:
        try:
            self.socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError) as error:
            raise DeafError("does not listen") from error

    def is_closed(self) -> bool:
        """Tell, without waiting, whether the other side has closed an idle connection."""
        readable, _, _ = select.select([self.socket], [], [], 0)
        return bool(readable) and not self.socket.recv(1, socket.MSG_PEEK)

    def close(self) -> None:
        """Close it, for both sides at once even if another thread waits for it."""
        with suppress(OSError):  # it may not be connected any more
            self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()

    def until(self, mark: bytes) -> bytes:
        """Return what comes up to and with `mark`."""
        while (end := self._buffer.find(mark)) < 0:
            if len(self._buffer) > _HEAD_LIMIT:
                raise ClosedError("a head without end")
            self._more()
        return self._take(end + len(mark))

    def some(self, limit: int) -> bytes:
        """Return what comes next: a byte at least."""
        if not self._buffer:
            self._more()
        return self._take(min(limit, len(self._buffer)))

    def _more(self) -> None:
        data = self.socket.recv(_PIECE_BYTES)
        if not data:
            raise ClosedError("closed")
        self._buffer += data

    def _take(self, count: int) -> bytes:
        taken = bytes(self._buffer[:count])
        del self._buffer[:count]
        return taken


@dataclass(frozen=True, slots=True)
class Head:
    """The first line of a message and its fields, as they came."""

    start: str
    fields: tuple[tuple[str, str], ...]

    def __getitem__(self, name: str) -> str:
        """Return the value of a field; empty if there is none."""
        return next((value for found, value in self.fields if found.lower() == name), "")

    def without(self, name: str) -> Head:
        return Head(self.start, tuple(f for f in self.fields if f[0].lower() != name))

    def __bytes__(self) -> bytes:
        lines = [self.start, *(f"{name}: {value}" for name, value in self.fields), "", ""]
        return "\r\n".join(lines).encode("latin-1")

    @property
    def closes(self) -> bool:
        """Whether the connection ends with this message."""
        return self["connection"].lower() == "close" or "HTTP/1.0" in self.start

    @property
    def chunked(self) -> bool:
        return "chunked" in self["transfer-encoding"].lower()

    @property
    def length(self) -> int | None:
        """How many bytes the body says it has."""
        return int(self["content-length"]) if self["content-length"] else None

    @property
    def status(self) -> int:
        """Of an answer."""
        return int(self.start.split(" ")[1])


def read_head(wire: Wire) -> Head:
    start, *lines = wire.until(b"\r\n\r\n").decode("latin-1").split("\r\n")
    pairs = (line.partition(":") for line in lines if line)
    return Head(start, tuple((name, value.strip()) for name, _, value in pairs))


def request_body(wire: Wire, head: Head) -> Iterator[tuple[bytes, bool]]:
    """Yield the body of a request as it comes: pieces, and whether they are content or framing."""
    if head.chunked:
        yield from _chunks(wire)
    else:
        yield from _counted(wire, head.length or 0)


def response_body(wire: Wire, head: Head, method: str) -> Iterator[tuple[bytes, bool]]:
    """Yield the body of an answer likewise."""
    if method == "HEAD" or head.status in {204, 304}:
        return
    if head.chunked:
        yield from _chunks(wire)
    elif head.length is not None:
        yield from _counted(wire, head.length)
    else:
        try:
            while True:
                yield wire.some(_PIECE_BYTES), True
        except ClosedError:
            return


def _counted(wire: Wire, count: int) -> Iterator[tuple[bytes, bool]]:
    while count:
        piece = wire.some(min(count, _PIECE_BYTES))
        count -= len(piece)
        yield piece, True


def _chunks(wire: Wire) -> Iterator[tuple[bytes, bool]]:
    while True:
        line = wire.until(b"\r\n")
        yield line, False
        count = int(line.split(b";")[0], 16)
        if not count:
            break
        yield from _counted(wire, count)
        yield wire.until(b"\r\n"), False
    while True:  # trailer fields, then an empty line
        line = wire.until(b"\r\n")
        yield line, False
        if line == b"\r\n":
            return

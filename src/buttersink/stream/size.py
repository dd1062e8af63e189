"""The exact size of a send stream, from the stream that the kernel makes without file data.

With NO_FILE_DATA the kernel does all that it does for a real send, but for each extent sends one
UPDATE_EXTENT (path, offset, size) instead of reading it and sending WRITE commands. How it
would have cut the extent into WRITEs is known, so the real size follows without reading data.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from buttersink.errors import CorruptStreamError
from buttersink.stream.format import (
    ATTRIBUTE_HEADER,
    ATTRIBUTE_HEADER_SIZE,
    COMMAND_HEADER,
    COMMAND_HEADER_SIZE,
    HEADER_SIZE,
    MAX_COMMAND,
    OPEN_HEADER_SIZE,
    Attribute,
    Command,
    decode_stream_header,
)

if TYPE_CHECKING:
    from collections.abc import Callable

_BUFFER_MARGIN: Final = 16 << 10
"""What the kernel keeps free of data in its command buffer (max_send_read_size in send.c)."""

_EXTENT_TAIL: Final = struct.Struct("<HHQHHQ")
"""What follows the path in UPDATE_EXTENT: the attributes FILE_OFFSET and SIZE."""
_EXTENT_SIZE: Final = struct.Struct("<Q")


def largest_write(version: int, page_size: int = 4096) -> int:
    """Return the most file data the kernel puts into one WRITE command, in bytes.

    Its buffer is 64 KiB in version 1, else 16 KiB + 128 KiB rounded up to a page of the
    sending machine (which matters with pages of 64 KiB); 16 KiB of it are not for data.
    """
    if version == 1:
        return (64 << 10) - _BUFFER_MARGIN
    buffer = _BUFFER_MARGIN + (128 << 10)
    return -(-buffer // page_size) * page_size - _BUFFER_MARGIN


def write_overhead(version: int) -> int:
    """Return the bytes of a WRITE command beside its path and its data."""
    path_header = ATTRIBUTE_HEADER_SIZE
    file_offset = ATTRIBUTE_HEADER_SIZE + 8
    data_header = ATTRIBUTE_HEADER_SIZE if version == 1 else OPEN_HEADER_SIZE
    return COMMAND_HEADER_SIZE + path_header + file_offset + data_header


class StubMeter:
    """Adds up what the real stream would have, while the one without file data is fed in.

    Exact, but for one thing seen: where a file of an incremental stream ends in a hole or in
    preallocated space, the two may differ by its TRUNCATE command (26 bytes and the path).

    The stub's crcs are not checked: it comes straight from the kernel and is thrown away.

    Args:
        version: The stream version that was asked of the kernel.
        page_size: The page size of the sending machine, in bytes.
        observe: Told every command's number and body, which is valid during the call only.
    """

    def __init__(
        self,
        version: int,
        *,
        page_size: int = 4096,
        observe: Callable[[int, memoryview], None] | None = None,
    ) -> None:
        self._version = version
        self._observe = observe
        self._largest_write = largest_write(version, page_size)
        self._write_overhead = write_overhead(version)
        self._unread = bytearray()
        self._nbytes = 0
        self._complete = False

    @property
    def nbytes(self) -> int:
        """Size of the real stream up to the last whole command that was fed, in bytes."""
        return self._nbytes

    @property
    def complete(self) -> bool:
        """Whether the END command was seen; what is fed after it is ignored."""
        return self._complete

    def feed(self, data: memoryview | bytes) -> None:
        """Take the next part of the stream, cut anywhere.

        Raises:
            CorruptStreamError: This is no stream of the expected version, or not one that
                the kernel would make.
        """
        if self._complete:
            return
        self._unread += data
        if not self._nbytes:
            if len(self._unread) < HEADER_SIZE:
                return
            version = decode_stream_header(self._unread)
            if version != self._version:
                raise CorruptStreamError(
                    f"the kernel made a stream of version {version}, not {self._version}"
                )
            del self._unread[:HEADER_SIZE]
            self._nbytes = HEADER_SIZE
        with memoryview(self._unread) as unread:
            taken = self._take_commands(unread)
        del self._unread[:taken]

    def _take_commands(self, data: memoryview) -> int:
        """Count the whole commands at the start of `data`; return the bytes they take.

        A large tree has millions of commands, so this loop does as little as it can.
        """
        unpack, observe = COMMAND_HEADER.unpack_from, self._observe
        update_extent, end_of_stream = Command.UPDATE_EXTENT, Command.END
        available = len(data)
        position = nbytes = 0
        while available - position >= COMMAND_HEADER_SIZE:
            length, command, _ = unpack(data, position)
            if length > MAX_COMMAND:
                raise CorruptStreamError(f"a command of {length} bytes in a stream without data")
            end = position + COMMAND_HEADER_SIZE + length
            if end > available:
                break
            if observe is not None:
                with data[position + COMMAND_HEADER_SIZE : end] as body:
                    observe(command, body)
            if command == update_extent:
                nbytes += self._extent_bytes(data, position + COMMAND_HEADER_SIZE, end)
            else:
                nbytes += COMMAND_HEADER_SIZE + length
                if command == end_of_stream:
                    self._complete = True
                    position = end
                    break
            position = end
        self._nbytes += nbytes
        return position

    def _extent_bytes(self, data: memoryview, start: int, end: int) -> int:
        """Return the bytes of the WRITE commands that the UPDATE_EXTENT body stands for."""
        path_size = end - start - ATTRIBUTE_HEADER_SIZE - _EXTENT_TAIL.size
        # The kernel writes PATH, FILE_OFFSET, SIZE in this order; if the path's own header
        # confirms that it fills what the other two leave, the size is in the last 8 bytes.
        if path_size < 0 or ATTRIBUTE_HEADER.unpack_from(data, start) != (
            Attribute.PATH,
            path_size,
        ):
            raise CorruptStreamError("an UPDATE_EXTENT command that is laid out in an unknown way")
        (size,) = _EXTENT_SIZE.unpack_from(data, end - _EXTENT_SIZE.size)
        writes = -(-size // self._largest_write)
        return int(size + writes * (self._write_overhead + path_size))

"""A send stream taken apart for who applies it: each command whole, right and safe.

A tree of many small files is millions of commands, each of which the kernel carries out in a few
microseconds; so what is done here for each of them is as little as can be.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from buttersink.errors import CorruptStreamError
from buttersink.stream.command_calls import Calls, SafePaths, UnfitError
from buttersink.stream.command_layouts import Layouts, read_attributes
from buttersink.stream.crc import crc32c
from buttersink.stream.format import (
    COMMAND_HEADER,
    COMMAND_HEADER_SIZE,
    COMMANDS,
    HEADER_SIZE,
    MAX_COMMAND,
    NEWEST_VERSION,
    Attribute,
    Command,
    checksum,
    decode_attributes,
    decode_stream_header,
)
from buttersink.stream.head import HEADS, Expectation, vet_head
from buttersink.stream.vetting import ON_TOP_DIRECTORY

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from uuid import UUID

    from buttersink.stream.commands import Commands

_COMMAND_START: Final = struct.Struct("<IHII")
"""A command's header and, as one number, the header of its first attribute."""
_COMMAND_START_SIZE: Final = _COMMAND_START.size

_ALL_ONES: Final = 0xFFFFFFFF
_CTRANSID_SIZE: Final = 8

_KEPT_CHECKSUMS: Final = 1 << 14


@dataclass(frozen=True, slots=True, kw_only=True)
class After:
    """Where in a stream an earlier decoder stopped, always between two commands after the head.

    Attributes:
        version: The stream's version.
        nbytes: Bytes of the stream up to there.
        plain_bytes: Those bytes, counted as if its extents were not compressed.
        ctransid: What the head has in CTRANSID.
    """

    version: int
    nbytes: int
    plain_bytes: int
    ctransid: int


class Decoder:
    """Takes a stream apart: each command whole, its crc right, its values safe; has it applied.

    It enforces all that `StreamGuard` enforces, and that each command has the attributes it needs
    with values that can be, and no others than those that kernels send with it.

    After an error nothing more is applied: each further call raises it again.

    Args:
        expectation: Which stream to take.
        commands: Who applies the commands.
        after: Where an earlier decoder of this stream stopped: what comes is the rest of the
            stream from there on. None to begin at the start.
        clone_sources: Whether the stream may clone from this snapshot, which is not one of the
            expectation; None for from none.

    Raises:
        CorruptStreamError: `after` is of a stream version that is not expected.
    """

    def __init__(
        self,
        expectation: Expectation,
        commands: Commands,
        *,
        after: After | None = None,
        clone_sources: Callable[[UUID], bool] | None = None,
    ) -> None:
        self._expectation = expectation
        self._safe_paths = SafePaths()
        self._calls = Calls(
            commands,
            clone_sources=expectation.to | (expectation.parents or frozenset()),
            more_clone_sources=clone_sources,
            paths=self._safe_paths,
        )
        self._header_checksums = _HeaderChecksums()
        self._version = 0
        self._layouts: Layouts | None = None
        """None until the head was taken."""
        self._ctransid = 0
        self._nbytes = 0
        self._saved_before = 0
        self._ended = False
        self._failed: tuple[str, int, bytes] | None = None
        self._stopped: BaseException | None = None
        if after is not None:
            self._version = self._vetted_version(after.version)
            self._layouts = Layouts(after.version)
            self._ctransid = after.ctransid
            self._nbytes = after.nbytes
            self._saved_before = after.plain_bytes - after.nbytes

    @property
    def ended(self) -> bool:
        """Whether the END command was seen: the stream is whole."""
        return self._ended

    @property
    def version(self) -> int:
        """The stream's version; 0 until its header was taken."""
        return self._version

    @property
    def ctransid(self) -> int:
        """The generation of the snapshot where it comes from; 0 until the head was taken."""
        return self._ctransid

    @property
    def nbytes(self) -> int:
        """Bytes of the stream that were taken, up to the end of the last command applied."""
        return self._nbytes

    @property
    def plain_bytes(self) -> int:
        """Those bytes counted as by `StreamGuard.plain_bytes`."""
        return self._nbytes + self._saved_before + self._calls.saved_bytes

    @property
    def failed(self) -> tuple[str, int, bytes] | None:
        """Which command `commands` could not apply: its name, where it begins, and its path.

        None as long as it raised nothing.
        """
        return self._failed

    def take(self, data: memoryview) -> int:
        """Have the whole commands at the start of `data` applied.

        The caller keeps what was not taken and comes again with it and more; it is never more
        than the stream header, or a command of `MAX_COMMAND` and its header.

        Returns:
            The bytes they take. From END on that is all of `data`: what follows it is dropped.

        Raises:
            CorruptStreamError: The next command is damaged or not allowed.
            Exception: What applying a command raised; see `failed`.
        """
        if self._stopped is not None:
            raise self._stopped
        try:
            taken = self._take_start(data) if self._layouts is None else 0
            if self._layouts is not None and not self._ended:
                taken += self._take_commands(self._layouts, data[taken:])
        except BaseException as error:
            self._stopped = error
            raise
        return len(data) if self._ended else taken

    def _take_start(self, data: memoryview) -> int:
        """Take the stream header and the head, as far as they are there; return their size."""
        taken = 0
        if not self._version:
            if len(data) < HEADER_SIZE:
                return 0
            self._version = self._vetted_version(decode_stream_header(data))
            self._nbytes = taken = HEADER_SIZE
        if len(data) - taken >= COMMAND_HEADER_SIZE:
            size = self._take_head(data[taken:])
            self._nbytes += size
            taken += size
        return taken

    def _vetted_version(self, version: int) -> int:
        newest = min(self._expectation.max_version, NEWEST_VERSION)
        if not 1 <= version <= newest:
            raise CorruptStreamError(
                f"the stream has version {version}; only 1 to {newest} can be received here"
            )
        return version

    def _take_head(self, data: memoryview) -> int:
        """Take the first command; return its size, or 0 if it is not all there."""
        length, number, crc = COMMAND_HEADER.unpack_from(data)
        end = COMMAND_HEADER_SIZE + length
        body = data[COMMAND_HEADER_SIZE:end]
        try:
            _vet_length(length)
            if end > len(data):
                return 0
            if checksum(length, number, body) != crc:
                raise CorruptStreamError("wrong checksum")
            vet_head(number, body, self._version, self._expectation)
            ctransid = decode_attributes(body, self._version)[Attribute.CTRANSID]
            if len(ctransid) != _CTRANSID_SIZE:
                raise CorruptStreamError(
                    f"CTRANSID has {len(ctransid)} bytes, not {_CTRANSID_SIZE}"
                )
        except CorruptStreamError as error:
            raise self._refusal(number, 0, error) from error
        self._ctransid = int.from_bytes(ctransid, "little")
        self._layouts = Layouts(self._version)
        return int(end)

    def _take_commands(  # noqa: C901 - calls would cost more than what they did
        self, layouts: Layouts, data: memoryview
    ) -> int:
        """Have the whole commands at the start of `data` applied; return the bytes they take."""
        unpack, calls = _COMMAND_START.unpack_from, self._calls.by_number()
        checksums, safe_paths = self._header_checksums, self._safe_paths
        available = len(data)
        position = number = 0
        path = b""
        try:
            while True:
                if available - position >= _COMMAND_START_SIZE:
                    length, number, crc, first = unpack(data, position)
                elif available - position >= COMMAND_HEADER_SIZE:  # as END, without attributes
                    length, number, crc = COMMAND_HEADER.unpack_from(data, position)
                    first = 0
                else:
                    break
                start = position + COMMAND_HEADER_SIZE
                end = start + length
                if end > available or length > MAX_COMMAND:
                    _vet_length(length)
                    break
                body = data[start:end]
                if crc32c(body, checksums[length << 16 | number]) ^ _ALL_ONES != crc:
                    raise UnfitError("wrong checksum")
                layout = layouts[first << 16 | number]
                values = None if layout is None else layout.read(body)
                if values is None:
                    values = self._read(number, body)
                    if values is None:
                        self._ended = True
                        position = end
                        break
                path = values[0]
                if path not in safe_paths and (path or number not in ON_TOP_DIRECTORY):
                    safe_paths.vet(path)
                calls[number](*values)
                position = end
        except UnfitError as error:
            raise self._refusal(number, position, error) from error
        except BaseException:
            self._failed = (self._name(number), self._nbytes + position, path)
            raise
        finally:
            self._nbytes += position
        return position

    def _read(self, number: int, body: memoryview) -> Sequence[Any] | None:
        """Return the values of any command; None of END."""
        command = COMMANDS[self._version].get(number)
        try:
            if command is None:
                raise CorruptStreamError(
                    f"command {number} is unknown in stream version {self._version}"
                )
            if command in HEADS:
                raise CorruptStreamError("a second snapshot in one stream")
            if command is Command.UPDATE_EXTENT:
                raise CorruptStreamError(
                    "the stream was made without file data",
                    "a stream from `btrfs send --no-data` restores nothing",
                )
            if command is Command.END:
                if body:
                    raise CorruptStreamError("it has attributes")
                return None
            values = read_attributes(command, body, self._version)
        except CorruptStreamError as error:
            raise UnfitError(error.message, error.hint) from error
        if command is Command.ENCODED_WRITE:
            values.append(COMMAND_HEADER_SIZE + len(body))
        return values

    def _refusal(self, number: int, position: int, error: CorruptStreamError) -> CorruptStreamError:
        """Return what to say of the command at `position` of the data at hand."""
        at = self._nbytes + position
        return CorruptStreamError(
            f"send stream, {self._name(number)} at byte {at}: {error.message}", error.hint
        )

    def _name(self, number: int) -> str:
        command = COMMANDS[self._version].get(number)
        return f"command {number}" if command is None else command.name


class _HeaderChecksums(dict[int, int]):
    """Where the checksum of a body starts from, which is the same for all headers that are alike.

    The key has the command's number in its low 16 bits, and the length of the body above.
    """

    def __missing__(self, key: int) -> int:
        made = crc32c(COMMAND_HEADER.pack(key >> 16, key & 0xFFFF, 0), _ALL_ONES)
        if len(self) < _KEPT_CHECKSUMS:
            self[key] = made
        return made


def _vet_length(length: int) -> None:
    if length > MAX_COMMAND:
        raise UnfitError(f"a length of {length} bytes is impossible")

"""What a send stream passes through on its way into a store: checked, and rewritten if asked.

The guard stands in the path of the data, so bulk data is never copied: what needs no rewriting
is passed on as slices of the buffers that came in.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from buttersink.errors import CorruptStreamError
from buttersink.stream.format import (
    COMMAND_HEADER,
    COMMAND_HEADER_SIZE,
    COMMANDS,
    HEADER_SIZE,
    MAX_COMMAND,
    NEWEST_VERSION,
    Command,
    checksum,
    decode_stream_header,
)
from buttersink.stream.head import HEADS, Expectation, Rewrite, vet_head
from buttersink.stream.vetting import Vetter

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Expectation", "Rewrite", "StreamGuard"]

_REWRITABLE: Final = frozenset((*HEADS, Command.CLONE))


class StreamGuard:
    """Lets exactly one whole, safe stream of the expected diff through.

    What it enforces: the header and the head are those of the expected stream; each
    command is one of the stream's version; no path and no clone reaches outside (see
    `buttersink.stream.vetting`); crcs are right; the END command comes. Bytes after END are
    dropped: stored streams exist that have stale ones there.

    After an error nothing more passes: each further call raises.

    Args:
        expectation: Which stream to let through.
        rewrite: What to change in it; None for nothing.
        check_all: Whether to check the crc of each command. Without it only commands that
            may be rewritten are checked: a wrong crc is never replaced by a right one.
    """

    def __init__(
        self, expectation: Expectation, rewrite: Rewrite | None = None, *, check_all: bool = True
    ) -> None:
        self._expectation = expectation
        self._rewrite = rewrite
        self._check_all = check_all
        self._clone_sources = expectation.to | (expectation.parents or frozenset())
        self._unfinished = bytearray()
        """The start of a header or command whose rest has not come yet."""
        self._vetter: Vetter | None = None
        """None until the stream header is read."""
        self._version = 0
        self._head_seen = False
        self._refused: CorruptStreamError | None = None
        self._vetted_bytes = 0
        self._plain_bytes = 0
        self._passed_bytes = 0
        self._ended = False

    @property
    def plain_bytes(self) -> int:
        """Size so far of the stream as it came, counted as if its extents were not compressed.

        At the end it equals what `StubMeter` measures for the same diff and version, to the
        exactness of that. Rewriting does not change it.
        """
        return self._plain_bytes

    @property
    def version(self) -> int:
        """The stream's version; 0 until its header has come."""
        return self._version

    @property
    def passed_bytes(self) -> int:
        """Bytes that were passed on so far."""
        return self._passed_bytes

    @property
    def ended(self) -> bool:
        """Whether the END command was passed on: the stream is whole."""
        return self._ended

    def push(self, data: memoryview) -> Sequence[memoryview]:
        """Take the next part of the stream, cut anywhere, of any size.

        Returns:
            What may be passed on now, in order: whole commands. The buffers are valid until
            the next call, and as long as `data` is not changed. Empty after the END command.

        Raises:
            CorruptStreamError: A command is damaged or not allowed; nothing of `data` passes.
        """
        if self._refused is not None:
            raise self._refused
        try:
            passed = [part for part in self._take(data) if part]
        except CorruptStreamError as error:
            self._refused = error
            raise
        self._passed_bytes += sum(map(len, passed))
        return passed

    def finish(self) -> None:
        """Check that the stream is whole; to be called when no more data comes.

        Raises:
            CorruptStreamError: It ended too early, or was refused before.
        """
        if self._refused is not None:
            raise self._refused
        if not self._ended:
            came = self._vetted_bytes + len(self._unfinished)
            raise CorruptStreamError(
                f"the stream ends after {came} bytes, without its END command",
                "its sender stopped early, or it was not stored completely",
            )

    def _take(self, data: memoryview) -> list[memoryview]:
        """Return what of the unfinished part and `data` may be passed on; keep the rest."""
        passed: list[memoryview] = []
        if self._ended:
            return passed
        position = 0
        if self._unfinished or self._vetter is None:
            # What the end of earlier data cut is completed first, alone, in its own buffer.
            position = self._complete(data)
            if self._wanted() > len(self._unfinished):
                return passed
            whole, self._unfinished = memoryview(self._unfinished), bytearray()
            if self._vetter is None:
                self._vetter = self._take_stream_header(whole)
                passed.append(whole)
            else:
                self._take_commands(self._vetter, whole, passed)
        if not self._ended:
            rest = data[position:]
            self._unfinished += rest[self._take_commands(self._vetter, rest, passed) :]
        return passed

    def _wanted(self) -> int:
        """Return the size that the unfinished part must reach, as far as it tells by now."""
        if self._vetter is None:
            return HEADER_SIZE
        if len(self._unfinished) < COMMAND_HEADER_SIZE:
            return COMMAND_HEADER_SIZE
        length, number, _ = COMMAND_HEADER.unpack_from(self._unfinished)
        self._vet_length(length, number, 0)
        return COMMAND_HEADER_SIZE + int(length)

    def _complete(self, data: memoryview) -> int:
        """Move what the unfinished part lacks from the start of `data`; return its size."""
        taken = 0
        while missing := self._wanted() - len(self._unfinished):
            part = data[taken : taken + missing]
            if not part:
                break
            self._unfinished += part
            taken += len(part)
        return taken

    def _take_stream_header(self, header: memoryview) -> Vetter:
        """Check the stream header; return what checks the commands after it."""
        version = decode_stream_header(header)
        newest = min(self._expectation.max_version, NEWEST_VERSION)
        if not 1 <= version <= newest:
            raise CorruptStreamError(
                f"the stream has version {version}; only 1 to {newest} can be received here"
            )
        self._version = version
        self._vetted_bytes = self._plain_bytes = HEADER_SIZE
        return Vetter(version, self._clone_sources)

    def _take_commands(self, vetter: Vetter, data: memoryview, passed: list[memoryview]) -> int:
        """Vet the whole commands at the start of `data` and append what passes to `passed`.

        Returns:
            The bytes they take.
        """
        vet, unpack = vetter.vet, COMMAND_HEADER.unpack_from
        check_all, end_of_stream = self._check_all, Command.END
        available = len(data)
        position = run = plain = 0  # `run` is where the commands begin that pass as they are
        while available - position >= COMMAND_HEADER_SIZE:
            length, number, crc = unpack(data, position)
            if length > MAX_COMMAND:
                self._vet_length(length, number, position)
            start = position + COMMAND_HEADER_SIZE
            end = start + length
            if end > available:
                break
            special = number in _REWRITABLE or not self._head_seen
            if (check_all or special) and checksum(length, number, data[start:end]) != crc:
                raise self._error(number, position, "wrong checksum")
            try:
                if special:
                    changed = self._take_special(vetter, number, data[start:end])
                    plain += end - position
                    if changed is not None:
                        passed += (data[run:position], memoryview(changed))
                        run = end
                else:
                    plain += vet(number, data, start, end)
            except CorruptStreamError as error:
                raise self._error(number, position, error.message, error.hint) from error
            position = end
            if number == end_of_stream:
                self._ended = True
                break
        passed.append(data[run:position])
        self._plain_bytes += plain
        self._vetted_bytes += position
        return position

    def _take_special(self, vetter: Vetter, number: int, body: memoryview) -> bytes | None:
        """Check a head or CLONE, whose crc is right; return what to pass on in its place, if so."""
        if not self._head_seen:
            vet_head(number, body, self._version, self._expectation)
            self._head_seen = True
        elif number in HEADS:
            raise CorruptStreamError("a second snapshot in one stream")
        else:
            vetter.vet(number, body, 0, len(body))
        if self._rewrite is None:
            return None
        return self._rewrite.apply(number, body, self._version)

    def _vet_length(self, length: int, number: int, position: int) -> None:
        if length > MAX_COMMAND:
            raise self._error(number, position, f"a length of {length} bytes is impossible")

    def _error(
        self, number: int, position: int, message: str, hint: str = ""
    ) -> CorruptStreamError:
        """Return an error about the command at `position` of the data at hand."""
        command = COMMANDS[self._version].get(number)
        name = f"command {number}" if command is None else command.name
        at = self._vetted_bytes + position
        return CorruptStreamError(f"send stream, {name} at byte {at}: {message}", hint)

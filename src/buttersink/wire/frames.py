"""The bytes of a link: the preamble with which each side begins, and frames.

A frame is a header of 5 bytes (its kind, and the length of its payload, little-endian) and the
payload. What a frame of each kind may be long is fixed, and is checked as soon as the header has
come: a far side that is hostile, or not ButterSink at all, can't have memory filled.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import Enum, IntEnum
from typing import TYPE_CHECKING, Final

from buttersink.errors import ProtocolError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

PREAMBLE: Final = b"buttersink wire\n"
"""What both sides write before anything else."""

HEADER: Final = struct.Struct("<BI")
"""Kind, length of the payload. Packed."""
HEADER_SIZE: Final = HEADER.size

MAX_DATA: Final = 1 << 20
"""The longest payload of DATA, in bytes."""

MAX_MESSAGE: Final = 8 << 20
"""The longest payload of any other kind, in bytes; long answers are split into ITEMS."""


class Kind(IntEnum):
    """What a frame is."""

    HELLO = 1
    """The first message, in either direction."""
    REQUEST = 2
    REPLY = 3
    """The answer to a request; ends it."""
    ITEMS = 4
    """Part of a bulk answer, before its REPLY."""
    DATA = 5
    """Bytes of a send stream."""
    END = 6
    """The explicit end of DATA; may carry a message."""
    ERROR = 7
    """In place of a REPLY, or in the middle of DATA."""
    ALIVE = 8
    """Says that a side is still at work; empty."""
    CANCEL = 9
    """The client gives up what it asked for; empty."""
    PROGRESS = 10
    """The server tells how many plain bytes it has taken."""


_LIMITS: Final[Mapping[int, int]] = {
    kind: {Kind.DATA: MAX_DATA, Kind.ALIVE: 0, Kind.CANCEL: 0}.get(kind, MAX_MESSAGE)
    for kind in Kind
}
"""The longest payload of each kind, in bytes."""

_NOTHING: Final = memoryview(b"")

_SHOWN_BYTES: Final = 200
"""How much of what is no preamble a message shows."""

_OLD_BEGINNINGS: Final = (b'{"', b"version\n")
"""How ButterSink before version 1 begins: as a server with a JSON object (it takes our preamble
for a request, and reports that there is no such one), as a client with this request."""


def encode_header(kind: Kind, nbytes: int) -> bytes:
    """Return the header of a frame whose payload has `nbytes` bytes.

    Raises:
        ValueError: No decoder would take such a frame.
    """
    limit = _LIMITS[kind]
    if not 0 <= nbytes <= limit:
        raise ValueError(f"a frame {kind.name} of {nbytes} bytes; it may have 0 to {limit}")
    return HEADER.pack(kind, nbytes)


def encode_frame(kind: Kind, payload: bytes = b"") -> bytes:
    """Return a whole frame. For much DATA write header and payload apart, without this copy.

    Raises:
        ValueError: No decoder would take it.
    """
    return encode_header(kind, len(payload)) + payload


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame that came in, or a piece of a frame of DATA.

    Attributes:
        kind: What it is.
        payload: The whole payload; of DATA the piece that came. DATA is a slice of the buffer
            that was fed, and so valid until the next feed; any other payload stays valid.
        last: Whether the frame ends with this.
    """

    kind: Kind
    payload: memoryview | bytes
    last: bool = True


class FrameDecoder:
    """Takes apart what the far side sends after its preamble.

    DATA passes without a copy, in the pieces in which it comes. Other payloads are gathered, so
    at most `MAX_MESSAGE` bytes and a header are held here. After an error nothing more passes:
    each further call raises it again.
    """

    def __init__(self) -> None:
        self._unread = _NOTHING
        """Bytes that were fed and are not taken apart yet; empty between calls of `feed`."""
        self._header = bytearray()
        """The start of a header whose rest has not come yet."""
        self._kind: Kind | None = None
        """The kind of the frame whose payload is coming; None between frames."""
        self._missing = 0
        """Bytes that this payload lacks."""
        self._message = _NOTHING
        """The room for this payload, unless it is DATA: what is missing is at its end."""
        self._refused: ProtocolError | None = None

    @property
    def mid_frame(self) -> bool:
        """Whether a frame has begun and is not complete."""
        return self._kind is not None or bool(self._header)

    def feed(self, data: memoryview) -> Iterator[Frame]:
        """Take the next bytes, cut anywhere, of any size; yield what they complete, and all DATA.

        Pieces of DATA are empty only if the whole frame is. The iterator must be used up before
        the next call.

        Raises:
            ProtocolError: A frame is of unknown kind or too long; those before it were yielded.
        """
        if self._refused is not None:
            raise self._refused
        if self._unread:
            raise AssertionError("fed again before the frames in the last bytes were taken")
        self._unread = data
        return self._frames()

    def finish(self) -> None:
        """Check that nothing is cut off; to be called when no more bytes come.

        Raises:
            ProtocolError: The input ended inside a frame, or was refused before.
        """
        if self._refused is not None:
            raise self._refused
        if self._kind is not None:
            raise ProtocolError(
                f"the connection ended inside a message ({self._kind.name}),"
                f" {self._missing} bytes before its end"
            )
        if self._header:
            raise ProtocolError("the connection ended inside the header of a message")

    def _frames(self) -> Iterator[Frame]:
        """Yield what the unread bytes complete, and take them all."""
        while (frame := self._next()) is not None:
            yield frame
        self._unread = _NOTHING  # an empty slice would keep the whole buffer alive

    def _next(self) -> Frame | None:
        """Return the next frame or piece of one; None once all bytes are taken."""
        kind = self._kind or self._take_header()
        if kind is None or (self._missing and not self._unread):
            return None
        piece = self._take(self._missing)
        if kind is not Kind.DATA:
            start = len(self._message) - self._missing
            self._message[start : start + len(piece)] = piece
        self._missing -= len(piece)
        if self._missing:
            return Frame(kind, piece, last=False) if kind is Kind.DATA else None
        self._kind = None
        if kind is Kind.DATA:
            return Frame(kind, piece)
        message, self._message = self._message, _NOTHING
        return Frame(kind, message)

    def _take(self, nbytes: int) -> memoryview:
        """Return the next unread bytes: so many, or all that there are."""
        taken, self._unread = self._unread[:nbytes], self._unread[nbytes:]
        return taken

    def _take_header(self) -> Kind | None:
        """Begin the next frame; return None if its header is not complete yet."""
        self._header += self._take(HEADER_SIZE - len(self._header))
        if len(self._header) < HEADER_SIZE:
            return None
        number, nbytes = HEADER.unpack(self._header)
        limit = _LIMITS.get(number)
        if limit is None or nbytes > limit:
            self._unread = _NOTHING
            self._refused = _refusal(bytes(self._header), limit)
            raise self._refused
        self._header.clear()
        self._kind, self._missing = Kind(number), nbytes
        if self._kind is not Kind.DATA:
            self._message = memoryview(bytearray(nbytes))
        return self._kind


def _refusal(header: bytes, limit: int | None) -> ProtocolError:
    """Return the error for a header that no encoder makes."""
    number, nbytes = HEADER.unpack(header)
    if limit is None:
        message = f"the far side sent something that is no message: {header!r}"
    else:
        message = f"the far side sent a {Kind(number).name} of {nbytes} bytes; {limit} is the most"
    return ProtocolError(
        message, "something else writes into the connection there, or it damages what it carries"
    )


class Beginning(Enum):
    """What the first bytes of the far side are."""

    INCOMPLETE = "incomplete"
    """Too few to tell."""
    PREAMBLE = "preamble"
    OLD_BUTTERSINK = "old ButterSink"
    """A ButterSink before version 1."""
    FOREIGN = "foreign"
    """Something else; mostly text of the login shell there."""


class PreambleReader:
    """Takes the first bytes of the far side, and tells whether they are the preamble."""

    def __init__(self) -> None:
        self._came = bytearray()
        """The preamble so far, or the start of what came in its place."""

    @property
    def beginning(self) -> Beginning:
        """What came so far. It is not INCOMPLETE any more as soon as one byte is wrong."""
        if self._came == PREAMBLE:
            return Beginning.PREAMBLE
        if self._came.startswith(_OLD_BEGINNINGS):
            return Beginning.OLD_BUTTERSINK
        if any(whole.startswith(self._came) for whole in (PREAMBLE, *_OLD_BEGINNINGS)):
            return Beginning.INCOMPLETE
        return Beginning.FOREIGN

    def feed(self, data: memoryview) -> memoryview:
        """Take the next bytes, cut anywhere; return those that follow the preamble.

        In place of a preamble anything may be fed: the start of it is held for the message of
        `finish`, the rest is dropped.
        """
        taken = 0
        if self.beginning is Beginning.INCOMPLETE:
            taken = min(len(PREAMBLE) - len(self._came), len(data))
            self._came += data[:taken]
        if self.beginning in {Beginning.INCOMPLETE, Beginning.PREAMBLE}:
            return data[taken:]
        self._came += data[taken : taken + _SHOWN_BYTES - len(self._came)]
        return _NOTHING

    def finish(self) -> None:
        """Check that the preamble came; to be called when no more bytes come or are wanted.

        Raises:
            ProtocolError: Something else came, or too little.
        """
        shown = self._came.decode("utf-8", "backslashreplace")
        match self.beginning:
            case Beginning.PREAMBLE:
                return
            case Beginning.OLD_BUTTERSINK:
                raise ProtocolError(
                    "the far side is a ButterSink older than version 1", "upgrade it there"
                )
            case Beginning.INCOMPLETE:
                raise ProtocolError(
                    "the connection ended before ButterSink spoke on the far side",
                    f"all that came is {shown!r}" if shown else "",
                )
            case Beginning.FOREIGN:
                raise ProtocolError(
                    f"the far side began with {shown!r}, not as ButterSink does",
                    "its login shell must print nothing when it isn't interactive",
                )

"""Streams over a link: one that the server makes, and one that it receives."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from buttersink.errors import ProtocolError
from buttersink.wire.frames import MAX_DATA, Kind
from buttersink.wire.messages import Progress, Received, decode

if TYPE_CHECKING:
    from buttersink.errors import ButterSinkError
    from buttersink.model import Position
    from buttersink.stores.ssh.conversation import Conversation
    from buttersink.wire.frames import Frame

_HEARD_AT_ONCE: Final = 16
"""How many frames may be heard before more is said: a server tells of its progress now and then."""
_HEARD_AT_END: Final = 10_000
"""How many may come before the last answer."""


class RemoteReader:
    """Reads a stream that the server makes."""

    def __init__(self, conversation: Conversation, doing: str) -> None:
        """Read what the server sends from now on."""
        self._conversation = conversation
        self._doing = doing
        self._piece = memoryview(b"")
        """What has come and was not taken yet; valid as nothing else is read meanwhile."""
        self.ended = False
        """Whether the server has said that there is no more, or why."""

    def readinto(self, buffer: memoryview) -> int:
        """See `store.Reader`."""
        with self._conversation.over_link(self._doing):
            while not self._piece:
                if self.ended:
                    return 0
                self._take(self._conversation.next())
            count = min(len(buffer), len(self._piece))
            buffer[:count] = self._piece[:count]
            self._piece = self._piece[count:]
            return count

    def _take(self, frame: Frame) -> None:
        match frame.kind:
            case Kind.DATA:
                self._piece = memoryview(frame.payload)
            case Kind.END:
                self.ended = True
            case Kind.ERROR:
                self.ended = True
                raise self._conversation.error_in(frame)
            case _:
                raise ProtocolError(f"{frame.kind.name} came in the middle of a stream")


class RemoteWriter:
    """Writes a stream that the server receives."""

    def __init__(self, conversation: Conversation, doing: str, resume: Position | None) -> None:
        """Write to a server that is ready for the stream, from `resume` on."""
        self._conversation = conversation
        self._doing = doing
        self._resume = resume
        self._plain_bytes = resume.plain_bytes if resume else 0
        self._refusal: ButterSinkError | None = None
        """Why the server can't use the stream; nothing of it will stay."""

    @property
    def plain_bytes(self) -> int:
        """See `store.Writer`; what the server has told so far."""
        return self._plain_bytes

    @property
    def resume(self) -> Position | None:
        """See `store.Writer`."""
        return self._resume

    def write(self, data: memoryview) -> None:
        """See `store.Writer`; a refusal of the server comes some time after its cause."""
        if self._refusal is not None:
            raise self._refusal
        with self._conversation.over_link(self._doing):
            for start in range(0, len(data), MAX_DATA):
                self._conversation.send(Kind.DATA, data[start : start + MAX_DATA])
                for _ in range(_HEARD_AT_ONCE):
                    frame = self._conversation.pending()
                    if frame is None:
                        break
                    self._hear(frame)

    def finish(self) -> Received:
        """Say that the stream is whole, and wait until its snapshot is in place.

        Raises:
            ButterSinkError: It is not, and why.
        """
        if self._refusal is not None:
            self.give_up()
            raise self._refusal
        with self._conversation.over_link(self._doing):
            self._conversation.send(Kind.END)
            for _ in range(_HEARD_AT_END):
                frame = self._conversation.next()
                if frame.kind is Kind.REPLY:
                    received = decode(frame.payload, Received)
                    self._plain_bytes = received.plain_bytes
                    return received
                self._hear(frame)
            raise ProtocolError("it tells of progress, and never ends")

    def give_up(self) -> None:
        """Say that no more of the stream will come; nothing of it shall stay."""
        if self._refusal is None:
            self._conversation.cancel()
            return
        # The server only waits for the end of what it can't use; there is no answer to that.
        with self._conversation.over_link(self._doing):
            self._conversation.send(Kind.CANCEL)

    def _hear(self, frame: Frame) -> None:
        match frame.kind:
            case Kind.PROGRESS:
                self._plain_bytes = decode(frame.payload, Progress).plain_bytes
            case Kind.ERROR:
                self._refusal = self._conversation.error_in(frame)
                raise self._refusal
            case _:
                raise ProtocolError(f"{frame.kind.name} came while a stream was sent")

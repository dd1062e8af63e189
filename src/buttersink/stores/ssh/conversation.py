"""Asking a server: requests and answers, and what becomes of the link when that goes wrong."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final, TypeVar

from buttersink.errors import ButterSinkError, ProtocolError, UnavailableError
from buttersink.link import LinkEndedError, LinkStalledError
from buttersink.stores.ssh.faults import AGAIN
from buttersink.wire.facts import as_error
from buttersink.wire.frames import Frame, Kind
from buttersink.wire.messages import Request, decode, encode
from buttersink.wire.values import Failure

if TYPE_CHECKING:
    from collections.abc import Iterator

    import msgspec

    from buttersink.link import Link
    from buttersink.stores.ssh.process import SshProcess

_LONGEST_ANSWER: Final = 32 << 20
"""Bytes of all parts of an answer: those of some 200,000 snapshots. What follows a request that
was given up is not longer, either: it is what was on its way."""

_LEAST_PART: Final = 64
"""For how many bytes a part counts at least, which may be empty."""

_STALLED_GRACE_SECONDS: Final = 0.5
"""How long ssh may take to end on its own if nothing comes through: mostly it can't."""

_Item = TypeVar("_Item", bound="msgspec.Struct")
_Reply = TypeVar("_Reply", bound="msgspec.Struct")


class Conversation:
    """One link to a server. Once it is broken, all that is asked fails."""

    def __init__(self, process: SshProcess, link: Link, host: str) -> None:
        """Speak over a link whose sides have greeted each other.

        Args:
            process: What connects.
            link: The link over it.
            host: What to call the far side in messages.
        """
        self.host = host
        self._process = process
        self._link = link
        self._lost = False

    @property
    def lost(self) -> bool:
        """Whether nothing can be asked any more."""
        return self._lost

    def close(self) -> None:
        """End the link; the server ends then, too."""
        self._lost = True
        self._link.close()
        self._process.close()

    def ask(self, request: Request, reply: type[_Reply], *, doing: str) -> _Reply:
        """Ask for something that is answered at once.

        Args:
            request: What to ask.
            reply: Kind of the answer.
            doing: What is tried, for messages.

        Raises:
            ButterSinkError: The server's answer.
            UnavailableError: The link is lost.
        """
        with self.over_link(doing):
            self.send(Kind.REQUEST, encode(request))
            return self.reply(reply)

    def ask_for_many(
        self, request: Request, item: type[_Item], reply: type[_Reply], *, doing: str
    ) -> Iterator[_Item | _Reply]:
        """Ask for something that is answered in parts; yield these, and the end of the answer.

        Raises:
            ButterSinkError: The server's answer.
            UnavailableError: The link is lost.
        """
        with self.over_link(doing):
            self.send(Kind.REQUEST, encode(request))
            room = _LONGEST_ANSWER
            try:
                while (frame := self.next()).kind is Kind.ITEMS:
                    room = _less(room, frame)
                    yield decode(frame.payload, item)
            except GeneratorExit:
                self.cancel()
                raise
            yield self._reply_in(frame, reply)

    @contextmanager
    def over_link(self, doing: str) -> Iterator[None]:
        """Give up the link if the block fails because of it, or is interrupted.

        Args:
            doing: What is tried, for messages.
        """
        if self._lost:
            raise UnavailableError(f"{self.host}: {doing}: the connection is lost", AGAIN)
        try:
            yield
        except LinkEndedError as error:
            self._lose()
            raise self._process.failure(doing, seen=error) from error
        except LinkStalledError as error:
            self._lose()
            self._process.close(_STALLED_GRACE_SECONDS)
            raise self._told(error, doing) from error
        except ProtocolError as error:
            if self._lost:
                raise  # an inner block has told it
            self.close()
            raise ProtocolError(f"{self.host}: {doing}: {error.message}", error.hint) from error
        except (Exception, GeneratorExit):
            raise
        except BaseException:
            self._lose()  # who knows in the middle of what we were
            raise

    def send(self, kind: Kind, payload: bytes | memoryview = b"") -> None:
        """See `Link.send`; within `over_link`."""
        self._link.send(kind, payload)

    def next(self) -> Frame:
        """See `Link.next`; within `over_link`."""
        return self._link.next()

    def pending(self) -> Frame | None:
        """See `Link.pending`; within `over_link`."""
        return self._link.pending()

    def reply(self, kind: type[_Reply]) -> _Reply:
        """Wait for the answer to what was asked; within `over_link`.

        Raises:
            ButterSinkError: It is an error.
        """
        return self._reply_in(self.next(), kind)

    def error_in(self, frame: Frame) -> ButterSinkError:
        """Return the error that an ERROR frame tells of."""
        error = as_error(decode(frame.payload, Failure))
        error.args = (f"{self.host}: {error.message}",)
        error.message = f"{self.host}: {error.message}"
        return error

    def abandon(self) -> None:
        """Let go of the link, as whatever is under way on it was interrupted."""
        self._lose()

    def cancel(self) -> None:
        """Give up what was asked, and wait until the server has let go of it.

        Whatever goes wrong with that, the link is lost, and the next request will say so.
        """
        if self._lost:
            return
        try:
            self.send(Kind.CANCEL)
            room = _LONGEST_ANSWER
            while (frame := self.next()).kind not in {Kind.REPLY, Kind.ERROR, Kind.END}:
                room = _less(room, frame)
        except ButterSinkError:
            self._lose()
            with suppress(ButterSinkError):
                self._process.close()
        except BaseException:
            self._lose()
            raise

    def _reply_in(self, frame: Frame, kind: type[_Reply]) -> _Reply:
        if frame.kind is Kind.ERROR:
            raise self.error_in(frame)
        if frame.kind is not Kind.REPLY:
            raise ProtocolError(f"{frame.kind.name} came where an answer should")
        return decode(frame.payload, kind)

    def _lose(self) -> None:
        self._lost = True
        self._link.close()

    def _told(self, error: ButterSinkError, doing: str) -> UnavailableError:
        return UnavailableError(f"{self.host}: {doing}: {error.message}", AGAIN)


def _less(room: int, frame: Frame) -> int:
    """Return how many bytes may follow a part of an answer.

    Raises:
        ProtocolError: It has not ended where any sensible answer has.
    """
    left = room - max(len(frame.payload), _LEAST_PART)
    if left < 0:
        raise ProtocolError("its answer does not end")
    return left

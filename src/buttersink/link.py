"""A link: frames over two descriptors, with keep-alive and stall detection; for both sides.

Nothing here waits without limit. Each side sends something at least every quarter of the stall
time, from a thread of its own if need be; so when nothing comes for the whole of it, the far side
or the way to it is dead, however long the work takes that is under way there.
"""

from __future__ import annotations

import os
import select
import threading
import time
from collections import deque
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from buttersink.errors import ProtocolError, UnavailableError
from buttersink.pipes import GATHER_SECONDS, widen_pipe
from buttersink.wire.frames import (
    PREAMBLE,
    Beginning,
    Frame,
    FrameDecoder,
    Kind,
    PreambleReader,
    encode_header,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_READ_BYTES: Final = 1 << 20
_BACKLOG_BYTES: Final = 1 << 20
"""What may come in while we are sending; more than that waits in the pipe."""
_BACKLOG_FRAMES: Final = 1 << 12
"""Those that are small count as well."""
_SIGNS_IN_STALL: Final = 4
"""How often a side gives signs of life, at least, in the time after which silence means death."""
_LONGEST_PAUSE_SECONDS: Final = 5.0
"""How long it may take to notice that the far side has gone, whatever it has asked for."""


class LinkEndedError(UnavailableError):
    """The far side, or what connects to it, has ended the link."""


class LinkStalledError(UnavailableError):
    """Nothing has come for too long."""


class ForeignTextError(ProtocolError):
    """What came first is not what a ButterSink says first.

    Attributes:
        text: The first bytes of it.
    """

    def __init__(self, error: ProtocolError, text: bytes) -> None:
        super().__init__(error.message, error.hint)
        self.text = text


class Link:
    """Frames to and from the far side, over descriptors that become non-blocking, and wide.

    Only one thread may use it; the one that keeps it alive is its own.
    """

    def __init__(self, read_fd: int, write_fd: int, *, stall_seconds: float) -> None:
        """Take two open descriptors, which are not closed here.

        Args:
            read_fd: What the far side says.
            write_fd: What we say.
            stall_seconds: How long nothing may come before the link counts as dead.
        """
        self.stall_seconds = stall_seconds
        self.received_bytes = 0
        self.sent_bytes = 0
        self._read_fd = read_fd
        self._write_fd = write_fd
        widen_pipe(read_fd)
        self._wide = widen_pipe(write_fd)
        os.set_blocking(read_fd, False)
        os.set_blocking(write_fd, False)
        self._decoder = FrameDecoder()
        self._buffer = memoryview(bytearray(_READ_BYTES))
        self._frames: Iterator[Frame] = iter(())
        """What the bytes read last hold; used up before more are read."""
        self._backlog: deque[Frame] = deque()
        """Frames that came in while we were sending, before all others."""
        self._backlog_bytes = 0
        self._write_lock = threading.Lock()
        self._sent_at = self._heard_at = time.monotonic()
        self._ended = False
        self._dead = False
        """Whether nothing has come for too long."""
        self._cut = False
        """Whether we stopped in the middle of a frame: nothing more can be said."""
        self._undisturbed = False
        self._closed = threading.Event()
        self._keeper: threading.Thread | None = None

    def close(self) -> None:
        """Stop keeping it alive; then the descriptors may be closed."""
        self._closed.set()
        if self._keeper is not None and self._keeper is not threading.current_thread():
            self._keeper.join()

    # The beginning

    def begin(self) -> None:
        """Say the preamble; frames may follow.

        Raises:
            LinkEndedError, LinkStalledError: It could not be said.
        """
        with self._write_lock:
            self._write([memoryview(PREAMBLE)])

    def greeted(self) -> None:
        """Wait for the preamble of the far side; its frames follow.

        Raises:
            ForeignTextError: It says something else.
            LinkEndedError, LinkStalledError: It says nothing.
        """
        reader, text = PreambleReader(), b""
        while reader.beginning is Beginning.INCOMPLETE:
            try:
                some = self._read_some(len(PREAMBLE) - len(text))
            except LinkEndedError:
                if text:
                    break
                raise
            reader.feed(memoryview(some))
            text += some
        if reader.beginning is not Beginning.PREAMBLE:
            text += self._rest_of_text()
        try:
            reader.finish()
        except ProtocolError as error:
            raise ForeignTextError(error, text) from error

    def _rest_of_text(self) -> bytes:
        """Return what else there is of some text, for a message."""
        text = b""
        deadline = time.monotonic() + min(1.0, self.stall_seconds)
        while len(text) < len(self._buffer) and b"\n" not in text:
            if not self._poll(select.POLLIN, deadline - time.monotonic()):
                break
            try:
                count = os.readv(self._read_fd, [self._buffer[: 1 << 12]])
            except OSError:
                break
            if count == 0:
                break
            text += self._buffer[:count]
        return text

    # Frames

    def send(self, kind: Kind, payload: bytes | memoryview = b"") -> None:
        """Say something, all of it.

        Raises:
            LinkEndedError: The far side has gone.
            LinkStalledError: Neither does it take what we say, nor say anything itself.
            ProtocolError: It says what makes no sense meanwhile.
        """
        header = memoryview(encode_header(kind, len(payload)))
        with self._write_lock:
            self._write([header, memoryview(payload)])

    def next(self) -> Frame:
        """Wait for the next frame; a sign of life is none.

        The payload of DATA is valid until the next call of any method.

        Raises:
            LinkEndedError: There is none, and will be none.
            LinkStalledError: Nothing has come for too long.
            ProtocolError: It makes no sense.
        """
        while True:
            frame = self.pending()
            if frame is not None:
                return frame
            self._read_frames(self.stall_seconds)

    def pending(self) -> Frame | None:
        """Return the next frame if it has come already.

        Raises:
            LinkEndedError: There will be no more.
            LinkStalledError: Nothing has come for too long.
            ProtocolError: It makes no sense.
        """
        frame = self._told()
        if frame is None and self._read_frames(0):
            frame = self._told()
        # Signs of life that came while we did something else were read a moment ago.
        if frame is None and time.monotonic() - self._heard_at > self.stall_seconds:
            raise self._stalled()
        return frame

    def _told(self) -> Frame | None:
        """Return the next frame of those read already that is no sign of life."""
        while (frame := self._held()) is not None and frame.kind is Kind.ALIVE:
            pass
        return frame

    def _held(self) -> Frame | None:
        if self._backlog:
            frame = self._backlog.popleft()
            self._backlog_bytes -= len(frame.payload)
            return frame
        return next(self._frames, None)

    def _read_frames(self, seconds: float) -> bool:
        """Read what comes within so many seconds; return whether anything has.

        Raises:
            LinkStalledError: Nothing came, and it was waited for.
        """
        count = self._read(self._buffer, seconds)
        if count:
            self._frames = self._decoder.feed(self._buffer[:count])
        return count > 0

    def _read_some(self, nbytes: int) -> bytes:
        count = self._read(self._buffer[:nbytes], self.stall_seconds)
        return bytes(self._buffer[:count])

    def _read(self, buffer: memoryview, seconds: float) -> int:
        if self._ended:
            raise LinkEndedError("the connection has ended")
        if seconds and not self._poll(select.POLLIN, seconds):
            raise self._stalled()
        try:
            count = os.readv(self._read_fd, [buffer])
        except BlockingIOError:
            return 0
        except OSError as error:
            self._ended = True
            raise LinkEndedError(f"the connection broke: {error.strerror}") from error
        if count == 0:
            self._ended = True
            within = " within a message" if self._decoder.mid_frame else ""
            raise LinkEndedError(f"the connection has ended{within}")
        self.received_bytes += count
        self._heard_at = time.monotonic()
        return count

    # Writing

    def _write(self, parts: list[memoryview]) -> None:
        """Write all of `parts`; what comes in meanwhile is kept, as it may be why we can't."""
        if self._cut:
            raise LinkEndedError("the connection was broken off")
        self._cut = True
        deadline = time.monotonic() + self.stall_seconds
        parts = [part for part in parts if part]
        while parts:
            try:
                count = os.writev(self._write_fd, parts)
            except BlockingIOError:
                heard = self._wait_to_write(deadline)
                if heard:
                    deadline = time.monotonic() + self.stall_seconds
                continue
            except OSError as error:
                raise LinkEndedError(f"the connection broke: {error.strerror}") from error
            self.sent_bytes += count
            deadline = time.monotonic() + self.stall_seconds
            while parts and count >= len(parts[0]):
                count -= len(parts.pop(0))
            if parts and count:
                parts[0] = parts[0][count:]
        self._cut = False
        self._sent_at = time.monotonic()

    def _wait_to_write(self, deadline: float) -> bool:
        """Wait until the far side takes or says something; return whether it says something."""
        listening = self._backlog_bytes < _BACKLOG_BYTES and not self._ended
        ready = self._poll(select.POLLOUT, deadline - time.monotonic(), also_read=listening)
        if not ready:
            raise self._stalled()
        if ready & select.POLLOUT and self._wide:
            time.sleep(GATHER_SECONDS)  # there will be room for more
        if not listening or not ready & (select.POLLIN | select.POLLHUP):
            return False
        self._keep_what_is_held()
        try:
            heard = self._read_frames(0)
        except LinkEndedError:
            return False  # writing will fail as well, or end what was to be said
        self._keep_what_is_held()
        return heard

    def _keep_what_is_held(self) -> None:
        for frame in self._frames:
            if frame.kind is Kind.ALIVE:
                continue
            kept = Frame(frame.kind, bytes(frame.payload), last=frame.last)
            self._backlog.append(kept)
            self._backlog_bytes += len(kept.payload)
            if len(self._backlog) > _BACKLOG_FRAMES:
                raise ProtocolError("the far side talks all the time")

    def _poll(self, event: int, seconds: float, *, also_read: bool = False) -> int:
        """Wait for an event of reading or writing; return what happened, 0 for nothing."""
        poll = select.poll()
        if event == select.POLLOUT:
            poll.register(self._write_fd, select.POLLOUT)
        if event == select.POLLIN or also_read:
            poll.register(self._read_fd, select.POLLIN)
        happened = 0
        for _, what in poll.poll(max(0.0, seconds) * 1000):
            happened |= what
        return happened

    def _stalled(self) -> LinkStalledError:
        self._dead = True
        return LinkStalledError(f"nothing has come for {self.stall_seconds:g} seconds")

    # Signs of life

    def keep_alive(self, lost: Callable[[], None] | None = None) -> None:
        """Give signs of life from now on, from a thread of its own.

        Args:
            lost: Called from there once, if the far side turns out to have gone, and whoever uses
                the link has not been told of that.
        """
        self._keeper = threading.Thread(
            target=self._give_signs, args=(lost,), name="keep-alive", daemon=True
        )
        self._keeper.start()

    @contextmanager
    def undisturbed(self) -> Iterator[None]:
        """Let `lost` of `keep_alive` wait until the block has ended."""
        self._undisturbed = True
        try:
            yield
        finally:
            self._undisturbed = False

    def _give_signs(self, lost: Callable[[], None] | None) -> None:
        # Looked at twice as often as needed, so that none comes much too late.
        due = self.stall_seconds / _SIGNS_IN_STALL / 2
        while not self._closed.wait(min(due, _LONGEST_PAUSE_SECONDS)):
            # If we are in the middle of saying something, that is a sign as good.
            if not self._write_lock.acquire(blocking=False):
                continue
            try:
                if self._cut:
                    return
                gone = self._far_side_has_gone()
                if not gone and time.monotonic() - self._sent_at >= due:
                    os.write(self._write_fd, encode_header(Kind.ALIVE, 0))
                    self._sent_at = time.monotonic()
            except BlockingIOError:
                continue  # it has not even read what we said before
            except OSError:
                gone = True
            finally:
                self._write_lock.release()
            if gone and self._undisturbed:
                continue
            if gone:
                # Whoever has noticed may have something to bring to an end.
                if lost is not None and not (self._ended or self._dead):
                    lost()
                return

    def _far_side_has_gone(self) -> bool:
        """Return whether nobody can read any more what we say."""
        poll = select.poll()
        poll.register(self._write_fd, 0)  # errors are told in any case
        return bool(poll.poll(0))

"""Receiving streams with a program of our own: the side that starts it, and feeds it.

The program (`btrfs.applying.main`) is a child process that can reach nothing but the subvolume
that it makes. It can be stopped at the end of any command, so that what is there can be kept, and
another one go on from it.
"""

from __future__ import annotations

import errno
import os
import select
import signal
import socket
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NoReturn, Self
from uuid import UUID

from buttersink import errors
from buttersink.btrfs.control import Control, ControlEndedError
from buttersink.errors import (
    ButterSinkError,
    NoSpaceError,
    TransferError,
    UnfaithfulStreamError,
)
from buttersink.pipes import GATHER_SECONDS, widen_pipe
from buttersink.text import escape

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType

    from buttersink.btrfs.control import Message
    from buttersink.btrfs.hosting import ReceiverHost
    from buttersink.store import PipeReader
    from buttersink.stream.head import Expectation

_NO_SPACE: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
_NO_SUCH_NAMES: Final = frozenset(
    {errno.ENOENT, errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENOTEMPTY}
)
"""What comes of a stream that has other names in mind than there are. The kernel makes such diffs:
after a rollback, for one, it removes a directory and then sets its times (Linux 6.18)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """Where a receiver stopped, and what another one needs to go on from there.

    Attributes:
        nbytes: Bytes of the stream up to there.
        plain_bytes: The same, counted as sizes are measured.
        digest: Of those of them that this receiver has taken (`stream.digest`).
        version: The stream's version.
        ctransid: What the stream's head says of the sender's snapshot.
        pending: What is to be done at the end of the stream; a JSON object.
    """

    nbytes: int
    plain_bytes: int
    digest: bytes
    version: int
    ctransid: int
    pending: dict[str, Any]


class ReceiverProcess:
    """A running receiver, as a context manager to write a stream to.

    Leaving the block ends it, whatever it has done.
    """

    def __init__(self, host: ReceiverHost) -> None:
        """Make one.

        Raises:
            OSError, TransferError: There is none.
        """
        ours, its = socket.socketpair()
        self._control = Control(ours)
        read_fd, self._stream_fd = os.pipe()
        try:
            self._wide = widen_pipe(self._stream_fd)
            os.set_blocking(self._stream_fd, False)
            self._process_fd = host.make(read_fd, its.fileno())
        except BaseException:
            self._control.close()
            os.close(self._stream_fd)
            raise
        finally:
            os.close(read_fd)
            its.close()
        self._writing = True
        self._marking = False
        """Whether it stops, or will stop, until it is told to go on."""
        self._plain_bytes = 0
        self._failure: ButterSinkError | None = None
        """Why it has ended, once that is known."""
        self._gave_up = False
        self._end: Message | None = None
        """What it has said at the end, which is said once, however often we are interrupted."""
        self._find: Callable[[UUID], int] | None = None

    def begin(
        self,
        directory_fd: int,
        expectation: Expectation,
        *,
        find: Callable[[UUID], int],
        after: Mark | None = None,
    ) -> None:
        """Tell it where to work, and what to expect.

        Args:
            directory_fd: Top directory of the subvolume in which the stream is applied: empty, a
                copy of the parent, or what an earlier receiver has left at a mark.
            expectation: Which stream comes.
            find: Opens the top directory of a snapshot that the stream clones from; raises
                `ButterSinkError` if there is none, or it may not be used.
            after: The mark from which on the stream comes; None for the whole.

        Raises:
            TransferError: It has ended.
        """
        self._find = find
        parents = expectation.parents
        self._plain_bytes = after.plain_bytes if after else 0
        position = after and {
            "version": after.version,
            "plain_bytes": after.plain_bytes,
            "nbytes": after.nbytes,
            "ctransid": after.ctransid,
        }
        self._say(
            "begin",
            fds=[directory_fd],
            to=sorted(map(str, expectation.to)),
            parents=None if parents is None else sorted(map(str, parents)),
            max_version=expectation.max_version,
            after=position,
            pending=after.pending if after else None,
        )

    def __enter__(self) -> Self:
        return self

    @property
    def gave_up(self) -> bool:
        """Whether it has ended for a reason that is neither the stream's nor the system's."""
        return self._gave_up

    @property
    def plain_bytes(self) -> int:
        """Bytes of the stream that are applied, as far as it has told; see `Mark`."""
        return self._plain_bytes

    def write(self, data: memoryview) -> None:
        """Hand over all of `data`.

        Raises:
            ButterSinkError: It has ended; with its reason.
        """
        if self._failure is not None:
            raise self._failure
        left = data
        while left:
            try:
                left = left[os.write(self._stream_fd, left) :]
            except BlockingIOError:
                self._wait_for(self._stream_fd, select.POLLOUT)
                if self._wide:
                    time.sleep(GATHER_SECONDS)  # there will be room for more
            except BrokenPipeError:
                self._fail()
        self._listen()

    def take(self, stream: PipeReader) -> int:
        """Hand over some of a stream, from pipe to pipe; return the bytes, 0 at the end of data.

        Raises:
            ButterSinkError: It has ended; with its reason.
        """
        if self._failure is not None:
            raise self._failure
        while True:
            try:
                count = stream.splice(self._stream_fd)
            except BlockingIOError:
                self._wait_for(self._stream_fd, select.POLLOUT)
                # There is room now; if there was before, then nothing had come.
                self._wait_for(stream.fileno(), select.POLLIN)
            except BrokenPipeError:
                self._fail()
            else:
                self._listen()
                return count

    def mark(self) -> Mark | None:
        """Stop it at the end of the last whole command that it has read; `go_on` must follow.

        Returns:
            Where it stands; None if that is the end of the stream.

        Raises:
            ButterSinkError: It has ended; with its reason.
        """
        self._marking = True
        self._say("mark")
        return self._mark_in(self._await("marked"))

    def go_on(self) -> None:
        """Let it go on after a mark.

        Raises:
            ButterSinkError: It has ended; with its reason.
        """
        self._say("go")
        self._marking = False

    def finish(self, *, patience_seconds: float | None = None) -> Mark | int:
        """Let it come to the end of what was written, and wait until all is applied.

        Args:
            patience_seconds: How long it may say nothing; None for any time.

        Returns:
            The sender's ctransid, if the stream was whole; if not, where it ended. The program
            does nothing more then.

        Raises:
            ButterSinkError: It failed; with its reason.
        """
        self._end_stream()
        if self._marking:  # it was interrupted in the middle of that
            self.go_on()
        message = self._end or self._await("done", "cut", patience_seconds=patience_seconds)
        if message["kind"] == "done":
            self._plain_bytes = message["plain_bytes"]
            return int(message["ctransid"])
        mark = self._mark_in(message)
        if mark is None:
            raise AssertionError("cut and whole at once")
        return mark

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._control.close()
        self._end_stream()
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._process_fd, signal.SIGKILL)
        poll = select.poll()
        poll.register(self._process_fd, select.POLLIN)
        poll.poll()  # what it held open is free then
        os.close(self._process_fd)

    def _end_stream(self) -> None:
        if self._writing:
            self._writing = False
            os.close(self._stream_fd)
            self._stream_fd = -1

    # What it says

    def _mark_in(self, message: Message) -> Mark | None:
        self._plain_bytes = message["plain_bytes"]
        if message["ended"]:
            return None
        return Mark(
            nbytes=message["nbytes"],
            plain_bytes=message["plain_bytes"],
            digest=bytes.fromhex(message["digest"]),
            version=message["version"],
            ctransid=message["ctransid"],
            pending=message["pending"],
        )

    def _say(self, kind: str, *, fds: Sequence[int] = (), **fields: Any) -> None:
        try:
            self._control.say(kind, fds=fds, **fields)
        except ControlEndedError:
            self._fail()

    def _listen(self) -> None:
        """Attend to what it has said already."""
        poll = select.poll()
        poll.register(self._control.fileno(), select.POLLIN)
        while poll.poll(0):
            self._attend()

    def _wait_for(self, fd: int, event: int) -> None:
        """Wait for an event at a pipe, and attend to what the receiver says meanwhile."""
        poll = select.poll()
        poll.register(fd, event)
        poll.register(self._control.fileno(), select.POLLIN)
        while True:
            ready = dict(poll.poll())
            if self._control.fileno() in ready:
                self._attend()
            if fd in ready:
                return

    def _await(self, *kinds: str, patience_seconds: float | None = None) -> Message:
        """Wait for one of some messages, and attend to all others."""
        poll = select.poll()
        poll.register(self._control.fileno(), select.POLLIN)
        while True:
            if not poll.poll(None if patience_seconds is None else patience_seconds * 1000):
                raise TransferError("the receiver does not answer")
            message = self._attend()
            if message["kind"] in kinds:
                return message

    def _attend(self) -> Message:
        """Take the next message, and do what it asks for."""
        try:
            message, _ = self._control.hear()
        except ControlEndedError:
            self._raise_end()
        match message["kind"]:
            case "done" | "cut":
                self._end = message
            case "at":
                self._plain_bytes = message["plain_bytes"]
            case "source":
                self._answer_source(message)
            case "failed":
                self._failure = _error_in(message)
                self._gave_up = message.get("gave_up", False)
                raise self._failure
        return message

    def _answer_source(self, message: Message) -> None:
        if self._find is None:
            raise AssertionError("begin comes first")
        try:
            fd = self._find(UUID(message["uuid"]))
        except ButterSinkError as error:
            self._say("source", refused=escape(str(error)))
            return
        except BaseException:
            self._control.close()  # it waits for an answer, and will get none
            raise
        try:
            self._say("source", fds=[fd])
        finally:
            os.close(fd)

    def _fail(self) -> NoReturn:
        """Raise why it has ended, which it may have said."""
        while True:
            self._attend()

    def _raise_end(self) -> NoReturn:
        """Raise why it has ended: in its own words, if it has said any."""
        if self._failure is None:
            self._failure = TransferError("the receiver was killed, or has crashed", "run again")
        raise self._failure


def _error_in(message: Message) -> ButterSinkError:
    """Return the error that the program has failed with."""
    text = str(message["message"])
    if message.get("errno") in _NO_SPACE:
        return NoSpaceError(text, "free some space at the destination and run again")
    if message["error"] != "OSError":
        kind = getattr(errors, message["error"], TransferError)
        return kind(text, str(message.get("hint", "")))
    if message["errno"] in _NO_SUCH_NAMES:
        return UnfaithfulStreamError(f"the stream can't be applied: {text}")
    return TransferError(text)

"""Receiving streams with a program of our own: the side that starts it, and feeds it.

The program (`btrfs.applying.main`) is a child process that can reach nothing but the subvolume
that it makes. It can be stopped at the end of any command, so that what is there can be kept, and
another one go on from it.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NoReturn, Self
from uuid import UUID

from buttersink import errors
from buttersink.btrfs.control import Control, ControlEndedError
from buttersink.errors import ButterSinkError, NoSpaceError, TransferError
from buttersink.pipes import GATHER_SECONDS, widen_pipe

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from buttersink.btrfs.control import Message
    from buttersink.stream.head import Expectation

_PROGRAM: Final = (
    "import sys; path = sys.argv[2:]; sys.path[:] = path; "
    "from buttersink.btrfs.applying.main import main; main()"
)
"""With the search path of this process, so that it runs the same ButterSink; see `_command`."""

_LAST_WORDS: Final = 4096
_NO_SPACE: Final = frozenset({errno.ENOSPC, errno.EDQUOT})


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

    It starts at once, and can get ready while its subvolume is being made. Leaving the block
    ends it, whatever it has done.
    """

    def __init__(self, *, keep_fds: tuple[int, ...] = ()) -> None:
        """Start the program.

        Args:
            keep_fds: Descriptors that shall stay open as long as it runs, such as of locks.

        Raises:
            OSError: It can't be started.
        """
        ours, its = socket.socketpair()
        self._control = Control(ours)
        try:
            self._process = subprocess.Popen(  # noqa: S603 - this very interpreter, no shell
                _command(its.fileno()),
                env={"LC_ALL": "C.UTF-8"},
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                bufsize=0,
                pass_fds=(its.fileno(), *keep_fds),
                process_group=0,  # what is typed at a terminal is for us alone
            )
        except BaseException:
            self._control.close()
            raise
        finally:
            its.close()
        assert self._process.stdin is not None  # noqa: S101 - for the type checker
        self._stdin = self._process.stdin
        self._wide = widen_pipe(self._stdin.fileno())
        os.set_blocking(self._stdin.fileno(), False)
        self._plain_bytes = 0
        self._failure: ButterSinkError | None = None
        """Why it has ended, once it has said so."""
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
            fd=directory_fd,
            to=sorted(map(str, expectation.to)),
            parents=None if parents is None else sorted(map(str, parents)),
            max_version=expectation.max_version,
            after=position,
            pending=after.pending if after else None,
        )

    def __enter__(self) -> Self:
        return self

    @property
    def plain_bytes(self) -> int:
        """Bytes of the stream that are applied, as far as it has told; see `Mark`."""
        return self._plain_bytes

    def write(self, data: memoryview) -> None:
        """Hand over all of `data`.

        Raises:
            ButterSinkError: It has ended; with its reason.
        """
        poll = select.poll()
        poll.register(self._stdin.fileno(), select.POLLOUT)
        poll.register(self._control.fileno(), select.POLLIN)
        if self._failure is not None:
            raise self._failure
        left = data
        while left:
            try:
                left = left[os.write(self._stdin.fileno(), left) :]
            except BlockingIOError:
                ready = dict(poll.poll())
            except BrokenPipeError:
                self._fail()
            else:
                continue
            if self._control.fileno() in ready:
                self._attend()
            elif self._wide:
                time.sleep(GATHER_SECONDS)  # there will be room for more
        self._listen()

    def mark(self) -> Mark | None:
        """Stop it at the end of the last whole command that it has read; `go_on` must follow.

        Returns:
            Where it stands; None if that is the end of the stream.

        Raises:
            ButterSinkError: It has ended; with its reason.
        """
        self._say("mark")
        return self._mark_in(self._await("marked"))

    def go_on(self) -> None:
        """Let it go on after a mark.

        Raises:
            ButterSinkError: It has ended; with its reason.
        """
        self._say("go")

    def finish(self) -> Mark | int:
        """Let it come to the end of what was written, and wait until all is applied.

        Returns:
            The sender's ctransid, if the stream was whole; if not, where it ended. The program
            does nothing more then.

        Raises:
            ButterSinkError: It failed; with its reason.
        """
        self._stdin.close()
        message = self._await("done", "cut")
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
        if self._process.poll() is None:
            self._process.kill()
        self._stdin.close()
        self._process.wait()
        if self._process.stderr is not None:
            self._process.stderr.close()

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

    def _say(self, kind: str, *, fd: int | None = None, **fields: Any) -> None:
        try:
            self._control.say(kind, fd=fd, **fields)
        except ControlEndedError:
            self._fail()

    def _listen(self) -> None:
        """Attend to what it has said already."""
        poll = select.poll()
        poll.register(self._control.fileno(), select.POLLIN)
        while poll.poll(0):
            self._attend()

    def _await(self, *kinds: str) -> Message:
        """Wait for one of some messages, and attend to all others."""
        while True:
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
            case "at":
                self._plain_bytes = message["plain_bytes"]
            case "source":
                self._answer_source(message)
            case "failed":
                self._failure = _error_in(message)
                raise self._failure
        return message

    def _answer_source(self, message: Message) -> None:
        if self._find is None:
            raise AssertionError("begin comes first")
        try:
            fd = self._find(UUID(message["uuid"]))
        except ButterSinkError as error:
            self._say("source", refused=str(error))
            return
        try:
            self._say("source", fd=fd)
        finally:
            os.close(fd)

    def _fail(self) -> NoReturn:
        """Raise why it has ended, which it may have said."""
        while True:
            self._attend()

    def _raise_end(self) -> NoReturn:
        """Raise why it has ended: in its own words, if it has said any."""
        if self._failure is not None:
            raise self._failure
        self._stdin.close()
        status = self._process.wait()
        ended = f"ended with status {status}" if status >= 0 else f"was killed by signal {-status}"
        words = b""
        if self._process.stderr is not None:
            words = self._process.stderr.read(_LAST_WORDS) or b""
        last = os.fsdecode(words.strip().rpartition(b"\n")[2])
        raise TransferError(f"the receiver {ended}" + (f": {last}" if last else ""))


def _command(control_fd: int) -> list[str]:
    """Return how to start the program: isolated from the environment, and without `site`."""
    package = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    path = [package, *(entry for entry in sys.path if os.path.isabs(entry))]
    options = ["-I", "-S", "-Xutf8"]
    return [sys.executable, *options, "-c", _PROGRAM, str(control_fd), *dict.fromkeys(path)]


def _error_in(message: Message) -> ButterSinkError:
    """Return the error that the program has failed with."""
    text = str(message["message"])
    if message["error"] != "OSError":
        kind = getattr(errors, message["error"], TransferError)
        return kind(text, str(message.get("hint", "")))
    if message["errno"] in _NO_SPACE:
        return NoSpaceError(text, "free some space at the destination and run again")
    return TransferError(text)

"""The ssh program, running: its pipes, what it says, and its end."""

from __future__ import annotations

import logging
import os
import select
import subprocess
import threading
import time
from collections import deque
from contextlib import suppress
from typing import IO, TYPE_CHECKING, Final, Self

from buttersink.errors import ButterSinkError, MissingError, NotPermittedError, TransferError
from buttersink.stores.ssh.command import argv
from buttersink.stores.ssh.diagnosis import Ending, diagnose
from buttersink.text import escape
from buttersink.wire.frames import PREAMBLE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    from buttersink.model import Mode
    from buttersink.stores.ssh.command import Remote

_log: Final = logging.getLogger(__name__)

GRACE_SECONDS: Final = 5.0
"""How long ssh may take to end by itself, and the server with it."""

_LAST_GRACE_SECONDS: Final = 1.0
"""How long ssh may take to end once it was told to."""

_KEPT_LINES: Final = 20
"""How many of the first lines are kept, and how many of the last."""

_LONGEST_LINE: Final = 1000
_CHUNK: Final = 1 << 16
_MAX_STRAYS: Final = 4096
_MAX_HEARD: Final = 1 << 20
"""How many bytes of a broken connection are still waited for."""


class SshProcess:
    """A running ssh whose standard input and output lead to a server on another host.

    It belongs to the process group of its parent, so that it can ask for passphrases on the
    terminal, and never sees a shell on this side. Its standard error is read at all times.
    """

    def __init__(self, remote: Remote, mode: Mode, *, sudo_user: str | None = None) -> None:
        """Start ssh.

        Args:
            remote: Where to, and by which programs.
            mode: What the server shall be ready to do.
            sudo_user: The user who became another one with sudo (SUDO_USER), if that is so. It
                only makes a hint better.

        Raises:
            UsageError: The commands or the directory of `remote` can't be used.
            MissingError: There is no such program as ssh.
            NotPermittedError: The program may not be run.
            TransferError: It can't be run for another reason.
        """
        self._remote = remote
        self._mode = mode
        self._sudo_user = sudo_user
        words = argv(remote, mode)
        try:
            self._process = subprocess.Popen(  # noqa: S603 - the user's own program, no shell
                words,
                # So that messages are in English, which `diagnose` knows: ssh hands the locale
                # on if it is configured to, as it is in most distributions.
                env={**os.environ, "LC_ALL": "C"},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
            )
        except OSError as error:
            raise _not_started(words[0], error) from error
        try:
            assert self._process.stdin is not None  # noqa: S101 - for the type checker
            assert self._process.stdout is not None  # noqa: S101 - likewise
            assert self._process.stderr is not None  # noqa: S101 - likewise
            self._stdin: IO[bytes] = self._process.stdin
            self._stdout: IO[bytes] = self._process.stdout
            self._forced = False
            self._said = _Said()
            self._listener = threading.Thread(
                target=_listen,
                args=(self._process.stderr, self._said, remote.login),
                name="ssh-stderr",
                daemon=True,  # it may outlive ssh, see `_end`
            )
            self._listener.start()
        except BaseException:  # an interrupt as well: nobody else knows of the program yet
            self._process.kill()
            self._process.wait()
            raise

    @property
    def read_fd(self) -> int:
        """The descriptor to read what the server writes."""
        return self._stdout.fileno()

    @property
    def write_fd(self) -> int:
        """The descriptor to write what the server reads."""
        return self._stdin.fileno()

    def failure(
        self, doing: str, *, strays: bytes | None = None, seen: ButterSinkError | None = None
    ) -> ButterSinkError:
        """End the connection, and return the error that tells why it was no good.

        Takes a few seconds at most, in which ssh may end and say why.

        Args:
            doing: What was tried, as in "listing snapshots".
            strays: What was read of the server as long as the protocol had not begun; None if
                it had.
            seen: What the connection looked like from here. It is returned if ssh ended well or
                not at all, and so has no better explanation.
        """
        deadline = time.monotonic() + GRACE_SECONDS
        came = self._hear_out(deadline)
        self._end(deadline - time.monotonic())
        begun = strays is None or (strays + came).startswith(PREAMBLE)
        ending = Ending(
            status=None if self._forced else self._process.returncode,
            said=self._said.kept(),
            strays=b"" if begun else (strays or b"") + came,
        )
        return diagnose(
            ending, self._remote, self._mode, doing=doing, sudo_user=self._sudo_user, seen=seen
        )

    def close(self, grace_seconds: float = GRACE_SECONDS) -> None:
        """End the connection: close its pipes, wait for ssh to end, make it end if need be.

        Takes little more than `grace_seconds` at most. May be called again, and after `failure`.
        """
        _close(self._stdin)
        _close(self._stdout)
        self._end(grace_seconds)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _hear_out(self, deadline: float) -> bytes:
        """Close both pipes, but take what still comes before; return the start of it.

        As long as nobody takes it, ssh may be unable to end, and so to tell its exit status.
        """
        _close(self._stdin)
        came = bytearray()
        if self._stdout.closed:
            return b""
        left = _MAX_HEARD
        poll = select.poll()
        poll.register(self._stdout, select.POLLIN)
        while left > 0 and poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
            chunk = os.read(self.read_fd, _CHUNK)
            if not chunk:
                break
            left -= len(chunk)
            came += chunk[: _MAX_STRAYS - len(came)]
        _close(self._stdout)
        return bytes(came)

    def _end(self, grace_seconds: float) -> None:
        """Wait until ssh has ended and all it said was read; make it end if it does not."""
        try:
            if not self._ended(max(0.0, grace_seconds)):
                self._forced = True
                self._process.terminate()
                if not self._ended(_LAST_GRACE_SECONDS):
                    self._process.kill()
        except BaseException:  # an interrupt: there is no time left to be patient
            self._forced = True
            self._process.kill()
            raise
        finally:
            # A killed program ends at once, unless the kernel holds it; then init collects it.
            self._ended(_LAST_GRACE_SECONDS)
        # Not for ever: what ssh had started in the background may still hold the pipe, such as
        # the connection that others shall share (ControlPersist in ssh_config(5)).
        self._listener.join(_LAST_GRACE_SECONDS)

    def _ended(self, seconds: float) -> bool:
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True


class _Said:
    """The first and the last lines of many. One thread may add what another one reads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._first: list[str] = []
        self._last: deque[str] = deque(maxlen=_KEPT_LINES)

    def add(self, line: str) -> None:
        with self._lock:
            if len(self._first) < _KEPT_LINES:
                self._first.append(line)
            else:
                self._last.append(line)

    def kept(self) -> tuple[str, ...]:
        with self._lock:
            return (*self._first, *self._last)


def _listen(pipe: IO[bytes], said: _Said, login: str) -> None:
    with pipe:
        for line in _lines(pipe.fileno()):
            text = line.decode("utf-8", "surrogateescape").strip()
            if text:
                said.add(text)
                _log.debug("%s: %s", escape(login), escape(text))


def _lines(fd: int) -> Iterator[bytes]:
    """Yield the lines that come, without the rest of those that are too long."""
    line = bytearray()
    while chunk := os.read(fd, _CHUNK):
        *ended, rest = chunk.split(b"\n")
        for part in ended:
            line += part[: _LONGEST_LINE - len(line)]
            yield bytes(line)
            line.clear()
        line += rest[: _LONGEST_LINE - len(line)]
    yield bytes(line)


def _close(pipe: IO[bytes]) -> None:
    with suppress(OSError):  # closed it is, whatever the kernel says
        pipe.close()


def _not_started(program: str, error: OSError) -> ButterSinkError:
    message = f"the program {escape(program)} can't be run: {error.strerror}"
    match error:
        case FileNotFoundError():
            return MissingError(message, "install OpenSSH's client, or name another: --ssh-command")
        case PermissionError():
            return NotPermittedError(message, "name the program with --ssh-command")
        case _:
            return TransferError(message)

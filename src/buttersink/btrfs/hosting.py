"""Starting the program that receives streams, which makes a process for each of them.

It takes a moment to load. So it is started before it is needed, and once: each receiver is a copy
of it.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from contextlib import suppress
from typing import Final

from buttersink.btrfs.control import Control, ControlEndedError
from buttersink.errors import TransferError

_PROGRAM: Final = (
    "import sys; path = sys.argv[2:]; sys.path[:] = path; "
    "from buttersink.btrfs.applying.main import main; main()"
)
"""With the search path of this process, so that it runs the same ButterSink; see `_command`."""

_LAST_WORDS: Final = 4096


class ReceiverHost:
    """The program that makes receivers. It ends with this process, if not before."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._control: Control | None = None

    def start(self) -> None:
        """Start it, if it isn't running; it gets ready in the background.

        Raises:
            OSError: It can't be started.
        """
        if self._process is not None and self._process.poll() is None:
            return
        self.close()
        ours, its = socket.socketpair()
        try:
            self._process = subprocess.Popen(  # noqa: S603 - this very interpreter, no shell
                _command(its.fileno()),
                env={"LC_ALL": "C.UTF-8"},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                pass_fds=(its.fileno(),),
                process_group=0,  # what is typed at a terminal is for us alone
            )
        except BaseException:
            ours.close()
            raise
        finally:
            its.close()
        self._control = Control(ours)

    def make(self, stream_fd: int, control_fd: int) -> int:
        """Make a receiver, and return a descriptor of its process (pidfd_open(2)).

        Args:
            stream_fd: Where it gets the stream from.
            control_fd: Its end of a `Control`.

        Raises:
            TransferError: There is none.
            OSError: The program can't be started.
        """
        self.start()
        if self._control is None:
            raise AssertionError("it was started")
        try:
            self._control.say("make", fds=[stream_fd, control_fd])
            _, (process_fd,) = self._control.hear()
        except ControlEndedError as error:
            raise TransferError(f"the receiver can't be started{self._last_words()}") from error
        except BaseException:
            self.close()  # an answer may be on its way that nobody waits for
            raise
        return process_fd

    def close(self) -> None:
        """End it."""
        if self._control is not None:
            self._control.close()
            self._control = None
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            if self._process.stderr is not None:
                self._process.stderr.close()
            self._process = None

    def _last_words(self) -> str:
        words = b""
        if self._process is not None and self._process.stderr is not None:
            self._process.kill()
            self._process.wait()
            # A receiver that it had begun to make may have the other end of this still.
            fd = self._process.stderr.fileno()
            os.set_blocking(fd, False)
            with suppress(BlockingIOError):
                words = os.read(fd, _LAST_WORDS).strip()
        last = os.fsdecode(words.rpartition(b"\n")[2])
        return f": {last}" if last else ""


def _command(control_fd: int) -> list[str]:
    """Return how to start the program: isolated from the environment, and without `site`."""
    package = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    path = [package, *(entry for entry in sys.path if os.path.isabs(entry))]
    options = ["-I", "-S", "-Xutf8"]
    return [sys.executable, *options, "-c", _PROGRAM, str(control_fd), *dict.fromkeys(path)]

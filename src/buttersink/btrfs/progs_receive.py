"""Receiving streams with the `btrfs receive` program, confined to one directory."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import threading
from collections import deque
from typing import TYPE_CHECKING, Final, Self

from buttersink.btrfs.confinement import CONFINED_PATH, start_confined
from buttersink.errors import MissingError, NoSpaceError, TransferError
from buttersink.pipes import widen_pipe

if TYPE_CHECKING:
    from types import TracebackType

_PROGRAM_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_ENVIRONMENT: Final = {"PATH": _PROGRAM_PATH, "LC_ALL": "C"}
_KEPT_LINES: Final = 20
_SHOWN_LINES: Final = 3
_LONGEST_LINE: Final = 4096
_ERROR: Final = b"ERROR: "
_CHROOT_NOTICE: Final = b"Chroot to "
"""Printed even with --quiet."""
_NO_SPACE: Final = os.fsencode(os.strerror(errno.ENOSPC))


def find_program() -> str:
    """Return the absolute path of the `btrfs` program.

    Raises:
        MissingError: It is not installed.
    """
    program = shutil.which("btrfs", path=_PROGRAM_PATH)
    if program is None:
        raise MissingError(
            "the program btrfs was not found",
            "install btrfs-progs, or let ButterSink receive: leave out --receiver",
        )
    return program


def receive_stream_version(program: str) -> int:
    """Return the newest stream version that the program can receive: 1 or 2.

    Version 2 came to btrfs-progs with the option to force the decompression of its data, so the
    help text tells; release numbers would not, as distributions patch.
    """
    shown = subprocess.run(  # noqa: S603 - absolute program, no user input
        [program, "receive", "--help"],
        env=_ENVIRONMENT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    return 2 if b"--force-decompress" in shown.stdout + shown.stderr else 1


class ReceiveProcess:
    """A running `btrfs receive --chroot`, as a context manager to write a stream to.

    The program's messages are drained at all times. Leaving the block without `finish` ends it.
    """

    def __init__(self, program: str, directory_fd: int, *, keep_fds: tuple[int, ...] = ()) -> None:
        """Start the program.

        Args:
            program: Absolute path of `btrfs`.
            directory_fd: The root directory of the program: nothing outside can be touched,
                whatever the stream says, nor any device; see `confinement`.
            keep_fds: Descriptors that shall stay open as long as the program runs.

        Raises:
            OSError: It can't be started, or not be confined.
        """
        started: list[subprocess.Popen[bytes]] = []

        def start() -> None:
            process = subprocess.Popen(  # noqa: S603 - absolute program, no shell
                # Without -e, which has refused whole streams in several versions.
                [program, "receive", "--quiet", "--chroot", CONFINED_PATH],
                env=_ENVIRONMENT,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                bufsize=0,
                pass_fds=keep_fds,
            )
            started.append(process)

        try:
            start_confined(directory_fd, start)
            (self._process,) = started
            assert self._process.stdin is not None  # noqa: S101 - for the type checker
            self._stdin = self._process.stdin
            widen_pipe(self._stdin.fileno())
            self._errors: list[bytes] = []
            self._messages: deque[bytes] = deque(maxlen=_KEPT_LINES)
            self._drain = threading.Thread(target=self._read_messages, daemon=True)
            self._drain.start()
        except BaseException:  # an interrupt as well: nobody else knows of the program yet
            for process in started:
                process.kill()
                process.wait()
            raise

    def _read_messages(self) -> None:
        assert self._process.stderr is not None  # noqa: S101 - for the type checker
        with self._process.stderr as stderr:
            while line := stderr.readline(_LONGEST_LINE):
                if not line.startswith(_ERROR):
                    self._messages.append(line.strip())
                elif len(self._errors) < _KEPT_LINES:  # the first is the cause of the others
                    self._errors.append(line.removeprefix(_ERROR).strip())

    def __enter__(self) -> Self:
        return self

    def write(self, data: memoryview | bytes) -> None:
        """Hand over all of `data`.

        Raises:
            TransferError: The program has ended; with its own words.
        """
        left = memoryview(data)
        try:
            while left:
                left = left[os.write(self._stdin.fileno(), left) :]
        except BrokenPipeError as error:
            # Its message is the cause; the broken pipe only tells that there is one.
            raise self._failure(self._wait()) from error

    def finish(self) -> None:
        """Wait until the program has received everything.

        Raises:
            TransferError: It failed; with its own words.
        """
        status = self._wait()
        if status != 0:
            raise self._failure(status)

    def _wait(self) -> int:
        self._stdin.close()
        status = self._process.wait()
        self._drain.join()
        return status

    def _failure(self, status: int) -> TransferError:
        others = [line for line in self._messages if line and not line.startswith(_CHROOT_NOTICE)]
        lines = self._errors[:_SHOWN_LINES] or others[-_SHOWN_LINES:]
        said = os.fsdecode(b"; ".join(lines)) or "it said nothing"
        ended = f"ended with status {status}" if status >= 0 else f"was killed by signal {-status}"
        message = f"btrfs receive {ended}: {said}"
        if any(_NO_SPACE in line for line in (*self._errors, *self._messages)):
            return NoSpaceError(message, "free some space at the destination and run again")
        return TransferError(message)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._wait()

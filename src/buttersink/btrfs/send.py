"""Making send streams: the SEND ioctl in a thread, and a pipe to read its stream from."""

from __future__ import annotations

import errno
import os
import threading
import time
from typing import TYPE_CHECKING, Final, Self

from buttersink.btrfs import ioctl
from buttersink.errors import PausedError
from buttersink.pipes import GATHER_SECONDS, LITTLE_BYTES, PIPE_BYTES, widen_pipe

if TYPE_CHECKING:
    from types import TracebackType

_VERSION_FILE: Final = "/sys/fs/btrfs/features/send_stream_version"


def kernel_stream_version() -> int:
    """Return the newest send stream version this kernel can make; 1 if it does not say."""
    try:
        with open(_VERSION_FILE, encoding="ascii") as file:
            return int(file.read())
    except (OSError, ValueError):
        return 1


class KernelSend:
    """A send stream that the kernel is making, as a context manager to read it from.

    Leaving the block waits for the kernel. After a normal end it raises `OSError` if the kernel
    failed. Whatever was not read is given up: the kernel stops at its next write.
    """

    def __init__(
        self, subvolume_fd: int, *, parent_id: int | None, flags: int = 0, version: int = 1
    ) -> None:
        self._read_fd, self._write_fd = os.pipe()
        self._wide = widen_pipe(self._read_fd)
        self._read_bytes = 0
        self._unhurried = False
        """Whether there is time to let more gather: see `pipes.LITTLE_BYTES`."""
        self._request = ioctl.SendRequest(
            write_fd=self._write_fd, parent_id=parent_id, flags=flags, version=version
        )
        self._error: OSError | None = None
        self._abandoned = False
        self._thread = threading.Thread(
            target=self._run,
            args=(subvolume_fd,),
            name="btrfs-send",
            daemon=True,  # if the interpreter has to go, a send must not hold it back
        )

    def _run(self, subvolume_fd: int) -> None:
        try:
            self._request.run(subvolume_fd)
        except OSError as error:
            self._error = error
        finally:
            os.close(self._write_fd)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def readinto(self, buffer: memoryview) -> int:
        """Fill the start of `buffer`; return the bytes read, 0 at the end of data."""
        self._gather()
        return self._counted(os.readv(self._read_fd, [buffer]))

    def fileno(self) -> int:
        """See `store.PipeReader`."""
        return self._read_fd

    def splice(self, pipe_fd: int) -> int:
        """See `store.PipeReader`."""
        self._gather()
        return self._counted(os.splice(self._read_fd, pipe_fd, PIPE_BYTES))

    def _gather(self) -> None:
        if self._unhurried:
            time.sleep(GATHER_SECONDS)

    def _counted(self, count: int) -> int:
        self._read_bytes += count
        if count:
            self._request.seal()
        # Short streams, as those that measure, can be many: they don't wait.
        long = self._read_bytes > PIPE_BYTES
        self._unhurried = self._wide and long and count < LITTLE_BYTES
        return count

    def abandon(self) -> None:
        """Let the kernel stop at its next write, which is then no error."""
        if not self._abandoned:
            self._abandoned = True
            os.close(self._read_fd)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.abandon()
        self._thread.join()
        # EPIPE is our own doing. It can't hide a failure: a reader that came to the end of
        # the data has let the kernel write everything.
        if kind is None and self._error is not None and self._error.errno != errno.EPIPE:
            if self._request.sealed and self._error.errno == errno.EBADF:
                raise PausedError(
                    "the sender was stopped for a while, as when a machine sleeps", "run again"
                ) from self._error
            raise self._error

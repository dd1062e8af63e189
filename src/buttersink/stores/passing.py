"""What stands between a stream and its reader or writer: the guard, on either side."""

from __future__ import annotations

from typing import TYPE_CHECKING

from buttersink.pipes import PIPE_BYTES

if TYPE_CHECKING:
    from buttersink.btrfs.progs_receive import ReceiveProcess
    from buttersink.btrfs.send import KernelSend
    from buttersink.stream.guard import StreamGuard


class ProgramReceiving:
    """The writer of a receive: what passes the guard goes to the program."""

    def __init__(self, process: ReceiveProcess, guard: StreamGuard) -> None:
        """Write to `process` what `guard` lets pass."""
        self._process = process
        self._guard = guard
        self.ctransid = 0
        """The sender's; known when the block has ended."""

    @property
    def plain_bytes(self) -> int:
        """See `store.Writer`."""
        return self._guard.plain_bytes

    @property
    def resume(self) -> None:
        """See `store.Writer`; `btrfs receive` can't go on with what was interrupted."""

    def write(self, data: memoryview) -> None:
        """See `store.Writer`."""
        for part in self._guard.push(data):
            self._process.write(part)


class Rewritten:
    """A reader that passes another one's stream through a guard that rewrites it."""

    def __init__(self, stream: KernelSend, guard: StreamGuard) -> None:
        """Read from `stream`, through `guard`."""
        self._stream = stream
        self._guard = guard
        self._buffer = memoryview(bytearray(PIPE_BYTES))
        self._ready = bytearray()

    @property
    def plain_bytes(self) -> int | None:
        """What the stream would have uncompressed, once it was passed on as a whole."""
        return self._guard.plain_bytes if self._guard.ended else None

    def readinto(self, buffer: memoryview) -> int:
        """See `store.Reader`."""
        while not self._ready:
            count = self._stream.readinto(self._buffer)
            if count == 0:
                return 0
            for part in self._guard.push(self._buffer[:count]):
                self._ready += part
        size = min(len(buffer), len(self._ready))
        buffer[:size] = self._ready[:size]
        del self._ready[:size]
        return size


class Passed:
    """A reader that passes the kernel's stream on as it is."""

    def __init__(self, stream: KernelSend, guard: StreamGuard | None) -> None:
        """Read from `stream`; `guard` sees it as long as it does not go from pipe to pipe."""
        self._stream = stream
        self._guard = guard
        self._told: int | None = None

    @property
    def plain_bytes(self) -> int | None:
        """What it would have uncompressed, once it was passed on as a whole, if anybody looked."""
        if self._guard is not None and self._guard.ended:
            return self._guard.plain_bytes
        return self._told

    def readinto(self, buffer: memoryview) -> int:
        """See `store.Reader`."""
        count = self._stream.readinto(buffer)
        if count and self._guard is not None:
            self._guard.push(buffer[:count])
        return count

    def fileno(self) -> int:
        """See `store.PipeReader`."""
        return self._stream.fileno()

    def splice(self, pipe_fd: int) -> int:
        """See `store.PipeReader`."""
        return self._stream.splice(pipe_fd)

    def taken(self, plain_bytes: int) -> None:
        """See `store.PipeReader`."""
        self._told = plain_bytes

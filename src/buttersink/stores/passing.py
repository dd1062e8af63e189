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


class Watched:
    """A reader that shows another one's stream to a guard, and passes it on as it is."""

    def __init__(self, stream: KernelSend, guard: StreamGuard) -> None:
        """Read from `stream`, and let `guard` see it."""
        self._stream = stream
        self._guard = guard

    def readinto(self, buffer: memoryview) -> int:
        """See `store.Reader`."""
        count = self._stream.readinto(buffer)
        if count:
            self._guard.push(buffer[:count])
        return count

"""Moving one stream from a reader to a writer: counting, limiting the rate, telling progress."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from buttersink.store import PipeReader, PipeWriter

if TYPE_CHECKING:
    from collections.abc import Callable

    from buttersink.store import Reader, Writer

_BUFFER_BYTES: Final = 1 << 20
_PROGRESS_SECONDS: Final = 0.1
_BURST_SECONDS: Final = 0.25


class RateLimit:
    """A token bucket: lets bytes pass at a rate, with bursts of a quarter of a second."""

    def __init__(
        self,
        bytes_per_second: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Start with an empty bucket.

        Args:
            bytes_per_second: The rate, above 0.
            clock: Tells the time in seconds.
            sleep: Waits for so many seconds.
        """
        self._rate = bytes_per_second
        self._clock = clock
        self._sleep = sleep
        self._free_at = clock()

    @property
    def chunk_bytes(self) -> int:
        """The most bytes that should pass at once, so that the flow is even."""
        return max(1, min(_BUFFER_BYTES, int(self._rate * _BURST_SECONDS)))

    def wait(self, nbytes: int) -> None:
        """Wait until `nbytes` more may pass."""
        now = self._clock()
        if self._free_at > now:
            self._sleep(self._free_at - now)
        self._free_at = max(self._free_at, now - _BURST_SECONDS) + nbytes / self._rate


def pump(
    reader: Reader,
    writer: Writer,
    *,
    limit: RateLimit | None = None,
    progress: Callable[[int], None],
) -> int:
    """Move a stream to its end.

    Args:
        reader: Where it comes from.
        writer: Where it goes.
        limit: How fast it may go; None for no limit.
        progress: Told a few times a second how many plain bytes the writer has.

    Returns:
        The bytes that were moved.
    """
    move = _mover(reader, writer, limit)
    moved = 0
    due = time.monotonic() + _PROGRESS_SECONDS
    while count := move():
        moved += count
        if time.monotonic() >= due:
            progress(writer.plain_bytes)
            due = time.monotonic() + _PROGRESS_SECONDS
    progress(writer.plain_bytes)
    return moved


def _mover(reader: Reader, writer: Writer, limit: RateLimit | None) -> Callable[[], int]:
    """Return what moves some bytes, and says how many; 0 at the end of data."""
    if limit is None and isinstance(reader, PipeReader) and isinstance(writer, PipeWriter):
        return lambda: writer.take(reader)  # nothing is copied
    buffer = memoryview(bytearray(limit.chunk_bytes if limit else _BUFFER_BYTES))

    def move() -> int:
        count = reader.readinto(buffer)
        if count:
            if limit is not None:
                limit.wait(count)
            writer.write(buffer[:count])
        return count

    return move

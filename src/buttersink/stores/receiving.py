"""The writer of a receive by our own program, which keeps what has come from time to time."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from buttersink.btrfs.receive import Mark
from buttersink.errors import (
    ButterSinkError,
    CorruptStreamError,
    RestartError,
    UnfaithfulStreamError,
)
from buttersink.model import Checkpoint
from buttersink.stores import checkpoints

if TYPE_CHECKING:
    from buttersink.btrfs.receive import ReceiverProcess
    from buttersink.model import Diff, Position, Size, StreamOptions
    from buttersink.receiving import Pace
    from buttersink.store import PipeReader
    from buttersink.stores.checkpoints import Saved
    from buttersink.stores.landing import Landing

WORTHLESS: Final = (CorruptStreamError, UnfaithfulStreamError, RestartError)
"""After these nothing that has come is to be gone on with."""

_LEAST_BYTES: Final = 1 << 20
"""What is less than that is sent again, rather than kept when a transfer is interrupted."""

_PATIENCE_SECONDS: Final = 60.0
"""How long applying what has come may take when a transfer is interrupted."""


class ResumableReceiving:
    """Writes to our own receiver."""

    def __init__(
        self,
        process: ReceiverProcess,
        landing: Landing,
        pace: Pace,
        *,
        diff: Diff,
        options: StreamOptions,
        expected: Size | None,
        saved: Saved | None,
    ) -> None:
        """Write to `process`, which works in `landing`, going on from `saved` if that is there."""
        self._process = process
        self._landing = landing
        self._pace = pace
        self._diff = diff
        self._options = options
        self._expected = expected
        self._begun_at = saved.checkpoint.position if saved else None
        self._saved_bytes = saved.after.nbytes if saved else 0
        """How much of the stream is kept."""
        self._unsaved_bytes = 0
        self._due = time.monotonic() + pace.seconds
        self._ended: Mark | int | None = None
        """What the receiver has said at the end; see `ReceiverProcess.finish`."""
        self.ctransid = 0
        """The sender's; known when the block has ended."""

    @property
    def plain_bytes(self) -> int:
        """See `store.Writer`."""
        return self._process.plain_bytes

    @property
    def resume(self) -> Position | None:
        """See `store.Writer`."""
        return self._begun_at

    def write(self, data: memoryview) -> None:
        """See `store.Writer`."""
        self._process.write(data)
        self._count(len(data))

    def take(self, stream: PipeReader) -> int:
        """See `store.PipeWriter`."""
        count = self._process.take(stream)
        if count:
            self._count(count)
        elif isinstance(self._end(), int):
            stream.taken(self._process.plain_bytes)
        return count

    def _count(self, nbytes: int) -> None:
        """Count what was handed over, and keep it if it is time for that."""
        self._unsaved_bytes += nbytes
        if self._unsaved_bytes >= self._pace.nbytes or time.monotonic() >= self._due:
            self._keep_on_the_way()

    def finish(self) -> None:
        """Wait until the whole stream is applied.

        Raises:
            CorruptStreamError: It was not whole.
            ButterSinkError: It could not be applied.
        """
        ended = self._end()
        if isinstance(ended, Mark):
            raise CorruptStreamError(
                f"the stream ends after {ended.nbytes} bytes, without its END command",
                "its sender stopped early, or it was not stored completely",
            )
        self.ctransid = ended

    def keep(self, error: BaseException) -> None:
        """Keep what has come, if going on from there is worth while, after the block has failed."""
        if isinstance(error, WORTHLESS):
            return
        try:
            ended = self._end(patience_seconds=_PATIENCE_SECONDS)
        except (ButterSinkError, OSError, ValueError):
            return  # it has failed itself, and that is the error that is on its way
        if isinstance(ended, int):
            return
        least = min(_LEAST_BYTES, self._pace.nbytes)
        if ended.nbytes - self._saved_bytes >= least:
            self._save(ended)

    def _end(self, *, patience_seconds: float | None = None) -> Mark | int:
        """Let all be applied that was written; nothing more can be."""
        if self._ended is None:
            self._ended = self._process.finish(patience_seconds=patience_seconds)
        return self._ended

    def _keep_on_the_way(self) -> None:
        mark = self._process.mark()
        if mark is not None:
            self._save(mark)
        self._process.go_on()
        self._unsaved_bytes = 0
        self._due = time.monotonic() + self._pace.seconds

    def _save(self, mark: Mark) -> None:
        if mark.nbytes <= self._saved_bytes:
            return
        try:
            self._landing.save(self._checkpoint(mark), mark)
        except OSError:
            return  # as when there is no room for its metadata, which is no reason to stop here
        self._saved_bytes = mark.nbytes

    def _checkpoint(self, mark: Mark) -> Checkpoint:
        return Checkpoint(
            diff=self._diff,
            options=self._options,
            position=checkpoints.position_of(mark, self._begun_at),
            expected=self._expected.nbytes if self._expected and self._expected.exact else None,
        )

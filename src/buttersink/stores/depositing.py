"""Storing one stream on a shelf: all of it or nothing, going on from where an upload stopped."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Final

import zstandard

from buttersink.errors import PathTakenError, RestartError, TransferError
from buttersink.model import Certainty
from buttersink.stored import journal
from buttersink.stored.journal import JournalHeader
from buttersink.stored.keys import stream_key
from buttersink.stored.parts import schedule, too_large
from buttersink.stored.seekable import FRAME_BYTES, worth_compressing
from buttersink.stores.cutting import Cutter
from buttersink.stores.uploading import Uploading

if TYPE_CHECKING:
    from buttersink.model import Diff, Size, StreamOptions
    from buttersink.stores.cutting import Sums
    from buttersink.stores.shelf import SentPart, Shelf, ShelfObject
    from buttersink.storing import Storing
    from buttersink.stream.guard import StreamGuard

_DEFAULT_PART_BYTES: Final = 16 << 20
_LIBRARY: Final = (
    f"zstandard {zstandard.__version__}, zstd {'.'.join(map(str, zstandard.ZSTD_VERSION))}"
)


class Deposit:
    """The writer of a receive at a store of streams; implements `store.StoredWriter`.

    Nothing touches the shelf before a first part is full or the stream has ended, and so not
    before the head of the stream was vetted.
    """

    def __init__(
        self,
        shelf: Shelf,
        *,
        prefix: str,
        diff: Diff,
        path: str,
        options: StreamOptions,
        storing: Storing,
        expected: Size | None,
        guard: StreamGuard,
    ) -> None:
        """Prepare to store the stream of `diff` that `guard` lets pass.

        Raises:
            UsageError: There can be no key for it.
            TransferError: It is too large for the shelf.
        """
        self._shelf = shelf
        self._prefix = prefix
        self._diff = diff
        self._path = path
        self._options = options
        self._storing = storing
        self._expected = expected
        self._guard = guard
        self._first = bytearray()
        """The start of the stream, while it is open how to store it."""
        self._stack = ExitStack()
        self._begun: tuple[Cutter, Uploading] | None = None
        self.level: int | None = storing.level
        """zstd's level; None if the stream is stored as it is."""
        for compressed in (True, False):
            stream_key(prefix, path, diff, compressed=compressed, text_only=shelf.keys_are_text)
        if storing.level is None and expected is not None and expected.exact:
            why = too_large(expected.nbytes, shelf.part_limits)
            if why:
                raise TransferError(f"{path} can't be stored: {why}")

    @property
    def key(self) -> str:
        """The key that the object gets."""
        return stream_key(
            self._prefix,
            self._path,
            self._diff,
            compressed=self.level is not None,
            text_only=self._shelf.keys_are_text,
        )

    @property
    def plain_bytes(self) -> int:
        """See `store.Writer`."""
        return self._guard.plain_bytes

    @property
    def resume(self) -> None:
        """See `store.Writer`; the whole stream is taken, and what of it is stored is not sent."""

    @property
    def stored_bytes(self) -> int:
        """See `store.StoredWriter`."""
        return self._begun[0].object_bytes if self._begun else 0

    @property
    def resumed_bytes(self) -> int:
        """See `store.StoredWriter`."""
        return self._begun[1].resumed_bytes if self._begun else 0

    @property
    def parts(self) -> list[SentPart]:
        """The parts of the object, in order."""
        return self._begun[1].parts() if self._begun else []

    def write(self, data: memoryview) -> None:
        """See `store.Writer`."""
        for part in self._guard.push(data):
            if self._begun is not None:
                self._begun[0].write(part)
                continue
            self._first += part
            if len(self._first) >= FRAME_BYTES:
                self._begin()

    def finish(self) -> Sums:
        """Send what is left, and return the sums of it; the object is not yet visible.

        Raises:
            CorruptStreamError: The stream is not whole.
            TransferError: It could not be stored.
        """
        self._guard.finish()
        cutter, _ = self._begun or self._begin()
        return cutter.finish()

    def complete(self) -> ShelfObject:
        """Make the object visible; it is verified and durable.

        Raises:
            PathTakenError: It was stored by somebody else meanwhile.
            TransferError: It could not be stored.
        """
        _, upload = self._begun or self._begin()
        thing = upload.complete()
        self._stack.close()
        return thing

    def fail(self, error: BaseException) -> None:
        """Stop; keep what was stored so far for the next run, if that can go on from it."""
        # After an interrupt nobody shall wait for the network.
        self._stack.__exit__(type(error), error, error.__traceback__)
        if self._begun is not None:
            hopeless = isinstance(error, RestartError | PathTakenError)
            self._begun[1].stop(keep=not hopeless, hurry=not isinstance(error, Exception))

    def _begin(self) -> tuple[Cutter, Uploading]:
        """Decide how to store the stream, now that its start is known."""
        if self.level is not None and self._options.compressed:
            # What is compressed already is stored as it is, unless zstd finds more to gain.
            worth = worth_compressing(self._first, self.level)
            self.level = self.level if worth else None
        wished = self._storing.part_mib
        expected = self._expected
        likely = expected.nbytes if expected and expected.certainty != Certainty.UNKNOWN else None
        upload = Uploading(
            self._shelf,
            JournalHeader(
                format=journal.FORMAT,
                key=self.key,
                upload_id="",
                to=self._diff.to,
                parent=self._diff.parent,
                version=self._options.version,
                compressed=self._options.compressed,
                level=self.level,
                frame_bytes=FRAME_BYTES,
                library=_LIBRARY,
                schedule=schedule(
                    wished << 20 if wished else _DEFAULT_PART_BYTES,
                    likely,
                    self._shelf.part_limits,
                ),
            ),
            keep_schedule=wished is not None,
        )
        cutter = self._stack.enter_context(
            Cutter(
                level=self.level,
                part_bytes=upload.part_bytes,
                jobs=self._storing.jobs,
                send=upload.send,
            )
        )
        self._begun = cutter, upload
        cutter.write(memoryview(bytes(self._first)))
        self._first.clear()
        return self._begun

"""What every end promises: the `Source` and `Sink` protocols.

The verbs fall into the tiers of `model.Mode`: read, append, write. Only `errors.ButterSinkError`
leaves a store. No store knows of dry runs, displays, plans or other stores. The promises
below are tested for every store by the suite in tests/contract.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager
    from uuid import UUID

    from buttersink.errors import ButterSinkError
    from buttersink.model import (
        Diff,
        Inventory,
        Measurement,
        Mode,
        Partial,
        Position,
        Size,
        Snapshot,
        StreamOptions,
    )


class Reader(Protocol):
    """A send stream being read."""

    def readinto(self, buffer: memoryview, /) -> int:
        """Fill the start of `buffer`; return the bytes read, 0 at the end of data."""


class Writer(Protocol):
    """A send stream being stored."""

    @property
    def plain_bytes(self) -> int:
        """Bytes of the stream so far, counted as `Source.measure` counts: as if not compressed.

        With those that an interrupted transfer has received, see `resume`.
        """

    @property
    def resume(self) -> Position | None:
        """What of the stream is here already, from an interrupted transfer of the same stream.

        Then only what follows is to be written: pass it to `Source.send`.
        """

    def write(self, data: memoryview, /) -> None:
        """Take all of `data`, any part of the stream.

        Raises:
            CorruptStreamError: The stream is damaged, or is not the diff that was announced.
            TransferError: It could not be stored; the message is the first cause.
        """


@runtime_checkable
class PipeReader(Reader, Protocol):
    """A send stream that comes out of a pipe as it is."""

    def fileno(self) -> int:
        """Return the end of the pipe that is read."""

    def splice(self, pipe_fd: int, /) -> int:
        """Move some of the data into another pipe; return how many bytes, 0 at the end.

        Raises:
            BlockingIOError: Nothing is there yet, or there is no room, and either pipe does not
                block.
        """

    def taken(self, plain_bytes: int, /) -> None:
        """Hear from whoever has taken the stream by `splice` that it was whole.

        Args:
            plain_bytes: What it has, counted as `Source.measure` counts: nobody has looked at it
                on this side.
        """


@runtime_checkable
class PipeWriter(Writer, Protocol):
    """A send stream that goes into a pipe as it is."""

    def take(self, stream: PipeReader, /) -> int:
        """Take some of a stream, without looking at it; return the bytes, 0 at the end of data.

        Then all of it is applied, and if it was whole, the stream has heard that.

        Raises: As `write`.
        """


@runtime_checkable
class StoredReader(Reader, Protocol):
    """A send stream being read from where it is stored."""

    @property
    def stored_bytes(self) -> int:
        """Stored bytes that what was read so far took; counted as in `Inventory.stored`."""


@runtime_checkable
class StoredWriter(Writer, Protocol):
    """A send stream being stored as a stream."""

    @property
    def stored_bytes(self) -> int:
        """Bytes that it takes as it is stored; final when the `receive` block has ended."""

    @property
    def resumed_bytes(self) -> int:
        """Those of them that an interrupted upload had sent already."""


class Source(Protocol):
    """An end that snapshots can be read from. Nothing here changes the end (mode r)."""

    @property
    def name(self) -> str:
        """The end as the user would write it."""

    def place(self) -> tuple[object, str]:
        """Return where this end is: what equals for ends of one file system or service, and a path.

        One end lies in another if the places are equal and its path begins with the other's.
        Paths have no slash at either end; the top is empty.
        """

    def inventory(self) -> Inventory:
        """Return the facts of this end.

        Sorted; a partial is never a snapshot; what is no snapshot is left out. Two calls
        without a write between them are equal.
        """

    def parents(self, uuids: Collection[UUID]) -> tuple[Snapshot, ...]:
        """Return those of the given snapshots that this end has, but leaves out of `inventory`.

        They lie outside its directory, and it keeps what is there to itself, but tells of them
        only to whoever knows their identities. They may serve as parents, in `measure`, `send`
        and `receive`, and for nothing else. They have no paths, and are sorted by uuid. None,
        if the inventory is complete.
        """

    def stream_options(self) -> StreamOptions:
        """Return the most capable kind of stream this end can make."""

    def measure(self, diff: Diff, options: StreamOptions, limit: int | None = None) -> Size:
        """Return the bytes that the plain stream of `diff` would have.

        With `limit`, measuring may stop once the size is known to exceed it; the result is then
        a lower bound above `limit`, marked AT_LEAST.

        Raises:
            MissingError: This end has not both snapshots of the diff.
            TransferError: The kernel could not read it, or would not send all of it.
        """

    def measure_each(
        self, measurements: Sequence[Measurement], options: StreamOptions
    ) -> Iterator[Size | ButterSinkError]:
        """Measure several diffs, with a single request to an end that is far away.

        The results are to be taken to their end before anything else is asked of this end.

        Yields:
            For each of the measurements, in their order, and as soon as it is known, what
            `measure` returns or raises. An error of one does not end the others.

        Raises:
            UnavailableError: The end can't be reached any more; there are no more results.
        """

    def estimate(self, diff: Diff) -> Size:
        """Return a guess at what `measure` would return, at no cost: never marked EXACT."""

    def recorded_sizes(self, snapshots: Iterable[Snapshot]) -> Mapping[Diff, Size]:
        """Return sizes of diffs that lead to the snapshots, which ButterSink 0.6.9 wrote down.

        They are old, and so marked ESTIMATE.
        """

    def notes(self) -> Sequence[str]:
        """Return what the user should know of how this end did what was asked, so far."""

    def unready(self, diffs: Iterable[Diff]) -> Mapping[Diff, str]:
        """Return those that are stored but can't be read now, as they are archived, and why.

        The reasons name the objects, and say what to do.
        """

    def thaw(self, diffs: Iterable[Diff], days: int) -> None:
        """Ask for archived streams to be made readable for so many days. It takes hours.

        Raises:
            TransferError: The service would not.
        """

    def send(
        self, diff: Diff, options: StreamOptions, *, resume: Position | None = None
    ) -> AbstractContextManager[Reader]:
        """Make the stream of `diff`.

        The block's normal end means that the producer ended well and the stream was whole
        if it was read to the end. Leaving the block with an exception stops the producer.

        Args:
            diff: Of what.
            options: How.
            resume: Leave out the beginning of the stream, up to there.

        Raises:
            MissingError: This end has not both snapshots of the diff.
            RestartError: On reading: the beginning is not what it was when it was received.
            TransferError: On leaving the block: the producer failed; with its reason.
            UnfaithfulStreamError: On leaving the block: the stream turned out not to be what
                the snapshot holds. Without compression, or in full, it may be.
        """

    def outline(self, diff: Diff, version: int) -> AbstractContextManager[Reader]:
        """Make the stream of `diff` without the data of files: what changed, but not to what.

        UPDATE_EXTENT commands stand for those that write data. The promises are those of `send`.

        Raises:
            MissingError: This end has not both snapshots of the diff, or holds streams.
        """

    @property
    def lost(self) -> bool:
        """Whether the end can't be used any more, unless `reconnect` gets it back."""

    def reconnect(self) -> None:
        """Get an end back that is `lost`; with the lock, if that was held.

        What was asked for when it was lost may have been done or not.

        Raises:
            UnavailableError, BusyError: Not by now; it may be tried again.
            ButterSinkError: It is not what it was.
        """

    def close(self) -> None:
        """Let go of what the store holds open; it can't be used afterwards."""


class Sink(Source, Protocol):
    """An end that snapshots can be put into.

    The verbs that remove something (`delete`, `hide`, `discard`, `clean`) are of mode w, all
    others only add (mode a).
    """

    @property
    def mode(self) -> Mode:
        """What this end was opened for: verbs above it are refused, and must not be used.

        An end that this process has to itself is opened for everything.
        """

    def accepts(self) -> StreamOptions:
        """Return the most capable kind of stream this end can receive."""

    def lock(self) -> AbstractContextManager[None]:
        """Keep other runs out of this destination while the block lasts.

        Raises:
            BusyError: Another run holds it; after a wait of a few seconds.
        """

    def taken(self, paths: Iterable[str]) -> frozenset[str]:
        """Return those of the relative `paths` at which anything at all exists (mode r).

        Raises:
            UsageError: One of them is not a path below the directory.
        """

    def free_bytes(self) -> int | None:
        """Return how many bytes of plain data surely fit; None if that cannot be told (mode r)."""

    def stored_fraction(self) -> float | None:
        """Return the expected stored bytes for each byte of a plain stream, as far as known.

        None for an end that holds subvolumes (mode r).
        """

    def receive(
        self,
        diff: Diff,
        path: str,
        options: StreamOptions,
        *,
        expected: Size | None = None,
        link: bool = False,
        snapshot: Snapshot | None = None,
        fresh: bool = False,
    ) -> AbstractContextManager[Writer]:
        """Store the stream of `diff` so that its snapshot is at the relative `path`.

        The head of the stream is checked against `diff` before anything is stored. The
        snapshot is there if and only if the block ends without an exception; afterwards
        `inventory` has it. After a failure nothing is under `path`; at most a partial
        remains, which the next receive of the same diff resumes or replaces.

        Args:
            diff: What the stream makes from what.
            path: Where the snapshot is to be.
            options: How the stream is made.
            expected: Size of the plain stream, as far as known.
            link: The snapshot is only to build others on: it is kept out of the snapshots.
                `release` removes it, at an end of subvolumes; `path` need not be free there.
            snapshot: What the sender knows of the snapshot, to be recorded where that is done.
            fresh: Begin anew, whatever an interrupted transfer has left.

        Raises:
            UsageError: `path` is not a path below the directory.
            PathTakenError: Something is at `path`.
            MissingError: The parent is not at this end.
            BusyError: Another run is receiving the same snapshot there.
            CorruptStreamError: Not the stream of `diff`, damaged, or not whole.
            TransferError: It could not be stored.
            RestartError: What an interrupted transfer left does not fit; it is gone now, and the
                transfer can begin anew.
        """

    def copy(self, source: Source, diff: Diff, path: str, *, link: bool = False) -> int | None:
        """Store the stream of `diff` by copying it within the service that both ends are on.

        The promises are those of `receive`.

        Returns:
            Bytes of the stored stream; None if that is not possible here and nothing was done.
        """

    def release(self, uuid: UUID) -> None:
        """Remove a link that `receive` made at an end of subvolumes.

        Raises:
            MissingError: There is no such link.
        """

    def adopt(self, snapshot: Snapshot, path: str) -> None:
        """Put a snapshot, which this end has outside the directory, at the relative `path`.

        Its identity stays the same; no data is copied.

        Raises:
            UsageError: `path` is not a path below the directory.
            PathTakenError: Something is at `path`.
            MissingError: This end does not have it, or only as one of its `parents`.
        """

    def delete(self, uuid: UUID, path: str) -> None:
        """Delete the snapshot at the relative `path`, which must have the identity `uuid` (mode w).

        Raises:
            MissingError: There is no such snapshot; nothing was deleted.
            RefusedError: Another stored stream builds on it; nothing was deleted.
        """

    def hide(self, uuid: UUID, path: str) -> None:
        """Keep the stored streams of a snapshot only as links of others' chains (mode w).

        `adopt` is the way back.

        Raises:
            MissingError: There is no such snapshot, or this end does not hold streams.
        """

    def discard(self, diff: Diff, path: str) -> None:
        """Remove one stored stream of the snapshot at the relative `path` (mode w).

        Raises:
            MissingError: There is no such stream, or this end does not hold streams.
            RefusedError: A snapshot could not be restored without it; nothing was removed.
        """

    def clean(self, partial: Partial) -> None:
        """Remove a partial that `inventory` listed (mode w).

        Raises:
            MissingError: There is no such partial; nothing was removed.
            BusyError: Another run is at work on it; nothing was removed.
        """

    def flush(self) -> None:
        """Wait until everything done so far would survive a power cut."""

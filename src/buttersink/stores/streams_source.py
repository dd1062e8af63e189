"""Snapshots as stored send streams below a prefix of a shelf, as source."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from buttersink.errors import CorruptStreamError, MissingError, TransferError
from buttersink.model import Certainty, Size, StreamOptions
from buttersink.stored.receipt import MAX_RECEIPT_BYTES, NoReceipt, decode_receipt
from buttersink.stores.crew import Crew
from buttersink.stores.fetching import StoredStream, find_seek_table
from buttersink.stores.old_sizes import MAX_BYTES, as_sizes
from buttersink.stores.one_by_one import measure_one_by_one
from buttersink.stores.resuming import drop_beginning
from buttersink.stores.shelved import Shelved
from buttersink.stores.staying import StayingEnd
from buttersink.stream.format import NEWEST_VERSION
from buttersink.stream.guard import Expectation, StreamGuard

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
    from uuid import UUID

    from buttersink.errors import ButterSinkError
    from buttersink.model import Diff, Inventory, Measurement, Position, Snapshot
    from buttersink.stored.receipt import Receipt
    from buttersink.stores.holdings import Holding, Holdings
    from buttersink.stores.shelf import Shelf
    from buttersink.storing import Storing

_log: Final = logging.getLogger(__name__)

_ARCHIVED: Final = "--thaw DAYS asks for them; that takes hours, then run again"


class StreamSource(StayingEnd):
    """The streams below a prefix of a shelf; implements `store.Source`."""

    def __init__(self, shelf: Shelf, prefix: str, *, name: str, storing: Storing) -> None:
        """Use a shelf, which is closed with the store.

        Args:
            shelf: Where the streams are.
            prefix: Empty, or ending in a slash.
            name: The end as the user wrote it.
            storing: How streams are read and stored.
        """
        self.name = name
        self.shelf = shelf
        self._prefix = prefix
        self._storing = storing
        self._listing: Shelved | None = None

    def close(self) -> None:
        """See `store.Source`."""
        self.shelf.close()

    def place(self) -> tuple[object, str]:
        """See `store.Source`."""
        # Other directories are other shelves, but may be on one file system, and lie in each other.
        scheme, _, rest = self.shelf.name.partition("://")
        host, _, path = rest.partition("/")
        return f"{scheme}://{host}", f"{path}{self._prefix}".strip("/")

    def inventory(self) -> Inventory:
        """See `store.Source`."""
        self._listing = None
        return self._holdings.inventory

    def parents(self, uuids: Collection[UUID]) -> tuple[Snapshot, ...]:
        """See `store.Source`; the inventory has all that was listed."""
        del uuids
        return ()

    def stream_options(self) -> StreamOptions:
        """See `store.Source`; which ones are stored is only known when they are read."""
        return StreamOptions(version=NEWEST_VERSION, compressed=True)

    def measure(self, diff: Diff, options: StreamOptions, limit: int | None = None) -> Size:
        """See `store.Source`; told by the seek table, if the stream is stored compressed."""
        del options, limit
        holding = self.best(diff)
        if not holding.entry.compressed:
            # ButterSink 0.6.9, which wrote no receipts, left stale bytes behind some streams.
            certain = holding.receipt is not None
            return Size(holding.thing.nbytes, Certainty.EXACT if certain else Certainty.ESTIMATE)
        table = find_seek_table(self.shelf, holding.thing)
        if table is not None:
            return Size(table.plain_bytes)
        receipt = self.receipt(holding)
        if receipt is not None:
            return Size(receipt.stream.nbytes)
        return Size(holding.thing.nbytes, Certainty.UNKNOWN)

    def measure_each(
        self, measurements: Sequence[Measurement], options: StreamOptions
    ) -> Iterator[Size | ButterSinkError]:
        """See `store.Source`; seldom needed, as sizes of stored streams are in the inventory."""
        return measure_one_by_one(self, measurements, options)

    def estimate(self, diff: Diff) -> Size:
        """See `store.Source`."""
        return Size(self.best(diff).thing.nbytes, Certainty.ESTIMATE)

    def recorded_sizes(self, snapshots: Iterable[Snapshot]) -> Mapping[Diff, Size]:
        """See `store.Source`; from the objects `<path>.bs`."""
        found: dict[Diff, Size] = {}
        things = self._holdings.sizes
        for path in {path for snapshot in snapshots for path in snapshot.paths} & things.keys():
            thing = things[path]
            if not thing.archived and thing.nbytes <= MAX_BYTES:
                found.update(as_sizes(self.shelf.read(thing, 0, thing.nbytes)))
        return found

    def notes(self) -> tuple[str, ...]:
        """See `store.Source`."""
        return tuple(self.shelf.notes)

    def unready(self, diffs: Iterable[Diff]) -> Mapping[Diff, str]:
        """See `store.Source`."""
        found: dict[Diff, str] = {}
        for diff in diffs:
            thing = self.best(diff).thing
            if thing.archived and (why := self.shelf.readable(thing)):
                found[diff] = f"{self.shelf.name}{thing.key}: {why}"
        return found

    def thaw(self, diffs: Iterable[Diff], days: int) -> None:
        """See `store.Source`."""
        for diff in diffs:
            self.shelf.unarchive(self.best(diff).thing, days)

    @contextmanager
    def send(
        self, diff: Diff, options: StreamOptions, *, resume: Position | None = None
    ) -> Iterator[StoredStream]:
        """See `store.Source`."""
        holding = self.best(diff)
        if holding.thing.archived and (why := self.shelf.readable(holding.thing)):
            raise TransferError(f"{self.shelf.name}{holding.thing.key}: {why}", _ARCHIVED)
        guard = StreamGuard(
            Expectation(
                to=frozenset({diff.to}),
                parents=frozenset({diff.parent}) if diff.parent else None,
                max_version=options.version,
            )
        )
        with Crew(self._storing.jobs, "fetch") as crew:
            stream = StoredStream(
                self.shelf,
                holding.thing,
                compressed=holding.entry.compressed,
                guard=guard,
                receipt=self.receipt(holding),
                crew=crew,
                ahead=self._storing.jobs,
            )
            drop_beginning(stream, resume)
            yield stream

    @contextmanager
    def outline(self, diff: Diff, version: int) -> Iterator[StoredStream]:
        """See `store.Source`; what is stored has all data in it."""
        del version
        raise MissingError(
            f"{self.name} holds streams, of which {diff.to} would have to be read in full",
            "restore both snapshots to a btrfs file system, and compare them there",
        )
        yield  # what makes it a context manager

    def receipt(self, holding: Holding) -> Receipt | None:
        """Return what was written when a stream was stored; None if there is nothing of use."""
        if holding.receipt is None or holding.receipt.archived:
            return None
        try:
            # One more byte than it may have is enough to see that it is none.
            nbytes = min(holding.receipt.nbytes, MAX_RECEIPT_BYTES + 1)
            data = self.shelf.read(holding.receipt, 0, nbytes)
        except (MissingError, CorruptStreamError):
            return None
        found = decode_receipt(data)
        if isinstance(found, NoReceipt):
            why = found.reason
        elif not found.describes(holding.diff, holding.thing.nbytes):
            why = "it is that of another object"
        else:
            return found
        # The stream itself is what counts; each of its commands has a checksum.
        _log.warning("%s is of no use: %s", holding.receipt.key, why)
        return None

    def best(self, diff: Diff) -> Holding:
        """Return the stored stream of a diff that is best to read."""
        found = self._holdings.by_diff.get(diff)
        if not found:
            raise MissingError(
                f"{self.name} has no stream of {diff.to} on {diff.parent or 'nothing'}"
            )
        return found[0]

    # For this class and those that extend it

    @property
    def _shelved(self) -> Shelved:
        if self._listing is None:
            self._listing = Shelved(
                self.shelf.objects("" if self._storing.whole_bucket else self._prefix),
                self.shelf.uploads(self._prefix),
                prefix=self._prefix,
            )
        return self._listing

    @property
    def _holdings(self) -> Holdings:
        return self._shelved.holdings

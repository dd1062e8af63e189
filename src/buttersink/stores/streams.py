"""Snapshots as stored send streams below a prefix of a shelf, as destination as well."""

from __future__ import annotations

import logging
import os
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

from buttersink.errors import (
    ButterSinkError,
    MissingError,
    PathTakenError,
    RefusedError,
    UsageError,
)
from buttersink.model import Diff, Mode, Size, StreamOptions
from buttersink.stored.keys import (
    Other,
    marker_key,
    parse_key,
    receipt_key,
    stream_key,
    trash_key,
)
from buttersink.stored.receipt import encode_receipt
from buttersink.stores.depositing import Deposit
from buttersink.stores.journals import JournalFile, forget_complete
from buttersink.stores.receipts import make_receipt
from buttersink.stores.streams_source import StreamSource
from buttersink.stream.format import NEWEST_VERSION
from buttersink.stream.guard import Expectation, StreamGuard
from buttersink.stream.vetting import is_safe_path

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from uuid import UUID

    from buttersink.model import Partial, Snapshot
    from buttersink.store import Source
    from buttersink.stored.receipt import Receipt
    from buttersink.stores.holdings import Holding
    from buttersink.stores.shelf import ShelfObject

_log: Final = logging.getLogger(__name__)

_SAMPLED: Final = 8
"""How many receipts tell how well streams are compressed: those of the largest objects."""


class StreamStore(StreamSource):
    """The streams below a prefix of a shelf; implements `store.Sink`."""

    @property
    def mode(self) -> Mode:
        """See `store.Sink`."""
        return Mode.WRITE

    def accepts(self) -> StreamOptions:
        """See `store.Sink`; a stream is stored as it comes."""
        return StreamOptions(version=NEWEST_VERSION, compressed=True)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """See `store.Sink`; what a kill left of uploads that were complete goes at the end."""
        with self.shelf.lock(self._prefix):
            yield
            if self._listing is not None:
                forget_complete(self.shelf, self._listing.undescribed(), self._listing.upload_ids())

    def taken(self, paths: Iterable[str]) -> frozenset[str]:
        """See `store.Sink`; streams of other snapshots don't matter, several can share a path."""
        found = []
        for path in paths:
            _vet(path)
            if self.shelf.occupied(self._prefix + path):
                found.append(path)
        return frozenset(found)

    def free_bytes(self) -> None:
        """See `store.Sink`; nobody knows how well a stream can be compressed."""

    def stored_fraction(self) -> float:
        """See `store.Sink`; as the largest objects that are there tell by their receipts."""
        if self._storing.level is None:
            return 1.0
        packed = sorted(
            (
                holding
                for same in self._holdings.by_diff.values()
                for holding in same
                if holding.entry.compressed and holding.receipt is not None
            ),
            key=lambda holding: (-holding.thing.nbytes, holding.entry.key),
        )
        stored = plain = 0
        for holding in packed[:_SAMPLED]:
            receipt = self.receipt(holding)
            if receipt is not None:
                stored += receipt.object_.nbytes
                plain += receipt.stream.nbytes
        return min(1.0, stored / plain) if plain else 1.0

    @contextmanager
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
    ) -> Iterator[Deposit]:
        """See `store.Sink`; an interrupted upload is gone on with by its parts, if they equal."""
        del fresh
        _vet(path)
        self._refuse_taken(diff, path)
        if diff.parent is not None:
            self._require(diff.parent)
        guard = StreamGuard(
            Expectation(
                to=frozenset({diff.to}),
                parents=frozenset({diff.parent}) if diff.parent else None,
                max_version=options.version,
            )
        )
        deposit = Deposit(
            self.shelf,
            prefix=self._prefix,
            diff=diff,
            path=path,
            options=options,
            storing=self._storing,
            expected=expected,
            guard=guard,
        )
        try:
            yield deposit
            sums = deposit.finish()
            with self._appearing(deposit.key, hidden=link):
                thing = deposit.complete()
        except BaseException as error:
            deposit.fail(error)
            raise
        self._shelved.add(thing)
        receipt = make_receipt(
            diff,
            path,
            sums=sums,
            parts=deposit.parts,
            version=guard.version,
            compressed=options.compressed,
            level=deposit.level,
            snapshot=snapshot,
        )
        self._describe(thing.key, receipt)

    def copy(self, source: Source, diff: Diff, path: str, *, link: bool = False) -> int | None:
        """See `store.Sink`; between shelves of one service."""
        if not isinstance(source, StreamSource):
            return None
        _vet(path)
        self._refuse_taken(diff, path)
        if diff.parent is not None:
            self._require(diff.parent)
        holding = source.best(diff)
        key = self._key(diff, path, compressed=holding.entry.compressed)
        with self._appearing(key, hidden=link):
            thing = self.shelf.copy(holding.thing, source.shelf, key)
        if thing is None:
            self._unmark(key)
            return None
        self._shelved.add(thing)
        receipt = source.receipt(holding)
        if receipt is not None:
            self._describe(key, receipt)
        return thing.nbytes

    def release(self, uuid: UUID) -> None:
        """See `store.Sink`; links stay here, hidden."""
        raise MissingError(f"{uuid} is no link that could be released")

    def adopt(self, snapshot: Snapshot, path: str) -> None:
        """See `store.Sink`: by showing what was hidden, or copying what is outside the prefix."""
        _vet(path)
        here = self._holdings.at(snapshot.uuid, path)
        inside = [h for h in self._holdings.by_uuid.get(snapshot.uuid, ()) if not h.outside]
        if any(not holding.hidden for holding in here):
            raise PathTakenError(f"{self.name}{path} is that snapshot already")
        if here:
            for holding in self._still_there(here, path):
                self._unmark(holding.entry.key)
        elif inside and all(holding.hidden for holding in inside):
            for holding in self._still_there(inside, path):
                self._show_at(holding, path)
        else:
            last = self._holdings.chains.last.get(snapshot.uuid)
            if last is None:
                raise MissingError(f"{self.name} has no streams to restore {path} from")
            if self.copy(self, last, path) is None:
                raise MissingError(f"{self.name} can't copy {path} from outside its prefix")

    def delete(self, uuid: UUID, path: str) -> None:
        """See `store.Sink`; moves to the trash."""
        doomed = self._still_there(self._shown(uuid, path), path)
        self._refuse_needed(doomed, path, leaving=uuid)
        for holding in doomed:
            self._dispose(holding)

    def hide(self, uuid: UUID, path: str) -> None:
        """See `store.Sink`."""
        for holding in self._still_there(self._shown(uuid, path), path):
            if holding.marker is None:
                self._put(marker_key(holding.entry.key), b"")

    def discard(self, diff: Diff, path: str) -> None:
        """See `store.Sink`; moves to the trash."""
        same = [h for h in self._holdings.by_uuid.get(diff.to, ()) if not h.outside]
        found = [h for h in same if h.diff == diff]
        # Several paths of a snapshot need not have the same streams.
        doomed = [h for h in found if h.entry.path == path] or found
        if not doomed or all(holding.entry.path != path for holding in same):
            raise MissingError(f"{path} has no stream of {diff.to} on {diff.parent} (any more)")
        there = self._still_there(doomed, path)
        self._refuse_needed(there, path, leaving=None)
        for holding in there:
            self._dispose(holding)

    def clean(self, partial: Partial) -> None:
        """See `store.Sink`; aborts an open upload."""
        upload = self._holdings.uploads.get(partial.path)
        if upload is None:
            raise MissingError(f"{partial.path} is no open upload (any more)")
        journal = None
        if parse_key(upload.key, self._prefix) is not Other.NOTHING:  # else it is not known of what
            journal = JournalFile.open(self.shelf.journal_path(upload.key), create=False)
        try:
            record = journal.read() if journal else None
            same = (u.upload_id == upload.upload_id for u in self.shelf.uploads(upload.key))
            if not any(same):
                raise MissingError(f"{partial.path} is no open upload any more")
            self.shelf.resume(upload.key, upload.upload_id).abort()
        except BaseException:
            if journal is not None:
                journal.close()
            raise
        if journal is not None:
            if record is None or record.header.upload_id == upload.upload_id:
                journal.remove()
            else:
                journal.close()
        self._listing = None

    def flush(self) -> None:
        """See `store.Sink`; each object is durable when it is complete."""

    def _shown(self, uuid: UUID, path: str) -> tuple[Holding, ...]:
        found = self._holdings.at(uuid, path)
        if all(holding.hidden for holding in found):
            raise MissingError(f"{path} is not the snapshot {uuid} (any more)")
        return found

    def _refuse_taken(self, diff: Diff, path: str) -> None:
        for compressed in (True, False):
            key = self._key(diff, path, compressed=compressed)
            if self._shelved.get(key) is not None:
                raise PathTakenError(f"{self.shelf.name}{key} is there already")
        if self.shelf.occupied(self._prefix + path):
            raise PathTakenError(
                f"something else is at {self.name}{path}", "move it away, or exclude this snapshot"
            )

    def _require(self, parent: UUID) -> None:
        """Make sure that there still is a stream of what another one is to build on."""
        streams = self._shelved.streams_of(parent)
        if not any(self.shelf.stat(thing.key) for thing in streams):
            raise MissingError(f"{self.name} has no stream of {parent} (any more), to build on")

    def _refuse_needed(self, doomed: Sequence[Holding], path: str, *, leaving: UUID | None) -> None:
        needing = self._holdings.lost_without(doomed, leaving=leaving)
        if needing is not None:
            raise RefusedError(
                f"{needing.path} could not be restored without {path}, which was not deleted"
            )

    def _still_there(self, holdings: Sequence[Holding], path: str) -> tuple[Holding, ...]:
        """Return those streams that are what was listed.

        Raises:
            MissingError: None is.
        """

        def is_there(thing: ShelfObject) -> bool:
            now = self.shelf.stat(thing.key)
            return now is not None and (now.nbytes, now.etag) == (thing.nbytes, thing.etag)

        found = tuple(holding for holding in holdings if is_there(holding.thing))
        if not found:
            raise MissingError(f"{self.name}{path} has gone, or was replaced, meanwhile")
        return found

    def _dispose(self, holding: Holding) -> None:
        """Remove a stream, and then what belongs to it."""
        remove = self._discard if self._storing.trash else self._remove
        remove(holding.thing)
        if holding.receipt is not None:
            with suppress(MissingError):
                remove(holding.receipt)
        self._unmark(holding.entry.key)

    @contextmanager
    def _appearing(self, key: str, *, hidden: bool) -> Iterator[None]:
        """See to it that a stream, which becomes visible in the block, is never mistaken.

        What an interrupted removal left would say wrong things of it. A link is hidden before
        it can be seen: somebody might look, or we might be killed.
        """
        for old in (marker_key(key), receipt_key(key)):
            if (thing := self._shelved.get(old)) is not None:
                self._remove(thing)
        if hidden:
            self._put(marker_key(key), b"")
        try:
            yield
        except Exception:
            with suppress(ButterSinkError):  # what made it fail counts
                self._unmark(key)
            raise

    def _describe(self, key: str, receipt: Receipt) -> None:
        """Store what is known about a stream that is complete, and whole without it."""
        try:
            self._put(receipt_key(key), encode_receipt(receipt))
        except ButterSinkError as error:
            _log.warning("%s%s has no receipt: %s", self.shelf.name, key, error)

    def _show_at(self, holding: Holding, path: str) -> None:
        """Move a hidden stream to another path, where it is not hidden."""
        self._refuse_taken(holding.diff, path)
        key = self._key(holding.diff, path, compressed=holding.entry.compressed)
        with self._appearing(key, hidden=False):
            self._move(holding.thing, key)
        if holding.receipt is not None:
            with suppress(MissingError):
                self._move(holding.receipt, receipt_key(key))
        self._unmark(holding.entry.key)

    def _unmark(self, key: str) -> None:
        if (marker := self._shelved.get(marker_key(key))) is not None:
            self._remove(marker)

    def _key(self, diff: Diff, path: str, *, compressed: bool) -> str:
        return stream_key(
            self._prefix, path, diff, compressed=compressed, text_only=self.shelf.keys_are_text
        )

    def _move(self, thing: ShelfObject, key: str) -> None:
        self.shelf.move(thing, key)
        self._shelved.drop(thing.key)
        moved = self.shelf.stat(key)
        if moved is not None:
            self._shelved.add(moved)

    def _put(self, key: str, data: bytes) -> None:
        self._shelved.add(self.shelf.put(key, data))

    def _discard(self, thing: ShelfObject) -> None:
        self.shelf.move(thing, trash_key(thing.key))
        self._shelved.drop(thing.key)

    def _remove(self, thing: ShelfObject) -> None:
        self.shelf.remove(thing.key)
        self._shelved.drop(thing.key)


def _vet(path: str) -> None:
    """Check that a path is one below the prefix.

    Raises:
        UsageError: It is not.
    """
    try:
        safe = is_safe_path(os.fsencode(path))
    except UnicodeEncodeError:  # surrogates that stand for no byte
        safe = False
    if not safe:
        raise UsageError(f"{path!r} is no path below a directory")

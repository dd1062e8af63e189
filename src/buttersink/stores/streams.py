"""Snapshots as stored send streams below a prefix of a shelf, as destination as well."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from buttersink.chains import best_chains
from buttersink.errors import MissingError, PathTakenError, RefusedError, UsageError
from buttersink.model import Diff, Size, StreamOptions
from buttersink.stored.keys import (
    marker_key,
    receipt_key,
    stream_key,
    trash_key,
)
from buttersink.stored.receipt import encode_receipt
from buttersink.stores.depositing import Deposit
from buttersink.stores.journals import JournalFile
from buttersink.stores.receipts import make_receipt
from buttersink.stores.streams_source import StreamSource
from buttersink.stream.format import NEWEST_VERSION
from buttersink.stream.guard import Expectation, StreamGuard
from buttersink.stream.vetting import is_safe_path

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from contextlib import AbstractContextManager
    from uuid import UUID

    from buttersink.model import Partial, Snapshot
    from buttersink.store import Source
    from buttersink.stores.holdings import Holding
    from buttersink.stores.shelf import ShelfObject

_SAMPLED: Final = 8
"""How many receipts tell how well streams are compressed: those of the largest objects."""


class StreamStore(StreamSource):
    """The streams below a prefix of a shelf; implements `store.Sink`."""

    def accepts(self) -> StreamOptions:
        """See `store.Sink`; a stream is stored as it comes."""
        return StreamOptions(version=NEWEST_VERSION, compressed=True)

    def lock(self) -> AbstractContextManager[None]:
        """See `store.Sink`."""
        return self.shelf.lock(self._prefix)

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
    ) -> Iterator[Deposit]:
        """See `store.Sink`."""
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
            thing, sums = deposit.commit()
        except BaseException as error:
            deposit.fail(error)
            raise
        # It is complete. The rest is said about it, and may be missing.
        self._shelved.add(thing)
        if link:
            self._put(marker_key(thing.key), b"")
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
        self._put(receipt_key(thing.key), encode_receipt(receipt))

    def copy(self, source: Source, diff: Diff, path: str, *, link: bool = False) -> int | None:
        """See `store.Sink`; between shelves of one service."""
        if not isinstance(source, StreamSource):
            return None
        _vet(path)
        self._refuse_taken(diff, path)
        holding = source.best(diff)
        key = stream_key(
            self._prefix,
            path,
            diff,
            compressed=holding.entry.compressed,
            text_only=self.shelf.keys_are_text,
        )
        thing = self.shelf.copy(holding.thing, source.shelf, key)
        if thing is None:
            return None
        self._shelved.add(thing)
        if link:
            self._put(marker_key(key), b"")
        receipt = source.receipt(holding)
        if receipt is not None:
            self._put(receipt_key(key), encode_receipt(receipt))
        return thing.nbytes

    def release(self, uuid: UUID) -> None:
        """See `store.Sink`; links stay here, hidden."""
        raise MissingError(f"{uuid} is no link that could be released")

    def adopt(self, snapshot: Snapshot, path: str) -> None:
        """See `store.Sink`: by showing what was hidden, or copying what is outside the prefix."""
        _vet(path)
        hidden = [h for h in self._holdings.by_uuid.get(snapshot.uuid, ()) if not h.outside]
        for holding in hidden:
            if holding.marker is not None:
                self._remove(holding.marker)
        if not hidden:
            last = self._holdings.chains.last.get(snapshot.uuid)
            if last is None:
                raise MissingError(f"{self.name} has no streams to restore {path} from")
            if self.copy(self, last, path) is None:
                raise MissingError(f"{self.name} can't copy {path} from outside its prefix")

    def delete(self, uuid: UUID, path: str) -> None:
        """See `store.Sink`; moves to the trash."""
        doomed = self._shown(uuid, path)
        self._refuse_needed(doomed, path)
        for holding in doomed:
            self._dispose(holding)

    def hide(self, uuid: UUID, path: str) -> None:
        """See `store.Sink`."""
        for holding in self._shown(uuid, path):
            if holding.marker is None:
                self._put(marker_key(holding.entry.key), b"")

    def discard(self, diff: Diff, path: str) -> None:
        """See `store.Sink`; moves to the trash."""
        doomed = tuple(h for h in self._holdings.at(diff.to, path) if h.diff == diff)
        if not doomed:
            raise MissingError(f"{path} has no stream of {diff.to} on {diff.parent} (any more)")
        self._refuse_needed(doomed, path)
        for holding in doomed:
            self._dispose(holding)

    def clean(self, partial: Partial) -> None:
        """See `store.Sink`; aborts an open upload."""
        upload = self._holdings.uploads.get(partial.path)
        if upload is None:
            raise MissingError(f"{partial.path} is no open upload (any more)")
        journal = JournalFile.open(self.shelf.journal_path(upload.key), create=False)
        record = journal.read() if journal is not None else None
        self.shelf.resume(upload.key, upload.upload_id).abort()
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
            key = stream_key(
                self._prefix,
                path,
                diff,
                compressed=compressed,
                text_only=self.shelf.keys_are_text,
            )
            if self._shelved.has(key):
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

    def _refuse_needed(self, doomed: tuple[Holding, ...], path: str) -> None:
        """Refuse to remove what a snapshot that stays could not be restored without."""
        keys = {holding.entry.key for holding in doomed}
        left = {
            diff
            for diff, same in self._holdings.by_diff.items()
            if any(holding.entry.key not in keys for holding in same)
        }
        stored = self._holdings.inventory.stored
        after = best_chains((diff, size) for diff, size in stored if diff in left)
        staying = {diff.to for diff in left}
        for snapshot in self._holdings.inventory.snapshots:
            lost = snapshot.uuid in self._holdings.chains.last and snapshot.uuid not in after.last
            if lost and snapshot.uuid in staying and snapshot.paths:
                raise RefusedError(
                    f"{snapshot.path} could not be restored without {path}, which was not deleted"
                )

    def _dispose(self, holding: Holding) -> None:
        """Remove a stream, and then what belongs to it."""
        if self._storing.trash:
            self._discard(holding.thing)
            if holding.receipt is not None:
                self._discard(holding.receipt)
        else:
            self._remove(holding.thing)
            if holding.receipt is not None:
                self._remove(holding.receipt)
        if holding.marker is not None:
            self._remove(holding.marker)

    def _put(self, key: str, data: bytes) -> None:
        self.shelf.put(key, data)
        thing = self.shelf.stat(key)
        if thing is not None:
            self._shelved.add(thing)

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
    if not is_safe_path(os.fsencode(path)):
        raise UsageError(f"{path!r} is no path below a directory")

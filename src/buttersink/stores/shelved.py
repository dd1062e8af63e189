"""The last listing of a shelf, kept up to date with what was done since."""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from buttersink.stored.keys import Other, StreamEntry, parse_key, receipt_key
from buttersink.stores.holdings import Holdings, make_holdings

if TYPE_CHECKING:
    from collections.abc import Iterable
    from uuid import UUID

    from buttersink.stores.shelf import OpenUpload, ShelfObject


class Shelved:
    """What is on a shelf, as far as this process can know without asking again.

    Args:
        objects: A listing.
        uploads: The open uploads.
        prefix: That of the end.
    """

    def __init__(
        self, objects: Iterable[ShelfObject], uploads: Iterable[OpenUpload], *, prefix: str
    ) -> None:
        self._prefix = prefix
        self._objects = {thing.key: thing for thing in objects}
        self._uploads = tuple(uploads)
        self._listed = datetime.now(UTC)
        self._keys: defaultdict[UUID, list[str]] = defaultdict(list)
        for key in self._objects:
            self._index(key)
        self._holdings: Holdings | None = None

    @property
    def holdings(self) -> Holdings:
        """All of it, sorted out."""
        if self._holdings is None:
            self._holdings = make_holdings(
                self._objects.values(), self._uploads, prefix=self._prefix, now=self._listed
            )
        return self._holdings

    def streams_of(self, uuid: UUID) -> list[ShelfObject]:
        """Return the objects that hold streams of a snapshot, at once."""
        return [self._objects[key] for key in self._keys[uuid] if key in self._objects]

    def undescribed(self) -> list[str]:
        """Return the keys of streams without receipts."""
        return [
            key
            for keys in self._keys.values()
            for key in keys
            if key in self._objects and receipt_key(key) not in self._objects
        ]

    def upload_ids(self) -> frozenset[str]:
        """Return what the open uploads are called."""
        return frozenset(upload.upload_id for upload in self._uploads)

    def get(self, key: str) -> ShelfObject | None:
        """Return an object; None if there is none."""
        return self._objects.get(key)

    def add(self, thing: ShelfObject) -> None:
        """Take note of an object that was stored."""
        self._objects[thing.key] = thing
        self._index(thing.key)
        self._holdings = None

    def drop(self, key: str) -> None:
        """Take note of an object that is gone."""
        self._objects.pop(key, None)
        self._holdings = None

    def _index(self, key: str) -> None:
        entry = parse_key(key, self._prefix)
        if entry is Other.OUTSIDE:
            entry = parse_key(key, "")
        if isinstance(entry, StreamEntry):
            self._keys[entry.diff.to].append(key)

"""A shelf in memory: small, but with every promise of `stores.shelf`."""

from __future__ import annotations

import hashlib
import os
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import TYPE_CHECKING

from buttersink.errors import (
    BusyError,
    CorruptStreamError,
    MissingError,
    PathTakenError,
    TransferError,
)
from buttersink.stores.shelf import HeldPart, OpenUpload, PartLimits, ShelfObject

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from buttersink.stores.shelf import SentPart, Shelf

_START = datetime(2024, 2, 29, 12, 0, tzinfo=UTC)
LIMITS = PartLimits(least=1, most=1 << 30, count=1000, total=1 << 40)


@dataclass(slots=True)
class _Parts:
    key: str
    started: datetime
    parts: dict[int, bytes] = field(default_factory=dict)


class MemoryShelf:
    """Implements `shelf.Shelf`.

    Args:
        state: Directory for the records of uploads.
        limits: What it takes.

    Attributes:
        appeared: The keys of all objects, in the order in which they became visible.
        reads: What was read: key, start and bytes.
    """

    def __init__(self, state: Path, limits: PartLimits = LIMITS) -> None:
        self._state = state
        self._limits = limits
        self._objects: dict[str, tuple[ShelfObject, bytes]] = {}
        self._uploads: dict[str, _Parts] = {}
        self._locked: set[str] = set()
        self._numbers = count(1)
        self._mutex = threading.Lock()
        self.appeared: list[str] = []
        self.reads: list[tuple[str, int, int]] = []

    @property
    def name(self) -> str:
        return "memory://shelf/"

    @property
    def notes(self) -> Sequence[str]:
        return ()

    @property
    def part_limits(self) -> PartLimits:
        return self._limits

    @property
    def keys_are_text(self) -> bool:
        return True

    def objects(self, prefix: str) -> Iterator[ShelfObject]:
        for key in sorted(self._objects, key=os.fsencode):
            if key.startswith(prefix):
                yield self._objects[key][0]

    def uploads(self, prefix: str) -> Iterator[OpenUpload]:
        for upload_id, upload in self._uploads.items():
            if upload.key.startswith(prefix):
                yield OpenUpload(
                    key=upload.key,
                    upload_id=upload_id,
                    started=upload.started,
                    nbytes=sum(map(len, upload.parts.values())),
                )

    def stat(self, key: str) -> ShelfObject | None:
        return self._objects[key][0] if key in self._objects else None

    def read(self, thing: ShelfObject, start: int, nbytes: int) -> bytes:
        with self._mutex:
            self.reads.append((thing.key, start, nbytes))
        found, data = self._objects.get(thing.key, (None, b""))
        if found is None or found.etag != thing.etag:
            raise MissingError(f"{thing.key} is gone")
        if start + nbytes > len(data):
            raise CorruptStreamError(f"{thing.key} is too short")
        return data[start : start + nbytes]

    def put(self, key: str, data: bytes, *, replace: bool = True) -> ShelfObject:
        if not replace and key in self._objects:
            raise PathTakenError(f"{key} is there")
        number = next(self._numbers)
        thing = ShelfObject(
            key=key,
            nbytes=len(data),
            modified=_START + timedelta(minutes=number),
            etag=f"{number}",
        )
        self._objects[key] = thing, data
        self.appeared.append(key)
        return thing

    def begin(self, key: str) -> MemoryUpload:
        upload_id = f"upload {next(self._numbers)}"
        self._uploads[upload_id] = _Parts(key, datetime.now(UTC))
        return MemoryUpload(self, self._uploads, key, upload_id)

    def resume(self, key: str, upload_id: str) -> MemoryUpload:
        return MemoryUpload(self, self._uploads, key, upload_id)

    def copy(self, thing: ShelfObject, shelf: Shelf, key: str) -> ShelfObject | None:
        if not isinstance(shelf, MemoryShelf):
            return None
        return self.put(key, shelf.read(thing, 0, thing.nbytes), replace=False)

    def move(self, thing: ShelfObject, key: str) -> None:
        self.put(key, self.read(thing, 0, thing.nbytes))
        self.remove(thing.key)

    def remove(self, key: str) -> None:
        self._objects.pop(key, None)

    def unarchive(self, thing: ShelfObject, days: int) -> None:
        """Nothing is archived."""

    def readable(self, thing: ShelfObject) -> str:
        del thing
        return ""

    def occupied(self, path: str) -> bool:
        del path
        return False

    def journal_path(self, key: str) -> str:
        return str(self._state / hashlib.sha256(os.fsencode(key)).hexdigest())

    @contextmanager
    def lock(self, prefix: str) -> Iterator[None]:
        if prefix in self._locked:
            raise BusyError(f"another run is at {prefix}")
        self._locked.add(prefix)
        try:
            yield
        finally:
            self._locked.remove(prefix)

    def close(self) -> None:
        """There is nothing to let go of."""


class MemoryUpload:
    """Implements `shelf.Upload`."""

    def __init__(
        self, shelf: MemoryShelf, uploads: dict[str, _Parts], key: str, upload_id: str
    ) -> None:
        self._shelf = shelf
        self._uploads = uploads
        self._key = key
        self._id = upload_id

    @property
    def upload_id(self) -> str:
        return self._id

    def held(self) -> Mapping[int, HeldPart]:
        return {
            number: HeldPart(nbytes=len(data), tag=_tag(data))
            for number, data in self._parts().items()
        }

    def put(self, number: int, offset: int, data: bytes | bytearray, sha256: str) -> str:
        del offset
        if hashlib.sha256(data).hexdigest() != sha256:
            raise TransferError(f"part {number} arrived damaged")
        self._parts()[number] = bytes(data)
        return _tag(data)

    def complete(self, parts: Sequence[SentPart]) -> ShelfObject:
        held = self._parts()
        if any(_tag(held.get(part.number, b"")) != part.tag for part in parts):
            raise TransferError(f"{self._key}: not the parts that were sent")
        if any(part.nbytes < self._shelf.part_limits.least for part in parts[:-1]):
            raise TransferError(f"{self._key}: a part is too small")
        data = b"".join(held[part.number] for part in parts)
        thing = self._shelf.put(self._key, data, replace=False)
        self.abort()
        return thing

    def abort(self) -> None:
        self._uploads.pop(self._id, None)

    def _parts(self) -> dict[int, bytes]:
        if self._id not in self._uploads or self._uploads[self._id].key != self._key:
            raise MissingError(f"{self._id} is gone")
        return self._uploads[self._id].parts


def _tag(data: bytes | bytearray) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()

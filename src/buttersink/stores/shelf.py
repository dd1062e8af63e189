"""Where the bytes of stored streams go: the protocol that S3 and directories implement.

A shelf holds immutable objects under keys. What the objects mean is none of its business.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager
    from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ShelfObject:
    """One object, as a listing shows it.

    Attributes:
        key: Its whole key, as text; bytes that are not UTF-8 as surrogateescape.
        nbytes: Its size.
        modified: When it was completed.
        etag: Changes if the content does; empty where there is nothing of the kind.
        archived: It lies in a storage class that can't be read before it is thawed.
    """

    key: str
    nbytes: int
    modified: datetime
    etag: str = ""
    archived: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenUpload:
    """An upload that was begun and is not complete.

    Attributes:
        key: The key of the object it is to become.
        upload_id: What the shelf calls it.
        started: When it was begun.
        nbytes: Bytes of its parts.
    """

    key: str
    upload_id: str
    started: datetime
    nbytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PartLimits:
    """What a shelf takes: bytes of each part but the last, number of parts, bytes in all."""

    least: int
    most: int
    count: int
    total: int


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldPart:
    """A part of an open upload, as the shelf tells of it; `tag` changes if the content does."""

    nbytes: int
    tag: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SentPart:
    """A part of an upload that is to be completed: `sha256` as 64 hex digits."""

    number: int
    nbytes: int
    sha256: str
    tag: str


class Upload(Protocol):
    """An object in the making, of parts numbered from 1; nothing is visible of it."""

    @property
    def upload_id(self) -> str:
        """What the shelf calls it; `Shelf.resume` takes it."""

    def held(self) -> Mapping[int, HeldPart]:
        """Return the parts that the shelf has, by number.

        Raises:
            MissingError: The upload is not there any more.
        """

    def put(self, number: int, offset: int, data: bytes | bytearray, sha256: str) -> str:
        """Send one part and return its tag. Several threads may do so at once.

        The content is verified by the shelf as well as it can; failures that may pass
        (5xx, throttling, time-outs, broken connections) are retried with growing pauses.

        Args:
            number: From 1.
            offset: Bytes of the object before this part.
            data: The part, not changed until this returns.
            sha256: Its SHA-256, as 64 hex digits.

        Raises:
            TransferError: It could not be stored.
            MissingError: The upload is not there any more.
        """

    def complete(self, parts: Sequence[SentPart]) -> ShelfObject:
        """Make the object visible: exactly of these parts, durable, and verified as a whole.

        Raises:
            PathTakenError: There is an object of this key; it was not touched.
            TransferError: It could not be completed, or is not what was sent.
        """

    def abort(self) -> None:
        """Give up the upload and free its parts; no error if it is gone already."""


class Shelf(Protocol):
    """A bucket, or a directory that is used like one. Keys have no slash in front.

    All errors are `errors.ButterSinkError`. Transient failures are retried inside.
    """

    @property
    def name(self) -> str:
        """The shelf as a user would write it, ending in a slash, such as s3://bucket/."""

    @property
    def part_limits(self) -> PartLimits:
        """What it takes."""

    @property
    def keys_are_text(self) -> bool:
        """Whether keys must be valid UTF-8 without control characters, of 1024 bytes at most."""

    @property
    def notes(self) -> Sequence[str]:
        """What a user should know about how the shelf falls short of what was asked for."""

    def objects(self, prefix: str) -> Iterator[ShelfObject]:
        """Yield all objects whose keys begin with `prefix`, in the order of the keys' bytes."""

    def uploads(self, prefix: str) -> Iterator[OpenUpload]:
        """Yield the open uploads whose keys begin with `prefix`."""

    def stat(self, key: str) -> ShelfObject | None:
        """Return an object; None if there is none."""

    def read(self, thing: ShelfObject, start: int, nbytes: int) -> bytes:
        """Return exactly `nbytes` from `start` on. Several threads may do so at once.

        Raises:
            MissingError: The object is gone, or is not the one that was listed.
            CorruptStreamError: It is shorter than it was listed.
            TransferError: It can't be read.
        """

    def put(self, key: str, data: bytes, *, replace: bool = True) -> ShelfObject:
        """Store a small object at once, and return it: whole, verified and durable.

        Raises:
            PathTakenError: There is one already, and `replace` is false.
        """

    def begin(self, key: str) -> Upload:
        """Begin an upload."""

    def resume(self, key: str, upload_id: str) -> Upload:
        """Return the handle of an open upload; `Upload.held` tells if it still exists."""

    def copy(self, thing: ShelfObject, shelf: Shelf, key: str) -> ShelfObject | None:
        """Copy an object of `shelf` to `key` here without its bytes passing through this machine.

        Encryption and storage class are those of new objects here.

        Returns:
            The new object, seen to be whole; None if `shelf` is not of the same service.
        """

    def move(self, thing: ShelfObject, key: str) -> None:
        """Give an object another key, keeping its encryption and class; whole or not at all.

        An object that is at `key` is replaced: it is of an earlier removal.
        """

    def remove(self, key: str) -> None:
        """Remove an object; no error if it is gone."""

    def unarchive(self, thing: ShelfObject, days: int) -> None:
        """Ask for an archived object to be readable for so many days.

        Raises:
            TransferError: It would not.
        """

    def readable(self, thing: ShelfObject) -> str:
        """Return why an archived object can't be read now; empty if it can."""

    def occupied(self, path: str) -> bool:
        """Whether something is at a key path that keeps objects from being stored below it."""

    def journal_path(self, key: str) -> str:
        """Return the path of a local file in which to keep the record of an upload to `key`."""

    def lock(self, prefix: str) -> AbstractContextManager[None]:
        """Keep other runs away from the keys with this prefix, as well as that can be done.

        Raises:
            BusyError: Another run is at work there.
        """

    def close(self) -> None:
        """Let go of connections and descriptors."""

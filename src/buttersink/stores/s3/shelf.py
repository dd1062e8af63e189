"""A bucket as a shelf."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from buttersink.errors import (
    ButterSinkError,
    MissingError,
    PathTakenError,
    TransferError,
    UnavailableError,
)
from buttersink.stores.s3 import objects
from buttersink.stores.s3.copying import Copier, original
from buttersink.stores.s3.dialect import Dialect, md5_header
from buttersink.stores.s3.digests import is_md5, md5_hex
from buttersink.stores.s3.errors import Fault, RequestError
from buttersink.stores.s3.local_state import LocalState
from buttersink.stores.s3.reading import read_range
from buttersink.stores.s3.service import Service
from buttersink.stores.s3.settings import GIB, MIB
from buttersink.stores.s3.upload import S3Upload
from buttersink.stores.shelf import PartLimits, ShelfObject

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from contextlib import AbstractContextManager

    from buttersink.stores.s3.settings import S3Settings
    from buttersink.stores.shelf import OpenUpload, Shelf

# https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html; other services take no more
# than 5 TiB in one object, whatever AWS does.
_LEAST_PART: Final = 5 * MIB
_MOST_PART: Final = 5 * GIB
_MOST_BYTES: Final = 5 * 1024 * GIB

_TIMES_SENT: Final = 3
_CLASS_BYTES: Final = 128 << 10
"""Objects in the classes of rare access are charged as if they had so many bytes at least."""


class S3Shelf:
    """A bucket of AWS or of a service that speaks like it; see `shelf.Shelf`.

    Args:
        settings: The bucket and how to use it.

    Raises:
        UsageError: The profile or the endpoint can't be used.
    """

    def __init__(self, settings: S3Settings) -> None:
        self._service = Service(settings)
        self._dialect = Dialect(self._service, settings)
        self._copier = Copier(self._service, self._dialect, settings)
        self._part_count = settings.part_count
        identity = f"{self._service.endpoint}/{settings.bucket}"
        self._state = LocalState(settings.state_directory, identity)

    @property
    def name(self) -> str:
        """The bucket as a user would write it, ending in a slash."""
        return self._service.name

    @property
    def notes(self) -> Sequence[str]:
        """What a user should know about how the service falls short; each is logged once, too."""
        return tuple(self._dialect.notes)

    @property
    def part_limits(self) -> PartLimits:
        """What S3 takes."""
        return PartLimits(
            least=_LEAST_PART, most=_MOST_PART, count=self._part_count, total=_MOST_BYTES
        )

    @property
    def keys_are_text(self) -> bool:
        """Keys must be valid UTF-8 without control characters, of 1024 bytes at most."""
        return True

    def objects(self, prefix: str) -> Iterator[ShelfObject]:
        """Yield all objects whose keys begin with `prefix`, in the order of the keys' bytes."""
        yield from objects.listed(self._service, prefix)

    def uploads(self, prefix: str) -> Iterator[OpenUpload]:
        """Yield the open uploads whose keys begin with `prefix`."""
        return objects.open_uploads(self._service, prefix)

    def stat(self, key: str) -> ShelfObject | None:
        """Return an object; None if there is none."""
        answer = objects.head(self._service, key)
        return None if answer is None else objects.told(key, answer)

    def read(self, thing: ShelfObject, start: int, nbytes: int) -> bytes:
        """Return exactly `nbytes` from `start` on; see `shelf.Shelf.read`."""
        return read_range(self._service, thing, start, nbytes)

    def put(self, key: str, data: bytes, *, replace: bool = True) -> ShelfObject:
        """Store a small object at once; see `shelf.Shelf.put`."""
        doing = f"storing {self.name}{key}"
        if not replace and objects.head(self._service, key) is not None:
            raise self._taken(key)
        damaged = False
        for _ in range(_TIMES_SENT):
            try:
                answer = self._put_once(doing, key, data, replace=replace)
            except UnavailableError:
                if damaged:
                    self._remove_damaged(key)
                raise
            except RequestError as error:
                if error.failure.fault is Fault.DIGEST:
                    continue
                if error.failure.retried and (thing := self._held(key, data)) is not None:
                    return thing  # the first attempt had stored it, only its answer was lost
                raise self._taken(key) from error
            tag = objects.bare_etag(answer)
            if tag == md5_hex(data) or not is_md5(tag) or not objects.has_content_etag(answer):
                return ShelfObject(key=key, nbytes=len(data), modified=datetime.now(UTC), etag=tag)
            replace = damaged = True  # what is there now is the damaged object
        if damaged:
            self._remove_damaged(key)
        raise TransferError(
            f"{doing}: it arrived damaged {_TIMES_SENT} times", "check memory and network"
        )

    def _remove_damaged(self, key: str) -> None:
        """Let nothing stand that would be taken for what was to be stored."""
        try:
            self.remove(key)
        except ButterSinkError as error:
            raise TransferError(
                f"{self.name}{key} is damaged, and could not be removed: {error.message}",
                "remove it by hand, then run again",
            ) from error

    def begin(self, key: str) -> S3Upload:
        """Begin an upload."""
        new = self._dialect.new_object(key)
        sums = self._dialect.sums(key)
        answer = self._service.request(
            "create_multipart_upload",
            f"beginning an upload to {self.name}{key}",
            Key=key,
            **new,
            **sums,
        )
        return S3Upload(self._service, self._dialect, key, str(answer["UploadId"]))

    def resume(self, key: str, upload_id: str) -> S3Upload:
        """Return the handle of an open upload; `S3Upload.held` tells if it still exists."""
        return S3Upload(self._service, self._dialect, key, upload_id)

    def copy(self, thing: ShelfObject, shelf: Shelf, key: str) -> ShelfObject | None:
        """Copy an object of `shelf` to `key` within the service; see `shelf.Shelf.copy`.

        Raises:
            PathTakenError: There is an object of this key; it was not touched.
            RefusedError: The source is archived.
        """
        if not isinstance(shelf, S3Shelf):
            return None
        service = shelf._service  # noqa: SLF001 - it is one of this class
        if service.account != self._service.account:
            return None
        source = original(service, thing)
        if objects.head(self._service, key) is not None:
            raise self._taken(key)
        return self._copier.copy(source, key, self._dialect.new_object(key))

    def move(self, thing: ShelfObject, key: str) -> None:
        """Give an object another key; see `shelf.Shelf.move`.

        Raises:
            RefusedError: It is archived.
        """
        source = original(self._service, thing)
        self._copier.copy(source, key, source.kept)
        self.remove(thing.key)

    def remove(self, key: str) -> None:
        """Remove an object; no error if it is gone."""
        try:
            self._service.request(
                "delete_object",
                f"removing {self.name}{key}",
                expected=frozenset({Fault.MISSING}),
                Key=key,
            )
        except RequestError:
            return

    def unarchive(self, thing: ShelfObject, days: int) -> None:
        """Ask for an archived object to be readable for so many days; fine if it was before."""
        doing = f"thawing {self.name}{thing.key}"
        answer = objects.head(self._service, thing.key, etag=thing.etag)
        if answer is None:
            raise MissingError(f"{doing}: it is gone, or was replaced", "run again")
        if not objects.is_archived(answer):
            return
        # What INTELLIGENT_TIERING has archived comes back for good.
        request = {} if answer.get("ArchiveStatus") else {"Days": days}
        try:
            self._service.request(
                "restore_object",
                doing,
                expected=frozenset({Fault.THAWING}),
                Key=thing.key,
                RestoreRequest=request,
            )
        except RequestError:
            return

    def readable(self, thing: ShelfObject) -> str:
        """Return why an archived object can't be read now; empty if it can.

        Raises:
            MissingError: It is gone, or is not the one that was listed.
        """
        answer = objects.head(self._service, thing.key, etag=thing.etag)
        if answer is None:
            raise MissingError(f"{self.name}{thing.key} is gone, or was replaced", "run again")
        return objects.why_unreadable(answer)

    def occupied(self, path: str) -> bool:  # noqa: ARG002 - for shelves that are directories
        """There is nothing in a bucket but objects."""
        return False

    def journal_path(self, key: str) -> str:
        """Return the path of a local file in which to keep the record of an upload to `key`."""
        return self._state.journal_path(key)

    def lock(self, prefix: str) -> AbstractContextManager[None]:
        """Keep away other runs of this machine; S3 has no locks.

        Raises:
            BusyError: Another run is at work there.
        """
        return self._state.lock(prefix, f"{self.name}{prefix}")

    def close(self) -> None:
        """Let go of connections; requests in other threads end soon, with a `TransferError`."""
        self._service.close()

    def _put_once(self, doing: str, key: str, data: bytes, *, replace: bool) -> dict[str, object]:
        # What is small or is replaced goes to the bucket's own storage class: the cheap ones
        # charge for more bytes than it has, and receipts must never be archived.
        small = replace or len(data) < _CLASS_BYTES
        kept = self._dialect.encryption(key) if small else self._dialect.new_object(key)
        request = {"Key": key, "Body": data, **kept, **md5_header(data)}
        expected = frozenset({Fault.DIGEST})
        if replace:
            return self._service.request("put_object", doing, expected=expected, **request)
        expected |= {Fault.PRECONDITION, Fault.CONFLICT}
        return self._dialect.create_new("put_object", doing, expected, **request)

    def _held(self, key: str, data: bytes) -> ShelfObject | None:
        """Return the object at a key, if it is of these data."""
        thing = self.stat(key)
        if thing is None or thing.nbytes != len(data):
            return None
        return thing if self.read(thing, 0, thing.nbytes) == data else None

    def _taken(self, key: str) -> PathTakenError:
        return PathTakenError(f"there is an object already: {self.name}{key}")

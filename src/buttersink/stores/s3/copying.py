"""Copies that the service makes itself, in one request or, of large objects, in parts."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from buttersink.errors import ButterSinkError, MissingError, RefusedError, TransferError
from buttersink.stores.s3 import objects
from buttersink.stores.s3.errors import Fault, RequestError, user_error
from buttersink.stores.s3.settings import MIB
from buttersink.stores.s3.upload import S3Upload
from buttersink.stores.shelf import SentPart

if TYPE_CHECKING:
    from collections.abc import Mapping

    from buttersink.stores.s3.dialect import Dialect
    from buttersink.stores.s3.service import Service
    from buttersink.stores.s3.settings import S3Settings
    from buttersink.stores.shelf import ShelfObject

_PART: Final = 512 * MIB
_LEAST_PART: Final = 5 * MIB
_CLASS: Final = ("ServerSideEncryption", "SSEKMSKeyId", "BucketKeyEnabled", "StorageClass")
_DESCRIPTION: Final = (
    "CacheControl",
    "ContentDisposition",
    "ContentEncoding",
    "ContentLanguage",
    "ContentType",
    "Metadata",
)
_EXPECTED: Final = frozenset({Fault.MISSING, Fault.PRECONDITION, Fault.ARCHIVED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Original:
    """What is to be copied, as its service tells of it in `answer`."""

    bucket: str
    thing: ShelfObject
    answer: Mapping[str, Any]

    @property
    def parameters(self) -> dict[str, Any]:
        """Name it in a request, so that nothing else of the same key is copied."""
        condition = {"CopySourceIfMatch": f'"{self.thing.etag}"'} if self.thing.etag else {}
        return {"CopySource": {"Bucket": self.bucket, "Key": self.thing.key}, **condition}

    @property
    def kept(self) -> dict[str, Any]:
        """Its encryption and storage class, for an object that is to be like it."""
        return {name: self.answer[name] for name in _CLASS if self.answer.get(name)}

    @property
    def description(self) -> dict[str, Any]:
        """What a copy in parts would lose otherwise."""
        return {name: self.answer[name] for name in _DESCRIPTION if self.answer.get(name)}


def original(service: Service, thing: ShelfObject) -> Original:
    """Look at an object that is to be copied.

    Raises:
        MissingError: It is gone, or is not the one that was listed.
        RefusedError: It is archived.
    """
    answer = objects.head(service, thing.key, etag=thing.etag)
    where = f"{service.name}{thing.key}"
    if answer is None:
        raise MissingError(f"copying {where}: it is gone, or was replaced", "run again")
    if objects.why_unreadable(answer):
        raise _archived(where)
    return Original(bucket=service.bucket, thing=objects.told(thing.key, answer), answer=answer)


class Copier:
    """Makes copies in one bucket.

    Args:
        service: Where the copies go.
        dialect: What it understands.
        settings: How much it copies at once.
    """

    def __init__(self, service: Service, dialect: Dialect, settings: S3Settings) -> None:
        self._service = service
        self._dialect = dialect
        self._settings = settings

    def copy(self, source: Original, key: str, new: Mapping[str, Any]) -> ShelfObject:
        """Copy an object to `key`, where it replaces what is there.

        Args:
            source: What to copy.
            key: Of the copy.
            new: Encryption and storage class of the copy, as parameters of boto3.

        Returns:
            The copy, seen to be whole.

        Raises:
            MissingError: The source is gone.
            RefusedError: The source is archived.
            ButterSinkError: It could not be copied.
        """
        doing = f"copying s3://{source.bucket}/{source.thing.key} to {self._service.name}{key}"
        try:
            if source.thing.nbytes > self._settings.copy_limit:
                return self._copy_parts(doing, source, key, new)
            return self._copy_whole(doing, source, key, new)
        except RequestError as error:
            failure = error.failure
            if failure.fault is Fault.ARCHIVED:
                raise _archived(f"s3://{source.bucket}/{source.thing.key}") from error
            if failure.fault in {Fault.MISSING, Fault.PRECONDITION}:
                raise MissingError(f"{doing}: it is gone, or was replaced", "run again") from error
            raise user_error(failure, doing) from error

    def _copy_whole(
        self, doing: str, source: Original, key: str, new: Mapping[str, Any]
    ) -> ShelfObject:
        self._service.request(
            "copy_object", doing, expected=_EXPECTED, Key=key, **source.parameters, **new
        )
        answer = objects.head(self._service, key)
        if answer is None or answer["ContentLength"] != source.thing.nbytes:
            raise TransferError(f"{doing}: the copy is not whole", "run again")
        return objects.told(key, answer)

    def _copy_parts(
        self, doing: str, source: Original, key: str, new: Mapping[str, Any]
    ) -> ShelfObject:
        answer = self._service.request(
            "create_multipart_upload", doing, Key=key, **source.description, **new
        )
        upload = S3Upload(
            self._service, self._dialect, key, str(answer["UploadId"]), by_sha256=False
        )
        try:
            parts = self._copied_parts(doing, source, key, upload.upload_id)
            return upload.replace(parts)
        except BaseException:
            _give_up(upload)
            raise

    def _copied_parts(
        self, doing: str, source: Original, key: str, upload_id: str
    ) -> list[SentPart]:
        nbytes = source.thing.nbytes
        size = max(
            min(_PART, self._settings.copy_limit),
            -(-nbytes // self._settings.part_count),
            _LEAST_PART,
        )

        def copy_part(number: int) -> SentPart:
            start = (number - 1) * size
            end = min(start + size, nbytes)
            answer = self._service.request(
                "upload_part_copy",
                doing,
                expected=_EXPECTED,
                Key=key,
                UploadId=upload_id,
                PartNumber=number,
                CopySourceRange=f"bytes={start}-{end - 1}",
                **source.parameters,
            )
            tag = objects.bare_etag(answer["CopyPartResult"])
            return SentPart(number=number, nbytes=end - start, sha256="", tag=tag)

        pool = ThreadPoolExecutor(self._settings.jobs, thread_name_prefix="copy")
        try:
            return list(pool.map(copy_part, range(1, -(-nbytes // size) + 1)))
        finally:
            pool.shutdown(cancel_futures=True)


def _give_up(upload: S3Upload) -> None:
    """Free the parts if that is possible; the first error is the one that matters."""
    try:
        upload.abort()
    except ButterSinkError:
        return


def _archived(where: str) -> RefusedError:
    return RefusedError(
        f"copying {where}: it is archived, which can't be copied", "it must be thawed first"
    )

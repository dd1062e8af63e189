"""An object in the making: a multipart upload."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from buttersink.errors import ButterSinkError, MissingError, PathTakenError, TransferError
from buttersink.stores.s3 import objects
from buttersink.stores.s3.dialect import REFUSALS
from buttersink.stores.s3.digests import base64_of_hex, is_md5, md5_hex, what_differs
from buttersink.stores.s3.errors import Fault, RequestError, user_error

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from buttersink.stores.s3.dialect import Dialect
    from buttersink.stores.s3.service import Service
    from buttersink.stores.shelf import HeldPart, SentPart, ShelfObject

_TIMES_SENT: Final = 3
"""A part that arrives damaged; more often it is damaged here, before it leaves."""

_GONE: Final = frozenset({Fault.NO_UPLOAD, Fault.MISSING})


class S3Upload:
    """A multipart upload.

    Args:
        service: Where.
        dialect: What the service understands.
        key: Of the object it is to become.
        upload_id: What the service calls it.
        by_sha256: Whether its parts come with their SHA-256, as far as the service verifies it.
    """

    def __init__(
        self,
        service: Service,
        dialect: Dialect,
        key: str,
        upload_id: str,
        *,
        by_sha256: bool = True,
    ) -> None:
        self._service = service
        self._dialect = dialect
        self._key = key
        self._id = upload_id
        self._where = f"{service.name}{key}"
        self._by_sha256 = by_sha256

    @property
    def upload_id(self) -> str:
        """What the service calls it."""
        return self._id

    def held(self) -> Mapping[int, HeldPart]:
        """Return the parts that the service has, by number.

        Parts of which it tells contradictory things are left out.

        Raises:
            MissingError: The upload is not there any more.
        """
        try:
            parts = objects.part_entries(self._service, self._key, self._id)
        except RequestError as error:
            raise self._gone() from error
        return objects.unambiguous(parts)

    def put(
        self,
        number: int,
        offset: int,  # noqa: ARG002 - for shelves that write to a place in a file
        data: bytes | bytearray,
        sha256: str,
    ) -> str:
        """Send one part and return its tag; see `shelf.Upload.put`."""
        doing = f"storing part {number} of {self._where}"
        for _ in range(_TIMES_SENT):
            by_sha256 = self._by_sha256 and self._dialect.traits(self._key).verifies_sha256
            md5 = "" if by_sha256 else md5_hex(data)  # each time anew: memory may be what fails
            sums = (
                {"ChecksumSHA256": base64_of_hex(sha256)}
                if by_sha256
                else {"ContentMD5": base64_of_hex(md5)}
            )
            optional = REFUSALS if by_sha256 else frozenset()
            try:
                answer = self._service.request(
                    "upload_part",
                    doing,
                    expected=_GONE | {Fault.DIGEST} | optional,
                    PartNumber=number,
                    Body=data,
                    **self._address,
                    **sums,
                )
            except RequestError as error:
                if error.failure.fault in _GONE:
                    raise self._gone() from error
                if error.failure.fault in REFUSALS:
                    self._by_sha256 = False  # the upload was begun without such checksums
                continue
            tag = objects.bare_etag(answer)
            if by_sha256 or _is_etag_of(md5, answer, tag):
                return tag or md5 or md5_hex(data)
        raise TransferError(
            f"{doing}: it arrived damaged {_TIMES_SENT} times", "check memory and network"
        )

    def complete(self, parts: Sequence[SentPart]) -> ShelfObject:
        """Make the object visible; see `shelf.Upload.complete`."""
        # Not all services know conditions, and not all who take them act on them.
        if objects.head(self._service, self._key) is not None:
            raise self._taken()
        return self._finish(parts, is_new=True)

    def replace(self, parts: Sequence[SentPart]) -> ShelfObject:
        """Make the object visible, in place of one that may be there.

        Raises:
            ButterSinkError: It could not be completed, or is not what was sent.
        """
        return self._finish(parts, is_new=False)

    def abort(self) -> None:
        """Give up the upload and free its parts; no error if it is gone already."""
        try:
            self._service.request(
                "abort_multipart_upload",
                f"giving up the upload to {self._where}",
                expected=_GONE,
                **self._address,
            )
        except RequestError:
            return

    @property
    def _address(self) -> dict[str, str]:
        return {"Key": self._key, "UploadId": self._id}

    def _finish(self, parts: Sequence[SentPart], *, is_new: bool) -> ShelfObject:
        doing = f"completing {self._where}"
        parts = sorted(parts, key=lambda part: part.number)
        try:
            self._join(doing, parts, is_new=is_new)
        except RequestError as error:
            self._look_after(error, doing, parts)
        answer = objects.head(self._service, self._key)
        if answer is None:
            raise TransferError(f"{doing}: it is not there", "run again")
        wrong = what_differs(answer, parts)
        if wrong:
            raise TransferError(f"{doing}: {wrong}", self._removed())
        return objects.told(self._key, answer)

    def _join(self, doing: str, parts: Sequence[SentPart], *, is_new: bool) -> None:
        """Ask for the object to be made of exactly these parts.

        Raises:
            RequestError: It was not; or it was, but the answer to that was lost.
        """
        sums = self._by_sha256 and self._dialect.traits(self._key).verifies_sha256
        for with_sums in (True, False) if sums else (False,):
            request = {"MultipartUpload": {"Parts": _listed(parts, with_sums)}, **self._address}
            expected = _GONE | {Fault.PRECONDITION, Fault.CONFLICT}
            if with_sums:
                expected |= REFUSALS
            operation = "complete_multipart_upload"
            try:
                if is_new:
                    self._dialect.create_new(operation, doing, expected, **request)
                else:
                    self._service.request(operation, doing, expected=expected, **request)
            except RequestError as error:
                if error.failure.fault in REFUSALS:
                    continue  # begun without checksums, perhaps
                raise
            return

    def _look_after(self, error: RequestError, doing: str, parts: Sequence[SentPart]) -> None:
        """Return if the object was made after all: by an attempt whose answer was lost.

        Raises:
            ButterSinkError: It was not.
        """
        failure = error.failure
        answer = objects.head(self._service, self._key)
        if answer is not None:
            may_be_ours = failure.retried or failure.fault in _GONE
            if may_be_ours and not what_differs(answer, parts):
                return
            raise self._taken() from error
        if failure.fault in _GONE:
            raise self._gone() from error
        raise user_error(failure, doing) from error

    def _removed(self) -> str:
        """Remove the wrong object; return what a user should know about that."""
        try:
            self._service.request("delete_object", f"removing {self._where}", Key=self._key)
        except ButterSinkError:
            return "remove that object: it could not be removed"
        return "it was removed; run again"

    def _gone(self) -> MissingError:
        return MissingError(f"the upload to {self._where} is not there any more", "run again")

    def _taken(self) -> PathTakenError:
        return PathTakenError(f"there is an object already: {self._where}")


def _listed(parts: Sequence[SentPart], with_sums: bool) -> list[dict[str, Any]]:  # noqa: FBT001
    return [
        {
            "PartNumber": part.number,
            "ETag": f'"{part.tag}"',
            **({"ChecksumSHA256": base64_of_hex(part.sha256)} if with_sums else {}),
        }
        for part in parts
    ]


def _is_etag_of(md5: str, answer: dict[str, Any], tag: str) -> bool:
    """Whether the service's ETag is that of the data, or is no MD5 at all."""
    return not is_md5(tag) or not objects.has_content_etag(answer) or tag == md5

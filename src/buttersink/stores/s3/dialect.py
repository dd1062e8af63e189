"""What a service does with the parts of the protocol that not all of them know.

Some refuse a header, some take it and don't act on it. What matters is tried once, before the
first object is stored, by an upload that is never completed: nothing of it remains, and it needs
no more rights than storing does.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, Any, Final

from buttersink.stores.s3.digests import base64_md5, base64_sha256
from buttersink.stores.s3.errors import Fault, RequestError
from buttersink.stores.s3.settings import AES256, KMS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from buttersink.stores.s3.service import Service
    from buttersink.stores.s3.settings import S3Settings

_LOG: Final = logging.getLogger(__name__)

REFUSALS: Final = frozenset({Fault.UNSUPPORTED, Fault.INVALID})
"""How a service says that it does not know a header."""

_SUMMED: Final = {"ChecksumAlgorithm": "SHA256"}
_SAMPLE: Final = b"buttersink"


@dataclass(frozen=True, slots=True, kw_only=True)
class Traits:
    """What was found out.

    Attributes:
        encryption: The request for encryption that the service takes, as parameters of boto3.
        verifies_sha256: Whether a part whose SHA-256 is wrong is refused.
    """

    encryption: Mapping[str, str]
    verifies_sha256: bool


class Dialect:
    """What the service of one shelf understands. Several threads may ask at once.

    Attributes:
        notes: What a user should know about how the service falls short.
        takes_if_none_match: Whether the service takes `If-None-Match: *`. Whether it acts on it
            can't be found out without risk to an object: look for yourself before.
    """

    def __init__(self, service: Service, settings: S3Settings) -> None:
        self._service = service
        self._wanted = _encryption(settings.sse)
        self._may_drop = settings.sse == AES256
        self._class = {"StorageClass": settings.storage_class} if settings.storage_class else {}
        self._lock = Lock()
        self._traits: Traits | None = None
        self.notes: list[str] = []
        self.takes_if_none_match = True

    def traits(self, key: str) -> Traits:
        """Return what the service understands, found out by an upload to `key` if need be.

        Raises:
            ButterSinkError: Nothing can be stored there.
        """
        with self._lock:
            if self._traits is None:
                self._traits = self._try_out(key)
            return self._traits

    def encryption(self, key: str) -> dict[str, Any]:
        """Return the parameters for the encryption of a new object."""
        return dict(self.traits(key).encryption)

    def new_object(self, key: str) -> dict[str, Any]:
        """Return the parameters for a new object: encryption and storage class."""
        return {**self.encryption(key), **self._class}

    def sums(self, key: str) -> dict[str, Any]:
        """Return the parameters for an upload whose parts come with checksums of their own."""
        return dict(_SUMMED) if self.traits(key).verifies_sha256 else {}

    def _try_out(self, key: str) -> Traits:
        """Begin an upload with all that is wanted, or as much as is taken, and test a part."""
        ways = [(self._wanted, _SUMMED), (self._wanted, {})]
        if self._may_drop:
            ways += [({}, _SUMMED), ({}, {})]
        doing = f"storing {self._service.name}{key}"
        for encryption, sums in ways:
            is_last = (encryption, sums) == ways[-1]
            refusal: frozenset[Fault] = frozenset() if is_last else REFUSALS | {Fault.INTERNAL}
            try:
                upload_id = self._begin(doing, key, encryption, sums, refusal)
            except RequestError as error:
                _LOG.debug("%s: %s is refused: %s", doing, (encryption, sums), error.failure)
                continue
            try:
                verifies = bool(sums) and self._refuses_wrong_sum(doing, key, upload_id)
            finally:
                self._service.request(
                    "abort_multipart_upload",
                    doing,
                    expected=frozenset({Fault.NO_UPLOAD, Fault.MISSING}),
                    Key=key,
                    UploadId=upload_id,
                )
            if encryption != self._wanted:
                self._note(
                    f"{self._service.name}: the service can't encrypt what it stores (SSE-S3), so "
                    "it is not asked to"
                )
            return Traits(encryption=encryption, verifies_sha256=verifies)
        raise AssertionError(ways)  # the last way returns or raises

    def _begin(
        self,
        doing: str,
        key: str,
        encryption: Mapping[str, str],
        sums: Mapping[str, str],
        refusal: frozenset[Fault],
    ) -> str:
        """Begin an upload and return its id.

        An internal error can be the answer to a header (SeaweedFS without a store for keys), but
        also pass: it counts as a refusal only if it is there again.
        """
        parameters: dict[str, Any] = {"Key": key, **encryption, **sums, **self._class}
        for is_second in (False, True):
            try:
                answer = self._service.request(
                    "create_multipart_upload",
                    doing,
                    expected=refusal,
                    **parameters,
                )
            except RequestError as error:
                if is_second or error.failure.fault is not Fault.INTERNAL:
                    raise
                self._service.attempts().wait()
            else:
                return str(answer["UploadId"])
        raise AssertionError(parameters)  # the second time returns or raises

    def _refuses_wrong_sum(self, doing: str, key: str, upload_id: str) -> bool:
        """Whether a wrong SHA-256 is refused, and the right one taken."""
        part = {"Key": key, "UploadId": upload_id, "PartNumber": 1, "Body": _SAMPLE}
        for claimed, is_taken in ((_SAMPLE[::-1], False), (_SAMPLE, True)):
            try:
                self._service.request(
                    "upload_part",
                    doing,
                    expected=REFUSALS | {Fault.DIGEST, Fault.OTHER},
                    ChecksumSHA256=base64_sha256(claimed),
                    **part,
                )
            except RequestError:
                if is_taken:
                    return False
            else:
                if not is_taken:
                    return False
        return True

    def create_new(
        self, operation: str, doing: str, expected: frozenset[Fault], **parameters: Any
    ) -> dict[str, Any]:
        """Send a request that makes an object, with `If-None-Match: *` if that is taken.

        Raises:
            RequestError: It failed with one of the `expected` faults.
            ButterSinkError: It failed otherwise.
        """
        if self.takes_if_none_match:
            try:
                return self._service.request(
                    operation, doing, expected=expected | REFUSALS, IfNoneMatch="*", **parameters
                )
            except RequestError as error:
                if error.failure.fault not in REFUSALS:
                    raise
        answer = self._service.request(operation, doing, expected=expected, **parameters)
        self.takes_if_none_match = False  # it was only that header that it did not take
        return answer

    def _note(self, text: str) -> None:
        self.notes.append(text)
        _LOG.warning("%s", text)


def _encryption(sse: str) -> dict[str, str]:
    if sse == "none":
        return {}
    if sse == AES256:
        return {"ServerSideEncryption": AES256}
    key = sse.removeprefix(KMS).removeprefix(":")
    return {"ServerSideEncryption": KMS, **({"SSEKMSKeyId": key} if key else {})}


def md5_header(data: bytes | bytearray) -> dict[str, str]:
    """Return what makes almost every service verify a body."""
    return {"ContentMD5": base64_md5(data)}

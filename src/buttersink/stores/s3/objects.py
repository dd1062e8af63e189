"""Objects as the service tells of them: by a listing, or one by one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote_plus

from buttersink.stores.s3.errors import Fault, RequestError
from buttersink.stores.shelf import HeldPart, OpenUpload, ShelfObject

if TYPE_CHECKING:
    from collections.abc import Iterator

    from buttersink.stores.s3.service import Service

_ARCHIVES: Final = frozenset({"GLACIER", "DEEP_ARCHIVE"})
_PAGE: Final = 1000
_KMS: Final = "aws:kms"


def listed(service: Service, prefix: str) -> list[ShelfObject]:
    """Return all objects whose keys begin with `prefix`, in the order of the keys' bytes."""
    found: list[ShelfObject] = []
    page: dict[str, Any] = {}
    while True:
        more = {"ContinuationToken": page["NextContinuationToken"]} if page else {}
        page = service.request(
            "list_objects_v2",
            f"listing {service.name}{prefix}",
            Prefix=prefix,
            MaxKeys=_PAGE,
            # Asked for here, or else boto3 asks and decodes: with errors for what is not UTF-8.
            EncodingType="url",
            **more,
        )
        is_encoded = page.get("EncodingType") == "url"
        for entry in page.get("Contents", ()):
            key = entry["Key"]
            if is_encoded:
                key = unquote_plus(key, errors="surrogateescape")
            if key.startswith(prefix):
                found.append(
                    ShelfObject(
                        key=key,
                        nbytes=entry["Size"],
                        modified=entry["LastModified"],
                        etag=bare_etag(entry),
                        archived=entry.get("StorageClass") in _ARCHIVES,
                    )
                )
        if not page.get("IsTruncated") or not page.get("NextContinuationToken"):
            break
    # AWS has them in order; SeaweedFS lists directory by directory, S3 Express in no order.
    found.sort(key=lambda thing: thing.key.encode(errors="surrogateescape"))
    return found


def open_uploads(service: Service, prefix: str) -> Iterator[OpenUpload]:
    """Yield the open uploads whose keys begin with `prefix`, with the bytes of their parts."""
    for entry in _upload_entries(service, prefix):
        key, upload_id = entry["Key"], entry["UploadId"]
        try:
            parts = part_entries(service, key, upload_id)
        except RequestError:
            continue  # ended since it was listed
        nbytes = sum(part.nbytes for part in _last_of_each(parts).values())
        yield OpenUpload(key=key, upload_id=upload_id, started=entry["Initiated"], nbytes=nbytes)


def part_entries(service: Service, key: str, upload_id: str) -> list[tuple[int, HeldPart]]:
    """Return the numbered parts of an open upload; a number may come more than once.

    Raises:
        RequestError: There is no such upload.
    """
    parts: list[tuple[int, HeldPart]] = []
    after = 0
    while True:
        page = service.request(
            "list_parts",
            f"asking for the parts of the upload to {service.name}{key}",
            expected=frozenset({Fault.NO_UPLOAD, Fault.MISSING}),
            Key=key,
            UploadId=upload_id,
            PartNumberMarker=after,
        )
        for entry in page.get("Parts", ()):
            held = HeldPart(nbytes=entry["Size"], tag=bare_etag(entry))
            parts.append((entry["PartNumber"], held))
        last = page.get("NextPartNumberMarker", after)
        if not page.get("IsTruncated") or last <= after:
            return parts
        after = last


def unambiguous(parts: list[tuple[int, HeldPart]]) -> dict[int, HeldPart]:
    """Return the parts that are listed in one way only.

    SeaweedFS lists a part that was sent again once for each time, in no useful order; sending
    such a part once more is cheaper than an object that is not what it should be.
    """
    last = _last_of_each(parts)
    doubtful = {number for number, part in parts if part != last[number]}
    return {number: part for number, part in last.items() if number not in doubtful}


def _last_of_each(parts: list[tuple[int, HeldPart]]) -> dict[int, HeldPart]:
    return dict(parts)


def head(service: Service, key: str, *, etag: str = "") -> dict[str, Any] | None:
    """Return what the service tells of an object; None if there is none of this key and ETag."""
    condition = {"IfMatch": f'"{etag}"'} if etag else {}
    try:
        return service.request(
            "head_object",
            f"looking at {service.name}{key}",
            expected=frozenset({Fault.MISSING, Fault.PRECONDITION}),
            Key=key,
            ChecksumMode="ENABLED",
            **condition,
        )
    except RequestError:
        return None


def told(key: str, answer: dict[str, Any]) -> ShelfObject:
    """Return the object that an answer to `head` tells of."""
    return ShelfObject(
        key=key,
        nbytes=answer["ContentLength"],
        modified=answer["LastModified"],
        etag=bare_etag(answer),
        archived=is_archived(answer),
    )


def is_archived(answer: dict[str, Any]) -> bool:
    """Whether an object must be thawed before it can be read, or had to be."""
    return answer.get("StorageClass") in _ARCHIVES or bool(answer.get("ArchiveStatus"))


def why_unreadable(answer: dict[str, Any]) -> str:
    """Return why an object can't be read now; empty if it can.

    Of the class INTELLIGENT_TIERING only such a request tells whether it is archived.
    """
    if not is_archived(answer):
        return ""
    # 'ongoing-request="true"', or 'ongoing-request="false", expiry-date="..."'
    match str(answer.get("Restore", "")).partition(",")[0].replace('"', ""):
        case "ongoing-request=true":
            return "it is being thawed"
        case "ongoing-request=false":
            return ""
    where = answer.get("ArchiveStatus") or answer.get("StorageClass")
    return f"it is archived ({where})"


def bare_etag(answer: dict[str, Any]) -> str:
    """Return an entity tag without its quotes; empty if there is none."""
    return str(answer.get("ETag", "")).strip('"')


def has_content_etag(answer: dict[str, Any]) -> bool:
    """Whether the ETag may be an MD5: it is not of what is encrypted with a key of KMS."""
    return not str(answer.get("ServerSideEncryption", "")).startswith(_KMS)


def _upload_entries(service: Service, prefix: str) -> Iterator[dict[str, Any]]:
    """Yield the entries of all pages.

    Keys come as they are: SeaweedFS claims to encode them when asked to, but does not.
    """
    seen: set[tuple[str, str]] = set()
    after: dict[str, Any] = {}
    while True:
        page = service.request(
            "list_multipart_uploads",
            f"listing uploads to {service.name}{prefix}",
            Prefix=prefix,
            MaxUploads=_PAGE,
            **after,
        )
        entries = [
            entry
            for entry in page.get("Uploads", ())
            if (entry["Key"], entry["UploadId"]) not in seen
        ]
        yield from (entry for entry in entries if entry["Key"].startswith(prefix))
        if not page.get("IsTruncated") or not entries:
            return
        seen.update((entry["Key"], entry["UploadId"]) for entry in entries)
        # SeaweedFS says that there is more, but not after what: after the last one, then.
        after = {
            "KeyMarker": page.get("NextKeyMarker") or entries[-1]["Key"],
            "UploadIdMarker": page.get("NextUploadIdMarker") or entries[-1]["UploadId"],
        }

"""Digests, as S3 writes them."""

from __future__ import annotations

import base64
import hashlib
import re
from typing import TYPE_CHECKING, Any, Final

from buttersink.stores.s3.objects import bare_etag, has_content_etag

if TYPE_CHECKING:
    from collections.abc import Sequence

    from buttersink.stores.shelf import SentPart

_MD5: Final = re.compile(r"[0-9a-f]{32}")
_MULTIPART: Final = re.compile(r"[0-9a-f]{32}-\d+")


def md5_hex(data: bytes | bytearray) -> str:
    """Return the MD5 as hex digits, as ETags have it."""
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def base64_md5(data: bytes | bytearray) -> str:
    """Return the MD5 as `Content-MD5` has it."""
    return base64.b64encode(bytes.fromhex(md5_hex(data))).decode()


def base64_sha256(data: bytes) -> str:
    """Return the SHA-256 as `x-amz-checksum-sha256` has it."""
    return base64.b64encode(hashlib.sha256(data).digest()).decode()


def base64_of_hex(digest: str) -> str:
    """Return a digest of hex digits as headers have it."""
    return base64.b64encode(bytes.fromhex(digest)).decode()


def is_md5(tag: str) -> bool:
    """Whether an ETag looks like the MD5 of what it tags."""
    return _MD5.fullmatch(tag) is not None


def multipart_etag(tags: Sequence[str]) -> str:
    """Return the ETag of an object of these parts: the MD5 of their MD5s; empty if unknown."""
    if not all(map(is_md5, tags)):
        return ""
    return f"{md5_hex(b''.join(map(bytes.fromhex, tags)))}-{len(tags)}"


def composite_sha256(digests: Sequence[str]) -> str:
    """Return the checksum of an object of parts with these SHA-256s, of hex digits."""
    return f"{base64_sha256(b''.join(map(bytes.fromhex, digests)))}-{len(digests)}"


def what_differs(answer: dict[str, Any], parts: Sequence[SentPart]) -> str:
    """Return how a completed object is not what was sent; empty if it is, as far as is known.

    Args:
        answer: What the service tells of the object.
        parts: What it was made of.
    """
    nbytes = sum(part.nbytes for part in parts)
    if answer["ContentLength"] != nbytes:
        return f"it has {answer['ContentLength']} bytes instead of {nbytes}"
    checksum = str(answer.get("ChecksumSHA256", ""))
    if "-" in checksum and all(part.sha256 for part in parts):  # with a dash it is one of parts
        expected = composite_sha256([part.sha256 for part in parts])
        return "" if checksum == expected else "its checksum is wrong"
    etag, expected = bare_etag(answer), multipart_etag([part.tag for part in parts])
    if expected and _MULTIPART.fullmatch(etag) and has_content_etag(answer) and etag != expected:
        return "its ETag is not that of the parts"
    return ""

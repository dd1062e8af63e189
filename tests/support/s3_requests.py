"""Which operation of S3 an HTTP request is (path-style addresses)."""

from __future__ import annotations

from urllib.parse import parse_qsl, urlsplit

_OBJECT = {
    "PUT": "PutObject",
    "GET": "GetObject",
    "HEAD": "HeadObject",
    "DELETE": "DeleteObject",
}
_BUCKET = {
    "PUT": "CreateBucket",
    "GET": "ListObjects",
    "HEAD": "HeadBucket",
    "DELETE": "DeleteBucket",
}
_UPLOAD = {
    "PUT": "UploadPart",
    "GET": "ListParts",
    "POST": "CompleteMultipartUpload",
    "DELETE": "AbortMultipartUpload",
}
_POSTED = {"uploads": "CreateMultipartUpload", "restore": "RestoreObject"}
_SUBRESOURCES = frozenset(
    {"acl", "cors", "encryption", "legal-hold", "lifecycle", "location", "object-lock", "policy"}
    | {"retention", "tagging", "versioning", "versions"}
)


def operation(method: str, target: str, *, copies: bool) -> str:
    """Return the name that AWS has for an operation.

    Args:
        method: Of the request.
        target: Path and query.
        copies: Whether there is a header x-amz-copy-source.
    """
    parts = urlsplit(target)
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    bucket, _, key = parts.path.removeprefix("/").partition("/")
    if asides := _SUBRESOURCES & query.keys():
        return f"{method} {min(asides)}"
    if not bucket:
        return "ListBuckets"
    if not key:
        return _of_bucket(method, query)
    if method == "POST" and (posted := _POSTED.keys() & query.keys()):
        return _POSTED[min(posted)]
    found = (_UPLOAD if "uploadId" in query else _OBJECT).get(method, method)
    return {"UploadPart": "UploadPartCopy", "PutObject": "CopyObject"}[found] if copies else found


def _of_bucket(method: str, query: dict[str, str]) -> str:
    if method == "POST" and "delete" in query:
        return "DeleteObjects"
    if method == "GET" and "uploads" in query:
        return "ListMultipartUploads"
    if method == "GET" and query.get("list-type") == "2":
        return "ListObjectsV2"
    return _BUCKET.get(method, method)

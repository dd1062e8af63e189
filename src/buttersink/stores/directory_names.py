"""What the hidden files of a directory of objects are called, and what their names tell: pure.

Beside the file that an upload is to become there are, until it is complete:

    .buttersink-upload-<hash of the key>.<upload id>   its bytes
    .buttersink-upload-<hash of the key>.journal       what the caller has recorded of it

The upload id stands in the name, so that one upload can't be taken for another of the same key.
It begins with the time when the upload was begun: not every file system keeps that.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from buttersink.errors import UsageError
from buttersink.stores.beneath import split

HIDDEN: Final = ".buttersink-"
"""What has a component that begins so is no object."""

TRASH: Final = "trash"

_TIME: Final = "%Y%m%dT%H%M%SZ"
_UPLOAD: Final = re.compile(
    r"\.buttersink-upload-(?P<digest>[0-9a-f]{32})\.(?P<id>(?P<time>\d{8}T\d{6}Z)-[0-9a-f]{8})"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadName:
    """The name of a file that is being uploaded.

    Attributes:
        digest: The hash of the key that it is to become.
        upload_id: Tells it from others of the same key.
    """

    digest: str
    upload_id: str

    def __str__(self) -> str:
        return f"{HIDDEN}upload-{self.digest}.{self.upload_id}"

    @property
    def journal(self) -> str:
        """The name of the file beside it in which the caller keeps its record."""
        return f"{HIDDEN}upload-{self.digest}.journal"

    @classmethod
    def parse(cls, name: str) -> UploadName | None:
        """Return what a file name tells; None if it is not of an upload."""
        match = _UPLOAD.fullmatch(name)
        return match and cls(digest=match["digest"], upload_id=match["id"])

    def started(self) -> datetime | None:
        """Return when it was begun; None if that is no time."""
        try:
            return datetime.strptime(self.upload_id.partition("-")[0], _TIME).replace(tzinfo=UTC)
        except ValueError:
            return None


def new_upload(key: str) -> UploadName:
    """Return a name that no other upload has."""
    return UploadName(
        digest=key_digest(key),
        upload_id=f"{datetime.now(UTC).strftime(_TIME)}-{secrets.token_hex(4)}",
    )


def open_upload(key: str, upload_id: str) -> UploadName:
    """Return the name of the upload to `key` that is called `upload_id`.

    Where the key was not known, `Shelf.uploads` gave the upload's own path for it.

    Raises:
        UsageError: It is no upload id.
    """
    own = UploadName.parse(key.rpartition("/")[2])
    if own is not None and own.upload_id == upload_id:
        return own
    name = UploadName(digest=key_digest(key), upload_id=upload_id)
    if UploadName.parse(str(name)) is None:
        raise UsageError(f"{upload_id!r} is not the id of an upload to a directory")
    return name


def key_digest(key: str) -> str:
    """Return what stands for a key in the name of a file: 32 hex digits."""
    return hashlib.sha256(os.fsencode(key)).hexdigest()[:32]


def split_key(key: str) -> tuple[list[str], str]:
    """Split a key into the directories that lead to its file, and the file's name.

    Raises:
        UsageError: It is no key of an object: it has an empty, hidden or leading-away component.
    """
    if is_hidden(key):
        raise UsageError(f"{key!r}: names that begin with {HIDDEN} are kept for what is unfinished")
    return split(key)


def split_prefix(prefix: str) -> tuple[list[str], str]:
    """Split a prefix of keys into whole directories, and how names in the last one begin.

    Raises:
        UsageError: A directory has no possible name.
    """
    directories, _, start = prefix.rpartition("/")
    if "/" not in prefix:
        return [], start
    parents, name = split(directories)
    return [*parents, name], start


def is_hidden(key: str) -> bool:
    """Tell whether a key path is of something unfinished, or leads through it."""
    return key.startswith(HIDDEN) or f"/{HIDDEN}" in key

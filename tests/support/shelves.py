"""What is done to shelves behind a store's back, and what is found out there."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from buttersink.stored.journal import (
    FORMAT,
    JournalHeader,
    JournalPart,
    encode_header,
    encode_part,
)
from buttersink.stored.parts import schedule

if TYPE_CHECKING:
    from buttersink.model import Diff
    from buttersink.stores.shelf import Shelf


def leave_upload(shelf: Shelf, key: str, diff: Diff, *, library: str = "another") -> str:
    """Leave what is left if a run is killed while it uploads; return the upload's id.

    Args:
        shelf: Where.
        key: Of the object.
        diff: What it was to hold.
        library: What had compressed it.
    """
    upload = shelf.begin(key)
    base = max(shelf.part_limits.least, 1000)
    data = bytes(base)
    sha256 = hashlib.sha256(data).hexdigest()
    tag = upload.put(1, 0, data, sha256)
    header = JournalHeader(
        format=FORMAT,
        key=key,
        upload_id=upload.upload_id,
        to=diff.to,
        parent=diff.parent,
        version=1,
        compressed=False,
        level=3,
        frame_bytes=1 << 22,
        library=library,
        schedule=schedule(base, None, shelf.part_limits),
    )
    part = JournalPart(number=1, nbytes=len(data), sha256=sha256, tag=tag)
    with open(shelf.journal_path(key), "wb") as file:
        file.write(encode_header(header) + encode_part(part))
    return upload.upload_id

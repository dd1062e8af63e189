"""What a caller does to upload an object, with the journal it keeps."""

from __future__ import annotations

import hashlib
import os
from random import Random
from typing import TYPE_CHECKING
from uuid import UUID

from buttersink.stored.journal import (
    FORMAT,
    JournalHeader,
    JournalPart,
    encode_header,
    encode_part,
)
from buttersink.stored.parts import schedule
from buttersink.stores.shelf import SentPart

if TYPE_CHECKING:
    from collections.abc import Iterable

    from buttersink.stores.shelf import Shelf, ShelfObject, Upload

LAST_BYTES = 1000
"""Size of the parts that `content` makes at the end."""


def content(shelf: Shelf, count: int, *, seed: int = 0) -> list[bytes]:
    """Return parts that the shelf takes, as small as may be, all different."""
    random = Random(seed)
    nbytes = part_bytes(shelf)
    return [random.randbytes(nbytes) for _ in range(count - 1)] + [random.randbytes(LAST_BYTES)]


def part_bytes(shelf: Shelf) -> int:
    """Return the size of the parts that `content` makes, but for the last."""
    return max(shelf.part_limits.least, LAST_BYTES)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def send(
    upload: Upload, pieces: list[bytes], numbers: Iterable[int] | None = None
) -> list[SentPart]:
    """Send parts of the object that `pieces` make: those of these numbers, or all."""
    sent = []
    for number in range(1, len(pieces) + 1) if numbers is None else numbers:
        data = pieces[number - 1]
        offset = sum(map(len, pieces[: number - 1]))
        tag = upload.put(number, offset, data, sha256(data))
        sent.append(SentPart(number=number, nbytes=len(data), sha256=sha256(data), tag=tag))
    return sent


def record(shelf: Shelf, key: str, upload: Upload, sent: list[SentPart]) -> None:
    """Write the journal of an upload of which these parts were sent."""
    header = JournalHeader(
        format=FORMAT,
        key=key,
        upload_id=upload.upload_id,
        to=UUID(int=1),
        parent=None,
        version=1,
        compressed=False,
        level=None,
        frame_bytes=None,
        library="",
        schedule=schedule(part_bytes(shelf), None, shelf.part_limits),
    )
    path = shelf.journal_path(key)
    with open(f"{path}.new", "wb") as file:  # a kill must not find it half written
        file.write(encode_header(header))
        file.writelines(
            encode_part(
                JournalPart(
                    number=part.number, nbytes=part.nbytes, sha256=part.sha256, tag=part.tag
                )
            )
            for part in sent
        )
    os.replace(f"{path}.new", path)


def keys(shelf: Shelf, prefix: str = "") -> list[str]:
    return [thing.key for thing in shelf.objects(prefix)]


def store(shelf: Shelf, key: str, data: bytes = b"content") -> ShelfObject:
    """Put a small object and return it as it is listed."""
    shelf.put(key, data)
    return listed(shelf, key)


def listed(shelf: Shelf, key: str) -> ShelfObject:
    (thing,) = (thing for thing in shelf.objects(key) if thing.key == key)
    return thing


def whole(shelf: Shelf, thing: ShelfObject) -> bytes:
    return shelf.read(thing, 0, thing.nbytes)


def sorted_as_bytes(found: Iterable[str]) -> list[str]:
    return sorted(found, key=os.fsencode)

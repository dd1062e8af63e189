"""Uploads that the tests make."""

from __future__ import annotations

import hashlib
import random
from typing import TYPE_CHECKING

from buttersink.stores.shelf import SentPart

if TYPE_CHECKING:
    from collections.abc import Sequence

    from buttersink.stores.s3.shelf import S3Shelf
    from buttersink.stores.shelf import ShelfObject, Upload

LEAST_PART = 5 << 20


def noise(nbytes: int, seed: int = 0) -> bytes:
    return random.Random(seed).randbytes(nbytes)


def sha256(data: bytes | bytearray) -> str:
    return hashlib.sha256(data).hexdigest()


def send(upload: Upload, pieces: Sequence[bytes | bytearray]) -> list[SentPart]:
    """Send the parts of an object, from the first on."""
    sent, offset = [], 0
    for number, piece in enumerate(pieces, 1):
        tag = upload.put(number, offset, piece, sha256(piece))
        sent.append(SentPart(number=number, nbytes=len(piece), sha256=sha256(piece), tag=tag))
        offset += len(piece)
    return sent


def store(shelf: S3Shelf, key: str, pieces: Sequence[bytes | bytearray]) -> ShelfObject:
    """Store an object of these parts."""
    upload = shelf.begin(key)
    return upload.complete(send(upload, pieces))


def stored(shelf: S3Shelf, key: str) -> ShelfObject:
    """Return an object that must be there."""
    thing = shelf.stat(key)
    assert thing is not None
    return thing


def content(shelf: S3Shelf, key: str) -> bytes:
    thing = stored(shelf, key)
    return shelf.read(thing, 0, thing.nbytes)

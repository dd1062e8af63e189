"""Making the receipt of a stream that was just stored."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from buttersink.stored.receipt import (
    FORMAT,
    ObjectFacts,
    PartFacts,
    Receipt,
    SnapshotFacts,
    StreamFacts,
)
from buttersink.stored.seekable import FRAME_BYTES
from buttersink.version import __version__

if TYPE_CHECKING:
    from collections.abc import Iterable

    from buttersink.model import Diff, Snapshot
    from buttersink.stores.cutting import Sums
    from buttersink.stores.shelf import SentPart


def make_receipt(
    diff: Diff,
    path: str,
    *,
    sums: Sums,
    parts: Iterable[SentPart],
    version: int,
    compressed: bool,
    level: int | None,
    snapshot: Snapshot | None,
) -> Receipt:
    """Return what is known about a stored stream.

    Args:
        diff: What it makes from what.
        path: Of the snapshot, below the prefix.
        sums: Sizes and hashes.
        parts: Of the object.
        version: Of the send stream.
        compressed: Whether file data may stand in it compressed.
        level: zstd's level; None if it is stored as it is.
        snapshot: What its source knows of it.
    """
    return Receipt(
        format=FORMAT,
        writer=f"buttersink {__version__}",
        written=datetime.now(UTC),
        snapshot=SnapshotFacts(
            uuid=diff.to,
            parent=diff.parent,
            path=path,
            created=snapshot.created if snapshot else None,
            generation=snapshot.generation if snapshot else None,
            origin_generation=snapshot.origin_generation if snapshot else None,
            ancestor=snapshot.ancestor if snapshot else None,
        ),
        stream=StreamFacts(
            sha256=sums.stream_sha256,
            nbytes=sums.stream_bytes,
            version=version,
            compressed=compressed,
        ),
        object_=ObjectFacts(
            sha256=sums.object_sha256,
            nbytes=sums.object_bytes,
            compression="none" if level is None else "zstd",
            level=level,
            frame_bytes=None if level is None else FRAME_BYTES,
        ),
        parts=tuple(PartFacts(nbytes=part.nbytes, sha256=part.sha256) for part in parts),
    )

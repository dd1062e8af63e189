"""The receipt beside a stored stream: what was stored, so that a restore can be checked by it.

JSON in UTF-8. Fields may be added to a format; a reader passes over those that it does not know.
A format of a higher number may mean anything, and is not read.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Final, Literal
from uuid import UUID  # noqa: TC003 - msgspec reads the annotations

import msgspec
from msgspec import Meta

from buttersink.model import Diff
from buttersink.stored.quoting import quote, unquote

FORMAT: Final = 1

MAX_RECEIPT_BYTES: Final = 4 << 20
"""What is larger is no receipt: one of 10,000 parts has 1 MB."""

_Count = Annotated[int, Meta(ge=0, le=2**63 - 1)]
_Number = Annotated[int, Meta(ge=0, le=2**63 - 1)]
_Sha256 = Annotated[str, Meta(pattern="^[0-9a-f]{64}\\Z")]
_Time = Annotated[datetime, Meta(tz=True)]


class StreamFacts(msgspec.Struct, frozen=True, kw_only=True, rename={"nbytes": "bytes"}):
    """The plain send stream.

    Attributes:
        sha256: Of all of it, to the end of its END command; 64 hex digits.
        nbytes: Its bytes.
        version: Of the stream's format.
        compressed: Whether file data may stand in it compressed, as it is on the disk.
    """

    sha256: _Sha256
    nbytes: _Count
    version: Annotated[int, Meta(ge=1, le=2**32 - 1)]
    compressed: bool = False


class ObjectFacts(msgspec.Struct, frozen=True, kw_only=True, rename={"nbytes": "bytes"}):
    """The object as it is stored.

    Attributes:
        sha256: Of all of it; 64 hex digits.
        nbytes: Its bytes.
        compression: `none` if it is the plain stream, or `zstd`.
        level: Of zstd.
        frame_bytes: Bytes of the plain stream in each frame but the last.
    """

    sha256: _Sha256
    nbytes: _Count
    compression: Literal["none", "zstd"]
    level: int | None = None
    frame_bytes: _Count | None = None


class PartFacts(msgspec.Struct, frozen=True, kw_only=True, rename={"nbytes": "bytes"}):
    """A part that the object was uploaded in: its bytes, and their SHA-256."""

    nbytes: _Count
    sha256: _Sha256


class SnapshotFacts(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The snapshot that the stream makes.

    Attributes:
        uuid: Its identity.
        path: Where it was stored below the prefix. In JSON always percent-encoded.
        parent: Identity of what the stream builds on; None if it is full.
        created: When the source got it.
        generation: Its place in the order of the source's snapshots.
        origin_generation: The place where it was made.
        ancestor: Identity of the snapshot that it was made after, as the source sees it.
    """

    uuid: UUID
    path: str
    parent: UUID | None = None
    created: _Time | None = None
    generation: _Count | None = None
    origin_generation: _Count | None = None
    ancestor: UUID | None = None


class Receipt(msgspec.Struct, frozen=True, kw_only=True, rename={"object_": "object"}):
    """All that is known about a stored stream.

    Attributes:
        format: Of the receipt.
        writer: Name and version of the program.
        written: When the object was complete.
        snapshot: What the stream makes.
        stream: The plain stream.
        object_: The object.
        parts: In their order; empty if they are not known.
        manifest_sha256: Of the list of the snapshot's files and their contents, if one was made.
    """

    format: Annotated[int, Meta(ge=FORMAT, le=FORMAT)]
    writer: str
    written: _Time
    snapshot: SnapshotFacts
    stream: StreamFacts
    object_: ObjectFacts
    parts: tuple[PartFacts, ...] = ()
    manifest_sha256: _Sha256 | None = None

    def __post_init__(self) -> None:
        """Refuse numbers that contradict each other.

        Raises:
            ValueError: They do.
        """
        if self.parts and sum(part.nbytes for part in self.parts) != self.object_.nbytes:
            raise ValueError("the parts are not those of the object")
        if self.object_.compression == "none" and (
            (self.object_.nbytes, self.object_.sha256) != (self.stream.nbytes, self.stream.sha256)
        ):
            raise ValueError("the object is not compressed, and yet not the stream")

    def describes(self, diff: Diff, object_bytes: int) -> bool:
        """Whether this is the receipt of an object of so many bytes that holds `diff`."""
        mine = Diff(self.snapshot.uuid, self.snapshot.parent)
        return (mine, self.object_.nbytes) == (diff, object_bytes)


class _Envelope(msgspec.Struct):
    """What receipts of all formats have in common."""

    format: int


@dataclass(frozen=True, slots=True)
class NoReceipt:
    """What was read is no receipt that could be used, and why."""

    reason: str


def encode_receipt(receipt: Receipt) -> bytes:
    """Return a receipt as it is stored.

    Raises:
        ValueError: The path has surrogates that stand for no byte.
    """
    snapshot = msgspec.structs.replace(receipt.snapshot, path=quote(receipt.snapshot.path))
    return msgspec.json.encode(msgspec.structs.replace(receipt, snapshot=snapshot)) + b"\n"


def decode_receipt(data: bytes) -> Receipt | NoReceipt:
    """Read a receipt. What comes from elsewhere may be anything, so that nothing is raised.

    A stream whose receipt can't be used can still be restored: it has checksums of its own.
    """
    if len(data) > MAX_RECEIPT_BYTES:
        return NoReceipt(f"it has {len(data)} bytes")
    try:
        found = msgspec.json.decode(data, type=_Envelope).format
        if found != FORMAT:
            return NoReceipt(f"it is of format {found}; this program reads format {FORMAT}")
        receipt = msgspec.json.decode(data, type=Receipt)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        return NoReceipt(str(error))
    path = unquote(receipt.snapshot.path)
    if path is None:
        return NoReceipt("its path is not encoded as it should be")
    snapshot = msgspec.structs.replace(receipt.snapshot, path=path)
    return msgspec.structs.replace(receipt, snapshot=snapshot)

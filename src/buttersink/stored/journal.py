"""The record of an unfinished upload, by which it can be resumed: lines of JSON.

The first line says how the object is made, so that it can be made again to the byte. Each line
after it is a part that the service has taken. Lines are only ever appended, so that whatever
happens only the last one can be incomplete.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Final
from uuid import UUID  # noqa: TC003 - msgspec reads the annotations

import msgspec
from msgspec import Meta

from buttersink.stored.parts import PartSchedule  # noqa: TC001 - msgspec reads the annotations
from buttersink.stored.quoting import quote, unquote

if TYPE_CHECKING:
    from collections.abc import Mapping

FORMAT: Final = 1


class JournalHeader(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the bytes of an object and of its parts depend on.

    Attributes:
        format: Of the journal.
        key: Of the object. In JSON percent-encoded, like `upload_id`.
        upload_id: What the shelf calls the upload.
        to: The snapshot that the stream makes.
        parent: What it builds on; None if it is full.
        version: Of the send stream.
        compressed: Whether file data may stand in it compressed.
        level: Of zstd; None if the object is the plain stream.
        frame_bytes: Plain bytes of each zstd frame.
        library: Names and versions of what compresses: others may make other bytes.
        schedule: The sizes of the parts.
    """

    format: Annotated[int, Meta(ge=FORMAT, le=FORMAT)]
    key: str
    upload_id: str
    to: UUID
    parent: UUID | None
    version: Annotated[int, Meta(ge=1, le=2**32 - 1)]
    compressed: bool
    level: int | None
    frame_bytes: Annotated[int, Meta(ge=1, le=2**63 - 1)] | None
    library: str
    schedule: PartSchedule


class JournalPart(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    rename={"nbytes": "bytes"},
):
    """A part that the service has taken.

    Attributes:
        number: From 1.
        nbytes: Its bytes.
        sha256: Of its bytes; 64 hex digits.
        tag: What the service calls its content.
    """

    number: Annotated[int, Meta(ge=1)]
    nbytes: Annotated[int, Meta(ge=0)]
    sha256: Annotated[str, Meta(pattern="^[0-9a-f]{64}\\Z")]
    tag: str


@dataclass(frozen=True, slots=True)
class Journal:
    """What is recorded of an upload.

    Attributes:
        header: How the object is made.
        parts: Those taken, by number.
        nbytes: Bytes of the whole lines. What is behind them has to be cut off before more
            lines are appended.
    """

    header: JournalHeader
    parts: Mapping[int, JournalPart]
    nbytes: int


def encode_header(header: JournalHeader) -> bytes:
    """Return the first line.

    Raises:
        ValueError: The key has surrogates that stand for no byte.
    """
    quoted = msgspec.structs.replace(
        header, key=quote(header.key), upload_id=quote(header.upload_id)
    )
    return msgspec.json.encode(quoted) + b"\n"


def encode_part(part: JournalPart) -> bytes:
    """Return the line of a part. A later line of a number stands in for an earlier one."""
    return msgspec.json.encode(part) + b"\n"


def parse_journal(data: bytes) -> Journal | None:
    """Read a journal.

    What follows the last line end was not written to its end, and is passed over. Anything else
    that is not as it should be makes all of it worthless, since an upload may only be gone on
    with if there is no doubt: then None is returned.
    """
    nbytes = data.rfind(b"\n") + 1
    lines = data[:nbytes].split(b"\n")[:-1]
    if not lines:
        return None
    try:
        header = msgspec.json.decode(lines[0], type=JournalHeader)
        found = [msgspec.json.decode(line, type=JournalPart) for line in lines[1:]]
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    key, upload_id = unquote(header.key), unquote(header.upload_id)
    parts = {part.number: part for part in found}
    if key is None or upload_id is None or not _fit(parts, header.schedule):
        return None
    return Journal(msgspec.structs.replace(header, key=key, upload_id=upload_id), parts, nbytes)


def _fit(parts: Mapping[int, JournalPart], schedule: PartSchedule) -> bool:
    """Whether all parts are as large as they must be; the highest may be the last, and shorter."""
    highest = max(parts, default=1)
    return highest <= schedule.count and all(
        part.nbytes == schedule.size(number)
        or (number == highest and part.nbytes < schedule.size(number))
        for number, part in parts.items()
    )

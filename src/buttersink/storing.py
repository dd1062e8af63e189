"""How streams are to be stored, and where: what the user chose, as a frozen value. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from buttersink.errors import UsageError

DEFAULT_LEVEL: Final = 3
"""zstd's own default: more costs much time and gains little on file data."""

DEFAULT_JOBS: Final = 4
"""More threads gain nothing on two to four cores, and each costs the memory of a part."""

DEFAULT_LINKS: Final = 60
DEFAULT_FACTOR: Final = 2.0
"""The limits of a chain; docs/cost-model.md says why these."""

_COMPRESSION: Final = re.compile(r"none|zstd(?::(?P<level>\d{1,2}))?")
_LEVELS: Final = range(1, 20)
"""Above 19 zstd wants --ultra, and much memory for restoring."""

_SSE: Final = re.compile(r"none|AES256|aws:kms(?::.+)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Storing:
    """The user's choices about stored streams.

    Attributes:
        level: zstd's level; None for streams that are stored as they are.
        part_mib: Size of the parts of an upload; None for the default.
        jobs: How many parts or ranges are under way at a time.
        trash: Whether what is removed goes to `trash/` instead of nowhere.
        whole_bucket: Whether streams outside the prefix may serve, too.
        max_chain: Streams in a chain at most.
        max_restore: Bytes of a chain at most, in multiples of the full stream.
        stream_version: Of streams made for storing: 1, which every `btrfs receive` reads, or 2.
        max_parts: Of an upload; None for what Amazon allows.
        endpoint_url: Of the S3 service; None for what the environment says.
        storage_class: Of new objects; None for the bucket's default.
        sse: Encryption asked for: AES256, aws:kms[:KEY] or none.
        thaw_days: Ask for archived objects that are needed, for so many days; None not to.
    """

    level: int | None = DEFAULT_LEVEL
    part_mib: int | None = None
    jobs: int = DEFAULT_JOBS
    trash: bool = True
    whole_bucket: bool = False
    max_chain: int = DEFAULT_LINKS
    max_restore: float = DEFAULT_FACTOR
    stream_version: int = 1
    max_parts: int | None = None
    endpoint_url: str | None = None
    storage_class: str | None = None
    sse: str = "AES256"
    thaw_days: int | None = None


def parse_compression(text: str) -> int | None:
    """Return the level that `none`, `zstd` or `zstd:LEVEL` means; None for none.

    Raises:
        UsageError: It is none of these.
    """
    match = _COMPRESSION.fullmatch(text)
    if match is None:
        raise UsageError(f"{text!r} is no compression", "write none, zstd, or zstd:1 to zstd:19")
    if text == "none":
        return None
    level = int(match["level"] or DEFAULT_LEVEL)
    if level not in _LEVELS:
        raise UsageError(f"{text!r}: zstd has levels 1 to 19 here")
    return level


def parse_sse(text: str) -> str:
    """Return what kind of encryption is meant.

    Raises:
        UsageError: It is none that S3 has.
    """
    if not _SSE.fullmatch(text):
        raise UsageError(f"{text!r} is no encryption", "write AES256, aws:kms, aws:kms:KEY or none")
    return text

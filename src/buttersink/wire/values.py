"""The values that messages carry, as they travel: those of `model`, and types of fields."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Final
from uuid import UUID  # noqa: TC003 - msgspec reads the types of fields

import msgspec
from msgspec import Meta

Count = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Path = Annotated[bytes, Meta(max_length=64 << 10)]
Text = Annotated[bytes, Meta(max_length=256 << 10)]
Time = Annotated[datetime, Meta(tz=True)]
Word = Annotated[str, Meta(max_length=200)]

MAX_ASKED: Final = 100_000
"""Of how many things one request may ask: the server does nothing else meanwhile."""


class Options(msgspec.Struct, frozen=True, array_like=True):
    """See `model.StreamOptions`."""

    version: Annotated[int, Meta(ge=1, le=2**32 - 1)]
    compressed: bool


class DiffAsked(msgspec.Struct, frozen=True, array_like=True):
    """See `model.Diff`; with the limit of `Source.measure`."""

    to: UUID
    parent: UUID | None
    limit: Count | None = None


class SpanFacts(msgspec.Struct, frozen=True, array_like=True):
    """See `model.Span`."""

    end: Count
    digest: Annotated[bytes, Meta(max_length=64)]


class Place(msgspec.Struct, frozen=True, array_like=True):
    """See `model.Position`."""

    plain_bytes: Count
    spans: Annotated[tuple[SpanFacts, ...], Meta(min_length=1, max_length=MAX_ASKED)]


class Failure(msgspec.Struct, frozen=True, array_like=True):
    """An error: the name of its class in `errors`, and what a person is told."""

    kind: Word
    message: Text
    hint: Text


class SnapshotFacts(msgspec.Struct, frozen=True, array_like=True):
    """See `model.Snapshot`."""

    uuid: UUID
    paths: tuple[Path, ...]
    created: Time
    received: bool
    generation: Count
    origin_generation: Count
    lineage: Word | None
    parent_uuid: UUID | None
    ancestor: UUID | None
    metadata_bytes: Count
    total: Count | None
    exclusive: Count | None


class CheckpointFacts(msgspec.Struct, frozen=True, array_like=True):
    """See `model.Checkpoint`."""

    to: UUID
    parent: UUID | None
    options: Options
    position: Place
    expected: Count | None


class PartialFacts(msgspec.Struct, frozen=True, array_like=True):
    """See `model.Partial`."""

    path: Path
    uuid: UUID | None
    nbytes: Count | None
    guarded: Text
    link: bool
    checkpoint: CheckpointFacts | None = None


class ProblemFacts(msgspec.Struct, frozen=True, array_like=True):
    """See `model.Problem`."""

    path: Path
    message: Text


class SizeFacts(msgspec.Struct, frozen=True, array_like=True, tag="size"):
    """See `model.Size`."""

    nbytes: Count
    certainty: Word


class NoSize(msgspec.Struct, frozen=True, array_like=True, tag="none"):
    """What stands in the place of a size that could not be measured."""

    failure: Failure


class RecordedSize(msgspec.Struct, frozen=True, array_like=True):
    """A size that was written down some time."""

    to: UUID
    parent: UUID | None
    nbytes: Count

"""The values of the model ⇄ the messages that carry them."""

from __future__ import annotations

from dataclasses import replace
from datetime import MAXYEAR, MINYEAR
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from buttersink import errors
from buttersink.errors import ButterSinkError, ProtocolError
from buttersink.model import (
    Certainty,
    Checkpoint,
    Diff,
    Partial,
    Position,
    Problem,
    Size,
    Snapshot,
    Span,
    StreamOptions,
)
from buttersink.wire.values import (
    CheckpointFacts,
    DiffAsked,
    Failure,
    NoSize,
    Options,
    PartialFacts,
    Place,
    ProblemFacts,
    SizeFacts,
    SnapshotFacts,
    SpanFacts,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from uuid import UUID

_LONGEST_TEXT: Final = 16 << 10
"""Bytes of an error's message or hint; more than that nobody reads."""

_PATHS_BYTES: Final = 1 << 19
"""How many bytes of paths a message about a snapshot has; any number of copies may exist."""

_KINDS: Final[Mapping[str, type[ButterSinkError]]] = {
    name: kind
    for name, kind in vars(errors).items()
    if isinstance(kind, type) and issubclass(kind, ButterSinkError)
}


def as_bytes(path: str) -> bytes:
    """Return a path as it is on the file system."""
    return path.encode("utf-8", "surrogateescape")


def as_path(data: bytes) -> str:
    """Return a path as our own functions take it."""
    return data.decode("utf-8", "surrogateescape")


def asked(diff: Diff, limit: int | None = None) -> DiffAsked:
    """Return a diff as it is asked for."""
    return DiffAsked(to=diff.to, parent=diff.parent, limit=limit)


def as_diff(wanted: DiffAsked) -> Diff:
    """Return the diff that is asked for."""
    return Diff(wanted.to, wanted.parent)


def options_message(options: StreamOptions) -> Options:
    """Return stream options as they travel."""
    return Options(version=options.version, compressed=options.compressed)


def as_options(message: Options) -> StreamOptions:
    """Return the stream options of a message."""
    return StreamOptions(version=message.version, compressed=message.compressed)


def place_message(position: Position | None) -> Place | None:
    """Return a position as it travels."""
    return None if position is None else _place(position)


def _place(position: Position) -> Place:
    spans = tuple(SpanFacts(end=span.end, digest=span.digest) for span in position.spans)
    return Place(plain_bytes=position.plain_bytes, spans=spans)


def as_position(place: Place | None) -> Position | None:
    """Return the position of a message.

    Raises:
        ProtocolError: It makes no sense.
    """
    return None if place is None else _position(place)


def _position(place: Place) -> Position:
    ends = [0, *(span.end for span in place.spans)]
    if any(end <= start for start, end in pairwise(ends)):
        raise ProtocolError("a position in a stream whose spans do not follow each other")
    spans = tuple(Span(span.end, span.digest) for span in place.spans)
    return Position(plain_bytes=place.plain_bytes, spans=spans)


def _checkpoint_message(checkpoint: Checkpoint) -> CheckpointFacts:
    return CheckpointFacts(
        to=checkpoint.diff.to,
        parent=checkpoint.diff.parent,
        options=options_message(checkpoint.options),
        position=_place(checkpoint.position),
        expected=checkpoint.expected,
    )


def _as_checkpoint(message: CheckpointFacts) -> Checkpoint:
    return Checkpoint(
        diff=Diff(message.to, message.parent),
        options=as_options(message.options),
        position=_position(message.position),
        expected=message.expected,
    )


def failure_message(error: ButterSinkError) -> Failure:
    """Return an error as it travels."""
    return Failure(kind=type(error).__name__, message=_text(error.message), hint=_text(error.hint))


def as_error(failure: Failure) -> ButterSinkError:
    """Return the error that a message tells; of the general kind if that one is not known."""
    kind = _KINDS.get(failure.kind, ButterSinkError)
    return kind(as_path(failure.message), as_path(failure.hint))


def size_message(size: Size | ButterSinkError) -> SizeFacts | NoSize:
    """Return what measuring told as it travels."""
    if isinstance(size, ButterSinkError):
        return NoSize(failure=failure_message(size))
    return SizeFacts(nbytes=size.nbytes, certainty=size.certainty.value)


def as_size(message: SizeFacts | NoSize) -> Size | ButterSinkError:
    """Return what measuring told.

    Raises:
        ProtocolError: It makes no sense.
    """
    if isinstance(message, NoSize):
        return as_error(message.failure)
    try:
        return Size(message.nbytes, Certainty(message.certainty))
    except ValueError as error:
        raise ProtocolError(f"a size of unknown certainty: {message.certainty!r}") from error


def snapshot_messages(snapshot: Snapshot) -> Iterator[SnapshotFacts]:
    """Yield messages that tell of a snapshot with all of its paths, and none of which is long."""
    rest = snapshot.paths
    while True:
        count, nbytes = 0, 0
        for path in rest:
            nbytes += len(as_bytes(path))
            if count and nbytes > _PATHS_BYTES:
                break
            count += 1
        yield snapshot_message(replace(snapshot, paths=rest[:count]))
        rest = rest[count:]
        if not rest:
            return


def as_snapshots(told: Iterable[SnapshotFacts]) -> list[Snapshot]:
    """Return the snapshots of messages, of which several may tell of paths of the same one.

    Raises:
        ProtocolError: See `as_snapshot`.
    """
    found: dict[UUID, Snapshot] = {}
    paths: dict[UUID, list[str]] = {}
    for snapshot in map(as_snapshot, told):
        found.setdefault(snapshot.uuid, snapshot)
        paths.setdefault(snapshot.uuid, []).extend(snapshot.paths)
    return [replace(snapshot, paths=tuple(paths[uuid])) for uuid, snapshot in found.items()]


def snapshot_message(snapshot: Snapshot) -> SnapshotFacts:
    """Return a snapshot as it travels; where else it is stays here."""
    return SnapshotFacts(
        uuid=snapshot.uuid,
        paths=tuple(map(as_bytes, snapshot.paths)),
        created=snapshot.created,
        received=snapshot.received,
        generation=snapshot.generation,
        origin_generation=snapshot.origin_generation,
        lineage=snapshot.lineage,
        parent_uuid=snapshot.parent_uuid,
        ancestor=snapshot.ancestor,
        metadata_bytes=snapshot.metadata_bytes,
        total=snapshot.total,
        exclusive=snapshot.exclusive,
    )


def as_snapshot(message: SnapshotFacts) -> Snapshot:
    """Return the snapshot of a message.

    Raises:
        ProtocolError: One of its paths does not stay below the directory, or its time can't be
            told in each zone of the world.
    """
    if not MINYEAR < message.created.year < MAXYEAR:
        raise ProtocolError(f"a snapshot of the year {message.created.year}")
    return Snapshot(
        uuid=message.uuid,
        paths=tuple(_below(path) for path in message.paths),
        created=message.created,
        received=message.received,
        generation=message.generation,
        origin_generation=message.origin_generation,
        lineage=message.lineage,
        parent_uuid=message.parent_uuid,
        ancestor=message.ancestor,
        metadata_bytes=message.metadata_bytes,
        total=message.total,
        exclusive=message.exclusive,
    )


def partial_message(partial: Partial) -> PartialFacts:
    """Return a partial as it travels."""
    return PartialFacts(
        path=as_bytes(partial.path),
        uuid=partial.uuid,
        nbytes=partial.nbytes,
        guarded=_text(partial.guarded),
        link=partial.link,
        checkpoint=_checkpoint_message(partial.checkpoint) if partial.checkpoint else None,
    )


def as_partial(message: PartialFacts) -> Partial:
    """Return the partial of a message.

    Raises:
        ProtocolError: Its path does not stay below the directory.
    """
    return Partial(
        path=_below(message.path),
        uuid=message.uuid,
        nbytes=message.nbytes,
        guarded=as_path(message.guarded),
        link=message.link,
        checkpoint=_as_checkpoint(message.checkpoint) if message.checkpoint else None,
    )


def problem_message(problem: Problem) -> ProblemFacts:
    """Return a problem as it travels."""
    return ProblemFacts(path=as_bytes(problem.path), message=_text(problem.message))


def as_problem(message: ProblemFacts) -> Problem:
    """Return the problem of a message."""
    return Problem(path=as_path(message.path), message=as_path(message.message))


def _text(text: str) -> bytes:
    """Return text as it travels: whatever is in it, and not too long."""
    return text.encode("utf-8", "surrogateescape")[:_LONGEST_TEXT]


def _below(data: bytes) -> str:
    """Return the relative path of a message, which other ends will make things at.

    Raises:
        ProtocolError: It is none.
    """
    path = as_path(data)
    if "\0" in path or any(part in {"", ".", ".."} for part in path.split("/")):
        raise ProtocolError(f"a path leads out of the directory: {path!r}")
    return path

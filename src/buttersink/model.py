"""The values everything else talks about: snapshots, diffs, sizes and inventories.

All are frozen and compare by value. Paths are `str` with surrogateescape for bytes that are not
UTF-8; sizes are bytes; times are aware datetimes.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, IntEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID


class Mode(IntEnum):
    """What a run may do to an end; also the tiers of the store interface, least first."""

    READ = 0
    APPEND = 1
    WRITE = 2

    @property
    def letter(self) -> str:
        """The letter of the mode on a server's command line: r, a or w."""
        return "raw"[self.value]


class Receiver(Enum):
    """What makes a subvolume of a stream."""

    OWN = "buttersink"
    BTRFS_PROGS = "btrfs-progs"
    """The program `btrfs receive`, which can't go on with a stream that was interrupted."""


class Certainty(Enum):
    """How far the number in a `Size` can be relied on."""

    EXACT = "exact"
    """Measured: the bytes the stream has."""
    ESTIMATE = "estimate"
    """Computed from hints; shown with `~`."""
    AT_LEAST = "at least"
    """Measuring was stopped here: the stream is longer than this. Only planning sees it."""
    UNKNOWN = "unknown"
    """Nothing is known; the number only ranks this diff among others and is never shown."""


@dataclass(frozen=True, slots=True)
class Size:
    """The size of a diff, in bytes: of its plain (uncompressed) send stream, or as it is stored."""

    nbytes: int
    certainty: Certainty = Certainty.EXACT

    @property
    def exact(self) -> bool:
        """Whether the size was measured to the end."""
        return self.certainty is Certainty.EXACT


@dataclass(frozen=True, slots=True)
class StreamOptions:
    """What decides the bytes of a send stream besides the diff itself.

    Attributes:
        version: The send stream version, 1 or more.
        compressed: Whether extents that are stored compressed travel so (version 2 and later).
    """

    version: int = 1
    compressed: bool = False


@dataclass(frozen=True, slots=True, order=True)
class Diff:
    """A send stream in the abstract: what turns `parent` (or nothing) into `to`.

    It is equal at both ends, because it names snapshots by identity.
    """

    to: UUID
    parent: UUID | None = None


@dataclass(frozen=True, slots=True)
class Span:
    """Part of a send stream: from the end of the one before it, or the start, to `end`.

    Attributes:
        end: Offset of its end in the stream, in bytes.
        digest: Of its bytes, see `stream.digest`.
    """

    end: int
    digest: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """How far a send stream has come, at the boundary of a command.

    Attributes:
        plain_bytes: Bytes up to there, counted as sizes are measured: as if it were not compressed.
        spans: The stream up to there: one for each time that it was gone on with.
    """

    plain_bytes: int
    spans: tuple[Span, ...]

    @property
    def offset(self) -> int:
        """Bytes of the stream up to there."""
        return self.spans[-1].end


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """What an interrupted receive can go on from.

    Attributes:
        diff: What was being received.
        options: How its stream was made; another kind is another stream.
        position: What of it has been received for good.
        expected: Size of the whole plain stream, as far as it was known.
    """

    diff: Diff
    options: StreamOptions
    position: Position
    expected: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """Something to measure: as `Source.measure(diff, options, limit)`.

    Attributes:
        diff: What to measure.
        limit: Bytes at which measuring may stop; None to measure to the end.
    """

    diff: Diff
    limit: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A read-only subvolume as every end sees it.

    Attributes:
        uuid: Its identity: received_uuid if that can be trusted, else its own uuid.
        paths: Where it is below the directory that was named, relative, sorted. Empty when it
            is only elsewhere on the same file system.
        elsewhere: Where else on the file system it is, from the top-level subvolume; for people.
        received: Whether the identity is a received_uuid.
        created: When this end got it.
        generation: Its place in the order in which this end got its snapshots (otransid).
            Comparable within one end only.
        origin_generation: For a received snapshot the sender's generation (stransid), else
            `generation`: the order in which contents came to be, as far as it is known.
        lineage: Equal for snapshots that share history on this end, so that a diff between them
            can be small. None if unknown.
        parent_uuid: The kernel's parent_uuid: what it was snapshotted from. Only a hint.
        ancestor: Identity of the nearest read-only subvolume up the chain of parent_uuid.
        metadata_bytes: Size of its tree; a hint of scale for estimates. 0 if unknown.
        total: Referenced bytes, where quotas know them.
        exclusive: Bytes no other subvolume shares, where quotas know them.
    """

    uuid: UUID
    paths: tuple[str, ...]
    created: datetime
    elsewhere: tuple[str, ...] = ()
    received: bool = False
    generation: int = 0
    origin_generation: int = 0
    lineage: str | None = None
    parent_uuid: UUID | None = None
    ancestor: UUID | None = None
    metadata_bytes: int = 0
    total: int | None = None
    exclusive: int | None = None

    @property
    def path(self) -> str:
        """The path to show: the first below the directory, else the first elsewhere."""
        return (self.paths + self.elsewhere + (str(self.uuid),))[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Partial:
    """What an interrupted transfer left behind; never a snapshot.

    Attributes:
        path: Relative path below the directory.
        uuid: Identity of the snapshot it was to become, None if that cannot be told.
        diff: The stream that was being stored, at an end that holds streams.
        nbytes: How many bytes it takes, if that can be told.
        guarded: Why it is only removed with --force: it may not be what it seems to be, or
            somebody may be at work on it. Empty if it may go.
        link: It is a whole snapshot, which was only needed to build others on (see
            `Transfer.link`), and should have been released at the end of its run.
        checkpoint: What receiving the same stream again goes on from, at an end that holds
            subvolumes; None if it would begin anew.
    """

    path: str
    uuid: UUID | None = None
    diff: Diff | None = None
    nbytes: int | None = None
    guarded: str = ""
    link: bool = False
    checkpoint: Checkpoint | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Something odd that a listing found; reported once, and never acted on by guessing.

    Attributes:
        path: Relative path below the directory; of what lies elsewhere, from the top.
        message: What is odd, to be read behind the path.
        elsewhere: It is about something outside the directory.
    """

    path: str
    message: str
    elsewhere: bool = False


@dataclass(frozen=True, slots=True)
class Chain:
    """What restoring a snapshot from stored streams takes.

    Attributes:
        links: Number of streams, the full one included.
        nbytes: Bytes of all of them as they are stored.
    """

    links: int
    nbytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainLimits:
    """Two limits to what restoring a snapshot from stored streams may take.

    Attributes:
        links: Number of streams in a chain, the full one included; at least 1.
        factor: Bytes of a chain at most, in multiples of the snapshot's full stream; at least 1.
        stored_fraction: Expected stored bytes for each byte of a plain stream (0 to 1, by
            compression): stored sizes and measured ones are compared by it.
    """

    links: int
    factor: float
    stored_fraction: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Inventory:
    """One end's facts at one moment.

    Attributes:
        snapshots: Sorted by (bytes of the path, uuid); unique by uuid. Those without `paths` lie
            outside the directory but on the same file system, and can serve as parents.
        partials: Leftovers of transfers below the directory, sorted by path.
        stored: For an end that holds streams: the diffs it holds, each with the bytes that it
            takes as it is stored; sorted, unique by diff. Snapshots that serve only as links
            of others' chains (see `Hide`) have no `paths`, like those outside the directory.
        makes_any_diff: True for a file system, which can make any diff between its snapshots;
            False for an end that has exactly those `stored`.
        problems: Oddities to report.
        writable: Number of writable subvolumes below the directory, which are left alone.
        foreign: Number of objects below the prefix that are none of ours, and are left alone.
        parents_only: Identities of those `snapshots` (which have no `paths`) that can only be
            built on: they lie outside the directory, and can't be put into it (`Sink.adopt`).
            See `Source.parents`.
    """

    snapshots: tuple[Snapshot, ...] = ()
    partials: tuple[Partial, ...] = ()
    stored: tuple[tuple[Diff, Size], ...] = ()
    makes_any_diff: bool = True
    problems: tuple[Problem, ...] = ()
    writable: int = 0
    foreign: int = 0
    parents_only: frozenset[UUID] = frozenset()

    def by_uuid(self) -> dict[UUID, Snapshot]:
        """All snapshots by identity."""
        return {s.uuid: s for s in self.snapshots}

    def inside(self) -> tuple[Snapshot, ...]:
        """The snapshots that are below the directory."""
        return tuple(s for s in self.snapshots if s.paths)

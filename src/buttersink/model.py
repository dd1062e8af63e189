"""The values everything else talks about: snapshots, diffs, sizes, inventories and plans.

All are frozen and compare by value. Paths are `str` with surrogateescape for bytes that are not
UTF-8; sizes are bytes; times are aware datetimes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
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
    """

    path: str
    uuid: UUID | None = None
    diff: Diff | None = None
    nbytes: int | None = None
    guarded: str = ""
    link: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Something odd that a listing found; reported once, and never acted on by guessing."""

    path: str
    message: str


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
    """

    snapshots: tuple[Snapshot, ...] = ()
    partials: tuple[Partial, ...] = ()
    stored: tuple[tuple[Diff, Size], ...] = ()
    makes_any_diff: bool = True
    problems: tuple[Problem, ...] = ()
    writable: int = 0
    foreign: int = 0

    def by_uuid(self) -> dict[UUID, Snapshot]:
        """All snapshots by identity."""
        return {s.uuid: s for s in self.snapshots}

    def inside(self) -> tuple[Snapshot, ...]:
        """The snapshots that are below the directory."""
        return tuple(s for s in self.snapshots if s.paths)


class Reason(Enum):
    """Why a step is in a plan, or why something is not. Rendered in `report` alone."""

    PRESENT = "present"
    """Keep: the destination directory has it."""
    ON_FILE_SYSTEM = "on file system"
    """Adopt: the destination's file system has it outside the directory."""
    CHEAPEST = "cheapest"
    """Transfer: the least bytes of all parents considered."""
    ONLY_FULL = "only full"
    """Transfer: no usable parent is known, so the whole of it is sent."""
    FIRST = "first"
    """Transfer: the destination has no relative of it yet, so one has to be sent whole."""
    FULL_CHEAPEST = "full cheapest"
    """Transfer: sending all of it takes no more bytes than any diff."""
    NOT_IN_SOURCE = "not in source"
    """Delete: the source has no snapshot of this identity."""
    LEFTOVER = "leftover"
    """Clean: left by an interrupted transfer."""
    PATH_TAKEN = "path taken"
    """Skip: something else stands at its path in the destination."""
    INSIDE_SNAPSHOT = "inside snapshot"
    """Skip: its path lies inside another snapshot, which is read-only."""
    UNREACHABLE = "unreachable"
    """Skip: no diff leads to it."""
    STORED = "stored"
    """Transfer: of the stored streams that lead to what was asked for, the fewest bytes."""
    LINK = "link"
    """Transfer: not asked for, but what was asked for builds on it."""
    WITHIN_LIMITS = "within limits"
    """Transfer: the fewest bytes of all parents that keep the chain within its limits."""
    NEW_CHAIN = "new chain"
    """Transfer in full: no diff would keep the chain within its limits at fewer bytes."""
    REPLACEMENT = "replacement"
    """Transfer: takes fewer bytes than keeping the deleted links that the old stream needs."""
    STILL_NEEDED = "still needed"
    """Hide: the chain of a snapshot that is kept leads over it."""
    REPLACED = "replaced"
    """Discard: another stream stands in for it now."""
    UNUSED_LINK = "unused link"
    """Discard: a hidden link on which nothing builds any more."""
    ARCHIVED = "archived"
    """Skip: its stream, or one it builds on, is archived and must be thawed first."""
    PARENT_FAILED = "parent failed"
    """Skip, found while running: what it builds on did not arrive."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Keep:
    """Nothing to do: the destination directory has `snapshot` at `path`.

    `chain` is what restoring it takes, at a destination that stores streams.
    """

    snapshot: Snapshot
    path: str
    reason: Reason = Reason.PRESENT
    chain: Chain | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Adopt:
    """Put `snapshot`, which the destination's file system has elsewhere, at `path`, for free."""

    snapshot: Snapshot
    path: str
    reason: Reason = Reason.ON_FILE_SYSTEM


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer:
    """Send `diff` and receive it at `path`.

    Attributes:
        size: Bytes of the plain stream; if the source stores streams, of the stored one.
        parent_path: For people; None for a full send.
        link: The snapshot was not asked for; it only serves to build others on. A destination
            of subvolumes lets go of it at the end (`Release`), one of streams keeps it hidden.
        chain: What restoring it will take, at a destination that stores streams; expected.
    """

    snapshot: Snapshot
    diff: Diff
    path: str
    size: Size
    reason: Reason
    parent_path: str | None = None
    link: bool = False
    chain: Chain | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Skip:
    """`snapshot` was asked for, but cannot be put at `path`.

    `detail` says why in words; for PARENT_FAILED it is the parent's path. `archived` are the
    streams that must be thawed first.
    """

    snapshot: Snapshot
    path: str
    reason: Reason
    detail: str = ""
    archived: tuple[Diff, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Delete:
    """Delete the destination's snapshot `uuid` at `path`, with all streams stored for it there.

    `nbytes` is what that frees, where it can be told.
    """

    uuid: UUID
    path: str
    reason: Reason = Reason.NOT_IN_SOURCE
    nbytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Hide:
    """Instead of deleting: keep the streams of `uuid` at `path`, but only as a link of chains.

    `nbytes` is what stays stored for it.
    """

    uuid: UUID
    path: str
    nbytes: int
    reason: Reason = Reason.STILL_NEEDED


@dataclass(frozen=True, slots=True, kw_only=True)
class Discard:
    """Remove one stored stream, of `nbytes`, that nothing needs any more.

    `path` is that of the snapshot `diff.to`.
    """

    diff: Diff
    path: str
    nbytes: int
    reason: Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """Remove the link `uuid`, received by this run or left by an earlier one.

    `path` is for people.
    """

    uuid: UUID
    path: str
    reason: Reason = Reason.LINK


@dataclass(frozen=True, slots=True, kw_only=True)
class Clean:
    """Remove a leftover of an interrupted transfer."""

    partial: Partial
    reason: Reason = Reason.LEFTOVER


Step = Keep | Adopt | Transfer | Skip
Removal = Delete | Hide | Discard


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a run will do, in the order in which it will do it.

    Attributes:
        cleans: Leftovers that are removed first.
        steps: One for each snapshot that was asked for, and one for each link; a parent stands
            before what needs it.
        releases: Links to remove after all transfers, whatever came of these.
        deletes: What is deleted or hidden, after all transfers, in this order: nothing that is
            needed by what stands after it.
        options: How the streams will be made.
    """

    steps: tuple[Step, ...] = ()
    cleans: tuple[Clean, ...] = ()
    releases: tuple[Release, ...] = ()
    deletes: tuple[Removal, ...] = ()
    options: StreamOptions = field(default_factory=StreamOptions)

    @property
    def transfers(self) -> tuple[Transfer, ...]:
        """The steps that move bytes."""
        return tuple(s for s in self.steps if isinstance(s, Transfer))

    @property
    def cost(self) -> Size:
        """Bytes of all transfers; as certain as the least certain of them."""
        sizes = [t.size for t in self.transfers]
        worst = max(
            (s.certainty for s in sizes), key=list(Certainty).index, default=Certainty.EXACT
        )
        return Size(sum(s.nbytes for s in sizes), worst)

"""What a run will do, as values: steps with their reasons, and the plan that they make."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

from buttersink.model import (
    Certainty,
    Chain,
    Checkpoint,
    Diff,
    Partial,
    Size,
    Snapshot,
    StreamOptions,
)

if TYPE_CHECKING:
    from uuid import UUID


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
    UNAVAILABLE = "unavailable"
    """Skip, found while running: an end could not be reached, time and again."""
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
        size: Bytes of the plain stream that are to be sent; if the source stores streams, of the
            stored one.
        parent_path: For people; None for a full send.
        link: The snapshot was not asked for; it only serves to build others on. A destination
            of subvolumes lets go of it at the end (`Release`), one of streams keeps it hidden.
        chain: What restoring it will take, at a destination that stores streams; expected.
        resume: What an interrupted transfer has left to go on from.
        resumed_bytes: What of the stream is not sent again for that, counted as `size` is.
        plain: Whether `size` is that of the plain stream.
    """

    snapshot: Snapshot
    diff: Diff
    path: str
    size: Size
    reason: Reason
    parent_path: str | None = None
    link: bool = False
    chain: Chain | None = None
    resume: Checkpoint | None = None
    resumed_bytes: int = 0
    plain: bool = True

    @property
    def whole(self) -> Size:
        """Size of the whole stream, with what of it is not sent again."""
        return Size(self.size.nbytes + self.resumed_bytes, self.size.certainty)


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

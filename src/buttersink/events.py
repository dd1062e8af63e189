"""What happens during a run, as values: emitted by `sync`, rendered by `report`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from buttersink.errors import ButterSinkError
    from buttersink.model import Chain, Inventory, Size, Snapshot
    from buttersink.plan import Adopt, Clean, Delete, Discard, Hide, Plan, Release, Skip, Transfer


@dataclass(frozen=True, slots=True, kw_only=True)
class Warned:
    """Something the user should know; the run goes on."""

    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Redialling:
    """The link to an end is lost, and will be dialled again after a pause; the run waits.

    Attributes:
        end: Its name.
        error: What was lost, or why the last attempt was in vain.
        attempt: The number of the attempt that comes; from 1 on.
        attempts: How many there will be at most.
        pause_seconds: How long until then.
    """

    end: str
    error: ButterSinkError
    attempt: int
    attempts: int
    pause_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconnected:
    """An end whose link was lost is back; what was under way there is done again."""

    end: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Measuring:
    """`done` of `total` diffs known to need measuring are measured; totals may still grow."""

    done: int
    total: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ListEntry:
    """One snapshot in a listing.

    Attributes:
        increment: Size of the diff from `predecessor`, or of the full stream without one. At an
            end that holds streams: of the stored stream by which it is restored, as it is stored.
        predecessor: The nearest earlier snapshot of the same lineage. At an end that holds
            streams: the parent of that stream.
        chain: What restoring it takes, at an end that holds streams; None if it can't be.
        hidden: It is no snapshot of this end, but only a link of others' chains.
    """

    snapshot: Snapshot
    predecessor: Snapshot | None
    increment: Size
    chain: Chain | None = None
    hidden: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """The result of a listing."""

    end: str
    entries: tuple[ListEntry, ...]
    inventory: Inventory


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """The plan is final; a real run starts to carry it out, a dry run ends here."""

    source: str
    destination: str
    plan: Plan
    dry_run: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferStarted:
    """The `number`th transfer of `count` begins."""

    transfer: Transfer
    number: int
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferResumed:
    """The current transfer goes on from what an interrupted one has left.

    Attributes:
        plain_bytes: That is so much of its whole stream, counted as sizes are measured.
    """

    transfer: Transfer
    plain_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferProgress:
    """Bytes of the current transfer so far, counted as its size is."""

    transfer: Transfer
    plain_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferDone:
    """A transfer is committed.

    Attributes:
        plain_bytes: The stream's size, counted as sizes are measured.
        sent_bytes: The bytes that really passed; fewer where extents travel compressed.
        seconds: Wall time.
        stored_bytes: What it takes as it is stored, at an end that holds streams.
        resumed_bytes: Those of them that an interrupted transfer had sent already.
    """

    transfer: Transfer
    plain_bytes: int
    sent_bytes: int
    seconds: float
    stored_bytes: int | None = None
    resumed_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Adopted:
    """A snapshot from elsewhere on the destination's file system was put in place."""

    adopt: Adopt


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """A step could not be done; the run goes on with what does not depend on it."""

    step: Transfer | Adopt | Release | Delete | Hide | Discard | Clean
    error: ButterSinkError


@dataclass(frozen=True, slots=True, kw_only=True)
class Skipped:
    """A snapshot that was asked for will not arrive in this run."""

    skip: Skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Deleted:
    """A snapshot of the destination was deleted."""

    delete: Delete


@dataclass(frozen=True, slots=True, kw_only=True)
class Hidden:
    """A snapshot of the destination stays only as a link of others' chains."""

    hide: Hide


@dataclass(frozen=True, slots=True, kw_only=True)
class Discarded:
    """A stored stream of the destination was removed."""

    discard: Discard


@dataclass(frozen=True, slots=True, kw_only=True)
class Released:
    """A link, which was only needed to build others on, was removed."""

    release: Release


@dataclass(frozen=True, slots=True, kw_only=True)
class Cleaned:
    """A leftover of an interrupted transfer was removed."""

    clean: Clean


@dataclass(frozen=True, slots=True, kw_only=True)
class ThawRequested:
    """The service was asked to make `count` archived streams readable for `days` days."""

    count: int
    days: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """The run is over.

    Attributes:
        transferred: Number of snapshots sent, `adopted` those put in place, `present` those
            that were there already, `failed` those asked for that are not there now,
            `deleted` those deleted, `hidden` those that stay as links of others' chains
            instead, `undeleted` removals that were planned but not done.
        sent_bytes: Bytes that passed.
        resumed_bytes: Bytes that interrupted transfers had sent already.
        seconds: Wall time of all transfers.
    """

    transferred: int = 0
    adopted: int = 0
    present: int = 0
    failed: int = 0
    deleted: int = 0
    hidden: int = 0
    undeleted: int = 0
    sent_bytes: int = 0
    resumed_bytes: int = 0
    seconds: float = 0.0


Event = (
    Warned
    | Redialling
    | Reconnected
    | Measuring
    | Listed
    | Planned
    | TransferStarted
    | TransferResumed
    | TransferProgress
    | TransferDone
    | Adopted
    | Failed
    | Skipped
    | Deleted
    | Hidden
    | Discarded
    | Released
    | Cleaned
    | ThawRequested
    | Finished
)

if TYPE_CHECKING:
    Emit = Callable[[Event], None]

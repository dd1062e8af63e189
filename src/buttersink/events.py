"""What happens during a run, as values: emitted by `sync`, rendered by `report`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from buttersink.errors import ButterSinkError
    from buttersink.model import (
        Adopt,
        Clean,
        Delete,
        Inventory,
        Plan,
        Size,
        Skip,
        Snapshot,
        Transfer,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Warned:
    """Something the user should know; the run goes on."""

    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Measuring:
    """`done` of `total` diffs known to need measuring are measured; totals may still grow."""

    done: int
    total: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ListEntry:
    """One snapshot in a listing.

    Attributes:
        increment: Size of the diff from `predecessor`, or of the full stream without one.
        predecessor: The nearest earlier snapshot of the same lineage.
    """

    snapshot: Snapshot
    predecessor: Snapshot | None
    increment: Size


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
    """

    transfer: Transfer
    plain_bytes: int
    sent_bytes: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Adopted:
    """A snapshot from elsewhere on the destination's file system was put in place."""

    adopt: Adopt


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """A step could not be done; the run goes on with what does not depend on it."""

    step: Transfer | Adopt | Delete | Clean
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
class Cleaned:
    """A leftover of an interrupted transfer was removed."""

    clean: Clean


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """The run is over.

    Attributes:
        transferred: Number of snapshots sent, `adopted` those put in place, `present` those
            that were there already, `failed` those asked for that are not there now,
            `deleted` those deleted, `undeleted` deletions that were planned but not done.
        sent_bytes: Bytes that passed.
        seconds: Wall time of all transfers.
    """

    transferred: int = 0
    adopted: int = 0
    present: int = 0
    failed: int = 0
    deleted: int = 0
    undeleted: int = 0
    sent_bytes: int = 0
    seconds: float = 0.0


Event = (
    Warned
    | Measuring
    | Listed
    | Planned
    | TransferStarted
    | TransferProgress
    | TransferDone
    | Adopted
    | Failed
    | Skipped
    | Deleted
    | Cleaned
    | Finished
)

if TYPE_CHECKING:
    Emit = Callable[[Event], None]

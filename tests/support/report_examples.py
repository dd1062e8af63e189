"""One example of each event, for the tests of reports; also those in docs/json.md."""

from __future__ import annotations

import io
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING
from uuid import UUID

from buttersink.errors import BusyError, NoSpaceError, UnavailableError
from buttersink.events import (
    Adopted,
    Cleaned,
    Deleted,
    Discarded,
    Failed,
    Finished,
    Hidden,
    Listed,
    ListEntry,
    Measuring,
    Planned,
    Reconnected,
    Redialling,
    Released,
    Skipped,
    ThawRequested,
    TransferDone,
    TransferProgress,
    TransferResumed,
    TransferStarted,
    Warned,
)
from buttersink.model import (
    Certainty,
    Chain,
    Checkpoint,
    Diff,
    Inventory,
    Partial,
    Position,
    Problem,
    Size,
    Snapshot,
    Span,
    StreamOptions,
)
from buttersink.plan import (
    Adopt,
    Clean,
    Delete,
    Discard,
    Hide,
    Keep,
    Plan,
    Reason,
    Release,
    Skip,
    Transfer,
)
from buttersink.report import make_reporter

if TYPE_CHECKING:
    from collections.abc import Callable

    from buttersink.events import Event
    from buttersink.report import Reporter


def identity(number: int) -> UUID:
    return UUID(int=0xDEAD0000_0000_4000_8000_000000000000 + number)


def snapshot(number: int, path: str = "", *, received: bool = False) -> Snapshot:
    return Snapshot(
        uuid=identity(number),
        paths=(path or f"daily/{number}",),
        created=datetime(2024, 1, 1, 3, tzinfo=UTC) + timedelta(days=number - 1),
        received=received,
    )


def transfer(
    to: Snapshot,
    parent: Snapshot | None = None,
    *,
    size: Size = Size(5120),  # noqa: B008 - frozen
) -> Transfer:
    return Transfer(
        snapshot=to,
        diff=Diff(to.uuid, parent.uuid if parent else None),
        path=to.path,
        size=size,
        reason=Reason.CHEAPEST if parent else Reason.ONLY_FULL,
        parent_path=parent.path if parent else None,
    )


def planned(*steps: Transfer | Keep | Adopt | Skip, dry_run: bool = False) -> Planned:
    return Planned(
        source="/mnt/snaps/", destination="/bak/", plan=Plan(steps=steps), dry_run=dry_run
    )


def listed(*entries: ListEntry) -> Listed:
    return Listed(end="/mnt/snaps/", entries=entries, inventory=Inventory())


ONE, TWO, THREE, FOUR, FIVE = (snapshot(number) for number in range(1, 6))

FULL = transfer(TWO, size=Size(1 << 20, Certainty.ESTIMATE))
INCREMENTAL = transfer(THREE, TWO)
ADOPT = Adopt(snapshot=FOUR, path="daily/4")
BLOCKED = Skip(snapshot=FIVE, path="daily/5", reason=Reason.PATH_TAKEN)
ORPHANED = Skip(snapshot=THREE, path="daily/3", reason=Reason.PARENT_FAILED, detail="daily/2")
DELETE = Delete(uuid=identity(9), path="daily/old")
CLEAN = Clean(partial=Partial(path="daily/.part", uuid=identity(3)))
RESUMED = replace(
    INCREMENTAL,
    size=Size(4096),
    resume=Checkpoint(
        diff=INCREMENTAL.diff,
        options=StreamOptions(version=2),
        position=Position(plain_bytes=1024, spans=(Span(1024, bytes(16)),)),
        expected=5120,
    ),
    resumed_bytes=1024,
)
HIDE = Hide(uuid=ONE.uuid, path="daily/1", nbytes=1 << 20)
DISCARD = Discard(
    diff=Diff(FOUR.uuid, THREE.uuid), path="daily/4", nbytes=2048, reason=Reason.REPLACED
)
RELEASE = Release(uuid=TWO.uuid, path="daily/2")

PLANNED = Planned(
    source="/mnt/snaps/",
    destination="ssh://backup/bak/",
    plan=Plan(
        cleans=(CLEAN,),
        steps=(Keep(snapshot=ONE, path="daily/1"), FULL, INCREMENTAL, ADOPT, BLOCKED),
        deletes=(DELETE,),
        options=StreamOptions(version=2, compressed=True),
    ),
    dry_run=True,
)

LISTED = Listed(
    end="/mnt/snaps/",
    entries=(
        ListEntry(snapshot=ONE, predecessor=None, increment=Size(0, Certainty.UNKNOWN)),
        ListEntry(
            snapshot=Snapshot(
                uuid=TWO.uuid,
                paths=("daily/2", "weekly/1"),
                created=datetime(2024, 1, 2, 4, 30, 15, tzinfo=timezone(timedelta(hours=1))),
                received=True,
                total=1 << 30,
                exclusive=4096,
            ),
            predecessor=ONE,
            increment=Size(5120),
        ),
    ),
    inventory=Inventory(
        partials=(Partial(path="daily/.part"),),
        problems=(Problem(path="daily/z", message="its received uuid is another's"),),
        writable=2,
    ),
)

STORED_PLANNED = Planned(
    source="/mnt/snaps/",
    destination="s3://bucket/bak/",
    plan=Plan(
        cleans=(Clean(partial=Partial(path="daily/6", uuid=identity(6), nbytes=5 << 20)),),
        steps=(
            Keep(snapshot=THREE, path="daily/3", chain=Chain(2, 3 << 19)),
            replace(FULL, reason=Reason.LINK, link=True, chain=Chain(1, 1 << 20)),
            replace(INCREMENTAL, reason=Reason.WITHIN_LIMITS, chain=Chain(2, 1053696)),
            replace(transfer(FIVE, TWO), reason=Reason.LINK, link=True),
        ),
        deletes=(
            HIDE,
            DISCARD,
            Delete(uuid=identity(9), path="daily/old", nbytes=3 << 20),
        ),
    ),
    dry_run=True,
)

RESTORE_PLANNED = Planned(
    source="s3://bucket/bak/",
    destination="/mnt/snaps/",
    plan=Plan(
        cleans=(Clean(partial=Partial(path="daily/.link", uuid=identity(7), link=True)),),
        steps=(replace(FULL, size=Size(1 << 19), reason=Reason.LINK, link=True),),
        releases=(RELEASE,),
    ),
    dry_run=True,
)

STORED_LISTED = Listed(
    end="s3://bucket/bak/",
    entries=(
        ListEntry(
            snapshot=replace(ONE, paths=(), elsewhere=("daily/1",)),
            predecessor=None,
            increment=Size(1 << 20),
            chain=Chain(1, 1 << 20),
            hidden=True,
        ),
        ListEntry(
            snapshot=TWO, predecessor=ONE, increment=Size(5120), chain=Chain(2, (1 << 20) + 5120)
        ),
        ListEntry(snapshot=THREE, predecessor=None, increment=Size(0, Certainty.UNKNOWN)),
    ),
    inventory=Inventory(
        makes_any_diff=False,
        stored=(
            (Diff(ONE.uuid), Size(1 << 20)),
            (Diff(TWO.uuid, ONE.uuid), Size(5120)),
            (Diff(TWO.uuid), Size(2 << 20)),
            (Diff(THREE.uuid, identity(8)), Size(4096)),
        ),
        partials=(
            Partial(path="daily/4", uuid=FOUR.uuid, nbytes=5 << 20, guarded="it is 2 hours old"),
        ),
        foreign=3,
    ),
)

EVENTS: tuple[Event, ...] = (
    LISTED,
    Measuring(done=1, total=3),
    PLANNED,
    Warned(message="the destination has little space"),
    Redialling(
        end="ssh://backup/bak/",
        error=UnavailableError(
            "backup: sending daily/3: the connection was lost",
            "check the network and the other host, then run again",
        ),
        attempt=3,
        attempts=8,
        pause_seconds=4.0,
    ),
    Reconnected(end="ssh://backup/bak/"),
    Cleaned(clean=CLEAN),
    TransferStarted(transfer=INCREMENTAL, number=2, count=2),
    TransferResumed(transfer=RESUMED, plain_bytes=1024),
    TransferProgress(transfer=INCREMENTAL, plain_bytes=2560),
    TransferDone(transfer=INCREMENTAL, plain_bytes=5120, sent_bytes=2048, seconds=0.1),
    Failed(step=FULL, error=NoSpaceError("the destination is full", "delete something")),
    Skipped(skip=ORPHANED),
    Adopted(adopt=ADOPT),
    Deleted(delete=DELETE),
    Hidden(hide=HIDE),
    Discarded(discard=DISCARD),
    Released(release=RELEASE),
    ThawRequested(count=2, days=7),
    Finished(
        transferred=1,
        adopted=1,
        present=1,
        failed=2,
        deleted=1,
        undeleted=1,
        sent_bytes=2048,
        seconds=0.1,
    ),
)
"""One of each kind."""

ERROR = BusyError("another run holds /bak", "wait for it to end")


class Clock:
    """Seconds that pass when told."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


class Report:
    """A reporter and what it wrote."""

    def __init__(
        self,
        *,
        terminal: bool = False,
        quiet: int = 0,
        json: bool = False,
        clock: Callable[[], float] | None = None,
    ) -> None:
        self._stdout, self._stderr = (
            (Terminal(), Terminal()) if terminal else (io.StringIO(), io.StringIO())
        )
        self.reporter: Reporter = make_reporter(
            stdout=self._stdout,
            stderr=self._stderr,
            terminal=terminal,
            quiet=quiet,
            json=json,
            clock=clock or Clock(),
        )

    def of(self, *events: Event) -> Report:
        for event in events:
            self.reporter(event)
        return self

    @property
    def out(self) -> str:
        return self._stdout.getvalue()

    @property
    def err(self) -> str:
        return self._stderr.getvalue()

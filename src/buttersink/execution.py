"""Carrying out a plan, step by step, exactly as it stands."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from buttersink import events
from buttersink.errors import (
    ButterSinkError,
    NoSpaceError,
    RestartError,
    UnavailableError,
    UnfaithfulStreamError,
)
from buttersink.model import Diff
from buttersink.plan import Adopt, Delete, Discard, Hide, Keep, Reason, Skip, Transfer
from buttersink.store import StoredReader, StoredWriter
from buttersink.transfer import RateLimit, pump

if TYPE_CHECKING:
    from uuid import UUID

    from buttersink.events import Emit
    from buttersink.model import StreamOptions
    from buttersink.plan import Clean, Plan, Release, Removal
    from buttersink.store import Sink, Source

_log: Final = logging.getLogger(__name__)

_SIZE_TOLERANCE: Final = 0.0001
"""Part of a measured size by which the real stream may differ before that is worth a warning."""


_VAIN_ATTEMPTS: Final = 2
"""Each has tried for minutes. A single one may be about one object that can't be read."""


@dataclass(slots=True)
class _Outcome:
    """What came of the run so far."""

    transferred: int = 0
    adopted: int = 0
    present: int = 0
    deleted: int = 0
    hidden: int = 0
    undeleted: int = 0
    sent_bytes: int = 0
    resumed_bytes: int = 0
    seconds: float = 0.0
    failed: int = 0
    """Snapshots that were asked for and are not in place."""
    missing: set[UUID] = field(default_factory=set)
    """Those of them that are nowhere on its file system: nothing can build on them."""
    broken: bool = False
    """Whether something went wrong that the plan did not foresee."""

    def finished(self) -> events.Finished:
        return events.Finished(
            transferred=self.transferred,
            adopted=self.adopted,
            present=self.present,
            failed=self.failed,
            deleted=self.deleted,
            hidden=self.hidden,
            undeleted=self.undeleted,
            sent_bytes=self.sent_bytes,
            resumed_bytes=self.resumed_bytes,
            seconds=self.seconds,
        )


def carry_out(
    source: Source,
    destination: Sink,
    plan: Plan,
    emit: Emit,
    *,
    bytes_per_second: float | None = None,
) -> events.Finished:
    """Carry out a plan. A step that fails is reported; what doesn't depend on it still happens.

    Deletions come last, and not at all if anything failed that the plan counted on. Links are
    released whatever happened.

    Raises:
        UnavailableError: After all was done and told, the destination can't be reached to make
            sure that it would survive a power cut there.
    """
    run = _Run(source, destination, plan.options, emit, bytes_per_second)
    for clean in plan.cleans:
        run.clean(clean)
    run.bring(plan)
    for release in plan.releases:
        run.release(release)
    if run.outcome.broken and plan.deletes:
        emit(events.Warned(message="nothing was deleted, because of the errors above"))
        run.outcome.undeleted += len(plan.deletes)
    else:
        for removal in plan.deletes:
            run.remove(removal)
    unsure = None
    if plan.cleans or plan.deletes or run.outcome.transferred or run.outcome.adopted:
        unsure = run.flush()
    if run.outcome.broken and not run.outcome.failed and not run.outcome.undeleted:
        # A link did not come, which was to mend the chains of snapshots that are kept.
        run.outcome.failed = 1
    finished = run.outcome.finished()
    emit(finished)
    if unsure is not None:
        raise unsure
    return finished


class _Run:
    """The two ends of a run, and what came of it so far."""

    def __init__(
        self,
        source: Source,
        destination: Sink,
        options: StreamOptions,
        emit: Emit,
        bytes_per_second: float | None,
    ) -> None:
        self._source = source
        self._destination = destination
        self._options = options
        self._emit = emit
        self._limit = RateLimit(bytes_per_second) if bytes_per_second else None
        self.outcome = _Outcome()
        self._vain = 0
        """How many transfers in a row failed because an end could not be reached."""
        self._unreached = 0
        """The same of removals."""
        self._links: set[UUID] = set()
        self._lost_links: set[UUID] = set()

    def clean(self, step: Clean) -> None:
        try:
            self._destination.clean(step.partial)
        except ButterSinkError as error:
            self.outcome.broken = True
            self.outcome.undeleted += 1
            self._emit(events.Failed(step=step, error=error))
        else:
            self._emit(events.Cleaned(clean=step))

    def bring(self, plan: Plan) -> None:
        """Bring what was asked for."""
        number, count = 0, len(plan.transfers)
        for step in plan.steps:
            match step:
                case Keep():
                    self.outcome.present += 1
                case Adopt():
                    self.adopt(step)
                case Transfer():
                    number += 1
                    self.transfer(step, number, count)
                case Skip():
                    self.skip(step)

    def adopt(self, step: Adopt) -> None:
        try:
            self._destination.adopt(step.snapshot, step.path)
        except ButterSinkError as error:
            self._fail(step, error)
        else:
            self.outcome.adopted += 1
            self._emit(events.Adopted(adopt=step))

    def skip(self, step: Skip) -> None:
        self.outcome.failed += 1
        if step.snapshot.uuid not in self._links:  # it can have come as a link all the same
            self.outcome.missing.add(step.snapshot.uuid)
        self._emit(events.Skipped(skip=step))

    def _pass_over(self, step: Transfer, reason: Reason, detail: str = "") -> None:
        """Leave out what can't arrive, because of something that was told already."""
        if step.link:
            self._lose_link(step)
        elif step.reason is not Reason.REPLACEMENT:
            self.skip(Skip(snapshot=step.snapshot, path=step.path, reason=reason, detail=detail))

    def release(self, step: Release) -> None:
        if step.uuid in self._lost_links or self._given_up():
            return
        try:
            self._destination.release(step.uuid)
        except ButterSinkError as error:
            self._undeleted(step, error)
        else:
            self._emit(events.Released(release=step))

    def remove(self, step: Removal) -> None:
        if self._given_up():
            return
        try:
            match step:
                case Delete(uuid=uuid, path=path):
                    self._destination.delete(uuid, path)
                    self.outcome.deleted += 1
                    self._emit(events.Deleted(delete=step))
                case Hide(uuid=uuid, path=path):
                    self._destination.hide(uuid, path)
                    self.outcome.hidden += 1
                    self._emit(events.Hidden(hide=step))
                case Discard(diff=diff, path=path):
                    self._destination.discard(diff, path)
                    self._emit(events.Discarded(discard=step))
        except ButterSinkError as error:
            self._undeleted(step, error)

    def _given_up(self) -> bool:
        """Return whether to remove nothing more, as the destination can't be reached."""
        if self._unreached < _VAIN_ATTEMPTS:
            return False
        self.outcome.undeleted += 1
        return True

    def _undeleted(self, step: Release | Removal, error: ButterSinkError) -> None:
        self.outcome.undeleted += 1
        self._emit(events.Failed(step=step, error=error))
        self._unreached = self._unreached + 1 if isinstance(error, UnavailableError) else 0
        if self._unreached == _VAIN_ATTEMPTS:
            name = self._destination.name
            self._emit(events.Warned(message=f"{name} can't be reached: nothing more is removed"))

    def transfer(self, step: Transfer, number: int, count: int) -> None:
        if step.diff.parent in self.outcome.missing:
            self._pass_over(step, Reason.PARENT_FAILED, step.parent_path or "")
            return
        if self._vain >= _VAIN_ATTEMPTS:
            self._pass_over(step, Reason.UNAVAILABLE)
            return
        self._emit(events.TransferStarted(transfer=step, number=number, count=count))
        try:
            self._check_space(step)
            done = self._move_faithfully(step)
        except ButterSinkError as error:
            self._vain = self._vain + 1 if isinstance(error, UnavailableError) else 0
            self._fail(step, error)
            return
        self._vain = 0
        if step.link:
            self._links.add(step.diff.to)
        self.outcome.transferred += 1
        self.outcome.sent_bytes += done.sent_bytes
        self.outcome.resumed_bytes += done.resumed_bytes
        self.outcome.seconds += done.seconds
        self._emit(done)

    def _move_faithfully(self, step: Transfer) -> events.TransferDone:
        """Send in the planned way; if the kernel gets that wrong, in ways that it gets right."""
        ways = [(step.diff, self._options)]
        uncompressed = replace(self._options, compressed=False)
        ways += [(step.diff, uncompressed)] if self._options.compressed else []
        ways += [(Diff(step.diff.to), uncompressed)] if step.diff.parent else []
        for diff, options in ways:
            try:
                return self._move(step, diff, options)
            except UnfaithfulStreamError as error:
                if (diff, options) == ways[-1]:
                    raise
                self._emit(events.Warned(message=f"{error}; it is sent again in another way"))
        raise AssertionError(ways)  # the last way returns or raises

    def _move(self, step: Transfer, diff: Diff, options: StreamOptions) -> events.TransferDone:
        start = time.monotonic()
        copied = self._destination.copy(self._source, diff, step.path, link=step.link)
        if copied is not None:
            return events.TransferDone(
                transfer=step,
                plain_bytes=copied,
                sent_bytes=0,
                seconds=time.monotonic() - start,
                stored_bytes=copied,
            )
        try:
            return self._send(step, diff, options)
        except RestartError as error:
            self._emit(events.Warned(message=f"{error.message}; it begins anew"))
            return self._send(step, diff, options)

    def _send(self, step: Transfer, diff: Diff, options: StreamOptions) -> events.TransferDone:
        start = time.monotonic()
        # The sender is closed, and its failure raised, inside the receiver's block: a failed
        # send can't be committed.
        with (
            self._destination.receive(
                diff,
                step.path,
                options,
                expected=step.size if diff == step.diff else None,
                link=step.link,
                snapshot=step.snapshot,
            ) as writer,
            self._source.send(diff, options) as reader,
        ):
            stored = reader if isinstance(reader, StoredReader) else None

            def progress(plain_bytes: int) -> None:
                done = stored.stored_bytes if stored else plain_bytes
                self._emit(events.TransferProgress(transfer=step, plain_bytes=done))

            sent = pump(reader, writer, limit=self._limit, progress=progress)
        done = events.TransferDone(
            transfer=step,
            plain_bytes=writer.plain_bytes,
            sent_bytes=stored.stored_bytes if stored else sent,
            seconds=time.monotonic() - start,
        )
        if isinstance(writer, StoredWriter):
            return replace(
                done,
                sent_bytes=writer.stored_bytes - writer.resumed_bytes,
                stored_bytes=writer.stored_bytes,
                resumed_bytes=writer.resumed_bytes,
            )
        if stored is None and diff == step.diff:
            self._compare(done)
        return done

    def flush(self) -> UnavailableError | None:
        """Let everything get to the disk of the destination; return why that is not sure."""
        try:
            self._destination.flush()
        except UnavailableError as error:
            # If something failed before, why was told. Snapshots are on the disk before they
            # are named.
            return None if self.outcome.broken or self.outcome.undeleted else error
        return None

    def _check_space(self, step: Transfer) -> None:
        free = self._destination.free_bytes()
        if not step.size.exact or free is None or step.size.nbytes <= free:
            return
        self._destination.flush()  # what was deleted a moment ago is counted as free only now
        free = self._destination.free_bytes()
        if free is not None and step.size.nbytes > free:
            raise NoSpaceError(
                f"{self._destination.name} has {free} bytes free, and this takes "
                f"{step.size.nbytes} bytes",
                "free some space there and run again",
            )

    def _compare(self, done: events.TransferDone) -> None:
        """Tell if a measured size was wrong: the plan relied on it."""
        size = done.transfer.size
        off = abs(done.plain_bytes - size.nbytes)
        if not size.exact or off == 0:
            return
        message = f"{done.transfer.path}: measured {size.nbytes} bytes, sent {done.plain_bytes}"
        if off > _SIZE_TOLERANCE * size.nbytes:
            self._emit(events.Warned(message=message))
        else:
            _log.info(message)

    def _fail(self, step: Transfer | Adopt, error: ButterSinkError) -> None:
        _log.debug("%s failed", step, exc_info=error)
        self.outcome.broken = True
        if isinstance(step, Adopt):
            self.outcome.failed += 1
        elif step.link:
            self._lose_link(step)
        elif step.reason is not Reason.REPLACEMENT:  # that is there as before
            self.outcome.failed += 1
            self.outcome.missing.add(step.snapshot.uuid)
        self._emit(events.Failed(step=step, error=error))

    def _lose_link(self, step: Transfer) -> None:
        """Take note of a link that did not come; nobody asked for it."""
        self.outcome.missing.add(step.snapshot.uuid)
        self._lost_links.add(step.snapshot.uuid)

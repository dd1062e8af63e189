"""Carrying out a plan, step by step, exactly as it stands."""

from __future__ import annotations

import logging
import time
from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from buttersink import events
from buttersink.errors import (
    ButterSinkError,
    NoSpaceError,
    PausedError,
    RestartError,
    UnavailableError,
    UnfaithfulStreamError,
)
from buttersink.model import Certainty, Diff, Size
from buttersink.outcome import VAIN_ATTEMPTS, Outcome
from buttersink.plan import Adopt, Keep, Reason, Skip, Transfer
from buttersink.redialling import PASSING
from buttersink.removing import Removing
from buttersink.store import StoredReader, StoredWriter
from buttersink.transfer import RateLimit, pump

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from uuid import UUID

    from buttersink.events import Emit
    from buttersink.model import StreamOptions
    from buttersink.plan import Plan
    from buttersink.redialled import RedialledSink, RedialledSource
    from buttersink.redialling import Redialler
    from buttersink.store import Writer

_log: Final = logging.getLogger(__name__)

_MOST_PAUSES: Final = 100
"""How often a sender may be stopped for a while in one transfer."""

_SIZE_TOLERANCE: Final = 0.0001
"""Part of a measured size by which the real stream may differ before that is worth a warning."""


def carry_out(
    source: RedialledSource,
    destination: RedialledSink,
    plan: Plan,
    emit: Emit,
    *,
    redialler: Redialler,
    bytes_per_second: float | None = None,
) -> events.Finished:
    """Carry out a plan. A step that fails is reported; what doesn't depend on it still happens.

    Deletions come last, and not at all if anything failed that the plan counted on. Links are
    released whatever happened.

    Args:
        source: Where snapshots come from.
        destination: Where they go.
        plan: What to do.
        emit: Is told of everything.
        redialler: Gets ends back that are lost in the middle of a transfer.
        bytes_per_second: Limit of the rate; None for no limit.

    Raises:
        ButterSinkError: After all was done and told, it can't be made sure that it would survive
            a power cut at the destination, as that can't be reached, mostly.
    """
    outcome = Outcome()
    run = _Run(
        source,
        destination,
        plan.options,
        emit,
        outcome=outcome,
        redialler=redialler,
        bytes_per_second=bytes_per_second,
    )
    removing = Removing(destination, emit, outcome)
    for clean in plan.cleans:
        removing.clean(clean)
    run.bring(plan)
    for release in plan.releases:
        if release.uuid not in run.lost_links:
            removing.release(release)
    if outcome.broken and plan.deletes:
        emit(events.Warned(message="nothing was deleted, because of the errors above"))
        outcome.undeleted += len(plan.deletes)
    else:
        for removal in plan.deletes:
            removing.remove(removal)
    unsure = None
    if plan.cleans or plan.deletes or outcome.transferred or outcome.adopted:
        unsure = run.flush()
    if outcome.broken and not outcome.failed and not outcome.undeleted:
        # A link did not come, which was to mend the chains of snapshots that are kept.
        outcome.failed = 1
    finished = outcome.finished()
    emit(finished)
    if unsure is not None:
        raise unsure
    return finished


class _Run:
    """The two ends of a run, and what came of it so far."""

    def __init__(
        self,
        source: RedialledSource,
        destination: RedialledSink,
        options: StreamOptions,
        emit: Emit,
        *,
        outcome: Outcome,
        redialler: Redialler,
        bytes_per_second: float | None,
    ) -> None:
        self._source = source
        self._destination = destination
        self._options = options
        self._emit = emit
        self._limit = RateLimit(bytes_per_second) if bytes_per_second else None
        self._outcome = outcome
        self._redialler = redialler
        self._reached = 0
        """How far the current transfer has ever come, counted as its progress is."""
        self._vain = 0
        """How many transfers in a row failed because an end could not be reached."""
        self._links: set[UUID] = set()
        self.lost_links: set[UUID] = set()
        """Links that did not come."""

    def bring(self, plan: Plan) -> None:
        """Bring what was asked for."""
        number, count = 0, len(plan.transfers)
        for step in plan.steps:
            match step:
                case Keep():
                    self._outcome.present += 1
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
            self._outcome.adopted += 1
            self._emit(events.Adopted(adopt=step))

    def skip(self, step: Skip) -> None:
        self._outcome.failed += 1
        if step.snapshot.uuid not in self._links:  # it can have come as a link all the same
            self._outcome.missing.add(step.snapshot.uuid)
        self._emit(events.Skipped(skip=step))

    def _pass_over(self, step: Transfer, reason: Reason, detail: str = "") -> None:
        """Leave out what can't arrive, because of something that was told already."""
        if step.link:
            self._lose_link(step)
        elif step.reason is not Reason.REPLACEMENT:
            self.skip(Skip(snapshot=step.snapshot, path=step.path, reason=reason, detail=detail))

    def transfer(self, step: Transfer, number: int, count: int) -> None:
        if step.diff.parent in self._outcome.missing:
            self._pass_over(step, Reason.PARENT_FAILED, step.parent_path or "")
            return
        if self._vain >= VAIN_ATTEMPTS:
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
        self._outcome.transferred += 1
        self._outcome.sent_bytes += done.sent_bytes
        self._outcome.resumed_bytes += done.resumed_bytes
        self._outcome.seconds += done.seconds
        self._emit(done)

    def _move_faithfully(self, step: Transfer) -> events.TransferDone:
        """Send in the planned way; if the kernel gets that wrong, in ways that it gets right."""
        # What is gone on with must be the very stream that was interrupted.
        options = step.resume.options if step.resume else self._options
        ways = [(step.diff, options)]
        uncompressed = replace(options, compressed=False)
        ways += [(step.diff, uncompressed)] if options.compressed else []
        ways += [(Diff(step.diff.to), uncompressed)] if step.diff.parent else []
        for diff, options in ways:
            try:
                return self._move_persistently(step, diff, options)
            except UnfaithfulStreamError as error:
                if (diff, options) == ways[-1]:
                    raise
                self._emit(events.Warned(message=f"{error}; it is sent again in another way"))
        raise AssertionError(ways)  # the last way returns or raises

    def _move_persistently(
        self, step: Transfer, diff: Diff, options: StreamOptions
    ) -> events.TransferDone:
        """Send, once more each time that an end is lost in the middle of it, and comes back."""
        attempts = self._redialler.attempts(self._source, self._destination)
        start, self._reached = time.monotonic(), 0
        while True:
            try:
                done = self._move(step, diff, options)
            except PASSING as error:
                in_doubt = self._destination.lost
                attempts.after(error, reached=self._reached)
            else:
                if done.stored_bytes is not None:
                    return replace(done, seconds=time.monotonic() - start)
                # What was not planned to be there had come in this very run.
                again = max(0, done.resumed_bytes - step.resumed_bytes)
                return replace(
                    done,
                    sent_bytes=done.sent_bytes + again,
                    resumed_bytes=done.resumed_bytes - again,
                    seconds=time.monotonic() - start,
                )
            if in_doubt and self._destination.arrived(diff, step.path, link=step.link):
                # Only the answer was lost.
                as_planned = step.whole.exact and diff == step.diff
                nbytes = step.whole.nbytes if as_planned else self._reached
                return events.TransferDone(
                    transfer=step,
                    plain_bytes=nbytes,
                    sent_bytes=max(0, nbytes - step.resumed_bytes),
                    seconds=time.monotonic() - start,
                    resumed_bytes=step.resumed_bytes,
                )

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
        fresh = False
        for _ in range(_MOST_PAUSES):
            try:
                return self._send(step, diff, options, fresh=fresh)
            except PausedError as error:
                self._emit(events.Warned(message=f"{step.path}: {error.message}; it goes on"))
                fresh = False
            except RestartError as error:
                if fresh:
                    raise
                self._emit(events.Warned(message=f"{step.path}: {error.message}; it begins anew"))
                fresh = True
        return self._send(step, diff, options)

    def _send(
        self, step: Transfer, diff: Diff, options: StreamOptions, *, fresh: bool = False
    ) -> events.TransferDone:
        start = time.monotonic()
        # The sender is closed, and its failure raised, inside the receiver's block: a failed
        # send can't be committed.
        with (
            self._destination.receive(
                diff,
                step.path,
                options,
                expected=_expected(step) if diff == step.diff else None,
                link=step.link,
                snapshot=step.snapshot,
                fresh=fresh,
            ) as writer,
            self._resuming(step, writer),
            self._source.send(diff, options, resume=writer.resume) as reader,
        ):
            stored = reader if isinstance(reader, StoredReader) else None
            resumed = writer.resume.plain_bytes if writer.resume and step.plain else 0

            def progress(plain_bytes: int) -> None:
                done = stored.stored_bytes if stored else plain_bytes
                self._reached = max(self._reached, done)
                self._emit(events.TransferProgress(transfer=step, plain_bytes=done))

            sent = pump(reader, writer, limit=self._limit, progress=progress)
        done = events.TransferDone(
            transfer=step,
            plain_bytes=writer.plain_bytes,
            sent_bytes=stored.stored_bytes if stored else sent,
            seconds=time.monotonic() - start,
            resumed_bytes=resumed,
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

    def _resuming(self, step: Transfer, writer: Writer) -> AbstractContextManager[None]:
        """Say what a transfer goes on from, before the sender leaves that out; it takes a while."""
        if writer.resume is not None and step.plain:
            event = events.TransferResumed(transfer=step, plain_bytes=writer.resume.plain_bytes)
            self._emit(event)
        return nullcontext()

    def flush(self) -> ButterSinkError | None:
        """Let everything get to the disk of the destination; return why that is not sure."""
        try:
            self._destination.flush()
        except ButterSinkError as error:
            # If something failed before, why was told. Snapshots are on the disk before they
            # are named.
            gone = isinstance(error, UnavailableError) or self._destination.lost
            told = self._outcome.broken or self._outcome.undeleted
            return None if gone and told else error
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
        size = done.transfer.whole
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
        self._outcome.broken = True
        if isinstance(step, Adopt):
            self._outcome.failed += 1
        elif step.link:
            self._lose_link(step)
        elif step.reason is not Reason.REPLACEMENT:  # that is there as before
            self._outcome.failed += 1
            self._outcome.missing.add(step.snapshot.uuid)
        self._emit(events.Failed(step=step, error=error))

    def _lose_link(self, step: Transfer) -> None:
        """Take note of a link that did not come; nobody asked for it."""
        self._outcome.missing.add(step.snapshot.uuid)
        self.lost_links.add(step.snapshot.uuid)


def _expected(step: Transfer) -> Size:
    """Return the size of the plain stream, as far as it is known."""
    return step.whole if step.plain else Size(step.whole.nbytes, Certainty.ESTIMATE)

"""The two ways to receive: by a program of our own, or by `btrfs receive`."""

from __future__ import annotations

import os
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from buttersink.btrfs.progs_receive import find_program
from buttersink.btrfs.receive import ReceiverProcess
from buttersink.errors import ButterSinkError, RestartError
from buttersink.stores.landing import RECEIVED_NAME
from buttersink.stores.passing import ProgramReceiving
from buttersink.stores.receiving import ResumableReceiving
from buttersink.stream.guard import Expectation, Rewrite, StreamGuard

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from uuid import UUID

    from buttersink.btrfs.hosting import ReceiverHost
    from buttersink.model import Diff, Size, StreamOptions
    from buttersink.receiving import Pace
    from buttersink.stores.checkpoints import Saved
    from buttersink.stores.landing import Landing


@dataclass(frozen=True, slots=True, kw_only=True)
class Incoming:
    """A stream that is to be received.

    Attributes:
        diff: What it makes from what.
        options: How it is made.
        expected: Its size, as far as known.
        fresh: Begin anew, whatever has been received already.
        open_snapshot: Opens the top directory of the parent, or of another snapshot that the
            stream may clone from; raises `MissingError` for all others.
        lock_fd: A lock that must be held as long as a foreign program runs, also without us.
    """

    diff: Diff
    options: StreamOptions
    expected: Size | None
    fresh: bool
    open_snapshot: Callable[[UUID], int]
    lock_fd: int | None

    @property
    def expectation(self) -> Expectation:
        """What the stream must be."""
        diff = self.diff
        return Expectation(
            to=frozenset({diff.to}),
            parents=frozenset({diff.parent}) if diff.parent else None,
            max_version=self.options.version,
        )


@contextmanager
def received_by_own(
    landing: Landing, incoming: Incoming, pace: Pace, host: ReceiverHost
) -> Iterator[ResumableReceiving]:
    """Receive in `landing` by our own program, going on from what is there if that is possible.

    After the block everything is applied, or as much as is worth while is kept.
    """
    host.start()  # it loads while the subvolume is being made
    saved = _prepare(landing, incoming)
    with ReceiverProcess(host) as process:
        received_fd = landing.open_received()
        try:
            process.begin(
                received_fd,
                incoming.expectation,
                find=incoming.open_snapshot,
                after=saved.after if saved else None,
            )
        finally:
            os.close(received_fd)
        writer = ResumableReceiving(
            process,
            landing,
            pace,
            diff=incoming.diff,
            options=incoming.options,
            expected=incoming.expected,
            saved=saved,
        )
        try:
            yield writer
            writer.finish()
        except BaseException as error:
            interrupted = not isinstance(error, Exception)
            if saved is not None and process.gave_up and not interrupted:
                raise RestartError(f"what was kept is of no use: {error}") from error
            with suppress(ButterSinkError):  # what went wrong first is what counts
                writer.keep(error)
            raise


def _prepare(landing: Landing, incoming: Incoming) -> Saved | None:
    """Make the subvolume to receive in; return what it goes on from."""
    parent = incoming.diff.parent
    # Also when going on: without the parent the rest of the stream can't be applied.
    parent_fd = None if parent is None else incoming.open_snapshot(parent)
    try:
        saved = None if incoming.fresh else landing.find_saved()
        if saved is not None and _fits(saved, incoming):
            landing.go_on(saved)
            return saved
        landing.begin(parent_fd)
        return None
    finally:
        if parent_fd is not None:
            os.close(parent_fd)


def _fits(saved: Saved, incoming: Incoming) -> bool:
    checkpoint = saved.checkpoint
    return (checkpoint.diff, checkpoint.options) == (incoming.diff, incoming.options)


@contextmanager
def received_by_program(landing: Landing, incoming: Incoming) -> Iterator[ProgramReceiving]:
    """Receive in `landing` by `btrfs receive`, from the start."""
    parent = incoming.diff.parent
    parent_fd = None if parent is None else incoming.open_snapshot(parent)
    try:
        alias = landing.prepare_for_program(parent_fd)
    finally:
        if parent_fd is not None:
            os.close(parent_fd)
    guard = StreamGuard(
        incoming.expectation,
        Rewrite(name=RECEIVED_NAME, uuids={parent: alias} if parent and alias else {}),
    )
    with landing.program(find_program(), incoming.lock_fd) as process:
        writer = ProgramReceiving(process, guard)
        yield writer
        guard.finish()
        process.finish()
    writer.ctransid = landing.take_from_program()

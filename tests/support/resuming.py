"""Transfers between two directories that are broken off, and gone on with, in this process."""

from __future__ import annotations

import os
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from uuid import UUID

from buttersink.errors import UnavailableError
from buttersink.model import Diff, StreamOptions
from buttersink.receiving import Pace
from buttersink.settings import Settings
from buttersink.stores.btrfs import BtrfsStore
from buttersink.sync import sync
from buttersink.transfer import pump
from contract.carrying import FailingReader
from support.demanding import NAMES
from support.subvolume_facts import identity
from support.sync_ends import Told

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from buttersink.events import Finished
    from buttersink.model import Partial, Position
    from buttersink.store import Reader

LONGEST_COMMAND: Final = 256 << 10
"""More than any command of a stream that kernels make takes."""
LEAST_KEPT: Final = 1 << 20
"""Of an interrupted transfer no less than that is kept, unless checkpoints are closer together."""
LOST: Final = "the link was lost"


@dataclass(frozen=True, slots=True)
class Cut:
    """Where a stream is broken off, and by what.

    Attributes:
        after: After so many bytes of what is sent.
        error: What the sender fails with.
    """

    after: int
    error: BaseException


class CutSource(BtrfsStore):
    """A source whose streams break off, once each, and that makes streams of one kind.

    Attributes:
        cuts: What is still to befall the streams, one after the other.
        sent: How many bytes of streams have left it.
    """

    def __init__(
        self, directory: Path, *cuts: Cut | int, options: StreamOptions | None = None
    ) -> None:
        super().__init__(f"{directory}/")
        self.cuts = [
            cut if isinstance(cut, Cut) else Cut(cut, UnavailableError(LOST)) for cut in cuts
        ]
        self.sent = 0
        self._options = options

    def stream_options(self) -> StreamOptions:
        return self._options or super().stream_options()

    @contextmanager
    def send(
        self, diff: Diff, options: StreamOptions, *, resume: Position | None = None
    ) -> Iterator[Reader]:
        with super().send(diff, options, resume=resume) as reader:
            counted: Reader = _Counting(reader, self)
            if self.cuts:
                cut = self.cuts.pop(0)
                counted = FailingReader(counted, cut.error, after=cut.after)
            yield counted


class _Counting:
    def __init__(self, reader: Reader, source: CutSource) -> None:
        self._reader = reader
        self._source = source

    def readinto(self, buffer: memoryview, /) -> int:
        count = self._reader.readinto(buffer)
        self._source.sent += count
        return count


def destination(directory: Path, *, nbytes: int = 4 << 20) -> BtrfsStore:
    """Open a destination that keeps what has come after so many bytes each."""
    return BtrfsStore(f"{directory}/", pace=Pace(nbytes=nbytes, seconds=600.0))


def run(
    snaps: Path,
    backup: Path,
    *cuts: Cut | int,
    settings: Settings | None = None,
    nbytes: int = 4 << 20,
) -> tuple[Finished, Told, int]:
    """Sync, with the streams broken off in turn.

    Returns:
        What came of it, what was told, and how many bytes of streams the source has sent.
    """
    told = Told()
    with (
        closing(CutSource(snaps, *cuts)) as source,
        closing(destination(backup, nbytes=nbytes)) as sink,
    ):
        finished = sync(source, sink, settings or Settings(), told.append)
        return finished, told, source.sent


def partials(backup: Path) -> tuple[Partial, ...]:
    """Return the leftovers in a directory."""
    with closing(BtrfsStore(f"{backup}/")) as store:
        return store.inventory().partials


def partial(backup: Path) -> Partial:
    """Return the only leftover in a directory."""
    (found,) = partials(backup)
    return found


def kept_bytes(backup: Path) -> int:
    """Return how many bytes of its stream the only leftover can be gone on from; 0 if none."""
    found = partials(backup)
    assert len(found) <= 1
    return found[0].checkpoint.position.offset if found and found[0].checkpoint else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Errand:
    """One stream from a directory to another.

    Attributes:
        snaps: The source.
        backup: The destination.
        diff: What the stream makes of what.
        path: Where it comes to.
        options: How it is made.
    """

    snaps: Path
    backup: Path
    diff: Diff
    path: str
    options: StreamOptions

    @classmethod
    def all(cls, snaps: Path, backup: Path, options: StreamOptions) -> Iterator[Errand]:
        """Yield those that bring the demanding snapshots: the first in full."""
        parent = None
        for name in NAMES:
            uuid = UUID(identity(snaps / name))
            diff = Diff(uuid, parent)
            yield cls(snaps=snaps, backup=backup, diff=diff, path=name, options=options)
            parent = uuid

    def run(self, cut: Cut | int | None = None, *, nbytes: int = 4 << 20) -> int:
        """Send it once, from where it was left; return how many bytes that took.

        Raises:
            BaseException: That of the cut.
        """
        cuts = () if cut is None else (cut,)
        with (
            closing(CutSource(self.snaps, *cuts)) as source,
            closing(destination(self.backup, nbytes=nbytes)) as sink,
            sink.receive(self.diff, self.path, self.options) as writer,
            source.send(self.diff, self.options, resume=writer.resume) as reader,
        ):
            return pump(reader, writer, progress=lambda _: None)

    def length(self) -> int:
        """Return how many bytes the stream has."""
        nbytes, buffer = 0, memoryview(bytearray(1 << 20))
        with (
            closing(BtrfsStore(f"{self.snaps}/")) as source,
            source.send(self.diff, self.options) as reader,
        ):
            while count := reader.readinto(buffer):
                nbytes += count
        return nbytes


def received_bytes(backup: Path) -> int:
    """Return how many bytes the files have of what is being received."""
    total = 0
    for top in backup.glob(".buttersink-*.part/new"):
        with suppress(FileNotFoundError):  # it changes all the time
            for path in top.rglob("*"):
                total += path.lstat().st_size
    return total


def names(directory: Path) -> set[str]:
    """Return what is in a directory."""
    return set(os.listdir(directory))

"""Ends to sync between, stores that misbehave on purpose, and what a run told."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, NoReturn, TypeVar

from buttersink.errors import ButterSinkError, TransferError, UnfaithfulStreamError
from buttersink.model import Size, StreamOptions
from buttersink.settings import Settings
from buttersink.sync import sync
from contract.carrying import FailingReader, failing_at_exit
from contract.memory_disk import MemoryDisk
from contract.memory_store import MemoryStore

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from uuid import UUID

    from buttersink.events import Event, Finished
    from buttersink.model import Diff, Partial, Position, Snapshot
    from buttersink.plan import Plan
    from buttersink.store import Reader, Sink, Source, Writer

E = TypeVar("E")

LARGE = 100_000
"""Bytes of the file that all snapshots of a history share."""


def history(disk: MemoryDisk, count: int, *, lineage: str = "live", within: str = "snaps") -> None:
    """Take the snapshots `within`/1, ... of a subvolume that grows by a kilobyte in between."""
    content = {b"large": lineage.encode() * (LARGE // len(lineage))}
    for number in range(1, count + 1):
        content[b"file %d" % number] = b"x" * 1000
        disk.take_snapshot(f"{within}/{number}", content, lineage=lineage)


def source_disk(count: int = 3) -> MemoryDisk:
    """Return a disk with the snapshots snaps/1, ..."""
    disk = MemoryDisk("source")
    history(disk, count)
    return disk


def copied(disk: MemoryDisk, paths: list[str]) -> MemoryDisk:
    """Return a destination that a run has brought these snapshots of `disk` to."""
    destination = MemoryDisk("destination")
    for path in paths:
        run(MemoryStore(disk, "snaps"), MemoryStore(destination, "backup"), Settings(one=path))
    return destination


def contents(disk: MemoryDisk, directory: str) -> dict[str, tuple[UUID, Mapping[bytes, bytes]]]:
    """Return identity and content of each snapshot below a directory, by relative path."""
    return {
        path.removeprefix(f"{directory}/"): (kept.image.uuid, kept.image.content)
        for path, kept in disk.snapshots.items()
        if path.startswith(f"{directory}/")
    }


class Told(list["Event"]):
    """What a run told."""

    def all(self, kind: type[E]) -> list[E]:
        """Return the events of a kind."""
        return [event for event in self if isinstance(event, kind)]

    def the(self, kind: type[E]) -> E:
        """Return the only event of a kind."""
        (event,) = self.all(kind)
        return event


def run(
    source: Source, destination: Sink, settings: Settings | None = None
) -> tuple[Finished, Told]:
    """Sync; return what came of it, and all that was told."""
    told = Told()
    return sync(source, destination, settings or Settings(), told.append), told


class ReadOnlyStore(MemoryStore):
    """Fails on every verb that could change anything."""

    def lock(self) -> NoReturn:
        raise AssertionError("lock")

    def receive(
        self,
        diff: Diff,
        path: str,
        options: StreamOptions,
        *,
        expected: Size | None = None,
        link: bool = False,
        snapshot: Snapshot | None = None,
        fresh: bool = False,
    ) -> NoReturn:
        del expected, link, snapshot, fresh
        raise AssertionError(f"receive {diff} at {path} as {options}")

    def copy(self, source: Source, diff: Diff, path: str, *, link: bool = False) -> NoReturn:
        del link
        raise AssertionError(f"copy {diff} from {source.name} to {path}")

    def release(self, uuid: UUID) -> NoReturn:
        raise AssertionError(f"release {uuid}")

    def adopt(self, snapshot: Snapshot, path: str) -> NoReturn:
        raise AssertionError(f"adopt {snapshot} at {path}")

    def delete(self, uuid: UUID, path: str) -> NoReturn:
        raise AssertionError(f"delete {uuid} at {path}")

    def hide(self, uuid: UUID, path: str) -> NoReturn:
        raise AssertionError(f"hide {uuid} at {path}")

    def discard(self, diff: Diff, path: str) -> NoReturn:
        raise AssertionError(f"discard {diff} at {path}")

    def clean(self, partial: Partial) -> NoReturn:
        raise AssertionError(f"clean {partial}")

    def flush(self) -> NoReturn:
        raise AssertionError("flush")


class RecordingStore(MemoryStore):
    """Writes down every verb that changes something."""

    def __init__(self, disk: MemoryDisk, directory: str, *, version: int = 1) -> None:
        super().__init__(disk, directory, version=version)
        self.changes: list[str] = []
        self.options: list[StreamOptions] = []

    @contextmanager
    def receive(
        self,
        diff: Diff,
        path: str,
        options: StreamOptions,
        *,
        expected: Size | None = None,
        link: bool = False,
        snapshot: Snapshot | None = None,
        fresh: bool = False,
    ) -> Iterator[Writer]:
        self.changes.append(f"receive link {path}" if link else f"receive {path}")
        self.options.append(options)
        with super().receive(
            diff,
            path,
            options,
            expected=expected,
            link=link,
            snapshot=snapshot,
            fresh=fresh,
        ) as writer:
            yield writer

    def release(self, uuid: UUID) -> None:
        self.changes.append(f"release {uuid}")
        super().release(uuid)

    def adopt(self, snapshot: Snapshot, path: str) -> None:
        self.changes.append(f"adopt {path}")
        super().adopt(snapshot, path)

    def delete(self, uuid: UUID, path: str) -> None:
        self.changes.append(f"delete {path}")
        super().delete(uuid, path)

    def clean(self, partial: Partial) -> None:
        self.changes.append(f"clean {partial.path}")
        super().clean(partial)

    def flush(self) -> None:
        self.changes.append("flush")


class RefusingStore(MemoryStore):
    """Cannot receive at some paths, nor change what is at them."""

    def __init__(
        self,
        disk: MemoryDisk,
        directory: str,
        *,
        refused: set[str],
        kind: type[ButterSinkError] = TransferError,
    ) -> None:
        super().__init__(disk, directory)
        self._refused = refused
        self._kind = kind

    def _refuse(self, path: str) -> None:
        if path in self._refused:
            raise self._kind(f"no {path}")

    @contextmanager
    def receive(
        self,
        diff: Diff,
        path: str,
        options: StreamOptions,
        *,
        expected: Size | None = None,
        link: bool = False,
        snapshot: Snapshot | None = None,
        fresh: bool = False,
    ) -> Iterator[Writer]:
        self._refuse(path)
        with super().receive(
            diff,
            path,
            options,
            expected=expected,
            link=link,
            snapshot=snapshot,
            fresh=fresh,
        ) as writer:
            yield writer

    def adopt(self, snapshot: Snapshot, path: str) -> None:
        self._refuse(path)
        super().adopt(snapshot, path)

    def delete(self, uuid: UUID, path: str) -> None:
        self._refuse(path)
        super().delete(uuid, path)

    def clean(self, partial: Partial) -> None:
        self._refuse(partial.path)
        super().clean(partial)


class LyingStore(MemoryStore):
    """Measures what isn't so."""

    def __init__(self, disk: MemoryDisk, directory: str, *, factor: float, off: int = 0) -> None:
        super().__init__(disk, directory)
        self._factor = factor
        self._off = off

    def measure(self, diff: Diff, options: StreamOptions, limit: int | None = None) -> Size:
        true = super().measure(diff, options, limit)
        return Size(int(true.nbytes * self._factor) + self._off, true.certainty)


class UnmeasurableStore(MemoryStore):
    """Can't measure some diffs, nor send them."""

    def __init__(self, disk: MemoryDisk, directory: str, *, failing: set[Diff]) -> None:
        super().__init__(disk, directory)
        self._failing = failing

    def measure(self, diff: Diff, options: StreamOptions, limit: int | None = None) -> Size:
        self._fail(diff)
        return super().measure(diff, options, limit)

    def estimate(self, diff: Diff) -> Size:
        self._fail(diff)
        return super().estimate(diff)

    @contextmanager
    def send(
        self, diff: Diff, options: StreamOptions, *, resume: Position | None = None
    ) -> Iterator[Reader]:
        self._fail(diff)
        with super().send(diff, options, resume=resume) as reader:
            yield reader

    def _fail(self, diff: Diff) -> None:
        if diff in self._failing:
            raise TransferError("input/output error")


class UnmeasuringStore(MemoryStore):
    """Must not be asked to measure."""

    def measure(self, diff: Diff, options: StreamOptions, limit: int | None = None) -> Size:
        raise AssertionError(f"measure {diff} as {options} up to {limit}")


class BreakingStore(MemoryStore):
    """Its streams end with an error: at their end, or after some bytes."""

    def __init__(
        self, disk: MemoryDisk, directory: str, *, error: BaseException, after: int | None
    ) -> None:
        super().__init__(disk, directory)
        self._error = error
        self._after = after

    @contextmanager
    def send(
        self, diff: Diff, options: StreamOptions, *, resume: Position | None = None
    ) -> Iterator[Reader]:
        with super().send(diff, options, resume=resume) as reader:
            if self._after is None:
                with failing_at_exit(reader, self._error) as whole:
                    yield whole
            else:
                yield FailingReader(reader, self._error, after=self._after)


def transfers(plan: Plan) -> dict[str, str | None]:
    """Return the paths of the transfers of a plan, with what each builds on."""
    return {transfer.path: transfer.parent_path for transfer in plan.transfers}


class UnfaithfulStore(MemoryStore):
    """Finds out after sending that some kinds of streams don't hold what they should."""

    def __init__(self, disk: MemoryDisk, directory: str, *, compressed_only: bool) -> None:
        super().__init__(disk, directory, version=2)
        self._compressed_only = compressed_only

    def stream_options(self) -> StreamOptions:
        return StreamOptions(version=2, compressed=True)

    @contextmanager
    def send(
        self, diff: Diff, options: StreamOptions, *, resume: Position | None = None
    ) -> Iterator[Reader]:
        with super().send(diff, options, resume=resume) as reader:
            yield reader
        if options.compressed or (diff.parent is not None and not self._compressed_only):
            raise UnfaithfulStreamError("it lacks something")

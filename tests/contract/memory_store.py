"""A store that keeps its snapshots in memory: small, but with every promise of `store.Sink`.

What moves between memory stores are genuine send streams, and each passes a `StreamGuard`.
"""

from __future__ import annotations

import io
import os
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING

from buttersink.errors import (
    MissingError,
    NoSpaceError,
    PathTakenError,
    TransferError,
    UsageError,
)
from buttersink.model import (
    Certainty,
    Diff,
    Inventory,
    Mode,
    Partial,
    Size,
    Snapshot,
    StreamOptions,
)
from buttersink.stores.one_by_one import measure_one_by_one
from buttersink.stores.resuming import drop_beginning
from buttersink.stores.staying import StayingEnd
from buttersink.stream.format import HEADER_SIZE
from buttersink.stream.guard import Expectation, StreamGuard
from contract.memory_disk import Kept, directories
from contract.memory_streams import Image, apply_stream, make_stream, sent_generation

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager
    from uuid import UUID

    from buttersink.errors import ButterSinkError
    from buttersink.model import Measurement, Position
    from buttersink.store import Reader, Source, Writer
    from contract.memory_disk import MemoryDisk


class MemoryStore(StayingEnd):
    """The snapshots below one directory of a memory disk; implements `store.Sink`.

    Args:
        disk: What it is on; several stores can be.
        directory: Path from the top of the disk.
        version: The newest stream version that it makes and takes.
    """

    def __init__(self, disk: MemoryDisk, directory: str, *, version: int = 1) -> None:
        self.name = f"{disk.name}:{directory}"
        self._disk = disk
        self._directory = directory
        self._options = StreamOptions(version=version)
        self._holds = False

    def close(self) -> None:
        """See `store.Source`; there is nothing to let go of."""

    def place(self) -> tuple[MemoryDisk, str]:
        """See `store.Source`."""
        return self._disk, self._directory

    # Reading

    def inventory(self) -> Inventory:
        """See `store.Source`."""
        disk = self._disk
        links = (
            Partial(path=below, uuid=kept.image.uuid, link=True)
            for path, kept in disk.links.items()
            if (below := self._below(path)) is not None
        )
        partials = (
            Partial(path=below, uuid=uuid)
            for path, uuid in disk.partials.items()
            if (below := self._below(path)) is not None
        )
        snapshots = map(self._snapshot, disk.identities())
        return Inventory(
            snapshots=tuple(sorted(snapshots, key=lambda s: (os.fsencode(s.path), s.uuid))),
            partials=tuple(sorted((*links, *partials), key=lambda p: os.fsencode(p.path))),
        )

    def parents(self, uuids: Collection[UUID]) -> tuple[Snapshot, ...]:
        """See `store.Source`; the inventory has all of the disk."""
        del uuids
        return ()

    def stream_options(self) -> StreamOptions:
        """See `store.Source`."""
        return self._options

    def measure(self, diff: Diff, options: StreamOptions, limit: int | None = None) -> Size:
        """See `store.Source`."""
        nbytes = len(self._stream(diff, options))
        if limit is not None and nbytes > limit:
            return Size(limit + 1, Certainty.AT_LEAST)
        return Size(nbytes)

    def measure_each(
        self, measurements: Sequence[Measurement], options: StreamOptions
    ) -> Iterator[Size | ButterSinkError]:
        """See `store.Source`."""
        return measure_one_by_one(self, measurements, options)

    def estimate(self, diff: Diff) -> Size:
        """See `store.Source`; the fuller and the farther apart, the more."""
        to = self._kept(diff.to)
        whole = sum(map(len, to.image.content.values()))
        if diff.parent is None:
            return Size(whole, Certainty.ESTIMATE)
        apart = abs(to.image.generation - self._kept(diff.parent).image.generation)
        return Size(whole * apart // (apart + 100), Certainty.ESTIMATE)

    def recorded_sizes(self, snapshots: Iterable[Snapshot]) -> Mapping[Diff, Size]:
        """See `store.Source`; no old program ever wrote here."""
        del snapshots
        return {}

    def notes(self) -> tuple[str, ...]:
        """See `store.Source`."""
        return ()

    def unready(self, diffs: Iterable[Diff]) -> Mapping[Diff, str]:
        """See `store.Source`; nothing is archived."""
        del diffs
        return {}

    def thaw(self, diffs: Iterable[Diff], days: int) -> None:
        """See `store.Source`; nothing is archived."""

    @contextmanager
    def send(
        self, diff: Diff, options: StreamOptions, *, resume: Position | None = None
    ) -> Iterator[Reader]:
        """See `store.Source`."""
        stream = io.BytesIO(self._stream(diff, options))
        drop_beginning(stream, resume)
        yield stream

    @contextmanager
    def outline(self, diff: Diff, version: int) -> Iterator[Reader]:
        """See `store.Source`; of what there is in memory, nothing is left out."""
        yield io.BytesIO(self._stream(diff, StreamOptions(version=version)))

    # Adding

    @property
    def mode(self) -> Mode:
        """See `store.Sink`."""
        return Mode.WRITE

    def accepts(self) -> StreamOptions:
        """See `store.Sink`."""
        return self._options

    @contextmanager
    def lock(self) -> Iterator[None]:
        """See `store.Sink`."""
        with self._disk.lock(self._directory):
            self._holds = True
            try:
                yield
            finally:
                self._holds = False

    def taken(self, paths: Iterable[str]) -> frozenset[str]:
        """See `store.Sink`."""
        return frozenset(path for path in paths if self._disk.exists(self._full(path)))

    def free_bytes(self) -> int | None:
        """See `store.Sink`."""
        return self._disk.free_bytes()

    def stored_fraction(self) -> None:
        """See `store.Sink`; it holds subvolumes."""

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
        """See `store.Sink`; a stream that failed after its head leaves a partial."""
        del expected, snapshot, fresh
        final = self._full(path)
        if link:
            final = self._full(_link_name(diff.to))
        self._refuse_taken(final)
        parent = self._kept(diff.parent) if diff.parent else None
        partial = self._full(f".partial-{diff.to}")
        self._disk.partials.pop(partial, None)
        receiving = _Receiving(diff, options, room=self._disk.free_bytes())
        try:
            yield receiving
            stream = receiving.finish()
            content = apply_stream(stream, parent.image.content if parent else {})
            self._refuse_taken(final)
        except BaseException:
            if receiving.begun:
                self._disk.partials[partial] = diff.to
            raise
        held = self._disk.links if link else self._disk.snapshots
        held[final] = Kept(
            image=Image(uuid=diff.to, generation=self._disk.next_generation(), content=content),
            origin_generation=sent_generation(stream),
            lineage=parent.lineage if parent else str(diff.to),
            parent_uuid=diff.parent,
            ancestor=diff.parent,
            received=True,
            nbytes=len(stream),
        )

    def copy(self, source: Source, diff: Diff, path: str, *, link: bool = False) -> int | None:
        """See `store.Sink`; there are no stored streams to copy."""
        del source, diff, path, link
        return None

    def release(self, uuid: UUID) -> None:
        """See `store.Sink`."""
        if self._disk.links.pop(self._full(_link_name(uuid)), None) is None:
            raise MissingError(f"{self.name} has no link {uuid}")

    def adopt(self, snapshot: Snapshot, path: str) -> None:
        """See `store.Sink`."""
        original = self._kept(snapshot.uuid)
        self._refuse_taken(final := self._full(path))
        self._disk.snapshots[final] = replace(
            original,
            image=replace(original.image, generation=self._disk.next_generation()),
            received=True,
            nbytes=0,
        )

    # Removing

    def delete(self, uuid: UUID, path: str) -> None:
        """See `store.Sink`."""
        kept = self._disk.snapshots.get(self._full(path))
        if kept is None or kept.image.uuid != uuid:
            raise MissingError(f"{path} is not the snapshot {uuid}; nothing was deleted")
        del self._disk.snapshots[self._full(path)]

    def hide(self, uuid: UUID, path: str) -> None:
        """See `store.Sink`; it holds no streams."""
        raise MissingError(f"{path} is no stored stream of {uuid}")

    def discard(self, diff: Diff, path: str) -> None:
        """See `store.Sink`; it holds no streams."""
        raise MissingError(f"{path} is no stored stream of {diff.to}")

    def clean(self, partial: Partial) -> None:
        """See `store.Sink`; whoever builds on a link holds the directory that it is in."""
        full = self._full(partial.path)
        gone = MissingError(f"{partial.path} is gone already")
        if partial.link:
            with self._alone_in(full.rpartition("/")[0]):
                if self._disk.links.pop(full, None) is None:
                    raise gone
        elif self._disk.partials.pop(full, None) is None:
            raise gone

    def flush(self) -> None:
        """See `store.Sink`; no memory survives a power cut."""

    # Within

    def _full(self, path: str) -> str:
        """Return a relative path as one from the top of the disk.

        Raises:
            UsageError: It leads elsewhere.
        """
        if any(part in {"", ".", ".."} or "\0" in part for part in path.split("/")):
            raise UsageError(f"{path!r} is no path below a directory")
        return f"{self._directory}/{path}"

    def _below(self, path: str) -> str | None:
        start = f"{self._directory}/"
        return path.removeprefix(start) if path.startswith(start) else None

    def _alone_in(self, directory: str) -> AbstractContextManager[None]:
        if self._holds and directory == self._directory:
            return nullcontext()
        return self._disk.lock(directory)

    def _shown(self, path: str) -> str | None:
        return None if path in self._disk.links else self._below(path)

    def _kept(self, uuid: UUID) -> Kept:
        copies = self._disk.copies(uuid)
        if not copies:
            raise MissingError(f"{self.name} has no snapshot {uuid}")
        return self._disk.snapshots.get(copies[0]) or self._disk.links[copies[0]]

    def _snapshot(self, uuid: UUID) -> Snapshot:
        copies = self._disk.copies(uuid)
        first = self._kept(uuid)
        inside = [below for path in copies if (below := self._shown(path)) is not None]
        return Snapshot(
            uuid=uuid,
            paths=tuple(inside),
            elsewhere=tuple(path for path in copies if self._shown(path) is None),
            created=first.created,
            received=first.received,
            generation=first.image.generation,
            origin_generation=first.origin_generation,
            lineage=first.lineage,
            parent_uuid=first.parent_uuid,
            ancestor=first.ancestor,
        )

    def _stream(self, diff: Diff, options: StreamOptions) -> bytes:
        to = self._kept(diff.to)
        parent = self._kept(diff.parent).image if diff.parent else None
        name = self._disk.copies(diff.to)[0].rpartition("/")[2]
        return make_stream(os.fsencode(name), to.image, parent, version=options.version)

    def _refuse_taken(self, full: str) -> None:
        if self._disk.exists(full):
            raise PathTakenError(f"something else is at {full}", "move it away")
        if any(directory in self._disk.snapshots for directory in directories(full)):
            raise TransferError(f"{full} lies inside a snapshot, which is read-only")


def _link_name(uuid: UUID) -> str:
    return f".link-{uuid}"


class _Receiving:
    """The writer of a receive: collects what the guard lets pass."""

    def __init__(self, diff: Diff, options: StreamOptions, *, room: int | None) -> None:
        self._guard = StreamGuard(
            Expectation(
                to=frozenset({diff.to}),
                parents=frozenset({diff.parent}) if diff.parent else None,
                max_version=options.version,
            )
        )
        self._room = room
        self._passed = bytearray()
        self.begun = False

    @property
    def plain_bytes(self) -> int:
        return self._guard.plain_bytes

    @property
    def resume(self) -> None:
        """It keeps nothing of what was interrupted."""

    def write(self, data: memoryview) -> None:
        for part in self._guard.push(data):
            self._passed += part
        self.begun = self.begun or len(self._passed) > HEADER_SIZE
        if self._room is not None and len(self._passed) > self._room:
            raise NoSpaceError("the disk is full", "free some space and run again")

    def finish(self) -> bytes:
        self._guard.finish()
        return bytes(self._passed)

"""What memory stores keep their snapshots on, as a file system is what btrfs stores are on."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from uuid import UUID, uuid5

from buttersink.errors import BusyError
from contract.memory_streams import Image

if TYPE_CHECKING:
    from collections.abc import Iterator

    from contract.memory_streams import Content

_NAMESPACE = UUID("6d656d6f-7279-4d45-8d4f-525964697363")
_START = datetime(2024, 2, 29, 12, 0, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A snapshot at one path.

    Attributes:
        image: What streams say of it; its generation is its place in the order of this disk.
        origin_generation: Its place in the order of the disk that it came from.
        lineage: Equal for those that share history.
        parent_uuid: What it was made from: another snapshot, or a subvolume.
        ancestor: The snapshot that it was received on.
        received: Whether it came by a stream, or was adopted.
        nbytes: What it takes of the disk's capacity.
    """

    image: Image
    origin_generation: int
    lineage: str
    parent_uuid: UUID | None = None
    ancestor: UUID | None = None
    received: bool = False
    nbytes: int = 0

    @property
    def created(self) -> datetime:
        """A minute a generation, as nothing here may depend on the clock."""
        return _START + timedelta(minutes=self.image.generation)


class MemoryDisk:
    """A tree of directories, with snapshots, partials and other files in it.

    Paths are relative to its top. A directory is there as long as something is in it.

    Attributes:
        name: Distinguishes it from other disks: the identities of its snapshots depend on it.
        capacity: Bytes that fit on it; None if it can't tell, and takes everything.
        snapshots: By path.
        links: Snapshots that are only there to build others on, by hidden path.
        partials: By path: what each was to become.
        files: Paths of other things, which are left alone.
    """

    def __init__(self, name: str, *, capacity: int | None = None) -> None:
        self.name = name
        self.capacity = capacity
        self.snapshots: dict[str, Kept] = {}
        self.links: dict[str, Kept] = {}
        self.partials: dict[str, UUID] = {}
        self.files: set[str] = set()
        self._locked: set[str] = set()
        self._generation = 0

    def take_snapshot(self, path: str, content: Content, *, lineage: str = "live") -> UUID:
        """Make a snapshot of a subvolume that has this content now; return its identity."""
        generation = self.next_generation()
        uuid = uuid5(_NAMESPACE, f"{self.name} {generation}")
        image = Image(uuid=uuid, generation=generation, content=dict(content))
        self.snapshots[path] = Kept(
            image=image,
            origin_generation=generation,
            lineage=lineage,
            parent_uuid=uuid5(_NAMESPACE, f"{self.name} {lineage}"),
        )
        return uuid

    def next_generation(self) -> int:
        """Count a change."""
        self._generation += 1
        return self._generation

    def copies(self, uuid: UUID) -> list[str]:
        """Return where a snapshot is, sorted, and after that where it is a link."""
        return [
            path
            for held in (self.snapshots, self.links)
            for path in sorted(held)
            if held[path].image.uuid == uuid
        ]

    def identities(self) -> set[UUID]:
        """Return the identities of all snapshots, links among them."""
        return {kept.image.uuid for kept in self._kept()}

    def exists(self, path: str) -> bool:
        """Return whether anything is at `path`, or stands where it needs a directory."""
        there = self.snapshots.keys() | self.links.keys() | self.partials.keys() | self.files
        if path in there or any(other.startswith(f"{path}/") for other in there):
            return True
        return any(directory in self.files for directory in directories(path))

    def free_bytes(self) -> int | None:
        """Return how much more fits."""
        if self.capacity is None:
            return None
        return self.capacity - sum(kept.nbytes for kept in self._kept())

    @contextmanager
    def lock(self, directory: str) -> Iterator[None]:
        """Hold a directory."""
        if directory in self._locked:
            raise BusyError(f"another run holds {self.name}:{directory}", "wait until it has ended")
        self._locked.add(directory)
        try:
            yield
        finally:
            self._locked.remove(directory)

    def _kept(self) -> Iterator[Kept]:
        yield from self.snapshots.values()
        yield from self.links.values()


def directories(path: str) -> Iterator[str]:
    """Yield the directories that lead to `path`, outermost first."""
    parts = path.split("/")
    for depth in range(1, len(parts)):
        yield "/".join(parts[:depth])

"""A memory store as it looks from far away: with rights, secrets, and a price for each question."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from buttersink.errors import MissingError, RefusedError
from buttersink.model import Mode
from contract.memory_store import MemoryStore

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence
    from uuid import UUID

    from buttersink.errors import ButterSinkError
    from buttersink.model import (
        Diff,
        Inventory,
        Measurement,
        Partial,
        Size,
        Snapshot,
        StreamOptions,
    )
    from contract.memory_disk import MemoryDisk


class FarMemoryStore(MemoryStore):
    """Keeps what lies outside its directory to itself, though others may be built on it.

    Args:
        disk: What it is on.
        directory: Path from the top of the disk.
        version: The newest stream version that it makes and takes.
        mode: What it was opened for; the verbs of mode w are refused without that.

    Attributes:
        rounds: How many times it was asked to measure something.
    """

    def __init__(
        self, disk: MemoryDisk, directory: str, *, version: int = 1, mode: Mode = Mode.WRITE
    ) -> None:
        super().__init__(disk, directory, version=version)
        self._mode = mode
        self.rounds = 0

    @property
    def mode(self) -> Mode:
        """See `store.Sink`."""
        return self._mode

    def inventory(self) -> Inventory:
        """See `store.Source`; of the directory, and of the links in it."""
        whole = super().inventory()
        links = {partial.uuid for partial in whole.partials if partial.link}
        return replace(
            whole,
            snapshots=tuple(
                replace(s, elsewhere=()) for s in whole.snapshots if s.paths or s.uuid in links
            ),
        )

    def parents(self, uuids: Collection[UUID]) -> tuple[Snapshot, ...]:
        """See `store.Source`."""
        told = self.inventory().by_uuid()
        hidden = (s for s in super().inventory().snapshots if s.uuid not in told)
        found = (replace(s, elsewhere=()) for s in hidden if s.uuid in uuids)
        return tuple(sorted(found, key=lambda s: s.uuid))

    def measure_each(
        self, measurements: Sequence[Measurement], options: StreamOptions
    ) -> Iterator[Size | ButterSinkError]:
        """See `store.Source`."""
        self.rounds += 1
        return super().measure_each(measurements, options)

    def measure(self, diff: Diff, options: StreamOptions, limit: int | None = None) -> Size:
        """See `store.Source`."""
        self._require(diff.to)
        return super().measure(diff, options, limit)

    def adopt(self, snapshot: Snapshot, path: str) -> None:
        """See `store.Sink`; what is secret would not be so any more."""
        self._require(snapshot.uuid)
        super().adopt(snapshot, path)

    def delete(self, uuid: UUID, path: str) -> None:
        """See `store.Sink`."""
        self._refuse("delete")
        super().delete(uuid, path)

    def clean(self, partial: Partial) -> None:
        """See `store.Sink`."""
        self._refuse("clean")
        super().clean(partial)

    def _require(self, uuid: UUID) -> None:
        if uuid not in self.inventory().by_uuid():
            raise MissingError(f"{self.name} has no snapshot {uuid}")

    def _refuse(self, verb: str) -> None:
        if self._mode is not Mode.WRITE:
            raise RefusedError(f"{self.name} may not {verb} anything")

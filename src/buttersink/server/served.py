"""A directory as a client may see it: nothing outside is listed or sent, or can be changed.

The client is assumed to be hostile. What it gives are identities and relative paths, never
anything to open; `stores.btrfs` resolves paths component by component, never through a link.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Final
from uuid import uuid5

from buttersink.errors import MissingError, RefusedError, UsageError
from buttersink.receiving import Receiving
from buttersink.stores.btrfs import BtrfsStore
from buttersink.stores.own_names import OWN_PREFIX

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from uuid import UUID

    from buttersink.btrfs.subvolumes import Subvolume
    from buttersink.model import Diff, Inventory, Partial, Position, Size, Snapshot, StreamOptions
    from buttersink.store import Reader
    from buttersink.stores.catalogue import Catalogue

_RECEIVING: Final = Receiving()


class ServedStore(BtrfsStore):
    """The snapshots below one directory, for a client that may know of nothing else.

    Implements `store.Sink`. What lies outside is left out of the inventory. Those who know the
    identity of a snapshot there can build on it, and that is all.
    """

    def __init__(
        self,
        path: str,
        *,
        name: str | None = None,
        missing: str = "",
        directory_fd: int | None = None,
        receiving: Receiving = _RECEIVING,
    ) -> None:
        """See `BtrfsStore`."""
        super().__init__(
            path,
            name=name,
            missing=missing,
            directory_fd=directory_fd,
            receiver=receiving.receiver,
            pace=receiving.pace,
        )
        self._seen = _Sight(self._catalogue)

    def inventory(self) -> Inventory:
        """See `store.Sink`."""
        whole = super().inventory()
        known = self._visible()
        return replace(
            whole,
            snapshots=tuple(self._stripped(s) for s in whole.snapshots if s.uuid in known),
            problems=tuple(p for p in whole.problems if not p.elsewhere),
        )

    def has_outside(self) -> bool:
        """Return whether there is anything that `parents` might find."""
        return len(self._visible()) < len(self._catalogue.inventory.snapshots)

    def parents(self, uuids: Collection[UUID]) -> tuple[Snapshot, ...]:
        """See `store.Source`."""
        known, snapshots = self._visible(), self._sight().snapshots
        found = (snapshots[uuid] for uuid in sorted(set(uuids)) if uuid in snapshots)
        return tuple(self._stripped(s) for s in found if s.uuid not in known)

    def recorded_by_uuid(self, uuids: Collection[UUID]) -> dict[Diff, Size]:
        """Return what `recorded_sizes` does, of the snapshots with these identities.

        Notes may tell of snapshots elsewhere: of those only what the client knows by itself.
        """
        known, wanted = self._visible(), set(uuids)
        asked = known & wanted
        snapshots = [s for s in self._catalogue.inventory.snapshots if s.uuid in asked]
        told = known | wanted | {None}
        sizes = self.recorded_sizes(snapshots)
        return {diff: size for diff, size in sizes.items() if {diff.to, diff.parent} <= told}

    def partial(self, path: str, uuid: UUID | None) -> Partial:
        """Return the partial that is listed so.

        Raises:
            MissingError: There is none.
        """
        for partial in self._catalogue.inventory.partials:
            if (partial.path, partial.uuid) == (path, uuid):
                return partial
        raise MissingError(f"{path} is no leftover of a transfer (any more)")

    def snapshot(self, uuid: UUID) -> Snapshot:
        """Return the snapshot below the directory with this identity.

        Raises:
            MissingError: There is none.
        """
        self._require(uuid)
        return self._sight().snapshots[uuid]

    def measure(self, diff: Diff, options: StreamOptions, limit: int | None = None) -> Size:
        """See `store.Source`; only of snapshots below the directory."""
        self._require(diff.to)
        return super().measure(diff, options, limit)

    @contextmanager
    def send(
        self, diff: Diff, options: StreamOptions, *, resume: Position | None = None
    ) -> Iterator[Reader]:
        """See `store.Source`; only of snapshots below the directory."""
        self._require(diff.to)
        with super().send(diff, options, resume=resume) as reader:
            yield reader

    @contextmanager
    def outline(self, diff: Diff, version: int) -> Iterator[Reader]:
        """See `store.Source`; only between snapshots below the directory."""
        for uuid in filter(None, (diff.to, diff.parent)):
            self._require(uuid)
        with super().outline(diff, version) as reader:
            yield reader

    def adopt(self, snapshot: Snapshot, path: str) -> None:
        """See `store.Sink`; only of what is below the directory, such as a link."""
        self._require(snapshot.uuid)
        super().adopt(snapshot, path)

    def clean(self, partial: Partial) -> None:
        """See `store.Sink`; only of what is surely a leftover, whatever the client thinks.

        Raises:
            RefusedError: It may be something else.
        """
        if partial.guarded:
            raise RefusedError(
                f"{partial.path} is not removed for a client: {partial.guarded}",
                "if it is a leftover, remove it there by hand: btrfs subvolume delete",
            )
        super().clean(partial)

    def _vet_path(self, path: str) -> str:
        """See `BtrfsStore`; nor may it be a name that ButterSink has for itself."""
        if any(part.startswith(OWN_PREFIX) for part in path.split("/")):
            raise UsageError(f"{path} is a name that ButterSink keeps to itself")
        return super()._vet_path(path)

    def _copy(self, identity: UUID) -> Subvolume:
        """Return a copy below the directory, and only if there is none, one outside.

        A link in the directory may claim to be what is outside: it must not stand for that.
        """
        first = super()._copy(identity)
        copies = self._catalogue.copies[identity]
        return next((c for c in copies if self._catalogue.relative(c) is not None), first)

    def _require(self, uuid: UUID) -> None:
        """Check that a snapshot is below the directory.

        Raises:
            MissingError: It is not; whether it is elsewhere is nobody's business.
        """
        self._refresh(uuid)
        if uuid not in self._visible():
            raise MissingError(f"{self.name} has no snapshot {uuid} (any more)")

    def _visible(self) -> frozenset[UUID]:
        """Return the identities of all snapshots and links below the directory."""
        return self._sight().visible

    def _sight(self) -> _Sight:
        if self._seen.catalogue is not self._catalogue:
            self._seen = _Sight(self._catalogue)
        return self._seen

    def _stripped(self, snapshot: Snapshot) -> Snapshot:
        """Return a snapshot without anything that tells of what the client can't know."""
        return replace(
            snapshot,
            elsewhere=(),
            lineage=self._sight().lineage_alias(snapshot),
            parent_uuid=self._sight().alias(snapshot.parent_uuid),
            ancestor=self._nearest_visible(snapshot.ancestor),
        )

    def _nearest_visible(self, ancestor: UUID | None) -> UUID | None:
        """Return the nearest ancestor that the client knows, from `ancestor` on."""
        known, snapshots = self._visible(), self._sight().snapshots
        seen: set[UUID] = set()
        while ancestor is not None and ancestor not in known and ancestor not in seen:
            seen.add(ancestor)
            above = snapshots.get(ancestor)
            ancestor = None if above is None else above.ancestor
        return ancestor if ancestor in known else None

    def _shown(self, copy: Subvolume) -> str:
        """See `BtrfsSource`; the client may not know where the parents of its streams are."""
        return self._catalogue.relative(copy) or "a snapshot outside the directory"


class _Sight:
    """What is to be seen in a catalogue, worked out once.

    Attributes:
        catalogue: Which one.
        snapshots: All of its snapshots.
        visible: The identities of those, and of the links, that are below the directory.
    """

    def __init__(self, catalogue: Catalogue) -> None:
        self.catalogue = catalogue
        self.snapshots = catalogue.inventory.by_uuid()
        links = (p.uuid for p in catalogue.inventory.partials if p.link and p.uuid is not None)
        self.visible = frozenset(s.uuid for s in catalogue.inventory.inside()) | frozenset(links)
        seen = sorted(self.visible, key=lambda uuid: uuid.int, reverse=True)
        self._firstborn = {self.snapshots[uuid].parent_uuid: uuid for uuid in seen}
        """One child of each subvolume that has any among the visible."""
        self._forebears = {self.snapshots[uuid].lineage: uuid for uuid in seen}
        """One of the visible for each lineage that they have."""

    def alias(self, parent: UUID | None) -> UUID | None:
        """Return what to call a `parent_uuid`: it equals for siblings, but gives nothing away.

        Made of what the client knows, so that it is always the same as long as that is.
        """
        if parent is None or parent in self.visible:
            return parent
        child = self._firstborn.get(parent)
        return None if child is None else uuid5(child, "parent")

    def lineage_alias(self, snapshot: Snapshot) -> str | None:
        """Return what to call a `lineage`, which is the time at which a subvolume was made.

        It equals for those that share one, as long as the same are visible.
        """
        if snapshot.lineage is None:
            return None
        return str(uuid5(self._forebears.get(snapshot.lineage, snapshot.uuid), "lineage"))

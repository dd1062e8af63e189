"""What is asked of a run, and all facts that its plan depends on but the sizes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from buttersink.chains import best_chains
from buttersink.model import ChainLimits, Diff, Inventory, Snapshot, StreamOptions

if TYPE_CHECKING:
    from collections.abc import Mapping
    from uuid import UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is asked for, and all facts that the plan depends on but the sizes.

    Attributes:
        source: The facts of the end that snapshots come from.
        destination: The facts of the end that they go to.
        wanted: Those of the source's snapshots that the destination is to have.
        taken: Relative paths at which anything exists in the destination directory; at a
            destination that stores streams, anything but streams. Only the paths of wanted
            snapshots matter.
        options: How streams will be made; passed on.
        delete: Whether to delete what the source directory has not.
        protected: Identities that are never deleted.
        protected_paths: Relative paths in the destination that are never deleted.
        impossible: Diffs that can't be made, because measuring or sending them failed, or that
            can't be read.
        limits: What restoring a snapshot may take, at a destination that stores streams. None
            for no limits. They don't apply to what comes as it is stored at the source.
        may_remove: Whether leftovers of earlier runs may be removed: the destination is opened
            for that, or would be if this were no dry run.
        begun: Diffs of which the destination has a part, each with the bytes of that.
    """

    source: Inventory
    destination: Inventory
    wanted: tuple[Snapshot, ...]
    taken: frozenset[str] = frozenset()
    options: StreamOptions = field(default_factory=StreamOptions)
    delete: bool = False
    protected: frozenset[UUID] = frozenset()
    protected_paths: frozenset[str] = frozenset()
    impossible: frozenset[Diff] = frozenset()
    limits: ChainLimits | None = None
    may_remove: bool = True
    begun: Mapping[Diff, int] = field(default_factory=dict)

    def held(self) -> dict[UUID, Snapshot]:
        """Return what the destination has, in its directory or not: others can build on it.

        What a destination that stores streams can't restore does not count. Nor does what is
        wanted, but can only be built on there: it has to come like any other.
        """
        there = self.destination.by_uuid()
        if self.destination.parents_only:
            for snapshot in self.wanted:
                if snapshot.uuid in self.destination.parents_only:
                    there.pop(snapshot.uuid, None)
        if self.destination.makes_any_diff:
            return there
        restorable = best_chains(self.destination.stored).costs
        return {uuid: snapshot for uuid, snapshot in there.items() if uuid in restorable}

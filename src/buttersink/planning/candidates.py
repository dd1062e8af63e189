"""Which diffs are worth a thought: a bounded number for each snapshot.

A diff is small where two snapshots share most of their data. Which ones do is told by their
history: neighbours in time within one lineage, siblings of one subvolume, and what a snapshot
was made from. Snapshots of different lineages share nothing, so there is no diff between them to
consider, let alone to measure.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from buttersink.model import Diff

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence
    from uuid import UUID

    from buttersink.model import Inventory, Snapshot


def chronology(snapshot: Snapshot) -> tuple[int, int]:
    """Return the key that orders the snapshots of one end by time, and never leaves a tie."""
    return snapshot.generation, snapshot.uuid.int


def candidate_diffs(
    wanted: Sequence[Snapshot], source: Inventory, at_destination: Collection[UUID]
) -> tuple[Diff, ...]:
    """Return the diffs that may serve to bring the wanted snapshots to the destination.

    There are at most 17 for each snapshot (3 or 4 as a rule), found in O(n log n): its full
    stream, and diffs from parents that both ends have or will have. A parent is nearest before
    or after it, among all of them and among those already at the destination, in one of these
    orders: the lineage by `generation`, the lineage by `origin_generation`, the snapshots of one
    subvolume (`parent_uuid`). Or it is its nearest usable ancestor, or nearest descendant.

    Args:
        wanted: Snapshots to bring; those already at the destination get no diffs.
        source: The facts of the end that makes the diffs, any that it is asked for.
        at_destination: Identities that the destination has.

    Returns:
        Unique diffs in an order that does not depend on the order of the arguments: by the time
        of the snapshot, its full stream first.
    """
    there = frozenset(at_destination)
    goals = {snapshot.uuid for snapshot in wanted} - there
    usable = goals | there
    snapshots = sorted((s for s in source.snapshots if s.uuid in usable), key=chronology)
    kin = _Kin(snapshots, [s.uuid in there for s in snapshots])
    for order in _orders(snapshots):
        kin.add_neighbours(order)
    kin.add_ancestors(source)
    return tuple(kin.diffs())


def _orders(snapshots: Sequence[Snapshot]) -> Iterator[list[int]]:
    """Yield sequences of indices in which a neighbour is likely to be similar."""
    lineages: defaultdict[str, list[int]] = defaultdict(list)
    branches: defaultdict[UUID, list[int]] = defaultdict(list)
    for index, snapshot in enumerate(snapshots):
        if snapshot.lineage is not None:
            lineages[snapshot.lineage].append(index)
        if snapshot.parent_uuid is not None:
            branches[snapshot.parent_uuid].append(index)
    for members in lineages.values():
        yield members
        yield sorted(members, key=lambda index: snapshots[index].origin_generation)
    yield from branches.values()


class _Kin:
    """Collects possible parents of snapshots, all by their index in chronological order."""

    __slots__ = ("_parents", "_snapshots", "_there")

    def __init__(self, snapshots: Sequence[Snapshot], there: Sequence[bool]) -> None:
        self._snapshots = snapshots
        self._there = there
        """By snapshot: whether the destination has it."""
        self._parents: list[set[int]] = [set() for _ in snapshots]

    def diffs(self) -> Iterator[Diff]:
        """Yield the diffs of all snapshots that the destination lacks."""
        for index, snapshot in enumerate(self._snapshots):
            if self._there[index]:
                continue
            yield Diff(snapshot.uuid)
            for parent in sorted(self._parents[index]):
                yield Diff(snapshot.uuid, self._snapshots[parent].uuid)

    def add_neighbours(self, order: Sequence[int]) -> None:
        """Add the nearest in `order`, either way, of all and of those at the destination."""
        for sweep in (order, order[::-1]):
            nearest = nearest_there = None
            for index in sweep:
                if nearest is not None:
                    self._add(index, nearest)
                if nearest_there is not None:
                    self._add(index, nearest_there)
                nearest = index
                if self._there[index]:
                    nearest_there = index

    def add_ancestors(self, source: Inventory) -> None:
        """Add the nearest ancestor and descendant, of all and of those at the destination."""
        above = {s.uuid: s.ancestor for s in source.snapshots}
        everyone = range(len(self._snapshots))
        for members in (everyone, [index for index in everyone if self._there[index]]):
            index_of = {self._snapshots[index].uuid: index for index in members}
            for index, ancestor in self._climb(above, index_of):
                self._add(index, ancestor)
        index_of = {snapshot.uuid: index for index, snapshot in enumerate(self._snapshots)}
        descents = [pair for pair in self._climb(above, index_of) if not self._there[pair[1]]]
        self._add_descendants(descents)
        self._add_descendants(pair for pair in descents if self._there[pair[0]])

    def _climb(
        self, above: dict[UUID, UUID | None], index_of: dict[UUID, int]
    ) -> Iterator[tuple[int, int]]:
        """Yield (snapshot, its nearest ancestor in `index_of`)."""
        found: dict[UUID, int | None] = {}  # so that no part of a long ascent is walked twice
        for index, snapshot in enumerate(self._snapshots):
            trail: list[UUID] = []
            uuid = snapshot.ancestor
            while uuid is not None and uuid not in index_of and uuid not in found:
                found[uuid] = None  # ends the walk also in a circle, should a listing contain one
                trail.append(uuid)
                uuid = above.get(uuid)
            ancestor = None
            if uuid is not None:
                ancestor = index_of[uuid] if uuid in index_of else found[uuid]
            found.update(dict.fromkeys(trail, ancestor))
            if ancestor is not None:
                yield index, ancestor

    def _add_descendants(self, descents: Iterable[tuple[int, int]]) -> None:
        nearest: dict[int, int] = {}
        for descendant, ancestor in descents:
            rival = nearest.get(ancestor)
            if rival is None or abs(descendant - ancestor) < abs(rival - ancestor):
                nearest[ancestor] = descendant
        for ancestor, descendant in nearest.items():
            self._add(ancestor, descendant)

    def _add(self, index: int, parent: int) -> None:
        if index == parent or self._there[index]:
            return
        lineages = {self._snapshots[index].lineage, self._snapshots[parent].lineage}
        if len(lineages - {None}) <= 1:
            self._parents[index].add(parent)

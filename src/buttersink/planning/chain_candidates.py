"""Which diffs are worth a thought where chains must stay short: near parents, and shallow ones.

The parents of `candidates.candidate_diffs` are those that a snapshot differs least from. Where
each snapshot builds on the one before it, the chain grows by one link with each, until its limit.
Then a parent further up is needed, and how far back it lies decides what the snapshot costs.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

from buttersink.model import Chain, Diff
from buttersink.planning.candidates import candidate_diffs, chronology

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence
    from uuid import UUID

    from buttersink.model import Inventory, Snapshot


@dataclass(frozen=True, slots=True)
class ChainCandidates:
    """The diffs that may bring snapshots to an end that stores streams.

    Attributes:
        near: Full streams, and diffs on parents that are likely to be similar, by the time of
            the snapshot, its full stream first.
        far: By snapshot: further diffs, of which the only merit can be a shorter chain.
            Those on earlier parents stand in the first sequence, on later ones in the second,
            the nearest parent first.
    """

    near: tuple[Diff, ...]
    far: Mapping[UUID, tuple[tuple[Diff, ...], tuple[Diff, ...]]]

    def diffs(self) -> Iterator[Diff]:
        """Yield all of them: first those that are near."""
        yield from self.near
        for earlier, later in self.far.values():
            yield from earlier
            yield from later


def chain_candidates(
    missing: Sequence[Snapshot],
    source: Inventory,
    there: Mapping[UUID, Chain],
    *,
    most_links: int,
    impossible: Collection[Diff],
) -> ChainCandidates:
    """Return the diffs to consider; some `4 log n` at most for each snapshot.

    The far parents lie in windows of its lineage, which double: 2, 3 to 4, 5 to 8, 9 to 16 and
    so on snapshots away. Of each window come the one with the fewest links and the one with the
    fewest bytes at the destination. For snapshots that are still to be sent the links are
    forecast: as if each diff were as large as the number of days between.

    Args:
        missing: What is to be sent, all of the source.
        source: An end that makes any diff.
        there: What the destination can restore, and its chains.
        most_links: The limit to the links of a chain.
        impossible: Diffs to leave out.
    """
    held = {s.uuid for s in source.snapshots} & there.keys()
    near = tuple(d for d in candidate_diffs(missing, source, held) if d not in impossible)
    known = set(near) | set(impossible)
    goals = {s.uuid for s in missing} - held
    lineages: defaultdict[str, list[UUID]] = defaultdict(list)
    for snapshot in sorted(source.snapshots, key=chronology):
        if snapshot.lineage is not None and (snapshot.uuid in held or snapshot.uuid in goals):
            lineages[snapshot.lineage].append(snapshot.uuid)
    far: dict[UUID, tuple[tuple[Diff, ...], tuple[Diff, ...]]] = {}
    for members in lineages.values():
        chains = [there.get(uuid) if uuid in held else None for uuid in members]
        windows = _windows_of(chains, most_links)
        for place, uuid in enumerate(members):
            if uuid in goals:
                earlier, later = windows.parents(place)
                far[uuid] = (
                    tuple(d for p in earlier if (d := Diff(uuid, members[p])) not in known),
                    tuple(d for p in later if (d := Diff(uuid, members[p])) not in known),
                )
    return ChainCandidates(near, far)


@dataclass(slots=True)
class _LineageWindows:
    """The windows of one lineage, by what makes a snapshot the best of its window.

    Attributes:
        count: Number of snapshots.
        forecast: The fewest links, of all.
        links: The fewest links, of those at the destination.
        nbytes: The fewest bytes, of those at the destination.
    """

    count: int
    forecast: _Windows
    links: _Windows
    nbytes: _Windows

    def parents(self, place: int) -> tuple[list[int], list[int]]:
        """Return the places of far parents before and after `place`, the nearest first."""
        earlier: set[int] = set()
        later: set[int] = set()
        for level, last in _before(place):
            earlier.update(self.forecast.best(last, level), self.nbytes.best(last, level))
        level = 0
        while place + (1 << level) + 1 < self.count:
            last = min(place + (2 << level), self.count - 1)
            later.update(self.links.best(last, level), self.nbytes.best(last, level))
            level += 1
        return sorted(earlier, reverse=True), sorted(later)


def _before(place: int) -> Iterator[tuple[int, int]]:
    """Yield the windows before a place: log2 of the width, the last place of it."""
    level = 0
    while place - (1 << level) - 1 >= 0:
        yield level, place - (1 << level) - 1
        level += 1


def _windows_of(chains: Sequence[Chain | None], most_links: int) -> _LineageWindows:
    """Return the windows of a lineage, given what the destination has of it by time.

    The links of each of the others are those of the parent that would cost it and its successors
    the fewest days on average until a limit is met, see `chain_building`.
    """
    windows = _LineageWindows(len(chains), _Windows(), _Windows(), _Windows())
    links: list[int] = []
    for place, chain in enumerate(chains):
        if chain is not None:
            links.append(chain.links)
        elif place == 0:
            links.append(1)
        elif links[-1] < most_links:
            links.append(links[-1] + 1)
        else:
            ratings = [(Fraction(most_links), 1)]
            for level, last in _before(place):
                for parent in windows.forecast.best(last, level):
                    room = most_links - links[parent] - 1
                    if room >= 0:
                        rating = Fraction(place - parent + room, room + 1)
                        ratings.append((rating, links[parent] + 1))
            links.append(min(ratings)[1])
        windows.forecast.append((links[-1], 0))
        windows.links.append(None if chain is None else (chain.links, chain.nbytes))
        windows.nbytes.append(None if chain is None else (chain.nbytes, chain.links))
    return windows


class _Windows:
    """The best member in each window of a power of two members, while members are added."""

    __slots__ = ("_levels",)

    def __init__(self) -> None:
        # By log2 of the width, then by last place: the best key, and minus its place, so that
        # the later of equals wins. None where there is nothing. Early windows are cut short.
        self._levels: list[list[tuple[tuple[int, int], int] | None]] = [[]]

    def append(self, key: tuple[int, int] | None) -> None:
        """Add a member; the least key is best, None is never."""
        place = len(self._levels[0])
        if place >= 1 << (len(self._levels) - 1):
            self._levels.append(list(self._levels[-1]))
        best = None if key is None else (key, -place)
        self._levels[0].append(best)
        for level in range(1, len(self._levels)):
            half = place - (1 << (level - 1))
            other = self._levels[level - 1][half] if half >= 0 else None
            if best is None or (other is not None and other < best):
                best = other
            self._levels[level].append(best)

    def best(self, last: int, level: int) -> tuple[int, ...]:
        """Return the place of the best of the `2 ** level` members up to `last`, if there is one.

        There are fewer where the window reaches beyond the first member.
        """
        found = self._levels[min(level, len(self._levels) - 1)][last]
        return () if found is None else (-found[1],)

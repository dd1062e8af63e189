"""What is known of sizes where chains are limited, and what is taken for granted meanwhile.

As in `knowledge`, plans are made with final sizes and with lower bounds for the rest. Three
things are taken for granted, so that not all is measured that would have to be for certainty:

* What turns A into C takes at most what turns A into B and then B into C (the *triangle*). So
  the full stream of X is at least that of P less what turns X into P.
* A diff on a parent further away is not smaller than those on nearer ones. And of the diffs
  that it stands for it takes as large a part as those that were measured over a like distance.
  So it is only measured where nearer ones don't serve.
* A full stream that is known to take more than a diff of the same snapshot is as large as the
  nearest one that is known. It is measured to the end if it is to be sent.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import pairwise
from typing import TYPE_CHECKING

from buttersink.model import Certainty, Diff

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from uuid import UUID

    from buttersink.model import Size
    from buttersink.planning.chain_candidates import ChainCandidates


def final_bytes(size: Size | None) -> int | None:
    """Return the bytes of a size if nothing better will be known, else None."""
    if size is None or size.certainty is Certainty.AT_LEAST:
        return None
    return size.nbytes


def least_bytes(size: Size | None) -> int:
    """Return the least number of bytes that a diff of this size can take."""
    if size is None:
        return 0
    return size.nbytes + (size.certainty is Certainty.AT_LEAST)


@dataclass(frozen=True, slots=True)
class FullBounds:
    """What is known of full streams, in bytes of the plain stream.

    Attributes:
        final: Those that nothing better will be known of.
        least: The least that they can take; 0 for those left out.
    """

    final: Mapping[UUID, int]
    least: Mapping[UUID, int]


def full_bounds(sizes: Mapping[Diff, Size], stored_fulls: Mapping[UUID, int]) -> FullBounds:
    """Find what is known of full streams, by the triangle also of those never looked at.

    Args:
        sizes: All sizes that are known.
        stored_fulls: Bytes that full streams which the destination holds have as plain streams,
            as far as can be told from their stored bytes.
    """
    final = dict(stored_fulls)
    least = dict(stored_fulls)
    back: defaultdict[UUID, list[tuple[UUID, int]]] = defaultdict(list)
    for diff, size in sizes.items():
        nbytes = final_bytes(size)
        if diff.parent is not None:
            if nbytes is not None:
                back[diff.to].append((diff.parent, nbytes))
        elif nbytes is not None:
            final[diff.to] = least[diff.to] = nbytes
        else:
            least[diff.to] = max(least.get(diff.to, 0), least_bytes(size))
    waiting = [(-nbytes, uuid.int, uuid) for uuid, nbytes in least.items()]
    waiting.sort()
    while waiting:
        minus_bytes, _, uuid = heappop(waiting)
        if least[uuid] != -minus_bytes:
            continue
        for other, nbytes in back.get(uuid, ()):
            bound = least[uuid] - nbytes
            if other not in final and bound > least.get(other, 0):
                least[other] = bound
                heappush(waiting, (-bound, other.int, other))
    return FullBounds(final, least)


@dataclass(frozen=True, slots=True)
class Course:
    """What is known of the course of a history.

    Attributes:
        ranks: Places of snapshots in time.
        sums: By snapshot: bytes of the diffs from each to the next, from the first of its
            lineage up to it.
        relatives: By snapshot: the nearest one of its lineage, the full stream of which is final.
    """

    ranks: Mapping[UUID, int]
    sums: Mapping[UUID, int]
    relatives: Mapping[UUID, UUID]

    def distance(self, diff: Diff) -> tuple[int, int]:
        """Return how many snapshots a diff stands for, as log2, and the bytes of their diffs."""
        if diff.parent is None:
            return 0, 0
        steps = abs(self.ranks[diff.to] - self.ranks[diff.parent])
        return steps.bit_length(), abs(self.sums[diff.to] - self.sums[diff.parent])

    def nearest(self, diffs: Iterable[Diff]) -> Diff:
        """Return the diff whose parent is nearest in time, of two the one that is earlier."""
        place = self.ranks

        def key(diff: Diff) -> tuple[int, bool]:
            steps = 0 if diff.parent is None else place[diff.to] - place[diff.parent]
            return abs(steps), steps < 0

        return min(diffs, key=key)


def near_bounds(candidates: ChainCandidates, sizes: Mapping[Diff, Size]) -> dict[UUID, int]:
    """Return for each snapshot the least that any near diff can take, full streams apart."""
    least: dict[UUID, int] = {}
    for diff in candidates.near:
        if diff.parent is not None:
            bound = least_bytes(sizes.get(diff))
            least[diff.to] = min(least.get(diff.to, bound), bound)
    return least


def expected_bytes(
    candidates: ChainCandidates, sizes: Mapping[Diff, Size], fulls: FullBounds, course: Course
) -> dict[Diff, int]:
    """Return the bytes that planning takes each candidate for.

    Args:
        candidates: The diffs.
        sizes: All sizes that are known.
        fulls: From `full_bounds`.
        course: The history that they belong to.
    """
    expected = {d: least_bytes(sizes.get(d)) for d in candidates.near if d.parent is not None}
    expected.update(_far_bytes(candidates, sizes, course))
    smallest: dict[UUID, int] = {}  # by snapshot: the least of final sizes
    for diff in expected:
        if (nbytes := final_bytes(sizes.get(diff))) is not None:
            smallest[diff.to] = min(smallest.get(diff.to, nbytes), nbytes)
    for diff in candidates.near:
        if diff.parent is None:
            bound = fulls.least.get(diff.to, 0)
            if diff.to not in fulls.final and bound > smallest.get(diff.to, bound):
                related = course.relatives.get(diff.to)
                bound = max(bound, 0 if related is None else fulls.final[related])
            expected[diff] = bound
    return expected


def _far_bytes(
    candidates: ChainCandidates, sizes: Mapping[Diff, Size], course: Course
) -> Iterator[tuple[Diff, int]]:
    floors = near_bounds(candidates, sizes)
    sides = [(uuid, side) for uuid, both in candidates.far.items() for side in both]
    parts = _parts((diff for _, side in sides for diff in side if diff in sizes), sizes, course)
    for uuid, side in sides:
        floor = floors.get(uuid, 0)
        for diff in side:
            size = sizes.get(diff)
            floor = max(floor, least_bytes(size))
            nbytes = final_bytes(size)
            if nbytes is None:
                level, together = course.distance(diff)
                nbytes = max(floor, int(together * parts.get(level, 0)))
            yield diff, nbytes


def _parts(
    measured: Iterable[Diff], sizes: Mapping[Diff, Size], course: Course
) -> Mapping[int, float]:
    """Return by log2 of the distance which part of what it stands for a diff takes.

    Between the distances of which some were measured it is taken for a power of the distance.
    """
    taken: defaultdict[int, int] = defaultdict(int)
    sums: defaultdict[int, int] = defaultdict(int)
    for diff in measured:
        level, together = course.distance(diff)
        taken[level] += least_bytes(sizes[diff])
        sums[level] += together
    known = {1: 1.0} | {
        level: min(1.0, taken[level] / sums[level])
        for level in sorted(sums)
        if taken[level] and sums[level]
    }
    parts = dict(known)
    for lower, upper in pairwise(sorted(known)):
        for level in range(lower + 1, upper):
            onward = (level - lower) / (upper - lower)
            parts[level] = known[lower] ** (1 - onward) * known[upper] ** onward
    return parts

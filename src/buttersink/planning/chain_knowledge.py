"""Everything that a choice of chains depends on, put together for one set of sizes."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from dataclasses import dataclass
from statistics import median_low
from typing import TYPE_CHECKING

from buttersink.chains import Chains, best_chains
from buttersink.planning.candidates import chronology
from buttersink.planning.chain_bounds import (
    Course,
    FullBounds,
    expected_bytes,
    final_bytes,
    full_bounds,
    near_bounds,
)
from buttersink.planning.chain_candidates import ChainCandidates, chain_candidates
from buttersink.planning.chain_forest import Limit

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from uuid import UUID

    from buttersink.model import Chain, ChainLimits, Diff, Inventory, Size, Snapshot

_REMEMBERED = 15
"""Number of earlier snapshots that tell how large a usual diff is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainRequest:
    """What is to be stored, and all facts that the choice depends on but the sizes.

    Attributes:
        source: The facts of the end that snapshots come from; it makes any diff between them.
        missing: Snapshots of the source to store, which the destination can't restore.
        stored: The diffs that the destination holds and the bytes of each as it is stored,
            those of hidden links included.
        limits: What restoring a newly stored snapshot may take.
        impossible: Diffs that can't be made, because measuring or sending them failed.
        look_ahead: Whether further runs will follow, that build on the newest snapshots of
            this one. Else just this run's bytes count.
    """

    source: Inventory
    missing: tuple[Snapshot, ...]
    stored: tuple[tuple[Diff, Size], ...]
    limits: ChainLimits
    impossible: frozenset[Diff] = frozenset()
    look_ahead: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainKnowledge:
    """A request, and what follows from it and the sizes known so far.

    Attributes:
        request: The request.
        sizes: All known sizes.
        missing: What is to be stored, by time, each once.
        ranks: The place of each of the source's snapshots in time.
        chains: What the destination can restore.
        held: Chains of those that the source has, too: they can be parents.
        candidates: The diffs considered.
        near: Those that are near, by snapshot.
        fulls: What is known of full streams.
        course: What is known of the history.
        expected: Bytes of plain streams that the candidates are taken for.
    """

    request: ChainRequest
    sizes: Mapping[Diff, Size]
    missing: tuple[Snapshot, ...]
    ranks: Mapping[UUID, int]
    chains: Chains
    held: Mapping[UUID, Chain]
    candidates: ChainCandidates
    near: Mapping[UUID, Sequence[Diff]]
    fulls: FullBounds
    course: Course
    expected: Mapping[Diff, int]

    @classmethod
    def of(cls, request: ChainRequest, sizes: Mapping[Diff, Size]) -> ChainKnowledge:
        """Return what is known of a request."""
        chains = best_chains(request.stored)
        by_time = sorted(request.source.snapshots, key=chronology)
        ranks = {s.uuid: rank for rank, s in enumerate(by_time)}
        held = {uuid: chain for uuid, chain in chains.costs.items() if uuid in ranks}
        goals = {s.uuid for s in request.missing} - chains.costs.keys()
        missing = tuple(s for s in by_time if s.uuid in goals)
        candidates = chain_candidates(
            missing,
            request.source,
            held,
            most_links=request.limits.links,
            impossible=request.impossible,
        )
        near: defaultdict[UUID, list[Diff]] = defaultdict(list)
        for diff in candidates.near:
            near[diff.to].append(diff)
        fraction = request.limits.stored_fraction
        stored_fulls = {
            diff.to: int(size.nbytes / fraction)
            for diff, size in request.stored
            if diff.parent is None
        }
        fulls = full_bounds(sizes, stored_fulls)
        steps = _stored_steps(request) | near_bounds(candidates, sizes)
        course = Course(ranks, dict(_sums(by_time, steps)), dict(_nearest(by_time, fulls.final)))
        return cls(
            request=request,
            sizes=sizes,
            missing=missing,
            ranks=ranks,
            chains=chains,
            held=held,
            candidates=candidates,
            near=near,
            fulls=fulls,
            course=course,
            expected=expected_bytes(candidates, sizes, fulls, course),
        )

    @property
    def limits(self) -> ChainLimits:
        """The limits to new chains."""
        return self.request.limits

    def final(self, diff: Diff) -> int | None:
        """Return the bytes of a plain stream if nothing better will be known, else None."""
        return final_bytes(self.sizes.get(diff))

    def near_of(self, uuid: UUID) -> Sequence[Diff]:
        """Return the near candidates of a snapshot."""
        return self.near.get(uuid, ())

    def diffs_of(self, uuid: UUID) -> Iterator[Diff]:
        """Yield all candidates of a snapshot."""
        yield from self.near_of(uuid)
        for side in self.candidates.far.get(uuid, ()):
            yield from side

    def stored(self, nbytes: int) -> int:
        """Return how many bytes a plain stream is expected to take as it is stored."""
        return round(nbytes * self.limits.stored_fraction)

    def limit(self, uuid: UUID) -> Limit:
        """Return the limit of a snapshot's chain; of bytes if its full stream is known."""
        full = self.fulls.final.get(uuid)
        if full is None or self.limits.factor == float("inf"):
            return Limit(self.limits.links, None)
        return Limit(self.limits.links, int(self.limits.factor * self.stored(full)))

    def tips(self) -> Iterator[UUID]:
        """Yield those of the missing on which the next snapshot is likely to be built.

        They are the newest of a subvolume at the source.
        """
        newest = {
            (s.lineage, s.parent_uuid): s.uuid
            for s in sorted(self.request.source.snapshots, key=chronology)
        }
        goals = set(newest.values())
        return (s.uuid for s in self.missing if s.uuid in goals)

    def usual_step(self, tip: Snapshot) -> int:
        """Return the bytes of the plain stream that is to be expected after a snapshot.

        That is the median over the snapshots before it of the smallest diff that is stored of
        each, and its own smallest.
        """
        own = [self.expected[diff] for diff in self.near_of(tip.uuid) if diff.parent is not None]
        smallest = _stored_steps(self.request)
        before = [
            smallest[s.uuid]
            for s in sorted(self.request.source.snapshots, key=chronology)
            if s.lineage == tip.lineage
            and s.uuid in smallest
            and self.ranks[s.uuid] < self.ranks[tip.uuid]
        ]
        usual = before[-_REMEMBERED:]
        if own:
            usual.append(min(own))
        return max(1, median_low(usual)) if usual else 1


def _stored_steps(request: ChainRequest) -> dict[UUID, int]:
    """Return the bytes of the smallest plain diff stored of each snapshot, about."""
    smallest: dict[UUID, int] = {}
    for diff, size in request.stored:
        if diff.parent is not None:
            nbytes = int(size.nbytes / request.limits.stored_fraction)
            smallest[diff.to] = min(nbytes, smallest.get(diff.to, nbytes))
    return smallest


def _sums(by_time: Iterable[Snapshot], steps: Mapping[UUID, int]) -> Iterator[tuple[UUID, int]]:
    """Yield each snapshot with the sum of the steps of its lineage up to it."""
    sums: defaultdict[str | None, int] = defaultdict(int)
    for snapshot in by_time:
        sums[snapshot.lineage] += steps.get(snapshot.uuid, 0)
        yield snapshot.uuid, sums[snapshot.lineage]


def _nearest(by_time: Iterable[Snapshot], final: Mapping[UUID, int]) -> Iterator[tuple[UUID, UUID]]:
    """Yield each snapshot with that one of its lineage, the full stream of which is known."""
    lineages: defaultdict[str, list[UUID]] = defaultdict(list)
    for snapshot in by_time:
        if snapshot.lineage is not None:
            lineages[snapshot.lineage].append(snapshot.uuid)
    for members in lineages.values():
        known = [place for place, uuid in enumerate(members) if uuid in final]
        for place, uuid in enumerate(members):
            after = bisect_left(known, place)
            beside = known[max(0, after - 1) : after + 1]
            if beside:
                yield uuid, members[min(beside, key=lambda other: abs(other - place))]

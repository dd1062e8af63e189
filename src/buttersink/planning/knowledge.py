"""What is known of the sizes of diffs, and which of them need not be known any better.

A plan is made with final sizes, and with lower bounds (0 at first) for the rest. Only what such a
plan chose needs measuring; when all of that is final, no better plan exists, because the others
can only be dearer than they were taken for.

One question is too dear to be answered that way: at which of its snapshots a group of similar
ones is entered, that is, which of them is sent in full, or on a parent that the destination has.
All those sends would have to be measured nearly to the end. Two rules keep that from happening.
Both compare a diff with a known *way* to its snapshot, see `Knowledge.refuted`:

- A diff that takes more than the whole way is not needed. Whatever would be sent by means of it
  can be sent after the way as well. That is true whatever the sizes are.
- A diff that takes more than each that it could replace on the way is passed over. Sending A and
  then what turns A into B moves the same data as sending B and then what turns B into A, so it
  hardly matters which of them is entered. That is less to measure, but not always true: if both
  are entered from a snapshot that the destination has, what that one and B share and A lacks is
  moved again by way of A. So some diffs are left to the first rule alone, see `Knowledge.turns`.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from heapq import heappop, heappush
from typing import TYPE_CHECKING

from buttersink.model import Certainty, Diff, Size

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from uuid import UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class Knowledge:
    """The diffs that can be chosen, and what is known of their sizes.

    Attributes:
        candidates: The diffs. Their order decides between equals, and is that of all results.
        sizes: Their sizes; AT_LEAST is a lower bound; nothing is known of those left out.
        likely: By snapshot: which of its incremental diffs is the smallest, as far as its
            history tells.
        series: Those of a plain series of incremental sends, each the likeliest. They are never
            passed over, so that no plan takes more than that series.
        near: Those on a parent that the destination has and that is a neighbour. Other parents
            that it has lie beyond what is still to come.
    """

    candidates: Sequence[Diff]
    sizes: Mapping[Diff, Size]
    likely: Mapping[UUID, Diff]
    series: frozenset[Diff]
    near: frozenset[Diff]

    def final(self, diff: Diff) -> int | None:
        """Return the size in bytes if nothing better will be known, else None."""
        size = self.sizes.get(diff)
        if size is None or size.certainty is Certainty.AT_LEAST:
            return None
        return size.nbytes

    def bound(self, diff: Diff) -> int:
        """Return the least number of bytes that it can take."""
        size = self.sizes.get(diff)
        if size is None:
            return 0
        return size.nbytes + (size.certainty is Certainty.AT_LEAST)

    def may_end_within(self, limit: int, diff: Diff) -> bool:
        """Whether the size is not final, and may yet turn out to be `limit` or less."""
        return self.final(diff) is None and self.bound(diff) <= limit

    def passed_over(self) -> frozenset[Diff]:
        """Return what is `refuted`, at no cost if no measuring was ever stopped early."""
        if all(size.certainty is not Certainty.AT_LEAST for size in self.sizes.values()):
            return frozenset()
        return self.refuted(self.known_ways())

    def refuted(self, ways: Mapping[UUID, Way]) -> frozenset[Diff]:
        """Return the diffs that are passed over with no further measuring.

        Each takes more than the known way to its snapshot in total; or, unless it is one of the
        `turns`, more than each of those that it could replace on that way. A diff between two
        snapshots of this plan could replace those by which their ways are joined. A diff that
        enters from outside could replace any of the way; but if at some snapshot of the way all
        others that enter there are refuted, then only those after it.

        The total is enough by exchange: take any plan with the diff, and of the way what follows
        the last snapshot that this plan does not reach by means of the diff. In place of the diff
        and of how the plan reaches the snapshots on the way it is again a plan.

        Diffs of final size are never among them: they compete in the plan.

        Args:
            ways: From `known_ways`.
        """
        goals = self._goals()
        turns = self.turns()
        out: list[Diff] = []
        inner: list[tuple[int, UUID, Diff]] = []
        for diff in self.candidates:
            if self.final(diff) is not None or diff.to not in ways or diff in self.series:
                continue
            way, bound = ways[diff.to], self.bound(diff)
            if bound > way.total:
                out.append(diff)
            elif diff in turns:
                continue
            elif diff.parent is not None and diff.parent in goals:
                inner.append((bound, diff.parent, diff))
            elif bound > way.largest:
                out.append(diff)
        # Join the snapshots by ever larger diffs of the ways, as Kruskal's algorithm does.
        links = sorted(
            (way.last, to.int, to, way.previous)
            for to, way in ways.items()
            if way.previous is not None and way.previous in goals
        )
        groups = _Groups()
        joined = 0
        for bound, parent, diff in sorted(inner, key=lambda item: item[0]):
            while joined < len(links) and links[joined][0] < bound:
                groups.join(*links[joined][2:])
                joined += 1
            if groups.leader(parent) == groups.leader(diff.to):
                out.append(diff)
        return frozenset(out)

    def turns(self) -> frozenset[Diff]:
        """Return the diffs by which a group can be entered from another side than it is now.

        They are those that are `near`, and the reverses of what is known. With Monday and
        Thursday at the destination, Tuesday on Monday and Wednesday on Tuesday are one way, and
        Wednesday on Thursday and Tuesday on Wednesday another one. The two need not move the same
        data: what was added on Wednesday and is there on Thursday comes for nothing the other way.

        What enters further on is no turn. A parent shares no more with a snapshot beyond its
        neighbour than with the neighbour, unless old data come back.
        """
        return self.near.union(
            diff
            for diff in self.candidates
            if diff.parent is not None and self.final(Diff(diff.parent, diff.to)) is not None
        )

    def _goals(self) -> set[UUID]:
        return {diff.to for diff in self.candidates}

    def known_ways(self) -> dict[UUID, Way]:
        """Find for each snapshot the way whose `largest` is least.

        A *way* is a sequence of diffs of final size that starts at nothing or at what the
        destination has. Snapshots that none leads to are left out.
        """
        goals = self._goals()
        onward: defaultdict[UUID, list[tuple[int, int]]] = defaultdict(list)
        waiting: list[tuple[int, int, int, int]] = []  # (largest, last, index of the last, total)
        doubt: dict[UUID, int] = {}  # the least that any other diff entering here may take
        for index, diff in enumerate(self.candidates):
            nbytes = self.final(diff)
            if diff.parent is not None and diff.parent in goals:
                if nbytes is not None:
                    onward[diff.parent].append((nbytes, index))
            elif nbytes is not None:
                heappush(waiting, (nbytes, nbytes, index, nbytes))
            else:
                bound = self.bound(diff)
                doubt[diff.to] = min(doubt.get(diff.to, bound), bound)
        ways: dict[UUID, Way] = {}
        settled: set[UUID] = set()
        while waiting:
            largest, last, index, total = heappop(waiting)
            diff = self.candidates[index]
            if diff.to in settled or (diff.to in ways and ways[diff.to].largest <= largest):
                continue
            ways[diff.to] = Way(largest=largest, total=total, last=last, previous=diff.parent)
            if doubt.get(diff.to, largest + 1) > largest:
                # Entering further on would replace the diffs up to here no better than entering
                # here. This can make a way better after it was followed; it is followed again.
                settled.add(diff.to)
                largest = 0
            for nbytes, step in onward[diff.to]:
                heappush(waiting, (max(largest, nbytes), nbytes, step, total + nbytes))
        return ways


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """The end of the best known way to a snapshot.

    Attributes:
        largest: Bytes of the largest diff of the way that one entering here could replace.
        total: Bytes of all diffs of the way.
        last: Bytes of the diff that leads to the snapshot itself.
        previous: The parent of that diff.
    """

    largest: int
    total: int
    last: int
    previous: UUID | None


class _Groups:
    """Disjoint sets of snapshots; each is alone at first."""

    __slots__ = ("_leaders",)

    def __init__(self) -> None:
        self._leaders: dict[UUID, UUID] = {}

    def leader(self, member: UUID) -> UUID:
        """Return the representative of the member's set."""
        leaders = self._leaders
        while (above := leaders.get(member, member)) != member:
            leaders[member] = leaders.get(above, above)  # makes the next search shorter
            member = above
        return member

    def join(self, one: UUID, other: UUID) -> None:
        """Make one set of the two."""
        self._leaders[self.leader(one)] = self.leader(other)

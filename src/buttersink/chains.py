"""What restoring snapshots from stored streams takes: pure.

A *chain* is a sequence of stored diffs that begins with a full stream; each builds on what the
one before it made.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from heapq import heappop, heappush
from typing import TYPE_CHECKING

from buttersink.model import Chain

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from uuid import UUID

    from buttersink.model import Diff, Size


@dataclass(frozen=True, slots=True)
class Chains:
    """The best chain of each snapshot that can be restored; others are left out.

    Attributes:
        last: The last stream of the chain.
        costs: What restoring takes.
    """

    last: Mapping[UUID, Diff]
    costs: Mapping[UUID, Chain]

    def streams(self, uuid: UUID) -> tuple[Diff, ...]:
        """Return the chain of a snapshot, the full stream first; empty if there is none."""
        found: list[Diff] = []
        step = self.last.get(uuid)
        while step is not None:
            found.append(step)
            step = None if step.parent is None else self.last[step.parent]
        return tuple(reversed(found))


def best_chains(stored: Iterable[tuple[Diff, Size]]) -> Chains:
    """Find for each snapshot the chain of the fewest bytes; of equal ones that of fewest links.

    Args:
        stored: Diffs and the bytes that each takes.
    """
    onward: defaultdict[UUID | None, list[tuple[int, Diff]]] = defaultdict(list)
    for diff, size in sorted(stored, key=lambda item: (item[0].to.int, item[1].nbytes)):
        onward[diff.parent].append((size.nbytes, diff))
    last: dict[UUID, Diff] = {}
    costs: dict[UUID, Chain] = {}
    # (bytes, links, a number that tells apart, diff)
    waiting: list[tuple[int, int, int, Diff]] = []
    count = 0
    for nbytes, diff in onward[None]:
        heappush(waiting, (nbytes, 1, count, diff))
        count += 1
    while waiting:
        nbytes, links, _, diff = heappop(waiting)
        if diff.to in last:
            continue
        last[diff.to] = diff
        costs[diff.to] = Chain(links, nbytes)
        for more, step in onward.get(diff.to, ()):
            if step.to not in last:
                heappush(waiting, (nbytes + more, links + 1, count, step))
                count += 1
    return Chains(last, costs)

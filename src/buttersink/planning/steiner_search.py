"""Search for the cheapest tree where no rule decides: see `buttersink.planning.steiner`.

The nodes that the tree may lead over are tried in all combinations; for each combination the
best tree is a minimum arborescence. If there are too many combinations, the tree starts as the
cheapest paths, and single nodes are added and left out for as long as that makes it cheaper.
"""

from __future__ import annotations

from collections import Counter
from heapq import heappop, heappush
from itertools import combinations
from typing import TYPE_CHECKING, NamedTuple

from buttersink.planning.arborescence import ROOT, minimum_arborescence

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence


class Tree(NamedTuple):
    """A tree that reaches all goals of a part; the cheaper, the less."""

    weight: int
    edges: list[int]
    over: frozenset[int]
    """The nodes in it that are not goals."""


class Part(NamedTuple):
    """A graph of its own, in which not all of the nodes have to be reached.

    Attributes:
        goals: Nodes to reach.
        others: The other nodes.
        ins: For each node the edges that enter it, by source: number and weight.
    """

    goals: Sequence[int]
    others: Sequence[int]
    ins: Mapping[int, Mapping[int, tuple[int, int]]]

    @property
    def breadth(self) -> int:
        """Number of edges."""
        return sum(map(len, self.ins.values()))

    @property
    def effort(self) -> int:
        """How many edges are looked at in trying all combinations."""
        return self.breadth << len(self.others)

    def solve(self, affordable: int) -> tuple[Tree, int]:
        """Return the best tree that can be found, and how much remains of what is affordable."""
        if self.effort <= affordable:
            return self._best(), affordable - self.effort
        return self._improved(affordable)

    def _best(self) -> Tree:
        combined = (
            self._tree(over)
            for size in range(len(self.others) + 1)
            for over in combinations(self.others, size)
        )
        return min((tree for tree in combined if tree), key=lambda tree: tree.weight)

    def _improved(self, affordable: int) -> tuple[Tree, int]:
        """Start with the cheapest paths, and change single nodes while that pays."""
        best = self._tree(self._on_cheapest_paths())
        if best is None:
            raise AssertionError(self)  # the paths reach all goals
        unchanged = 0
        while unchanged < len(self.others):
            for other in self.others:
                affordable -= self.breadth
                if affordable < 0 or unchanged == len(self.others):
                    return best, max(affordable, 0)
                tree = self._tree(best.over ^ {other})
                if tree is not None and tree.weight < best.weight:
                    best, unchanged = tree, 0
                else:
                    unchanged += 1
        return best, affordable

    def _on_cheapest_paths(self) -> set[int]:
        """Return the nodes besides the goals on the cheapest paths from the root to these."""
        outs: dict[int, list[tuple[int, int]]] = {ROOT: [], **{node: [] for node in self.ins}}
        for target, ins in self.ins.items():
            for source, (_, weight) in ins.items():
                outs[source].append((weight, target))
        previous: dict[int, int] = {}
        waiting = [(0, ROOT, ROOT)]
        while waiting:
            distance, node, source = heappop(waiting)
            if node in previous:
                continue
            previous[node] = source
            for weight, target in outs[node]:
                heappush(waiting, (distance + weight, target, node))
        found: set[int] = set()
        for goal in self.goals:
            node = goal
            while node != ROOT and node not in found:
                found.add(node)
                node = previous[node]
        return found.difference(self.goals)

    def _tree(self, over: Collection[int]) -> Tree | None:
        """Return the best tree of the goals and these others; None if they don't hang together.

        Others that nothing hangs on are left out.
        """
        nodes = [*self.goals, *sorted(over)]
        index = {ROOT: ROOT, **{node: number for number, node in enumerate(nodes)}}
        edges = [
            (index[source], index[node], weight, edge)
            for node in nodes
            for source, (edge, weight) in self.ins[node].items()
            if source in index
        ]
        chosen = minimum_arborescence(len(nodes), [edge[:3] for edge in edges])
        entering: list[tuple[int, int, int, int] | None] = []
        for choice in chosen:
            if choice is None:
                return None
            entering.append(edges[choice])
        hanging = Counter(edge[0] for edge in entering if edge is not None)
        ends = [n for n in range(len(self.goals), len(nodes)) if not hanging[n]]
        for end in ends:  # grows meanwhile
            edge, entering[end] = entering[end], None
            if edge is not None:
                hanging[edge[0]] -= 1
                if edge[0] >= len(self.goals) and not hanging[edge[0]]:
                    ends.append(edge[0])
        kept = [edge for edge in entering if edge is not None]
        return Tree(
            weight=sum(edge[2] for edge in kept),
            edges=[edge[3] for edge in kept],
            over=frozenset(nodes[edge[1]] for edge in kept).difference(self.goals),
        )

"""The cheapest edges by which chosen nodes of a directed graph hang on its root.

That is the directed Steiner tree problem: the tree may lead over other nodes where that pays.
It is hard in general; but what is asked here is nearly always decided by a few rules that lose
nothing, such as: if only one edge enters a node that must be reached, it is taken. What they
leave falls into parts that have nothing to do with each other, and are searched.

Nothing here is recursive, so a chain of any length is fine.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from buttersink.planning.arborescence import ROOT
from buttersink.planning.steiner_search import Part

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

AFFORDABLE_EDGES: Final = 1 << 18
"""How many edges may be looked at in trying combinations, over all parts: about a second."""


def steiner_tree(
    count: int, edges: Sequence[tuple[int, int, int]], goals: Iterable[int]
) -> list[int]:
    """Choose edges that lead to all goals from the root, at the least cost that can be found.

    It is the least of all unless there are too many combinations to try (`AFFORDABLE_EDGES`),
    and never more than that of all edges on the cheapest paths to the goals. But for what is
    tried it takes O(E log V) time. The same edges in the same order give the same answer.

    Args:
        count: Number of nodes, which are called 0 to `count` - 1.
        edges: (source, target, weight); a source is a node or `arborescence.ROOT`. Weights are
            positive.
        goals: Nodes to reach; those that no edges connect with the root are passed over.

    Returns:
        Indices of `edges`, ascending: one that enters each node of the tree.
    """
    graph = _Graph(count, edges, goals)
    graph.reduce()
    affordable = AFFORDABLE_EDGES
    for part in sorted(graph.parts(), key=lambda part: part.effort):
        tree, affordable = part.solve(affordable)
        graph.chosen.extend(tree.edges)
    return sorted(graph.given(graph.chosen))


class _Graph:
    """What is still to be decided.

    Edges are known by number. Besides those given there are some made here, with higher numbers:
    each stands for two that follow one another, over a node that nothing else leads over.
    """

    __slots__ = ("_ins", "_needed", "_outs", "_parts", "_waiting", "_weights", "chosen")

    def __init__(
        self, count: int, edges: Sequence[tuple[int, int, int]], goals: Iterable[int]
    ) -> None:
        self.chosen: list[int] = []
        """Edges that are decided for."""
        self._weights = [weight for _, _, weight in edges]
        self._parts: list[tuple[int, int]] = []
        """For each edge made here: the two that it stands for."""
        self._ins: list[dict[int, int]] = [{} for _ in range(count)]
        """For each node that is undecided: the edges that enter it, by source."""
        self._outs: list[set[int]] = [set() for _ in range(count)]
        """For each node that is undecided: where edges lead that leave it."""
        self._waiting: list[int] = []
        """Nodes at which something changed."""
        reached = _reachable([(source, target) for source, target, _ in edges], [ROOT])
        self._needed = reached.intersection(goals)
        useful = _reachable([(target, source) for source, target, _ in edges], self._needed)
        useful &= reached
        for number, (source, target, _) in enumerate(edges):
            if source in useful and target in useful and source != target:
                self._put(source, target, number)

    def reduce(self) -> None:
        """Decide what can be decided for good at a single node."""
        self._waiting = list(range(len(self._ins)))
        while self._waiting:
            node = self._waiting.pop()
            if node not in self._needed:
                if len(self._outs[node]) <= 1:
                    self._bypass(node)
                continue
            ins = self._ins[node]
            if not ins:
                continue  # decided already
            best = min(ins, key=lambda source: (self._weights[ins[source]], source))
            if best == ROOT:
                # Whatever the tree is, it can only become cheaper by entering here so.
                self._settle(node)
            elif len(ins) == 1:
                self._needed.add(best)
                self._waiting.append(best)

    def parts(self) -> Iterator[Part]:
        """Yield what is undecided, in parts that are connected by nothing but the root."""
        seen: set[int] = set()
        for start, ins in enumerate(self._ins):
            if start in seen or not ins:
                continue
            nodes = [start]
            seen.add(start)
            for node in nodes:  # grows meanwhile
                near = sorted({*self._ins[node], *self._outs[node]} - seen - {ROOT})
                nodes += near
                seen.update(near)
            goals = tuple(node for node in nodes if node in self._needed)
            if goals:
                yield Part(
                    goals=goals,
                    others=tuple(node for node in nodes if node not in self._needed),
                    ins={
                        node: {s: (e, self._weights[e]) for s, e in self._ins[node].items()}
                        for node in nodes
                    },
                )

    def given(self, numbers: Iterable[int]) -> Iterator[int]:
        """Yield the given edges that `numbers` stand for."""
        first = len(self._weights) - len(self._parts)
        waiting = list(numbers)
        while waiting:
            number = waiting.pop()
            if number < first:
                yield number
            else:
                waiting += self._parts[number - first]

    def _put(self, source: int, target: int, edge: int) -> None:
        """Add an edge, unless there is one at least as cheap between the same nodes."""
        rival = self._ins[target].get(source)
        if rival is None or self._weights[edge] < self._weights[rival]:
            self._ins[target][source] = edge
        if source != ROOT:
            self._outs[source].add(target)

    def _settle(self, node: int) -> None:
        """Let the edge from the root be that by which the tree enters the node."""
        self.chosen.append(self._without_ins(node)[ROOT])
        for target in sorted(self._outs[node]):
            self._put(ROOT, target, self._ins[target].pop(node))
            self._waiting.append(target)
        self._outs[node].clear()

    def _bypass(self, node: int) -> None:
        """Take out a node that the tree can lead over to one other node at most."""
        ins = self._without_ins(node)
        for target in self._outs[node]:
            onward = self._ins[target].pop(node)
            for source, edge in ins.items():
                if source != target:
                    self._parts.append((edge, onward))
                    self._weights.append(self._weights[edge] + self._weights[onward])
                    self._put(source, target, len(self._weights) - 1)
            self._waiting.append(target)
        self._outs[node].clear()

    def _without_ins(self, node: int) -> dict[int, int]:
        """Take out the edges that enter the node, and return them."""
        ins, self._ins[node] = self._ins[node], {}
        for source in ins:
            if source != ROOT:
                self._outs[source].discard(node)
                self._waiting.append(source)
        return ins


def _reachable(edges: Iterable[tuple[int, int]], starts: Iterable[int]) -> set[int]:
    """Return the nodes to which edges (source, target) lead from any of `starts`, with these."""
    onward: dict[int, list[int]] = {}
    for source, target in edges:
        onward.setdefault(source, []).append(target)
    found = set(starts)
    waiting = list(found)
    while waiting:
        for target in onward.get(waiting.pop(), ()):
            if target not in found:
                found.add(target)
                waiting.append(target)
    return found

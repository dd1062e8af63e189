"""The cheapest way to reach every node of a directed graph from its root.

This is Edmonds' minimum-cost arborescence in the form of Tarjan ("Finding optimum branchings",
1977) and Gabow, Galil, Spencer and Tarjan (1986): grow a path of cheapest entering edges, contract
each cycle that it closes, and unfold the contractions at the end. Nothing here is recursive, so
a chain of any length is fine.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = -1
"""The source of an edge that starts at the root."""

_NONE = -1
_FRESH, _ON_PATH, _DONE = range(3)


def minimum_arborescence(count: int, edges: Sequence[tuple[int, int, int]]) -> list[int | None]:
    """Choose one entering edge for each node, so that all hang on the root at the least cost.

    Takes O(E log V) time. The same edges in the same order give the same answer; of edges that
    are equally good, a choice among them is unspecified beyond that.

    Args:
        count: Number of nodes, which are called 0 to `count` - 1.
        edges: (source, target, weight); a source is a node or `ROOT`. Weights are of any size
            and sign.

    Returns:
        For each node the index of its edge in `edges`. None for a node that no edges connect
        with the root; the choice is optimal for all others.
    """
    reached = _reached(count, edges)
    return _Contraction(count, edges, reached).solve()


def _reached(count: int, edges: Sequence[tuple[int, int, int]]) -> list[bool]:
    """Tell which nodes can be reached from the root."""
    onward: list[list[int]] = [[] for _ in range(count + 1)]  # the last is that of ROOT
    for source, target, _ in edges:
        onward[source].append(target)
    reached = [False] * count
    waiting = [ROOT]
    while waiting:
        for target in onward[waiting.pop()]:
            if not reached[target]:
                reached[target] = True
                waiting.append(target)
    return reached


class _Heaps:
    """Mergeable heaps of edges: skew heaps, whose nodes are the edges' indices.

    `pending[e]` was added to the key of `e`, but not yet to the keys below it. That makes adding
    to all keys of a heap, which each contraction needs, take constant time.
    """

    __slots__ = ("_left", "_pending", "_right", "key")

    def __init__(self, weights: list[int]) -> None:
        self.key = weights
        self._left = [_NONE] * len(weights)
        self._right = [_NONE] * len(weights)
        self._pending = [0] * len(weights)

    def build(self, members: list[int]) -> int:
        """Return a heap of these edges, which are in no heap yet."""
        # A chain of left children in ascending order is a heap already.
        members.sort(key=self.key.__getitem__)
        for upper, lower in pairwise(members):
            self._left[upper] = lower
        return members[0] if members else _NONE

    def add(self, heap: int, amount: int) -> None:
        """Add `amount` to all keys of the heap."""
        if heap != _NONE:
            self.key[heap] += amount
            self._pending[heap] += amount

    def pop(self, heap: int) -> int:
        """Return the heap without its least edge, which is `heap` itself."""
        self._push_down(heap)
        return self.meld(self._left[heap], self._right[heap])

    def meld(self, one: int, other: int) -> int:
        """Return the heap of the edges of both."""
        if one == _NONE:
            return other
        if other == _NONE:
            return one
        key, left, right = self.key, self._left, self._right
        top = above = _NONE
        while True:
            if (key[other], other) < (key[one], one):
                one, other = other, one
            self._push_down(one)
            if above == _NONE:
                top = one
            else:
                left[above] = one
            # Going down on the right while swapping the children keeps the heap balanced,
            # amortised, with no ranks to maintain.
            above, below = one, right[one]
            right[above] = left[above]
            if below == _NONE:
                left[above] = other
                return top
            one = below

    def _push_down(self, top: int) -> None:
        amount = self._pending[top]
        if amount:
            self.add(self._left[top], amount)
            self.add(self._right[top], amount)
            self._pending[top] = 0


class _Contraction:
    """One run of the algorithm.

    A *component* is a node, or a cycle of components that was contracted. Components are
    numbered in the order in which they come to be, nodes first, so that a contracted one has a
    higher number than its members.
    """

    __slots__ = ("_count", "_edges", "_entering", "_heaps", "_leader", "_reached", "_state", "_top")

    def __init__(
        self, count: int, edges: Sequence[tuple[int, int, int]], reached: list[bool]
    ) -> None:
        self._count = count
        self._edges = edges
        self._reached = reached
        self._heaps = _Heaps([weight for _, _, weight in edges])
        entering_nodes: list[list[int]] = [[] for _ in range(count)]
        for index, (source, target, _) in enumerate(edges):
            if source == ROOT or reached[source]:
                entering_nodes[target].append(index)
        self._top = [self._heaps.build(members) for members in entering_nodes]
        """By component: the heap of the edges that may enter it."""
        self._entering = [_NONE] * count
        """By component: the edge chosen while it was outermost."""
        self._leader = list(range(count))
        """By component: itself if outermost, else one that it was contracted into."""
        self._state = [_FRESH] * count

    def solve(self) -> list[int | None]:
        """Return the chosen edge of each node, None for those that cannot be reached."""
        inside_of = self._contract()
        return self._unfold(inside_of)

    def _contract(self) -> list[int]:
        """Choose an edge for every component; return what each was contracted into."""
        inside_of = [_NONE] * self._count
        for start in range(self._count):
            if not self._reached[start]:
                continue
            path: list[int] = []
            component = self._outermost(start)
            while component != _NONE and self._state[component] != _DONE:
                if self._state[component] == _ON_PATH:
                    component = self._contract_cycle(path, component, inside_of)
                path.append(component)
                component = self._enter(component)
            for member in path:
                self._state[member] = _DONE
        return inside_of

    def _enter(self, component: int) -> int:
        """Choose the cheapest edge from outside; return where it comes from, `_NONE`: the root."""
        heaps, top = self._heaps, self._top[component]
        while True:
            edge, source = top, self._edges[top][0]
            top = heaps.pop(top)
            origin = _NONE if source == ROOT else self._outermost(source)
            if origin != component:
                break
        # What another edge would cost from here on is what it costs more than this one.
        heaps.add(top, -heaps.key[edge])
        self._top[component] = top
        self._entering[component] = edge
        self._state[component] = _ON_PATH
        return origin

    def _contract_cycle(self, path: list[int], first: int, inside_of: list[int]) -> int:
        """Replace the components of `path` from `first` on, a cycle, by one; return that."""
        whole = len(self._leader)
        heap = _NONE
        while True:
            member = path.pop()
            inside_of[member] = self._leader[member] = whole
            heap = self._heaps.meld(heap, self._top[member])
            if member == first:
                break
        inside_of.append(_NONE)
        self._leader.append(whole)
        self._top.append(heap)
        self._entering.append(_NONE)
        self._state.append(_FRESH)
        return whole

    def _outermost(self, component: int) -> int:
        leader = self._leader
        while leader[component] != component:
            leader[component] = leader[leader[component]]
            component = leader[component]
        return component

    def _unfold(self, inside_of: list[int]) -> list[int | None]:
        """Open the contracted components, the outermost first.

        The edge that enters a component breaks its cycle at the member that the edge leads to,
        and so on inwards; every other member keeps the edge of the cycle.
        """
        chosen: list[int | None] = [None] * self._count
        opened = [False] * len(inside_of)
        for component in reversed(range(len(inside_of))):
            edge = self._entering[component]
            if opened[component] or edge == _NONE:
                continue
            node = member = self._edges[edge][1]
            chosen[node] = edge
            while member != component:
                opened[member] = True
                member = inside_of[member]
        return chosen

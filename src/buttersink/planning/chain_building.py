"""Chains within limits for many nodes: built one node after the other, then improved.

The rule by which they are built looks ahead: a parent is judged by what its diff and the diffs of
the nodes that follow cost on average until a limit is met again. By what the diff costs alone,
each node that meets the limit would build on the parent just within it, which is further away for
each; to go back further once, and to have room again for many, is far cheaper.
"""

from __future__ import annotations

from fractions import Fraction
from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING

from buttersink.planning.arborescence import ROOT
from buttersink.planning.chain_forest import Forest, Room

if TYPE_CHECKING:
    from collections.abc import Sequence

    from buttersink.planning.chain_forest import Edge, Limit

_SWEEPS = 8
"""How often all nodes are gone through for a cheaper edge, at most."""


def build(edges: Sequence[Edge], limits: Sequence[Limit]) -> list[int]:
    """Return for each node the index of its edge, so that all chains keep their limits.

    Args:
        edges: Those from outside must be within the limits; each node has such a one.
        limits: By node. The nodes are in the order of time.
    """
    entering: list[list[int]] = [[] for _ in limits]
    for i, edge in enumerate(edges):
        entering[edge.to].append(i)
    for several in entering:
        several.sort(key=lambda i: (edges[i].weight, i))
    # Forwards in time, as later runs will go on. Backwards may take fewer bytes, as what was
    # deleted costs nothing; but where a chain is at its limit, nothing shallow lies ahead.
    forwards = [next(i for i in several if edges[i].parent < edges[i].to) for several in entering]
    found = [
        _improved(edges, limits, entering, _built(edges, limits, entering, forwards, ahead=ahead))
        for ahead in (True, False)
    ]
    return min(found, key=lambda chosen: sum(edges[i].weight for i in chosen))


def _built(
    edges: Sequence[Edge],
    limits: Sequence[Limit],
    entering: Sequence[Sequence[int]],
    start: Sequence[int],
    *,
    ahead: bool,
) -> list[int]:
    """Give one node after the other an edge, in the order of a choice without limits."""
    forest = Forest.of([edges[i] for i in start])
    count = len(limits)
    height, onward = [0] * count, [0] * count  # of the longest way onwards: nodes, bytes
    for node in reversed(forest.order):
        edge = forest.edges[node]
        if edge.parent != ROOT and height[edge.parent] <= height[node]:
            height[edge.parent] = height[node] + 1
            onward[edge.parent] = onward[node] + edge.nbytes
    chosen = list(start)
    placed = [False] * count
    ready = [node for node in range(count) if forest.edges[node].parent == ROOT]
    heapify(ready)
    while ready:
        node = heappop(ready)
        step_bytes = onward[node] // height[node] if height[node] else 0
        ratings: list[tuple[Fraction, int, int, int]] = []
        for i in entering[node]:
            edge, limit = edges[i], limits[node]
            if edge.parent != ROOT and not placed[edge.parent]:
                continue
            links, nbytes = forest.chain(edge)
            if not limit.allows(links, nbytes):
                continue
            room = min(height[node], limit.room(links, nbytes, step_bytes)) if ahead else 0
            # Whole bytes, so that what decides between equals does not decide here.
            rating = Fraction(edge.nbytes + room * step_bytes, room + 1)
            ratings.append((rating, -room if rating else 0, edge.weight, i))
            if room == height[node] or not ahead:
                break  # the rest is dearer, and can't have more room
        chosen[node] = min(ratings)[3]
        forest.edges[node] = edges[chosen[node]]
        forest.settle(node)
        placed[node] = True
        for child in forest.children[node]:
            heappush(ready, child)
    return chosen


def _improved(
    edges: Sequence[Edge],
    limits: Sequence[Limit],
    entering: Sequence[Sequence[int]],
    chosen: list[int],
) -> list[int]:
    """Exchange single edges for cheaper ones as long as the limits allow any."""
    forest = Forest.of([edges[i] for i in chosen])
    room = Room(forest, limits)
    for _ in range(_SWEEPS):
        before = list(chosen)
        for node in range(len(limits)):
            for i in entering[node]:
                if edges[i].weight >= edges[chosen[node]].weight:
                    break
                if room.allows(edges[i]):
                    room.move(edges[i])
                    chosen[node] = i
                    break
        if chosen == before:
            break
    return chosen

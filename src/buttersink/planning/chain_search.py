"""The cheapest diffs under limits to chains, over numbered nodes.

Every node is given one edge, so that all hang on the outside: on nothing, or on what a
destination has. Without the limits that is `arborescence.minimum_arborescence`, and if its answer
keeps them, it is the answer. Else a few nodes are searched exhaustively, and many by building
chains one node after the other and improving them.
"""

from __future__ import annotations

from heapq import heappop, heappush
from typing import TYPE_CHECKING

from buttersink.planning.arborescence import ROOT, minimum_arborescence
from buttersink.planning.chain_building import build
from buttersink.planning.chain_forest import Forest

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from buttersink.planning.chain_forest import Edge, Limit

EXACT_COUNT = 9
"""Number of connected nodes up to which the search is exhaustive, within `STEPS`."""

STEPS = 400
"""Number of partial choices that are looked at; the best full choice by then is taken."""

_MANY_EDGES = 30_000
"""Number of edges from which on only the cheapest of each node decide what is best unlimited."""

_CHEAPEST = 5
"""Number of edges of each node that then do."""


def connected(edges: Iterable[Edge], count: int) -> list[list[int]]:
    """Return the connected parts of the nodes 0 to `count` - 1, each in ascending order."""
    beside: list[list[int]] = [[] for _ in range(count)]
    for edge in edges:
        if edge.parent != ROOT:
            beside[edge.to].append(edge.parent)
            beside[edge.parent].append(edge.to)
    seen = [False] * count
    groups: list[list[int]] = []
    for start in range(count):
        if seen[start]:
            continue
        seen[start] = True
        members = [start]
        for node in members:
            for other in beside[node]:
                if not seen[other]:
                    seen[other] = True
                    members.append(other)
        groups.append(sorted(members))
    return groups


def unlimited(edges: Sequence[Edge], count: int) -> list[int]:
    """Return for each node the index of its edge in the best choice without limits.

    Of very many edges only the cheapest of each node are considered.

    Args:
        edges: Each node needs one from outside.
        count: Number of nodes.
    """
    usable: Sequence[int] = range(len(edges))
    if len(edges) > _MANY_EDGES:
        entering: list[list[int]] = [[] for _ in range(count)]
        for i in usable:
            entering[edges[i].to].append(i)
        kept: list[int] = []
        for several in entering:
            several.sort(key=lambda i: (edges[i].weight, i))
            kept += several[:_CHEAPEST]
            kept += [i for i in several[_CHEAPEST:] if edges[i].parent == ROOT][:1]
        usable = kept
    return _relaxed(edges, usable, count)


def cheapest(
    edges: Sequence[Edge], limits: Sequence[Limit], relaxed: Sequence[int], *, steps: int = STEPS
) -> list[int]:
    """Return for each node the index of its edge, so that all chains keep their limits.

    The choice costs least if no limit matters, and for up to `EXACT_COUNT` nodes; for more, it
    is a good one.

    Args:
        edges: Those from outside must be within the limits; each node needs such a one.
        limits: By node. The nodes are in the order of time.
        relaxed: What `unlimited` returns for the edges.
        steps: Number of partial choices to look at, at most, in an exhaustive search.
    """
    forest = Forest.of([edges[i] for i in relaxed])
    if next(forest.violations(limits), None) is None:
        return list(relaxed)
    found = build(edges, limits)
    return _exhaust(edges, limits, found, steps) if len(limits) <= EXACT_COUNT else found


def _relaxed(edges: Sequence[Edge], usable: Sequence[int], count: int) -> list[int]:
    """Return the best choice without limits; shorter than `count` if there is none."""
    found = minimum_arborescence(
        count, [(edges[i].parent, edges[i].to, edges[i].weight) for i in usable]
    )
    return [usable[i] for i in found if i is not None]


def _exhaust(
    edges: Sequence[Edge], limits: Sequence[Limit], known: Sequence[int], steps: int
) -> list[int]:
    """Return the best choice, or the best found in many steps; never worse than `known`.

    Where the best choice without limits breaks one, at least one edge of the chain that breaks
    it is not in the answer. So it splits into cases: without the first edge of that chain; with
    the first and without the second; and so on. The case that may cost least comes first.
    """
    best, least = list(known), sum(edges[i].weight for i in known)
    count = len(limits)
    waiting: list[tuple[int, int, tuple[int, ...]]] = [(0, 0, tuple(range(len(edges))))]
    number = 0
    for _ in range(steps):
        if not waiting or waiting[0][0] >= least:
            break
        _, _, usable = heappop(waiting)
        chosen = _relaxed(edges, usable, count)
        cost = sum(edges[i].weight for i in chosen)
        if len(chosen) < count or cost >= least:
            continue
        forest = Forest.of([edges[i] for i in chosen])
        broken = min(
            forest.violations(limits), key=lambda node: (forest.links[node], node), default=None
        )
        if broken is None:
            best, least = chosen, cost
            continue
        path = forest.path(broken)
        for node in path:
            number += 1
            case = tuple(i for i in usable if i != chosen[node])
            heappush(waiting, (cost, number, case))
            usable = tuple(i for i in usable if edges[i].to != node or i == chosen[node])
    return best

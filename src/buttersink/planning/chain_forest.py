"""Numbered nodes that build on each other, and the chains that result."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from buttersink.planning.arborescence import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


class Edge(NamedTuple):
    """A way to give a node its content.

    Attributes:
        to: The node.
        parent: The node it builds on; `arborescence.ROOT` if that is outside.
        weight: What it costs, with all that decides between equals.
        nbytes: What it adds to the bytes of a chain.
        links: Links of the chain that it continues; 0 unless the parent is outside.
        base: Bytes of that chain.
    """

    to: int
    parent: int
    weight: int
    nbytes: int
    links: int = 0
    base: int = 0


class Limit(NamedTuple):
    """What the chain of a node may be at most; None is no limit to its bytes."""

    links: int
    nbytes: int | None

    def allows(self, links: int, nbytes: int) -> bool:
        """Whether a chain is within the limit."""
        return links <= self.links and (self.nbytes is None or nbytes <= self.nbytes)

    def room(self, links: int, nbytes: int, step: int) -> int:
        """Return by how many links of `step` bytes each a chain can grow."""
        room = self.links - links
        if self.nbytes is not None and step > 0:
            room = min(room, (self.nbytes - nbytes) // step)
        return room


@dataclass(slots=True)
class Forest:
    """Nodes with an edge each, and the chains that result.

    Attributes:
        edges: By node.
        children: By node.
        links: By node: streams of its chain.
        nbytes: By node: bytes of its chain.
        order: The nodes, each after its parent.
    """

    edges: list[Edge]
    children: list[list[int]]
    links: list[int]
    nbytes: list[int]
    order: list[int]

    @classmethod
    def of(cls, edges: Sequence[Edge]) -> Forest:
        """Return the forest in which node i has edge i; the edges must form one."""
        count = len(edges)
        children: list[list[int]] = [[] for _ in range(count)]
        order: list[int] = []
        for node, edge in enumerate(edges):
            (order if edge.parent == ROOT else children[edge.parent]).append(node)
        forest = cls(list(edges), children, [0] * count, [0] * count, order)
        for node in order:
            forest.settle(node)
            order.extend(children[node])
        return forest

    def settle(self, node: int) -> None:
        """Compute the chain of a node from its edge and its parent's chain."""
        self.links[node], self.nbytes[node] = self.chain(self.edges[node])

    def chain(self, edge: Edge) -> tuple[int, int]:
        """Return links and bytes of the chain that an edge makes."""
        if edge.parent == ROOT:
            return edge.links + 1, edge.base + edge.nbytes
        return self.links[edge.parent] + 1, self.nbytes[edge.parent] + edge.nbytes

    def violations(self, limits: Sequence[Limit]) -> Iterator[int]:
        """Yield the nodes the chains of which are beyond their limits."""
        for node, limit in enumerate(limits):
            if not limit.allows(self.links[node], self.nbytes[node]):
                yield node

    def path(self, node: int) -> list[int]:
        """Return the nodes on the chain of a node, itself at the end."""
        found = [node]
        while (node := self.edges[node].parent) != ROOT:
            found.append(node)
        return found[::-1]

    def top(self, node: int) -> int:
        """Return the node at which the chain of a node comes from outside."""
        while (parent := self.edges[node].parent) != ROOT:
            node = parent
        return node


class Room:
    """How much longer the chain of each node may become with all that builds on it."""

    __slots__ = ("_forest", "_limits", "_links", "_nbytes")

    def __init__(self, forest: Forest, limits: Sequence[Limit]) -> None:
        self._forest = forest
        self._limits = limits
        self._links = [0] * len(limits)
        self._nbytes: list[int | None] = [None] * len(limits)
        for node in reversed(forest.order):
            self._gather(node)

    def allows(self, edge: Edge) -> bool:
        """Whether all limits are kept if the node of the edge takes it."""
        forest, node = self._forest, edge.to
        links, nbytes = forest.chain(edge)
        room = self._nbytes[node]
        if links - forest.links[node] > self._links[node]:
            return False
        if room is not None and nbytes - forest.nbytes[node] > room:
            return False
        above = edge.parent
        while above not in (ROOT, node):
            above = forest.edges[above].parent
        return above == ROOT

    def move(self, edge: Edge) -> None:
        """Let the node of the edge take it."""
        forest, node = self._forest, edge.to
        old = forest.edges[node].parent
        if old != ROOT:
            forest.children[old].remove(node)
        forest.edges[node] = edge
        if edge.parent != ROOT:
            forest.children[edge.parent].append(node)
        below = [node]
        for each in below:
            forest.settle(each)
            below.extend(forest.children[each])
        for each in reversed(below):
            self._gather(each)
        for parent in (old, edge.parent):
            above = parent
            while above != ROOT:
                self._gather(above)
                above = forest.edges[above].parent

    def _gather(self, node: int) -> None:
        """Compute the room of a node from that of its children."""
        limit = self._limits[node]
        links = limit.links - self._forest.links[node]
        nbytes = None if limit.nbytes is None else limit.nbytes - self._forest.nbytes[node]
        for child in self._forest.children[node]:
            links = min(links, self._links[child])
            room = self._nbytes[child]
            if room is not None and (nbytes is None or room < nbytes):
                nbytes = room
        self._links[node], self._nbytes[node] = links, nbytes

"""Which diffs to store, so that every snapshot is restored from few streams and few bytes.

For a destination that stores streams and a source that makes any diff. Sent bytes are stored
bytes, so the fewest of them are best; two limits bound what restoring a snapshot takes. What the
destination holds already is free and stays as it is. See docs/cost-model.md.

It is pure. Sizes come from the caller, who measures what `chain_measurements` asks for:

    choice = choose_chains(request, sizes)
    while todo := chain_measurements(request, sizes, choice):
        sizes.update((m.diff, source.measure(m.diff, options, m.limit)) for m in todo)
        choice = choose_chains(request, sizes)
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

from buttersink.model import Chain, ChainLimits, Diff
from buttersink.plan import Reason
from buttersink.planning.arborescence import ROOT
from buttersink.planning.chain_forest import Edge, Forest, Limit
from buttersink.planning.chain_knowledge import ChainKnowledge, ChainRequest
from buttersink.planning.chain_measuring import next_chain_measurements
from buttersink.planning.chain_search import cheapest, connected, unlimited

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from uuid import UUID

    from buttersink.model import Measurement, Size, Snapshot

__all__ = [
    "DEFAULT_FACTOR",
    "DEFAULT_LINKS",
    "ChainChoice",
    "ChainRequest",
    "chain_measurements",
    "choose_chains",
    "default_limits",
]

DEFAULT_LINKS = 60
"""Streams that a chain has at most. See "Defaults" in docs/cost-model.md."""

DEFAULT_FACTOR = 2.0
"""Bytes of a chain at most, in full streams of its snapshot. See "Defaults" there, too."""

_AHEAD_COUNT = 64
"""Number of connected snapshots up to which more than one room for further runs is tried."""

_STEPS_AHEAD = 50
"""Number of partial choices to look at for each such room: what follows is a guess anyway."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainChoice:
    """What to store.

    Attributes:
        chosen: A diff for each missing snapshot, but those that no diff can bring.
        costs: The expected chain of each of them once it is stored.
        reasons: Why that diff.
    """

    chosen: Mapping[UUID, Diff]
    costs: Mapping[UUID, Chain]
    reasons: Mapping[UUID, Reason]


def default_limits(*, stored_fraction: float = 1.0) -> ChainLimits:
    """Return the limits that hold where nobody asks for others."""
    return ChainLimits(links=DEFAULT_LINKS, factor=DEFAULT_FACTOR, stored_fraction=stored_fraction)


def choose_chains(request: ChainRequest, sizes: Mapping[Diff, Size]) -> ChainChoice:
    """Return the diffs of the fewest bytes that keep all new chains within the limits.

    Equal bytes are decided for the parents that are nearest in time, for the earlier of two as
    near, and against full streams. The order of the facts and sizes does not matter.

    Args:
        request: What is asked for.
        sizes: Known sizes of plain streams. AT_LEAST is a lower bound, and so is 0 for a diff
            that is missing here. The choice is final if `chain_measurements` returns nothing.
    """
    known = ChainKnowledge.of(request, sizes)
    reachable = known.missing
    while True:
        found, lost = _Choosing(known, reachable).choose()
        if not lost:
            return found
        reachable = tuple(s for s in reachable if s.uuid not in lost)


def chain_measurements(
    request: ChainRequest, sizes: Mapping[Diff, Size], choice: ChainChoice
) -> tuple[Measurement, ...]:
    """Return what to measure before the next choice; nothing if `choice` is final.

    Args:
        request: What `choice` was made for.
        sizes: What `choice` was made with.
        choice: The current choice.

    Returns:
        Diffs and the limits up to which to measure them. Those that can't be measured belong
        into `ChainRequest.impossible`, the others' sizes into `sizes`.
    """
    known = ChainKnowledge.of(request, sizes)
    return next_chain_measurements(choice.chosen, choice.costs, known)


class _Choosing:
    """One choice, over numbers instead of identities."""

    __slots__ = ("_barred", "_beyond", "_diffs", "_edges", "_known", "_missing", "_tips")

    def __init__(self, known: ChainKnowledge, missing: Sequence[Snapshot]) -> None:
        self._known = known
        self._missing = missing
        self._tips = frozenset(known.tips()) if known.request.look_ahead else frozenset()
        self._diffs: list[Diff] = []
        self._edges: list[Edge] = []
        self._beyond = 0
        self._barred: dict[int, int] = {}  # by node: the least weight of those beyond its limit
        self._add_edges()

    def choose(self) -> tuple[ChainChoice, set[UUID]]:
        """Return the choice, and the snapshots that no diff brings within the limits.

        If there are any of these, the choice is of no use.
        """
        chosen: dict[UUID, Diff] = {}
        costs: dict[UUID, Chain] = {}
        reasons: dict[UUID, Reason] = {}
        lost: set[UUID] = set()
        entering: list[list[int]] = [[] for _ in self._missing]
        for index, edge in enumerate(self._edges):
            entering[edge.to].append(index)
        for group in connected(self._edges, len(self._missing)):
            indices = [i for node in group for i in entering[node]]
            number = {ROOT: ROOT} | {node: place for place, node in enumerate(group)}
            edges = [
                self._edges[i]._replace(
                    to=number[self._edges[i].to], parent=number[self._edges[i].parent]
                )
                for i in indices
            ]
            relaxed = unlimited(edges, len(group))
            best = self._best([self._missing[node] for node in group], edges, relaxed)
            forest = Forest.of([edges[i] for i in best])
            fresh = True  # no full stream of this group has been seen yet
            for place, node in enumerate(group):
                uuid = self._missing[node].uuid
                if indices[best[place]] >= len(self._diffs):
                    lost.add(uuid)
                    continue
                diff = chosen[uuid] = self._diffs[indices[best[place]]]
                costs[uuid] = Chain(forest.links[place], forest.nbytes[place])
                weight = edges[best[place]].weight
                free = best[place] == relaxed[place] and weight <= self._barred.get(node, weight)
                reasons[uuid] = self._reason(diff, free=free, fresh=fresh)
                fresh = fresh and diff.parent is not None
        return ChainChoice(chosen=chosen, costs=costs, reasons=reasons), lost

    def _add_edges(self) -> None:
        """Make edges of the diffs; one number stands for bytes and what decides between equals."""
        known = self._known
        number = {s.uuid: node for node, s in enumerate(self._missing)}
        limits = [known.limit(s.uuid) for s in self._missing]
        ranks = known.ranks
        distance_room = (len(number) + 1) * (len(ranks) + 2)
        later_room = len(number) + 1
        full = {d.to: known.expected[d] for d in known.candidates.near if d.parent is None}
        for diff in known.candidates.diffs():
            if diff.to not in number:
                continue
            nbytes = known.expected[diff]
            if nbytes > full.get(diff.to, nbytes):
                continue  # The full stream is better in every respect.
            chain, start, distance, later = Chain(0, 0), ROOT, len(ranks) + 1, 0
            if diff.parent is not None:
                if diff.parent in known.held:
                    chain = known.held[diff.parent]
                elif diff.parent in number:
                    start = number[diff.parent]
                else:
                    continue
                distance = ranks[diff.to] - ranks[diff.parent]
                later = int(distance < 0)
            node = number[diff.to]
            edge = Edge(
                to=node,
                parent=start,
                weight=(nbytes * distance_room + abs(distance)) * later_room + later,
                nbytes=known.stored(nbytes),
                links=chain.links,
                base=chain.nbytes,
            )
            if start != ROOT or limits[node].allows(edge.links + 1, edge.base + edge.nbytes):
                self._diffs.append(diff)
                self._edges.append(edge)
            else:
                self._barred[node] = min(edge.weight, self._barred.get(node, edge.weight))
        # Without a full stream a node may be out of reach; a step beyond all costs tells so.
        self._beyond = 1 + sum(edge.weight for edge in self._edges)
        self._edges += (
            Edge(to=node, parent=ROOT, weight=self._beyond, nbytes=0)
            for uuid, node in number.items()
            if uuid not in full
        )

    def _best(
        self, group: Sequence[Snapshot], edges: Sequence[Edge], relaxed: Sequence[int]
    ) -> list[int]:
        """Return the index of each snapshot's edge.

        Where runs will follow, what counts is the average over this run's snapshots and those
        that the newest one has room for: later ones build on it, each with a usual diff, until
        its chain is at a limit.
        """
        limits = [self._known.limit(s.uuid) for s in group]
        tips = {
            node: self._known.usual_step(s) for node, s in enumerate(group) if s.uuid in self._tips
        }
        best = cheapest(edges, limits, relaxed)
        if not tips:
            return best
        rating = self._rating(edges, best, limits, tips)
        for room in _rooms(self._known.limits.links, len(group)):
            narrow = list(limits)
            for node, step in tips.items():
                nbytes = limits[node].nbytes
                narrow[node] = Limit(
                    limits[node].links - room,
                    None if nbytes is None else nbytes - room * self._known.stored(step),
                )
            usable = [
                i
                for i, edge in enumerate(edges)
                if edge.parent != ROOT
                or narrow[edge.to].allows(edge.links + 1, edge.base + edge.nbytes)
            ]
            inner = [edges[i] for i in usable]
            if len({edge.to for edge in inner if edge.parent == ROOT}) < len(group):
                break
            start = unlimited(inner, len(group))
            found = [usable[i] for i in cheapest(inner, narrow, start, steps=_STEPS_AHEAD)]
            other = self._rating(edges, found, limits, tips)
            if other < rating:
                best, rating = found, other
        return best

    def _rating(
        self,
        edges: Sequence[Edge],
        chosen: Sequence[int],
        limits: Sequence[Limit],
        tips: Mapping[int, int],
    ) -> tuple[int, Fraction, int, int]:
        """Return snapshots out of reach, bytes for each on average, and what decides then."""
        forest = Forest.of([edges[i] for i in chosen])
        room = min(
            limits[node].room(forest.links[node], forest.nbytes[node], self._known.stored(step))
            for node, step in tips.items()
        )
        nbytes = sum(edges[i].nbytes for i in chosen)
        nbytes += room * sum(self._known.stored(step) for step in tips.values())
        count = len(chosen) + room * len(tips)
        lost = sum(edges[i].weight >= self._beyond for i in chosen)
        average = Fraction(nbytes, count)
        # Of equals the one with more room, but for as long as nothing is known.
        return lost, average, -room if average else 0, sum(edges[i].weight for i in chosen)

    def _reason(self, diff: Diff, *, free: bool, fresh: bool) -> Reason:
        if diff.parent is not None:
            return Reason.CHEAPEST if free else Reason.WITHIN_LIMITS
        known = self._known
        rivals = [d for d in known.diffs_of(diff.to) if d.parent is not None]
        if not rivals:
            return Reason.ONLY_FULL
        if fresh and not any(d.parent in known.held for d in rivals):
            return Reason.FIRST
        if known.expected[diff] <= min(known.expected[d] for d in rivals):
            return Reason.FULL_CHEAPEST
        return Reason.NEW_CHAIN


def _rooms(links: int, count: int) -> Iterable[int]:
    """Return the numbers of later snapshots for which to keep room, ascending."""
    return _powers(links - 1) if count <= _AHEAD_COUNT else ()


def _powers(most: int) -> Iterator[int]:
    """Yield the powers of two below `most`, and `most` itself."""
    power = 1
    while power < most:
        yield power
        power *= 2
    if most > 0:
        yield most

"""The choice among stored streams: those that bring what is wanted for the fewest bytes.

An end that stores streams has just these, and what was asked for may build on snapshots that
were not. So the plan is a tree that must reach all that was asked for, and may lead over others,
its *links*: see `buttersink.planning.steiner`. Sizes are known: they are those of the objects.
"""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from typing import TYPE_CHECKING

from buttersink.plan import Reason
from buttersink.planning.arborescence import ROOT
from buttersink.planning.candidates import chronology
from buttersink.planning.routes import Route, Routes
from buttersink.planning.steiner import steiner_tree

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping
    from uuid import UUID

    from buttersink.model import Diff, Inventory, Size


def relay(
    source: Inventory,
    *,
    wanted: Collection[UUID],
    held: Collection[UUID],
    impossible: Collection[Diff] = (),
) -> Routes:
    """Choose stored streams that bring the wanted snapshots to the destination.

    They take the fewest bytes, and of equal ones it is the fewest streams, unless there are too
    many ways to try (see `steiner.steiner_tree`). The order of the facts does not matter.

    Args:
        source: The facts of the end that stores the streams.
        wanted: Identities of snapshots that the destination is to get.
        held: Identities of those that it has; none of them is wanted.
        impossible: Streams that can't be used.
    """
    ranks = {s.uuid: rank for rank, s in enumerate(sorted(source.snapshots, key=chronology))}
    usable = {
        diff: size
        for diff, size in sorted(source.stored, key=lambda item: _by_time(item[0], ranks))
        if diff.to in ranks and diff.to not in held and diff not in impossible
    }
    choice = _choose(usable, wanted=wanted, held=held)
    streams = Counter(diff.to for diff, _ in source.stored)
    found: dict[UUID, Route] = {}
    for diff in choice:
        reason = Reason.STORED
        if diff.to not in wanted:
            reason = Reason.LINK
        elif diff.parent is None and streams[diff.to] == 1:
            reason = Reason.ONLY_FULL
        found[diff.to] = Route(
            diff=diff, size=usable[diff], reason=reason, link=reason is Reason.LINK
        )
    lost = sorted(set(wanted).difference(found), key=lambda uuid: uuid.int)
    return Routes(found=found, unreachable=_why_unreachable(lost, source, usable, held))


def _choose(
    usable: Mapping[Diff, Size], *, wanted: Collection[UUID], held: Collection[UUID]
) -> list[Diff]:
    diffs = list(usable)
    nodes: dict[UUID, int] = {}
    for diff in diffs:
        nodes.setdefault(diff.to, len(nodes))
    # One number stands for (bytes, number of streams), compared in this order.
    room = len(nodes) + 1
    edges: list[tuple[int, int, int]] = []
    for diff in diffs:
        if diff.parent is None or diff.parent in held:
            start = ROOT
        else:
            # What can't be reached itself is made a node of its own, which nothing enters.
            start = nodes.setdefault(diff.parent, len(nodes))
        edges.append((start, nodes[diff.to], usable[diff].nbytes * room + 1))
    goals = sorted(nodes[uuid] for uuid in wanted if uuid in nodes)
    return [diffs[edge] for edge in steiner_tree(len(nodes), edges, goals)]


def _by_time(diff: Diff, ranks: Mapping[UUID, int]) -> tuple[int, int, int]:
    """Return a key that orders streams by what they make, and then by what they build on."""
    last = len(ranks)
    parent = -1 if diff.parent is None else ranks.get(diff.parent, last)
    return ranks.get(diff.to, last), parent, 0 if diff.parent is None else diff.parent.int


def _why_unreachable(
    lost: Iterable[UUID],
    source: Inventory,
    usable: Collection[Diff],
    held: Collection[UUID],
) -> dict[UUID, str]:
    """Say for each of `lost` what is missing that it builds on: of several the nearest."""
    onward: defaultdict[UUID, list[UUID]] = defaultdict(list)
    for diff in usable:
        if diff.parent is not None:
            onward[diff.parent].append(diff.to)
    entered = {diff.to for diff in usable}
    missing = sorted({*onward, *lost}.difference(entered, held), key=lambda uuid: uuid.int)
    bases = {uuid: uuid for uuid in missing}
    waiting = deque(missing)
    while waiting:
        uuid = waiting.popleft()
        for to in onward.get(uuid, ()):
            if to not in bases:
                bases[to] = bases[uuid]
                waiting.append(to)
    stored = {diff.to for diff, _ in source.stored}
    names = {s.uuid: s.path for s in source.snapshots}
    return {uuid: _detail(uuid, bases.get(uuid), stored, names) for uuid in lost}


def _detail(
    uuid: UUID, base: UUID | None, stored: Collection[UUID], names: Mapping[UUID, str]
) -> str:
    if base is None:
        return "the streams that lead to it only build on each other"
    if uuid == base:
        return "no stream of it can be used" if base in stored else "the source has no stream of it"
    name = names.get(base, str(base))
    if base in stored:
        return f"it builds on {name}, of which no stream can be used"
    return (
        f"it builds on {name}, of which there is no stream below this prefix; "
        f"name the prefix above it, and choose with --only"
    )

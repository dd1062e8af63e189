"""The choice of diffs where any can be made and nothing but the bytes sent counts.

The snapshots are the nodes of a graph and the diffs its edges; what the destination has is where
one can start, and so is nothing. The choice is the minimum-cost arborescence.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from buttersink.model import Measurement
from buttersink.plan import Reason
from buttersink.planning.arborescence import ROOT, minimum_arborescence
from buttersink.planning.candidates import candidate_diffs, chronology
from buttersink.planning.knowledge import Knowledge
from buttersink.planning.measuring import next_measurements
from buttersink.planning.routes import NO_DIFF, NOTHING_KNOWN, Route, Routes

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from uuid import UUID

    from buttersink.model import Diff, Inventory, Size, Snapshot
    from buttersink.planning.request import Request

AFFORDABLE_METADATA: Final = 4 << 20
"""Bytes of metadata that may be read without a thought, in a fraction of a second. If all
candidates together need no more, all of them are measured, and the plan is exactly optimal."""


def branch(
    request: Request,
    missing: Sequence[Snapshot],
    held: Collection[UUID],
    sizes: Mapping[Diff, Size],
) -> Routes:
    """Choose the diffs that bring `missing` to the destination for the fewest bytes.

    Args:
        request: What is asked for; its source makes any diff.
        missing: Snapshots to bring.
        held: Identities that the destination has.
        sizes: Known sizes, of any diffs.
    """
    reachable = missing
    while True:
        known = _known(request, reachable, held, sizes)
        chosen = _choose(request, reachable, known)
        if len(chosen) == len(reachable):
            break
        # A snapshot that can't be read stood between its neighbours: they are neighbours now.
        reachable = [s for s in reachable if s.uuid in chosen]
    branching = {diff.to for diff in known.candidates if diff.parent is not None}
    grafting = {diff.to for diff in known.candidates if diff.parent in held}
    return Routes(
        found={
            uuid: Route(
                diff=diff,
                size=known.sizes.get(diff, NOTHING_KNOWN),
                reason=_reason(diff, branching=branching, grafting=grafting),
            )
            for uuid, diff in chosen.items()
        },
        unreachable={s.uuid: NO_DIFF for s in missing if s.uuid not in chosen},
    )


def branch_measurements(
    request: Request,
    missing: Sequence[Snapshot],
    held: Collection[UUID],
    sizes: Mapping[Diff, Size],
    chosen: Collection[Diff],
) -> tuple[Measurement, ...]:
    """Return what to measure before choosing again; nothing if `chosen` is final.

    The arguments are those of `branch`, and what it chose; `missing` is what it found routes for.
    """
    known = _known(request, missing, held, sizes)
    begun = [diff for diff in known.candidates if diff in request.begun]
    if unsure := [diff for diff in begun if known.final(diff) is None]:
        return tuple(Measurement(diff=diff, limit=None) for diff in unsure)
    todo = next_measurements(chosen, known)
    unsure = [diff for diff in known.candidates if known.final(diff) is None]
    snapshots = {s.uuid: s for s in missing}
    metadata = [snapshots[diff.to].metadata_bytes for diff in unsure]
    if todo and all(metadata) and sum(metadata) <= AFFORDABLE_METADATA:
        return tuple(Measurement(diff=diff, limit=None) for diff in unsure)
    return todo


def _begun(request: Request, missing: Sequence[Snapshot], held: Collection[UUID]) -> list[Diff]:
    """Return the diffs that were begun before and can still be made, and be of use."""
    goals = {s.uuid for s in missing}
    parents = request.source.by_uuid().keys() & (goals | set(held))
    return [
        diff
        for diff in sorted(request.begun, key=lambda d: (d.to.int, d.parent is not None))
        if diff.to in goals and (diff.parent is None or diff.parent in parents)
    ]


def _known(
    request: Request,
    missing: Sequence[Snapshot],
    held: Collection[UUID],
    sizes: Mapping[Diff, Size],
) -> Knowledge:
    """Return the diffs that may serve, and what is known of their sizes."""
    considered = candidate_diffs(missing, request.source, held)
    candidates = tuple(
        diff
        for diff in dict.fromkeys((*considered, *_begun(request, missing, held)))
        if diff not in request.impossible
    )
    likely = _likely(candidates, request.source.by_uuid())
    return Knowledge(
        candidates=candidates,
        sizes={diff: sizes[diff] for diff in candidates if diff in sizes},
        series=_series(candidates, likely, _ranks(request.source)),
        likely=likely,
        near=_near(request.source, missing, held).intersection(candidates),
    )


def _choose(request: Request, missing: Sequence[Snapshot], known: Knowledge) -> dict[UUID, Diff]:
    """Return the diff of each snapshot that can be reached.

    What has been sent of some diffs already is not counted. What is passed over does not depend on
    that, so the choice is never worse than if nothing had been sent; it may not be the very best.
    """
    ranks = _ranks(request.source)
    nodes = {snapshot.uuid: node for node, snapshot in enumerate(missing)}
    passed_over = known.passed_over()
    considered = [diff for diff in known.candidates if diff not in passed_over]
    # One number stands for (bytes, distance in time, number of later parents), compared in this
    # order: each part has room for its sum over a whole plan.
    distance_room = (len(missing) + 1) * (len(ranks) + 2)
    later_room = len(missing) + 1
    edges: list[tuple[int, int, int]] = []
    for diff in considered:
        start, distance, later = ROOT, len(ranks) + 1, 0
        if diff.parent is not None:
            start = nodes.get(diff.parent, ROOT)
            distance = ranks[diff.to] - ranks[diff.parent]
            later = int(distance < 0)
        nbytes = max(0, known.bound(diff) - request.begun.get(diff, 0))
        weight = nbytes * distance_room + abs(distance)
        edges.append((start, nodes[diff.to], weight * later_room + later))
    chosen = minimum_arborescence(len(missing), edges)
    return {considered[edge].to: considered[edge] for edge in chosen if edge is not None}


def _series(
    candidates: Iterable[Diff], likely: Mapping[UUID, Diff], ranks: Mapping[UUID, int]
) -> frozenset[Diff]:
    """Return the diffs that a plain series of incremental sends uses.

    That is for each snapshot the likeliest one; for the first of a history the full stream.
    """
    fulls = {diff.to: diff for diff in candidates if diff.parent is None}
    for diff in candidates:
        if diff.parent is not None and ranks[diff.parent] < ranks[diff.to]:
            fulls.pop(diff.to, None)
    return frozenset(likely.values()).union(fulls.values())


def _near(
    source: Inventory, missing: Iterable[Snapshot], held: Collection[UUID]
) -> frozenset[Diff]:
    """Return the diffs on a neighbour that the destination has.

    A parent that it has is a neighbour if it would be considered as well if it were on its way.
    """
    coming = {snapshot.uuid for snapshot in missing}
    usable = [s for s in source.snapshots if s.uuid in coming or s.uuid in held]
    if len(usable) == len(coming):
        return frozenset()
    return frozenset(diff for diff in candidate_diffs(usable, source, ()) if diff.parent in held)


def _likely(candidates: Iterable[Diff], snapshots: Mapping[UUID, Snapshot]) -> Mapping[UUID, Diff]:
    """Return for each snapshot the incremental diff that is likely to be the smallest.

    As most snapshots are made of one that lives on, that is the one on the nearest before it,
    rather of the same subvolume than of another one that has a history in common with it.
    """
    best: dict[UUID, tuple[tuple[int, ...], Diff]] = {}
    for diff in candidates:
        if diff.parent is None:
            continue
        rank = _unlikeliness(snapshots[diff.to], snapshots[diff.parent])
        if diff.to not in best or rank < best[diff.to][0]:
            best[diff.to] = rank, diff
    return {uuid: diff for uuid, (_, diff) in best.items()}


def _unlikeliness(to: Snapshot, parent: Snapshot) -> tuple[int, ...]:
    since = to.origin_generation - parent.origin_generation
    arrived_since = to.generation - parent.generation
    same = to.parent_uuid is not None and to.parent_uuid == parent.parent_uuid
    related = same or to.ancestor == parent.uuid
    return (since, arrived_since) < (0, 0), not related, abs(since), abs(arrived_since)


def _ranks(source: Inventory) -> dict[UUID, int]:
    """Return the place of each of the source's snapshots in time."""
    return {s.uuid: rank for rank, s in enumerate(sorted(source.snapshots, key=chronology))}


def _reason(diff: Diff, *, branching: Collection[UUID], grafting: Collection[UUID]) -> Reason:
    """Return why a diff was chosen.

    Args:
        diff: It.
        branching: The snapshots for which any parent was considered.
        grafting: Those for which one was that the destination has.
    """
    if diff.parent is not None:
        return Reason.CHEAPEST
    if diff.to in grafting:
        return Reason.FULL_CHEAPEST
    return Reason.FIRST if diff.to in branching else Reason.ONLY_FULL

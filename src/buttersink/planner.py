"""Facts in, plan out: what brings the wanted snapshots to the destination for the least bytes.

The snapshots are the nodes of a graph and the diffs its edges. What the destination's file system
has already, under whatever path, is free. The plan is the minimum-cost arborescence: one diff for
each snapshot, all of them leading back to what is there or to nothing. See docs/planning.md.

Planning is pure. Sizes come from the caller, who measures what `measurements` asks for:

    plan = make_plan(request, sizes)
    while todo := measurements(request, sizes, plan):
        sizes.update((m.diff, source.measure(m.diff, request.options, m.limit)) for m in todo)
        plan = make_plan(request, sizes)
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import TYPE_CHECKING

from buttersink.arborescence import ROOT, minimum_arborescence
from buttersink.candidates import candidate_diffs, chronology
from buttersink.knowledge import Knowledge
from buttersink.measuring import Measurement, next_measurements
from buttersink.model import (
    Adopt,
    Certainty,
    Clean,
    Delete,
    Diff,
    Inventory,
    Keep,
    Partial,
    Plan,
    Reason,
    Size,
    Skip,
    Snapshot,
    StreamOptions,
    Transfer,
)
from buttersink.placement import place

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from uuid import UUID

__all__ = ["Measurement", "Request", "make_plan", "measurements"]

AFFORDABLE_METADATA = 4 << 20
"""Bytes of metadata that may be read without a thought, in a fraction of a second. If all
candidates together need no more, all of them are measured, and the plan is exactly optimal."""

_NOTHING_KNOWN = Size(0, Certainty.AT_LEAST)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is asked for, and all facts that the plan depends on but the sizes.

    Attributes:
        source: The facts of the end that snapshots come from.
        destination: The facts of the end that they go to, which holds subvolumes.
        wanted: Those of the source's snapshots that the destination directory is to have.
        taken: Relative paths at which anything exists in the destination directory. Only the
            paths of wanted snapshots matter.
        options: How streams will be made; passed on.
        delete: Whether to delete what the source directory has not.
        protected: Identities that are never deleted.
        protected_paths: Relative paths in the destination that are never deleted.
        cleans: Leftovers to remove.
        impossible: Diffs that can't be made, because measuring or sending them failed.
    """

    source: Inventory
    destination: Inventory
    wanted: tuple[Snapshot, ...]
    taken: frozenset[str] = frozenset()
    options: StreamOptions = field(default_factory=StreamOptions)
    delete: bool = False
    protected: frozenset[UUID] = frozenset()
    protected_paths: frozenset[str] = frozenset()
    cleans: tuple[Partial, ...] = ()
    impossible: frozenset[Diff] = frozenset()


def make_plan(request: Request, sizes: Mapping[Diff, Size]) -> Plan:
    """Return the plan of least cost, as far as the sizes are known.

    It never takes more bytes than the chain of nearest predecessors of the same sizes. Equal
    costs are decided for the parent that is nearest in time, for the earlier of two as near, and
    against full sends. The order of the facts and sizes does not matter.

    Args:
        request: What is asked for.
        sizes: Known sizes, of any diffs. AT_LEAST is a lower bound, and so is 0 for a diff that
            is missing here; in the plan it is marked AT_LEAST. The plan is final if
            `measurements` returns nothing for it.

    Returns:
        Keeps and adoptions by time, then transfers by time but parents first, then skips by
        time; deletions by path, with nested ones first.
    """
    at_destination = request.destination.by_uuid()
    deletes = _deletes(request)
    steps: list[Keep | Adopt] = []
    absent: list[Snapshot] = []
    for snapshot in {s.uuid: s for s in request.wanted}.values():
        held = at_destination.get(snapshot.uuid)
        if held is not None and held.paths:
            steps.append(Keep(snapshot=snapshot, path=held.paths[0]))
        else:
            absent.append(snapshot)
    places, skips = _places(request, absent, deletes)
    placed = sorted((s for s in absent if s.uuid in places), key=chronology)
    steps += (Adopt(snapshot=s, path=places[s.uuid]) for s in placed if s.uuid in at_destination)
    routes = _routes(request, [s for s in placed if s.uuid not in at_destination], sizes)
    skips += tuple(
        Skip(snapshot=s, path=places[s.uuid], reason=Reason.UNREACHABLE, detail=detail)
        for s, detail in routes.unreachable
    )
    return Plan(
        steps=(
            *sorted(steps, key=lambda step: chronology(step.snapshot)),
            *_transfers(request, routes, places),
            *sorted(skips, key=lambda skip: chronology(skip.snapshot)),
        ),
        cleans=tuple(Clean(partial=p) for p in sorted(request.cleans, key=lambda p: p.path)),
        deletes=deletes,
        options=request.options,
    )


def measurements(
    request: Request, sizes: Mapping[Diff, Size], plan: Plan
) -> tuple[Measurement, ...]:
    """Return what to measure before the next plan; nothing if `plan` is final.

    Args:
        request: What `plan` was made for.
        sizes: What `plan` was made with.
        plan: The current plan.

    Returns:
        Diffs and the limits up to which to measure them. If one can't be measured, put it into
        `Request.impossible`; else its size into `sizes`.
    """
    snapshots = {t.diff.to: t.snapshot for t in plan.transfers}
    known = _known(request, list(snapshots.values()), sizes)
    todo = next_measurements((t.diff for t in plan.transfers), known)
    unsure = [diff for diff in known.candidates if known.final(diff) is None]
    metadata = [snapshots[diff.to].metadata_bytes for diff in unsure]
    if todo and all(metadata) and sum(metadata) <= AFFORDABLE_METADATA:
        return tuple(Measurement(diff=diff, limit=None) for diff in unsure)
    return todo


def _places(
    request: Request, absent: Iterable[Snapshot], deletes: Iterable[Delete]
) -> tuple[dict[UUID, str], tuple[Skip, ...]]:
    return place(
        absent,
        taken=request.taken,
        standing={path for s in request.destination.snapshots for path in s.paths},
        doomed={delete.path for delete in deletes},
    )


def _known(request: Request, missing: Sequence[Snapshot], sizes: Mapping[Diff, Size]) -> Knowledge:
    """Return the diffs that may serve, and what is known of their sizes."""
    at_destination = {s.uuid for s in request.destination.snapshots}
    considered = candidate_diffs(missing, request.source, at_destination)
    candidates = tuple(diff for diff in considered if diff not in request.impossible)
    stored = dict(request.source.stored)
    known = ((diff, sizes.get(diff, stored.get(diff))) for diff in candidates)
    return Knowledge(
        candidates=candidates,
        sizes={diff: size for diff, size in known if size is not None},
        chain=_chain(candidates, _ranks(request.source)),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Routes:
    """How snapshots get to the destination.

    Attributes:
        chosen: The diff of each snapshot that can be sent.
        branching: The snapshots for which any parent was considered.
        grafting: Those for which one was that the destination has.
        sizes: Sizes, as far as anything is known.
        unreachable: Snapshots that can't be sent, and why.
    """

    chosen: Mapping[UUID, Diff]
    branching: frozenset[UUID]
    grafting: frozenset[UUID]
    sizes: Mapping[Diff, Size]
    unreachable: tuple[tuple[Snapshot, str], ...]


def _routes(request: Request, missing: Sequence[Snapshot], sizes: Mapping[Diff, Size]) -> _Routes:
    reachable = missing
    held = request.destination.by_uuid()
    while True:
        known = _known(request, reachable, sizes)
        chosen = _choose(request.source, reachable, known)
        if len(chosen) == len(reachable):
            break
        # A snapshot that can't be read stood between its neighbours: they are neighbours now.
        reachable = [s for s in reachable if s.uuid in chosen]
    return _Routes(
        chosen=chosen,
        branching=frozenset(diff.to for diff in known.candidates if diff.parent is not None),
        grafting=frozenset(diff.to for diff in known.candidates if diff.parent in held),
        sizes=known.sizes,
        unreachable=tuple(
            _missing_links(request, missing, [s for s in missing if s.uuid not in chosen])
        ),
    )


def _choose(source: Inventory, missing: Sequence[Snapshot], known: Knowledge) -> dict[UUID, Diff]:
    """Return the diff of each snapshot that can be reached."""
    ranks = _ranks(source)
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
            distance = len(ranks)
            if diff.parent in ranks:
                distance = ranks[diff.to] - ranks[diff.parent]
                later = int(distance < 0)
        weight = known.bound(diff) * distance_room + abs(distance)
        edges.append((start, nodes[diff.to], weight * later_room + later))
    chosen = minimum_arborescence(len(missing), edges)
    return {considered[edge].to: considered[edge] for edge in chosen if edge is not None}


def _chain(candidates: Iterable[Diff], ranks: Mapping[UUID, int]) -> frozenset[Diff]:
    """Return the diffs that a plain series of incremental sends uses.

    That is for each snapshot the one on its nearest predecessor; for the first the full stream.
    """
    nearest: dict[UUID, tuple[int, Diff]] = {}
    for diff in candidates:
        rank = -1 if diff.parent is None else ranks.get(diff.parent, -1)
        if rank < ranks[diff.to] and (diff.to not in nearest or nearest[diff.to][0] < rank):
            nearest[diff.to] = rank, diff
    return frozenset(diff for _, diff in nearest.values())


def _ranks(source: Inventory) -> dict[UUID, int]:
    """Return the place of each of the source's snapshots in time."""
    return {s.uuid: rank for rank, s in enumerate(sorted(source.snapshots, key=chronology))}


def _transfers(request: Request, routes: _Routes, places: Mapping[UUID, str]) -> Iterator[Transfer]:
    """Yield the chosen diffs as steps: whatever can be sent next, the earliest first."""
    snapshots = {**request.destination.by_uuid(), **request.source.by_uuid()}
    children: defaultdict[UUID, list[UUID]] = defaultdict(list)
    ready: list[tuple[tuple[int, int], UUID]] = []
    for uuid, diff in routes.chosen.items():
        if diff.parent is not None and diff.parent in routes.chosen:
            children[diff.parent].append(uuid)
        else:
            heappush(ready, (chronology(snapshots[uuid]), uuid))
    while ready:
        _, uuid = heappop(ready)
        for child in children[uuid]:
            heappush(ready, (chronology(snapshots[child]), child))
        diff = routes.chosen[uuid]
        if diff.parent is not None:
            reason = Reason.CHEAPEST
        elif uuid in routes.grafting:
            reason = Reason.FULL_CHEAPEST
        else:
            reason = Reason.FIRST if uuid in routes.branching else Reason.ONLY_FULL
        yield Transfer(
            snapshot=snapshots[uuid],
            diff=diff,
            path=places[uuid],
            size=routes.sizes.get(diff, _NOTHING_KNOWN),
            reason=reason,
            parent_path=None if diff.parent is None else snapshots[diff.parent].path,
        )


def _missing_links(
    request: Request, missing: Iterable[Snapshot], unreachable: Iterable[Snapshot]
) -> Iterator[tuple[Snapshot, str]]:
    """Say for those of `missing` that are unreachable why no diff leads to them."""
    parents: defaultdict[UUID, set[UUID | None]] = defaultdict(set)
    for diff, _ in request.source.stored:
        parents[diff.to].add(diff.parent)
    usable = {None, *request.destination.by_uuid(), *(s.uuid for s in missing)}
    paths = {s.uuid: s.path for s in request.source.snapshots}
    for snapshot in unreachable:
        absent = parents[snapshot.uuid] - usable
        if request.source.makes_any_diff:
            detail = "no diff of it can be made"
        elif absent:
            names = sorted(paths.get(uuid, str(uuid)) for uuid in absent if uuid is not None)
            detail = (
                f"it builds on {' or '.join(names)}, which is neither wanted nor in the destination"
            )
        elif parents[snapshot.uuid]:
            detail = "what it builds on can't be sent either"
        else:
            detail = "the source holds no diff of it"
        yield snapshot, detail


def _deletes(request: Request) -> tuple[Delete, ...]:
    """Return what the destination directory has and the source directory has not."""
    if not request.delete:
        return ()
    spared = {s.uuid for s in request.source.inside()} | request.protected
    deletes = [
        Delete(uuid=snapshot.uuid, path=path)
        for snapshot in request.destination.inside()
        if snapshot.uuid not in spared
        for path in snapshot.paths
        if path not in request.protected_paths
    ]
    return tuple(sorted(deletes, key=lambda delete: _nested_first(delete.path)))


def _nested_first(path: str) -> list[tuple[bool, str]]:
    """Return a key that orders paths by name, but what is inside a directory before it."""
    return [*((False, name) for name in path.split("/")), (True, "")]

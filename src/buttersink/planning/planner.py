"""Facts in, plan out: what brings the wanted snapshots to the destination for the least bytes.

What the destination has already, under whatever path, is free. How the diffs for the rest are
chosen depends on the ends: see `routing`, and docs/planning.md.

Planning is pure. Sizes come from the caller, who measures what `measurements` asks for:

    plan = make_plan(request, sizes)
    while todo := measurements(request, sizes, plan):
        sizes.update((m.diff, source.measure(m.diff, request.options, m.limit)) for m in todo)
        plan = make_plan(request, sizes)
"""

from __future__ import annotations

from collections import defaultdict
from heapq import heappop, heappush
from typing import TYPE_CHECKING

from buttersink.chains import best_chains
from buttersink.plan import Adopt, Delete, Keep, Plan, Reason, Release, Skip, Transfer
from buttersink.planning.candidates import chronology
from buttersink.planning.placement import place
from buttersink.planning.request import Request
from buttersink.planning.routing import find_routes, route_measurements

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from uuid import UUID

    from buttersink.model import Chain, Diff, Measurement, Size, Snapshot
    from buttersink.planning.routes import Route

__all__ = ["Request", "make_plan", "measurements"]


def make_plan(request: Request, sizes: Mapping[Diff, Size]) -> Plan:
    """Return the plan of least cost, as far as the sizes are known.

    Between subvolumes it never takes more bytes than the chain of nearest predecessors of the
    same sizes. Equal costs are decided for the parent that is nearest in time, for the earlier
    of two as near, and against full sends. The order of the facts and sizes does not matter.

    Leftovers to clean are not part of it, nor what is deleted at a destination that stores
    streams: see `retention`.

    Args:
        request: What is asked for.
        sizes: Known sizes, of any diffs. AT_LEAST is a lower bound, and so is 0 for a diff that
            is missing here; in the plan it is marked AT_LEAST. The plan is final if
            `measurements` returns nothing for it. A source that stores streams needs none.

    Returns:
        Keeps and adoptions by time, then transfers by time but parents first, then skips by
        time; releases of this run's links, and then of leftover ones by path; deletions by path,
        with nested ones first. A snapshot that is skipped for its path, in a directory of
        subvolumes, can be a link too.
    """
    at_destination = request.held()
    chains = best_chains(request.destination.stored).costs
    deletes = _deletes(request)
    steps: list[Keep | Adopt] = []
    absent: list[Snapshot] = []
    for snapshot in {s.uuid: s for s in request.wanted}.values():
        held = at_destination.get(snapshot.uuid)
        if held is not None and held.paths:
            chain = chains.get(snapshot.uuid)
            steps.append(Keep(snapshot=snapshot, path=held.paths[0], chain=chain))
        else:
            absent.append(snapshot)
    places, skips = _places(request, absent, deletes)
    placed = sorted((s for s in absent if s.uuid in places), key=chronology)
    steps += (Adopt(snapshot=s, path=places[s.uuid]) for s in placed if s.uuid in at_destination)
    missing = [s for s in placed if s.uuid not in at_destination]
    refused = [skip.snapshot for skip in skips]
    routes = find_routes(request, missing, sizes, refused=refused)
    skips += tuple(
        Skip(snapshot=s, path=places[s.uuid], reason=Reason.UNREACHABLE, detail=detail)
        for s in missing
        if (detail := routes.unreachable.get(s.uuid)) is not None
    )
    transfers = tuple(_transfers(request, routes.found, places))
    return Plan(
        steps=(
            *sorted(steps, key=lambda step: chronology(step.snapshot)),
            *transfers,
            *sorted(skips, key=lambda skip: chronology(skip.snapshot)),
        ),
        releases=_releases(request, transfers),
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
        `Request.impossible`; else its size into `sizes`. Nothing if the source stores streams.
    """
    return route_measurements(request, plan.transfers, sizes)


def _places(
    request: Request, absent: Iterable[Snapshot], deletes: Iterable[Delete]
) -> tuple[dict[UUID, str], tuple[Skip, ...]]:
    if not request.destination.makes_any_diff:
        return place(absent, taken=request.taken, shared=True)
    return place(
        absent,
        taken=request.taken,
        standing={path for s in request.destination.snapshots for path in s.paths},
        doomed={delete.path for delete in deletes},
    )


def _transfers(
    request: Request, routes: Mapping[UUID, Route], places: Mapping[UUID, str]
) -> Iterator[Transfer]:
    """Yield the routes as steps: whatever can be sent next, the earliest first."""
    there = request.destination.by_uuid()
    # What a far end only builds on has no path there. At the other end it has one.
    names = {u: s for u, s in there.items() if u in request.source.parents_only}
    snapshots = {**there, **request.source.by_uuid()}
    chains = _coming_chains(request, routes.values())
    children: defaultdict[UUID, list[UUID]] = defaultdict(list)
    ready: list[tuple[tuple[int, int], UUID]] = []
    for uuid, route in routes.items():
        if route.diff.parent is not None and route.diff.parent in routes:
            children[route.diff.parent].append(uuid)
        else:
            heappush(ready, (chronology(snapshots[uuid]), uuid))
    while ready:
        _, uuid = heappop(ready)
        for child in children[uuid]:
            heappush(ready, (chronology(snapshots[child]), child))
        route, snapshot = routes[uuid], snapshots[uuid]
        parent = route.diff.parent
        yield Transfer(
            snapshot=snapshot,
            diff=route.diff,
            # What lies outside the prefix of its end has a path from the top there: "/x/y".
            path=snapshot.path.lstrip("/") if route.link else places[uuid],
            size=route.size,
            reason=route.reason,
            parent_path=None if parent is None else (names.get(parent) or snapshots[parent]).path,
            link=route.link,
            chain=route.chain or chains.get(uuid),
        )


def _coming_chains(request: Request, routes: Iterable[Route]) -> Mapping[UUID, Chain]:
    """Return what restoring will take, at a destination that stores streams."""
    if request.destination.makes_any_diff:
        return {}
    coming = [(route.diff, route.size) for route in routes]
    return best_chains([*request.destination.stored, *coming]).costs


def _releases(request: Request, transfers: Iterable[Transfer]) -> tuple[Release, ...]:
    """Return the links that a destination of subvolumes lets go of: new ones, and leftovers."""
    if not request.destination.makes_any_diff:
        return ()
    links = {t.diff.to: t.path for t in transfers if t.link}
    leftovers = request.destination.partials if request.may_remove else ()
    for partial in sorted(leftovers, key=lambda partial: partial.path):
        # Deeper ones belong to a destination further down, which may be using them.
        mine = partial.link and "/" not in partial.path and not partial.guarded
        if mine and partial.uuid is not None:
            links.setdefault(partial.uuid, partial.path)
    return tuple(Release(uuid=uuid, path=path) for uuid, path in links.items())


def _deletes(request: Request) -> tuple[Delete, ...]:
    """Return what a directory of subvolumes has and the source directory has not."""
    if not request.delete or not request.destination.makes_any_diff:
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

"""Broken chains at a destination that stores streams: sending the lost links again mends them.

Without that, everything that was stored on top of a lost stream would have to be sent again.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from buttersink.chains import best_chains
from buttersink.model import Diff, Size
from buttersink.plan import Keep, Plan, Reason, Skip, Transfer

if TYPE_CHECKING:
    from uuid import UUID

    from buttersink.model import Snapshot
    from buttersink.planning.request import Request


@dataclass(frozen=True, slots=True, kw_only=True)
class Healing:
    """How to mend what can be mended.

    Attributes:
        request: What to ask for instead: the lost links, and not what they mend.
        links: Those of the lost links that nobody asked for.
        mended: Wanted snapshots that will be whole again.
    """

    request: Request
    links: frozenset[UUID]
    mended: tuple[Snapshot, ...]

    def completed(self, plan: Plan) -> Plan | None:
        """Return the plan for what was really asked; None if a lost link can't be sent."""
        stopped = {s.snapshot.uuid for s in plan.steps if isinstance(s, Skip)}
        if stopped & self.links:
            return None
        held = self.request.destination
        coming = [(t.diff, t.size) for t in plan.transfers]
        chains = best_chains([*held.stored, *coming]).costs
        if any(s.uuid not in chains for s in self.mended):
            return None
        known = held.by_uuid()
        keeps = tuple(
            Keep(snapshot=s, path=known[s.uuid].path, chain=chains[s.uuid]) for s in self.mended
        )
        steps = tuple(
            replace(step, link=True, reason=Reason.LINK)
            if isinstance(step, Transfer) and step.diff.to in self.links
            else step
            for step in plan.steps
        )
        return replace(plan, steps=(*keeps, *steps))


def find_healing(request: Request) -> Healing | None:
    """Return how lost links mend chains of wanted snapshots; None if there is nothing to mend."""
    held = request.destination
    if held.makes_any_diff:
        return None
    whole = best_chains(held.stored).costs
    there = {diff.to for diff, _ in held.stored}
    available = {
        s.uuid: s for s in request.source.snapshots if s.uuid not in request.source.parents_only
    }
    lost = {
        diff.parent
        for diff, _ in held.stored
        if diff.parent is not None and diff.parent not in there and diff.parent in available
    }
    if not lost:
        return None
    mended_by = best_chains([*held.stored, *((Diff(uuid), Size(0)) for uuid in lost)])
    shown = {s.uuid for s in held.inside()}
    mended = tuple(
        s
        for s in request.wanted
        if s.uuid not in whole and s.uuid in mended_by.costs and s.uuid in shown - lost
    )
    needed = {
        diff.to
        for snapshot in mended
        for diff in mended_by.streams(snapshot.uuid)
        if diff.to in lost
    }
    if not needed:
        return None
    asked = {s.uuid for s in request.wanted}
    links = frozenset(needed - asked)
    gone = {s.uuid for s in mended}
    return Healing(
        request=replace(
            request,
            wanted=(
                *(s for s in request.wanted if s.uuid not in gone),
                *(_placed(available[uuid]) for uuid in sorted(links, key=lambda uuid: uuid.int)),
            ),
        ),
        links=links,
        mended=mended,
    )


def _placed(link: Snapshot) -> Snapshot:
    """Return a link as if it were asked for: also one outside the directory goes somewhere."""
    return link if link.paths else replace(link, paths=(link.path.lstrip("/"),))

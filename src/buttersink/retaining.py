"""What a run with --delete removes from an end that holds streams, and what it sends for that."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from buttersink.plan import Adopt, Plan, Reason, Transfer
from buttersink.planning.retention import RetentionRequest, retain, retention_measurements

if TYPE_CHECKING:
    from uuid import UUID

    from buttersink.model import ChainLimits, Diff, Measurement, Size
    from buttersink.planning.planner import Request
    from buttersink.planning.retention import Retention


class Sizes(Protocol):
    """Sizes of diffs, as far as they are known; more can be found out."""

    known: dict[Diff, Size]
    impossible: set[Diff]

    def measure(self, todo: tuple[Measurement, ...], /) -> None:
        """Find out what was asked for; it is in `known` or in `impossible` then."""


def with_removals(request: Request, plan: Plan, sizes: Sizes) -> Plan:
    """Return the plan with what is removed or hidden, and the streams that stand in for it."""
    limits = request.limits
    if limits is None:
        return plan
    while True:
        question = _question(request, plan, limits, sizes)
        retention = retain(question, sizes.known)
        todo = retention_measurements(question, sizes.known, retention)
        if not todo:
            break
        sizes.measure(todo)
    return replace(
        plan,
        steps=(*plan.steps, *_replacements(retention, request, plan, sizes)),
        deletes=retention.removals,
    )


def _question(request: Request, plan: Plan, limits: ChainLimits, sizes: Sizes) -> RetentionRequest:
    held = request.destination
    places = _places(plan)
    offered = request.source.makes_any_diff
    return RetentionRequest(
        stored=held.stored,
        coming=tuple(
            (t.diff, _as_stored(t.size, limits.stored_fraction if offered else 1))
            for t in plan.transfers
        ),
        snapshots=tuple(
            replace(s, paths=(places[s.uuid],)) if s.uuid in places else s for s in held.snapshots
        ),
        doomed=_doomed(request),
        adopted=frozenset(places),
        outside=frozenset(
            s.uuid
            for s in held.snapshots
            if not s.paths and all(path.startswith("/") for path in s.elsewhere)
        ),
        source=request.source if offered else None,
        limits=limits,
        impossible=request.impossible | sizes.impossible,
    )


def _as_stored(size: Size, fraction: float) -> Size:
    return replace(size, nbytes=round(size.nbytes * fraction))


def _doomed(request: Request) -> frozenset[UUID]:
    """Return what the destination has, the source has not, and nothing protects."""
    spared = {s.uuid for s in request.source.inside()} | request.protected
    return frozenset(
        s.uuid
        for s in request.destination.inside()
        if s.uuid not in spared and request.protected_paths.isdisjoint(s.paths)
    )


def _places(plan: Plan) -> dict[UUID, str]:
    """Return where hidden snapshots will be shown again."""
    return {s.snapshot.uuid: s.path for s in plan.steps if isinstance(s, Adopt)}


def _replacements(
    retention: Retention, request: Request, plan: Plan, sizes: Sizes
) -> list[Transfer]:
    places = _places(plan)
    held, offered = request.destination.by_uuid(), request.source.by_uuid()
    return [
        Transfer(
            snapshot=offered[diff.to],
            diff=diff,
            path=places.get(diff.to, held[diff.to].path),
            size=sizes.known[diff],
            reason=Reason.REPLACEMENT,
            parent_path=None if diff.parent is None else offered[diff.parent].path,
            chain=retention.chains.costs.get(diff.to),
        )
        for diff in retention.replacements
    ]

"""Which sizes to find out next, and how far: so that little is measured, and nothing in vain.

Measuring reads metadata for as many bytes of the stream as it counts. So it stops at a limit:
refuting a large full send costs no more than reading about as much of it as the diff takes that
it competes with.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from uuid import UUID

    from buttersink.model import Diff
    from buttersink.planning.knowledge import Knowledge, Way

FIRST_LIMIT = 16 << 20
"""Bytes up to which the first diff of a snapshot is measured: enough for most increments."""

LIMIT_GROWTH = 8
"""Factor by which the limit grows while no diff of a snapshot has ended within it."""

LEAST_LIMIT = 64 << 10
"""Bytes below which stopping early saves nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """Something to measure: as `Source.measure(diff, options, limit)`.

    Attributes:
        diff: What to measure.
        limit: Bytes at which measuring may stop; None to measure to the end.
    """

    diff: Diff
    limit: int | None


def next_measurements(chosen: Iterable[Diff], known: Knowledge) -> tuple[Measurement, ...]:
    """Return what to measure before planning again; nothing if the sizes of `chosen` are final.

    Each measurement is a step forward: it ends with the final size or with a higher bound.

    Args:
        chosen: The diffs of the current plan.
        known: What it was made with.

    Returns:
        Measurements in the order of the candidates.
    """
    unsure = [diff for diff in chosen if known.final(diff) is None]
    if not unsure:
        return ()
    rivals: defaultdict[UUID, list[Diff]] = defaultdict(list)
    for diff in known.candidates:
        rivals[diff.to].append(diff)
    ways = known.known_ways()
    limits: dict[Diff, int | None] = {}
    entrances: list[Diff] = []
    bridges: list[Diff] = []
    for diff in unsure:
        of_snapshot = _limits(diff, rivals[diff.to], known, ways.get(diff.to))
        limits.update(of_snapshot)
        if diff not in of_snapshot:
            (bridges if diff.parent in rivals else entrances).append(diff)
    if entrances:
        limits.update(_limits_of_entrances(entrances, known, ways))
    if bridges:
        limits.update(_limits_of_bridges(bridges, known, ways))
    return tuple(Measurement(diff=d, limit=limits[d]) for d in known.candidates if d in limits)


def _limits(
    chosen: Diff, rivals: Sequence[Diff], known: Knowledge, way: Way | None
) -> dict[Diff, int | None]:
    """Return what to measure for one snapshot, whose chosen diff is not of final size.

    That diff is left out if it is known to take more than another.
    """
    if len(rivals) == 1:
        return {chosen: None}
    finals = [nbytes for diff in rivals if (nbytes := known.final(diff)) is not None]
    if finals:
        limit = max(min(finals) if way is None else way.last, LEAST_LIMIT)
        return {diff: limit for diff in rivals if known.may_end_within(limit, diff)}
    if not any(diff in known.sizes for diff in rivals):
        # The nearest one, as a rule. If not even the plan that takes everything unknown for free
        # can do without a full send, then its size will be needed.
        return {chosen: None if chosen.parent is None else FIRST_LIMIT}
    # A race: all grow step by step until one of them ends, full sends one step behind.
    behind = min(known.bound(diff) for diff in rivals if diff.parent is not None)
    ahead = max(FIRST_LIMIT, LIMIT_GROWTH * behind)
    behind = max(FIRST_LIMIT, behind)
    limits = {diff: behind if diff.parent is None else ahead for diff in rivals}
    return {diff: limit for diff, limit in limits.items() if known.may_end_within(limit, diff)}


def _limits_of_entrances(
    chosen: Iterable[Diff], known: Knowledge, ways: Mapping[UUID, Way]
) -> dict[Diff, int | None]:
    """Return how to go on with diffs from outside that don't pay locally, but are needed.

    Once one of them is refuted, another would come up to enter the same group, one a round. So
    all are compared at once with the diff that they would replace first.
    """
    goals = {diff.to for diff in known.candidates}
    limits: dict[Diff, int | None] = {}
    for diff in known.candidates:
        if diff.parent not in goals and diff.to in ways:
            limit = max(ways[diff.to].last, LEAST_LIMIT)
            if known.may_end_within(limit, diff):
                limits[diff] = limit
    for diff in chosen:
        way = ways.get(diff.to)
        needed = way is None or not known.may_end_within(way.largest, diff)
        limits[diff] = None if way is None or needed else way.largest
    return limits


def _limits_of_bridges(
    chosen: Sequence[Diff], known: Knowledge, ways: Mapping[UUID, Way]
) -> dict[Diff, int | None]:
    """Return how to go on with diffs between snapshots of the plan that don't pay locally.

    They join two groups, and many others may join the same two: all grow step by step.
    """
    goals = {diff.to for diff in known.candidates}
    limit = LIMIT_GROWTH * max(FIRST_LIMIT, *(known.bound(diff) for diff in chosen))
    refuted = known.refuted(ways)
    return {
        diff: limit
        for diff in known.candidates
        if diff.parent in goals and diff not in refuted and known.may_end_within(limit, diff)
    }

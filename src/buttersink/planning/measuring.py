"""Which sizes to find out next, and how far: so that little is measured, and nothing in vain.

Measuring reads metadata for as many bytes of the stream as it counts. So it stops at a limit:
refuting a large full send costs no more than reading about as much of it as the diff takes that
it competes with. What is asked for together costs one round trip to a source that is far away,
so few rounds matter as well: as a rule there are two, one for the diffs that are likely to be
chosen, and one for those that compete with them.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from buttersink.model import Measurement

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from uuid import UUID

    from buttersink.model import Diff
    from buttersink.planning.knowledge import Knowledge, Way

FIRST_LIMIT = 16 << 20
"""Bytes up to which one of many diffs is measured at first: enough for most increments."""

LIMIT_GROWTH = 8
"""Factor by which the limit grows while none of them has ended within it."""

LEAST_LIMIT = 64 << 10
"""Bytes below which stopping early saves nothing."""


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
    wider: list[Diff] = []
    for diff in unsure:
        if all(known.final(rival) is None for rival in rivals[diff.to]):
            limits[_first_of(diff, known)] = None
            continue
        of_snapshot = _limits(rivals[diff.to], known, ways.get(diff.to))
        limits.update(of_snapshot)
        if diff not in of_snapshot:
            wider.append(diff)
    if wider:
        limits.update(_wider_limits(wider, known, ways))
    return tuple(Measurement(diff=d, limit=limits[d]) for d in known.candidates if d in limits)


def _first_of(chosen: Diff, known: Knowledge) -> Diff:
    """Return what to measure to its end for a snapshot of which no diff is of final size.

    The size of the likeliest diff tells how far to look at the others. To stop at a limit here
    as well would take another round for each step, which matters if the source is far away, and
    save little: all of these together are what a plain series of incremental sends would take.
    """
    # If not even the plan that takes everything unknown for free can do without a full send, then
    # its size will be needed.
    return chosen if chosen.parent is None else known.likely[chosen.to]


def _limits(rivals: Sequence[Diff], known: Knowledge, way: Way | None) -> dict[Diff, int | None]:
    """Return what to measure for one snapshot, whose chosen diff is not of final size.

    That diff is left out if it is known to take more than another, which is of final size.
    """
    least = min(nbytes for diff in rivals if (nbytes := known.final(diff)) is not None)
    limit = max(least if way is None else way.last, LEAST_LIMIT)
    return {diff: limit for diff in rivals if known.may_end_within(limit, diff)}


def _wider_limits(
    chosen: Iterable[Diff], known: Knowledge, ways: Mapping[UUID, Way]
) -> dict[Diff, int | None]:
    """Return how to go on with diffs that don't pay locally, but may for a whole group."""
    goals = {diff.to for diff in known.candidates}
    turns = known.turns()
    turning: list[Diff] = []
    bridges: list[Diff] = []
    entrances: list[Diff] = []
    for diff in chosen:
        if diff in turns and diff.to in ways:
            turning.append(diff)
        elif diff.parent in goals:
            bridges.append(diff)
        else:
            entrances.append(diff)
    limits: dict[Diff, int | None] = {}
    if entrances:
        limits.update(_limits_of_entrances(entrances, known, ways))
    if bridges:
        limits.update(_limits_of_bridges(bridges, known, ways))
    if turning:
        limits.update(_limits_of_turns(turning, turns, known, ways))
    return limits


def _limits_of_entrances(
    chosen: Iterable[Diff], known: Knowledge, ways: Mapping[UUID, Way]
) -> dict[Diff, int | None]:
    """Return how to go on with diffs by which groups are entered.

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
    """Return how to go on with diffs between snapshots of the plan.

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


def _limits_of_turns(
    chosen: Iterable[Diff], turns: Iterable[Diff], known: Knowledge, ways: Mapping[UUID, Way]
) -> dict[Diff, int | None]:
    """Return how to go on with entering groups from another side.

    It pays only as a whole: what enters, and what leads back from there. How far back is best
    shows when all of it is known, so all is measured at once, up to what the ways take.

    Args:
        chosen: Those of `turns` that the current plan has; each to a snapshot that a way leads to.
        turns: From `Knowledge.turns`.
        known: The facts.
        ways: From `Knowledge.known_ways`.
    """
    limits: dict[Diff, int | None] = {
        diff: ways[diff.to].total
        for diff in turns
        if diff.to in ways and known.may_end_within(ways[diff.to].total, diff)
    }
    # One that takes more was chosen only because it is never passed over.
    return dict.fromkeys(chosen) | limits

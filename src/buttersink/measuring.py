"""Which sizes to find out next, and how far: so that little is measured, and nothing twice over.

A plan is made with what is known: final sizes, and lower bounds (0 at first) for the rest. Only
what such a plan chose needs measuring; when all of that is final, no better plan exists, because
the others can only be dearer than they were taken for. Measuring stops at a limit, so that
refuting a large full send costs no more than reading about as much of it as the diff it competes
with.

One question can't be answered that way: which snapshot of a group should be the one that is sent
in full, if the destination has none of the group. Every full stream would have to be measured to
the end. It hardly matters, though: sending A and then what turns A into B moves the same data as
sending B and then what turns B into A. They differ only by the commands that delete. So full
streams are compared with the diffs they would replace, and not with each other; `refuted` says
precisely how.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from heapq import heappop, heappush
from typing import TYPE_CHECKING, TypeGuard

from buttersink.model import Certainty, Diff, Size

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from uuid import UUID

FIRST_LIMIT = 16 << 20
"""Bytes up to which the first diff of a snapshot is measured: enough for most increments."""

LIMIT_GROWTH = 16
"""What a limit grows by, if no diff of a snapshot ended within it: work grows by a 15th at most."""

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


def is_final(size: Size | None) -> TypeGuard[Size]:
    """Whether nothing better will be known; false for lower bounds and None (not known)."""
    return size is not None and size.certainty is not Certainty.AT_LEAST


def lower_bound(size: Size | None) -> int:
    """Return the least number of bytes that this can mean; 0 for None (not known)."""
    if size is None:
        return 0
    return size.nbytes if is_final(size) else size.nbytes + 1


def refuted(candidates: Sequence[Diff], sizes: Mapping[Diff, Size]) -> frozenset[Diff]:
    """Return the full streams that need no more measuring, because they can't help noticeably.

    That is, each diff on a known way to the snapshot takes less than its full stream takes at
    least. A *way* is a sequence of diffs of final size, from a snapshot that the destination
    has, or whose full stream is of final size, or is refuted itself.

    Full streams of final size are never among them: they compete in the plan.
    """
    fulls = [diff for diff in candidates if diff.parent is None]
    if all(diff not in sizes or is_final(sizes[diff]) for diff in fulls):
        return frozenset()
    ways = _known_ways(candidates, sizes)
    return frozenset(
        diff
        for diff in fulls
        if not is_final(sizes.get(diff))
        and diff.to in ways
        and lower_bound(sizes.get(diff)) > ways[diff.to].largest
    )


def next_measurements(
    chosen: Iterable[Diff], candidates: Sequence[Diff], sizes: Mapping[Diff, Size]
) -> tuple[Measurement, ...]:
    """Return what to measure before planning again; nothing if the sizes of `chosen` are final.

    Each is a step forward: its limit is above its lower bound, and so is the one next time.

    Args:
        chosen: The diffs of the current plan.
        candidates: All that can be chosen.
        sizes: What is known of their sizes.

    Returns:
        Measurements in the order of `candidates`.
    """
    unsure = [diff for diff in chosen if not is_final(sizes.get(diff))]
    if not unsure:
        return ()
    rivals: defaultdict[UUID, list[Diff]] = defaultdict(list)
    for diff in candidates:
        rivals[diff.to].append(diff)
    ways = _known_ways(candidates, sizes)
    limits: dict[Diff, int | None] = {}
    for diff in unsure:
        limits.update(_limits(diff, rivals[diff.to], sizes, ways.get(diff.to)))
    if any(diff.parent is None and diff in sizes for diff in unsure):
        # A full send came back. As soon as it is refuted, another of its group would take its
        # place, and so on, one a round; so each is compared with the diff it would replace.
        for to, way in ways.items():
            full = Diff(to)
            if _can_grow(full, sizes, way.last) and full in rivals[to]:
                limits.setdefault(full, way.last)
    return tuple(Measurement(diff=d, limit=limits[d]) for d in candidates if d in limits)


def _limits(
    chosen: Diff, rivals: Sequence[Diff], sizes: Mapping[Diff, Size], way: _Way | None
) -> dict[Diff, int | None]:
    """Return what to measure for one snapshot, whose chosen diff is not of final size."""
    best = min((s.nbytes for d in rivals if is_final(s := sizes.get(d))), default=None)
    if len(rivals) == 1:
        return {chosen: None}
    if best is not None:
        limits = _limits_against(best, rivals, sizes, way)
        if chosen in limits:
            return limits
        # It is known to take more than the best one, and is needed nonetheless.
        if chosen.parent is None and way is not None and _can_grow(chosen, sizes, way.largest):
            return {**limits, chosen: way.largest}
        return {**limits, chosen: None}
    if not any(diff in sizes for diff in rivals):
        # The nearest one, as a rule. If not even the plan that takes everything unknown for free
        # can do without a full send, then its size will be needed.
        return {chosen: None if chosen.parent is None else FIRST_LIMIT}
    limit = max(FIRST_LIMIT, LIMIT_GROWTH * lower_bound(sizes.get(chosen)))
    return {diff: limit for diff in rivals if _can_grow(diff, sizes, limit)}


def _limits_against(
    best: int, rivals: Sequence[Diff], sizes: Mapping[Diff, Size], way: _Way | None
) -> dict[Diff, int | None]:
    """Return how to find out which of `rivals` take less than `best` bytes.

    A full send is compared with the last diff of the known way instead, which it would replace
    if the group was planned anew from there.
    """
    limits: dict[Diff, int | None] = {}
    for diff in rivals:
        limit = best if diff.parent is not None or way is None else max(best, way.last)
        limit = max(limit, LEAST_LIMIT)
        if _can_grow(diff, sizes, limit):
            limits[diff] = limit
    return limits


def _can_grow(diff: Diff, sizes: Mapping[Diff, Size], limit: int) -> bool:
    """Whether measuring up to `limit` says more than is known."""
    size = sizes.get(diff)
    return not is_final(size) and lower_bound(size) <= limit


@dataclass(frozen=True, slots=True, kw_only=True)
class _Way:
    """The best known way to a snapshot, over diffs of final size.

    Attributes:
        largest: Bytes of its largest diff, of those that a full send could replace.
        last: Bytes of the diff that leads to the snapshot itself.
    """

    largest: int
    last: int


def _known_ways(candidates: Sequence[Diff], sizes: Mapping[Diff, Size]) -> dict[UUID, _Way]:
    """Find for each snapshot the way whose largest diff is least (see `refuted`)."""
    goals = {diff.to for diff in candidates}
    full_bounds: dict[UUID, int] = {}
    onward: defaultdict[UUID, list[tuple[int, UUID]]] = defaultdict(list)
    waiting: list[tuple[int, int, UUID]] = []  # (largest, last, snapshot)
    for diff in candidates:
        size = sizes.get(diff)
        if diff.parent is None:
            full_bounds[diff.to] = lower_bound(size)
        if not is_final(size):
            continue
        if diff.parent is None:
            heappush(waiting, (0, 0, diff.to))
        elif diff.parent in goals:
            onward[diff.parent].append((size.nbytes, diff.to))
        else:
            heappush(waiting, (size.nbytes, size.nbytes, diff.to))
    ways: dict[UUID, _Way] = {}
    while waiting:
        largest, last, reached = heappop(waiting)
        if reached in ways and ways[reached].largest <= largest:
            continue
        ways[reached] = _Way(largest=largest, last=last)
        # Where a full send is refuted, the diffs before need no further comparison: one from
        # there on replaces them no better than that would. A way may thus turn out better after
        # it was followed; then it is followed again.
        carried = 0 if full_bounds.get(reached, 0) > largest else largest
        for nbytes, to in onward[reached]:
            largest_to = max(carried, nbytes)
            if to not in ways or largest_to < ways[to].largest:
                heappush(waiting, (largest_to, nbytes, to))
    return ways

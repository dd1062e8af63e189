"""Which sizes to find out next, and how far: so that little is measured, and nothing in vain.

A plan is made with what is known: final sizes, and lower bounds (0 at first) for the rest. Only
what such a plan chose needs measuring; when all of that is final, no better plan exists, because
the others can only be dearer than they were taken for. Measuring stops at a limit, so that
refuting a large full send costs no more than reading about as much of it as the diff it competes
with.

One question is too dear to be answered that way: at which of its snapshots a group is entered,
that is, which of them is sent in full or on a parent that the destination already has. All those
sends would have to be measured nearly to the end. But it hardly matters: sending A and then what
turns A into B moves the same data as sending B and then what turns B into A; the totals differ by
commands that delete. So a diff that is known to take more than every diff it could replace is
passed over, see `refuted`.
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


def is_final(size: Size | None) -> TypeGuard[Size]:
    """Whether nothing better will be known; false for lower bounds and None (not known)."""
    return size is not None and size.certainty is not Certainty.AT_LEAST


def lower_bound(size: Size | None) -> int:
    """Return the least number of bytes that this can mean; 0 for None (not known)."""
    if size is None:
        return 0
    return size.nbytes if is_final(size) else size.nbytes + 1


def refuted(candidates: Sequence[Diff], sizes: Mapping[Diff, Size]) -> frozenset[Diff]:
    """Return the diffs that are passed over with no further measuring.

    They take more than each of the diffs on a known way to the same snapshot. A *way* is a
    sequence of diffs of final size that starts at nothing, at what the destination has, or at a
    snapshot for which all other diffs are of final size or refuted.

    Diffs of final size are never among them: they compete in the plan.
    """
    if all(is_final(size) for size in sizes.values()):
        return frozenset()
    ways = _known_ways(candidates, sizes)
    return frozenset(
        diff
        for diff in candidates
        if diff.to in ways
        and not is_final(size := sizes.get(diff))
        and lower_bound(size) > ways[diff.to].largest
    )


def next_measurements(
    chosen: Iterable[Diff], candidates: Sequence[Diff], sizes: Mapping[Diff, Size]
) -> tuple[Measurement, ...]:
    """Return what to measure before planning again; nothing if the sizes of `chosen` are final.

    Each measurement is a step forward: it ends with the final size or with a higher bound.

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
    if any(diff in sizes for diff in unsure):
        # What was measured once, in vain, came back, as the entrance to a group. Once it is
        # refuted, another one of the group would come up, and so on, one a round; so each is
        # compared at once with the diff that it would replace first.
        for diff in candidates:
            if diff.to in ways and _may_be_below(ways[diff.to].last, diff, sizes):
                limits.setdefault(diff, max(ways[diff.to].last, LEAST_LIMIT))
    return tuple(Measurement(diff=d, limit=limits[d]) for d in candidates if d in limits)


def _limits(
    chosen: Diff, rivals: Sequence[Diff], sizes: Mapping[Diff, Size], way: _Way | None
) -> dict[Diff, int | None]:
    """Return what to measure for one snapshot, whose chosen diff is not of final size."""
    if len(rivals) == 1:
        return {chosen: None}
    finals = [size.nbytes for diff in rivals if is_final(size := sizes.get(diff))]
    if finals:
        limit = max(min(finals) if way is None else way.last, LEAST_LIMIT)
        limits: dict[Diff, int | None] = {
            diff: limit for diff in rivals if _may_be_below(limit, diff, sizes)
        }
        if chosen not in limits:
            # It is known to take more than the best one, and is needed nonetheless.
            may_win = way is not None and _may_be_below(way.largest, chosen, sizes)
            limits[chosen] = way.largest if way is not None and may_win else None
        return limits
    if not any(diff in sizes for diff in rivals):
        # The nearest one, as a rule. If not even the plan that takes everything unknown for free
        # can do without a full send, then its size will be needed.
        return {chosen: None if chosen.parent is None else FIRST_LIMIT}
    return _limits_of_race(rivals, sizes)


def _limits_of_race(rivals: Sequence[Diff], sizes: Mapping[Diff, Size]) -> dict[Diff, int | None]:
    """Return how to find any final size: all step by step, full sends one step behind."""
    behind = min(lower_bound(sizes.get(diff)) for diff in rivals if diff.parent is not None)
    ahead = max(FIRST_LIMIT, LIMIT_GROWTH * behind)
    behind = max(FIRST_LIMIT, behind)
    limits = {diff: behind if diff.parent is None else ahead for diff in rivals}
    return {d: limit for d, limit in limits.items() if _may_be_below(limit, d, sizes)}


def _may_be_below(limit: int, diff: Diff, sizes: Mapping[Diff, Size]) -> bool:
    """Whether the size is not final, and may yet turn out to be `limit` at most."""
    size = sizes.get(diff)
    return not is_final(size) and lower_bound(size) <= limit


@dataclass(frozen=True, slots=True, kw_only=True)
class _Way:
    """The best known way to a snapshot, over diffs of final size.

    Attributes:
        largest: Bytes of its largest diff.
        last: Bytes of the diff that leads to the snapshot itself.
    """

    largest: int
    last: int


def _known_ways(candidates: Sequence[Diff], sizes: Mapping[Diff, Size]) -> dict[UUID, _Way]:
    """Find for each snapshot the way whose largest diff is least (see `refuted`)."""
    goals = {diff.to for diff in candidates}
    doubt: dict[UUID, int] = {}  # the least that any diff not of final size may take
    onward: defaultdict[UUID, list[tuple[int, UUID]]] = defaultdict(list)
    waiting: list[tuple[int, int, UUID]] = []  # (largest, last, snapshot)
    for diff in candidates:
        size = sizes.get(diff)
        if not is_final(size):
            bound = lower_bound(size)
            doubt[diff.to] = min(doubt.get(diff.to, bound), bound)
        elif diff.parent in goals and diff.parent is not None:
            onward[diff.parent].append((size.nbytes, diff.to))
        else:
            heappush(waiting, (size.nbytes, size.nbytes, diff.to))
    ways: dict[UUID, _Way] = {}
    while waiting:
        largest, last, reached = heappop(waiting)
        if reached in ways and ways[reached].largest <= largest:
            continue
        ways[reached] = _Way(largest=largest, last=last)
        # If all else is refuted here, nothing further on needs comparing with the diffs up to
        # here: entering the group further on would replace them no better than entering here.
        # A way may thus turn out better after it was followed; then it is followed again.
        carried = largest if doubt.get(reached, largest + 1) <= largest else 0
        for nbytes, to in onward[reached]:
            onward_largest = max(carried, nbytes)
            if to not in ways or onward_largest < ways[to].largest:
                heappush(waiting, (onward_largest, nbytes, to))
    return ways

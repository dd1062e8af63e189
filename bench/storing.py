"""Storing one snapshot a day for years: bytes against the best in hindsight, and the limits."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from uuid import UUID

from bench.comparing import Figure
from buttersink.model import Certainty, Chain, Diff, Inventory, Size, Snapshot
from buttersink.planning.chaining import (
    ChainRequest,
    chain_measurements,
    choose_chains,
    default_limits,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bench.comparing import Extent
    from bench.ground import Ground

_DAYS = 1_000
_DAILY = 10**6
"""Bytes of the diff from one day to the next, on average."""
_FULL = 300
"""Bytes of all of it, in days' changes: a third of a percent changes a day."""
_COURSES = (
    # what happens; bytes of all of it in days' changes; a diff of n days is min(n, most) ** power
    ("new data daily", _FULL // 10, _DAYS, 1.0),
    ("new data daily", _FULL, _DAYS, 1.0),
    ("new data daily", _FULL * 10, _DAYS, 1.0),
    ("kept for 30 days", _FULL, 30, 1.0),
    ("the same data again", _FULL, _DAYS, 0.5),
)
_AIM = 1.25
_EPOCH = datetime(2024, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Volume:
    """A volume that keeps its size while its content changes.

    Attributes:
        name: What happens in it.
        full: Bytes of it all.
        steps: Bytes of a diff by the days between, the first for none.
    """

    name: str
    full: int
    steps: Sequence[int]

    def size(self, diff: Diff) -> int:
        """Return the bytes of a diff."""
        if diff.parent is None:
            return self.full
        return self.steps[abs(diff.to.int - diff.parent.int)]

    def measure(self, diff: Diff, limit: int | None) -> Size:
        """Return what `Source.measure` would."""
        nbytes = self.size(diff)
        if limit is not None and nbytes > limit:
            return Size(limit, Certainty.AT_LEAST)
        return Size(nbytes)


def storing(_ground: Ground, extent: Extent) -> Iterator[Figure]:
    """Bytes stored by one run a day, divided by a bound that no plan can go below."""
    days = _DAYS // extent.divisor
    for name, full, most, power in _COURSES:
        steps = [int(_DAILY * min(n, most) ** power) for n in range(days + 1)]
        yield _figure(Volume(name=name, full=full * _DAILY, steps=steps), days)


def _figure(volume: Volume, days: int) -> Figure:
    limits = default_limits()
    stored: dict[Diff, int] = {}
    snapshots: list[Snapshot] = []
    chains: list[Chain] = []
    measured = 0
    for day in range(days):
        snapshots.append(_snapshot(day))
        request = ChainRequest(
            source=Inventory(snapshots=tuple(snapshots)),
            missing=(snapshots[-1],),
            stored=tuple((diff, Size(nbytes)) for diff, nbytes in stored.items()),
            limits=limits,
        )
        sizes: dict[Diff, Size] = {}
        choice = choose_chains(request, sizes)
        while todo := chain_measurements(request, sizes, choice):
            sizes.update((m.diff, volume.measure(m.diff, m.limit)) for m in todo)
            measured += len(todo)
            choice = choose_chains(request, sizes)
        diff = choice.chosen[snapshots[-1].uuid]
        stored[diff] = volume.size(diff)
        chains.append(choice.costs[snapshots[-1].uuid])
    fulls = sum(diff.parent is None for diff in stored)
    return Figure(
        what=f"storing: bytes / the bound, {volume.name}, full = {volume.full // _DAILY} days",
        ratios=(sum(stored.values()) / _bound(volume, days, limits.links, limits.factor),),
        aim=_AIM,
        note=(
            f"{days} runs, {fulls} full, longest chain {max(c.links for c in chains)},"
            f" restore at most {max(c.nbytes for c in chains) / volume.full:.2f} times the full,"
            f" {measured / days:.1f} measurements each"
        ),
    )


def _bound(volume: Volume, days: int, links: int, factor: float) -> int:
    """Return bytes that no plan can go below, even one that knows the future.

    Far diffs take no less than near ones. So each snapshot builds on the newest one that is
    shallow enough, and the last child of a snapshot divides the time after it: what comes before
    the child hangs on the snapshot, what comes after on the child. A chain has at least the bytes
    of its full stream and of the diff from there, which limits how long a full stream serves; and
    no diff takes less than that of a day, which limits the links.
    """
    links = min(links, 1 + int((factor - 1) * volume.full / volume.steps[1]))
    never = 1 << 60
    below = [0, *[never] * days]  # by days: what they take below a snapshot, with so many links
    for _ in range(links - 1):
        further = [0]
        for n in range(1, days + 1):
            last = zip(further, volume.steps[1 : n + 1], reversed(below[:n]), strict=True)
            further.append(min(map(sum, last)))
        below = further
    serves = sum(volume.full + nbytes <= factor * volume.full for nbytes in volume.steps)
    best = [0]
    for n in range(1, days + 1):
        best.append(
            min(best[j] + volume.full + below[n - j - 1] for j in range(max(0, n - serves), n))
        )
    return best[days]


def _snapshot(day: int) -> Snapshot:
    return Snapshot(
        uuid=UUID(int=day + 1),
        paths=(f"{day:05}",),
        created=_EPOCH,
        generation=day + 10,
        origin_generation=day + 10,
        lineage="one",
    )

"""Snapshots to plan with, and worlds in which the sizes of diffs follow from their contents."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from uuid import UUID

from buttersink.model import Certainty, Diff, Inventory, Size, Snapshot
from buttersink.planning.candidates import candidate_diffs
from buttersink.planning.planner import make_plan, measurements
from buttersink.planning.request import Request

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence
    from random import Random

    from buttersink.model import Measurement
    from buttersink.plan import Plan

MIB = 1 << 20
SOME_DAY = datetime(2024, 2, 29, tzinfo=UTC)


def uuid(number: int) -> UUID:
    return UUID(int=number)


def snapshot(
    number: int,
    *,
    path: str | None = None,
    paths: tuple[str, ...] | None = None,
    generation: int | None = None,
    origin: int | None = None,
    lineage: str | None = "home",
    branch: int | None = None,
    ancestor: int | None = None,
) -> Snapshot:
    time = number if generation is None else generation
    return Snapshot(
        uuid=uuid(number),
        paths=paths if paths is not None else (path if path is not None else f"{number:05}",),
        elsewhere=() if paths != () else (f"elsewhere/{number:05}",),
        created=SOME_DAY,
        generation=time,
        origin_generation=time if origin is None else origin,
        lineage=lineage,
        parent_uuid=None if branch is None else uuid(10**9 + branch),
        ancestor=None if ancestor is None else uuid(ancestor),
    )


def series(count: int, *, lineage: str | None = "home", start: int = 1) -> tuple[Snapshot, ...]:
    return tuple(snapshot(n, lineage=lineage) for n in range(start, start + count))


def inventory(snapshots: Iterable[Snapshot]) -> Inventory:
    return Inventory(snapshots=tuple(snapshots))


def diff(to: int, parent: int | None = None) -> Diff:
    return Diff(uuid(to), None if parent is None else uuid(parent))


Streams = Mapping[tuple[int, int | None], int]
"""Stored streams, by the numbers of their snapshots: (to, parent); and their bytes."""


def storing(streams: Streams, *, hidden: Collection[int] = ()) -> Inventory:
    """Return the facts of an end that stores these streams, some of them as links only."""
    numbers = sorted({to for to, _ in streams})
    return Inventory(
        snapshots=tuple(snapshot(n, paths=() if n in hidden else None) for n in numbers),
        stored=tuple((diff(*ends), Size(nbytes)) for ends, nbytes in streams.items()),
        makes_any_diff=False,
    )


def asking(
    snapshots: Sequence[Snapshot], *, there: Iterable[Snapshot] = (), taken: Iterable[str] = ()
) -> Request:
    return Request(
        source=inventory(snapshots),
        destination=inventory(there),
        wanted=tuple(s for s in snapshots if s.paths),
        taken=frozenset(taken),
    )


Contents = dict[int, int]
"""The pieces of data of a snapshot: name and bytes."""


@dataclass(kw_only=True)
class World:
    """A source whose sizes follow from contents; counts what is measured."""

    contents: dict[UUID, Contents]
    request: Request
    deletion: int = 100
    rounds: int = 0
    measured: list[Measurement] = field(default_factory=list)

    def size(self, diff: Diff) -> int:
        to = self.contents[diff.to]
        parent = {} if diff.parent is None else self.contents[diff.parent]
        data = sum(nbytes for piece, nbytes in to.items() if piece not in parent)
        return 100 + data + self.deletion * len(parent.keys() - to.keys())

    def measure(self, measurement: Measurement) -> Size:
        self.measured.append(measurement)
        nbytes = self.size(measurement.diff)
        if measurement.limit is not None and nbytes > measurement.limit:
            return Size(measurement.limit + 1000, Certainty.AT_LEAST)
        return Size(nbytes)

    def run(self) -> Plan:
        """Plan and measure until the plan is final, as a run does."""
        return run(self.request, self.measure, self._count)

    def plan_knowing_all(self) -> Plan:
        return make_plan(self.request, self.all_sizes())

    def all_sizes(self) -> dict[Diff, Size]:
        there = self.request.destination.by_uuid()
        diffs = candidate_diffs(self.request.wanted, self.request.source, there)
        return {diff: Size(self.size(diff)) for diff in diffs}

    def _count(self) -> None:
        self.rounds += 1
        assert self.rounds <= 20, "measuring does not come to an end"


def run(
    request: Request,
    measure: Callable[[Measurement], Size],
    count: Callable[[], None] = lambda: None,
) -> Plan:
    sizes: dict[Diff, Size] = {}
    plan = make_plan(request, sizes)
    while todo := measurements(request, sizes, plan):
        count()
        sizes.update((m.diff, measure(m)) for m in todo)
        plan = make_plan(request, sizes)
    return plan


def history(
    random: Random,
    *,
    count: int,
    pieces: int,
    added: int,
    removed: int,
    piece_bytes: Callable[[Random], int] = lambda _: MIB,
    first_piece: int = 0,
) -> list[Contents]:
    """Return the contents of snapshots of something that changes by and by."""
    upcoming = first_piece + pieces
    now = {piece: piece_bytes(random) for piece in range(first_piece, upcoming)}
    found = []
    for _ in range(count):
        found.append(dict(now))
        for piece in random.sample(sorted(now), min(removed, len(now))):
            del now[piece]
        for _ in range(added):
            now[upcoming] = piece_bytes(random)
            upcoming += 1
    return found


def world_of(
    contents: Sequence[Contents], *, there: int = 0, branches: Sequence[int] | None = None
) -> World:
    """Return a world of one lineage, of which the destination has the first `there`."""
    snapshots = [
        snapshot(n + 1, branch=0 if branches is None else branches[n]) for n in range(len(contents))
    ]
    return World(
        contents={s.uuid: data for s, data in zip(snapshots, contents, strict=True)},
        request=asking(snapshots, there=snapshots[:there]),
    )

"""Planning made-up histories: how long it takes, and how good the plans are."""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING
from uuid import UUID

from bench.comparing import Figure, timed
from buttersink.model import Certainty, Diff, Inventory, Size, Snapshot
from buttersink.planning.candidates import candidate_diffs
from buttersink.planning.planner import Request, make_plan, measurements

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bench.comparing import Extent
    from bench.ground import Ground

_AIMS = {1_000: 0.2, 10_000: 3.0}
_SMALL_WORLDS = 200
_SMALL_COUNT = 5
_LARGE_COUNT = 300
_BRANCHES = 0.25
"""Part of the snapshots that begin a new subvolume."""
_COMMAND = 200
"""Bytes of the commands that make or delete a file."""
_EPOCH = datetime(2024, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class World:
    """Snapshots that are sets of files, so that the size of any diff between them is known.

    Attributes:
        contents: For each snapshot in the order of time: its files, with their sizes.
        lives: For each snapshot: the number of the writable subvolume that it was made of.
        origins: For each writable subvolume: the number of the snapshot that it was made of.
    """

    contents: tuple[dict[int, int], ...]
    lives: tuple[int, ...]
    origins: tuple[int | None, ...] = (None,)

    def request(self) -> Request:
        """Return a request for all of it, to an empty destination."""
        snapshots = tuple(
            Snapshot(
                uuid=_uuid(number),
                paths=(f"{number:05}",),
                created=_EPOCH,
                generation=number + 10,
                origin_generation=number + 10,
                lineage="one",
                parent_uuid=UUID(int=(1 << 64) + live),
                ancestor=None if (origin := self.origins[live]) is None else _uuid(origin),
            )
            for number, live in enumerate(self.lives)
        )
        return Request(
            source=Inventory(snapshots=snapshots), destination=Inventory(), wanted=snapshots
        )

    def size(self, diff: Diff) -> int:
        """Return the bytes of a diff: the files that are new, and commands for those deleted."""
        new = self.contents[diff.to.int - 1]
        old = self.contents[diff.parent.int - 1] if diff.parent else {}
        added = sum(nbytes for file, nbytes in new.items() if file not in old)
        return _COMMAND + added + _COMMAND * len(old.keys() - new.keys())

    def measure(self, diff: Diff, limit: int | None) -> Size:
        """Return what `Source.measure` would."""
        nbytes = self.size(diff)
        if limit is not None and nbytes > limit:
            return Size(limit + 1, Certainty.AT_LEAST)
        return Size(nbytes)


def _uuid(number: int) -> UUID:
    return UUID(int=number + 1)


def planning(_ground: Ground, extent: Extent) -> Iterator[Figure]:
    """Time for 1,000 and 10,000 snapshots; bytes against the optimum; measurements."""
    yield from _times(extent)
    small = [_branching(_SMALL_COUNT, seed) for seed in range(_SMALL_WORLDS // extent.divisor)]
    planned = [_planned_bytes(world)[0] for world in small]
    for others, every in (("the candidates", False), ("all diffs", True)):
        yield Figure(
            what=f"planning: bytes / the optimum over {others}",
            ratios=tuple(
                nbytes / _optimum(world, every=every)
                for nbytes, world in zip(planned, small, strict=True)
            ),
            note=f"{len(small)} worlds of {_SMALL_COUNT} branching snapshots, all ways tried",
        )
    large = {
        "rolling": _rolling(_LARGE_COUNT, 1),
        "branching": _branching(_LARGE_COUNT, 2),
        "unrelated": _rolling(_LARGE_COUNT, 3, restarts=10),
    }
    for name, world in large.items():
        yield from _quality(name, world)


def _times(extent: Extent) -> Iterator[Figure]:
    for count, aim in _AIMS.items():
        # Sizes by the distance in time, as the contents of so many would only cost time.
        request = World(({},) * count, (0,) * count).request()
        candidates = candidate_diffs(request.wanted, request.source, ())
        rng = random.Random(count)
        sizes = {
            diff: Size(rng.randint(10**6, 10**7) * (1000 if diff.parent is None else 1))
            for diff in candidates
        }
        seconds = [timed(partial(make_plan, request, sizes)) for _ in range(extent.pairs)]
        yield Figure(
            what=f"planning: {count} snapshots / the aim",
            ratios=tuple(s / aim for s in seconds),
            aim=1,
            note=f"the aim is {aim:g} s",
        )


def _quality(name: str, world: World) -> Iterator[Figure]:
    planned, measured = _planned_bytes(world)
    count = len(world.contents)
    chain = [Diff(_uuid(number), _uuid(number - 1) if number else None) for number in range(count)]
    yield Figure(
        what=f"planning: bytes / nearest predecessors, {name}",
        ratios=(planned / sum(map(world.size, chain)),),
        aim=1,
        note=f"{count} snapshots, {measured / count:.2f} measurements each",
    )


def _planned_bytes(world: World) -> tuple[int, int]:
    """Plan as a first sync does; return the bytes of the plan and the number of measurements."""
    request = world.request()
    sizes: dict[Diff, Size] = {}
    measured = 0
    plan = make_plan(request, sizes)
    while todo := measurements(request, sizes, plan):
        for measurement in todo:
            sizes[measurement.diff] = world.measure(measurement.diff, measurement.limit)
        measured += len(todo)
        plan = make_plan(request, sizes)
    return plan.cost.nbytes, measured


def _optimum(world: World, *, every: bool) -> int:
    """Return the bytes of the best of all plans, found by trying them all.

    Args:
        world: A small world.
        every: Whether over every diff that there is, or those that the planner considers.
    """
    root = len(world.contents)
    request = world.request()
    allowed = set(candidate_diffs(request.wanted, request.source, ()))
    choices: list[list[tuple[int, int]]] = []  # for each snapshot: parent or root, bytes
    for to in range(root):
        diffs = {
            parent: Diff(_uuid(to), None if parent == root else _uuid(parent))
            for parent in range(root + 1)
            if parent != to
        }
        choices.append(
            [(p, world.size(diff)) for p, diff in diffs.items() if every or diff in allowed]
        )
    return min(
        sum(nbytes for _, nbytes in choice)
        for choice in itertools.product(*choices)
        if _is_tree([parent for parent, _ in choice])
    )


def _is_tree(parents: Sequence[int]) -> bool:
    """Whether all nodes lead to the root, which is the number after the last node."""
    root = len(parents)
    for start in range(root):
        node = start
        for _ in range(root):
            if node == root:
                break
            node = parents[node]
        if node != root:
            return False
    return True


def _rolling(count: int, seed: int, *, restarts: int = 1) -> World:
    """Return the history of one subvolume in which files come and go; now and then all of them."""
    rng = random.Random(seed)
    files = itertools.count()
    contents: list[dict[int, int]] = []
    current: dict[int, int] = {}
    for number in range(count):
        if number % -(-count // restarts) == 0:
            current = {}
        current = _changed(current, rng, files, most=10)
        contents.append(current)
    return World(tuple(contents), (0,) * count)


def _branching(count: int, seed: int) -> World:
    """Return a history in which subvolumes are now and then made of earlier snapshots."""
    rng = random.Random(seed)
    files = itertools.count()
    contents: list[dict[int, int]] = []
    lives: list[int] = []
    origins: list[int | None] = [None]
    current: dict[int, dict[int, int]] = {0: {}}
    for number in range(count):
        live = rng.randrange(len(origins))
        if number and rng.random() < _BRANCHES:
            live, origin = len(origins), rng.randrange(number)
            origins.append(origin)
            current[live] = contents[origin]
        current[live] = _changed(current[live], rng, files, most=5)
        contents.append(current[live])
        lives.append(live)
    return World(tuple(contents), tuple(lives), tuple(origins))


def _changed(
    current: dict[int, int], rng: random.Random, files: Iterator[int], *, most: int
) -> dict[int, int]:
    """Return a set of files after some were deleted, at most half, and others were made."""
    gone = rng.sample(sorted(current), min(len(current) // 2, rng.randint(0, most)))
    new = rng.randint(0, most) if current else 3 * most
    return {file: nbytes for file, nbytes in current.items() if file not in gone} | {
        next(files): int(rng.lognormvariate(10, 2)) for _ in range(new)
    }

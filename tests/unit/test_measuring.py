"""Planning and measuring by turns, in worlds whose sizes are hidden at first."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buttersink.model import Certainty, Diff, Measurement, Size
from buttersink.planning.planner import make_plan, measurements
from support.planning_worlds import (
    MIB,
    World,
    asking,
    diff,
    history,
    run,
    series,
    snapshot,
    uuid,
    world_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable


def spread(random: Random) -> int:
    """Return sizes over six orders of magnitude."""
    return int(10 ** random.uniform(2.5, 8.5))


def some_history(seed: int, *, there: int = 0) -> World:
    random = Random(seed)
    contents = history(
        random,
        count=random.randint(3, 20),
        pieces=random.randint(1, 40),
        added=random.randint(0, 5),
        removed=random.randint(0, 5),
        piece_bytes=spread,
    )
    return world_of(contents, there=there)


def holding(world: World, there: slice | list[int]) -> World:
    """Return the same world, but with these of its snapshots at the destination."""
    snapshots = world.request.source.snapshots
    held = snapshots[there] if isinstance(there, slice) else [snapshots[n] for n in there]
    return replace(world, request=asking(snapshots, there=held))


def unasked(world: World) -> int:
    """Return the bytes by which a plan may miss the best: which end is first moves deletions."""
    return 2 * world.deletion * sum(len(pieces) for pieces in world.contents.values())


@pytest.mark.parametrize("there", [0, 1])
@pytest.mark.parametrize("seed", range(60))
def test_the_plan_for_a_history_is_as_good_as_if_all_sizes_had_been_known(
    seed: int, there: int
) -> None:
    world = some_history(seed, there=there)
    plan = world.run()
    assert all(t.size == Size(world.size(t.diff)) for t in plan.transfers)
    assert plan.cost.nbytes <= world.plan_knowing_all().cost.nbytes + unasked(world)


@pytest.mark.parametrize("seed", range(40))
def test_the_more_of_a_history_the_destination_has_the_less_is_sent(seed: int) -> None:
    count = len(some_history(seed).contents)
    costs = [some_history(seed, there=there).run().cost.nbytes for there in range(count + 1)]
    assert costs == sorted(costs, reverse=True)
    assert costs[-1] == 0


def test_a_gap_at_the_destination_is_filled_from_the_side_that_takes_less() -> None:
    """A temporary file on Tuesday and Wednesday, and from Wednesday on one that stays."""
    monday = dict.fromkeys(range(200), MIB)
    tuesday = {**monday, 1000: 350 * MIB}
    wednesday = {**tuesday, 2000: 160 * MIB}
    thursday = {**monday, 2000: 160 * MIB, 3000: 5 * MIB}
    world = holding(world_of([monday, tuesday, wednesday, thursday]), [0, 3])
    plan = world.run()
    assert [t.diff for t in plan.transfers] == [diff(3, 4), diff(2, 3)]
    assert plan.cost == world.plan_knowing_all().cost
    assert world.rounds <= 3


@st.composite
def worlds_without_returns(draw: st.DrawFn) -> World:
    """Draw a history in which what is gone stays gone, and any of it at the destination."""
    count = draw(st.integers(3, 6))
    contents: list[dict[int, int]] = [{} for _ in range(count)]
    days = st.integers(0, count - 1)
    nbytes = st.integers(1, 500).map(lambda number: number * MIB)
    lives = draw(st.lists(st.tuples(days, days, nbytes), min_size=count, max_size=3 * count))
    for piece, (one, other, size) in enumerate(lives):
        for day in range(min(one, other), max(one, other) + 1):
            contents[day][piece] = size
    return holding(world_of(contents), sorted(draw(st.sets(days))))


@given(worlds_without_returns())
def test_whatever_the_destination_has_the_plan_is_the_best_unless_old_data_come_back(
    world: World,
) -> None:
    assert world.run().cost.nbytes <= world.plan_knowing_all().cost.nbytes + unasked(world)


@pytest.mark.parametrize("seed", range(60))
def test_gaps_in_a_history_are_filled_as_if_all_sizes_had_been_known(seed: int) -> None:
    random = Random(seed)
    world = some_history(seed)
    count = len(world.contents)
    world = holding(world, sorted(random.sample(range(count), random.randrange(count))))
    assert world.run().cost.nbytes <= world.plan_knowing_all().cost.nbytes + unasked(world)


NOTHING = slice(0)
THE_FIRST = slice(1)
THE_FIRST_HALF = slice(100)
EVERY_THIRD = slice(None, None, 3)


@pytest.mark.parametrize("there", [NOTHING, THE_FIRST, THE_FIRST_HALF, EVERY_THIRD], ids=str)
@pytest.mark.parametrize(
    ("added", "removed"), [(5, 5), (5, 0), (0, 5), (20, 1)], ids=["mixed", "grow", "shrink", "fast"]
)
def test_a_long_history_takes_few_rounds_and_few_measurements(
    added: int, removed: int, there: slice
) -> None:
    contents = history(Random(3), count=200, pieces=1000, added=added, removed=removed)
    world = holding(world_of(contents), there)
    plan = world.run()
    assert world.rounds <= 2
    assert len(world.measured) < 4 * 200
    assert plan.cost.nbytes <= 1.001 * world.plan_knowing_all().cost.nbytes


def daily_small_lineages() -> World:
    """Return a thousand snapshots of ten small volumes: 20 MB and 300 kB a day each."""
    volumes = [
        history(
            Random(n),
            count=100,
            pieces=200,
            added=3,
            removed=2,
            piece_bytes=lambda _: 100 << 10,
            first_piece=n * 10**6,
        )
        for n in range(10)
    ]
    days = [(n, contents) for day in zip(*volumes, strict=True) for n, contents in enumerate(day)]
    snapshots = [
        snapshot(number, lineage=str(volume), branch=volume)
        for number, (volume, _) in enumerate(days, start=1)
    ]
    contents = {s.uuid: pieces for s, (_, pieces) in zip(snapshots, days, strict=True)}
    return World(contents=contents, request=asking(snapshots))


def daily_large_twins() -> World:
    """Return a thousand snapshots of one volume of 10 GB, 50 MB a day, two of each state."""
    days = history(
        Random(1), count=500, pieces=1000, added=5, removed=4, piece_bytes=lambda _: 10 * MIB
    )
    return world_of([contents for contents in days for _ in range(2)])


@pytest.mark.parametrize("make", [daily_small_lineages, daily_large_twins])
def test_a_first_sync_of_a_thousand_snapshots_takes_two_rounds(make: Callable[[], World]) -> None:
    world = make()
    plan = world.run()
    assert len(plan.transfers) == 1000
    assert world.rounds == 2
    assert len(world.measured) < 3 * 1000
    counted = sum(min(world.size(m.diff), m.limit or world.size(m.diff)) for m in world.measured)
    assert counted < 3 * plan.cost.nbytes
    assert plan.cost.nbytes <= 1.001 * world.plan_knowing_all().cost.nbytes


def test_snapshots_that_arrived_out_of_order_take_no_more_rounds() -> None:
    contents = history(Random(3), count=200, pieces=1000, added=5, removed=5)
    world = world_of(contents)
    arrivals = Random(5).sample(range(200), 200)
    shuffled = [
        replace(s, generation=arrived, origin_generation=n)
        for n, (s, arrived) in enumerate(zip(world.request.wanted, arrivals, strict=True))
    ]
    world.request = asking(shuffled)
    plan = world.run()
    assert world.rounds == 2
    assert plan.cost.nbytes <= 1.001 * world.plan_knowing_all().cost.nbytes


@pytest.mark.parametrize("there", [THE_FIRST, THE_FIRST_HALF, EVERY_THIRD], ids=str)
def test_uneven_growth_is_not_measured_from_each_of_many_parents(there: slice) -> None:
    contents = history(Random(3), count=200, pieces=1000, added=5, removed=4, piece_bytes=spread)
    world = holding(world_of(contents), there)
    plan = world.run()
    counted = sum(min(world.size(m.diff), m.limit or world.size(m.diff)) for m in world.measured)
    assert world.rounds <= 3
    assert counted < 7 * plan.cost.nbytes
    assert plan.cost.nbytes <= 1.001 * world.plan_knowing_all().cost.nbytes


def test_of_a_first_series_one_full_stream_is_measured_to_the_end_and_the_rest_hardly() -> None:
    contents = history(Random(3), count=200, pieces=1000, added=5, removed=5)
    world = world_of(contents)
    world.run()
    fulls = [m for m in world.measured if m.diff.parent is None]
    to_the_end = [m for m in fulls if m.limit is None or m.limit >= world.size(m.diff)]
    assert len(to_the_end) == 1
    assert all(m.limit is not None and m.limit <= 10 * MIB for m in fulls if m not in to_the_end)


def test_large_increments_do_not_draw_the_full_streams_along() -> None:
    contents = history(
        Random(3), count=100, pieces=200, added=3, removed=3, piece_bytes=lambda _: 100 * MIB
    )
    world = world_of(contents)
    world.run()
    fulls = [m for m in world.measured if m.diff.parent is None]
    read = sum(min(world.size(m.diff), m.limit or world.size(m.diff)) for m in fulls)
    assert read < 4 * world.size(Diff(uuid(1)))
    assert len(world.measured) < 4 * 100


def test_interleaved_branches_are_told_apart() -> None:
    one = history(Random(1), count=40, pieces=300, added=3, removed=3)
    other = history(Random(2), count=40, pieces=300, added=3, removed=3, first_piece=10**6)
    contents = [pieces for pair in zip(one, other, strict=True) for pieces in pair]
    world = world_of(contents, branches=[0, 1] * 40)
    plan = world.run()
    assert sum(t.size.nbytes > 100 * MIB for t in plan.transfers) == 2
    assert plan.cost == world.plan_knowing_all().cost
    assert world.rounds <= 5
    assert len(world.measured) < 14 * 80


def test_two_clusters_in_one_lineage_are_crossed_once_at_most() -> None:
    one = history(Random(1), count=30, pieces=300, added=3, removed=3)
    other = history(Random(2), count=30, pieces=300, added=3, removed=3, first_piece=10**6)
    world = world_of([*one, *other])
    plan = world.run()
    assert sum(t.size.nbytes > 100 * MIB for t in plan.transfers) == 2
    assert plan.cost.nbytes <= 1.001 * world.plan_knowing_all().cost.nbytes


def test_lineages_are_never_measured_against_each_other() -> None:
    one = history(Random(1), count=20, pieces=30, added=3, removed=3)
    other = history(Random(2), count=20, pieces=30, added=3, removed=3, first_piece=10**6)
    snapshots = [*series(20, lineage="a"), *series(20, lineage="b", start=21)]
    contents = {s.uuid: pieces for s, pieces in zip(snapshots, [*one, *other], strict=True)}
    interleaved = [replace(s, generation=s.uuid.int % 20) for s in snapshots]
    world = World(contents=contents, request=asking(interleaved))
    world.run()
    lineage = {s.uuid: s.lineage for s in snapshots}
    assert all(
        lineage[m.diff.to] == lineage[m.diff.parent]
        for m in world.measured
        if m.diff.parent is not None
    )


@pytest.mark.parametrize("seed", range(40))
def test_sizes_known_from_before_are_not_measured_again(seed: int) -> None:
    world = some_history(seed)
    known = {d: s for d, s in world.all_sizes().items() if d.parent is not None}
    sizes = dict(known)
    plan = make_plan(world.request, sizes)
    rounds = 0
    while todo := measurements(world.request, sizes, plan):
        rounds += 1
        assert rounds <= 20
        sizes.update((m.diff, world.measure(m)) for m in todo)
        plan = make_plan(world.request, sizes)
    assert all(m.diff not in known for m in world.measured)


def test_the_first_round_asks_for_the_chain_of_nearest_predecessors() -> None:
    request = asking(series(3))
    todo = measurements(request, {}, make_plan(request, {}))
    assert [m.diff for m in todo] == [
        Diff(uuid(1)),
        Diff(uuid(2), uuid(1)),
        Diff(uuid(3), uuid(2)),
    ]
    assert all(m.limit is None for m in todo)


def test_the_first_round_asks_for_diffs_within_a_subvolume_rather_than_between_two() -> None:
    origins = {1: None, 2: 1, 3: None, 4: None}
    request = asking([snapshot(n, branch=n % 2, ancestor=a) for n, a in origins.items()])
    todo = measurements(request, {}, make_plan(request, {}))
    assert [m.diff for m in todo] == [diff(1), diff(2, 1), diff(3, 1), diff(4, 2)]


def test_the_first_round_asks_for_diffs_in_the_order_in_which_snapshots_were_made() -> None:
    arrivals = {1: 1, 2: 4, 3: 3, 4: 5, 5: 2}
    request = asking([snapshot(n, generation=arrived, origin=n) for n, arrived in arrivals.items()])
    todo = measurements(request, {}, make_plan(request, {}))
    assert {m.diff for m in todo} == {diff(1), diff(2, 1), diff(3, 2), diff(4, 3), diff(5, 4)}


def test_what_cannot_be_made_is_not_asked_for_again_but_the_next_likely_one() -> None:
    snapshots = series(3)
    asked = asking(snapshots, there=snapshots[:1])
    request = replace(asked, impossible=frozenset({diff(2, 1)}))
    todo = measurements(request, {}, make_plan(request, {}))
    assert [m.diff for m in todo] == [diff(2, 3), diff(3, 2)]


def test_what_is_the_only_way_is_measured_to_the_end_at_once() -> None:
    request = asking(series(2, lineage=None))
    todo = measurements(request, {}, make_plan(request, {}))
    assert todo == tuple(Measurement(diff=Diff(uuid(n)), limit=None) for n in (1, 2))


# Hidden sizes that follow no law at all

COUNT = 6
some_bytes = st.integers(0, 27).map(lambda power: 1 << power)
lawless = st.fixed_dictionaries(
    {
        Diff(uuid(to), uuid(parent) if parent else None): some_bytes
        for to in range(1, COUNT + 1)
        for parent in range(COUNT + 1)
        if parent != to
    }
)


@given(lawless, st.integers(0, 3), st.integers(0, 1 << 22))
def test_whatever_the_sizes_measuring_ends_and_the_chain_is_never_exceeded(
    hidden: dict[Diff, int], there: int, overrun: int
) -> None:
    snapshots = series(COUNT)
    request = asking(snapshots, there=snapshots[:there])
    asked: list[Measurement] = []

    def measure(measurement: Measurement) -> Size:
        asked.append(measurement)
        nbytes, limit = hidden[measurement.diff], measurement.limit
        if limit is not None and nbytes > limit:
            return Size(min(limit + overrun, nbytes - 1), Certainty.AT_LEAST)
        return Size(nbytes)

    def count() -> None:
        assert len(asked) < 200

    plan = run(request, measure, count)
    chain = [(n, n - 1 or None) for n in range(there + 1, COUNT + 1)]
    cost = sum(hidden[Diff(uuid(n), uuid(p) if p else None)] for n, p in chain)
    assert all(t.size == Size(hidden[t.diff]) for t in plan.transfers)
    assert plan.cost.nbytes <= cost

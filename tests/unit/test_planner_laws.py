"""What is true of every plan between subvolumes."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buttersink.model import Diff, Size, Snapshot
from buttersink.plan import Keep, Plan
from buttersink.planning.planner import make_plan
from support.planning_worlds import asking, diff, inventory, series, snapshot

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from random import Random

    from buttersink.planning.request import Request

numbers = st.integers(1, 9)
any_snapshots = st.lists(
    st.builds(
        snapshot,
        numbers,
        generation=st.integers(1, 5),
        origin=st.integers(1, 5),
        lineage=st.sampled_from(["a", "b", None]),
        branch=st.sampled_from([None, 1, 2]),
        ancestor=st.none() | numbers,
    ),
    max_size=8,
    unique_by=lambda s: s.uuid,
)
any_sizes = st.fixed_dictionaries(
    {diff(to, parent): st.integers(0, 6) for to in range(1, 10) for parent in (None, *range(1, 10))}
).map(lambda sizes: {ends: Size(nbytes) for ends, nbytes in sizes.items()})
some = st.sets(numbers)
ends_of_diff = st.tuples(numbers, numbers)


def chain_cost(request: Request, sizes: Mapping[Diff, Size]) -> int:
    """Return the bytes of sending each on its nearest predecessor, whatever that is."""
    there = request.destination.by_uuid()
    usable = there.keys() | {s.uuid for s in request.wanted}
    latest: dict[str, Snapshot] = {}
    cost = 0
    for s in sorted(request.source.snapshots, key=lambda s: (s.generation, s.uuid)):
        if s.uuid not in usable:
            continue
        parent = latest.get(s.lineage) if s.lineage is not None else None
        if s.uuid not in there:
            cost += sizes[Diff(s.uuid, parent.uuid if parent else None)].nbytes
        if s.lineage is not None:
            latest[s.lineage] = s
    return cost


def having(snapshots: Sequence[Snapshot], *, there: set[int], wanted: set[int]) -> Request:
    held = [s for s in snapshots if s.uuid.int in there]
    return replace(
        asking(snapshots, there=held), wanted=tuple(s for s in snapshots if s.uuid.int in wanted)
    )


@given(any_snapshots, any_sizes, some, some)
def test_the_plan_never_takes_more_than_the_chain_of_nearest_predecessors(
    snapshots: list[Snapshot], sizes: dict[Diff, Size], there: set[int], wanted: set[int]
) -> None:
    request = having(snapshots, there=there, wanted=wanted)
    assert make_plan(request, sizes).cost.nbytes <= chain_cost(request, sizes)


@given(any_snapshots, any_sizes, some, st.randoms(use_true_random=False))
def test_the_order_of_the_input_does_not_matter(
    snapshots: list[Snapshot], sizes: dict[Diff, Size], there: set[int], random: Random
) -> None:
    request = having(snapshots, there=there, wanted=set(range(10)))
    mixed, mixed_sizes = list(snapshots), list(sizes.items())
    random.shuffle(mixed)
    random.shuffle(mixed_sizes)
    other = replace(
        request,
        source=inventory(mixed),
        destination=inventory(reversed(request.destination.snapshots)),
        wanted=tuple(reversed(mixed)),
    )
    assert make_plan(other, dict(mixed_sizes)) == make_plan(request, sizes)


@given(any_snapshots, any_sizes, some, st.sets(ends_of_diff), ends_of_diff)
def test_one_more_diff_to_choose_from_never_raises_the_cost(
    snapshots: list[Snapshot],
    sizes: dict[Diff, Size],
    there: set[int],
    impossible: set[tuple[int, int]],
    more: tuple[int, int],
) -> None:
    request = having(snapshots, there=there, wanted=set(range(10)))
    with_it = frozenset(diff(*ends) for ends in impossible - {more})
    without = make_plan(replace(request, impossible=with_it | {diff(*more)}), sizes)
    assert make_plan(replace(request, impossible=with_it), sizes).cost.nbytes <= without.cost.nbytes


@given(any_snapshots, any_sizes, some, some, some)
def test_every_wanted_snapshot_has_one_step_and_parents_come_first(
    snapshots: list[Snapshot],
    sizes: dict[Diff, Size],
    there: set[int],
    wanted: set[int],
    taken: set[int],
) -> None:
    request = having(snapshots, there=there, wanted=wanted)
    request = replace(request, taken=frozenset(f"{n:05}" for n in taken))
    plan = make_plan(request, sizes)
    assert sorted(s.snapshot.uuid for s in plan.steps) == sorted(s.uuid for s in request.wanted)
    arrived = {s.uuid for s in request.destination.snapshots}
    for transfer in plan.transfers:
        assert transfer.diff.parent is None or transfer.diff.parent in arrived
        assert transfer.path not in request.taken
        arrived.add(transfer.snapshot.uuid)


@given(any_snapshots, any_sizes, some)
def test_a_second_run_has_nothing_to_do(
    snapshots: list[Snapshot], sizes: dict[Diff, Size], there: set[int]
) -> None:
    request = having(snapshots, there=there, wanted=set(range(10)))
    arrived = request.destination.snapshots + tuple(
        replace(t.snapshot, paths=(t.path,)) for t in make_plan(request, sizes).transfers
    )
    again = make_plan(replace(request, destination=inventory(arrived), delete=True), sizes)
    assert all(isinstance(step, Keep) for step in again.steps)
    assert again.deletes == ()


@pytest.mark.parametrize("nothing", [asking([]), asking([], there=series(2))])
def test_nothing_wanted_is_an_empty_plan(nothing: Request) -> None:
    assert make_plan(nothing, {}) == Plan()

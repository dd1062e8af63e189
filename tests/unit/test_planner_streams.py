"""Plans where one end stores streams, or both do."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from buttersink.chains import best_chains
from buttersink.model import Chain, ChainLimits, Inventory, Partial, Size, Snapshot
from buttersink.plan import Adopt, Keep, Plan, Reason, Release, Skip, Transfer
from buttersink.planning.planner import make_plan, measurements
from buttersink.planning.request import Request
from support.planning_worlds import (
    Streams,
    diff,
    inventory,
    run,
    series,
    snapshot,
    storing,
    uuid,
)

if TYPE_CHECKING:
    from collections.abc import Iterable
    from random import Random

NOTHING = Inventory()
NO_STREAMS = Inventory(makes_any_diff=False)


def asking(
    source: Inventory, destination: Inventory = NOTHING, *, wanted: Iterable[int] | None = None
) -> Request:
    numbers = None if wanted is None else set(wanted)
    return Request(
        source=source,
        destination=destination,
        wanted=tuple(s for s in source.inside() if numbers is None or s.uuid.int in numbers),
    )


def sends(plan: Plan) -> list[tuple[int, int | None]]:
    """Return (snapshot, parent) of each transfer, in order."""
    ends = ((t.diff.to, t.diff.parent) for t in plan.transfers)
    return [(to.int, parent.int if parent else None) for to, parent in ends]


def links(plan: Plan) -> set[int]:
    return {t.diff.to.int for t in plan.transfers if t.link}


def skips(plan: Plan) -> dict[int, Skip]:
    return {s.snapshot.uuid.int: s for s in plan.steps if isinstance(s, Skip)}


def released(plan: Plan) -> set[int]:
    return {release.uuid.int for release in plan.releases}


CHAIN: Streams = {(1, None): 90, (2, 1): 5, (3, 2): 6}


# From streams to subvolumes


def test_one_snapshot_is_restored_over_links_which_are_released() -> None:
    source = storing(CHAIN, hidden={1})
    plan = make_plan(asking(source, wanted={3}), {})
    assert plan.steps == (
        Transfer(
            snapshot=source.snapshots[0],
            diff=diff(1),
            path="elsewhere/00001",
            size=Size(90),
            reason=Reason.LINK,
            link=True,
        ),
        Transfer(
            snapshot=source.snapshots[1],
            diff=diff(2, 1),
            path="00002",
            size=Size(5),
            reason=Reason.LINK,
            parent_path="elsewhere/00001",
            link=True,
        ),
        Transfer(
            snapshot=source.snapshots[2],
            diff=diff(3, 2),
            path="00003",
            size=Size(6),
            reason=Reason.STORED,
            parent_path="00002",
        ),
    )
    assert plan.releases == (
        Release(uuid=uuid(1), path="elsewhere/00001"),
        Release(uuid=uuid(2), path="00002"),
    )


def test_there_is_nothing_to_measure() -> None:
    request = asking(storing(CHAIN))
    assert measurements(request, {}, make_plan(request, {})) == ()


def test_what_the_destination_has_anywhere_is_built_on() -> None:
    there = inventory([snapshot(2, paths=())])
    plan = make_plan(asking(storing(CHAIN), there, wanted={3}), {})
    assert sends(plan) == [(3, 2)]
    assert plan.releases == ()


def test_what_only_the_destination_has_is_built_on_as_well() -> None:
    there = inventory([snapshot(1, path="base")])
    plan = make_plan(asking(storing({(2, 1): 7}), there), {})
    assert [(t.diff, t.parent_path) for t in plan.transfers] == [(diff(2, 1), "base")]


def test_a_snapshot_without_a_chain_is_skipped_and_the_missing_base_is_named() -> None:
    plan = make_plan(asking(storing({(2, 1): 7, (3, 2): 7})), {})
    assert {skip.reason for skip in skips(plan).values()} == {Reason.UNREACHABLE}
    detail = (
        f"it builds on {uuid(1)}, of which there is no stream below this prefix; "
        f"name the prefix above it, and choose with --only"
    )
    assert {n: skip.detail for n, skip in skips(plan).items()} == {2: detail, 3: detail}


def leftover_link(number: int, *, guarded: str = "") -> Inventory:
    """Return a destination in which an interrupted run has left a link."""
    partial = Partial(path=f".link-{number}", uuid=uuid(number), link=True, guarded=guarded)
    return Inventory(snapshots=(snapshot(number, paths=()),), partials=(partial,))


def test_a_link_that_an_earlier_run_left_is_built_on_and_released() -> None:
    plan = make_plan(asking(storing(CHAIN), leftover_link(2), wanted={3}), {})
    assert sends(plan) == [(3, 2)]
    assert plan.releases == (Release(uuid=uuid(2), path=".link-2"),)


def test_a_leftover_link_that_is_wanted_now_is_adopted_and_released() -> None:
    plan = make_plan(asking(storing(CHAIN), leftover_link(2), wanted={2}), {})
    assert [(type(s), s.snapshot.uuid.int, s.path) for s in plan.steps] == [(Adopt, 2, "00002")]
    assert released(plan) == {2}


def test_a_leftover_link_is_released_even_if_nothing_is_to_do() -> None:
    assert released(make_plan(asking(storing({})), {})) == set()
    assert released(make_plan(asking(storing({}), leftover_link(2)), {})) == {2}


def test_a_leftover_that_is_guarded_or_no_link_is_not_released() -> None:
    guarded = leftover_link(2, guarded="somebody is at work on it")
    assert make_plan(asking(storing({}), guarded), {}).releases == ()
    part = Inventory(partials=(Partial(path="part", uuid=uuid(2)),))
    assert make_plan(asking(storing(CHAIN), part, wanted={1}), {}).releases == ()


def test_a_snapshot_whose_path_is_taken_can_still_be_a_link() -> None:
    request = replace(asking(storing(CHAIN), wanted={2, 3}), taken=frozenset({"00002"}))
    plan = make_plan(request, {})
    assert sends(plan) == [(1, None), (2, 1), (3, 2)]
    assert links(plan) == {1, 2}
    assert released(plan) == {1, 2}
    assert {n: skip.reason for n, skip in skips(plan).items()} == {2: Reason.PATH_TAKEN}


def test_what_the_source_only_hides_is_deleted_where_subvolumes_are() -> None:
    request = asking(storing(CHAIN, hidden={1}), inventory(series(2)))
    plan = make_plan(replace(request, delete=True), {})
    assert [delete.path for delete in plan.deletes] == ["00001"]


# To streams


def test_what_is_stored_is_kept_with_what_restoring_it_takes() -> None:
    plan = make_plan(asking(inventory(series(2)), storing(CHAIN)), {})
    assert plan.steps == (
        Keep(snapshot=snapshot(1), path="00001", chain=Chain(1, 90)),
        Keep(snapshot=snapshot(2), path="00002", chain=Chain(2, 95)),
    )


def test_a_hidden_link_that_is_wanted_again_is_adopted() -> None:
    plan = make_plan(asking(inventory([snapshot(2)]), storing(CHAIN, hidden={2})), {})
    assert plan.steps == (Adopt(snapshot=snapshot(2), path="00002"),)


def test_what_is_stored_but_has_lost_its_base_is_stored_anew() -> None:
    there = storing({(2, 1): 5, (3, 2): 6})
    sizes = {diff(2): Size(90), diff(3): Size(95), diff(3, 2): Size(6), diff(2, 3): Size(9)}
    plan = make_plan(asking(inventory([snapshot(2), snapshot(3)]), there), sizes)
    assert sends(plan) == [(2, None), (3, 2)]


def test_snapshots_may_share_a_path_and_lie_inside_each_other() -> None:
    there = replace(storing({(9, None): 5}), snapshots=(snapshot(9, path="a"),))
    wanted = [snapshot(1, path="a"), snapshot(2, path="a"), snapshot(3, path="a/b")]
    plan = make_plan(asking(inventory(wanted), there), {})
    assert [t.path for t in plan.transfers] == ["a", "a", "a/b"]


def test_what_is_none_of_ours_is_never_replaced() -> None:
    request = asking(inventory([snapshot(1, paths=("a", "b"))]), NO_STREAMS)
    plan = make_plan(replace(request, taken=frozenset({"a"})), {})
    assert [t.path for t in plan.transfers] == ["b"]
    plan = make_plan(replace(request, taken=frozenset({"a", "b"})), {})
    assert skips(plan)[1].reason is Reason.PATH_TAKEN


def test_transfers_tell_what_restoring_will_take() -> None:
    there = storing({(1, None): 90})
    sizes = {diff(2, 1): Size(5), diff(2): Size(90)}
    plan = make_plan(asking(inventory(series(2)), there), sizes)
    assert [t.chain for t in plan.transfers] == [Chain(2, 95)]


def test_chains_that_are_made_stay_within_the_limits() -> None:
    request = replace(
        asking(inventory(series(5)), NO_STREAMS), limits=ChainLimits(links=2, factor=9)
    )
    plan = run(request, lambda m: Size(100 if m.diff.parent is None else 2))
    chains = best_chains((t.diff, t.size) for t in plan.transfers).costs
    assert max(chain.links for chain in chains.values()) == 2
    assert {t.diff.to: t.chain for t in plan.transfers} == chains
    assert plan.cost == Size(108)


def test_what_cannot_be_read_is_skipped_and_its_neighbours_are_stored_without_it() -> None:
    broken = frozenset({diff(2), diff(2, 1), diff(2, 3), diff(1, 2), diff(3, 2)})
    request = replace(
        asking(inventory(series(3)), NO_STREAMS),
        limits=ChainLimits(links=9, factor=9),
        impossible=broken,
    )
    plan = run(request, lambda m: Size(100 if m.diff.parent is None else 2))
    assert {to for to, _ in sends(plan)} == {1, 3}
    assert plan.cost == Size(102)
    assert skips(plan)[2].reason is Reason.UNREACHABLE


def test_what_is_deleted_where_streams_are_is_decided_elsewhere() -> None:
    request = replace(asking(inventory(series(1)), storing(CHAIN)), delete=True)
    assert make_plan(request, {}).deletes == ()


# From streams to streams


def test_a_link_stays_stored_where_streams_are() -> None:
    plan = make_plan(asking(storing(CHAIN), NO_STREAMS, wanted={3}), {})
    assert links(plan) == {1, 2}
    assert plan.releases == ()
    assert [t.chain for t in plan.transfers] == [Chain(1, 90), Chain(2, 95), Chain(3, 101)]


def test_what_comes_as_it_is_stored_is_not_bound_by_limits() -> None:
    request = asking(storing(CHAIN), NO_STREAMS)
    limited = replace(request, limits=ChainLimits(links=1, factor=1))
    assert make_plan(limited, {}) == make_plan(request, {})


def test_what_the_other_end_can_restore_is_built_on_and_nothing_else() -> None:
    whole, broken = storing({(7, None): 50, (2, 7): 9}), storing({(2, 7): 9})
    assert sends(make_plan(asking(storing(CHAIN), whole, wanted={3}), {})) == [(3, 2)]
    assert sends(make_plan(asking(storing(CHAIN), broken, wanted={3}), {})) == [
        (1, None),
        (2, 1),
        (3, 2),
    ]


def test_a_snapshot_whose_path_is_taken_is_no_link_where_streams_are() -> None:
    request = replace(asking(storing(CHAIN), NO_STREAMS), taken=frozenset({"00002"}))
    plan = make_plan(request, {})
    assert sends(plan) == [(1, None)]
    assert skips(plan)[2].reason is Reason.PATH_TAKEN
    assert skips(plan)[3].detail == "it builds on 00002, of which no stream can be used"


# Laws

numbers = st.integers(1, 7)
some = st.sets(numbers)
any_streams = st.dictionaries(
    st.tuples(numbers, st.none() | numbers), st.integers(0, 9), max_size=14
)
any_subvolumes = st.lists(
    st.builds(snapshot, numbers, paths=st.sampled_from([(), ("held",)])),
    max_size=4,
    unique_by=lambda s: s.uuid,
)
any_destination = st.one_of(
    st.builds(inventory, any_subvolumes),
    st.builds(storing, any_streams, hidden=some),
)


def usable_parents(request: Request) -> set[object]:
    held = request.destination
    if held.makes_any_diff:
        return {None, *held.by_uuid()}
    return {None, *best_chains(held.stored).costs}


@given(any_streams, some, any_destination, some, some)
def test_each_wanted_snapshot_has_one_step_and_parents_come_first(
    streams: Streams, hidden: set[int], there: Inventory, wanted: set[int], taken: set[int]
) -> None:
    request = replace(
        asking(storing(streams, hidden=hidden), there, wanted=wanted),
        taken=frozenset(f"{n:05}" for n in taken),
    )
    plan = make_plan(request, {})
    own = [s.snapshot.uuid for s in plan.steps if not (isinstance(s, Transfer) and s.link)]
    assert sorted(own) == sorted(s.uuid for s in request.wanted)
    arrived = usable_parents(request)
    for transfer in plan.transfers:
        assert transfer.diff.parent in arrived
        assert transfer.snapshot.uuid not in arrived
        arrived.add(transfer.snapshot.uuid)
    needed = {t.diff.parent for t in plan.transfers}
    assert all(t.diff.to in needed for t in plan.transfers if t.link)
    refused = {skip.snapshot.uuid for skip in skips(plan).values()}
    coming = {s.uuid for s in request.wanted} - refused
    assert not coming & {t.diff.to for t in plan.transfers if t.link}


@given(any_streams, some, any_destination, some, st.randoms(use_true_random=False))
def test_the_order_of_the_facts_does_not_matter(
    streams: Streams, hidden: set[int], there: Inventory, wanted: set[int], random: Random
) -> None:
    request = asking(storing(streams, hidden=hidden), there, wanted=wanted)

    def mixed(facts: Inventory) -> Inventory:
        return replace(
            facts,
            snapshots=tuple(random.sample(facts.snapshots, len(facts.snapshots))),
            stored=tuple(random.sample(facts.stored, len(facts.stored))),
        )

    other = replace(
        request,
        source=mixed(request.source),
        destination=mixed(there),
        wanted=tuple(random.sample(request.wanted, len(request.wanted))),
    )
    assert make_plan(other, {}) == make_plan(request, {})


@given(any_streams, some, st.sampled_from([NOTHING, NO_STREAMS]), some)
def test_a_second_run_sends_nothing(
    streams: Streams, hidden: set[int], there: Inventory, wanted: set[int]
) -> None:
    request = asking(storing(streams, hidden=hidden), there, wanted=wanted)
    plan = make_plan(request, {})
    again = make_plan(replace(request, destination=after(plan, there)), {})
    assert again.transfers == ()
    assert skips(again) == skips(plan)
    assert again.releases == ()


def after(plan: Plan, there: Inventory) -> Inventory:
    """Return what an empty destination has after the run."""
    arrived: list[Snapshot] = [
        replace(t.snapshot, paths=() if t.link else (t.path,))
        for t in plan.transfers
        if not (t.link and there.makes_any_diff)
    ]
    stored = () if there.makes_any_diff else tuple((t.diff, t.size) for t in plan.transfers)
    return replace(there, snapshots=tuple(arrived), stored=stored)


def test_a_chain_of_two_thousand_links_needs_no_recursion() -> None:
    streams: dict[tuple[int, int | None], int] = {(1, None): 9}
    streams |= {(n, n - 1): 1 for n in range(2, 2001)}
    plan = make_plan(asking(storing(streams), wanted={2000}), {})
    assert sends(plan) == list(streams)
    assert len(plan.releases) == 1999

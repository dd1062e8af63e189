"""The choice among stored streams."""

from __future__ import annotations

from itertools import product
from random import Random
from typing import TYPE_CHECKING

from hypothesis import assume, given
from hypothesis import strategies as st

from buttersink.plan import Reason
from buttersink.planning.relaying import relay
from support.planning_worlds import Streams, diff, storing, uuid

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from buttersink.model import Diff, Inventory
    from buttersink.planning.routes import Routes


def routes(
    source: Inventory,
    *,
    wanted: Collection[int],
    held: Collection[int] = (),
    impossible: Collection[Diff] = (),
) -> Routes:
    return relay(
        source,
        wanted={uuid(n) for n in wanted},
        held={uuid(n) for n in held},
        impossible=impossible,
    )


def chosen(found: Routes) -> dict[int, int | None]:
    """Return what each snapshot is built on."""
    ends = {route.diff.to: route.diff.parent for route in found.found.values()}
    return {to.int: parent.int if parent else None for to, parent in ends.items()}


def links(found: Routes) -> set[int]:
    return {to.int for to, route in found.found.items() if route.link}


def reasons(found: Routes) -> dict[int, Reason]:
    return {to.int: route.reason for to, route in found.found.items()}


def test_what_a_snapshot_builds_on_comes_as_a_link() -> None:
    found = routes(storing({(1, None): 90, (2, 1): 5, (3, 2): 5, (4, 3): 5}), wanted={3})
    assert chosen(found) == {1: None, 2: 1, 3: 2}
    assert reasons(found) == {1: Reason.LINK, 2: Reason.LINK, 3: Reason.STORED}
    assert links(found) == {1, 2}


def test_of_two_streams_the_one_with_the_cheaper_chain_is_taken() -> None:
    assert chosen(routes(storing({(1, None): 90, (2, 1): 5, (2, None): 94}), wanted={2})) == {
        2: None
    }
    assert chosen(routes(storing({(1, None): 90, (2, 1): 5, (2, None): 96}), wanted={2})) == {
        1: None,
        2: 1,
    }


def test_a_chain_that_several_share_is_paid_once() -> None:
    streams = {(1, None): 90, (2, 1): 5, (2, None): 60, (3, 1): 5, (3, None): 60}
    assert chosen(routes(storing(streams), wanted={2})) == {2: None}
    assert chosen(routes(storing(streams), wanted={2, 3})) == {1: None, 2: 1, 3: 1}


def test_of_equally_many_bytes_fewer_streams_are_taken() -> None:
    streams = {(1, None): 90, (2, 1): 5, (2, None): 95}
    assert chosen(routes(storing(streams), wanted={2})) == {2: None}


def test_what_the_destination_has_is_where_to_start() -> None:
    streams = {(1, None): 90, (2, 1): 5, (3, 2): 5}
    assert chosen(routes(storing(streams), wanted={3}, held={2})) == {3: 2}
    assert chosen(routes(storing({(3, 2): 5}), wanted={3}, held={2})) == {3: 2}


def test_the_only_stream_of_a_snapshot_is_said_to_be_that_if_it_is_full() -> None:
    streams = {(1, None): 9, (2, 1): 5, (3, None): 2, (3, 1): 5}
    assert reasons(routes(storing(streams), wanted={1, 2, 3})) == {
        1: Reason.ONLY_FULL,
        2: Reason.STORED,
        3: Reason.STORED,
    }


def test_a_stream_that_cannot_be_used_is_not_chosen() -> None:
    streams = {(1, None): 90, (2, 1): 5, (2, None): 99}
    found = routes(storing(streams), wanted={2}, impossible={diff(2, 1)})
    assert chosen(found) == {2: None}


def test_streams_that_build_on_each_other_in_a_circle_lead_nowhere() -> None:
    found = routes(storing({(1, 2): 5, (2, 1): 5}), wanted={1, 2})
    assert found.found == {}
    assert found.unreachable[uuid(1)] == "the streams that lead to it only build on each other"


# What is missing


def test_the_missing_base_is_named_however_far_it_is() -> None:
    source = storing({(3, 2): 5, (4, 3): 5, (5, 4): 5, (6, None): 5})
    found = routes(source, wanted={5, 6})
    assert chosen(found) == {6: None}
    detail = (
        f"it builds on {uuid(2)}, of which there is no stream below this prefix; "
        f"name the prefix above it, and choose with --only"
    )
    assert found.unreachable == {uuid(5): detail}


def test_a_base_whose_streams_cannot_be_used_is_named_by_its_path() -> None:
    source = storing({(1, None): 90, (2, 1): 5})
    found = routes(source, wanted={1, 2}, impossible={diff(1)})
    assert found.unreachable == {
        uuid(1): "no stream of it can be used",
        uuid(2): "it builds on 00001, of which no stream can be used",
    }


def test_of_several_missing_bases_the_nearest_is_named() -> None:
    source = storing({(3, 2): 5, (4, 3): 5, (4, 9): 500})
    assert str(uuid(9)) in routes(source, wanted={4}).unreachable[uuid(4)]


def test_a_snapshot_of_which_there_is_no_stream_is_unreachable() -> None:
    found = routes(storing({(1, None): 5}), wanted={7})
    assert found.unreachable == {uuid(7): "the source has no stream of it"}


# Laws

numbers = st.integers(1, 7)
ends = st.tuples(numbers, st.none() | numbers)
any_streams = st.dictionaries(ends, st.integers(0, 9), max_size=12)
some = st.sets(numbers)


def reachable(streams: Streams, held: Collection[int]) -> set[int]:
    found: set[int | None] = {None, *held}
    while more := {to for to, parent in streams if parent in found} - found:
        found |= more
    return {n for n in found if n is not None}


def least_bytes(streams: Streams, wanted: Collection[int], held: Collection[int]) -> int:
    """Try out every way to enter every snapshot, or not to."""
    nodes = sorted({to for to, _ in streams} - set(held))
    ways = [[None, *(e for e in streams if e[0] == node)] for node in nodes]
    costs = []
    for choice in product(*ways):
        taken: Mapping[tuple[int, int | None], int] = {e: streams[e] for e in choice if e}
        arriving = reachable(taken, held)
        if set(wanted) <= arriving:
            costs.append(sum(taken.values()))
    return min(costs)


@given(any_streams, some, some)
def test_no_other_streams_bring_what_is_wanted_for_fewer_bytes(
    streams: Streams, wanted: set[int], held: set[int]
) -> None:
    found = routes(storing(streams), wanted=wanted - held, held=held)
    possible = (wanted - held) & reachable(streams, held)
    assert sum(route.size.nbytes for route in found.found.values()) == least_bytes(
        streams, possible, held
    )
    assert {n.int for n in found.unreachable} == wanted - held - possible


@given(any_streams, some, some)
def test_only_what_is_needed_is_a_link(streams: Streams, wanted: set[int], held: set[int]) -> None:
    goals = wanted - held
    found = routes(storing(streams), wanted=goals, held=held)
    building = {parent for parent in chosen(found).values() if parent is not None}
    assert links(found) == chosen(found).keys() - goals
    assert links(found) <= building
    assert building <= chosen(found).keys() | held
    taken = dict.fromkeys(chosen(found).items(), 0)
    assert reachable(taken, held) == chosen(found).keys() | held


@given(any_streams, some, some, st.randoms(use_true_random=False))
def test_the_order_of_the_facts_does_not_matter(
    streams: Streams, wanted: set[int], held: set[int], random: Random
) -> None:
    mixed = list(streams.items())
    random.shuffle(mixed)
    goals = wanted - held
    assert routes(storing(dict(mixed)), wanted=goals, held=held) == routes(
        storing(streams), wanted=goals, held=held
    )


@given(any_streams, some, some, ends)
def test_a_stream_more_never_costs_more(
    streams: Streams, wanted: set[int], held: set[int], more: tuple[int, int | None]
) -> None:
    assume(more not in streams)
    goals = (wanted - held) & reachable(streams, held)
    without, with_it = (
        sum(r.size.nbytes for r in routes(storing(s), wanted=goals, held=held).found.values())
        for s in (streams, {**streams, more: 3})
    )
    assert with_it <= without


def test_long_chains_are_followed_to_their_ends() -> None:
    streams: dict[tuple[int, int | None], int] = {(1, None): 9}
    streams |= {(n, n - 1): 1 for n in range(2, 2001)}
    found = routes(storing(streams), wanted={2000})
    assert len(found.found) == 2000
    assert len(links(found)) == 1999
    del streams[1, None]
    assert str(uuid(1)) in routes(storing(streams), wanted={2000}).unreachable[uuid(2000)]


def test_a_year_of_hourly_streams_with_some_replaced_is_restored_for_the_fewest_bytes() -> None:
    # After deletions there are second streams, which step over hidden links.
    random = Random(5)
    streams: dict[tuple[int, int | None], int] = {
        (n, n - 1 if n % 500 else None): random.randint(10, 99) for n in range(1, 9000)
    }
    streams[1, None] = streams.pop((1, 0))
    for n in random.sample(range(600, 8990), 300):
        streams[n + 2, n] = random.randint(15, 150)
    source = storing(streams, hidden=range(0, 9000, 7))
    wanted = {s.uuid.int for s in source.inside()}
    found = routes(source, wanted=wanted)
    assert found.unreachable == {}
    simple = {n: b for (n, parent), b in streams.items() if parent in {n - 1, None}}
    assert sum(route.size.nbytes for route in found.found.values()) <= sum(simple.values())

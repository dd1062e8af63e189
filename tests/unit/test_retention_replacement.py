"""When new streams are stored so that links can go."""

from __future__ import annotations

from dataclasses import replace
from itertools import chain, combinations
from typing import TYPE_CHECKING

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from buttersink.model import Certainty, ChainLimits, Measurement, Size
from buttersink.plan import Delete, Discard, Hide, Reason
from buttersink.planning.retention import retain, retention_measurements
from support.planning_worlds import uuid
from support.retention_worlds import KIB, MIB, Shop, diff, request, settle, shops

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from buttersink.planning.retention import Retention
    from support.retention_worlds import Ends

SERIES: dict[Ends, int] = {
    (1, None): 100 * MIB,
    (2, 1): 20 * MIB,
    (3, 2): 20 * MIB,
    (4, 3): 20 * MIB,
}


def added(retention: Retention) -> list[tuple[int, int | None]]:
    return [(d.to.int, d.parent.int if d.parent else None) for d in retention.replacements]


def deleted(retention: Retention) -> list[int]:
    return [r.uuid.int for r in retention.removals if isinstance(r, Delete)]


def hidden(retention: Retention) -> list[int]:
    return [r.uuid.int for r in retention.removals if isinstance(r, Hide)]


def test_links_between_two_snapshots_go_when_one_stream_can_span_them() -> None:
    asked = request(SERIES, doomed=[2, 3], source=[1, 4])
    retention = settle(asked, {(4, 1): 25 * MIB, (4, None): 130 * MIB})
    assert added(retention) == [(4, 1)]
    assert retention.removals == (
        Discard(diff=diff(4, 3), path="00004", nbytes=20 * MIB, reason=Reason.REPLACED),
        Delete(uuid=uuid(3), path="00003", nbytes=20 * MIB),
        Delete(uuid=uuid(2), path="00002", nbytes=20 * MIB),
    )
    assert retention.chains.costs[uuid(4)].links == 2
    assert retention.chains.costs[uuid(4)].nbytes == 125 * MIB


@pytest.mark.parametrize(("new", "pays"), [(30 * MIB - 1, True), (30 * MIB, False)])
def test_what_comes_must_be_less_than_half_of_what_goes(new: int, pays: bool) -> None:  # noqa: FBT001 - a parameter of the test
    asked = request(SERIES, doomed=[2, 3], source=[1, 4])
    retention = settle(asked, {(4, 1): new, (4, None): 130 * MIB})
    assert (added(retention) == [(4, 1)]) == pays
    assert (hidden(retention) == []) == pays


def test_nothing_is_hoped_for_from_compression() -> None:
    half = ChainLimits(links=9, factor=2.0, stored_fraction=0.5)
    asked = request(SERIES, doomed=[2, 3], source=[1, 4], limits=half)
    assert added(settle(asked, {(4, 1): 31 * MIB, (4, None): 200 * MIB})) == []
    assert added(settle(asked, {(4, 1): 29 * MIB, (4, None): 200 * MIB})) == [(4, 1)]


def test_a_chain_whose_start_is_deleted_begins_anew_once_that_pays() -> None:
    asked = request(SERIES, doomed=[1, 2, 3], source=[4])
    assert added(settle(asked, {(4, None): 90 * MIB})) == []
    retention = settle(asked, {(4, None): 79 * MIB})
    assert added(retention) == [(4, None)]
    assert deleted(retention) == [3, 2, 1]


def test_all_that_build_on_a_link_are_replaced_together() -> None:
    streams: dict[Ends, int] = {(1, None): 100 * MIB, (2, 1): 6 * MIB, (3, 1): 6 * MIB}
    asked = request(streams, doomed=[1], source=[2, 3])
    plain: dict[Ends, int] = {(2, None): 40 * MIB, (3, 2): 5 * MIB, (3, None): 40 * MIB}
    retention = settle(asked, plain)
    assert added(retention) == [(2, None), (3, 2)]
    assert deleted(retention) == [1]


def test_one_that_cannot_be_replaced_saves_the_link_for_all() -> None:
    streams: dict[Ends, int] = {(1, None): 100 * MIB, (2, 1): 6 * MIB, (3, 1): 6 * MIB}
    asked = request(streams, doomed=[1], source=[2])
    assert settle(asked, {(2, None): KIB}).replacements == ()


def test_of_a_tree_of_links_only_the_branch_goes_that_pays() -> None:
    streams: dict[Ends, int] = {
        (1, None): 100 * MIB,
        (2, 1): 90 * MIB,
        (3, 1): 9 * MIB,
        (4, 2): MIB,
        (5, 3): MIB,
    }
    asked = request(streams, doomed=[1, 2, 3], source=[4, 5])
    plain: dict[Ends, int] = {(4, None): 20 * MIB, (5, None): 99 * MIB, (5, 4): 99 * MIB}
    retention = settle(asked, plain)
    assert added(retention) == [(4, None)]
    assert (deleted(retention), hidden(retention)) == ([2], [1, 3])


@pytest.mark.parametrize("certainty", [Certainty.ESTIMATE, Certainty.UNKNOWN])
def test_a_guess_is_not_good_enough(certainty: Certainty) -> None:
    asked = request(SERIES, doomed=[2, 3], source=[1, 4])
    sizes = {diff(4, 1): Size(1, certainty), diff(4): Size(1, certainty)}
    retention = retain(asked, sizes)
    assert retention.replacements == ()
    assert retention_measurements(asked, sizes, retention) == ()


def test_nothing_is_replaced_by_what_cannot_be_made() -> None:
    asked = request(SERIES, doomed=[2, 3], source=[1, 4])
    impossible = replace(asked, impossible=frozenset({diff(4, 1)}))
    assert added(settle(impossible, {(4, None): 10 * MIB})) == [(4, None)]
    assert added(settle(request(SERIES, doomed=[2, 3], source=[4]), {(4, None): 99 * MIB})) == []
    assert added(settle(request(SERIES, doomed=[2, 3]))) == []


def test_stored_streams_as_a_source_make_no_replacements() -> None:
    asked = request(SERIES, doomed=[2, 3], source=[1, 4])
    assert asked.source
    stores = replace(asked, source=replace(asked.source, makes_any_diff=False))
    assert added(settle(stores)) == []


def test_what_is_coming_is_not_replaced_nor_built_on() -> None:
    asked = request(SERIES, coming={(5, 3): MIB}, doomed=[1, 2, 3], source=[4, 5])
    assert added(settle(asked, {(4, None): KIB})) == []


def test_little_that_could_be_freed_is_not_worth_measuring() -> None:
    asked = request({(1, None): 40 * KIB, (2, 1): KIB}, doomed=[1], source=[2])
    shop = Shop(request=asked, plain={diff(2): 1})
    assert hidden(shop.settle()) == [1]
    assert shop.measured == []


def test_measuring_stops_where_it_would_not_pay() -> None:
    quarter = ChainLimits(links=9, factor=2.0, stored_fraction=0.25)
    asked = request(SERIES, doomed=[1, 2, 3], source=[4], limits=quarter)
    shop = Shop(request=asked, plain={diff(4): 1 << 40})
    assert hidden(shop.settle()) == [1, 2, 3]
    assert shop.measured == [Measurement(diff=diff(4), limit=80 * MIB)]


def test_a_full_stream_is_measured_no_further_than_its_rival() -> None:
    asked = request(SERIES, doomed=[2, 3], source=[1, 4])
    shop = Shop(request=asked, plain={diff(4, 1): 10 * MIB, diff(4): 1 << 40})
    assert added(shop.settle()) == [(4, 1)]
    assert shop.measured == [
        Measurement(diff=diff(4, 1), limit=30 * MIB),
        Measurement(diff=diff(4), limit=10 * MIB),
    ]


def test_no_chain_grows_beyond_its_limits() -> None:
    """The nearest predecessor has a long chain of its own, so the full stream is stored."""
    streams: dict[Ends, int] = {
        (1, None): 9 * MIB,
        (2, 1): MIB,
        (3, 2): MIB,
        (4, None): 90 * MIB,
        (5, 4): 5 * MIB,
    }
    plain: dict[Ends, int] = {(5, 3): MIB, (5, None): 9 * MIB}
    short = ChainLimits(links=3, factor=2.0)
    asked = request(streams, doomed=[4], source=[1, 2, 3, 5], limits=short)
    assert added(settle(asked, plain)) == [(5, None)]
    longer = replace(asked, limits=replace(short, links=4))
    assert added(settle(longer, plain)) == [(5, 3)]


def test_of_groups_that_would_spoil_each_other_one_is_replaced() -> None:
    """6 could build on 5, which builds on 4; but 4 could build on 3, which builds on 6."""
    streams: dict[Ends, int] = {
        (1, None): 50 * MIB,
        (6, 1): MIB,
        (3, 6): MIB,
        (2, None): 40 * MIB,
        (4, 2): MIB,
        (5, 4): MIB,
    }
    asked = request(streams, doomed=[1, 2], source=[3, 4, 5, 6])
    asked = replace(asked, impossible=frozenset({diff(4), diff(6)}))
    assert added(settle(asked, {(6, 5): MIB, (4, 3): MIB})) == [(6, 5)]


@given(shops())
def test_what_is_replaced_is_of_final_size_and_pays(shop: Shop) -> None:
    retention = shop.settle()
    event(f"{len(retention.replacements)} replaced")
    fraction = shop.request.limits.stored_fraction
    price = sum(shop.plain[d] * fraction for d in retention.replacements)
    assert {m.diff for m in shop.measured} >= set(retention.replacements)
    freed = {r.diff for r in retention.removals if isinstance(r, Discard)}
    gone = {r.uuid for r in retention.removals if isinstance(r, Delete)}
    freed |= {d for d, _ in shop.request.stored if d.to in gone}
    assert 2 * price <= sum(size.nbytes for d, size in shop.request.stored if d in freed)


@st.composite
def forests(draw: st.DrawFn) -> tuple[dict[Ends, int], dict[int, int]]:
    """Links 1 to 4, and kept snapshots on them of a byte each, with the size of a full stream."""
    costs = st.integers(1, 50).map(lambda number: number * MIB)
    streams: dict[Ends, int] = {
        (link, draw(st.sampled_from([None, *range(1, link)]))): draw(costs) for link in range(1, 5)
    }
    fulls: dict[int, int] = {}
    for number in range(11, 11 + draw(st.integers(1, 5))):
        streams[number, draw(st.integers(1, 4))] = 1
        fulls[number] = draw(costs)
    return streams, fulls


@given(forests())
def test_no_choice_of_full_streams_takes_fewer_bytes(
    forest: tuple[dict[Ends, int], dict[int, int]],
) -> None:
    streams, fulls = forest
    asked = request(streams, doomed=range(1, 5), source=fulls)
    others = frozenset(diff(a, b) for a in fulls for b in fulls)
    sizes: dict[Ends, int] = {(number, None): nbytes for number, nbytes in fulls.items()}
    retention = settle(replace(asked, impossible=others), sizes)
    chosen = {d.to.int for d in retention.replacements}
    best = min(_cost(streams, fulls, some) for some in _subsets(fulls))
    assert _cost(streams, fulls, chosen) == best


def _cost(streams: Mapping[Ends, int], fulls: Mapping[int, int], chosen: Collection[int]) -> int:
    """Return the bytes stored and sent if so much is replaced."""
    parents = {to: parent for to, parent in streams if to not in chosen}
    staying: set[Ends] = set()
    for number in fulls.keys() - set(chosen):
        step: int | None = number
        while step is not None:
            staying.add((step, parents[step]))
            step = parents[step]
    return sum(streams[ends] for ends in staying) + 2 * sum(fulls[number] for number in chosen)


def _subsets(items: Collection[int]) -> Iterator[tuple[int, ...]]:
    return chain.from_iterable(combinations(items, count) for count in range(len(items) + 1))

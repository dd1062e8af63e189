"""What is deleted, hidden and discarded at a destination of streams."""

from __future__ import annotations

from dataclasses import replace
from itertools import chain, combinations
from math import ceil
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from buttersink.chains import best_chains
from buttersink.model import Diff, Size
from buttersink.plan import Delete, Discard, Hide, Reason
from buttersink.planning.retention import retain
from support.planning_worlds import snapshot, uuid
from support.retention_worlds import MIB, Ends, Shelf, Shop, diff, request, requests, settle, shops

if TYPE_CHECKING:
    from collections.abc import Iterator
    from random import Random

    from buttersink.plan import Removal
    from buttersink.planning.retention import Retention, RetentionRequest

SERIES = {(1, None): 100 * MIB, (2, 1): 2 * MIB, (3, 2): 3 * MIB}


def told(retention: Retention) -> list[str]:
    """Return removals as words, with the numbers of their snapshots."""
    return [_told(removal) for removal in retention.removals]


def _told(removal: Removal) -> str:
    match removal:
        case Delete():
            return f"delete {removal.uuid.int}"
        case Hide():
            return f"hide {removal.uuid.int}"
        case Discard(diff=gone):
            parent = gone.parent.int if gone.parent else None
            return f"discard {gone.to.int} on {parent}: {removal.reason.value}"


def kept(asked: RetentionRequest) -> set[Diff]:
    """Return the streams of what is no link, neither now nor then."""
    links = {
        s.uuid for s in asked.snapshots if s.uuid in asked.doomed or not s.paths
    } - asked.outside
    coming = {d.to for d, _ in asked.coming}
    return {d for d, _ in (*asked.stored, *asked.coming) if d.to not in links - coming}


# What happens to each snapshot


def test_nothing_happens_without_deletion_and_links() -> None:
    assert settle(request(SERIES)).removals == ()


def test_the_end_of_a_chain_is_deleted_children_first() -> None:
    retention = settle(request(SERIES, doomed=[2, 3]))
    assert told(retention) == ["delete 3", "delete 2"]
    assert [r.nbytes for r in retention.removals] == [3 * MIB, 2 * MIB]


def test_what_others_build_on_is_hidden() -> None:
    retention = settle(request(SERIES, doomed=[1, 2]))
    assert told(retention) == ["hide 1", "hide 2"]
    assert [r.nbytes for r in retention.removals] == [100 * MIB, 2 * MIB]


def test_a_hidden_link_goes_when_nothing_needs_it_any_more() -> None:
    assert told(settle(request(SERIES, doomed=[3], hidden=[2]))) == [
        "delete 3",
        "discard 2 on 1: unused link",
    ]


def test_a_hidden_link_that_is_still_needed_stays_as_it_is() -> None:
    assert told(settle(request(SERIES, hidden=[1, 2]))) == []


def test_of_a_link_only_the_streams_that_are_needed_stay() -> None:
    streams = {**SERIES, (2, None): 101 * MIB}
    assert told(settle(request(streams, doomed=[1, 2]))) == [
        "hide 2",
        "discard 2 on 1: unused link",
        "delete 1",
    ]


def test_a_kept_snapshot_keeps_all_its_streams() -> None:
    streams = {**SERIES, (3, None): 90 * MIB, (3, 1): 5 * MIB}
    assert told(settle(request(streams))) == []


def test_what_is_coming_may_build_on_what_is_deleted() -> None:
    asked = request(SERIES, coming={(4, 3): MIB}, doomed=[1, 2, 3])
    assert told(settle(asked)) == ["hide 1", "hide 2", "hide 3"]


def test_what_lies_outside_the_prefix_is_left_alone_and_so_is_what_it_needs() -> None:
    asked = request(SERIES, doomed=[1, 2, 3], outside=[2])
    assert told(settle(asked)) == ["hide 1", "delete 3"]


def test_a_link_that_is_adopted_is_no_link() -> None:
    asked = request(SERIES, doomed=[3], hidden=[2])
    adopted = retain(replace(asked, adopted=frozenset({uuid(2)})), {})
    assert told(adopted) == ["delete 3"]


def test_what_a_broken_chain_has_left_stays() -> None:
    streams: dict[Ends, int] = {(2, 1): MIB, (3, 2): MIB}
    assert told(settle(request(streams, doomed=[2]))) == ["hide 2"]


def test_what_is_broken_and_not_needed_is_deleted() -> None:
    streams: dict[Ends, int] = {(2, 1): MIB, (3, 2): MIB}
    assert told(settle(request(streams, doomed=[2, 3]))) == ["delete 3", "delete 2"]


def test_snapshots_that_build_on_each_other_can_be_deleted() -> None:
    streams = {(1, None): 9, (2, 1): 1, (1, 2): 1, (2, None): 9}
    assert told(settle(request(streams, doomed=[1, 2]))) == [
        "discard 1 on 2: unused link",
        "delete 2",
        "delete 1",
    ]


def test_each_path_of_a_snapshot_is_deleted_or_hidden() -> None:
    several = replace(
        request({(1, None): 5}, doomed=[1]), snapshots=(snapshot(1, paths=("a", "b")),)
    )
    assert retain(several, {}).removals == (
        Delete(uuid=uuid(1), path="a", nbytes=5),
        Delete(uuid=uuid(1), path="b", nbytes=0),
    )
    needed = replace(several, coming=((diff(2, 1), Size(1)),))
    assert retain(needed, {}).removals == (
        Hide(uuid=uuid(1), path="a", nbytes=5),
        Hide(uuid=uuid(1), path="b", nbytes=0),
    )


def test_a_stream_that_another_stands_in_for_is_discarded_with_its_links() -> None:
    streams = {**SERIES, (3, None): 105 * MIB}
    retention = settle(request(streams, doomed=[1, 2]))
    assert told(retention) == ["discard 3 on 2: replaced", "delete 2", "delete 1"]
    assert retention.replacements == ()


# Laws


@given(shops())
def test_all_that_is_kept_can_be_restored_at_any_time(shop: Shop) -> None:
    retention, shelf = shop.settle(), Shelf(shop.request)
    before = shelf.chains().costs
    needed = {d.to for d in kept(shop.request)} & before.keys()
    limits = shop.request.limits
    as_stored = {d: ceil(nbytes * limits.stored_fraction) for d, nbytes in shop.plain.items()}
    fulls = {**as_stored, **shelf.streams}
    for new in retention.replacements:
        shelf.store(new, as_stored[new])
    for removal in retention.removals:
        shelf.remove(removal)
        after = shelf.chains().costs
        for one in needed:
            assert after[one].links <= max(before[one].links, limits.links)
            full = fulls.get(Diff(one), 0)
            assert after[one].nbytes <= max(before[one].nbytes, limits.factor * full)
    assert shelf.streams.keys() == {
        *(d for d in shelf.streams if d in dict(shop.request.stored)),
        *(d for d, _ in shop.request.coming),
        *retention.replacements,
    }


@given(shops())
def test_nothing_kept_is_hidden_and_nothing_doomed_stays_visible(shop: Shop) -> None:
    asked, shelf, retention = shop.request, Shelf(shop.request), shop.settle()
    for new in retention.replacements:
        shelf.store(new, shop.plain[new])
    for removal in retention.removals:
        match removal:
            case Delete(uuid=gone) | Hide(uuid=gone):
                assert gone in asked.doomed - asked.outside
        shelf.remove(removal)
    coming = {d.to for d, _ in asked.coming}
    assert not shelf.visible & asked.doomed - asked.outside - coming


@given(shops())
def test_a_stream_of_something_kept_goes_only_if_it_is_replaced(shop: Shop) -> None:
    mine = kept(shop.request)
    for removal in shop.settle().removals:
        if isinstance(removal, Discard):
            assert (removal.diff in mine) == (removal.reason is Reason.REPLACED)


@given(shops())
def test_it_never_takes_more_bytes_than_hiding_all_that_is_needed(shop: Shop) -> None:
    limits = shop.request.limits
    retention = shop.settle()
    added = sum(round(shop.plain[d] * limits.stored_fraction) for d in retention.replacements)
    stays = _stored_after(shop.request, retention) + added
    hiding = retain(replace(shop.request, source=None), {})
    assert stays + added <= _stored_after(shop.request, hiding)


def _stored_after(asked: RetentionRequest, retention: Retention) -> int:
    shelf = Shelf(asked)
    for removal in retention.removals:
        match removal:
            case Delete(uuid=gone):
                shelf.streams = {d: n for d, n in shelf.streams.items() if d.to != gone}
            case Discard(diff=gone_diff):
                del shelf.streams[gone_diff]
            case Hide():
                pass
    return sum(shelf.streams.values())


@given(shops(), st.randoms(use_true_random=False))
def test_the_order_of_the_facts_does_not_matter(shop: Shop, random: Random) -> None:
    asked = shop.request
    mixed = replace(
        asked,
        stored=tuple(random.sample(asked.stored, len(asked.stored))),
        snapshots=tuple(random.sample(asked.snapshots, len(asked.snapshots))),
    )
    other = Shop(request=mixed, plain=shop.plain)
    assert other.settle() == shop.settle()
    assert other.measured == shop.measured


@given(requests().filter(lambda asked: len(asked.stored) <= 9))
def test_as_much_goes_as_can_without_making_a_chain_longer(asked: RetentionRequest) -> None:
    """Of all sets of streams of links: the planned one can't be extended."""
    asked = replace(asked, source=None)
    retention = retain(asked, {})
    discards = [r for r in retention.removals if isinstance(r, Discard)]
    replaced = {r.diff for r in discards if r.reason is Reason.REPLACED}
    everything = {d: size for d, size in (*asked.coming, *asked.stored) if d not in replaced}
    staying = set(everything) - _gone(asked, retention)
    mine = kept(asked) - replaced
    before = best_chains(everything.items())

    def sound(streams: set[Diff]) -> bool:
        """Whether each kept stream still stands on all that it stood on."""
        after = best_chains((d, everything[d]) for d in streams)
        return all(
            after.costs.get(d.parent) == before.costs.get(d.parent)
            for d in mine
            if d.parent is not None
        ) and all(
            other in streams
            for d in streams
            if d.parent is not None and d.parent not in before.last
            for other in everything
            if other.to == d.parent
        )

    assert sound(staying)
    free = sorted(staying - mine)
    for more in _subsets(free):
        if more:
            assert not sound(staying - set(more)), f"{more} could go, too"


def _gone(asked: RetentionRequest, retention: Retention) -> set[Diff]:
    gone = {r.uuid for r in retention.removals if isinstance(r, Delete)}
    found = {d for d, _ in asked.stored if d.to in gone}
    return found | {r.diff for r in retention.removals if isinstance(r, Discard)}


def _subsets(items: list[Diff]) -> Iterator[tuple[Diff, ...]]:
    return chain.from_iterable(combinations(items, count) for count in range(len(items) + 1))


def test_long_histories_are_no_trouble() -> None:
    """Every other snapshot goes, and what builds on it is replaced."""
    count = 801
    streams = {(n, n - 1 or None): MIB for n in range(1, count + 1)}
    asked = request(streams, doomed=range(2, count, 2), source=range(1, count + 1, 2))
    plain: dict[Ends, int] = {(n, n - 2): MIB // 4 for n in range(3, count + 1)}
    retention = settle(asked, plain | {(n, None): n * MIB for n in range(1, count + 1)})
    assert len(retention.replacements) == count // 2
    assert sum(isinstance(r, Delete) for r in retention.removals) == count // 2

"""Which diffs are chosen for a destination of streams, with all sizes given."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buttersink.model import Certainty, Chain, ChainLimits, Diff, Size
from buttersink.plan import Reason
from buttersink.planning.chain_candidates import chain_candidates
from buttersink.planning.chaining import ChainChoice, choose_chains, default_limits
from support.chain_worlds import (
    FREE,
    all_sizes,
    best_of_all,
    diff,
    growth,
    kept,
    sends,
    sized,
    some_request,
    some_sizes,
    storing,
    total,
)
from support.planning_worlds import inventory, series, snapshot, uuid

INFINITE = float("inf")


def two_links(*, factor: float = INFINITE) -> ChainLimits:
    return ChainLimits(links=2, factor=factor)


# What is chosen


def test_the_first_of_all_is_stored_in_full_and_what_follows_as_diffs() -> None:
    sizes = sized({(1, None): 100, (2, None): 110, (2, 1): 10, (1, 2): 5})
    assert choose_chains(storing(series(2)), sizes) == ChainChoice(
        chosen={uuid(1): diff(1), uuid(2): diff(2, 1)},
        costs={uuid(1): Chain(1, 100), uuid(2): Chain(2, 110)},
        reasons={uuid(1): Reason.FIRST, uuid(2): Reason.CHEAPEST},
    )


def test_a_chain_that_is_at_its_limit_of_links_is_not_continued() -> None:
    request = storing(series(3), stored={diff(1): 100, diff(2, 1): 10}, limits=two_links())
    sizes = sized({(3, None): 100, (3, 2): 10, (3, 1): 25})
    choice = choose_chains(request, sizes)
    assert sends(choice) == [(3, 1)]
    assert choice.reasons[uuid(3)] is Reason.WITHIN_LIMITS
    assert choice.costs[uuid(3)] == Chain(2, 125)


def test_a_chain_that_is_at_its_limit_of_bytes_is_not_continued() -> None:
    limits = ChainLimits(links=9, factor=1.3)
    request = storing(series(3), stored={diff(1): 100, diff(2, 1): 25}, limits=limits)
    sizes = sized({(3, None): 100, (3, 2): 6, (3, 1): 30})
    assert sends(choose_chains(request, sizes)) == [(3, 1)]
    assert sends(choose_chains(request, sizes | sized({(3, 2): 5}))) == [(3, 2)]


def test_what_no_diff_brings_within_the_limits_begins_a_new_chain() -> None:
    request = storing(
        series(2), stored={diff(1): 100}, limits=ChainLimits(links=1, factor=INFINITE)
    )
    choice = choose_chains(request, sized({(2, None): 100, (2, 1): 1}))
    assert sends(choice) == [(2, None)]
    assert choice.reasons[uuid(2)] is Reason.NEW_CHAIN


def test_a_full_stream_that_takes_no_more_than_any_diff_is_chosen() -> None:
    request = storing(series(2), stored={diff(1): 100})
    choice = choose_chains(request, sized({(2, None): 9, (2, 1): 10}))
    assert choice.reasons == {uuid(2): Reason.FULL_CHEAPEST}


def test_a_snapshot_without_kin_is_stored_in_full() -> None:
    snapshots = [snapshot(1, lineage="a"), snapshot(2, lineage="b")]
    choice = choose_chains(storing(snapshots), {})
    assert set(choice.reasons.values()) == {Reason.ONLY_FULL}


def test_chains_that_are_beyond_the_limits_already_stay_but_get_no_longer() -> None:
    stored = {diff(1): 100, diff(2, 1): 10, diff(3, 2): 10}
    request = storing(series(4), stored=stored, limits=two_links())
    sizes = sized({(4, None): 100, (4, 3): 1, (4, 2): 2, (4, 1): 30})
    assert sends(choose_chains(request, sizes)) == [(4, 1)]


def test_a_stored_diff_that_leads_nowhere_is_no_parent() -> None:
    request = replace(storing(series(3), stored={diff(1): 100}), stored=((diff(2, 9), Size(10)),))
    request = replace(request, missing=request.source.snapshots)
    sizes = sized(
        {(n, None): 100 for n in (1, 2, 3)}
        | dict.fromkeys([(2, 1), (1, 2), (3, 2), (2, 3), (3, 1), (1, 3)], 9)
    )
    assert sends(choose_chains(request, sizes)) == [(1, None), (2, 1), (3, 2)]


def test_what_only_the_destination_has_is_no_parent_but_counts_in_chains() -> None:
    request = storing(
        series(3)[1:], stored={diff(1): 100, diff(2, 1): 10}, limits=ChainLimits(links=3, factor=2)
    )
    choice = choose_chains(request, sized({(3, None): 100, (3, 2): 10, (3, 1): 1}))
    assert sends(choice) == [(3, 2)]
    assert choice.costs[uuid(3)] == Chain(3, 120)


def test_stored_bytes_and_plain_ones_are_compared_by_the_part_that_is_stored() -> None:
    limits = ChainLimits(links=9, factor=1.2, stored_fraction=0.5)
    request = storing(series(2), stored={diff(1): 50}, limits=limits)
    choice = choose_chains(request, sized({(2, None): 100, (2, 1): 20}))
    assert choice.costs[uuid(2)] == Chain(2, 60)
    assert sends(choose_chains(request, sized({(2, None): 100, (2, 1): 22}))) == [(2, None)]


# What can't be made


def test_a_snapshot_of_which_nothing_can_be_made_is_left_out_and_its_neighbours_are_joined() -> (
    None
):
    request = storing(series(3))
    request = replace(request, impossible=frozenset({diff(2), diff(2, 1), diff(2, 3)}))
    sizes = sized({(n, None): 100 for n in (1, 3)} | {(3, 2): 1, (3, 1): 5, (1, 2): 1, (1, 3): 9})
    assert sends(choose_chains(request, sizes)) == [(1, None), (3, 1)]


def test_no_limit_is_broken_for_what_cannot_be_stored_in_full() -> None:
    request = storing(series(2), stored={diff(1): 100}, limits=ChainLimits(links=1, factor=2))
    request = replace(request, impossible=frozenset({diff(2)}))
    assert choose_chains(request, sized({(2, 1): 1})).chosen == {}


# Equals


def test_nothing_known_gives_the_series_of_nearest_predecessors() -> None:
    choice = choose_chains(storing(series(5)), {})
    assert sends(choice) == [(1, None), (2, 1), (3, 2), (4, 3), (5, 4)]


def test_of_equal_parents_the_nearest_is_taken_and_the_earlier_of_two_as_near() -> None:
    stored = {diff(1): 100, diff(3): 100, diff(4): 100}
    request = storing(series(4), stored=stored)
    sizes = sized({(2, None): 5, (2, 1): 5, (2, 3): 5, (2, 4): 5})
    assert sends(choose_chains(request, sizes)) == [(2, 1)]


@given(st.randoms(use_true_random=False), st.integers(0, 10**6), st.booleans())
def test_the_order_of_facts_does_not_matter(random: Random, seed: int, ahead: bool) -> None:  # noqa: FBT001 - drawn
    request = replace(some_request(Random(seed), most=7), look_ahead=ahead)
    sizes = some_sizes(Random(seed), request)
    snapshots = random.sample(request.source.snapshots, len(request.source.snapshots))
    mixed = replace(
        request,
        source=inventory(snapshots),
        missing=tuple(s for s in snapshots if s in request.missing),
        stored=tuple(random.sample(request.stored, len(request.stored))),
    )
    known = random.sample(list(sizes.items()), len(sizes))
    assert choose_chains(mixed, dict(known)) == choose_chains(request, sizes)


# How good it is


@pytest.mark.parametrize("seed", range(250))
def test_for_up_to_five_snapshots_the_choice_is_the_best_of_all(seed: int) -> None:
    request = some_request(Random(seed), most=5)
    sizes = some_sizes(Random(seed), request)
    choice = choose_chains(request, sizes)
    assert kept(request, sizes, choice.chosen)
    assert total(choice, sizes) == best_of_all(request, sizes)


@pytest.mark.parametrize("seed", range(18))
def test_for_up_to_nine_snapshots_the_choice_is_within_two_percent_of_the_best(seed: int) -> None:
    request = some_request(Random(seed), least=7, most=9)
    sizes = some_sizes(Random(seed), request)
    choice = choose_chains(request, sizes)
    assert kept(request, sizes, choice.chosen)
    assert total(choice, sizes) <= 1.02 * best_of_all(request, sizes)


@given(st.integers(0, 10**6))
def test_many_snapshots_keep_the_limits_and_take_no_more_than_a_simple_series(seed: int) -> None:
    random = Random(seed)
    request = some_request(random, least=15, most=40)
    sizes = some_sizes(random, request)
    choice = choose_chains(request, sizes)
    assert choice.chosen.keys() == {s.uuid for s in request.missing}
    assert kept(request, sizes, choice.chosen)
    assert total(choice, sizes) <= sum(sizes[Diff(s.uuid)].nbytes for s in request.missing)


@pytest.mark.parametrize(("full", "bound"), [(10**9, 1.01), (10**8, 1.25)])
def test_a_long_history_costs_little_more_for_the_limits(full: int, bound: float) -> None:
    request = storing(series(400), limits=default_limits())
    sizes = all_sizes(request, growth(full, lambda days: 10**6 * min(days, 30)))
    choice = choose_chains(request, sizes)
    assert kept(request, sizes, choice.chosen)
    free = choose_chains(replace(request, limits=FREE), sizes)
    # Past the limit of links one of 60 diffs spans 60 days, which takes 30 MB.
    jumps = 30 * 10**6 * 400 // 60
    assert total(choice, sizes) <= bound * (total(free, sizes) + jumps + full * (full < 10**9))


def test_costs_are_what_the_chains_come_to() -> None:
    request = some_request(Random(5), least=8, most=8)
    sizes = some_sizes(Random(5), request)
    choice = choose_chains(request, sizes)
    for to, last in choice.chosen.items():
        chain, step = Chain(0, 0), last
        stored = {d.to: (d, size.nbytes) for d, size in request.stored}
        while True:
            new = step.to in choice.chosen
            nbytes = (
                round(sizes[step].nbytes * request.limits.stored_fraction)
                if new
                else stored[step.to][1]
            )
            chain = Chain(chain.links + 1, chain.nbytes + nbytes)
            if step.parent is None:
                break
            parent = step.parent
            step = choice.chosen[parent] if parent in choice.chosen else stored[parent][0]
        assert choice.costs[to] == chain


# Candidates and bounds


@given(st.integers(1, 300), st.integers(0, 299))
def test_the_candidates_of_a_snapshot_are_few(count: int, there: int) -> None:
    snapshots = series(count)
    held = {s.uuid: Chain(n % 7 + 1, 100 * (n % 5 + 1)) for n, s in enumerate(snapshots[:there])}
    missing = snapshots[there:]
    candidates = chain_candidates(
        missing, inventory(snapshots), held, most_links=7, impossible=frozenset()
    )
    diffs = list(candidates.diffs())
    assert len(set(diffs)) == len(diffs)
    assert {d.to for d in diffs} == {s.uuid for s in missing}
    assert len(diffs) <= (6 + 4 * count.bit_length()) * len(missing)


def test_the_shallowest_parent_of_each_window_is_considered() -> None:
    snapshots = series(20)
    held = {s.uuid: Chain(2 if n == 12 else 9, 100) for n, s in enumerate(snapshots[:-1], 1)}
    candidates = chain_candidates(
        snapshots[-1:], inventory(snapshots), held, most_links=9, impossible=frozenset()
    )
    assert diff(20, 12) in set(candidates.diffs())


def test_a_full_stream_known_to_be_large_counts_as_the_one_that_is_known() -> None:
    request = storing(series(2), stored={diff(1): 100})
    sizes = {diff(2, 1): Size(10), diff(2): Size(10, Certainty.AT_LEAST)}
    assert sends(choose_chains(request, sizes)) == [(2, 1)]

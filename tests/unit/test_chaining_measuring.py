"""Choosing and measuring by turns, where sizes are hidden at first."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest

from buttersink.model import Certainty, ChainLimits, Diff, Measurement, Size
from buttersink.planning.chaining import chain_measurements, choose_chains, default_limits
from buttersink.planning.measuring import FIRST_LIMIT
from support.chain_worlds import all_sizes, choose_measuring, diff, growth, kept, storing, total
from support.planning_worlds import MIB, history, series, world_of

HALF = ChainLimits(links=20, factor=2.0, stored_fraction=0.5)


@pytest.mark.parametrize("seed", range(25))
def test_what_is_chosen_by_measuring_is_final_within_the_limits_and_nearly_as_good(
    seed: int,
) -> None:
    random = Random(seed)
    contents = history(
        random,
        count=random.randint(3, 20),
        pieces=random.randint(20, 60),
        added=random.randint(0, 3),
        removed=random.randint(0, 3),
    )
    world = world_of(contents)
    limits = ChainLimits(links=random.randint(2, 8), factor=random.choice((1.5, 2.0)))
    request = storing(world.request.wanted, limits=limits)
    measured = choose_measuring(request, world.size)
    truth = all_sizes(request, world.size)
    assert all(measured.sizes[d].exact for d in measured.choice.chosen.values())
    assert kept(request, truth, measured.choice.chosen)
    assert total(measured.choice, truth) <= 1.15 * total(choose_chains(request, truth), truth)


def test_a_long_history_takes_few_measurements_and_few_full_streams_to_the_end() -> None:
    world = world_of(history(Random(3), count=200, pieces=1000, added=1, removed=1))
    request = storing(world.request.wanted, limits=HALF)
    measured = choose_measuring(request, world.size)
    assert measured.rounds <= 30
    assert len(measured.measurements) <= 7 * 200
    to_the_end = {
        m.diff
        for m in measured.measurements
        if m.diff.parent is None and (m.limit is None or m.limit >= world.size(m.diff))
    }
    assert len(to_the_end) <= 10


def test_the_limit_of_bytes_is_proven_by_the_small_way_back_to_a_known_full_stream() -> None:
    request = storing(series(2), stored={diff(1): 1000 * MIB}, limits=default_limits())
    measured = choose_measuring(request, growth(1000 * MIB, lambda days: MIB * days))
    assert Diff(diff(2).to) not in measured.sizes or not measured.sizes[diff(2)].exact
    assert measured.sizes[diff(1, 2)] == Size(MIB)


def test_a_full_stream_is_looked_at_if_the_way_back_is_long() -> None:
    def rule(d: Diff) -> int:
        return {diff(2): 100 * MIB, diff(2, 1): MIB, diff(1, 2): 900 * MIB}[d]

    request = storing(series(2), stored={diff(1): 1000 * MIB}, limits=default_limits())
    measured = choose_measuring(request, rule)
    # Most was deleted: a chain over the old full stream would take ten times the new one.
    assert measured.choice.chosen == {diff(2).to: diff(2)}


def test_guesses_are_final() -> None:
    request = storing(series(3), limits=default_limits())
    sizes = {
        d: Size(nbytes.nbytes, Certainty.ESTIMATE)
        for d, nbytes in all_sizes(request, growth(100, lambda days: days)).items()
    }
    assert chain_measurements(request, sizes, choose_chains(request, sizes)) == ()


def test_the_nearest_predecessor_is_measured_first() -> None:
    request = storing(series(2), stored={diff(1): 100}, limits=default_limits())
    assert chain_measurements(request, {}, choose_chains(request, {})) == (
        Measurement(diff=diff(2, 1), limit=FIRST_LIMIT),
    )


def test_what_cannot_be_measured_in_full_still_comes_to_an_end() -> None:
    request = storing(series(3), stored={diff(1): 100 * MIB}, limits=default_limits())
    request = replace(request, impossible=frozenset({diff(2), diff(3), diff(1, 2), diff(1, 3)}))
    measured = choose_measuring(request, growth(100 * MIB, lambda days: MIB * days))
    assert measured.choice.chosen.keys() == {diff(2).to, diff(3).to}

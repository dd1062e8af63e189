"""What every store promises to those who ask little, as each question may have far to go."""

from __future__ import annotations

from itertools import permutations
from typing import TYPE_CHECKING

import pytest

from buttersink.errors import ButterSinkError, MissingError
from buttersink.model import Diff, Measurement, Mode, Size
from contract.arriving import STRANGER
from contract.carrying import OPTIONS, carry

if TYPE_CHECKING:
    from collections.abc import Iterable

    from contract.worlds import End, Offer

NAMES = ("1", "2", "3")


def measurements(source: Offer) -> list[Measurement]:
    """Return what to measure of every diff: all of it, and up to some limits."""
    diffs = [source.diff(name) for name in NAMES]
    diffs += [source.diff(to, parent) for to, parent in permutations(NAMES, 2)]
    return [Measurement(diff=d, limit=limit) for d in diffs for limit in (None, 1, 100, 1 << 20)]


def told(sizes: Iterable[Size | ButterSinkError], todo: Iterable[Measurement]) -> list[object]:
    """Return the sizes; how far measuring got where it was stopped is left out, as it is chance."""
    found: list[object] = []
    for size, measurement in zip(sizes, todo, strict=True):
        assert isinstance(size, Size)
        assert size.exact or (measurement.limit is not None and size.nbytes > measurement.limit)
        found.append(size if size.exact else measurement)
    return found


def test_measuring_each_of_several_tells_what_measuring_one_by_one_does(source: Offer) -> None:
    todo = measurements(source)
    one_by_one = [source.store.measure(m.diff, OPTIONS, m.limit) for m in todo]
    assert told(source.store.measure_each(todo, OPTIONS), todo) == told(one_by_one, todo)
    back = todo[::-1]
    assert told(source.store.measure_each(back, OPTIONS), back) == told(one_by_one[::-1], back)


def test_what_has_arrived_can_be_measured_like_what_was_there(
    source: Offer, destination: End
) -> None:
    sink = destination.open()
    diffs = [source.diff("1"), source.diff("2", "1")]
    for diff, path in zip(diffs, NAMES, strict=False):
        carry(source.store, sink, diff, path)
    todo = [Measurement(diff=diff, limit=None) for diff in diffs]
    assert list(sink.measure_each(todo, OPTIONS)) == [sink.measure(d, OPTIONS) for d in diffs]


def test_nothing_is_measured_where_nothing_is_asked_for(source: Offer) -> None:
    assert list(source.store.measure_each([], OPTIONS)) == []


@pytest.mark.parametrize("place", [0, 1, 2])
def test_what_cannot_be_measured_does_not_keep_the_others_from_it(
    source: Offer, place: int
) -> None:
    whole = [Measurement(diff=source.diff(name), limit=None) for name in ("1", "2")]
    bad = Measurement(diff=Diff(STRANGER, source.snapshot("1").uuid), limit=None)
    found = list(source.store.measure_each([*whole[:place], bad, *whole[place:]], OPTIONS))
    assert isinstance(found.pop(place), MissingError)
    assert found == list(source.store.measure_each(whole, OPTIONS))
    assert all(isinstance(size, Size) for size in found)


def test_measuring_each_of_several_changes_nothing(source: Offer) -> None:
    before = source.store.inventory()
    bad = Measurement(diff=Diff(STRANGER), limit=None)
    for result in source.store.measure_each([*measurements(source), bad], OPTIONS):
        assert isinstance(result, Size | ButterSinkError)
    assert source.store.inventory() == before
    assert source.end.open().inventory() == before


def test_what_lies_beside_the_directory_is_either_listed_or_told_of_when_asked_for(
    source: Offer, destination: End
) -> None:
    carry(source.store, destination.beside().open(), source.diff("1"), "beside")
    sink = destination.open()
    carry(source.store, sink, source.diff("2"), "here")
    before = sink.inventory()
    known = [source.snapshot(name).uuid for name in NAMES]
    told = sink.parents(known)
    assert [s.paths for s in told] == [()] * len(told)
    assert before.by_uuid().keys().isdisjoint(s.uuid for s in told)
    assert {s.uuid for s in told} <= set(known)
    assert list(told) == sorted(told, key=lambda s: s.uuid)
    assert sink.parents([STRANGER]) == sink.parents([]) == ()
    assert sink.inventory() == before


def test_what_is_listed_or_told_of_can_be_built_on(source: Offer, destination: End) -> None:
    first = source.snapshot("1").uuid
    carry(source.store, destination.beside().open(), Diff(first), "beside")
    sink = destination.open()
    usable = {s.uuid for s in (*sink.inventory().snapshots, *sink.parents([first]))}
    if first not in usable:
        return  # nothing beside a prefix is part of an end of streams, unless it is asked for
    carry(source.store, sink, source.diff("2", "1"), "2")
    assert destination.content("2") == source.end.content("2")


def test_an_end_that_may_be_changed_says_so(destination: End) -> None:
    assert destination.open().mode is Mode.WRITE

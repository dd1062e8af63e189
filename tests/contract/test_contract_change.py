"""What every store promises of adopting, deleting, cleaning; see docs/store-contract.md."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from buttersink.errors import ButterSinkError, MissingError
from buttersink.model import Diff, Partial
from contract.arriving import STRANGER, assert_nothing_arrived, at, paths
from contract.carrying import carry

if TYPE_CHECKING:
    from contract.worlds import End, Offer


# Adopting, copying


def test_adopt_of_a_snapshot_that_is_not_there_is_missing(source: Offer, destination: End) -> None:
    sink = destination.open()
    with pytest.raises(MissingError):
        sink.adopt(source.snapshot("1"), "1")
    assert_nothing_arrived(sink, "1")


def test_a_stream_of_another_service_is_not_copied(source: Offer, destination: End) -> None:
    sink = destination.open()
    before = sink.inventory()
    for link in (False, True):
        assert sink.copy(source.store, source.diff("1"), "1", link=link) is None
    assert sink.inventory() == before
    assert_nothing_arrived(sink, "1")


# Removing, flushing


def test_delete_removes_exactly_that_snapshot(source: Offer, destination: End) -> None:
    sink = destination.open()
    carry(source.store, sink, source.diff("1"), "1")
    carry(source.store, sink, source.diff("2", "1"), "dir/2")
    carry(source.store, sink, source.diff("3", "1"), "dir/3")
    destination.occupy("dir/file")
    sink.inventory()
    sink.delete(source.snapshot("2").uuid, "dir/2")
    assert paths(sink) == ["1", "dir/3"]
    assert_nothing_arrived(sink, "dir/2")
    assert destination.is_occupied("dir/file")
    assert destination.content("dir/3") == source.end.content("3")
    assert destination.content("1") == source.end.content("1")


def test_delete_of_another_identity_or_path_deletes_nothing(
    source: Offer, destination: End
) -> None:
    sink = destination.open()
    carry(source.store, sink, source.diff("1"), "1")
    carry(source.store, sink, source.diff("2", "1"), "2")
    destination.occupy("file")
    before = sink.inventory()
    one, two = source.snapshot("1").uuid, source.snapshot("2").uuid
    for uuid, path in [(two, "1"), (one, "2"), (STRANGER, "1"), (one, "3"), (one, "file")]:
        with pytest.raises(MissingError):
            sink.delete(uuid, path)
    assert sink.inventory() == before
    assert destination.is_occupied("file")


def test_delete_of_what_has_been_replaced_since_the_inventory_deletes_nothing(
    source: Offer, destination: End
) -> None:
    sink, other = destination.open(), destination.open()
    carry(source.store, sink, source.diff("1"), "1")
    sink.inventory()
    destination.remove("1")
    carry(source.store, other, source.diff("2"), "1")
    with pytest.raises(MissingError):
        sink.delete(source.snapshot("1").uuid, "1")
    assert at(sink, "1").uuid == source.snapshot("2").uuid


def test_delete_of_what_has_gone_since_the_inventory_is_missing(
    source: Offer, destination: End
) -> None:
    sink = destination.open()
    carry(source.store, sink, source.diff("1"), "1")
    sink.inventory()
    destination.remove("1")
    with pytest.raises(MissingError):
        sink.delete(source.snapshot("1").uuid, "1")


def test_what_is_not_there_can_not_be_hidden_or_discarded_or_released(
    source: Offer, destination: End
) -> None:
    sink = destination.open()
    carry(source.store, sink, source.diff("1"), "1")
    before = sink.inventory()
    one = source.snapshot("1").uuid
    for uuid, path in [(STRANGER, "1"), (one, "2"), (STRANGER, "2")]:
        with pytest.raises(MissingError):
            sink.hide(uuid, path)
        with pytest.raises(MissingError):
            sink.discard(Diff(uuid), path)
    with pytest.raises(MissingError):
        sink.discard(Diff(one, STRANGER), "1")
    for uuid in (STRANGER, one):
        with pytest.raises(MissingError):
            sink.release(uuid)
    assert sink.inventory() == before


def test_clean_removes_a_partial_and_nothing_else(source: Offer, destination: End) -> None:
    sink = destination.open()
    carry(source.store, sink, source.diff("1"), "1")
    destination.leave_partial(STRANGER)
    destination.leave_partial(source.snapshot("1").uuid)
    (one,) = (p for p in sink.inventory().partials if p.uuid == STRANGER)
    sink.clean(one)
    inventory = sink.inventory()
    assert [partial.uuid for partial in inventory.partials] == [source.snapshot("1").uuid]
    assert paths(sink) == ["1"]
    assert sink.taken([one.path]) == frozenset()


def test_clean_of_what_is_no_partial_removes_nothing(source: Offer, destination: End) -> None:
    sink = destination.open()
    carry(source.store, sink, source.diff("1"), "1")
    destination.occupy("file")
    before = sink.inventory()
    for path in ("1", "file", "nothing"):
        with pytest.raises(ButterSinkError):
            sink.clean(Partial(path=path))
    assert sink.inventory() == before
    assert destination.is_occupied("file")


def test_flush_changes_nothing(source: Offer, destination: End) -> None:
    sink = destination.open()
    carry(source.store, sink, source.diff("1"), "1")
    before = sink.inventory()
    sink.flush()
    assert sink.inventory() == before


def test_closing_a_store_leaves_the_end_to_others(source: Offer, destination: End) -> None:
    other = destination.open()
    carry(source.store, other, source.diff("1"), "1")
    assert paths(other) == paths(destination.open()) == ["1"]

"""What every store promises of adopting, deleting, cleaning; see docs/store-contract.md."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from buttersink.errors import (
    ButterSinkError,
    MissingError,
    PathTakenError,
)
from buttersink.model import Partial
from contract.arriving import STRANGER, at, paths
from contract.carrying import carry

if TYPE_CHECKING:
    from contract.worlds import End, Offer


# Adopting


def test_a_snapshot_outside_the_directory_is_known_but_has_no_path_there(
    source: Offer, destination: End
) -> None:
    sink, beside = destination.open(), destination.beside().open()
    carry(source.store, beside, source.diff("1"), "1")
    (snapshot,) = sink.inventory().snapshots
    assert (snapshot.uuid, snapshot.paths) == (source.snapshot("1").uuid, ())
    assert len(snapshot.elsewhere) == 1
    assert sink.taken(["1"]) == frozenset()


def test_adopt_puts_a_snapshot_in_place_with_its_identity_and_content(
    source: Offer, destination: End
) -> None:
    sink, beside = destination.open(), destination.beside().open()
    carry(source.store, beside, source.diff("1"), "1")
    (snapshot,) = sink.inventory().snapshots
    sink.adopt(snapshot, "12/adopted")
    (adopted,) = sink.inventory().snapshots
    assert (adopted.uuid, adopted.paths) == (snapshot.uuid, ("12/adopted",))
    assert len(adopted.elsewhere) == 1  # it was not moved
    assert destination.content("12/adopted") == source.end.content("1")
    assert paths(beside) == ["1"]


def test_an_adopted_snapshot_serves_as_parent(source: Offer, destination: End) -> None:
    sink, beside = destination.open(), destination.beside().open()
    carry(source.store, beside, source.diff("1"), "1")
    (snapshot,) = sink.inventory().snapshots
    sink.adopt(snapshot, "1")
    beside.inventory()
    beside.delete(source.snapshot("1").uuid, "1")
    sink.inventory()
    carry(source.store, sink, source.diff("2", "1"), "2")
    assert destination.content("2") == source.end.content("2")


def test_adopt_refuses_a_path_that_is_taken(source: Offer, destination: End) -> None:
    sink, beside = destination.open(), destination.beside().open()
    carry(source.store, beside, source.diff("1"), "1")
    (snapshot,) = sink.inventory().snapshots
    destination.occupy("file")
    for path in ("file", "file/below"):
        with pytest.raises(PathTakenError):
            sink.adopt(snapshot, path)
    assert sink.inventory().snapshots == (snapshot,)


def test_adopt_of_a_snapshot_that_is_not_there_is_missing(source: Offer, destination: End) -> None:
    sink, beside = destination.open(), destination.beside()
    with pytest.raises(MissingError):
        sink.adopt(source.snapshot("1"), "1")
    carry(source.store, beside.open(), source.diff("1"), "1")
    (snapshot,) = sink.inventory().snapshots
    beside.remove("1")
    with pytest.raises(MissingError):
        sink.adopt(snapshot, "1")
    assert sink.taken(["1"]) == frozenset()
    assert paths(sink) == []


# Deleting, cleaning, flushing


def test_delete_removes_exactly_that_snapshot(source: Offer, destination: End) -> None:
    sink = destination.open()
    carry(source.store, sink, source.diff("1"), "1")
    carry(source.store, sink, source.diff("2", "1"), "dir/2")
    carry(source.store, sink, source.diff("3", "2"), "dir/3")
    destination.occupy("dir/file")
    sink.inventory()
    sink.delete(source.snapshot("2").uuid, "dir/2")
    assert paths(sink) == ["1", "dir/3"]
    assert sink.taken(["dir/2", "dir/file"]) == {"dir/file"}
    assert destination.content("dir/3") == source.end.content("3")
    assert destination.content("1") == source.end.content("1")


def test_delete_at_one_of_two_paths_leaves_the_other(source: Offer, destination: End) -> None:
    sink = destination.open()
    carry(source.store, sink, source.diff("1"), "a")
    sink.adopt(at(sink, "a"), "b")
    assert at(sink, "a").paths == ("a", "b")
    sink.delete(source.snapshot("1").uuid, "a")
    assert at(sink, "b").paths == ("b",)
    assert destination.content("b") == source.end.content("1")


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
    assert sink.taken(["file"]) == {"file"}


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
    assert sink.taken(["file"]) == {"file"}


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

"""What every store of subvolumes promises beyond what others do; see docs/store-contract.md.

Such a store can make any diff between its snapshots, and each path has room for one snapshot.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from buttersink.errors import (
    ButterSinkError,
    MissingError,
    NoSpaceError,
    PathTakenError,
)
from contract.arriving import assert_arrives, assert_nothing_arrived, at, paths
from contract.carrying import OPTIONS, carry, read_stream, write_stream
from contract.worlds import CRAMPED_BYTES, Offer

if TYPE_CHECKING:
    from buttersink.store import Sink
    from contract.worlds import End, World

pytestmark = pytest.mark.usefixtures("subvolume_world")


@dataclass(frozen=True, slots=True)
class Spare:
    """A snapshot that can be adopted by the destination, and is "1" of the source.

    Attributes:
        end: Where it is: beside the destination, or in it, if that tells of nothing outside.
        path: Its path there.
        store: A store for `end`.
    """

    end: End
    path: str
    store: Sink


@pytest.fixture
def spare(subvolume_world: World, source: Offer, destination: End) -> Spare:
    end = destination.beside() if subvolume_world.lists_outside else destination
    store = end.open()
    carry(source.store, store, source.diff("1"), "spare")
    return Spare(end, "spare", store)


# Reading


def test_an_end_of_subvolumes_makes_any_diff_and_stores_none(
    source: Offer, destination: End
) -> None:
    sink = destination.open()
    carry(source.store, sink, source.diff("1"), "1")
    inventory = sink.inventory()
    assert (inventory.makes_any_diff, inventory.stored) == (True, ())
    assert sink.stored_fraction() is None


def test_taken_tells_exactly_those_paths_at_which_anything_is(
    source: Offer, destination: End
) -> None:
    sink = destination.open()
    carry(source.store, sink, source.diff("1"), "12/snapshot")
    destination.occupy("file")
    asked = ["12", "12/snapshot", "12/other", "file", "file/below", "13", "snapshot", "fil"]
    assert sink.taken(asked) == {"12", "12/snapshot", "file", "file/below"}
    assert sink.taken([]) == frozenset()


def test_a_snapshot_outside_the_directory_is_known_but_has_no_path_there(
    subvolume_world: World, source: Offer, destination: End
) -> None:
    sink, beside = destination.open(), destination.beside().open()
    carry(source.store, beside, source.diff("1"), "1")
    uuid = source.snapshot("1").uuid
    listed, told = sink.inventory().snapshots, sink.parents([uuid])
    assert (len(listed), len(told)) == ((1, 0) if subvolume_world.lists_outside else (0, 1))
    (snapshot,) = listed + told
    assert (snapshot.uuid, snapshot.paths, snapshot.received) == (uuid, (), True)
    assert len(snapshot.elsewhere) == len(listed)
    assert sink.taken(["1"]) == frozenset()


def test_a_snapshot_outside_the_directory_that_is_not_listed_is_a_parent_and_nothing_else(
    subvolume_world: World, source: Offer, destination: End
) -> None:
    beside = destination.beside()
    carry(source.store, beside.open(), source.diff("1"), "1")
    sink = destination.open()
    diff, back = source.diff("2", "1"), source.diff("1", "2")
    carry(source.store, sink, diff, "2")
    assert destination.content("2") == source.end.content("2")
    assert sink.measure(diff, OPTIONS).nbytes == len(read_stream(sink, diff))
    outside = next(
        s for s in (*sink.inventory().snapshots, *sink.parents([back.to])) if not s.paths
    )
    if subvolume_world.lists_outside:
        assert sink.measure(back, OPTIONS).nbytes == len(read_stream(sink, back))
        return  # and it can be adopted, see below
    for forbidden in (back, source.diff("1")):
        with pytest.raises(MissingError):
            sink.measure(forbidden, OPTIONS)
        with pytest.raises(MissingError):
            read_stream(sink, forbidden)
    with pytest.raises(MissingError):
        sink.adopt(outside, "1")
    with pytest.raises(MissingError):
        sink.delete(outside.uuid, "1")
    assert paths(sink) == ["2"]
    assert paths(beside.open()) == ["1"]


# Receiving


def test_what_is_received_is_known_to_be_received_and_takes_its_path(
    source: Offer, destination: End
) -> None:
    sink = destination.open()
    for name in ("b\udcff\udcfe not UTF-8", "new\nline", "a/b/c/snapshot", "a/snapshot"):
        carry(source.store, sink, source.diff("1"), name)
        assert at(sink, name).received
        assert sink.taken([name]) == {name}
    assert sink.taken(["a", "a/b", "a/b/c"]) == {"a", "a/b", "a/b/c"}


def test_what_is_received_remembers_the_order_of_its_origin(
    source: Offer, destination: End
) -> None:
    sink = destination.open()
    carry(source.store, sink, source.diff("3"), "3")
    carry(source.store, sink, source.diff("1", "3"), "1")
    carry(source.store, sink, source.diff("2", "3"), "2")
    snapshots = sink.inventory().snapshots
    by_origin = sorted(snapshots, key=lambda s: s.origin_generation)
    assert [s.path for s in by_origin] == ["1", "2", "3"]


def test_a_parent_outside_the_directory_serves_as_well(source: Offer, destination: End) -> None:
    carry(source.store, destination.beside().open(), source.diff("1"), "elsewhere")
    assert_arrives(source, destination, source.diff("2", "1"), "2")


def test_a_path_that_is_taken_is_left_as_it_is(source: Offer, destination: End) -> None:
    sink = destination.open()
    carry(source.store, sink, source.diff("1"), "dir/1")
    destination.occupy("file")
    before = sink.inventory()
    for path in ("dir/1", "dir", "file"):
        with pytest.raises(PathTakenError):
            carry(source.store, sink, source.diff("2", "1"), path)
    assert sink.inventory() == before
    assert sink.taken(["file"]) == {"file"}
    assert destination.content("dir/1") == source.end.content("1")


@pytest.mark.parametrize("path", ["file/snapshot", "file/dir/snapshot", "dir/file/snapshot"])
def test_a_path_below_what_is_no_directory_counts_as_taken(
    source: Offer, destination: End, path: str
) -> None:
    sink = destination.open()
    carry(source.store, sink, source.diff("1"), "dir/1")
    occupied = path[: path.index("file") + 4]
    destination.occupy(occupied)
    with pytest.raises(PathTakenError):
        carry(source.store, sink, source.diff("2", "1"), path)
    assert sink.taken([occupied]) == {occupied}


def test_a_path_that_is_taken_while_receiving_is_left_as_it_is(
    source: Offer, destination: End
) -> None:
    sink = destination.open()
    diff = source.diff("1")
    with pytest.raises(PathTakenError), sink.receive(diff, "dir/1", OPTIONS) as writer:  # noqa: PT012 - the block is what is tested
        write_stream(writer, read_stream(source.store, diff))
        destination.occupy("dir/1")
    assert sink.inventory().snapshots == ()
    assert sink.taken(["dir/1"]) == {"dir/1"}


def test_nothing_can_be_put_inside_a_snapshot(source: Offer, destination: End) -> None:
    sink = destination.open()
    carry(source.store, sink, source.diff("1"), "1")
    for path in ("1/2", "1/dir/2"):
        with pytest.raises(ButterSinkError):
            carry(source.store, sink, source.diff("2", "1"), path)
        assert_nothing_arrived(sink, path)
    assert destination.content("1") == source.end.content("1")


def test_a_stream_too_large_for_the_end_finds_no_space(subvolume_world: World) -> None:
    source = Offer(subvolume_world.source(1, nbytes=CRAMPED_BYTES))
    destination = subvolume_world.cramped_destination()
    sink = destination.open()
    with pytest.raises(NoSpaceError):
        carry(source.store, sink, source.diff("1"), "dir/1")
    assert_nothing_arrived(sink, "dir/1")


# Adopting


def test_adopt_puts_a_snapshot_in_place_with_its_identity_and_content(
    source: Offer, destination: End, spare: Spare
) -> None:
    sink = destination.open()
    (snapshot,) = sink.inventory().snapshots
    sink.adopt(snapshot, "12/adopted")
    (adopted,) = sink.inventory().snapshots
    assert adopted.uuid == snapshot.uuid == source.snapshot("1").uuid
    assert "12/adopted" in adopted.paths
    assert len(adopted.paths + adopted.elsewhere) == 2  # it was not moved
    assert destination.content("12/adopted") == source.end.content("1")
    assert spare.path in paths(spare.store)


def test_an_adopted_snapshot_serves_as_parent(
    source: Offer, destination: End, spare: Spare
) -> None:
    sink = destination.open()
    (snapshot,) = sink.inventory().snapshots
    sink.adopt(snapshot, "1")
    spare.store.inventory()
    spare.store.delete(source.snapshot("1").uuid, spare.path)
    sink.inventory()
    carry(source.store, sink, source.diff("2", "1"), "2")
    assert destination.content("2") == source.end.content("2")


@pytest.mark.usefixtures("spare")
def test_adopt_refuses_a_path_that_is_taken(destination: End) -> None:
    sink = destination.open()
    (snapshot,) = sink.inventory().snapshots
    destination.occupy("file")
    for path in ("file", "file/below"):
        with pytest.raises(PathTakenError):
            sink.adopt(snapshot, path)
    assert sink.inventory().snapshots == (snapshot,)


def test_adopt_of_a_snapshot_that_has_gone_since_the_inventory_is_missing(
    destination: End, spare: Spare
) -> None:
    sink = destination.open()
    (snapshot,) = sink.inventory().snapshots
    spare.end.remove(spare.path)
    with pytest.raises(MissingError):
        sink.adopt(snapshot, "1")
    assert sink.taken(["1"]) == frozenset()
    assert paths(sink) == []


# Removing


def test_delete_at_one_of_two_paths_leaves_the_other(source: Offer, destination: End) -> None:
    sink = destination.open()
    carry(source.store, sink, source.diff("1"), "a")
    sink.adopt(at(sink, "a"), "b")
    assert at(sink, "a").paths == ("a", "b")
    sink.delete(source.snapshot("1").uuid, "a")
    assert at(sink, "b").paths == ("b",)
    assert destination.content("b") == source.end.content("1")


def test_delete_of_what_another_was_received_on_leaves_that_whole(
    source: Offer, destination: End
) -> None:
    sink = destination.open()
    carry(source.store, sink, source.diff("1"), "1")
    carry(source.store, sink, source.diff("2", "1"), "2")
    sink.delete(source.snapshot("1").uuid, "1")
    assert paths(sink) == ["2"]
    assert destination.content("2") == source.end.content("2")


def test_there_are_no_streams_to_hide_or_discard(source: Offer, destination: End) -> None:
    sink = destination.open()
    diff = source.diff("1")
    carry(source.store, sink, diff, "1")
    before = sink.inventory()
    with pytest.raises(MissingError):
        sink.hide(diff.to, "1")
    with pytest.raises(MissingError):
        sink.discard(diff, "1")
    assert sink.inventory() == before


def test_of_very_many_paths_those_that_are_taken_are_found(source: Offer, destination: End) -> None:
    sink = destination.open()
    carry(source.store, sink, source.diff("1"), "there")
    many = [f"free {number}" for number in range(60_000)]
    assert sink.taken([*many, "there"]) == {"there"}
    assert sink.taken(["there", *many]) == {"there"}

"""What every store of streams promises of removing and copying; see docs/store-contract.md."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from buttersink.errors import MissingError, PathTakenError, RefusedError
from buttersink.storing import Storing
from contract.arriving import paths
from contract.carrying import carry
from contract.stream_worlds import name

if TYPE_CHECKING:
    from buttersink.stores.streams import StreamStore
    from contract.stream_worlds import StreamEnd
    from contract.worlds import Offer


@pytest.fixture
def sink(end: StreamEnd) -> StreamStore:
    return end.open()


# Removing


def test_what_is_deleted_lies_in_the_trash_with_its_receipt(
    source: Offer, end: StreamEnd, sink: StreamStore
) -> None:
    one, two = source.diff("1"), source.diff("2", "1")
    carry(source.store, sink, one, "1")
    carry(source.store, sink, two, "dir/2", link=True)
    before = {key: end.data(key) for key in end.listed()}
    sink.discard(two, "dir/2")
    sink.delete(one.to, "1")
    assert end.listed() == []
    assert set(end.trashed()) == {key for key in before if not key.endswith(".hidden")}
    for key in end.trashed():
        thing = end.shelf.stat(f"trash/{end.prefix}{key}")
        assert thing is not None
        assert end.shelf.read(thing, 0, thing.nbytes) == before[key]
    assert (end.open().inventory().snapshots, end.open().inventory().foreign) == ((), 0)
    carry(source.store, sink, one, "1")  # the place is free
    sink.delete(one.to, "1")  # and the one in the trash is replaced


def test_without_trash_what_is_deleted_is_gone(source: Offer, end: StreamEnd) -> None:
    sink = end.open(Storing(trash=False))
    diff = source.diff("1")
    carry(source.store, sink, diff, "1")
    sink.delete(diff.to, "1")
    assert (end.listed(), end.trashed()) == ([], [])


def test_without_trash_what_was_replaced_since_the_inventory_is_not_deleted(
    source: Offer, end: StreamEnd
) -> None:
    sink = end.open(Storing(trash=False))
    diff = source.diff("1")
    carry(source.store, sink, diff, "1")
    end.put(name(diff, "1"), b"something else")
    with pytest.raises(MissingError):
        sink.delete(diff.to, "1")
    assert end.data(name(diff, "1")) == b"something else"


@pytest.mark.parametrize("hidden", [False, True], ids=["shown", "hidden"])
def test_what_the_chain_of_a_shown_snapshot_leads_over_is_not_removed(
    source: Offer, end: StreamEnd, sink: StreamStore, *, hidden: bool
) -> None:
    one, two, three = source.diff("1"), source.diff("2", "1"), source.diff("3", "2")
    carry(source.store, sink, one, "1")
    carry(source.store, sink, two, "2", link=hidden)
    carry(source.store, sink, three, "3")
    before = sink.inventory()
    with pytest.raises(RefusedError, match="3 could not be restored" if hidden else "2 could not"):
        sink.delete(one.to, "1")
    for diff, path in ((one, "1"), (two, "2"), (three, "3")):
        with pytest.raises(RefusedError):
            sink.discard(diff, path)
    assert (sink.inventory(), end.trashed()) == (before, [])
    sink.delete(three.to, "3")
    sink.discard(two, "2") if hidden else sink.delete(two.to, "2")
    sink.delete(one.to, "1")
    assert sink.inventory().snapshots == ()


def test_one_of_several_streams_can_be_discarded_if_another_leads_there(
    source: Offer, end: StreamEnd, sink: StreamStore
) -> None:
    one, full, other = source.diff("1"), source.diff("2"), source.diff("2", "1")
    for diff, path in ((one, "1"), (full, "2"), (other, "2")):
        carry(source.store, sink, diff, path)
    sink.discard(other, "2")
    assert [diff for diff, _ in sink.inventory().stored if diff.to == full.to] == [full]
    with pytest.raises(RefusedError):
        sink.discard(full, "2")
    with pytest.raises(MissingError):
        sink.discard(other, "2")
    sink.delete(one.to, "1")
    assert end.content("2") == source.end.content("2")


def test_delete_takes_all_streams_of_a_snapshot(source: Offer, sink: StreamStore) -> None:
    one, full, other = source.diff("1"), source.diff("2"), source.diff("2", "1")
    for diff, path in ((one, "1"), (full, "2"), (other, "2")):
        carry(source.store, sink, diff, path)
    sink.delete(full.to, "2")
    assert [diff for diff, _ in sink.inventory().stored] == [one]


def test_what_no_longer_can_be_restored_may_be_removed(source: Offer, sink: StreamStore) -> None:
    one, two = source.diff("1"), source.diff("2", "1")
    carry(source.store, sink, one, "1")
    carry(source.store, sink, two, "2")
    sink.hide(two.to, "2")
    sink.delete(one.to, "1")  # only a hidden one loses its chain
    sink.discard(two, "2")
    assert sink.inventory().snapshots == ()


# Copying


def test_a_copy_has_the_bytes_and_the_receipt_and_serves_as_the_stream_does(
    source: Offer, end: StreamEnd, sink: StreamStore
) -> None:
    one, two = source.diff("1"), source.diff("2", "1")
    carry(source.store, sink, one, "1")
    carry(source.store, sink, two, "2")
    there = end.beside()
    other = there.open()
    with pytest.raises(MissingError):
        other.copy(sink, two, "2")
    assert other.copy(sink, one, "dir/1", link=True) == len(end.data(name(one, "1")))
    assert other.copy(sink, two, "2") == len(end.data(name(two, "2")))
    assert there.data(name(two, "2")) == end.data(name(two, "2"))
    assert there.data(name(one, "dir/1", ".zst.json")) == end.data(name(one, "1", ".zst.json"))
    assert paths(there.open()) == ["2"]
    assert there.content("2") == source.end.content("2")
    with pytest.raises(PathTakenError):
        other.copy(sink, two, "2")
    with pytest.raises(MissingError):
        other.copy(sink, source.diff("3"), "3")

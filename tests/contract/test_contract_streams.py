"""What every store of streams promises beyond what others do; see docs/store-contract.md."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from buttersink.errors import MissingError, PathTakenError, RefusedError
from buttersink.model import Diff, StreamOptions
from buttersink.storing import Storing
from contract.arriving import STRANGER, at, paths
from contract.carrying import carry, read_stream, store_stream, write_stream
from contract.memory_streams import Image, apply_stream, make_stream
from support.golden_bucket import example_streams, golden_bucket

if TYPE_CHECKING:
    from buttersink.stores.streams import StreamStore
    from contract.stream_worlds import StreamEnd
    from contract.worlds import Offer


@pytest.fixture
def sink(end: StreamEnd) -> StreamStore:
    return end.open()


def name(diff: Diff, path: str, suffix: str = ".zst") -> str:
    """Return the key below the prefix."""
    return f"{path}/{diff.to}_{diff.parent}{suffix}"


# What is stored


def test_a_stream_is_one_object_with_its_receipt_beside_it(
    source: Offer, end: StreamEnd, sink: StreamStore
) -> None:
    diff = source.diff("1")
    carry(source.store, sink, diff, "dir/1")
    assert end.keys() == [name(diff, "dir/1"), name(diff, "dir/1", ".zst.json")]
    inventory = sink.inventory()
    ((stored, size),) = inventory.stored
    assert (stored, size.nbytes) == (diff, len(end.data(name(diff, "dir/1"))))
    assert (inventory.makes_any_diff, inventory.foreign, inventory.problems) == (False, 0, ())


def test_what_is_not_to_be_compressed_is_stored_as_it_came(source: Offer, end: StreamEnd) -> None:
    sink = end.open(Storing(level=None))
    diff = source.diff("1")
    carry(source.store, sink, diff, "1")
    assert end.data(name(diff, "1", "")) == read_stream(source.store, diff)
    assert read_stream(sink, diff) == read_stream(source.store, diff)
    assert sink.stored_fraction() == 1


def test_compressed_data_of_which_nothing_can_be_gained_is_stored_as_it_came(
    source: Offer, end: StreamEnd, sink: StreamStore
) -> None:
    diff = source.diff("1")
    stream = read_stream(source.store, diff, StreamOptions(version=2))
    options = StreamOptions(version=2, compressed=True)
    with sink.receive(diff, "1", options) as writer:
        write_stream(writer, stream)
    assert end.data(name(diff, "1", "")) == stream
    assert writer.stored_bytes == len(stream)
    assert read_stream(sink, diff, options) == stream


def test_compressed_data_of_which_something_can_be_gained_is_compressed(
    source: Offer, end: StreamEnd, sink: StreamStore
) -> None:
    diff = source.diff("2", "1")  # hardly any of it is random
    carry(source.store, sink, source.diff("1"), "1")
    with sink.receive(diff, "2", StreamOptions(version=2, compressed=True)) as writer:
        write_stream(writer, read_stream(source.store, diff))
    assert len(end.data(name(diff, "2"))) == writer.stored_bytes < writer.plain_bytes


def test_the_writer_and_the_reader_tell_what_is_stored(
    source: Offer, end: StreamEnd, sink: StreamStore
) -> None:
    diff = source.diff("1")
    options = StreamOptions(version=1)
    with sink.receive(diff, "1", options) as writer:
        write_stream(writer, read_stream(source.store, diff))
    nbytes = len(end.data(name(diff, "1")))
    assert (writer.stored_bytes, writer.resumed_bytes) == (nbytes, 0)
    with sink.send(diff, options) as reader:
        while reader.readinto(memoryview(bytearray(1 << 16))):
            assert reader.stored_bytes <= nbytes
        assert reader.stored_bytes == nbytes


def test_the_stored_fraction_is_what_the_receipts_tell(
    source: Offer, end: StreamEnd, sink: StreamStore
) -> None:
    carry(source.store, sink, source.diff("1"), "1")
    carry(source.store, sink, source.diff("2", "1"), "2")
    diffs = (source.diff("1"), source.diff("2", "1"))
    stored = sum(size.nbytes for _, size in sink.inventory().stored)
    plain = sum(len(read_stream(source.store, diff)) for diff in diffs)
    assert end.open().stored_fraction() == stored / plain


def test_several_snapshots_can_have_one_path(
    source: Offer, end: StreamEnd, sink: StreamStore
) -> None:
    one, two = source.diff("1"), source.diff("2", "1")
    carry(source.store, sink, one, "same")
    carry(source.store, sink, two, "same")
    assert {s.uuid: s.paths for s in sink.inventory().snapshots} == {
        one.to: ("same",),
        two.to: ("same",),
    }
    sink.delete(two.to, "same")
    assert at(sink, "same").uuid == one.to
    assert end.content("same") == source.end.content("1")


def test_several_streams_of_a_snapshot_are_one_snapshot(source: Offer, sink: StreamStore) -> None:
    diffs = [source.diff("1"), source.diff("2"), source.diff("2", "1")]
    for diff, path in zip(diffs, ("1", "2", "2"), strict=True):
        carry(source.store, sink, diff, path)
    inventory = sink.inventory()
    assert {diff for diff, _ in inventory.stored} == set(diffs)
    assert [s.paths for s in inventory.snapshots] == [("1",), ("2",)]
    assert len({s.lineage for s in inventory.snapshots}) == 1


# Hidden streams


def test_a_link_is_hidden_and_serves_as_parent(
    source: Offer, end: StreamEnd, sink: StreamStore
) -> None:
    one, two = source.diff("1"), source.diff("2", "1")
    carry(source.store, sink, one, "1", link=True)
    inventory = sink.inventory()
    assert (inventory.inside(), inventory.partials) == ((), ())
    (link,) = inventory.snapshots
    assert (link.uuid, link.paths, link.elsewhere) == (one.to, (), ("1",))
    carry(source.store, sink, two, "2")
    assert read_stream(end.open(), one) == read_stream(source.store, one)
    assert end.content("2") == source.end.content("2")


def test_hidden_and_adopted_a_snapshot_is_what_it_was(
    source: Offer, end: StreamEnd, sink: StreamStore
) -> None:
    diff = source.diff("1")
    carry(source.store, sink, diff, "1")
    before, stored = sink.inventory(), end.keys()
    sink.hide(diff.to, "1")
    (hidden,) = end.open().inventory().snapshots
    assert (hidden.uuid, hidden.paths, hidden.elsewhere) == (diff.to, (), ("1",))
    assert sink.inventory().stored == before.stored
    with pytest.raises(MissingError):
        sink.hide(diff.to, "1")
    with pytest.raises(MissingError):
        sink.delete(diff.to, "1")
    sink.adopt(hidden, "1")
    assert (sink.inventory(), end.keys()) == (before, stored)


def test_a_hidden_snapshot_can_be_adopted_at_another_path(
    source: Offer, end: StreamEnd, sink: StreamStore
) -> None:
    one, two = source.diff("1"), source.diff("2", "1")
    carry(source.store, sink, one, "1", link=True)
    carry(source.store, sink, two, "2")
    sink.adopt(sink.inventory().by_uuid()[one.to], "dir/renamed")
    assert paths(sink) == ["2", "dir/renamed"]
    assert sink.inventory().by_uuid()[one.to].elsewhere == ()
    assert end.content("dir/renamed") == source.end.content("1")
    assert end.content("2") == source.end.content("2")
    assert [key for key in end.keys() if str(one.to) in key and key[0] != "2"] == [
        name(one, "dir/renamed"),
        name(one, "dir/renamed", ".zst.json"),
    ]


def test_what_is_shown_at_the_path_is_not_adopted(source: Offer, sink: StreamStore) -> None:
    carry(source.store, sink, source.diff("1"), "1")
    before = sink.inventory()
    with pytest.raises(PathTakenError):
        sink.adopt(at(sink, "1"), "1")
    assert sink.inventory() == before


def test_a_link_that_another_run_left_half_is_not_hidden_by_it(
    source: Offer, end: StreamEnd
) -> None:
    diff = source.diff("1")
    end.put(name(diff, "1", ".zst.hidden"), b"")
    end.put(name(diff, "1", ".zst.json"), b"{}")
    assert end.open().inventory().snapshots == ()
    carry(source.store, end.open(), diff, "1")
    assert paths(end.open()) == ["1"]


def test_hiding_what_has_gone_since_the_inventory_hides_nothing(
    source: Offer, end: StreamEnd, sink: StreamStore
) -> None:
    diff = source.diff("1")
    carry(source.store, sink, diff, "1")
    end.remove("1")
    with pytest.raises(MissingError):
        sink.hide(diff.to, "1")
    assert end.keys() == []


# Removing


def test_what_is_deleted_lies_in_the_trash_with_its_receipt(
    source: Offer, end: StreamEnd, sink: StreamStore
) -> None:
    one, two = source.diff("1"), source.diff("2", "1")
    carry(source.store, sink, one, "1")
    carry(source.store, sink, two, "dir/2", link=True)
    before = {key: end.data(key) for key in end.keys()}
    sink.discard(two, "dir/2")
    sink.delete(one.to, "1")
    assert end.keys() == []
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
    assert (end.keys(), end.trashed()) == ([], [])


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


# What others left


def test_an_upload_of_another_end_is_no_partial_of_this_one(
    source: Offer, end: StreamEnd, sink: StreamStore
) -> None:
    uuid = source.snapshot("1").uuid
    end.beside().leave_partial(uuid)
    assert sink.inventory().partials == ()
    (partial,) = end.beside().open().inventory().partials
    assert (partial.uuid, partial.diff) == (uuid, Diff(uuid))
    assert partial.nbytes


def test_clean_of_an_upload_that_has_gone_meanwhile_is_missing(
    source: Offer, end: StreamEnd, sink: StreamStore
) -> None:
    end.leave_partial(source.snapshot("1").uuid)
    (partial,) = sink.inventory().partials
    end.open().clean(partial)
    with pytest.raises(MissingError):
        sink.clean(partial)


def test_an_upload_of_which_nobody_knows_what_it_was_can_be_cleaned(
    source: Offer, end: StreamEnd, sink: StreamStore
) -> None:
    end.shelf.begin(f"{end.prefix}{name(source.diff('1'), '1')}")  # killed before its record
    (partial,) = sink.inventory().partials
    sink.clean(partial)
    assert sink.inventory().partials == ()


def test_a_stream_without_what_it_builds_on_is_a_problem(
    source: Offer, end: StreamEnd, sink: StreamStore
) -> None:
    two, three = source.diff("2", "1"), source.diff("3", "2")
    end.put(name(two, "2", ""), read_stream(source.store, two))
    end.put(name(three, "3", ""), read_stream(source.store, three))
    inventory = sink.inventory()
    assert [s.paths for s in inventory.snapshots] == [("2",), ("3",)]
    first, second = inventory.problems
    assert (first.path, second.path) == ("2", "3")
    assert str(two.parent) in first.message


@pytest.fixture
def old(end: StreamEnd) -> dict[Diff, bytes]:
    """Store what ButterSink 0.6.9 leaves; return its streams."""
    streams = example_streams()
    bucket = golden_bucket(streams, prefix=end.prefix)
    for key, data in bucket.objects.items():
        if not key.endswith("/"):
            end.shelf.put(key, data)
    inventory = end.open().inventory()
    assert {s.uuid: s.path for s in inventory.snapshots} == bucket.paths
    assert inventory.foreign == len(bucket.foreign)
    return streams


def test_what_0_6_9_stored_can_be_restored(old: dict[Diff, bytes], sink: StreamStore) -> None:
    inventory = sink.inventory()
    assert {diff for diff, _ in inventory.stored} == old.keys()
    assert (inventory.problems, inventory.partials) == ((), ())
    for diff, stream in old.items():
        assert read_stream(sink, diff) == stream  # without the stale bytes behind some
        assert not sink.measure(diff, StreamOptions()).exact


def test_what_0_6_9_stored_can_be_built_on(
    old: dict[Diff, bytes], end: StreamEnd, sink: StreamStore
) -> None:
    first = next(diff for diff in old if diff.parent is None)
    parent = Image(uuid=first.to, generation=10, content=apply_stream(old[first], {}))
    new = Image(uuid=STRANGER, generation=20, content={b"file": b"new"})
    diff = Diff(new.uuid, first.to)
    store_stream(sink, diff, "new", make_stream(b"new", new, parent, version=1))
    assert end.content("new") == new.content
    with pytest.raises(RefusedError):
        sink.delete(first.to, sink.inventory().by_uuid()[first.to].path)

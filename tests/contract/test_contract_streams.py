"""What every store of streams promises beyond what others do; see docs/store-contract.md."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from buttersink.errors import MissingError, PathTakenError, RefusedError, TransferError
from buttersink.model import Diff, StreamOptions
from buttersink.storing import Storing
from contract.arriving import STRANGER, at, paths
from contract.carrying import carry, read_stream, store_stream, write_stream
from contract.memory_streams import Image, apply_stream, make_stream
from contract.stream_worlds import name
from support.golden_bucket import example_streams, golden_bucket
from support.watched_shelf import WatchedShelf

if TYPE_CHECKING:
    from collections.abc import Callable

    from buttersink.stores.streams import StreamStore
    from contract.stream_worlds import StreamEnd
    from contract.worlds import Offer


@pytest.fixture
def sink(end: StreamEnd) -> StreamStore:
    return end.open()


# What is stored


def test_a_stream_is_one_object_with_its_receipt_beside_it(
    source: Offer, end: StreamEnd, sink: StreamStore
) -> None:
    diff = source.diff("1")
    carry(source.store, sink, diff, "dir/1")
    assert end.listed() == [name(diff, "dir/1"), name(diff, "dir/1", ".zst.json")]
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


def failing_at(suffix: str) -> Callable[[str], None]:
    """Return what makes it fail to put a key that ends so."""

    def check(key: str) -> None:
        if key.endswith(suffix):
            raise TransferError("the service had enough")

    return check


def test_a_link_is_hidden_before_it_can_be_seen(source: Offer, end: StreamEnd) -> None:
    diff = source.diff("1")
    there: list[list[str]] = []
    shelf = WatchedShelf(end.open_shelf(), before_single=lambda _: there.append(end.listed()))
    carry(source.store, end.open(shelf=shelf.as_shelf()), diff, "1", link=True)
    seen = [keys for keys in (*there, end.listed()) if name(diff, "1") in keys]
    assert seen
    assert all(name(diff, "1", ".zst.hidden") in keys for keys in seen)


def test_a_link_that_could_not_be_stored_leaves_nothing(source: Offer, end: StreamEnd) -> None:
    shelf = WatchedShelf(end.open_shelf(), before_single=failing_at(".zst"))
    with pytest.raises(TransferError):
        carry(source.store, end.open(shelf=shelf.as_shelf()), source.diff("1"), "1", link=True)
    assert end.listed() == []


def test_a_receipt_that_can_not_be_stored_does_no_harm(
    source: Offer, end: StreamEnd, caplog: pytest.LogCaptureFixture
) -> None:
    diff = source.diff("1")
    shelf = WatchedShelf(end.open_shelf(), before_single=failing_at(".json"))
    carry(source.store, end.open(shelf=shelf.as_shelf()), diff, "1")
    assert end.listed() == [name(diff, "1")]
    assert "has no receipt" in caplog.text
    assert read_stream(end.open(), diff) == read_stream(source.store, diff)


def test_hidden_and_adopted_a_snapshot_is_what_it_was(
    source: Offer, end: StreamEnd, sink: StreamStore
) -> None:
    diff = source.diff("1")
    carry(source.store, sink, diff, "1")
    before, stored = sink.inventory(), end.listed()
    sink.hide(diff.to, "1")
    (hidden,) = end.open().inventory().snapshots
    assert (hidden.uuid, hidden.paths, hidden.elsewhere) == (diff.to, (), ("1",))
    assert sink.inventory().stored == before.stored
    with pytest.raises(MissingError):
        sink.hide(diff.to, "1")
    with pytest.raises(MissingError):
        sink.delete(diff.to, "1")
    sink.adopt(hidden, "1")
    assert (sink.inventory(), end.listed()) == (before, stored)


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
    assert [key for key in end.listed() if str(one.to) in key and key[0] != "2"] == [
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
    assert end.listed() == []


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

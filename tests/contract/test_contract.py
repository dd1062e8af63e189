"""What every store promises of reading, looking and locking; see docs/store-contract.md."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

import pytest

from buttersink.errors import (
    BusyError,
    ButterSinkError,
    MissingError,
    UsageError,
)
from buttersink.model import Certainty, Diff, Partial, StreamOptions
from contract.arriving import STRANGER, counted_out, paths
from contract.carrying import OPTIONS, carry, read_stream

if TYPE_CHECKING:
    from contract.worlds import End, Offer

DIFFS = pytest.mark.parametrize(
    ("to", "parent"), [("1", None), ("3", None), ("2", "1"), ("3", "1"), ("1", "3")]
)
BAD_PATHS = ("", "/", "/absolute", "..", "../up", "a/../b", "a//b", "a/", "./a", ".", "nul\0")


# Inventory


def test_inventory_lists_every_snapshot_by_its_path(source: Offer) -> None:
    inventory = source.store.inventory()
    assert [s.paths for s in inventory.snapshots] == [("1",), ("2",), ("3",)]
    assert inventory.partials == ()


def test_inventory_gives_each_snapshot_its_own_identity(source: Offer) -> None:
    inventory = source.store.inventory()
    assert len(inventory.by_uuid()) == len(inventory.snapshots) == 3


def test_inventory_tells_the_order_in_which_snapshots_came_to_be(source: Offer) -> None:
    snapshots = source.store.inventory().snapshots
    assert sorted(snapshots, key=lambda s: s.generation) == list(snapshots)
    assert sorted(snapshots, key=lambda s: s.created) == list(snapshots)
    assert all(s.created.tzinfo is not None for s in snapshots)


def test_inventory_of_an_empty_end_is_empty(destination: End) -> None:
    inventory = destination.open().inventory()
    assert (inventory.snapshots, inventory.partials, inventory.stored) == ((), (), ())


def test_inventory_is_sorted(source: Offer, destination: End) -> None:
    sink = destination.open()
    for to, path in (("1", "b"), ("2", "a/2"), ("3", "c")):
        carry(source.store, sink, source.diff(to), path)
    destination.leave_partial(STRANGER)
    destination.leave_partial(UUID(int=1))
    inventory = sink.inventory()
    assert [s.path for s in inventory.snapshots] == ["a/2", "b", "c"]
    assert list(inventory.snapshots) == sorted(inventory.snapshots, key=lambda s: (s.path, s.uuid))
    assert list(inventory.partials) == sorted(inventory.partials, key=lambda p: p.path)
    assert len(inventory.partials) == 2


def test_two_inventories_without_a_write_between_them_are_equal(
    source: Offer, destination: End
) -> None:
    sink = destination.open()
    carry(source.store, sink, source.diff("1"), "1")
    destination.leave_partial(STRANGER)
    assert sink.inventory() == sink.inventory() == destination.open().inventory()
    assert source.store.inventory() == source.store.inventory() == source.end.open().inventory()


def test_a_partial_is_never_a_snapshot(destination: End) -> None:
    destination.leave_partial(STRANGER)
    inventory = destination.open().inventory()
    assert inventory.snapshots == ()
    assert [partial.uuid for partial in inventory.partials] == [STRANGER]


def test_what_is_no_snapshot_is_left_out_of_the_inventory(destination: End) -> None:
    sink = destination.open()
    before = sink.inventory()
    destination.occupy("something else")
    assert counted_out(sink.inventory()) == counted_out(before)


# Measuring and estimating


@DIFFS
def test_measure_equals_the_bytes_that_send_yields(
    source: Offer, to: str, parent: str | None
) -> None:
    diff = source.diff(to, parent)
    for version in range(1, source.store.stream_options().version + 1):
        options = StreamOptions(version=version)
        measured = source.store.measure(diff, options)
        assert measured.exact
        assert measured.nbytes == len(read_stream(source.store, diff, options))


def test_measure_changes_nothing(source: Offer) -> None:
    before = source.store.inventory()
    source.store.measure(source.diff("2", "1"), OPTIONS)
    source.store.measure(source.diff("3"), OPTIONS, 1)
    assert source.store.inventory() == before


@DIFFS
def test_measure_within_its_limit_is_exact(source: Offer, to: str, parent: str | None) -> None:
    diff = source.diff(to, parent)
    whole = source.store.measure(diff, OPTIONS)
    assert source.store.measure(diff, OPTIONS, whole.nbytes) == whole


@DIFFS
def test_measure_beyond_its_limit_stops_and_says_at_least(
    source: Offer, to: str, parent: str | None
) -> None:
    diff = source.diff(to, parent)
    whole = source.store.measure(diff, OPTIONS)
    for limit in (0, 1, 100, whole.nbytes - 1):
        size = source.store.measure(diff, OPTIONS, limit)
        if not source.store.inventory().makes_any_diff and size == whole:
            continue  # what is stored has a size that need not be found out
        assert size.certainty is Certainty.AT_LEAST
        assert limit < size.nbytes <= whole.nbytes


@DIFFS
def test_an_estimate_is_never_marked_exact(source: Offer, to: str, parent: str | None) -> None:
    size = source.store.estimate(source.diff(to, parent))
    assert size.certainty in {Certainty.ESTIMATE, Certainty.UNKNOWN}
    assert size.nbytes >= 0


def test_a_diff_of_an_unknown_snapshot_or_parent_is_missing(source: Offer) -> None:
    known = source.snapshot("1").uuid
    for diff in (Diff(STRANGER), Diff(known, STRANGER), Diff(STRANGER, known)):
        with pytest.raises(MissingError):
            source.store.measure(diff, OPTIONS)
        with pytest.raises(MissingError):
            source.store.estimate(diff)
        with pytest.raises(MissingError):
            read_stream(source.store, diff)


def test_a_snapshot_that_has_gone_since_the_inventory_is_missing(source: Offer) -> None:
    whole, incremental = source.diff("2"), source.diff("3", "2")
    source.end.remove("2")
    with pytest.raises(MissingError):
        source.store.measure(whole, OPTIONS)
    with pytest.raises(MissingError):
        read_stream(source.store, whole)
    with pytest.raises(ButterSinkError):
        read_stream(source.store, incremental)
    read_stream(source.store, source.diff("3", "1"))


# Sending


def test_every_end_names_itself_and_its_streams(source: Offer, destination: End) -> None:
    for store in (source.store, destination.open()):
        assert store.name
        assert store.stream_options().version >= OPTIONS.version
        assert store.accepts().version >= OPTIONS.version
        assert (store.stream_options(), store.accepts()) == (
            store.stream_options(),
            store.accepts(),
        )


def test_every_end_tells_what_it_is_on_and_where_there(source: Offer, destination: End) -> None:
    on, path = destination.open().place()
    assert destination.open().place() == (on, path)
    beside_on, beside_path = destination.beside().open().place()
    assert on == beside_on != source.store.place()[0]
    assert path != beside_path
    assert path.strip("/") == path


def test_the_end_of_a_stream_is_told_as_often_as_it_is_asked_for(source: Offer) -> None:
    buffer = memoryview(bytearray(1 << 20))
    with source.store.send(source.diff("2", "1"), OPTIONS) as reader:
        while reader.readinto(buffer):
            pass
        assert reader.readinto(buffer) == 0


def test_a_stream_is_the_same_through_a_small_buffer(source: Offer) -> None:
    diff = source.diff("2", "1")
    small = read_stream(source.store, diff, chunk=7)
    assert small == read_stream(source.store, diff)


def test_a_sender_that_is_left_before_its_end_stops_quietly(source: Offer) -> None:
    with source.store.send(source.diff("1"), OPTIONS) as reader:
        assert reader.readinto(memoryview(bytearray(10))) > 0
    with source.store.send(source.diff("1"), OPTIONS):
        pass
    assert read_stream(source.store, source.diff("1"))


def test_a_sender_that_is_left_with_an_exception_stops_and_lets_it_pass(source: Offer) -> None:
    diff = source.diff("1")
    with pytest.raises(ZeroDivisionError), source.store.send(diff, OPTIONS) as reader:
        raise ZeroDivisionError(reader.readinto(memoryview(bytearray(10))))
    assert read_stream(source.store, source.diff("1"))


def test_sending_changes_nothing(source: Offer) -> None:
    before = source.store.inventory()
    read_stream(source.store, source.diff("3", "1"))
    assert source.store.inventory() == before


def test_nothing_of_an_end_that_can_be_read_at_once_has_to_be_thawed(
    source: Offer, destination: End
) -> None:
    diffs = [source.diff("1"), source.diff("2", "1")]
    sink = destination.open()
    for diff, path in zip(diffs, ("1", "2"), strict=True):
        carry(source.store, sink, diff, path)
    before = sink.inventory()
    for store in (source.store, sink):
        assert store.unready(diffs) == {}
        store.thaw(diffs, 1)
    assert sink.inventory() == before


# Looking at a destination


def test_taken_tells_nothing_of_what_nobody_asked_for_and_nothing_is_at(
    source: Offer, destination: End
) -> None:
    sink = destination.open()
    carry(source.store, sink, source.diff("1"), "12/snapshot")
    destination.occupy("file")
    assert sink.taken([]) == frozenset()
    assert sink.taken(["1", "12/other", "13", "snapshot", "fil"]) == frozenset()


@pytest.mark.parametrize("path", BAD_PATHS)
def test_a_path_that_leads_out_of_the_directory_is_refused(
    source: Offer, destination: End, path: str
) -> None:
    sink = destination.open()
    snapshot = source.snapshot("1")
    with pytest.raises(UsageError):
        sink.taken([path])
    with pytest.raises(UsageError):
        carry(source.store, sink, Diff(snapshot.uuid), path)
    with pytest.raises(ButterSinkError):
        sink.adopt(snapshot, path)
    with pytest.raises(ButterSinkError):
        sink.delete(snapshot.uuid, path)
    with pytest.raises(ButterSinkError):
        sink.clean(Partial(path=path))
    assert paths(sink) == []


def test_free_bytes_is_a_number_of_bytes_or_nothing(destination: End) -> None:
    sink = destination.open()
    free = sink.free_bytes()
    assert free is None or free > 0
    assert sink.free_bytes() == free


def test_a_stored_fraction_is_a_part_of_the_whole(destination: End) -> None:
    fraction = destination.open().stored_fraction()
    assert fraction is None or 0 < fraction <= 1


# Locking


def test_a_lock_keeps_other_runs_out_while_the_block_lasts(destination: End) -> None:
    one, other = destination.open(), destination.open()
    with one.lock():
        with pytest.raises(BusyError), other.lock():
            pass
        other.inventory()  # looking is always allowed
    with other.lock():
        pass


def test_a_lock_ends_with_its_block_also_after_an_exception(destination: End) -> None:
    one, other = destination.open(), destination.open()
    with pytest.raises(ZeroDivisionError), one.lock():
        raise ZeroDivisionError
    with other.lock(), destination.beside().open().lock():
        pass


def test_a_locked_end_can_be_written_to_by_whoever_holds_it(
    source: Offer, destination: End
) -> None:
    sink = destination.open()
    with sink.lock():
        before = sink.inventory()
        carry(source.store, sink, source.diff("1"), "1")
        assert (before.snapshots, paths(sink)) == ((), ["1"])

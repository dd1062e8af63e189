"""What every store of subvolumes promises of links: snapshots only to build others on.

See docs/store-contract.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from buttersink.errors import (
    BusyError,
    CorruptStreamError,
    MissingError,
    PathTakenError,
    TransferError,
    UsageError,
)
from contract.arriving import (
    STRANGER,
    after_interrupt,
    assert_arrives,
    assert_nothing_arrived,
    paths,
)
from contract.carrying import OPTIONS, carry, read_stream, write_stream

if TYPE_CHECKING:
    from uuid import UUID

    from buttersink.model import Diff, Partial
    from buttersink.store import Sink
    from contract.worlds import End, Offer, World

pytestmark = pytest.mark.usefixtures("subvolume_world")


def link(source: Offer, sink: Sink, name: str, parent: str | None = None) -> UUID:
    """Receive a snapshot of the source as a link; return its identity."""
    diff = source.diff(name, parent)
    carry(source.store, sink, diff, name, link=True)
    return diff.to


def links(sink: Sink) -> list[Partial]:
    """Return the links that an inventory lists."""
    return [partial for partial in sink.inventory().partials if partial.link]


# Receiving


def test_a_link_is_a_snapshot_without_a_path_and_listed_as_left_over(
    source: Offer, destination: End
) -> None:
    sink = destination.open()
    uuid = link(source, sink, "1")
    inventory = sink.inventory()
    (snapshot,) = inventory.snapshots
    assert (snapshot.uuid, snapshot.paths, len(snapshot.elsewhere)) == (uuid, (), 1)
    assert snapshot.received
    assert inventory.inside() == ()
    (partial,) = inventory.partials
    assert (partial.uuid, partial.link, partial.guarded) == (uuid, True, "")
    assert snapshot.elsewhere[0].endswith(partial.path)
    assert sink.taken([partial.path]) == {partial.path}
    assert_nothing_arrived(sink, "1")
    assert destination.open().inventory() == inventory


def test_a_link_leaves_its_path_alone_and_makes_no_directories(
    source: Offer, destination: End
) -> None:
    sink = destination.open()
    carry(source.store, sink, source.diff("1"), "taken")
    destination.occupy("file")
    for name, path in (("2", "taken"), ("3", "file")):
        carry(source.store, sink, source.diff(name, "1"), path, link=True)
    carry(source.store, sink, source.diff("1"), "a/b/1", link=True)
    assert sink.taken(["a"]) == frozenset()
    assert paths(sink) == ["taken"]
    assert destination.is_occupied("file")
    assert destination.content("taken") == source.end.content("1")
    assert len(links(sink)) == 3


@pytest.mark.parametrize("path", ["", "/1", "../1", "a//1", "."])
def test_a_link_for_a_path_that_leads_out_of_the_directory_is_refused(
    source: Offer, destination: End, path: str
) -> None:
    sink = destination.open()
    with pytest.raises(UsageError):
        carry(source.store, sink, source.diff("1"), path, link=True)
    assert sink.inventory().snapshots == ()


@pytest.mark.parametrize("listed", [True, False], ids=["listed", "just received"])
def test_a_chain_of_links_leads_to_what_is_built_on_it(
    source: Offer, destination: End, *, listed: bool
) -> None:
    sink = destination.open()
    made = [link(source, sink, "1"), link(source, sink, "2", "1")]
    if listed:
        sink.inventory()
    carry(source.store, sink, source.diff("3", "2"), "dir/3")
    for uuid in made:
        sink.release(uuid)
    assert paths(sink) == ["dir/3"]
    assert (len(sink.inventory().snapshots), sink.inventory().partials) == (1, ())
    assert destination.content("dir/3") == source.end.content("3")


def test_a_link_that_an_earlier_run_left_serves_as_parent(source: Offer, destination: End) -> None:
    link(source, destination.open(), "1")
    assert_arrives(source, destination, source.diff("2", "1"), "2")


def test_a_link_that_an_earlier_run_left_is_not_replaced(source: Offer, destination: End) -> None:
    link(source, destination.open(), "1")
    sink = destination.open()
    before = sink.inventory()
    with pytest.raises(PathTakenError):
        link(source, sink, "1")
    assert sink.inventory() == before


def test_a_link_can_be_sent_on_as_what_it_is(source: Offer, destination: End) -> None:
    sink = destination.open()
    link(source, sink, "1")
    diff = source.diff("1")
    third = destination.beside()
    assert len(read_stream(sink, diff)) == sink.measure(diff, OPTIONS).nbytes
    carry(sink, third.open(), diff, "1")
    assert third.content("1") == source.end.content("1")


def test_a_link_can_be_adopted_and_stays_a_link_until_it_is_released(
    source: Offer, destination: End
) -> None:
    sink = destination.open()
    uuid = link(source, sink, "1")
    (snapshot,) = sink.inventory().snapshots
    sink.adopt(snapshot, "dir/1")
    (both,) = sink.inventory().snapshots
    assert (both.uuid, both.paths, both.elsewhere) == (uuid, ("dir/1",), snapshot.elsewhere)
    sink.release(uuid)
    (adopted,) = sink.inventory().snapshots
    assert (adopted.uuid, adopted.paths, adopted.elsewhere) == (uuid, ("dir/1",), ())
    assert destination.content("dir/1") == source.end.content("1")


def test_a_link_is_known_but_not_left_over_beside_its_directory(
    subvolume_world: World, source: Offer, destination: End
) -> None:
    sink, beside = destination.open(), destination.beside().open()
    uuid = link(source, sink, "1")
    inventory = beside.inventory()
    told = beside.parents([uuid])
    assert [(s.uuid, s.paths) for s in (*inventory.snapshots, *told)] == [(uuid, ())]
    assert len(inventory.snapshots) == subvolume_world.lists_outside
    assert inventory.partials == ()
    with pytest.raises(MissingError):
        beside.release(uuid)
    assert len(links(sink)) == 1


# Failing


def fail(source: Offer, sink: Sink, diff: Diff, *, part: float, error: BaseException) -> None:
    """Receive a part of a link, and fail."""
    stream = read_stream(source.store, diff)
    with sink.receive(diff, "1", OPTIONS, link=True) as writer:
        write_stream(writer, stream[: int(len(stream) * part)])
        raise error


@pytest.mark.parametrize("part", [0, 0.1, 0.9, 1])
@pytest.mark.parametrize("kind", [TransferError, ZeroDivisionError, KeyboardInterrupt])
def test_a_link_whose_receiving_failed_is_no_snapshot(
    world: World, source: Offer, destination: End, part: float, kind: type[BaseException]
) -> None:
    sink = destination.open()
    diff = source.diff("1")
    with pytest.raises(kind):
        fail(source, sink, diff, part=part, error=kind("something went wrong"))
    if kind is KeyboardInterrupt:
        sink = after_interrupt(world, sink, destination)
    assert sink.inventory().snapshots == ()
    assert links(sink) == []
    with pytest.raises(MissingError):
        sink.release(diff.to)
    link(source, sink, "1")
    assert [partial.uuid for partial in sink.inventory().partials] == [diff.to]


def test_a_link_of_another_diff_or_without_its_end_is_refused(
    source: Offer, destination: End
) -> None:
    sink = destination.open()
    stream = read_stream(source.store, source.diff("1"))
    for diff, data in ((source.diff("2"), stream), (source.diff("1"), stream[:-10])):
        with (
            pytest.raises(CorruptStreamError),
            sink.receive(diff, "1", OPTIONS, link=True) as writer,
        ):
            write_stream(writer, data)
    assert sink.inventory().snapshots == ()
    assert links(sink) == []


def test_what_a_killed_transfer_left_is_replaced_by_a_link(source: Offer, destination: End) -> None:
    destination.leave_partial(source.snapshot("1").uuid)
    sink = destination.open()
    uuid = link(source, sink, "1")
    assert [(p.uuid, p.link) for p in sink.inventory().partials] == [(uuid, True)]


def test_a_link_on_a_parent_that_the_end_has_not_is_missing(
    source: Offer, destination: End
) -> None:
    sink = destination.open()
    with pytest.raises(MissingError):
        link(source, sink, "2", "1")
    assert sink.inventory().snapshots == ()


# Removing


def test_release_removes_a_link_once(source: Offer, destination: End) -> None:
    sink = destination.open()
    one, two = link(source, sink, "1"), link(source, sink, "2", "1")
    sink.release(one)
    assert [partial.uuid for partial in sink.inventory().partials] == [two]
    assert [snapshot.uuid for snapshot in sink.inventory().snapshots] == [two]
    with pytest.raises(MissingError):
        sink.release(one)
    sink.flush()
    carry(source.store, sink, source.diff("3", "2"), "3")
    assert destination.content("3") == source.end.content("3")


def test_release_removes_nothing_but_links(source: Offer, destination: End) -> None:
    sink = destination.open()
    carry(source.store, sink, source.diff("1"), "1")
    link(source, sink, "2")
    destination.leave_partial(STRANGER)
    before = sink.inventory()
    for uuid in (source.snapshot("1").uuid, STRANGER, source.snapshot("3").uuid):
        with pytest.raises(MissingError):
            sink.release(uuid)
    assert sink.inventory() == before


def test_a_released_link_can_be_received_again(source: Offer, destination: End) -> None:
    sink = destination.open()
    for _ in range(2):
        sink.release(link(source, sink, "1"))
    assert sink.inventory().snapshots == ()


def test_delete_never_deletes_a_link(source: Offer, destination: End) -> None:
    sink = destination.open()
    uuid = link(source, sink, "1")
    (partial,) = links(sink)
    for path in (partial.path, "1"):
        with pytest.raises(MissingError):
            sink.delete(uuid, path)
    assert links(sink) == [partial]


def test_clean_removes_a_link(source: Offer, destination: End) -> None:
    link(source, destination.open(), "1")
    sink = destination.open()
    destination.leave_partial(STRANGER)
    (partial,) = links(sink)
    with sink.lock():
        sink.clean(partial)
    inventory = sink.inventory()
    assert inventory.snapshots == ()
    assert [partial.uuid for partial in inventory.partials] == [STRANGER]
    with pytest.raises(MissingError):
        sink.clean(partial)


def test_clean_leaves_a_link_to_the_run_that_holds_its_directory(
    source: Offer, destination: End
) -> None:
    running, sink = destination.open(), destination.open()
    with running.lock():
        link(source, running, "1")
        (partial,) = links(sink)
        with pytest.raises(BusyError):
            sink.clean(partial)
        carry(source.store, running, source.diff("2", "1"), "2")
    sink.clean(partial)
    assert links(sink) == []
    assert destination.content("2") == source.end.content("2")

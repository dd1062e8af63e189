"""What every store promises of `receive`; see docs/store-contract.md."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from buttersink.errors import (
    CorruptStreamError,
    MissingError,
    PathTakenError,
    TransferError,
)
from buttersink.model import Certainty, Size, StreamOptions
from buttersink.stream.format import HEADER_SIZE, encode_stream_header
from contract.arriving import assert_arrives, assert_nothing_arrived, paths
from contract.carrying import (
    OPTIONS,
    carry,
    read_stream,
    store_stream,
)
from contract.worlds import Offer

if TYPE_CHECKING:
    from contract.worlds import End, World

ODD_NAMES = (
    "snapshot of 2024-02-29 12:00",
    "--delete",
    "new\nline",
    "quotes '\"`$(x)\\",
    "b\udcff\udcfe not UTF-8",
    "Ångström 雪",
    "*?[a]",
    ".hidden",
    "...",
    "x" * 255,
)


# What arrives


def test_what_is_received_has_the_same_identity_and_content(
    source: Offer, destination: End
) -> None:
    sink = destination.open()
    carry(source.store, sink, source.diff("1"), "1")
    carry(source.store, sink, source.diff("3", "1"), "3")
    carry(source.store, sink, source.diff("2", "3"), "2")
    sent, received = source.store.inventory(), sink.inventory()
    assert received.by_uuid().keys() == sent.by_uuid().keys()
    for snapshot in received.snapshots:
        assert snapshot.paths == sent.by_uuid()[snapshot.uuid].paths
        assert destination.content(snapshot.path) == source.end.content(snapshot.path)
    assert received.partials == ()


def test_what_is_received_is_there_for_whoever_opens_the_end_again(
    source: Offer, destination: End
) -> None:
    sink = destination.open()
    carry(source.store, sink, source.diff("1"), "1")
    assert destination.open().inventory() == sink.inventory()
    assert_arrives(source, destination, source.diff("2", "1"), "2")


def test_what_is_received_can_be_sent_on_as_what_it_is(
    world: World, source: Offer, destination: End
) -> None:
    sink = destination.open()
    carry(source.store, sink, source.diff("1"), "1")
    carry(source.store, sink, source.diff("2", "1"), "2")
    received = Offer(destination)
    assert_arrives(received, third := world.destination(), received.diff("1"), "1")
    assert_arrives(received, third, received.diff("2", "1"), "2")
    assert received.diff("2", "1") == source.diff("2", "1")


def test_what_is_received_can_be_used_without_another_inventory(
    source: Offer, destination: End
) -> None:
    sink = destination.open()
    diff = source.diff("1")
    carry(source.store, sink, diff, "1")
    assert sink.measure(diff, OPTIONS).nbytes == len(read_stream(sink, diff))
    sink.delete(diff.to, "1")
    assert_nothing_arrived(sink, "1")


def test_the_writer_counts_what_was_measured(source: Offer, destination: End) -> None:
    sink = destination.open()
    for diff, path in ((source.diff("1"), "1"), (source.diff("2", "1"), "2")):
        measured = source.store.measure(diff, OPTIONS)
        assert carry(source.store, sink, diff, path) == measured.nbytes


def test_the_newest_streams_that_both_ends_know_arrive(source: Offer, destination: End) -> None:
    sink = destination.open()
    made, accepted = source.store.stream_options(), sink.accepts()
    options = StreamOptions(
        version=min(made.version, accepted.version),
        compressed=made.compressed and accepted.compressed,
    )
    carry(source.store, sink, source.diff("1"), "1", options)
    carry(source.store, sink, source.diff("2", "1"), "2", options)
    assert destination.content("2") == source.end.content("2")


@pytest.mark.parametrize("chunk", [1, 7, 4097, 1 << 20])
def test_a_stream_may_be_written_in_any_chunks(source: Offer, destination: End, chunk: int) -> None:
    sink = destination.open()
    for diff, path in ((source.diff("1"), "1"), (source.diff("2", "1"), "2")):
        store_stream(sink, diff, path, read_stream(source.store, diff), chunk=chunk)
        assert destination.content(path) == source.end.content(path)


@pytest.mark.parametrize("name", ODD_NAMES)
def test_a_snapshot_can_have_any_name_that_a_file_can_have(
    source: Offer, destination: End, name: str
) -> None:
    sink = destination.open()
    for diff, path in ((source.diff("1"), name), (source.diff("2", "1"), f"dir {name[:9]}/{name}")):
        carry(source.store, sink, diff, path)
        assert sink.inventory().by_uuid()[diff.to].paths == (path,)
    assert destination.content(name) == source.end.content("1")
    for snapshot in (source.snapshot("2"), source.snapshot("1")):
        (path,) = sink.inventory().by_uuid()[snapshot.uuid].paths
        sink.delete(snapshot.uuid, path)
    assert sink.inventory().snapshots == ()


def test_directories_on_the_way_to_a_path_are_made(source: Offer, destination: End) -> None:
    assert_arrives(source, destination, source.diff("1"), "a/b/c/snapshot")
    assert_arrives(source, destination, source.diff("2", "1"), "a/b/snapshot")
    assert paths(destination.open()) == ["a/b/c/snapshot", "a/b/snapshot"]


@pytest.mark.parametrize(
    "expected",
    [
        None,
        Size(1, Certainty.ESTIMATE),
        Size(0, Certainty.UNKNOWN),
        Size(1 << 32, Certainty.ESTIMATE),
    ],
)
def test_a_size_that_is_not_what_was_expected_does_no_harm(
    source: Offer, destination: End, expected: Size | None
) -> None:
    sink = destination.open()
    diff = source.diff("1")
    measured = source.store.measure(diff, OPTIONS)
    assert carry(source.store, sink, diff, "1", expected=expected) == measured.nbytes
    carry(source.store, sink, source.diff("2", "1"), "2", expected=expected)
    assert destination.content("2") == source.end.content("2")


# What is refused


def test_what_is_there_already_is_not_replaced(source: Offer, destination: End) -> None:
    sink = destination.open()
    carry(source.store, sink, source.diff("1"), "dir/1")
    before = sink.inventory()
    with pytest.raises(PathTakenError):
        carry(source.store, sink, source.diff("1"), "dir/1")
    assert sink.inventory() == before
    assert destination.content("dir/1") == source.end.content("1")


def test_a_parent_that_the_end_has_not_is_missing(source: Offer, destination: End) -> None:
    sink = destination.open()
    with pytest.raises(MissingError):
        carry(source.store, sink, source.diff("2", "1"), "dir/2")
    assert_nothing_arrived(sink, "dir/2")


@pytest.mark.parametrize("listed", [True, False], ids=["listed", "just received"])
def test_a_parent_that_has_gone_meanwhile_is_missing(
    source: Offer, destination: End, *, listed: bool
) -> None:
    sink = destination.open()
    carry(source.store, sink, source.diff("1"), "1")
    if listed:
        sink.inventory()
    destination.remove("1")
    with pytest.raises(MissingError):
        carry(source.store, sink, source.diff("2", "1"), "2")
    assert_nothing_arrived(sink, "2")


@pytest.mark.parametrize(
    ("expected", "sent"),
    [
        (("2", "1"), ("3", "1")),
        (("2", "1"), ("2", None)),
        (("3", "1"), ("3", "2")),
        (("3", None), ("3", "1")),
        (("2", None), ("3", None)),
    ],
)
def test_a_stream_of_another_diff_is_refused_and_nothing_is_stored(
    source: Offer,
    destination: End,
    expected: tuple[str, str | None],
    sent: tuple[str, str | None],
) -> None:
    sink = destination.open()
    carry(source.store, sink, source.diff("1"), "1")
    before = sink.inventory()
    with pytest.raises(CorruptStreamError):
        store_stream(
            sink, source.diff(*expected), "new", read_stream(source.store, source.diff(*sent))
        )
    assert sink.inventory() == before
    assert_nothing_arrived(sink, "new")
    assert_arrives(source, destination, source.diff(*expected), "new")


def test_a_stream_newer_than_announced_is_refused(source: Offer, destination: End) -> None:
    sink = destination.open()
    diff = source.diff("1")
    stream = bytearray(read_stream(source.store, diff))
    stream[:HEADER_SIZE] = encode_stream_header(OPTIONS.version + 1)
    with pytest.raises(CorruptStreamError):
        store_stream(sink, diff, "1", bytes(stream))
    assert_nothing_arrived(sink, "1")


@pytest.mark.parametrize("kept", [0.0, 0.0001, 0.01, 0.5, 0.999, -10, -1])
def test_a_truncated_stream_is_refused(source: Offer, destination: End, kept: float) -> None:
    sink = destination.open()
    diff = source.diff("1")
    stream = read_stream(source.store, diff)
    cut = int(len(stream) * kept) if kept >= 0 else int(kept)
    with pytest.raises(CorruptStreamError):
        store_stream(sink, diff, "dir/1", stream[:cut])
    assert_nothing_arrived(sink, "dir/1")
    assert_arrives(source, destination, diff, "dir/1")


@pytest.mark.parametrize("position", [0, 13, 20, 60, 0.3, 0.5, 0.9, -11, -3])
def test_a_stream_with_one_wrong_byte_is_refused(
    source: Offer, destination: End, position: float
) -> None:
    sink = destination.open()
    diff = source.diff("1")
    stream = bytearray(read_stream(source.store, diff))
    index = int(len(stream) * position) if 0 < position < 1 else int(position)
    stream[index] ^= 0x10
    # A store may leave it to its receiving program to find out.
    with pytest.raises((CorruptStreamError, TransferError)):
        store_stream(sink, diff, "dir/1", bytes(stream))
    assert_nothing_arrived(sink, "dir/1")
    assert_arrives(source, destination, diff, "dir/1")

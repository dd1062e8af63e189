"""What every store promises when a transfer fails on the way; see docs/store-contract.md."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from buttersink.errors import (
    CorruptStreamError,
    TransferError,
)
from buttersink.transfer import pump
from contract.arriving import after_interrupt, assert_arrives, assert_nothing_arrived
from contract.carrying import (
    OPTIONS,
    FailingReader,
    carry,
    failing_at_exit,
    read_stream,
    write_stream,
    write_until_refused,
)

if TYPE_CHECKING:
    from contract.worlds import End, Offer, World


@pytest.mark.parametrize("part", [0, 0.1, 0.9, 1])
@pytest.mark.parametrize("kind", [TransferError, ZeroDivisionError, KeyboardInterrupt])
def test_a_receive_that_is_left_with_an_exception_is_never_committed(
    world: World, source: Offer, destination: End, part: float, kind: type[BaseException]
) -> None:
    sink = destination.open()
    error = kind("something went wrong")
    diff = source.diff("1")
    stream = read_stream(source.store, diff)
    with (  # noqa: PT012 - the block is what is tested
        pytest.raises(kind) as raised,
        sink.receive(diff, "12/snapshot", OPTIONS) as writer,
    ):
        write_stream(writer, stream[: int(len(stream) * part)])
        raise error
    assert raised.value is error
    if kind is KeyboardInterrupt:
        sink = after_interrupt(world, sink, destination)
    assert_nothing_arrived(sink, "12/snapshot")
    assert sink.inventory().snapshots == ()
    assert_arrives(source, destination, diff, "12/snapshot")


def test_a_receive_without_a_stream_is_never_committed(source: Offer, destination: End) -> None:
    sink = destination.open()
    with (
        pytest.raises(CorruptStreamError),
        sink.receive(source.diff("1"), "12/snapshot", OPTIONS),
    ):
        pass
    assert_nothing_arrived(sink, "12/snapshot")


@pytest.mark.parametrize("part", [0, 0.1, 0.9, 1])
def test_what_a_failing_sender_has_sent_is_never_committed(
    source: Offer, destination: End, part: float
) -> None:
    sink = destination.open()
    carry(source.store, sink, source.diff("1"), "1")
    before = sink.inventory().snapshots
    diff = source.diff("2", "1")
    after = int(source.store.measure(diff, OPTIONS).nbytes * part)
    failure = TransferError("the disk could not be read")
    with (
        pytest.raises(TransferError) as raised,
        sink.receive(diff, "2", OPTIONS) as writer,
        source.store.send(diff, OPTIONS) as reader,
    ):
        pump(FailingReader(reader, failure, after=after), writer, progress=lambda _: None)
    assert raised.value is failure
    assert_nothing_arrived(sink, "2")
    assert sink.inventory().snapshots == before
    assert_arrives(source, destination, diff, "2")


def test_a_sender_that_fails_after_its_last_byte_is_never_committed(
    source: Offer, destination: End
) -> None:
    sink = destination.open()
    diff = source.diff("1")
    failure = TransferError("the sending program ended with status 1")
    with (
        pytest.raises(TransferError) as raised,
        sink.receive(diff, "1", OPTIONS) as writer,
        source.store.send(diff, OPTIONS) as whole,
        failing_at_exit(whole, failure) as reader,
    ):
        pump(reader, writer, progress=lambda _: None)
    assert raised.value is failure
    assert_nothing_arrived(sink, "1")
    assert_arrives(source, destination, diff, "1")


def test_a_writer_that_has_refused_a_stream_goes_on_refusing(
    source: Offer, destination: End
) -> None:
    sink = destination.open()
    stream = read_stream(source.store, source.diff("1"))
    with pytest.raises(CorruptStreamError), sink.receive(source.diff("2"), "2", OPTIONS) as writer:  # noqa: PT012 - the block is what is tested
        with pytest.raises(CorruptStreamError):
            write_until_refused(writer, stream)
        with pytest.raises(CorruptStreamError):
            write_stream(writer, read_stream(source.store, source.diff("2")))
    assert_nothing_arrived(sink, "2")


def test_what_a_killed_transfer_left_is_replaced_by_the_next_one(
    source: Offer, destination: End
) -> None:
    diff = source.diff("1")
    destination.leave_partial(diff.to)
    assert_arrives(source, destination, diff, "1")

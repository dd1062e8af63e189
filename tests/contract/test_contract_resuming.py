"""What every store promises of transfers that go on where they stopped."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from buttersink.errors import (
    CorruptStreamError,
    MissingError,
    RestartError,
    TransferError,
    UnavailableError,
)
from buttersink.model import Position, Span
from buttersink.stream.digest import SpanDigest
from buttersink.stream.format import COMMAND_HEADER, COMMAND_HEADER_SIZE, HEADER_SIZE
from contract.arriving import STRANGER, assert_arrives, assert_nothing_arrived
from contract.carrying import OPTIONS, read_stream, write_stream
from contract.worlds import Offer

if TYPE_CHECKING:
    from buttersink.model import Diff
    from buttersink.store import Sink
    from contract.worlds import End, World

LARGE = 3 << 20
"""Bytes of a snapshot: more than the least that is worth to be kept."""


@pytest.fixture
def large(world: World) -> Offer:
    """A snapshot, 1, of which a part is worth to be kept."""
    return Offer(world.source(1, nbytes=LARGE))


def boundaries(stream: bytes) -> list[int]:
    """Return where the commands of a stream end."""
    ends = [HEADER_SIZE]
    while ends[-1] < len(stream):
        length, _, _ = COMMAND_HEADER.unpack_from(stream, ends[-1])
        ends.append(ends[-1] + COMMAND_HEADER_SIZE + length)
    return ends


def digest(data: bytes) -> bytes:
    made = SpanDigest()
    made.update(memoryview(data))
    return made.digest()


def position(stream: bytes, *ends: int) -> Position:
    """Return where a stream stands that was received up to each of these offsets in turn."""
    starts = (0, *ends)
    spans = (Span(end, digest(stream[start:end])) for start, end in zip(starts, ends, strict=False))
    return Position(plain_bytes=ends[-1], spans=tuple(spans))


def rest(offer: Offer, diff: Diff, resume: Position) -> bytes:
    """Return what of a stream follows a position."""
    data = bytearray()
    buffer = memoryview(bytearray(1 << 16))
    with offer.store.send(diff, OPTIONS, resume=resume) as reader:
        while count := reader.readinto(buffer):
            data += buffer[:count]
    return bytes(data)


def interrupt(sink: Sink, diff: Diff, data: bytes, error: Exception) -> Position | None:
    """Receive the first bytes of a stream, until something goes wrong elsewhere."""
    with pytest.raises(type(error)), sink.receive(diff, "1", OPTIONS) as writer:  # noqa: PT012 - the block is what is tested
        found = writer.resume
        write_stream(writer, data[found.offset if found else 0 :])
        raise error
    return found


def resumed(sink: Sink, diff: Diff, *, fresh: bool = False) -> Position | None:
    """Return what a receive would go on from, and let it fail."""
    with pytest.raises(UnavailableError), sink.receive(diff, "1", OPTIONS, fresh=fresh) as writer:  # noqa: PT012 - the block is what is tested
        found = writer.resume
        raise UnavailableError("no more")
    return found


# Sending


def test_what_is_sent_from_a_position_on_is_the_rest_of_the_stream(source: Offer) -> None:
    diff = source.diff("2", "1")
    stream = read_stream(source.store, diff)
    ends = boundaries(stream)
    for end in (ends[1], ends[len(ends) // 2], ends[-2]):
        assert rest(source, diff, position(stream, end)) == stream[end:]
    assert rest(source, diff, position(stream, ends[1], ends[3], ends[5])) == stream[ends[5] :]


def test_nothing_is_sent_on_from_the_position_of_another_stream(source: Offer) -> None:
    diff = source.diff("2", "1")
    stream = read_stream(source.store, diff)
    ends = boundaries(stream)
    right = position(stream, ends[2], ends[4])
    wrong = (
        replace(right, spans=(Span(ends[2], bytes(16)), right.spans[1])),
        replace(right, spans=(right.spans[0], Span(ends[4], bytes(16)))),
        replace(right, spans=(right.spans[0], Span(ends[4] - 1, right.spans[1].digest))),
        replace(right, spans=(Span(len(stream) + 1, right.spans[0].digest),)),
    )
    for bad in wrong:
        with pytest.raises(RestartError):
            rest(source, diff, bad)
    assert rest(source, diff, right) == stream[ends[4] :]


def test_an_outline_names_the_same_diff_and_is_less_than_the_stream(
    subvolume_world: World,
) -> None:
    offer = Offer(subvolume_world.source(2, nbytes=1 << 18))
    diff = offer.diff("2")
    buffer = memoryview(bytearray(1 << 16))
    outline = bytearray()
    with offer.store.outline(diff, 1) as reader:
        while count := reader.readinto(buffer):
            outline += buffer[:count]
    stream = read_stream(offer.store, diff)
    assert outline[: boundaries(stream)[1]] == stream[: boundaries(stream)[1]]
    assert boundaries(bytes(outline))[-1] == len(outline) <= len(stream)


def test_there_is_no_outline_of_what_an_end_has_not(subvolume_world: World) -> None:
    offer = Offer(subvolume_world.source(1))
    for diff in (replace(offer.diff("1"), to=STRANGER), replace(offer.diff("1"), parent=STRANGER)):
        with pytest.raises(MissingError), offer.store.outline(diff, 1) as reader:
            reader.readinto(memoryview(bytearray(1)))


# Receiving


@pytest.fixture(params=[UnavailableError("gone"), TransferError("input/output error")])
def error(request: pytest.FixtureRequest) -> Exception:
    """What goes wrong in the block of a receive, without any fault of the stream."""
    found: Exception = request.param
    return found


def test_what_came_before_an_interruption_is_right_or_comes_again(
    large: Offer, destination: End, error: Exception
) -> None:
    diff = large.diff("1")
    stream = read_stream(large.store, diff)
    sink = destination.open()
    for part in (2, 3, 4):
        found = interrupt(sink, diff, stream[: len(stream) * part // 5], error)
        assert found is None or rest(large, diff, found) == stream[found.offset :]
        assert_nothing_arrived(sink, "1")
    assert_arrives(large, destination, diff, "1")


def test_what_is_listed_as_resumable_is_what_is_gone_on_from(
    large: Offer, destination: End
) -> None:
    diff = large.diff("1")
    stream = read_stream(large.store, diff)
    sink = destination.open()
    interrupt(sink, diff, stream[: len(stream) // 2], UnavailableError("gone"))
    told = [p.checkpoint for p in sink.inventory().partials if p.checkpoint is not None]
    found = resumed(sink, diff)
    assert [c.position for c in told] == ([found] if found else [])
    assert all((c.diff, c.options) == (diff, OPTIONS) for c in told)
    assert found is None or rest(large, diff, found) == stream[found.offset :]


def test_nothing_is_gone_on_from_after_a_stream_that_was_wrong(
    large: Offer, destination: End
) -> None:
    diff = large.diff("1")
    stream = read_stream(large.store, diff)
    middle = len(stream) // 2
    sink = destination.open()
    interrupt(sink, diff, stream[:middle], UnavailableError("gone"))
    with pytest.raises(CorruptStreamError), sink.receive(diff, "1", OPTIONS) as writer:  # noqa: PT012 - the block is what is tested
        write_stream(writer, stream[writer.resume.offset if writer.resume else 0 : middle])
        write_stream(writer, b"\xff" * LARGE)
    assert resumed(sink, diff) is None
    assert_arrives(large, destination, diff, "1")


def test_nothing_is_gone_on_from_if_it_is_to_begin_anew(large: Offer, destination: End) -> None:
    diff = large.diff("1")
    stream = read_stream(large.store, diff)
    sink = destination.open()
    interrupt(sink, diff, stream[: len(stream) // 2], UnavailableError("gone"))
    assert resumed(sink, diff, fresh=True) is None
    assert_arrives(large, destination, diff, "1")

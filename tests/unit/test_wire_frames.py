"""Frames of a link: they come out as they went in, and nothing else passes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buttersink.errors import ProtocolError
from buttersink.wire.frames import (
    HEADER,
    HEADER_SIZE,
    MAX_DATA,
    MAX_MESSAGE,
    Frame,
    FrameDecoder,
    Kind,
    encode_frame,
    encode_header,
)
from support.measured_memory import MIB, SMALL, no_more_memory_than
from support.stream_samples import pieces

if TYPE_CHECKING:
    from collections.abc import Iterable

LIMITS = dict.fromkeys(Kind, MAX_MESSAGE) | {Kind.DATA: MAX_DATA, Kind.ALIVE: 0, Kind.CANCEL: 0}


def frames_of(kinds: Iterable[Kind]) -> st.SearchStrategy[tuple[Kind, bytes]]:
    return st.sampled_from(sorted(kinds)).flatmap(
        lambda kind: st.tuples(st.just(kind), st.binary(max_size=min(LIMITS[kind], 40)))
    )


CONVERSATIONS = st.lists(frames_of(Kind), max_size=8)
CUTS = st.sets(st.integers(0, 400))


def encoded(frames: Iterable[tuple[Kind, bytes]]) -> bytes:
    return b"".join(encode_frame(kind, payload) for kind, payload in frames)


def cut(data: bytes, cuts: Iterable[int]) -> list[bytes]:
    return pieces(data, {min(position, len(data)) for position in cuts})


def decoded(decoder: FrameDecoder, parts: Iterable[bytes]) -> list[tuple[Kind, bytes]]:
    """Return the whole frames that come out, the pieces of DATA joined."""
    frames = list[tuple[Kind, bytes]]()
    data = b""
    for part in parts:
        for frame in decoder.feed(memoryview(part)):
            if frame.last:
                frames.append((frame.kind, data + frame.payload))
                data = b""
            else:
                assert frame.kind is Kind.DATA
                data += frame.payload
    return frames


def drain(decoder: FrameDecoder, data: bytes | memoryview) -> None:
    for _ in decoder.feed(memoryview(data)):
        pass


# Whole conversations


@given(CONVERSATIONS, CUTS)
def test_the_frames_come_out_as_they_went_in_however_they_are_cut(
    frames: list[tuple[Kind, bytes]], cuts: set[int]
) -> None:
    decoder = FrameDecoder()
    assert decoded(decoder, cut(encoded(frames), cuts)) == frames
    assert not decoder.mid_frame
    decoder.finish()


@given(CONVERSATIONS)
def test_the_frames_come_out_byte_by_byte(frames: list[tuple[Kind, bytes]]) -> None:
    data = encoded(frames)
    decoder = FrameDecoder()
    assert decoded(decoder, (data[i : i + 1] for i in range(len(data)))) == frames
    decoder.finish()


@given(CONVERSATIONS)
def test_an_input_that_ends_inside_a_frame_is_noticed_wherever_it_is_cut_off(
    frames: list[tuple[Kind, bytes]],
) -> None:
    data = encoded(frames)
    boundaries = {len(encoded(frames[:count])) for count in range(len(frames) + 1)}
    for size in range(len(data) + 1):
        decoder = FrameDecoder()
        came = decoded(decoder, [data[:size]])
        assert came == frames[: len(came)]
        assert decoder.mid_frame == (size not in boundaries)
        if size in boundaries:
            decoder.finish()
        else:
            with pytest.raises(ProtocolError, match="ended inside"):
                decoder.finish()


@given(frames_of(Kind), frames_of(Kind))
def test_a_frame_that_is_completed_comes_before_the_next_bytes(
    first: tuple[Kind, bytes], second: tuple[Kind, bytes]
) -> None:
    decoder = FrameDecoder()
    assert decoded(decoder, [encoded([first])]) == [first]
    assert decoded(decoder, [encoded([second])]) == [second]


def test_the_frames_look_as_they_are_documented() -> None:
    assert encode_frame(Kind.REQUEST, b"abc") == b"\x02\x03\x00\x00\x00abc"
    assert encode_header(Kind.DATA, MAX_DATA) == b"\x05\x00\x00\x10\x00"
    assert encode_frame(Kind.ALIVE) == b"\x08\x00\x00\x00\x00"
    assert {kind.name: kind.value for kind in Kind} == {
        "HELLO": 1,
        "REQUEST": 2,
        "REPLY": 3,
        "ITEMS": 4,
        "DATA": 5,
        "END": 6,
        "ERROR": 7,
        "ALIVE": 8,
        "CANCEL": 9,
        "PROGRESS": 10,
    }


# Bulk data


def test_data_is_passed_on_without_a_copy_and_as_it_comes() -> None:
    buffer = bytearray(encode_header(Kind.DATA, 100) + bytes(60))
    decoder = FrameDecoder()
    (first,) = decoder.feed(memoryview(buffer))
    assert isinstance(first.payload, memoryview)
    assert first.payload.obj is buffer
    assert (len(first.payload), first.last) == (60, False)
    rest = bytes(40) + encode_frame(Kind.END)
    second, end = decoder.feed(memoryview(rest))
    assert isinstance(second.payload, memoryview)
    assert second.payload.obj is rest
    assert (len(second.payload), second.last) == (40, True)
    assert (end.kind, bytes(end.payload)) == (Kind.END, b"")


@given(st.integers(0, 40), CUTS)
def test_pieces_of_data_are_empty_only_if_the_frame_is(nbytes: int, cuts: set[int]) -> None:
    decoder = FrameDecoder()
    data = encode_frame(Kind.DATA, bytes(nbytes))
    frames = [frame for part in cut(data, cuts) for frame in decoder.feed(memoryview(part))]
    if nbytes:
        assert all(frame.payload for frame in frames)
    else:
        assert frames == [Frame(Kind.DATA, b"")]
    assert [frame.last for frame in frames] == [False] * (len(frames) - 1) + [True]


def test_a_message_stays_when_the_buffer_that_it_came_in_is_used_again() -> None:
    buffer = bytearray(encode_frame(Kind.REPLY, b"answer") + encode_header(Kind.REPLY, 5) + b"ot")
    decoder = FrameDecoder()
    (first,) = decoder.feed(memoryview(buffer))
    buffer[:] = bytes(len(buffer))
    (second,) = decoder.feed(memoryview(b"her"))
    assert [bytes(first.payload), bytes(second.payload)] == [b"answer", b"other"]


def test_the_buffer_is_let_go_when_its_frames_are_taken() -> None:
    buffer = bytearray(encode_frame(Kind.REPLY, b"answer"))
    decoder = FrameDecoder()
    with memoryview(buffer) as view:
        drain(decoder, view)
    buffer.clear()  # refused with BufferError while anybody has a view of it


def test_bytes_are_not_skipped_unnoticed_when_frames_are_left_untaken() -> None:
    decoder = FrameDecoder()
    data = memoryview(encoded([(Kind.ALIVE, b""), (Kind.REPLY, b"answer")]))
    assert next(decoder.feed(data)).kind is Kind.ALIVE
    with pytest.raises(AssertionError, match="fed again before"):
        decoder.feed(data)


# Bounds


@pytest.mark.parametrize("kind", Kind)
def test_what_an_encoder_makes_at_most_a_decoder_takes_and_nothing_longer(kind: Kind) -> None:
    limit = LIMITS[kind]
    drain(FrameDecoder(), encode_header(kind, limit))
    with pytest.raises(ValueError, match=f"{kind.name} of {limit + 1} bytes"):
        encode_header(kind, limit + 1)
    with pytest.raises(ProtocolError, match=f"{kind.name} of {limit + 1} bytes; {limit} is"):
        drain(FrameDecoder(), HEADER.pack(kind, limit + 1))


@given(st.sampled_from(Kind), st.integers(0, 2**32 - 1))
def test_a_length_that_is_too_large_is_refused_before_any_payload(kind: Kind, extra: int) -> None:
    nbytes = min(LIMITS[kind] + 1 + extra, 2**32 - 1)
    header = HEADER.pack(kind, nbytes)
    decoder = FrameDecoder()
    drain(decoder, header[:-1])
    with pytest.raises(ProtocolError):
        drain(decoder, header[-1:])


@given(st.integers(0, 255).filter(lambda number: number not in set(Kind)), st.binary(min_size=4))
def test_an_unknown_kind_is_refused_before_any_payload(number: int, rest: bytes) -> None:
    data = bytes([number]) + rest
    with pytest.raises(ProtocolError, match="no message"):
        drain(FrameDecoder(), data[:HEADER_SIZE])


def test_a_negative_length_is_never_encoded() -> None:
    with pytest.raises(ValueError, match="-1 bytes"):
        encode_header(Kind.DATA, -1)


def test_the_frames_before_a_bad_one_are_still_given() -> None:
    decoder = FrameDecoder()
    frames = decoder.feed(memoryview(encode_frame(Kind.REPLY, b"fine") + b"<html>"))
    assert bytes(next(frames).payload) == b"fine"
    with pytest.raises(ProtocolError):
        next(frames)


def test_nothing_passes_after_a_refusal() -> None:
    decoder = FrameDecoder()
    with pytest.raises(ProtocolError) as first:
        drain(decoder, b"<html>" + encode_frame(Kind.ALIVE))
    with pytest.raises(ProtocolError) as second:
        decoder.feed(memoryview(encode_frame(Kind.ALIVE)))
    with pytest.raises(ProtocolError) as third:
        decoder.finish()
    assert first.value is second.value is third.value


@given(st.binary(max_size=200), CUTS)
def test_random_bytes_cause_no_other_error(data: bytes, cuts: set[int]) -> None:
    decoder = FrameDecoder()
    try:
        decoded(decoder, cut(data, cuts))
        decoder.finish()
    except ProtocolError as error:
        assert error.message  # noqa: PT017 - it may be raised, and then it must be so


@given(CONVERSATIONS, st.integers(0, 400), st.integers(1, 255), CUTS)
def test_a_changed_byte_causes_no_other_error_and_no_earlier_change(
    frames: list[tuple[Kind, bytes]], position: int, flip: int, cuts: set[int]
) -> None:
    data = bytearray(encoded(frames))
    position %= len(data) + 1
    data[position : position + 1] = bytes(byte ^ flip for byte in data[position : position + 1])
    intact = [
        frame for count, frame in enumerate(frames, 1) if len(encoded(frames[:count])) <= position
    ]
    came = list[tuple[Kind, bytes]]()
    decoder = FrameDecoder()
    try:
        for part in cut(bytes(data), cuts):
            for frame in decoder.feed(memoryview(part)):
                if frame.last and frame.kind is not Kind.DATA:
                    came.append((frame.kind, bytes(frame.payload)))
        decoder.finish()
    except ProtocolError:
        pass
    messages = [frame for frame in intact if frame[0] is not Kind.DATA]
    assert came[: len(messages)] == messages


def test_the_longest_message_takes_its_own_size_of_memory_and_no_more() -> None:
    part = memoryview(bytes(MIB))
    decoder = FrameDecoder()
    with no_more_memory_than(MAX_MESSAGE + SMALL):
        drain(decoder, encode_header(Kind.ITEMS, MAX_MESSAGE))
        for _ in range(MAX_MESSAGE // MIB - 1):
            drain(decoder, part)
        (frame,) = decoder.feed(part)
    assert len(frame.payload) == MAX_MESSAGE


def test_message_after_message_takes_no_more_memory_than_one() -> None:
    message = memoryview(encode_frame(Kind.ITEMS, bytes(MIB)))
    decoder = FrameDecoder()
    with no_more_memory_than(MIB + SMALL):
        for _ in range(10):
            drain(decoder, message)


def test_bulk_data_takes_no_memory() -> None:
    header, part = encode_header(Kind.DATA, MAX_DATA), memoryview(bytes(MAX_DATA))
    decoder = FrameDecoder()
    with no_more_memory_than(SMALL):
        for _ in range(20):
            drain(decoder, header)
            drain(decoder, part)
    decoder.finish()


def test_a_buffer_full_of_empty_frames_takes_no_memory() -> None:
    buffer = encode_frame(Kind.ALIVE) * (MIB // HEADER_SIZE // 10)
    with no_more_memory_than(SMALL):
        drain(FrameDecoder(), buffer)

"""What feeds streams to a decoder as a receiver does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from buttersink.stream.decoding import After, Decoder
from buttersink.stream.format import HEADER_SIZE
from support.recorded_calls import RecordedCalls
from support.stream_samples import pieces, split

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from buttersink.stream.guard import Expectation
    from support.recorded_calls import Call


def fed(decoder: Decoder, parts: Iterable[bytes]) -> Iterator[tuple[int, int]]:
    """Give the parts to a decoder, keeping what it leaves; yield sizes after each part.

    Yields:
        The bytes that came, and those of them that it left.
    """
    came, unread = 0, bytearray()
    for part in parts:
        came += len(part)
        unread += part
        with memoryview(unread) as view:
            taken = decoder.take(view)
        del unread[:taken]
        yield came, len(unread)


def decoded(
    data: bytes, expectation: Expectation, cuts: Iterable[int] = (), *, after: After | None = None
) -> tuple[Decoder, list[Call]]:
    """Return a decoder that got all of a stream, cut at these positions, and its calls."""
    recorded = RecordedCalls()
    decoder = Decoder(expectation, recorded, after=after)
    for _ in fed(decoder, pieces(data, {min(cut, len(data)) for cut in cuts})):
        pass
    return decoder, recorded.calls


def limits(data: bytes) -> list[int]:
    """Return where the header of a stream and each of its commands end."""
    found = [HEADER_SIZE]
    for command in split(data):
        found.append(found[-1] + len(command))
    return found

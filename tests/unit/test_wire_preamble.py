"""How a conversation begins: what ButterSink does not say is noticed, and shown."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buttersink.errors import ProtocolError
from buttersink.wire.frames import (
    PREAMBLE,
    Beginning,
    PreambleReader,
)
from support.measured_memory import MIB, SMALL, no_more_memory_than
from support.stream_samples import pieces

if TYPE_CHECKING:
    from collections.abc import Iterable

CUTS = st.sets(st.integers(0, 400))


def cut(data: bytes, cuts: Iterable[int]) -> list[bytes]:
    return pieces(data, {min(position, len(data)) for position in cuts})


def read_preamble(parts: Iterable[bytes]) -> tuple[PreambleReader, bytes]:
    """Return the reader that was fed so, and all that follows the preamble."""
    reader = PreambleReader()
    return reader, b"".join(reader.feed(memoryview(part)) for part in parts)


@given(st.binary(max_size=20), CUTS)
def test_the_preamble_is_found_however_it_is_cut(following: bytes, cuts: set[int]) -> None:
    reader, rest = read_preamble(cut(PREAMBLE + following, cuts))
    assert (reader.beginning, rest) == (Beginning.PREAMBLE, following)
    reader.finish()


def test_what_follows_the_preamble_is_not_copied() -> None:
    buffer = bytearray(PREAMBLE + bytes(40))
    reader = PreambleReader()
    assert reader.feed(memoryview(buffer)).obj is buffer
    assert reader.feed(memoryview(buffer)).nbytes == len(buffer)


def test_less_than_the_preamble_is_incomplete() -> None:
    for size in range(len(PREAMBLE)):
        reader, rest = read_preamble([PREAMBLE[:size]])
        assert (reader.beginning, rest) == (Beginning.INCOMPLETE, b"")
        with pytest.raises(ProtocolError, match="ended before ButterSink spoke"):
            reader.finish()


@given(st.integers(0, len(PREAMBLE) - 1), st.integers(1, 255))
def test_one_wrong_byte_is_enough(position: int, flip: int) -> None:
    wrong = PREAMBLE[:position] + bytes([PREAMBLE[position] ^ flip])
    reader, _ = read_preamble([wrong])
    if wrong in (b"{", b"v"):  # these may become an old ButterSink
        reader.feed(memoryview(b"!"))
    assert reader.beginning is Beginning.FOREIGN


@given(st.binary(min_size=1, max_size=40), CUTS)
def test_bytes_before_the_preamble_are_not_skipped(garbage: bytes, cuts: set[int]) -> None:
    reader, rest = read_preamble(cut(garbage + PREAMBLE, cuts))
    if (garbage + PREAMBLE).startswith(PREAMBLE):
        assert reader.beginning is Beginning.PREAMBLE
    else:
        assert rest == b""
        with pytest.raises(ProtocolError):
            reader.finish()


@given(CUTS)
def test_text_of_a_login_shell_is_shown_with_what_to_do(cuts: set[int]) -> None:
    greeting = "Welcome to NAS!\n\x1b[1mLast login: früh\n".encode()
    reader, rest = read_preamble(cut(greeting + PREAMBLE, cuts))
    assert (reader.beginning, rest) == (Beginning.FOREIGN, b"")
    with pytest.raises(ProtocolError) as raised:
        reader.finish()
    assert r"'Welcome to NAS!\n\x1b[1mLast login: früh\n" in raised.value.message
    assert raised.value.message.isprintable()
    assert "login shell" in raised.value.hint


@pytest.mark.parametrize(
    "beginning",
    [
        b'{"command": "buttersink", "error": "no such command", "server": true}\n',
        b'{"traceback": "Traceback (most recent call last):\\n", "error": "no such command"}\n',
        b"version\n",
    ],
)
@given(cuts=CUTS)
def test_an_old_buttersink_is_recognised(beginning: bytes, cuts: set[int]) -> None:
    reader, rest = read_preamble(cut(beginning, cuts))
    assert (reader.beginning, rest) == (Beginning.OLD_BUTTERSINK, b"")
    with pytest.raises(ProtocolError, match=r"older than version 1.*upgrade"):
        reader.finish()


@given(st.binary(max_size=300), CUTS)
def test_a_reader_of_any_bytes_raises_no_other_error(data: bytes, cuts: set[int]) -> None:
    reader, rest = read_preamble(cut(data, cuts))
    assert data.endswith(rest)
    if reader.beginning is Beginning.PREAMBLE:
        reader.finish()
    else:
        with pytest.raises(ProtocolError):
            reader.finish()


def test_endless_text_in_place_of_the_preamble_takes_no_memory() -> None:
    reader = PreambleReader()
    text = memoryview(b"yes\n" * (MIB // 4))
    with no_more_memory_than(SMALL):
        for _ in range(20):
            assert not reader.feed(text)
    with pytest.raises(ProtocolError) as raised:
        reader.finish()
    assert len(raised.value.message) < 500

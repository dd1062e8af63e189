"""LZO data unpacks as its instructions say, and bad data is refused."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buttersink.errors import CorruptStreamError
from buttersink.stream.lzo import decompress
from support.lzo_blocks import END, Block, stored

LIMIT = 1 << 20
FEW = st.binary(max_size=3)
MANY = st.binary(min_size=4, max_size=600)


@st.composite
def blocks(draw: st.DrawFn) -> Block:
    """Return blocks that have every kind of instruction wherever it can stand."""
    block = Block()
    if first := draw(st.binary(max_size=238)):
        block.begin(first)
    else:
        block.long_literals(draw(MANY))
    for _ in range(draw(st.integers(0, 12))):
        if block.literals == 0 and draw(st.booleans()):
            block.long_literals(draw(MANY))
        elif block.literals and draw(st.booleans()):
            add_short_copy(draw, block)
        else:
            add_copy(draw, block)
    return block


def add_short_copy(draw: st.DrawFn, block: Block) -> None:
    have = len(block.unpacked)
    if block.literals < 4:
        block.copy_two(draw(st.integers(1, min(have, 1024))), draw(FEW))
    elif have >= 2049:
        block.copy_three(draw(st.integers(2049, min(have, 3072))), draw(FEW))


def add_copy(draw: st.DrawFn, block: Block) -> None:
    have = len(block.unpacked)
    kind = draw(st.sampled_from(["near", "middle", "far"]))
    if kind == "near":
        distance = draw(st.integers(1, min(have, 2048)))
        block.copy_near(distance, draw(st.integers(3, 8)), draw(FEW))
    elif kind == "middle":
        distance = draw(st.integers(1, min(have, 16384)))
        length = draw(st.integers(3, 300) | st.integers(10_000, 20_000))
        block.copy_middle(distance, length, draw(FEW))
    elif have >= 16385:
        distance = draw(st.integers(16385, min(have, 49151)))
        block.copy_far(distance, draw(st.integers(3, 600)), draw(FEW))


@given(blocks())
def test_each_instruction_does_what_it_says(block: Block) -> None:
    assert decompress(block.ended(), LIMIT) == block.unpacked


@given(blocks())
def test_a_view_is_taken_as_well(block: Block) -> None:
    assert decompress(memoryview(block.ended()), len(block.unpacked)) == block.unpacked


@given(blocks(), st.data())
def test_a_block_that_breaks_off_is_refused(block: Block, data: st.DataObject) -> None:
    packed = block.ended()
    size = data.draw(st.integers(0, len(packed) - 1))

    with pytest.raises(CorruptStreamError):
        decompress(packed[:size], LIMIT)


@given(blocks())
def test_what_follows_the_end_is_refused(block: Block) -> None:
    with pytest.raises(CorruptStreamError):
        decompress(block.ended() + b"\0", LIMIT)


@given(blocks().filter(lambda block: bool(block.unpacked)), st.data())
def test_more_than_there_may_be_is_refused(block: Block, data: st.DataObject) -> None:
    limit = data.draw(st.integers(0, len(block.unpacked) - 1))

    with pytest.raises(CorruptStreamError, match="more than"):
        decompress(block.ended(), limit)


@given(st.binary(max_size=200), st.integers(0, 5000))
def test_any_bytes_are_refused_or_stay_within_the_limit(data: bytes, limit: int) -> None:
    with suppress(CorruptStreamError):
        assert len(decompress(data, limit)) <= limit


@given(blocks(), st.data())
def test_a_changed_byte_does_no_other_harm(block: Block, data: st.DataObject) -> None:
    packed = bytearray(block.ended())
    packed[data.draw(st.integers(0, len(packed) - 1))] = data.draw(st.integers(0, 255))

    with suppress(CorruptStreamError):
        assert len(decompress(bytes(packed), LIMIT)) <= LIMIT


def test_a_block_can_be_empty() -> None:
    assert decompress(END, 0) == b""


@pytest.mark.parametrize("size", [1, 3, 4, 18, 19, 273, 274, 4096])
def test_literals_come_in_any_number(size: int) -> None:
    data = bytes(index % 251 for index in range(size))

    assert decompress(stored(data), size) == data


def test_a_copy_from_before_the_start_is_refused() -> None:
    block = Block()
    block.begin(b"four")
    packed = bytes(block.packed) + b"\x40\x01" + END  # 3 bytes from 9 before

    with pytest.raises(CorruptStreamError, match="before its start"):
        decompress(packed, LIMIT)


def test_endless_lengths_are_refused() -> None:
    packed = b"\x12a\x20" + bytes(100_000) + b"\x01\x00\x00" + END

    with pytest.raises(CorruptStreamError, match="more than 4096"):
        decompress(packed, 4096)


def test_a_version_that_btrfs_has_not_is_refused() -> None:
    with pytest.raises(CorruptStreamError, match="version"):
        decompress(b"\x11\x01\x12a" + END, LIMIT)


def test_an_end_of_another_length_is_refused() -> None:
    with pytest.raises(CorruptStreamError, match="end"):
        decompress(b"\x12a\x12\0\0", LIMIT)

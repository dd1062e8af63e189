"""Any zstd file is given out in small pieces, and a damaged one never passes for whole."""

from __future__ import annotations

import random
import struct
import subprocess
import tracemalloc
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from buttersink.errors import CorruptStreamError
from buttersink.stored.decompressor import PIECE_BYTES, decompress_stream
from buttersink.stored.seekable import SeekTableBuilder, compress_frame

if TYPE_CHECKING:
    from collections.abc import Iterator

NOISE = random.Random(2).randbytes(300_000)
TEXT = NOISE.hex().encode() + bytes(400_000)


def skippable(data: bytes, magic: int = 0x184D2A50) -> bytes:
    return struct.pack("<II", magic, len(data)) + data


def unsized(data: bytes) -> bytes:
    """Return a frame as programs write it that read from a pipe."""
    writer = zstandard.ZstdCompressor(write_checksum=False).compressobj()
    return writer.compress(data) + writer.flush()


def whole(data: bytes) -> bytes:
    return b"".join(decompress_stream([data]))


frames = st.one_of(
    st.binary(max_size=300).map(lambda data: (compress_frame(data, 3), data)),
    st.binary(max_size=300).map(lambda data: (unsized(data), data)),
    st.tuples(st.binary(max_size=20), st.integers(0x184D2A50, 0x184D2A5F)).map(
        lambda drawn: (skippable(*drawn), b"")
    ),
)


@st.composite
def files(draw: st.DrawFn) -> tuple[list[bytes], bytes]:
    """Return a file cut into pieces, and what it holds."""
    drawn = draw(st.lists(frames, max_size=5))
    data = b"".join(frame for frame, _ in drawn)
    cuts = sorted(draw(st.lists(st.integers(0, len(data)), max_size=8)))
    chunks = [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]
    return chunks, b"".join(plain for _, plain in drawn)


@given(files())
def test_frames_of_any_kind_are_read_however_the_file_is_cut(
    drawn: tuple[list[bytes], bytes],
) -> None:
    chunks, plain = drawn
    assert b"".join(decompress_stream(chunks)) == plain


@given(files(), st.data())
def test_a_file_that_ends_too_early_is_refused_unless_it_ends_between_frames(
    drawn: tuple[list[bytes], bytes], data: st.DataObject
) -> None:
    chunks, plain = drawn
    text = b"".join(chunks)
    cut = text[: data.draw(st.integers(0, len(text)))]
    try:
        found = whole(cut)
    except CorruptStreamError:
        return
    assert plain.startswith(found)
    rest = text[len(cut) :]
    assert found + whole(rest) == plain


@given(st.binary(min_size=1, max_size=100))
def test_random_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(CorruptStreamError):
        whole(data)


def test_data_of_many_blocks_is_read() -> None:
    for frame in (compress_frame(TEXT, 3), unsized(TEXT), compress_frame(NOISE, 1)):
        pieces = list(decompress_stream([frame]))
        assert b"".join(pieces) in {TEXT, NOISE}
        assert max(map(len, pieces)) <= PIECE_BYTES


def test_what_follows_the_last_frame_is_refused() -> None:
    with pytest.raises(CorruptStreamError, match="not a zstd frame"):
        whole(compress_frame(b"x", 3) + b"trailing")


@given(st.integers(0, len(compress_frame(TEXT[:1_000], 3)) - 1), st.integers(0, 7))
def test_a_flipped_bit_is_noticed(position: int, bit: int) -> None:
    damaged = bytearray(compress_frame(TEXT[:1_000], 3))
    damaged[position] ^= 1 << bit
    with suppress(CorruptStreamError):
        assert whole(bytes(damaged)) == TEXT[:1_000]


def repeated_blocks(count: int) -> Iterator[bytes]:
    """Yield a frame of 4 bytes for each 128 KiB that it holds."""
    window = (27 - 10) << 3
    yield struct.pack("<IBB", zstandard.MAGIC_NUMBER, 0, window)
    for number in range(1, count + 1):
        last = number == count
        yield (PIECE_BYTES << 3 | 1 << 1 | last).to_bytes(3, "little") + b"\0"


def test_little_that_holds_very_much_is_given_out_in_pieces() -> None:
    count = (1 << 30) // PIECE_BYTES
    bomb = b"".join(repeated_blocks(count))
    assert len(bomb) < 40_000
    tracemalloc.start()
    try:
        lengths = [len(piece) for piece in decompress_stream([bomb])]
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()
    assert sum(lengths) == 1 << 30
    assert max(lengths) == PIECE_BYTES


def test_only_as_much_is_read_as_is_needed() -> None:
    frame = compress_frame(b"first", 3)
    chunks = deque([frame, frame, frame])

    def reading() -> Iterator[bytes]:
        while chunks:
            yield chunks.popleft()

    assert next(decompress_stream(reading())) == b"first"
    assert len(chunks) == 2


def test_a_window_that_zstd_would_not_give_is_refused() -> None:
    header = struct.pack("<IBB", zstandard.MAGIC_NUMBER, 0, (31 - 10) << 3)
    with pytest.raises(CorruptStreamError):
        whole(header + (5 << 3 | 1).to_bytes(3, "little") + b"hello")


def test_a_block_larger_than_there_can_be_is_refused() -> None:
    header = struct.pack("<IBB", zstandard.MAGIC_NUMBER, 0, 0)
    with pytest.raises(CorruptStreamError, match="a block of"):
        whole(header + ((PIECE_BYTES + 1) << 3 | 1).to_bytes(3, "little"))


@pytest.mark.parametrize("options", [["-3"], ["-19", "--no-check"], ["-1", "--long=24"]])
def test_what_the_zstd_program_writes_is_read(options: list[str]) -> None:
    made = subprocess.run(
        ["zstd", "-qc", *options], input=TEXT, check=True, capture_output=True
    ).stdout
    assert whole(made + skippable(b"x") + made) == TEXT + TEXT


def test_an_object_with_a_table_is_read_past_it() -> None:
    builder = SeekTableBuilder()
    frame = compress_frame(TEXT, 3)
    builder.add(len(frame), len(TEXT))
    assert whole(frame + builder.encode()) == TEXT

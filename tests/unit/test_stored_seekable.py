"""Compressed streams: what we write every zstd program reads, and tables are not just believed."""

from __future__ import annotations

import random
import struct
import subprocess
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import accumulate
from typing import TYPE_CHECKING

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from buttersink.errors import CorruptStreamError
from buttersink.stored.seekable import (
    MAX_FRAME_BYTES,
    MAX_FRAMES,
    Frame,
    NeedMore,
    SeekTable,
    SeekTableBuilder,
    compress_frame,
    decompress_frame,
    read_seek_table,
    worth_compressing,
)

if TYPE_CHECKING:
    from pathlib import Path

NOISE = random.Random(1).randbytes(1 << 16)
SKIPPED = struct.pack("<II5s", 0x184D2A53, 5, b"hello")

plains = st.lists(st.binary(max_size=300), max_size=6)


def compressed(pieces: list[bytes], level: int = 3) -> tuple[bytes, bytes]:
    """Return the frames of an object, and its table."""
    builder = SeekTableBuilder()
    frames = []
    for piece in pieces:
        frames.append(compress_frame(piece, level))
        builder.add(len(frames[-1]), len(piece))
    return b"".join(frames), builder.encode()


def table(
    entries: list[tuple[int, ...]],
    *,
    magic: int = 0x184D2A5E,
    descriptor: int = 0,
    extra: int = 0,
    end: int = 0x8F92EAB1,
    count: int | None = None,
) -> bytes:
    """Return a table as the specification has it, or as it must not be."""
    body = b"".join(struct.pack(f"<{len(entry)}I", *entry) for entry in entries)
    footer = struct.pack("<IBI", len(entries) if count is None else count, descriptor, end)
    return struct.pack("<II", magic, len(body) + len(footer) + extra) + body + footer


def zstd(*options: str, data: bytes) -> bytes:
    return subprocess.run(
        ["zstd", "-q", *options], input=data, check=True, capture_output=True
    ).stdout


class TestFrames:
    @given(st.binary(max_size=2_000), st.sampled_from([1, 3, 19]))
    def test_come_back(self, data: bytes, level: int) -> None:
        assert decompress_frame(compress_frame(data, level), len(data)) == data

    def test_tell_their_size_and_have_a_checksum(self) -> None:
        facts = zstandard.get_frame_parameters(compress_frame(b"x" * 1_000, 3))
        assert (facts.content_size, facts.has_checksum) == (1_000, True)

    def test_are_the_same_in_whatever_thread_they_are_made(self) -> None:
        pieces = [NOISE[n:] + bytes(n) for n in range(40)]
        with ThreadPoolExecutor(4) as pool:
            frames = list(pool.map(lambda piece: compress_frame(piece, 3), pieces))
        assert frames == [compress_frame(piece, 3) for piece in pieces]

    @given(st.binary(min_size=1, max_size=300), st.data())
    def test_that_are_damaged_are_refused(self, data: bytes, draw: st.DataObject) -> None:
        frame = bytearray(compress_frame(data, 3))
        frame[draw.draw(st.integers(0, len(frame) - 1))] ^= 1 << draw.draw(st.integers(0, 7))
        with suppress(CorruptStreamError):
            assert decompress_frame(frame, len(data)) == data

    @pytest.mark.parametrize("change", [-1, 1, 1 << 20])
    def test_that_hold_more_or_less_than_they_should_are_refused(self, change: int) -> None:
        with pytest.raises(CorruptStreamError, match="instead of"):
            decompress_frame(compress_frame(bytes(1_000), 3), 1_000 + change)

    @pytest.mark.parametrize("change", [-1, 1])
    def test_that_do_not_tell_their_size_are_held_to_the_tables(self, change: int) -> None:
        writer = zstandard.ZstdCompressor(write_content_size=False)
        frame = writer.compress(bytes(1_000))
        assert decompress_frame(frame, 1_000) == bytes(1_000)
        with pytest.raises(CorruptStreamError):
            decompress_frame(frame, 1_000 + change)

    def test_that_are_cut_or_followed_by_something_are_refused(self) -> None:
        frame = compress_frame(b"some data", 3)
        for data in (b"", frame[:4], frame[:-1], frame + b"x", frame + frame):
            with pytest.raises(CorruptStreamError):
                decompress_frame(data, 9)

    def test_take_no_more_memory_than_the_table_allows(self) -> None:
        bomb = zstandard.ZstdCompressor(write_content_size=False).compress(bytes(1 << 28))
        tracemalloc.start()
        try:
            with pytest.raises(CorruptStreamError):
                decompress_frame(bomb, 1_000)
            assert tracemalloc.get_traced_memory()[1] < 1 << 20
        finally:
            tracemalloc.stop()

    def test_that_are_to_be_skipped_hold_nothing(self) -> None:
        assert decompress_frame(SKIPPED, 0) == b""
        with pytest.raises(CorruptStreamError, match="skippable"):
            decompress_frame(SKIPPED, 5)
        with pytest.raises(CorruptStreamError):
            decompress_frame(SKIPPED[:-1], 0)


class TestTables:
    @given(plains)
    def test_tell_where_every_frame_is(self, pieces: list[bytes]) -> None:
        frames, end = compressed(pieces)
        data = frames + end
        found = read_seek_table(data, len(data))
        assert isinstance(found, SeekTable)
        assert found.plain_bytes == sum(map(len, pieces))
        assert len(found.frames) == len(pieces)
        assert [
            decompress_frame(data[f.start : f.start + f.nbytes], f.plain_bytes)
            for f in found.frames
        ] == pieces

    @given(plains, st.data())
    def test_are_found_in_as_little_of_the_end_as_holds_them(
        self, pieces: list[bytes], draw: st.DataObject
    ) -> None:
        frames, end = compressed(pieces)
        data = frames + end
        tail = data[len(data) - draw.draw(st.integers(0, len(data))) :]
        found = read_seek_table(tail, len(data))
        if isinstance(found, NeedMore):
            assert len(tail) < found.nbytes <= len(end)
            found = read_seek_table(data[-found.nbytes :], len(data))
            if isinstance(found, NeedMore):
                found = read_seek_table(data[-found.nbytes :], len(data))
        assert isinstance(found, SeekTable)
        assert len(found.frames) == len(pieces)

    def test_with_checksums_are_understood(self) -> None:
        end = table([(20, 100, 7), (30, 200, 8)], descriptor=0x83)
        found = read_seek_table(end, 50 + len(end))
        assert isinstance(found, SeekTable)
        assert list(found.frames) == [Frame(0, 20, 100), Frame(20, 30, 200)]
        assert found.frames[-1:] == (Frame(20, 30, 200),)

    @pytest.mark.parametrize(
        ("end", "frames_bytes"),
        [
            (table([(20, 100)]), 19),
            (table([(20, 100)]), 21),
            (table([(20, 100)], magic=0x184D2A5D), 20),
            (table([(20, 100)], end=0x8F92EAB0), 20),
            (table([(20, 100)], descriptor=0x04), 20),
            (table([(20, 100)], descriptor=0x80), 20),
            (table([(20, 100)], extra=1), 20),
            (table([(20, 100)], count=0), 20),
            (table([(20, 100)], count=2), 20),
            (table([(20, 100)], count=0xFFFFFFFF), 20),
            (table([(20, 100), (0, 100)]), 20),
            (table([(20, MAX_FRAME_BYTES + 1)]), 20),
            (table([(MAX_FRAME_BYTES + 1, 20)]), MAX_FRAME_BYTES + 1),
            (table([(0xFFFFFFFF, 20), (21, 20)]), 20),
            (b"", 0),
            (b"too short", 9),
            (bytes(100), 100),
        ],
    )
    def test_that_do_not_fit_are_not_believed(self, end: bytes, frames_bytes: int) -> None:
        tail = bytes(20) + end
        assert read_seek_table(tail, frames_bytes + len(end)) is None

    def test_of_too_many_frames_are_not_even_asked_for(self) -> None:
        end = table([(20, 100)], count=MAX_FRAMES + 1)
        assert read_seek_table(end, 1 << 50) is None

    @given(st.binary(max_size=60), st.integers(0, 200))
    def test_are_not_seen_in_random_bytes(self, data: bytes, before: int) -> None:
        assert not isinstance(read_seek_table(data, len(data) + before), SeekTable)

    def test_of_very_many_frames_are_compact(self) -> None:
        count = 100_000
        tracemalloc.start()
        try:
            builder = SeekTableBuilder()
            for _ in range(count):
                builder.add(4 << 20, 4 << 20)
            end = builder.encode()
            found = read_seek_table(end, count * (4 << 20) + len(end))
            # An object for each frame would take more.
            assert tracemalloc.get_traced_memory()[1] < 60 * count
        finally:
            tracemalloc.stop()
        assert isinstance(found, SeekTable)
        assert found.plain_bytes == count * (4 << 20)
        assert found.frames[-1].start == (count - 1) * (4 << 20)


class TestTheZstdProgram:
    """What `zstd` makes of our objects."""

    pieces = (b"begin " * 1_000, NOISE, b"", bytes(1 << 20), b"end")

    def test_gives_out_the_stream(self) -> None:
        assert zstd("-dc", data=b"".join(compressed(list(self.pieces)))) == b"".join(self.pieces)

    def test_finds_the_object_in_order_and_notices_if_it_is_not(self, tmp_path: Path) -> None:
        file = tmp_path / "object.zst"
        frames, end = compressed(list(self.pieces))
        file.write_bytes(frames + end)
        subprocess.run(["zstd", "-q", "-t", file], check=True, capture_output=True)
        file.write_bytes(frames[:100] + b"\xff" + frames[101:] + end)
        assert subprocess.run(
            ["zstd", "-q", "-t", file], check=False, capture_output=True
        ).returncode

    def test_lists_the_frames_and_the_size(self, tmp_path: Path) -> None:
        file = tmp_path / "object.zst"
        file.write_bytes(b"".join(compressed(list(self.pieces))))
        listed = subprocess.run(
            ["zstd", "--list", "-v", file], check=True, capture_output=True, text=True
        ).stdout
        facts = dict(line.split(":", 1) for line in listed.splitlines() if ": " in line)
        assert facts["# Zstandard Frames"].strip() == str(len(self.pieces))
        assert facts["# Skippable Frames"].strip() == "1"
        assert f"({sum(map(len, self.pieces))} B)" in facts["Decompressed Size"]


class TestWorthCompressing:
    def test_is_what_gets_smaller(self) -> None:
        assert worth_compressing(b"a line of text\n" * 1_000, 3)

    def test_is_nothing_that_is_compressed_already(self) -> None:
        assert not worth_compressing(NOISE, 3)
        assert not worth_compressing(compress_frame(NOISE.hex().encode(), 3), 3)


def test_frames_are_a_sequence() -> None:
    sizes = [20, 30, 40]
    end = table([(size, 2 * size) for size in sizes])
    found = read_seek_table(end, sum(sizes) + len(end))
    assert isinstance(found, SeekTable)
    starts = list(accumulate(sizes, initial=0))
    assert [found.frames[n].start for n in range(3)] == starts[:3]
    with pytest.raises(IndexError):
        found.frames[3]

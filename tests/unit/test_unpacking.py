"""Extents of all kinds unpack to their length, and bad ones are refused."""

from __future__ import annotations

import tracemalloc
import zlib
from base64 import b64decode
from contextlib import suppress

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from buttersink.errors import CorruptStreamError
from buttersink.stream.unpacking import MAX_UNPACKED, Compression, unpack
from support.lzo_blocks import END, Block, extent, stored

SECTOR = 4096
SONG = (
    10
    * "".join(
        f"{n} bottles of beer on the wall, {n} bottles of beer.\n" for n in range(12, 0, -1)
    ).encode()
)

# The song in a file, as Linux 6.18 wrote it, without the zeros at the end of the sector.
FROM_THE_KERNEL = {
    Compression.LZO_4K: (
        "igEAAMcAAAAADjEyIGJvdHRsZXMgb2YgYmVlciBvbiB0aGUgd2FsbCwgMHwABC4KMTEgYm86zAAvfAABLgoxMD3M"
        "AC9/AC4KOTzIAC97AC4KODzEAC97AC4KNzzEAC97AC4KNjzEAC97AC4KNTzEAC97AC4KNDzEAC97AC4KMzzEAC97"
        "AC4KMjzEAC96AC4KL1gHLagILkIBLgow9AgtyAAylAE+mAEvfAAgAAAAAAAAAAAAAAAAABh0CQ1lcyBvZiBiZWVy"
        "LgozIGJvEQAAtwAAAAANdHRsZXMgb2YgYmVlciBvbiB0aGUgd2FsbCwgMyBibyt7AC4KMi5IACzEAC97AC4KMTzE"
        "AC97AC4KMS8UASyQATB/AC4KMS8cAS3MAC98AAEuCjEwPWgCL38ALgo5PMgAL3sALgo4PMQAL3sALgo3PMQAL3sA"
        "Lgo2PMQAL3sALgo1PMQAL3sALgo0PMQAL3oALgov+AgsSAYveAAgAAAAAPd0CQt0bGVzIG9mIGJlZXIuChE="
    ),
    Compression.ZLIB: (
        "eF7sl0sKAjEQRPd9ij6ANMa/x3Eg4iIY0AGvb1YSrLGyFmr9eKuudKrTxqc6zyU/vV59yvnh9e7zLfvrUsrKE/Cw"
        "lAYO8OasBw7wsDNXAIeduAE47MgNwGEHbgAO23MDcNiOG4DDttwAHDYY/NLcByP8xm3qShd7XErXZ+u0rChdLCva"
        "XV1WtLvop62fscuKfkba79S7uqyod5FLQK2+u5LU6nUz/jiZ/6rVvwEAAP//wtP1H+0zojWyRkckcA4TjY5IoGSk"
        "0fEuPOXK6HgXSjtidDQVT1oZHU1F6p0AAAAA//8DAHf44xY="
    ),
    Compression.ZSTD: (
        "KLUv/WCsFhUEALQDMTIgYm90dGxlcyBvZiBiZWVyIG9uIHRoZSB3YWxsLCAuCjExMTAwOS4KOC4KNzc2NjU1NDQz"
        "MzIyMTEdACsVRnoQWxmSMANIDogMeALEAx4DogDvgMiAJ0A84DEgCvCuKjnYREboDBwjA5vICJ1BDeIBj4FGQHJX"
        "deEmQjA89QQ="
    ),
}

compressions = st.sampled_from([c for c in Compression if c is not Compression.NONE])
contents = st.binary(min_size=1, max_size=300) | st.builds(
    lambda piece, times: piece * times, st.binary(min_size=1, max_size=60), st.integers(1, 600)
)


def pack(data: bytes, compression: Compression) -> bytes:
    """Return data compressed in this way, if hardly smaller."""
    match compression:
        case Compression.ZLIB:
            return zlib.compress(data)
        case Compression.ZSTD:
            return zstandard.ZstdCompressor(write_content_size=False).compress(data)
        case _:
            sector = 4096 << compression - Compression.LZO_4K
            sectors = range(0, len(data), sector)
            return extent([stored(data[start : start + sector]) for start in sectors], sector)


@pytest.mark.parametrize("compression", FROM_THE_KERNEL)
def test_what_a_kernel_has_packed_unpacks(compression: Compression) -> None:
    packed = b64decode(FROM_THE_KERNEL[compression])

    unpacked = unpack(packed.ljust(SECTOR, b"\0"), compression, 2 * SECTOR)

    assert unpacked == SONG.ljust(2 * SECTOR, b"\0")


@given(contents, compressions, st.integers(0, 5000), st.integers(0, 40_000))
def test_data_is_cut_or_filled_to_its_length(
    data: bytes, compression: Compression, padding: int, length: int
) -> None:
    packed = pack(data, compression) + bytes(padding)

    assert unpack(packed, compression, length) == data[:length].ljust(length, b"\0")


@given(contents, st.integers(0, 40_000))
def test_what_is_not_compressed_is_taken_as_it_is(data: bytes, length: int) -> None:
    unpacked = unpack(memoryview(data), Compression.NONE, length)

    assert unpacked == data[:length].ljust(length, b"\0")


@pytest.mark.parametrize("left", range(8))
@pytest.mark.parametrize("compression", range(Compression.LZO_4K, Compression.LZO_64K + 1))
def test_no_length_of_an_lzo_segment_reaches_across_sectors(compression: int, left: int) -> None:
    sector = 4096 << compression - Compression.LZO_4K
    first = next(
        data
        for data in (b"a" * size for size in range(sector, 0, -1))
        if len(stored(data)) == sector - 8 - left  # so many bytes are left in the sector then
    )
    packed = extent([stored(first), stored(b"second")], sector)

    assert unpack(packed, compression, len(first) + 6) == first + b"second"


@given(contents.filter(bool), compressions, st.data())
def test_an_extent_that_breaks_off_is_refused(
    data: bytes, compression: Compression, drawing: st.DataObject
) -> None:
    packed = pack(data, compression)
    size = drawing.draw(st.integers(0, len(packed) - 1))

    with pytest.raises(CorruptStreamError):
        unpack(packed[:size], compression, len(data) + 1)


@given(st.binary(max_size=300), st.integers(0, 9), st.integers(0, 40_000))
def test_any_bytes_are_refused_or_have_the_length(
    data: bytes, compression: int, length: int
) -> None:
    with suppress(CorruptStreamError):
        assert len(unpack(data, compression, length)) == length


@given(contents.filter(bool), compressions, st.data())
def test_a_changed_byte_does_no_other_harm(
    data: bytes, compression: Compression, drawing: st.DataObject
) -> None:
    packed = bytearray(pack(data, compression))
    packed[drawing.draw(st.integers(0, len(packed) - 1))] = drawing.draw(st.integers(0, 255))

    with suppress(CorruptStreamError):
        assert len(unpack(bytes(packed), compression, len(data))) == len(data)


def lzo_bomb() -> bytes:
    block = Block()
    block.begin(b"a")
    block.copy_middle(1, SECTOR - 1, b"")
    return extent([block.ended()] * 4000, SECTOR)


@pytest.mark.parametrize(
    ("compression", "packed"),
    [
        (Compression.ZLIB, zlib.compress(bytes(64 << 20), 9)),
        (Compression.ZSTD, zstandard.ZstdCompressor().compress(bytes(1 << 30))[:50_000]),
        (Compression.LZO_4K, lzo_bomb()),
    ],
    ids=["zlib", "zstd", "lzo"],
)
def test_no_more_memory_is_taken_than_for_the_length(
    compression: Compression, packed: bytes
) -> None:
    tracemalloc.start()
    try:
        with suppress(CorruptStreamError):
            unpack(packed, compression, MAX_UNPACKED)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < len(packed) + 4 * MAX_UNPACKED


def test_a_zstd_window_that_btrfs_has_not_is_refused() -> None:
    parameters = zstandard.ZstdCompressionParameters(window_log=18)
    compressor = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    packed = compressor.compress(SONG) + compressor.flush()

    with pytest.raises(CorruptStreamError, match="zstd"):
        unpack(packed, Compression.ZSTD, len(SONG))


def test_a_segment_of_more_than_a_sector_is_refused() -> None:
    packed = extent([stored(bytes(SECTOR + 1))], SECTOR)

    with pytest.raises(CorruptStreamError, match="more than 4096"):
        unpack(packed, Compression.LZO_4K, 2 * SECTOR)


@pytest.mark.parametrize("length", [4, 5, 2**32 - 1])
def test_an_lzo_segment_beyond_the_extent_is_refused(length: int) -> None:
    packed = (11).to_bytes(4, "little") + length.to_bytes(4, "little") + END

    with pytest.raises(CorruptStreamError, match="breaks off"):
        unpack(packed, Compression.LZO_4K, SECTOR)


def test_an_unknown_compression_is_refused() -> None:
    with pytest.raises(CorruptStreamError, match="unknown way \\(8\\)"):
        unpack(b"data", 8, 4)

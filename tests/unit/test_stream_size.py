from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buttersink.errors import CorruptStreamError
from buttersink.stream.format import (
    COMMAND_HEADER,
    HEADER_SIZE,
    MAX_COMMAND,
    encode_command,
    encode_stream_header,
)
from buttersink.stream.size import StubMeter, largest_write
from support.stream_samples import (
    REAL_FULL,
    REAL_INCREMENT,
    A,
    C,
    full,
    head,
    pieces,
    u64,
    utimes,
    write,
)

EXTENTS = st.lists(
    st.tuples(
        st.binary(min_size=1, max_size=30),
        st.one_of(
            st.integers(0, 400_000),
            st.sampled_from([48 << 10, 96 << 10, 128 << 10, 176 << 10, 256 << 10]),
        ),
    ),
    max_size=4,
)


def measured(data: bytes, version: int, *, page_size: int = 4096) -> int:
    meter = StubMeter(version, page_size=page_size)
    meter.feed(data)
    assert meter.complete
    return meter.nbytes


def update_extent(path: bytes, size: int, version: int) -> bytes:
    attributes = [(A.PATH, path), (A.FILE_OFFSET, u64(4096)), (A.SIZE, u64(size))]
    return encode_command(C.UPDATE_EXTENT, attributes, version)


def writes(path: bytes, size: int, version: int, most: int) -> bytes:
    return b"".join(
        write(path, bytes(min(most, size - at)), offset=at, version=version)
        for at in range(0, size, most)
    )


@given(EXTENTS, st.sampled_from([1, 2, 3]), st.sampled_from([4096, 16 << 10, 64 << 10]))
def test_the_meter_tells_the_size_of_the_stream_with_data(
    extents: list[tuple[bytes, int]], version: int, page_size: int
) -> None:
    most = largest_write(version, page_size)
    stub, real = [], []
    for path, size in extents:
        times = utimes(path, version=version)
        stub += [update_extent(path, size, version), times]
        real += [writes(path, size, version, most), times]
    size = measured(full(*stub, version=version), version, page_size=page_size)
    assert size == len(full(*real, version=version))


def test_the_kernels_writes_are_as_large_as_its_buffer_allows() -> None:
    assert largest_write(1) == 49152
    assert largest_write(2) == largest_write(2, page_size=16384) == 131072
    assert largest_write(2, page_size=65536) == 180224
    assert largest_write(1, page_size=65536) == 49152


@pytest.mark.parametrize(("real", "version"), [(REAL_FULL, 1), (REAL_INCREMENT, 2)])
def test_a_kernels_stream_without_extents_measures_its_own_size(real: bytes, version: int) -> None:
    assert measured(real, version) == len(real)


@given(st.sets(st.integers(0, 500)))
def test_the_size_does_not_depend_on_how_the_stream_is_cut(cuts: set[int]) -> None:
    data = full(update_extent(b"a", 100_000, 1), update_extent(b"bb", 1, 1), utimes(b"bb"))
    meter = StubMeter(1)
    for piece in pieces(data, {min(cut, len(data)) for cut in cuts}):
        meter.feed(memoryview(piece))
    assert (meter.nbytes, meter.complete) == (measured(data, 1), True)


def test_the_meter_is_complete_only_at_the_last_byte_of_end_and_never_shrinks() -> None:
    data = full(update_extent(b"a", 100_000, 1))
    meter, sizes = StubMeter(1), [0]
    for byte in data:
        assert not meter.complete
        meter.feed(bytes([byte]))
        sizes.append(meter.nbytes)
    assert meter.complete
    assert sizes == sorted(sizes)
    assert sizes[HEADER_SIZE - 1 : HEADER_SIZE + 1] == [0, HEADER_SIZE]


def test_what_follows_end_is_not_counted() -> None:
    data = full()
    meter = StubMeter(1)
    meter.feed(data + b"stale")
    meter.feed(data)
    assert meter.nbytes == len(data)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"btrfs-scream" + bytes(5), "not a btrfs send stream"),
        (encode_stream_header(2), "version 2, not 1"),
        (
            encode_stream_header(1) + head() + COMMAND_HEADER.pack(MAX_COMMAND + 1, 15, 0),
            "a command of 1048577 bytes",
        ),
        (encode_stream_header(1) + encode_command(C.UPDATE_EXTENT, [], 1), "laid out"),
        (full(encode_command(C.UPDATE_EXTENT, [(A.PATH, bytes(40))], 1)), "laid out"),
        (
            full(
                encode_command(
                    C.UPDATE_EXTENT,
                    [(A.FILE_OFFSET, u64(0)), (A.PATH, b"a"), (A.SIZE, u64(1))],
                    1,
                )
            ),
            "laid out",
        ),
    ],
)
def test_what_no_kernel_makes_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(CorruptStreamError, match=message):
        measured(data, 1)

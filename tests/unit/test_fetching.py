"""Reading stored streams: what is fetched, what is passed on, what is refused."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from buttersink.errors import CorruptStreamError
from buttersink.stored.seekable import SeekTable, SeekTableBuilder, compress_frame
from buttersink.stores.crew import Crew
from buttersink.stores.fetching import StoredStream, find_seek_table
from buttersink.stream.guard import Expectation, StreamGuard
from support.memory_shelf import MemoryShelf
from support.stream_samples import TO, full, write

if TYPE_CHECKING:
    from pathlib import Path

    from buttersink.stores.shelf import ShelfObject

MIB = 1 << 20
EXPECTED = Expectation(to=frozenset({TO}), parents=None, max_version=1)
"""Of one version only: no checksum covers that number."""

SMALL = full(write(b"file", b"content"))
LARGE = full(*(write(b"file", Random(n).randbytes(40_000), offset=n * 40_000) for n in range(600)))
"""24 MB: of several ranges."""
STALE = b"of an earlier upload " * 1000


@pytest.fixture
def shelf(tmp_path: Path) -> MemoryShelf:
    return MemoryShelf(tmp_path)


def stored(shelf: MemoryShelf, data: bytes) -> ShelfObject:
    return shelf.put("key", data)


def packed(stream: bytes, frame_bytes: int = 4 * MIB, *, table: bool = True) -> bytes:
    """Return frames of these sizes."""
    builder = SeekTableBuilder()
    frames = []
    for start in range(0, len(stream), frame_bytes):
        plain = stream[start : start + frame_bytes]
        frames.append(compress_frame(plain, 1))
        builder.add(len(frames[-1]), len(plain))
    return b"".join(frames) + (builder.encode() if table else b"")


def read(
    shelf: MemoryShelf, data: bytes, *, compressed: bool, jobs: int = 3, chunk: int = MIB
) -> tuple[bytes, list[int]]:
    """Return the stream, and how many stored bytes were told of after each read."""
    thing = stored(shelf, data)
    stream, told = bytearray(), []
    buffer = memoryview(bytearray(chunk))
    with Crew(jobs, "fetch") as crew:
        reader = StoredStream(
            shelf,
            thing,
            compressed=compressed,
            guard=StreamGuard(EXPECTED),
            receipt=None,
            crew=crew,
            ahead=jobs,
        )
        while count := reader.readinto(buffer):
            stream += buffer[:count]
            told.append(reader.stored_bytes)
        told.append(reader.stored_bytes)
        assert reader.readinto(buffer) == 0
    return bytes(stream), told


FORMS = pytest.mark.parametrize(
    ("form", "compressed"),
    [
        (lambda stream: stream, False),
        (packed, True),
        (lambda stream: packed(stream, table=False), True),
        (lambda stream: packed(stream, 100_000), True),
        (lambda stream: packed(stream, 20 * MIB), True),
        (lambda stream: zstandard.compress(stream, 1), True),
    ],
    ids=["raw", "frames", "no table", "small frames", "large frames", "another program's"],
)


@FORMS
@pytest.mark.parametrize("stream", [SMALL, LARGE], ids=["small", "large"])
@pytest.mark.parametrize("jobs", [1, 4])
def test_a_stream_is_read_as_it_was_stored(
    shelf: MemoryShelf, form: object, stream: bytes, jobs: int, *, compressed: bool
) -> None:
    assert callable(form)
    data = form(stream)
    found, told = read(shelf, data, compressed=compressed, jobs=jobs)
    assert found == stream
    assert told == sorted(told)
    assert told[-1] == len(data)
    assert all(nbytes <= 20 * MIB + 1000 for _, _, nbytes in shelf.reads)


@given(chunk=st.integers(1, 2000), frame_bytes=st.integers(1, 300))
def test_a_stream_is_the_same_through_any_buffer_and_of_any_frames(
    tmp_path_factory: pytest.TempPathFactory, chunk: int, frame_bytes: int
) -> None:
    shelf = MemoryShelf(tmp_path_factory.getbasetemp())
    assert read(shelf, SMALL, compressed=False, chunk=chunk)[0] == SMALL
    assert read(shelf, packed(SMALL, frame_bytes), compressed=True, chunk=chunk)[0] == SMALL


def test_what_comes_after_the_end_is_not_passed_on(shelf: MemoryShelf) -> None:
    found, told = read(shelf, SMALL + STALE, compressed=False)
    assert found == SMALL
    assert told[-1] == len(SMALL + STALE)
    assert read(shelf, packed(SMALL + STALE), compressed=True)[0] == SMALL


def test_no_more_is_fetched_ahead_than_was_asked_for(shelf: MemoryShelf) -> None:
    thing = stored(shelf, LARGE + bytes(100 * MIB))
    with Crew(2, "fetch") as crew:
        reader = StoredStream(
            shelf,
            thing,
            compressed=False,
            guard=StreamGuard(EXPECTED),
            receipt=None,
            crew=crew,
            ahead=2,
        )
        assert reader.readinto(memoryview(bytearray(10))) == 10
    assert len(shelf.reads) <= 3


@pytest.mark.parametrize("compressed", [False, True])
@given(data=st.binary(max_size=200))
def test_garbage_is_refused_by_its_name(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, *, compressed: bool
) -> None:
    shelf = MemoryShelf(tmp_path_factory.getbasetemp())
    with pytest.raises(CorruptStreamError, match="memory://shelf/key: "):
        read(shelf, data, compressed=compressed)


@given(position=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_a_wrong_bit_never_makes_another_stream(
    tmp_path_factory: pytest.TempPathFactory, position: float, bit: int
) -> None:
    shelf = MemoryShelf(tmp_path_factory.getbasetemp())
    for form, compressed in ((SMALL, False), (packed(SMALL, 50), True)):
        data = bytearray(form)
        data[int(len(data) * position)] ^= 1 << bit
        try:
            found, _ = read(shelf, bytes(data), compressed=compressed)
        except CorruptStreamError:
            continue
        assert found == SMALL


# The table of frames


def test_a_table_longer_than_most_is_found(shelf: MemoryShelf) -> None:
    thing = stored(shelf, packed(SMALL * 2000, 10))
    table = find_seek_table(shelf, thing)
    assert isinstance(table, SeekTable)
    assert table.plain_bytes == len(SMALL * 2000)
    assert len(shelf.reads) == 2


@pytest.mark.parametrize("data", [b"", b"x", SMALL, zstandard.compress(SMALL)])
def test_what_has_no_table_has_none(shelf: MemoryShelf, data: bytes) -> None:
    assert find_seek_table(shelf, stored(shelf, data)) is None


def test_a_frame_that_is_larger_than_the_table_says_is_refused(shelf: MemoryShelf) -> None:
    frame = compress_frame(bytes(50 * MIB), 1)
    builder = SeekTableBuilder()
    builder.add(len(frame), 1000)
    with pytest.raises(CorruptStreamError):
        read(shelf, frame + builder.encode(), compressed=True)

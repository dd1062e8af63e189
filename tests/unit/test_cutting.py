"""From a stream to the parts of an object: what they are, how many there are at a time."""

from __future__ import annotations

import hashlib
import threading
from random import Random
from typing import TYPE_CHECKING

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from buttersink.errors import TransferError
from buttersink.stored.seekable import FRAME_BYTES, SeekTable, read_seek_table
from buttersink.stores.cutting import Cutter

if TYPE_CHECKING:
    from collections.abc import Callable

    from buttersink.stores.cutting import Part, Sums

JOBS = 3


def cut(
    data: bytes,
    *,
    level: int | None,
    part_bytes: Callable[[int], int],
    chunk: int = 1 << 20,
    send: Callable[[Part], None] = lambda _: None,
) -> tuple[list[Part], Sums]:
    """Return the parts in their order, and the sums."""
    parts: list[Part] = []

    def take(part: Part) -> None:
        send(part)
        parts.append(part)

    with Cutter(level=level, part_bytes=part_bytes, jobs=JOBS, send=take) as cutter:
        for start in range(0, len(data), chunk):
            cutter.write(memoryview(data)[start : start + chunk])
        sums = cutter.finish()
        assert cutter.object_bytes == sums.object_bytes
    return sorted(parts, key=lambda part: part.number), sums


def joined(parts: list[Part]) -> bytes:
    return b"".join(part.data for part in parts)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@given(
    data=st.binary(min_size=1, max_size=3000),
    sizes=st.lists(st.integers(1, 500), min_size=1, max_size=4),
    level=st.sampled_from([None, 1]),
    chunk=st.integers(1, 4000),
)
def test_the_parts_are_the_object_and_the_object_is_the_stream(
    data: bytes, sizes: list[int], level: int | None, chunk: int
) -> None:
    def part_bytes(number: int) -> int:
        return sizes[number % len(sizes)]

    parts, sums = cut(data, level=level, part_bytes=part_bytes, chunk=chunk)
    whole = joined(parts)
    plain = whole if level is None else zstandard.ZstdDecompressor().decompress(whole)
    assert plain == data
    assert [part.number for part in parts] == list(range(1, len(parts) + 1))
    assert [part.offset for part in parts] == [len(joined(parts[:n])) for n in range(len(parts))]
    assert all(len(part.data) == part_bytes(part.number) for part in parts[:-1])
    assert 0 < len(parts[-1].data) <= part_bytes(len(parts))
    assert (sums.stream_bytes, sums.stream_sha256) == (len(data), sha256(data))
    assert (sums.object_bytes, sums.object_sha256) == (len(whole), sha256(whole))


def test_a_long_stream_becomes_frames_with_a_table() -> None:
    data = Random(1).randbytes(FRAME_BYTES) + b"x" * (2 * FRAME_BYTES) + b"the rest"
    parts, _ = cut(data, level=1, part_bytes=lambda _: 1 << 20, chunk=FRAME_BYTES // 3)
    whole = joined(parts)
    table = read_seek_table(whole, len(whole))
    assert isinstance(table, SeekTable)
    assert [frame.plain_bytes for frame in table.frames] == [FRAME_BYTES] * 3 + [8]
    with zstandard.ZstdDecompressor().stream_reader(whole, read_across_frames=True) as reader:
        assert reader.read() == data


def test_a_stream_makes_the_same_object_each_time() -> None:
    data = Random(1).randbytes(FRAME_BYTES) + b"x" * FRAME_BYTES
    first, _ = cut(data, level=3, part_bytes=lambda _: 1 << 20)
    second, _ = cut(data, level=3, part_bytes=lambda _: 1 << 20, chunk=12345)
    assert first == second


@pytest.mark.parametrize("level", [None, 1])
def test_few_parts_are_held_at_a_time(level: int | None) -> None:
    part = 1 << 16
    sent = 0
    most = 0
    lock = threading.Lock()

    def part_bytes(number: int) -> int:
        nonlocal most
        with lock:  # all before this one were cut
            most = max(most, number - sent)
        return part

    def send(_: Part) -> None:
        nonlocal sent
        with lock:
            sent += 1

    with Cutter(level=level, part_bytes=part_bytes, jobs=JOBS, send=send) as cutter:
        cutter.write(memoryview(Random(1).randbytes(3 * FRAME_BYTES)))
        cutter.finish()
    assert sent >= 3 * FRAME_BYTES // part
    assert most <= JOBS + 2


@pytest.mark.parametrize("bad", [1, 2, 7, 48])
def test_the_first_part_that_fails_ends_it_with_its_error(bad: int) -> None:
    before = set(threading.enumerate())
    numbers: list[int] = []

    def send(part: Part) -> None:
        numbers.append(part.number)
        if part.number == bad:
            raise TransferError(f"part {part.number} failed")

    with pytest.raises(TransferError, match=f"part {bad} failed"):
        cut(bytes(3 * FRAME_BYTES), level=None, part_bytes=lambda _: 1 << 18, send=send)
    assert max(numbers) <= bad + JOBS
    assert set(threading.enumerate()) <= before


def test_no_thread_outlives_what_is_given_up() -> None:
    before = set(threading.enumerate())
    with (  # noqa: PT012 - the block is what is tested
        pytest.raises(ZeroDivisionError),
        Cutter(level=1, part_bytes=lambda _: 1000, jobs=JOBS, send=lambda _: None) as cutter,
    ):
        cutter.write(memoryview(Random(1).randbytes(2 * FRAME_BYTES)))
        raise ZeroDivisionError
    assert set(threading.enumerate()) <= before


def test_sizes_that_there_are_not_end_it_with_their_error() -> None:
    def part_bytes(number: int) -> int:
        if number > 2:
            raise TransferError("too many parts")
        return 10

    with pytest.raises(TransferError, match="too many parts"):
        cut(bytes(100), level=None, part_bytes=part_bytes)

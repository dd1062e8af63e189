"""Moving one stream: all of it arrives, in order, and no faster than it may."""

from __future__ import annotations

import io
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buttersink.errors import TransferError
from buttersink.transfer import RateLimit, pump


@dataclass
class Sparing:
    """A reader that gives at most so many bytes at once, as a pipe may."""

    data: io.BytesIO
    at_once: int
    asked: list[int] = field(default_factory=list)

    def readinto(self, buffer: memoryview) -> int:
        self.asked.append(len(buffer))
        return self.data.readinto(buffer[: self.at_once])


@dataclass
class Collecting:
    """A writer that keeps a copy of everything; fails once it has `room` bytes."""

    room: int = 1 << 30
    kept: bytearray = field(default_factory=bytearray)

    @property
    def plain_bytes(self) -> int:
        return 2 * len(self.kept)

    @property
    def resume(self) -> None:
        return None

    def write(self, data: memoryview) -> None:
        if len(self.kept) + len(data) > self.room:
            raise TransferError("no room")
        self.kept += data


@dataclass
class Clock:
    """Time that passes only by sleeping."""

    now: float = 100.0
    slept: list[float] = field(default_factory=list)

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.slept.append(seconds)
        self.now += seconds


def ignore(_plain_bytes: int) -> None:
    """Take no notice of progress."""


class TestPump:
    @given(st.binary(max_size=5000), st.integers(1, 700))
    def test_moves_everything_in_order(self, data: bytes, at_once: int) -> None:
        writer = Collecting()

        moved = pump(Sparing(io.BytesIO(data), at_once), writer, progress=ignore)

        assert bytes(writer.kept) == data
        assert moved == len(data)

    def test_tells_what_the_writer_counts_at_the_end(self) -> None:
        told: list[int] = []

        pump(io.BytesIO(b"x" * 1000), Collecting(), progress=told.append)

        assert told[-1] == 2000
        assert told == sorted(told)

    def test_of_nothing_writes_nothing(self) -> None:
        told: list[int] = []
        writer = Collecting()

        assert pump(io.BytesIO(), writer, progress=told.append) == 0
        assert not writer.kept
        assert told == [0]

    def test_lets_errors_of_either_side_through(self) -> None:
        class Broken:
            def readinto(self, _buffer: memoryview) -> int:
                raise TransferError("the producer has gone")

        with pytest.raises(TransferError, match="the producer has gone"):
            pump(Broken(), Collecting(), progress=ignore)
        with pytest.raises(TransferError, match="no room"):
            pump(io.BytesIO(b"x" * 10), Collecting(room=5), progress=ignore)

    def test_does_not_read_on_after_the_end(self) -> None:
        reader = Sparing(io.BytesIO(b"x" * 10), at_once=10)

        pump(reader, Collecting(), progress=ignore)

        assert len(reader.asked) == 2

    def test_with_a_limit_takes_small_pieces_and_its_time(self) -> None:
        clock = Clock()
        limit = RateLimit(4000, clock=clock, sleep=clock.sleep)
        reader = Sparing(io.BytesIO(b"x" * 100_000), at_once=1 << 20)
        writer = Collecting()

        moved = pump(reader, writer, limit=limit, progress=ignore)

        assert (moved, len(writer.kept)) == (100_000, 100_000)
        assert set(reader.asked) == {1000}, "a quarter of a second's worth"
        assert 100_000 / (clock.now - 100.0) == pytest.approx(4000, rel=0.05)


class TestRateLimit:
    @given(
        st.floats(1, 1e9),
        st.lists(st.tuples(st.integers(0, 10**6), st.floats(0, 2)), min_size=1, max_size=50),
    )
    def test_is_never_exceeded_by_more_than_a_burst(
        self, rate: float, events: list[tuple[int, float]]
    ) -> None:
        clock = Clock()
        limit = RateLimit(rate, clock=clock, sleep=clock.sleep)
        start, passed, last = clock.now, 0, 0
        for nbytes, pause in events:
            limit.wait(nbytes)
            passed, last = passed + nbytes, nbytes
            # What has just passed is paid for by the next wait.
            assert (passed - last) <= rate * (clock.now - start + 0.25) * (1 + 1e-6) + 1
            clock.now += pause

    @given(st.floats(1, 1e9), st.lists(st.integers(1, 10**6), min_size=2, max_size=50))
    def test_is_reached_when_there_is_always_something_to_send(
        self, rate: float, sizes: list[int]
    ) -> None:
        clock = Clock()
        limit = RateLimit(rate, clock=clock, sleep=clock.sleep)
        for nbytes in sizes:
            limit.wait(nbytes)

        due = sum(sizes[:-1]) / rate
        assert clock.now - 100.0 == pytest.approx(max(0.0, due - 0.25), rel=1e-3, abs=0.3)

    def test_allows_no_more_than_a_burst_after_a_pause(self) -> None:
        clock = Clock()
        limit = RateLimit(1000, clock=clock, sleep=clock.sleep)
        limit.wait(1000)
        clock.now += 3600

        limit.wait(250)
        assert clock.slept == []
        limit.wait(1)
        limit.wait(1)
        assert sum(clock.slept) <= 0.01

    @given(st.floats(0.001, 1e15))
    def test_lets_pass_at_least_a_byte_and_at_most_a_buffer_at_once(self, rate: float) -> None:
        chunk = RateLimit(rate).chunk_bytes
        assert 1 <= chunk <= 1 << 20
        assert chunk <= max(1, rate / 4)

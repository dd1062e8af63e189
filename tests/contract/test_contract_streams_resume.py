"""What every store of streams promises of uploads in parts, and of going on with them.

See docs/store-contract.md. Parts are as small as S3 allows.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import threading
from random import Random
from typing import TYPE_CHECKING

import pytest

from buttersink.errors import BusyError, CorruptStreamError, RestartError, TransferError
from buttersink.model import Certainty, Diff, Size
from buttersink.storing import Storing
from contract.arriving import assert_nothing_arrived
from contract.carrying import OPTIONS, read_stream, write_stream
from contract.memory_disk import MemoryDisk
from contract.memory_store import MemoryStore
from support.watched_shelf import WatchedShelf

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from contract.stream_worlds import StreamEnd

PART = 5 << 20
ONE_BY_ONE = Storing(level=None, part_mib=5, jobs=1)
AT_ONCE = Storing(level=None, part_mib=5, jobs=3)
CONTENT = Random(1).randbytes(3 * PART + 1000)
"""It makes four parts."""
OTHER = CONTENT[: 2 * PART] + Random(2).randbytes(PART + 1000)


def made(content: bytes) -> tuple[Diff, bytes]:
    """Return the stream of a snapshot with this content, and always the same identity."""
    disk = MemoryDisk("source")
    diff = Diff(disk.take_snapshot("snaps/1", {b"file": content}))
    return diff, read_stream(MemoryStore(disk, "snaps"), diff)


DIFF, STREAM = made(CONTENT)


def fail_at(number: int) -> Callable[[int], None]:
    """Return what makes the part of this number fail."""

    def check(found: int) -> None:
        if found == number:
            raise TransferError(f"part {number} got lost")

    return check


class Run:
    """A run that receives streams.

    Attributes:
        shelf: What tells of the parts that it sends.
    """

    def __init__(
        self, end: StreamEnd, storing: Storing = ONE_BY_ONE, *, failing: int | None = None
    ) -> None:
        self.shelf = WatchedShelf(
            end.open_shelf(), before_part=fail_at(failing) if failing else lambda _: None
        )
        self._sink = end.open(storing, self.shelf.as_shelf())

    def receive(self, stream: bytes = STREAM, expected: Size | None = None) -> int:
        """Receive a stream; return how many bytes an earlier run had sent."""
        with self._sink.receive(DIFF, "1", OPTIONS, expected=expected) as writer:
            write_stream(writer, stream)
        return writer.resumed_bytes


def interrupt(
    end: StreamEnd, at: int = 3, stream: bytes = STREAM, storing: Storing = ONE_BY_ONE
) -> list[int]:
    """Let a run fail at a part; return the numbers of those that it had sent."""
    run = Run(end, storing, failing=at)
    with pytest.raises(TransferError, match=f"part {at} got lost"):
        run.receive(stream)
    assert_nothing_arrived(end.open(), "1")
    return sorted(run.shelf.parts)


def assert_arrived(end: StreamEnd, stream: bytes = STREAM, *, suffix: str = "") -> None:
    """Check that the stream is there as it was, and nothing else is left."""
    key = f"1/{DIFF.to}_None{suffix}"
    assert end.listed() == [key, f"{key}.json"]
    assert read_stream(end.open(), DIFF) == stream
    assert end.open().inventory().partials == ()
    assert not os.path.lexists(journal(end))


def journal(end: StreamEnd) -> str:
    return end.shelf.journal_path(f"{end.prefix}1/{DIFF.to}_None")


# Going on


@pytest.mark.parametrize("storing", [ONE_BY_ONE, AT_ONCE], ids=["one by one", "at once"])
def test_parts_that_were_sent_are_not_sent_again(end: StreamEnd, storing: Storing) -> None:
    sent = interrupt(end, storing=storing)
    assert storing == AT_ONCE or sent == [1, 2]
    (partial,) = end.open().inventory().partials
    assert partial.diff == DIFF
    again = Run(end, storing)
    resumed = again.receive()
    assert sorted([*sent, *again.shelf.parts]) == [1, 2, 3, 4]
    assert resumed == sum(PART if number < 4 else len(STREAM) - 3 * PART for number in sent)
    assert_arrived(end)


def test_a_compressed_stream_is_gone_on_with(end: StreamEnd) -> None:
    storing = Storing(level=1, part_mib=5, jobs=1)
    assert interrupt(end, storing=storing) == [1, 2]
    assert Run(end, storing).receive() == 2 * PART
    assert_arrived(end, suffix=".zst")


def test_without_a_wish_parts_are_as_large_as_those_sent_before(end: StreamEnd) -> None:
    interrupt(end)
    assert Run(end, Storing(level=None)).receive() == 2 * PART
    assert_arrived(end)


def test_an_upload_may_be_interrupted_again_and_again(end: StreamEnd) -> None:
    for at in (2, 3, 4):
        assert interrupt(end, at) == [at - 1]
    again = Run(end)
    assert again.receive() == 3 * PART
    assert again.shelf.parts == [4]
    assert_arrived(end)


def test_another_expectation_makes_no_other_parts(end: StreamEnd) -> None:
    interrupt(end)
    assert Run(end).receive(expected=Size(13 << 30, Certainty.ESTIMATE)) == 2 * PART
    assert_arrived(end)


def test_what_the_user_interrupts_is_gone_on_with(end: StreamEnd) -> None:
    sink = end.open(AT_ONCE)
    with pytest.raises(KeyboardInterrupt), sink.receive(DIFF, "1", OPTIONS) as writer:  # noqa: PT012 - the block is what is tested
        write_stream(writer, STREAM[: 2 * PART])
        raise KeyboardInterrupt
    assert_nothing_arrived(end.open(), "1")
    Run(end, AT_ONCE).receive()
    assert read_stream(end.open(), DIFF) == STREAM


def test_a_damaged_stream_is_gone_on_with_once_it_is_whole(end: StreamEnd) -> None:
    damaged = bytearray(STREAM)
    damaged[-100] ^= 1
    with pytest.raises(CorruptStreamError):
        Run(end).receive(bytes(damaged))
    assert_nothing_arrived(end.open(), "1")
    assert Run(end).receive() > 0
    assert_arrived(end)


# Beginning anew


@pytest.mark.parametrize("storing", [ONE_BY_ONE, AT_ONCE], ids=["one by one", "at once"])
def test_another_stream_is_never_mixed_with_what_was_sent(end: StreamEnd, storing: Storing) -> None:
    interrupt(end, at=4)
    _, other = made(OTHER)
    with pytest.raises(RestartError):
        Run(end, storing).receive(other)
    assert_nothing_arrived(end.open(), "1")
    assert end.open().inventory().partials == ()
    again = Run(end, storing)
    assert again.receive(other) == 0
    assert sorted(again.shelf.parts) == [1, 2, 3, 4]
    assert_arrived(end, other)


def test_a_shorter_stream_is_not_made_longer_by_what_was_sent(end: StreamEnd) -> None:
    assert interrupt(end, at=4) == [1, 2, 3]
    _, shorter = made(CONTENT[: 2 * PART - 1000])
    with pytest.raises(RestartError):
        Run(end).receive(shorter)
    Run(end).receive(shorter)
    assert_arrived(end, shorter)


def test_a_stream_that_now_fits_into_one_part_is_stored_as_such(end: StreamEnd) -> None:
    interrupt(end)
    _, small = made(b"small")
    assert Run(end).receive(small) == 0
    assert_arrived(end, small)


def test_parts_of_another_size_are_sent_anew(end: StreamEnd) -> None:
    interrupt(end)
    again = Run(end, Storing(level=None, part_mib=6, jobs=1))
    assert again.receive() == 0
    assert again.shelf.parts == [1, 2, 3]
    assert_arrived(end)


def test_what_was_begun_anew_is_gone_on_with_as_well(end: StreamEnd) -> None:
    larger = Storing(level=None, part_mib=6, jobs=1)
    interrupt(end)
    assert interrupt(end, storing=larger) == [1, 2]
    assert Run(end, larger).receive() == 2 * 6 << 20
    assert_arrived(end)


def test_an_upload_that_is_gone_is_begun_anew(end: StreamEnd) -> None:
    interrupt(end)
    (upload,) = end.shelf.uploads(end.prefix)
    end.shelf.resume(upload.key, upload.upload_id).abort()
    again = Run(end)
    assert again.receive() == 0
    assert again.shelf.parts == [1, 2, 3, 4]
    assert_arrived(end)


@pytest.mark.parametrize("number", [1, 2])
def test_a_part_that_is_not_what_was_sent_is_sent_again(end: StreamEnd, number: int) -> None:
    interrupt(end)
    (upload,) = end.shelf.uploads(end.prefix)
    other = bytes(PART)
    end.shelf.resume(upload.key, upload.upload_id).put(
        number, (number - 1) * PART, other, hashlib.sha256(other).hexdigest()
    )
    again = Run(end)
    assert again.receive() == PART
    assert again.shelf.parts == [number, 3, 4]
    assert_arrived(end)


# The record


@pytest.mark.parametrize(
    ("tear", "resumed"),
    [(lambda data: data + b'{"number":3,"by', 2), (lambda data: data[:-5], 1)],
    ids=["half a line too many", "half a line too few"],
)
def test_a_torn_record_tells_of_the_parts_before(
    end: StreamEnd, tear: Callable[[bytes], bytes], resumed: int
) -> None:
    interrupt(end)
    _alter(journal(end), tear)
    assert Run(end).receive() == resumed * PART
    assert_arrived(end)


@pytest.mark.parametrize(
    "garbage", [b"", b"garbage\n", b"{}\n" * 3], ids=["empty", "garbage", "json"]
)
def test_without_a_record_all_is_sent_again(end: StreamEnd, garbage: bytes) -> None:
    interrupt(end)
    _alter(journal(end), lambda _: garbage)
    assert Run(end).receive() == 0
    sink = end.open()
    for partial in sink.inventory().partials:  # nobody knows any more what it was of
        sink.clean(partial)
    assert_arrived(end)


def test_an_upload_is_left_to_the_run_that_is_at_it(end: StreamEnd) -> None:
    interrupt(end)
    fd = os.open(journal(end), os.O_RDWR)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        other = Run(end)
        with pytest.raises(BusyError):
            other.receive()
        sink = end.open()
        (partial,) = sink.inventory().partials
        with pytest.raises(BusyError):
            sink.clean(partial)
        assert other.shelf.parts == []
    finally:
        os.close(fd)
    assert Run(end).receive() == 2 * PART
    assert_arrived(end)


def test_the_record_is_no_way_to_another_file(end: StreamEnd, scratch: Path) -> None:
    interrupt(end)
    target = scratch / "target"
    target.write_bytes(b"of somebody else")
    os.unlink(journal(end))
    os.symlink(target, journal(end))
    with pytest.raises(TransferError):
        Run(end).receive()
    assert target.read_bytes() == b"of somebody else"


def test_clean_removes_an_upload_with_its_record(end: StreamEnd) -> None:
    interrupt(end)
    sink = end.open()
    (partial,) = sink.inventory().partials
    sink.clean(partial)
    assert sink.inventory().partials == ()
    assert not os.path.lexists(journal(end))
    assert Run(end).receive() == 0


# Sending


def test_what_fits_into_one_part_is_sent_in_one_request(end: StreamEnd) -> None:
    run = Run(end)
    _, small = made(CONTENT[: PART * 9 // 10])
    run.receive(small)
    key = f"{end.prefix}1/{DIFF.to}_None"
    assert (run.shelf.single, run.shelf.parts) == ([key, f"{key}.json"], [])
    assert_arrived(end, small)


def test_no_more_parts_are_on_their_way_than_there_are_jobs(end: StreamEnd) -> None:
    run = Run(end, AT_ONCE)
    run.receive()
    assert 1 <= run.shelf.most_at_once <= AT_ONCE.jobs


@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_a_part_that_fails_ends_all_with_its_error(end: StreamEnd, number: int) -> None:
    before = set(threading.enumerate())
    interrupt(end, number, storing=AT_ONCE)
    assert set(threading.enumerate()) - before == set()
    assert end.listed() == []


def _alter(path: str, change: Callable[[bytes], bytes]) -> None:
    with open(path, "rb") as file:
        data = file.read()
    with open(path, "wb") as file:
        file.write(change(data))

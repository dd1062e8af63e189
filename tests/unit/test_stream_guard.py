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
from buttersink.stream.guard import Expectation, StreamGuard
from support.stream_samples import (
    FULL,
    INCREMENTAL,
    OTHER,
    PARENT,
    REAL_FULL,
    REAL_FULL_UUID,
    REAL_INCREMENT,
    REAL_INCREMENT_UUID,
    TO,
    A,
    C,
    end,
    feed,
    full,
    head,
    passed,
    pieces,
    sample,
    split,
    stream,
    u64,
    utimes,
    write,
)

REAL = [
    (
        REAL_FULL,
        Expectation(to=frozenset({REAL_FULL_UUID}), parents=None, max_version=1),
    ),
    (
        REAL_INCREMENT,
        Expectation(
            to=frozenset({REAL_INCREMENT_UUID}), parents=frozenset({REAL_FULL_UUID}), max_version=2
        ),
    ),
]
VERSIONS = pytest.mark.parametrize("version", [1, 2, 3])


def lone(version: int) -> Expectation:
    """Return the expectation of `sample`, in this version only."""
    return Expectation(to=INCREMENTAL.to, parents=INCREMENTAL.parents, max_version=version)


@pytest.mark.parametrize(("real", "expectation"), REAL)
def test_a_kernels_stream_passes_unchanged(real: bytes, expectation: Expectation) -> None:
    guard = StreamGuard(expectation)
    assert feed(guard, [real]) == real
    guard.finish()
    assert (guard.ended, guard.plain_bytes, guard.passed_bytes) == (True, len(real), len(real))


@VERSIONS
@given(cuts=st.sets(st.integers(0, 2000)), check_all=st.booleans())
def test_a_stream_passes_unchanged_however_it_is_cut(
    version: int, cuts: set[int], *, check_all: bool
) -> None:
    data = sample(version)
    guard = StreamGuard(INCREMENTAL, check_all=check_all)
    assert feed(guard, pieces(data, {min(cut, len(data)) for cut in cuts})) == data
    guard.finish()
    assert guard.plain_bytes == guard.passed_bytes == len(data)


@VERSIONS
def test_a_stream_passes_byte_by_byte_and_only_in_whole_commands(version: int) -> None:
    data = sample(version)
    boundaries, position = {0, HEADER_SIZE}, HEADER_SIZE
    for command in split(data):
        position += len(command)
        boundaries.add(position)
    guard = StreamGuard(INCREMENTAL)
    out = b""
    for index in range(len(data)):
        out += feed(guard, [data[index : index + 1]])
        assert len(out) == guard.passed_bytes == guard.plain_bytes
        assert len(out) in boundaries
        assert guard.ended == (index == len(data) - 1)
    assert out == data


def test_bulk_data_is_passed_on_without_a_copy() -> None:
    data = full(*[write(b"file", bytes(40_000)) for _ in range(5)])
    buffer = bytearray(data)
    guard = StreamGuard(FULL)
    buffers = guard.push(memoryview(buffer))
    assert b"".join(buffers) == data
    assert buffers[-1].obj is buffer
    assert len(buffers) == 2


@VERSIONS
def test_a_stream_cut_off_anywhere_never_counts_as_whole(version: int) -> None:
    data = sample(version)
    for size in range(len(data)):
        guard = StreamGuard(INCREMENTAL)
        out = feed(guard, [data[:size]])
        assert data.startswith(out)
        assert len(out) <= len(data) - len(end(version))
        with pytest.raises(CorruptStreamError, match=f"ends after {size} bytes, without its END"):
            guard.finish()


@VERSIONS
def test_a_changed_bit_anywhere_is_found(version: int) -> None:
    data = sample(version)
    for position in range(len(data)):
        for flip in (1, 2, 4, 8, 16, 32, 64, 128, 255):
            if position == 13 and version ^ flip in range(1, version):
                continue  # the stream header has no checksum: an older version is believed
            damaged = bytearray(data)
            damaged[position] ^= flip
            with pytest.raises(CorruptStreamError):
                passed(bytes(damaged), lone(version))


@pytest.mark.parametrize(("real", "expectation"), REAL)
def test_a_changed_byte_in_a_kernels_stream_is_found(real: bytes, expectation: Expectation) -> None:
    for position in range(len(real)):
        damaged = bytearray(real)
        damaged[position] ^= 0xFF
        with pytest.raises(CorruptStreamError):
            passed(bytes(damaged), expectation)


@given(st.binary(max_size=30), st.booleans())
def test_what_follows_end_is_dropped(stale: bytes, at_once: bool) -> None:  # noqa: FBT001 - drawn
    data = sample()
    guard = StreamGuard(INCREMENTAL)
    assert feed(guard, [data + stale] if at_once else [data, stale, data]) == data
    guard.finish()
    assert guard.plain_bytes == guard.passed_bytes == len(data)


def test_stale_bytes_that_come_while_end_is_completed_are_dropped() -> None:
    data = sample()
    guard = StreamGuard(INCREMENTAL)
    assert feed(guard, [data[:-3], data[-3:] + b"stale"]) == data
    guard.finish()


def test_a_stale_command_behind_end_is_dropped_wherever_it_is_cut() -> None:
    data = full()
    for stale in (write(b"file", b"stale"), full(), b"no command at all" * 5):
        for size in range(len(stale) + 1):
            guard = StreamGuard(FULL)
            assert feed(guard, [data + stale[:size], stale[size:], stale]) == data
            guard.finish()


def test_nothing_passes_after_a_refusal() -> None:
    guard = StreamGuard(FULL)
    bad = full(utimes(b"../up"))
    with pytest.raises(CorruptStreamError) as first:
        guard.push(memoryview(bad))
    with pytest.raises(CorruptStreamError) as second:
        guard.push(memoryview(full()))
    with pytest.raises(CorruptStreamError) as third:
        guard.finish()
    assert first.value is second.value is third.value
    assert (guard.ended, guard.passed_bytes) == (False, 0)


def test_an_empty_stream_is_not_whole() -> None:
    guard = StreamGuard(FULL)
    assert not guard.push(memoryview(b""))
    with pytest.raises(CorruptStreamError, match="after 0 bytes"):
        guard.finish()


@pytest.mark.parametrize("most", [1, 2, 3, 9])
@pytest.mark.parametrize("version", [0, 1, 2, 3, 4, 2**32 - 1])
def test_only_versions_that_can_be_read_pass(version: int, most: int) -> None:
    expectation = Expectation(to=FULL.to, parents=None, max_version=most)
    data = encode_stream_header(version) + full()[HEADER_SIZE:]
    if 1 <= version <= min(most, 3):
        assert passed(data, expectation) == data
    else:
        with pytest.raises(
            CorruptStreamError, match=f"version {version}; only 1 to {min(most, 3)}"
        ):
            passed(data, expectation)


def test_what_is_no_send_stream_is_refused() -> None:
    with pytest.raises(CorruptStreamError, match="not a btrfs send stream"):
        passed(b"<?xml version='1.0'?><Error/>")


@pytest.mark.parametrize(
    ("first", "expectation", "message"),
    [
        (head(OTHER), FULL, f"makes {OTHER} from nothing; expected {TO} from nothing"),
        (head(parent=PARENT), FULL, f"makes {TO} from {PARENT}; expected {TO} from nothing"),
        (head(), INCREMENTAL, f"makes {TO} from nothing; expected {TO} from {PARENT}"),
        (head(parent=OTHER), INCREMENTAL, f"makes {TO} from {OTHER}; expected {TO} from {PARENT}"),
        (head(PARENT, TO), INCREMENTAL, f"makes {PARENT} from {TO}"),
        (head(name=b"../etc"), FULL, "unsafe path '../etc'"),
        (head(name=b""), FULL, "unsafe path ''"),
        (utimes(b""), FULL, "UTIMES at byte 17: the stream does not begin with a snapshot"),
        (end(), FULL, "END at byte 17: the stream does not begin with a snapshot"),
        (encode_command(C.SUBVOL, [], 1), FULL, "not the attributes of a snapshot: none"),
        (
            encode_command(C.SUBVOL, [(A.PATH, b"a"), (A.UUID, b"short"), (A.CTRANSID, u64(1))], 1),
            FULL,
            "UUID has 5 bytes",
        ),
        (
            encode_command(
                C.SUBVOL,
                [(A.PATH, b"a"), (A.UUID, TO.bytes), (A.CTRANSID, u64(1)), (A.PATH_TO, b"/")],
                1,
            ),
            FULL,
            "not the attributes of a snapshot: PATH, UUID, CTRANSID, PATH_TO",
        ),
    ],
)
@pytest.mark.parametrize("check_all", [True, False])
def test_the_head_must_name_the_expected_diff(
    first: bytes, expectation: Expectation, message: str, *, check_all: bool
) -> None:
    with pytest.raises(CorruptStreamError, match=message):
        passed(stream(first), expectation, check_all=check_all)


def test_any_identity_of_a_snapshot_is_accepted() -> None:
    expectation = Expectation(
        to=frozenset({TO, OTHER}), parents=frozenset({PARENT, OTHER}), max_version=1
    )
    for to, parent in ((TO, PARENT), (OTHER, PARENT), (TO, OTHER)):
        data = stream(head(to, parent))
        assert passed(data, expectation) == data


@pytest.mark.parametrize("second", [head(), head(parent=PARENT), head(OTHER)])
@pytest.mark.parametrize("check_all", [True, False])
def test_a_second_snapshot_in_a_stream_is_refused(second: bytes, *, check_all: bool) -> None:
    with pytest.raises(CorruptStreamError, match="a second snapshot"):
        passed(full(second), check_all=check_all)


@pytest.mark.parametrize("number", [1, 15, 99])
def test_an_absurd_length_is_refused_before_its_body_comes(number: int) -> None:
    for length in (MAX_COMMAND + 1, 2**32 - 1):
        whole = encode_stream_header(1) + head() + COMMAND_HEADER.pack(length, number, 0)
        for parts in ([whole], [whole[:-1], whole[-1:]]):
            guard = StreamGuard(FULL)
            with pytest.raises(CorruptStreamError, match=f"a length of {length} bytes"):
                feed(guard, parts)


def test_a_command_as_long_as_the_bound_passes() -> None:
    path = b"file"
    data = full(
        write(path, bytes(MAX_COMMAND - len(write(path, b"", version=2)) + 10), version=2),
        version=2,
    )
    assert passed(data) == data


def test_without_check_all_a_wrong_crc_in_the_head_is_still_found() -> None:
    data = bytearray(full())
    data[HEADER_SIZE + 6] ^= 1
    with pytest.raises(CorruptStreamError, match="SUBVOL at byte 17: wrong checksum"):
        passed(bytes(data), check_all=False)


def test_without_check_all_data_passes_unread_for_whoever_checks_it_later() -> None:
    data = full(write(b"file", b"data"))
    damaged = data.replace(b"data", b"date")
    assert passed(damaged, check_all=False) == damaged
    with pytest.raises(CorruptStreamError, match=r"WRITE at byte .*: wrong checksum"):
        passed(damaged)

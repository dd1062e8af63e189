"""A stream is taken apart as a whole: however it comes, whatever is wrong with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from buttersink.errors import CorruptStreamError
from buttersink.stream.decoding import After, Decoder
from buttersink.stream.format import encode_command
from buttersink.stream.guard import Expectation, StreamGuard
from support.command_samples import Sample, examples, samples
from support.decoding import decoded, fed, limits
from support.recorded_calls import RecordedCalls
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
    pieces,
    stream,
    u64,
    utimes,
    write,
)

if TYPE_CHECKING:
    from collections.abc import Callable

VERSIONS = pytest.mark.parametrize("version", [1, 2, 3])


def increment(*commands: bytes, version: int) -> bytes:
    return stream(head(parent=PARENT, version=version), *commands, version=version)


def all_kinds(version: int) -> bytes:
    """Return a stream that has each kind of command."""
    return increment(*(each.encoded(version) for each in examples(version)), version=version)


@st.composite
def drawn(draw: st.DrawFn) -> tuple[int, list[Sample]]:
    """Draw a stream version and commands."""
    version = draw(st.sampled_from([1, 2, 3]))
    return version, draw(st.lists(samples(version), max_size=8))


CUTS = st.sets(st.integers(0, 1500))


def test_a_full_stream_of_a_kernel_becomes_calls() -> None:
    expectation = Expectation(to=frozenset({REAL_FULL_UUID}), parents=None, max_version=1)
    decoder, calls = decoded(REAL_FULL, expectation)
    made = 1_795_390_830_427_399_101
    assert calls == [
        ("chown", b"", 0, 0),
        ("chmod", b"", 0o755),
        ("mkfile", b"o257-7-0"),
        ("rename", b"o257-7-0", b"empty"),
        ("chown", b"empty", 0, 0),
        ("chmod", b"empty", 0o644),
        ("utimes", b"empty", made, made),
        ("utimes", b"", made, made),
    ]
    assert decoder.ended
    assert (decoder.version, decoder.ctransid) == (1, 7)
    assert decoder.nbytes == decoder.plain_bytes == len(REAL_FULL)


def test_an_incremental_stream_of_a_kernel_becomes_calls() -> None:
    expectation = Expectation(
        to=frozenset({REAL_INCREMENT_UUID}), parents=frozenset({REAL_FULL_UUID}), max_version=2
    )
    decoder, calls = decoded(REAL_INCREMENT, expectation)
    assert [call[:2] for call in calls] == [
        ("mkfile", b"o258-8-0"),
        ("rename", b"o258-8-0"),
        ("chown", b"second"),
        ("chmod", b"second"),
        ("utimes", b"second"),
        ("utimes", b""),
    ]
    assert (decoder.version, decoder.ctransid, decoder.ended) == (2, 8, True)


@given(drawn(), CUTS)
def test_each_command_becomes_its_call_however_the_stream_is_cut(
    given_commands: tuple[int, list[Sample]], cuts: set[int]
) -> None:
    version, commands = given_commands
    data = increment(*(each.encoded(version) for each in commands), version=version)
    decoder, calls = decoded(data, INCREMENTAL, cuts)
    assert calls == [each.call for each in commands]
    assert decoder.ended
    assert decoder.nbytes == len(data)
    assert decoder.failed is None


@VERSIONS
def test_a_stream_that_comes_byte_by_byte_is_applied_command_by_command(version: int) -> None:
    data = all_kinds(version)
    recorded = RecordedCalls()
    decoder = Decoder(INCREMENTAL, recorded)
    ends = limits(data)
    for size, _ in fed(decoder, [data[at : at + 1] for at in range(len(data))]):
        assert decoder.nbytes == max(limit for limit in (0, *ends) if limit <= size)
        assert len(recorded.calls) == max(0, sum(limit <= size for limit in ends[2:-1]))
        assert decoder.ended == (size == len(data))
    assert recorded.calls == [each.call for each in examples(version)]


@VERSIONS
def test_an_unfinished_command_is_left_to_its_reader(version: int) -> None:
    data = all_kinds(version)
    for size in range(len(data)):
        decoder = Decoder(INCREMENTAL, RecordedCalls())
        taken = decoder.take(memoryview(data)[:size])
        assert taken == decoder.nbytes == max(at for at in (0, *limits(data)) if at <= size)
        assert not decoder.ended


@given(drawn())
def test_a_decoder_that_begins_where_another_stopped_takes_the_rest(
    given_commands: tuple[int, list[Sample]],
) -> None:
    version, commands = given_commands
    data = increment(*(each.encoded(version) for each in commands), version=version)
    _, all_calls = decoded(data, INCREMENTAL)
    for limit in limits(data)[1:-1]:
        first, before = decoded(data[:limit], INCREMENTAL)
        after = After(
            version=first.version,
            nbytes=first.nbytes,
            plain_bytes=first.plain_bytes,
            ctransid=first.ctransid,
        )
        second, calls = decoded(data[limit:], INCREMENTAL, after=after)
        assert before + calls == all_calls
        assert second.ended
        assert (second.version, second.ctransid) == (version, 7)
        assert second.nbytes == len(data)
        assert second.plain_bytes == _guarded(data).plain_bytes


@given(drawn(), CUTS)
def test_it_counts_as_the_guard_does(
    given_commands: tuple[int, list[Sample]], cuts: set[int]
) -> None:
    version, commands = given_commands
    data = increment(*(each.encoded(version) for each in commands), version=version)
    decoder, guard = Decoder(INCREMENTAL, RecordedCalls()), StreamGuard(INCREMENTAL)
    parts = pieces(data, {min(cut, len(data)) for cut in cuts})
    for part, _ in zip(parts, fed(decoder, parts), strict=True):
        feed(guard, [part])
        assert decoder.plain_bytes == guard.plain_bytes
    guard.finish()


NUMBERS = st.integers(1, 26) | st.integers(0, 0xFFFF)
VALUES = (
    st.sampled_from(
        [b"", b"a", b"dir/x", b"../up", b"a/..", b"/", b"a\0", TO.bytes, PARENT.bytes, OTHER.bytes]
    )
    | st.sampled_from([4, 8, 8, 8, 12]).flatmap(
        lambda size: st.binary(min_size=size, max_size=size)
    )
    | st.binary(max_size=20)
)


@st.composite
def any_commands(draw: st.DrawFn) -> tuple[int, list[bytes]]:
    """Draw commands of which most are wrong in some way, with right checksums."""
    version = draw(st.sampled_from([1, 2, 3]))
    made = []
    for _ in range(draw(st.integers(0, 3))):
        sample = draw(samples(version))
        attributes = list(sample.attributes)
        number: int = sample.command
        for change in draw(
            st.lists(st.sampled_from(["value", "add", "drop", "number"]), max_size=2)
        ):
            if change == "number":
                number = draw(NUMBERS)
            elif change == "add":
                attributes.insert(0, (draw(st.sampled_from([*A])), draw(VALUES)))
            elif attributes:
                at = draw(st.integers(0, len(attributes) - 1))
                name, _ = attributes.pop(at)
                if change == "value":
                    attributes.insert(at, (name, draw(VALUES)))
        attributes.sort(key=lambda attribute: attribute[0] == A.DATA)
        if version > 1 and sum(name == A.DATA for name, _ in attributes) > 1:
            attributes.pop()
        made.append(encode_command(number, attributes, version))
    return version, made


@settings(max_examples=150)
@given(any_commands(), st.sampled_from([FULL, INCREMENTAL]))
def test_what_the_guard_refuses_is_refused(
    given_commands: tuple[int, list[bytes]], expectation: Expectation
) -> None:
    version, commands = given_commands
    data = increment(*commands, version=version)
    if expectation is FULL:
        data = full(*commands, version=version)
    try:
        guard = _guarded(data, expectation)
    except CorruptStreamError:
        with pytest.raises(CorruptStreamError):
            decoded(data, expectation)
        return
    try:
        decoder, _ = decoded(data, expectation)
    except CorruptStreamError:
        return  # it knows more of what can be wrong
    assert decoder.plain_bytes == guard.plain_bytes


def _guarded(data: bytes, expectation: Expectation = INCREMENTAL) -> StreamGuard:
    guard = StreamGuard(expectation)
    feed(guard, [data])
    guard.finish()
    return guard


@VERSIONS
def test_a_changed_bit_anywhere_is_found_before_its_command_is_applied(version: int) -> None:
    data = all_kinds(version)
    ends = limits(data)
    expectation = Expectation(to=INCREMENTAL.to, parents=INCREMENTAL.parents, max_version=version)
    for position in range(len(data)):
        for bit in range(8):
            if position == 13 and version ^ 1 << bit in range(1, version):
                continue  # the stream header has no checksum: an older version is believed
            damaged = bytearray(data)
            damaged[position] ^= 1 << bit
            recorded = RecordedCalls()
            decoder = Decoder(expectation, recorded)
            try:
                decoder.take(memoryview(damaged))
            except CorruptStreamError:
                pass
            else:  # a length that grew: more is waited for, which never comes
                assert position - max(at for at in ends if at <= position) < 4
            assert not decoder.ended
            assert len(recorded.calls) == max(0, sum(at <= position for at in ends[2:]))


def test_what_follows_end_is_dropped() -> None:
    data = full(write(b"file", b"data"))
    for stale in (b"x", write(b"file", b"stale"), full(), b"no command at all" * 5):
        recorded = RecordedCalls()
        decoder = Decoder(FULL, recorded)
        assert decoder.take(memoryview(data + stale)) == len(data + stale)
        assert decoder.take(memoryview(stale)) == len(stale)
        assert decoder.ended
        assert decoder.nbytes == decoder.plain_bytes == len(data)
        assert len(recorded.calls) == 1


def test_bulk_data_is_passed_on_without_a_copy() -> None:
    seen = []

    class Writer(RecordedCalls):
        def write(self, path: bytes, offset: int, data: memoryview) -> None:
            super().write(path, offset, data)
            seen.append(data.obj)

    buffer = bytearray(full(write(b"file", bytes(40_000))))
    Decoder(FULL, Writer()).take(memoryview(buffer))
    assert seen[0] is buffer


def test_nothing_is_kept_of_the_buffer_that_was_given() -> None:
    for version in (1, 2, 3):
        buffer = bytearray(all_kinds(version)[:-1])
        decoder = Decoder(INCREMENTAL, RecordedCalls())
        with memoryview(buffer) as view:
            taken = decoder.take(view)
        del buffer[:taken]  # cannot be done as long as a view of it is left
        buffer += end(version)[-1:]
        assert decoder.take(memoryview(buffer)) == len(buffer)
        assert decoder.ended


def test_paths_of_all_sizes_are_taken() -> None:
    paths = [b"x" * size for size in range(1, 4096, 3)]
    kinds: list[Callable[[bytes], bytes]] = [
        utimes,
        lambda path: write(path, b"data"),
        lambda path: encode_command(C.UNLINK, [(A.PATH, path)], 1),
        lambda path: encode_command(C.RENAME, [(A.PATH, path), (A.PATH_TO, path)], 1),
        lambda path: encode_command(C.CHMOD, [(A.PATH, path), (A.MODE, u64(0o600))], 1),
        lambda path: encode_command(C.TRUNCATE, [(A.PATH, path), (A.SIZE, u64(5))], 1),
        lambda path: encode_command(C.MKDIR, [(A.PATH, path), (A.INO, u64(258))], 1),
    ]
    _, calls = decoded(full(*(kind(path) for path in paths for kind in kinds)), FULL)
    assert [call[1] for call in calls] == [path for path in paths for _ in kinds]

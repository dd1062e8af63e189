"""What is wrong with a stream is said with the command and the byte, and stops it for good."""

from __future__ import annotations

import pytest

from buttersink.errors import CorruptStreamError, NoSpaceError
from buttersink.stream.decoding import After, Decoder
from buttersink.stream.format import (
    COMMAND_HEADER,
    COMMAND_HEADER_SIZE,
    HEADER_SIZE,
    MAX_COMMAND,
    encode_command,
    encode_stream_header,
)
from buttersink.stream.guard import Expectation
from support.command_samples import examples
from support.decoding import decoded
from support.recorded_calls import RecordedCalls
from support.stream_samples import (
    FULL,
    INCREMENTAL,
    OTHER,
    PARENT,
    TO,
    A,
    C,
    clone,
    end,
    full,
    head,
    stream,
    utimes,
    write,
)


@pytest.mark.parametrize("most", [1, 2, 3, 9])
@pytest.mark.parametrize("version", [0, 1, 2, 3, 4, 2**32 - 1])
def test_only_versions_that_can_be_read_are_taken(version: int, most: int) -> None:
    expectation = Expectation(to=FULL.to, parents=None, max_version=most)
    data = encode_stream_header(version) + full()[HEADER_SIZE:]
    after = After(version=version, nbytes=100, plain_bytes=100, ctransid=7)
    if 1 <= version <= min(most, 3):
        assert decoded(data, expectation)[0].version == version
        assert Decoder(expectation, RecordedCalls(), after=after).version == version
        return
    message = f"version {version}; only 1 to {min(most, 3)}"
    with pytest.raises(CorruptStreamError, match=message):
        decoded(data, expectation)
    with pytest.raises(CorruptStreamError, match=message):
        Decoder(expectation, RecordedCalls(), after=after)


def test_what_is_no_send_stream_is_refused() -> None:
    with pytest.raises(CorruptStreamError, match="not a btrfs send stream"):
        decoded(b"<?xml version='1.0'?><Error/>", FULL)


@pytest.mark.parametrize(
    ("first", "expectation", "message"),
    [
        (head(OTHER), FULL, f"makes {OTHER} from nothing; expected {TO} from nothing"),
        (head(parent=PARENT), FULL, f"makes {TO} from {PARENT}; expected {TO} from nothing"),
        (head(), INCREMENTAL, f"makes {TO} from nothing; expected {TO} from {PARENT}"),
        (head(name=b"../etc"), FULL, "SUBVOL at byte 17: unsafe path '../etc'"),
        (utimes(b""), FULL, "UTIMES at byte 17: the stream does not begin with a snapshot"),
        (end(), FULL, "END at byte 17: the stream does not begin with a snapshot"),
        (encode_command(C.SUBVOL, [], 1), FULL, "not the attributes of a snapshot: none"),
        (
            encode_command(
                C.SUBVOL, [(A.PATH, b"a"), (A.UUID, TO.bytes), (A.CTRANSID, b"short")], 1
            ),
            FULL,
            "SUBVOL at byte 17: CTRANSID has 5 bytes, not 8",
        ),
        (head()[:-1] + b"\xff", FULL, "SUBVOL at byte 17: wrong checksum"),
    ],
)
def test_the_head_must_name_the_expected_diff(
    first: bytes, expectation: Expectation, message: str
) -> None:
    with pytest.raises(CorruptStreamError, match=message):
        decoded(stream(first), expectation)


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (head(), "SUBVOL at byte 67: a second snapshot in one stream"),
        (head(parent=PARENT), "SNAPSHOT at byte 67: a second snapshot in one stream"),
        (encode_command(0, [(A.PATH, b"a")], 1), "command 0 is unknown in stream version 1"),
        (encode_command(27, [(A.PATH, b"a")], 1), "command 27 at byte 67: command 27 is unknown"),
        (encode_command(23, [(A.PATH, b"a")], 1), "command 23 is unknown in stream version 1"),
        (encode_command(C.UPDATE_EXTENT, [(A.PATH, b"a")], 1), "made without file data"),
        (encode_command(C.END, [(A.PATH, b"a")], 1), "END at byte 67: it has attributes"),
        (write(b"file", b"data")[:-1] + b"x", "WRITE at byte 67: wrong checksum"),
        (write(b"../up", b"data"), "WRITE at byte 67: unsafe path '../up'"),
    ],
)
def test_a_refusal_says_which_command_and_where(command: bytes, message: str) -> None:
    recorded = RecordedCalls()
    decoder = Decoder(FULL, recorded)
    with pytest.raises(CorruptStreamError, match=message):
        decoder.take(memoryview(full(command)))
    assert recorded.calls == []
    assert decoder.failed is None
    assert decoder.nbytes == 67


@pytest.mark.parametrize("version", [1, 2])
def test_a_command_of_a_later_version_is_unknown_however_well_it_is_laid_out(version: int) -> None:
    known = {each.command for each in examples(version)}
    for sample in examples(3):
        if sample.command not in known:
            stranger = stream(head(version=version), sample.encoded(version), version=version)
            with pytest.raises(CorruptStreamError, match=f"is unknown in stream version {version}"):
                decoded(stranger, FULL)


def test_a_refusal_late_in_the_stream_names_the_right_byte() -> None:
    good = [utimes(b"file")] * 7
    data = full(*good, write(b"/file", b""))
    for cuts in ([], [90], [200, 201], range(len(data))):
        with pytest.raises(CorruptStreamError, match=f"at byte {len(full(*good)) - 10}: unsafe"):
            decoded(data, FULL, cuts)


@pytest.mark.parametrize("number", [1, 15, 99])
@pytest.mark.parametrize("before", [encode_stream_header(1), encode_stream_header(1) + head()])
def test_an_absurd_length_is_refused_before_its_body_comes(number: int, before: bytes) -> None:
    for length in (MAX_COMMAND + 1, 2**32 - 1):
        whole = before + COMMAND_HEADER.pack(length, number, 0)
        for data in (whole, whole + bytes(7), whole + bytes(MAX_COMMAND + 1)):
            with pytest.raises(CorruptStreamError, match=f"a length of {length} bytes"):
                Decoder(FULL, RecordedCalls()).take(memoryview(data))


def test_a_command_as_long_as_the_bound_is_taken() -> None:
    room = MAX_COMMAND + COMMAND_HEADER_SIZE - len(write(b"file", b"", version=2))
    for size in (room, room + 1):
        command = write(b"file", bytes(size), version=2)
        if size == room:
            _, calls = decoded(full(command, version=2), FULL)
            assert calls == [("write", b"file", 0, bytes(size))]
        else:
            with pytest.raises(CorruptStreamError, match="is impossible"):
                decoded(full(command, version=2), FULL)


def test_what_applying_raises_passes_through_and_says_where() -> None:
    error = NoSpaceError("no space")

    class FullDisk(RecordedCalls):
        def write(self, path: bytes, offset: int, data: memoryview) -> None:
            super().write(path, offset, data)
            raise error

    recorded = FullDisk()
    decoder = Decoder(FULL, recorded)
    before = full(utimes(b"dir/file"))[:-COMMAND_HEADER_SIZE]
    data = before + write(b"dir/file", b"data") + utimes(b"dir/file") + end()
    with pytest.raises(NoSpaceError) as first:
        decoder.take(memoryview(data))
    assert first.value is error
    assert decoder.failed == ("WRITE", len(before), b"dir/file")
    assert decoder.nbytes == decoder.plain_bytes == len(before)
    with pytest.raises(NoSpaceError) as second:
        decoder.take(memoryview(data)[decoder.nbytes :])
    assert second.value is error
    assert [call[0] for call in recorded.calls] == ["utimes", "write"]


def test_a_corrupt_stream_error_of_who_applies_is_not_taken_for_one_of_the_stream() -> None:
    error = CorruptStreamError("a link on the way")

    class Strict(RecordedCalls):
        def rename(self, path: bytes, to: bytes) -> None:
            super().rename(path, to)
            raise error

    decoder = Decoder(FULL, Strict())
    moved = encode_command(C.RENAME, [(A.PATH, b"a"), (A.PATH_TO, b"b/c")], 1)
    with pytest.raises(CorruptStreamError) as seen:
        decoder.take(memoryview(full(moved)))
    assert seen.value is error
    assert decoder.failed == ("RENAME", 67, b"a")


def test_nothing_is_applied_after_a_refusal() -> None:
    recorded = RecordedCalls()
    decoder = Decoder(FULL, recorded)
    with pytest.raises(CorruptStreamError) as first:
        decoder.take(memoryview(full(write(b"../up", b""))))
    with pytest.raises(CorruptStreamError) as second:
        decoder.take(memoryview(utimes(b"") + end()))
    assert first.value is second.value
    assert recorded.calls == []
    assert not decoder.ended


def test_a_stream_may_clone_from_what_is_expected_and_from_what_is_allowed_besides() -> None:
    asked = []

    def allowed(uuid: object) -> bool:
        asked.append(uuid)
        return uuid == OTHER

    data = stream(head(parent=PARENT), clone(TO), clone(PARENT), clone(OTHER), clone(OTHER))
    recorded = RecordedCalls()
    Decoder(INCREMENTAL, recorded, clone_sources=allowed).take(memoryview(data))
    assert [call[4] for call in recorded.calls] == [TO, PARENT, OTHER, OTHER]
    assert asked == [OTHER]
    message = f"CLONE at byte 67: clone from outside: the stream takes data from {PARENT}, but"
    with pytest.raises(CorruptStreamError, match=message):
        Decoder(FULL, recorded, clone_sources=allowed).take(memoryview(full(clone(PARENT))))
    with pytest.raises(CorruptStreamError, match=f"may only from {TO}"):
        decoded(full(clone(OTHER)), FULL)

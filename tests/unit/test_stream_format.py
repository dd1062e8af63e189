from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buttersink.errors import CorruptStreamError
from buttersink.stream.format import (
    ATTRIBUTES,
    COMMAND_HEADER_SIZE,
    COMMANDS,
    HEADER_SIZE,
    MAX_ATTRIBUTE,
    Attribute,
    Command,
    checksum,
    decode_attributes,
    decode_stream_header,
    encode_command,
    encode_stream_header,
)
from support.stream_samples import REAL_FULL, REAL_INCREMENT, parse, split

VERSIONS = st.sampled_from(sorted(COMMANDS))


@st.composite
def attribute_lists(draw: st.DrawFn) -> tuple[int, list[tuple[Attribute, bytes]]]:
    version = draw(VERSIONS)
    names = draw(st.lists(st.sampled_from(sorted(ATTRIBUTES[version].values())), unique=True))
    if version > 1 and Attribute.DATA in names:
        names.remove(Attribute.DATA)
        names.append(Attribute.DATA)
    return version, [(name, draw(st.binary(max_size=40))) for name in names]


def test_the_headers_have_the_sizes_of_the_kernels_structures() -> None:
    assert (HEADER_SIZE, COMMAND_HEADER_SIZE) == (17, 10)


def test_each_version_adds_the_commands_and_attributes_of_the_kernels_header() -> None:
    assert {v: max(known) for v, known in COMMANDS.items()} == {1: 22, 2: 25, 3: 26}
    assert {v: max(known) for v, known in ATTRIBUTES.items()} == {1: 24, 2: 31, 3: 35}


def test_the_crc_of_the_end_command_is_the_one_the_kernel_sends() -> None:
    assert checksum(0, Command.END, b"") == 0x9DC96C50


def test_the_checksum_is_the_plain_polynomial_remainder() -> None:
    def slow(data: bytes) -> int:
        crc = 0
        for byte in data:
            crc ^= byte
            for _ in range(8):
                crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
        return crc

    body = b"123456789"
    assert checksum(9, 15, body) == slow(struct.pack("<IHI", 9, 15, 0) + body)


@pytest.mark.parametrize(("real", "version"), [(REAL_FULL, 1), (REAL_INCREMENT, 2)])
def test_a_kernels_stream_is_reproduced_byte_for_byte(real: bytes, version: int) -> None:
    again = [encode_stream_header(version)]
    for command in split(real):
        number, attributes = parse(command, version)
        again.append(encode_command(number, list(attributes.items()), version))
    assert b"".join(again) == real


@given(attribute_lists(), st.sampled_from(Command))
def test_what_is_encoded_decodes_to_the_same_in_the_same_order(
    drawn: tuple[int, list[tuple[Attribute, bytes]]], number: Command
) -> None:
    version, attributes = drawn
    command = encode_command(number, attributes, version)
    split(encode_stream_header(version) + command)
    found, decoded = parse(command, version)
    assert (found, list(decoded.items())) == (number, attributes)


@given(attribute_lists(), st.data())
def test_a_body_cut_anywhere_is_refused_or_decodes_to_a_shorter_list(
    drawn: tuple[int, list[tuple[Attribute, bytes]]], data: st.DataObject
) -> None:
    version, attributes = drawn
    body = encode_command(Command.WRITE, attributes, version)[COMMAND_HEADER_SIZE:]
    cut = body[: data.draw(st.integers(0, len(body)))]
    try:
        decoded = decode_attributes(memoryview(cut), version)
    except CorruptStreamError:
        assert cut != body
    else:
        assert list(decoded) == [name for name, _ in attributes][: len(decoded)]


@given(st.binary(max_size=60), VERSIONS)
def test_random_bytes_decode_within_their_bounds_or_are_refused(body: bytes, version: int) -> None:
    try:
        decoded = decode_attributes(memoryview(body), version)
    except CorruptStreamError:
        return
    assert sum(map(len, decoded.values())) <= len(body)


@pytest.mark.parametrize("version", [2, 3])
def test_data_has_no_length_field_from_version_2_on(version: int) -> None:
    data = bytes(MAX_ATTRIBUTE + 1)
    command = encode_command(Command.WRITE, [(Attribute.DATA, data)], version)
    assert len(command) == COMMAND_HEADER_SIZE + 2 + len(data)
    assert parse(command, version)[1] == {Attribute.DATA: data}


@pytest.mark.parametrize(
    ("body", "version", "message"),
    [
        (b"\x0f", 1, "cut off"),
        (b"\x0f\0\1", 1, "PATH is cut off"),
        (b"\x0f\0\2\0a", 1, "PATH reaches beyond"),
        (b"\x0f\0\1\0a\x0f\0\1\0b", 1, "PATH stands there twice"),
        (b"\0\0\0\0", 1, "attribute 0 is unknown in stream version 1"),
        (b"\x1b\0\0\0", 1, "attribute 27 is unknown in stream version 1"),
        (b"\x20\0\0\0", 2, "attribute 32 is unknown in stream version 2"),
        (b"\x24\0\0\0", 3, "attribute 36 is unknown in stream version 3"),
    ],
)
def test_a_malformed_body_is_refused_with_its_reason(
    body: bytes, version: int, message: str
) -> None:
    with pytest.raises(CorruptStreamError, match=message):
        decode_attributes(memoryview(body), version)


def test_what_cannot_be_encoded_is_refused() -> None:
    with pytest.raises(ValueError, match="too long"):
        encode_command(Command.WRITE, [(Attribute.DATA, bytes(MAX_ATTRIBUTE + 1))], 1)
    with pytest.raises(ValueError, match="last"):
        encode_command(Command.WRITE, [(Attribute.DATA, b""), (Attribute.PATH, b"x")], 2)


def test_the_stream_header_tells_its_version_and_nothing_else_passes_for_one() -> None:
    assert decode_stream_header(encode_stream_header(2)) == 2
    with pytest.raises(CorruptStreamError, match="not a btrfs send stream"):
        decode_stream_header(b"btrfs-streamX" + bytes(4))

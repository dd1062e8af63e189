from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buttersink.errors import CorruptStreamError
from buttersink.stream.format import (
    COMMAND_HEADER,
    COMMAND_HEADER_SIZE,
    Attribute,
    Command,
    encode_command,
)
from buttersink.stream.losses import LossFinder, Tail

if TYPE_CHECKING:
    from collections.abc import Sequence

OLD_SIZE = 4900
BLOCK_END = 8192


def u64(number: int) -> bytes:
    return struct.pack("<Q", number)


def extent(path: bytes, start: int, end: int) -> bytes:
    return encode_command(
        Command.UPDATE_EXTENT,
        [
            (Attribute.PATH, path),
            (Attribute.FILE_OFFSET, u64(start)),
            (Attribute.SIZE, u64(end - start)),
        ],
        2,
    )


def truncate(path: bytes, size: int) -> bytes:
    return encode_command(
        Command.TRUNCATE, [(Attribute.PATH, path), (Attribute.SIZE, u64(size))], 2
    )


def rename(old: bytes, new: bytes) -> bytes:
    return encode_command(Command.RENAME, [(Attribute.PATH, old), (Attribute.PATH_TO, new)], 2)


def link(new: bytes, old: bytes) -> bytes:
    return encode_command(Command.LINK, [(Attribute.PATH, new), (Attribute.PATH_LINK, old)], 2)


def at(command: Command, path: bytes) -> bytes:
    return encode_command(command, [(Attribute.PATH, path)], 2)


def new(command: Command, path: bytes) -> bytes:
    return encode_command(command, [(Attribute.PATH, path), (Attribute.INO, u64(257))], 2)


def tails(commands: Sequence[bytes], parent: dict[bytes, int]) -> list[Tail]:
    finder = LossFinder(2, parent.get)
    for command in commands:
        _, number, _ = COMMAND_HEADER.unpack_from(command)
        finder.observe(number, memoryview(command)[COMMAND_HEADER_SIZE:])
    return list(finder.tails())


def test_growth_that_only_changes_the_size_leaves_a_tail() -> None:
    found = tails([truncate(b"d/file", 5000)], {b"d/file": OLD_SIZE})
    assert found == [Tail(path=b"d/file", start=OLD_SIZE, end=5000)]


def test_the_tail_ends_with_the_block_even_if_the_file_goes_on() -> None:
    commands = [extent(b"file", BLOCK_END, 20000)]
    assert tails(commands, {b"file": OLD_SIZE}) == [
        Tail(path=b"file", start=OLD_SIZE, end=BLOCK_END)
    ]


@pytest.mark.parametrize(
    "commands",
    [
        [extent(b"file", 4096, 5000)],
        [extent(b"file", 0, 20000)],
        [truncate(b"file", 100)],
        [truncate(b"file", OLD_SIZE)],
        [extent(b"file", 0, 4096)],
        [at(Command.UNLINK, b"file")],
        [truncate(b"file", 5000), at(Command.UNLINK, b"file")],
        [at(Command.UNLINK, b"file"), new(Command.MKFILE, b"file"), truncate(b"file", 5000)],
        [new(Command.MKFILE, b"o9"), rename(b"o9", b"file"), truncate(b"file", 5000)],
    ],
    ids=[
        "its last block is told",
        "all of it is told",
        "it shrinks",
        "it stays",
        "only its beginning changes",
        "it is deleted",
        "it is deleted after it grew",
        "it is another file",
        "another file takes its name",
    ],
)
def test_no_tail_is_left_where(commands: list[bytes]) -> None:
    assert tails(commands, {b"file": OLD_SIZE}) == []


def test_files_that_end_with_a_block_have_no_tail() -> None:
    assert tails([truncate(b"file", 9000)], {b"file": BLOCK_END}) == []


def test_a_tail_is_found_whatever_its_file_was_called_meanwhile() -> None:
    commands = [
        rename(b"a", b"o257-7-0"),
        new(Command.MKDIR, b"a"),
        rename(b"o257-7-0", b"a/inner"),
        truncate(b"a/inner/file", 5000),
        rename(b"a", b"z"),
    ]
    assert tails(commands, {b"a/file": OLD_SIZE}) == [
        Tail(path=b"z/inner/file", start=OLD_SIZE, end=5000)
    ]


def test_two_files_that_swap_names_are_told_apart() -> None:
    commands = [rename(b"a", b"o1"), rename(b"b", b"a"), rename(b"o1", b"b"), truncate(b"b", 5000)]
    assert tails(commands, {b"a": OLD_SIZE, b"b": BLOCK_END}) == [
        Tail(path=b"b", start=OLD_SIZE, end=5000)
    ]


def test_hard_links_are_one_file() -> None:
    commands = [link(b"other", b"file"), truncate(b"file", 5000), extent(b"other", 4096, 5000)]
    assert tails(commands, {b"file": OLD_SIZE}) == []


def test_a_file_in_a_new_directory_that_hides_an_old_one_is_new() -> None:
    commands = [
        rename(b"d", b"gone"),
        new(Command.MKDIR, b"d"),
        new(Command.MKFILE, b"d/file"),
        truncate(b"d/file", 5000),
    ]
    assert tails(commands, {b"d/file": OLD_SIZE}) == []


@given(
    old=st.integers(1, 20000),
    grown=st.integers(0, 20000),
    ranges=st.lists(st.tuples(st.integers(0, 20000), st.integers(1, 9000)), max_size=5),
)
def test_tails_are_exactly_the_untold_bytes_behind_the_old_end_in_its_block(
    old: int, grown: int, ranges: list[tuple[int, int]]
) -> None:
    commands = [extent(b"f", start, start + size) for start, size in ranges]
    commands.append(truncate(b"f", old + grown))
    told = {position for start, size in ranges for position in range(start, start + size)}
    block_end = -(-old // 4096) * 4096
    untold = [p for p in range(old, min(block_end, old + grown)) if p not in told]
    found = [p for tail in tails(commands, {b"f": old}) for p in range(tail.start, tail.end)]
    assert found == untold


@pytest.mark.parametrize(
    "malformed",
    [
        at(Command.TRUNCATE, b"file"),
        at(Command.RENAME, b"file"),
        at(Command.LINK, b"file"),
        encode_command(Command.UNLINK, [], 2),
        rename(b"", b"inside"),
        rename(b"file", b""),
        at(Command.RMDIR, b""),
    ],
)
def test_a_malformed_command_is_refused(malformed: bytes) -> None:
    with pytest.raises(CorruptStreamError):
        tails([malformed], {b"file": OLD_SIZE})


def chown(path: bytes) -> bytes:
    return encode_command(
        Command.CHOWN,
        [(Attribute.PATH, path), (Attribute.UID, u64(5)), (Attribute.GID, u64(5))],
        2,
    )


def chmod(path: bytes) -> bytes:
    return encode_command(Command.CHMOD, [(Attribute.PATH, path), (Attribute.MODE, u64(0o4755))], 2)


@pytest.mark.parametrize(
    ("commands", "found"),
    [
        ([chown(b"d/file")], [b"d/file"]),
        ([rename(b"d", b"e"), chown(b"e/file")], [b"d/file"]),
        ([chown(b"d/file"), chmod(b"d/file")], []),
        ([chmod(b"d/file"), chown(b"d/file")], [b"d/file"]),
        ([new(Command.MKFILE, b"new"), chown(b"new")], []),
    ],
    ids=["alone", "under another name", "before a mode", "after a mode", "of a new file"],
)
def test_a_change_of_owner_that_may_clear_bits_is_named(
    commands: list[bytes], found: list[bytes]
) -> None:
    finder = LossFinder(2, lambda _: None)
    for command in commands:
        _, number, _ = COMMAND_HEADER.unpack_from(command)
        finder.observe(number, memoryview(command)[COMMAND_HEADER_SIZE:])
    assert list(finder.chowned()) == found

"""What a metadata-only stream must be like to be read."""

from __future__ import annotations

import stat

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buttersink.errors import CorruptStreamError
from buttersink.stream.changes import ChangeKind, FileType
from buttersink.stream.format import MAX_COMMAND, Attribute, Command, encode_command
from support.outlines import (
    VERSION,
    changes,
    chmod,
    chown,
    command,
    extent,
    link,
    mkdir,
    mkfile,
    mknod,
    outline,
    read,
    rename,
    rmdir,
    set_xattr,
    symlink,
    touch,
    truncate,
    unlink,
)
from support.stream_samples import (
    PARENT,
    REAL_FULL,
    REAL_INCREMENT,
    end,
    head,
    stream,
    write,
)

A, C = Attribute, Command


class TestStreams:
    def test_of_a_kernel_are_read(self) -> None:
        assert [(c.kind, c.path, c.type, c.details.mode) for c in read(REAL_INCREMENT)] == [
            (ChangeKind.CHANGED, b"", FileType.DIRECTORY, None),
            (ChangeKind.CREATED, b"second", FileType.FILE, 0o644),
        ]

    @given(cut=st.integers(1, 400))
    def test_may_come_in_any_pieces(self, cut: int) -> None:
        assert read(REAL_INCREMENT, cut=cut) == read(REAL_INCREMENT)

    @given(kept=st.integers(0, len(REAL_INCREMENT) - 1))
    def test_that_are_cut_off_are_refused(self, kept: int) -> None:
        with pytest.raises(CorruptStreamError):
            read(REAL_INCREMENT[:kept])

    @given(position=st.integers(0, len(REAL_INCREMENT) - 1), bit=st.integers(0, 7))
    def test_with_a_wrong_bit_are_refused(self, position: int, bit: int) -> None:
        damaged = bytearray(REAL_INCREMENT)
        damaged[position] ^= 1 << bit
        with pytest.raises(CorruptStreamError):
            read(bytes(damaged))

    @pytest.mark.parametrize(
        ("data", "words"),
        [
            (REAL_FULL, "version 1 came"),
            (stream(head(version=2), version=2), "does not begin with a snapshot and its parent"),
            (stream(touch(b""), version=2), "does not begin with a snapshot"),
            (stream(end(2), version=2), "does not begin with a snapshot"),
            (outline(head(parent=PARENT, version=2)), "a second snapshot"),
            (outline() + end(2), "goes on after its END"),
            (outline() + b"x", "goes on after its END"),
            (outline(write(b"f", b"data", version=2)), "WRITE at byte 99: it has data"),
            (outline(encode_command(99, [], 2)), "command 99 at byte 99: it is unknown"),
            (
                outline() [:-10] + (MAX_COMMAND + 1).to_bytes(4, "little") + bytes(6),
                "length of 1048577 bytes",
            ),
        ],
        ids=[
            "of another version", "full", "headless", "empty", "twofold", "longer", "with a rest",
            "with data", "with an unknown command", "with a huge length",
        ],
    )  # fmt: skip
    def test_of_another_kind_are_refused(self, data: bytes, words: str) -> None:
        with pytest.raises(CorruptStreamError, match=words):
            read(data)

    @pytest.mark.parametrize(
        "commands",
        [
            [mkfile(b"../f")],
            [mkfile(b"/f")],
            [mkfile(b"d//f")],
            [mkfile(b"")],
            [mkfile(b"f\0")],
            [mkfile(b"x" * 5000)],
            [rename(b"a", b"../b")],
            [rename(b"a", b"")],
            [rename(b"", b"a")],
            [rmdir(b"")],
            [link(b"a", b"")],
            [link(b"a", b"../b")],
            [truncate(b"", 5)],
            [extent(b"", 5, 5)],
            [symlink(b"x", b"a\0b")],
            [symlink(b"x", b"a" * 5000)],
            [command(C.SYMLINK, b"x")],
            [command(C.RENAME, b"x")],
            [command(C.LINK, b"x")],
            [encode_command(C.UNLINK, [], VERSION)],
            [mknod(b"x", stat.S_IFREG, 0)],
            [chmod(b"x", 0o100644)],
            [chown(b"x", 1 << 32, 0)],
            [extent(b"f", 1 << 63, 0)],
            [extent(b"f", (1 << 63) - 1, 1)],
            [truncate(b"f", 1 << 63)],
            [command(C.TRUNCATE, b"f", (A.SIZE, b"four"))],
            [set_xattr(b"f", b"")],
            [set_xattr(b"f", b"x" * 256)],
            [set_xattr(b"f", b"a\0")],
        ],
    )  # fmt: skip
    def test_with_what_can_not_be_are_refused(self, commands: list[bytes]) -> None:
        with pytest.raises(CorruptStreamError):
            read(outline(*commands))

    @pytest.mark.parametrize(
        ("commands", "words"),
        [
            ([unlink(b"f"), touch(b"f")], "not there"),
            ([unlink(b"f"), unlink(b"f")], "not there"),
            ([rename(b"f", b"g"), chmod(b"f", 0)], "not there"),
            ([mkdir(b"d"), touch(b"d/f")], "not there"),
            ([mkfile(b"f"), mkfile(b"f")], "already"),
            ([touch(b"f"), mkfile(b"f")], "already"),
            ([touch(b"f"), link(b"f", b"g")], "already"),
            ([mkfile(b"f"), mkfile(b"f/g")], "no directory"),
            ([unlink(b"d"), mkfile(b"d/g")], "not there"),
            ([mkfile(b"f"), rmdir(b"f")], "no directory"),
            ([mkdir(b"d"), unlink(b"d")], "something else"),
            ([mkdir(b"d"), link(b"e", b"d")], "something else"),
            ([mkdir(b"d"), extent(b"d", 0, 1)], "no regular file"),
            ([symlink(b"s", b"t"), truncate(b"s", 1)], "no regular file"),
            ([mkfile(b"d/f"), rmdir(b"d")], "not empty"),
            ([mkfile(b"d/f"), mkdir(b"e"), rename(b"e", b"d")], "not empty"),
            ([rename(b"a", b"a/b")], "into itself"),
            ([rename(b"a", b"a/b/c")], "into itself"),
            ([rename(b"a/b", b"a")], "not empty"),
        ],
    )
    def test_that_no_file_system_would_obey_are_refused(
        self, commands: list[bytes], words: str
    ) -> None:
        with pytest.raises(CorruptStreamError, match=words):
            read(outline(*commands))

    def test_may_rename_something_to_its_own_name(self) -> None:
        assert changes(rename(b"a", b"a")) == []

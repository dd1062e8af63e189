"""Clones share data where that is possible, and are right in any case."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING
from uuid import UUID

import pytest

from buttersink.btrfs.applying.cloning import copy_range
from buttersink.errors import CorruptStreamError, MissingError
from support.applying import OWN, applying, new_subvolume
from support.kernel_calls import disable_copy_on_write, snapshot_read_only
from support.loopfs import run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from buttersink.btrfs.applying.applier import Applier
    from support.loopfs import LoopFs

pytestmark = pytest.mark.kernel

OTHER = UUID(int=2)
BLOCK = 4096
LETTERS = b"".join(bytes([letter]) * BLOCK for letter in b"abcd") + b"the end"


@contextmanager
def applying_with_source(top: Path, source: Path) -> Iterator[Applier]:
    """Apply commands to `top`, which may clone from `source` by the identity OTHER."""
    source_fd = os.open(source, os.O_RDONLY | os.O_DIRECTORY)

    def find(uuid: UUID) -> int:
        if uuid != OTHER:
            raise MissingError(f"there is no snapshot {uuid}")
        return source_fd

    try:
        with applying(top, sources=find) as applier:
            yield applier
    finally:
        os.close(source_fd)


@pytest.fixture
def source(fs_a: LoopFs) -> Path:
    """Return a snapshot with a file of a few blocks and a bit more."""
    path = new_subvolume(fs_a.path)
    (path / "d").mkdir()
    (path / "d" / "letters").write_bytes(LETTERS)
    (path / "link").symlink_to("d/letters")
    (path / "linked").symlink_to("d")
    os.mkfifo(path / "fifo")
    snapshot_read_only(path, fs_a.path / "source")
    return fs_a.path / "source"


@pytest.fixture
def top(fs_a: LoopFs) -> Path:
    return new_subvolume(fs_a.path)


@pytest.fixture
def applier(top: Path, source: Path) -> Iterator[Applier]:
    with applying_with_source(top, source) as applier:
        applier.mkfile(b"file")
        yield applier


def shared_bytes(path: Path) -> int:
    """Return how much of a file's data is shared with others."""
    os.sync()
    last = run("btrfs", "filesystem", "du", "--raw", path).splitlines()[-1].split()
    return int(last[0]) - int(last[1])


def test_a_whole_file_is_shared(top: Path, applier: Applier) -> None:
    applier.clone(
        b"file", 0, length=len(LETTERS), source=OTHER, source_path=b"d/letters", source_offset=0
    )
    assert (top / "file").read_bytes() == LETTERS
    assert shared_bytes(top / "file") >= 4 * BLOCK


def test_a_range_is_shared_at_another_place(top: Path, applier: Applier) -> None:
    applier.clone(
        b"file",
        2 * BLOCK,
        length=BLOCK,
        source=OTHER,
        source_path=b"d/letters",
        source_offset=BLOCK,
    )
    assert (top / "file").read_bytes() == bytes(2 * BLOCK) + b"b" * BLOCK
    assert shared_bytes(top / "file") == BLOCK


def test_a_file_shares_with_itself_and_others_of_its_snapshot(top: Path, applier: Applier) -> None:
    applier.write(b"file", 0, memoryview(LETTERS))
    applier.clone(
        b"file", 8 * BLOCK, length=BLOCK, source=OWN, source_path=b"file", source_offset=0
    )
    applier.mkfile(b"other")
    applier.clone(
        b"other", 0, length=2 * BLOCK, source=OWN, source_path=b"file", source_offset=7 * BLOCK
    )
    assert (top / "file").read_bytes()[8 * BLOCK :] == b"a" * BLOCK
    assert (top / "other").read_bytes() == bytes(BLOCK) + b"a" * BLOCK


def test_what_is_no_whole_block_is_copied(top: Path, applier: Applier) -> None:
    applier.write(b"file", 0, memoryview(bytes(6 * BLOCK)))
    applier.clone(
        b"file", 5, length=BLOCK + 7, source=OTHER, source_path=b"d/letters", source_offset=3
    )
    expected = bytes(5) + LETTERS[3 : 3 + BLOCK + 7]
    assert (top / "file").read_bytes() == expected.ljust(6 * BLOCK, b"\0")


def test_a_file_without_checksums_gets_a_copy(top: Path, source: Path) -> None:
    (top / "plain").mkdir()
    disable_copy_on_write(os.fsencode(top / "plain"))
    with applying_with_source(top, source) as applier:
        applier.mkfile(b"plain/file")
        applier.clone(
            b"plain/file",
            0,
            length=len(LETTERS),
            source=OTHER,
            source_path=b"d/letters",
            source_offset=0,
        )
    assert (top / "plain" / "file").read_bytes() == LETTERS


def test_a_source_on_another_mount_will_do(fs_a: LoopFs, top: Path, source: Path) -> None:
    elsewhere = fs_a.mount_again(fs_a.image.parent / "again")
    with applying_with_source(top, elsewhere / source.relative_to(fs_a.path)) as applier:
        applier.mkfile(b"file")
        applier.clone(
            b"file", 0, length=BLOCK, source=OTHER, source_path=b"d/letters", source_offset=0
        )
    assert (top / "file").read_bytes() == b"a" * BLOCK
    assert shared_bytes(top / "file") == BLOCK


def test_a_copy_shares_what_can_be_shared(top: Path, source: Path) -> None:
    """Before Linux 5.18 nothing can be cloned from one mount to another, but copied."""
    source_fd = os.open(source / "d" / "letters", os.O_RDONLY)
    fd = os.open(top / "file", os.O_WRONLY | os.O_CREAT)
    try:
        copy_range(source_fd, fd, source_offset=BLOCK, length=len(LETTERS) - BLOCK, offset=0)
        with pytest.raises(CorruptStreamError, match="shorter"):
            copy_range(source_fd, fd, source_offset=1 << 20, length=1, offset=0)
    finally:
        os.close(source_fd)
        os.close(fd)
    assert (top / "file").read_bytes() == LETTERS[BLOCK:]
    assert shared_bytes(top / "file") >= 3 * BLOCK


@pytest.mark.parametrize(
    ("offset", "length"),
    [(0, len(LETTERS) + 1), (BLOCK, 4 * BLOCK), (1 << 40, BLOCK), (0, 1 << 63)],
)
def test_beyond_the_end_there_is_nothing_to_clone(
    applier: Applier, offset: int, length: int
) -> None:
    with pytest.raises(CorruptStreamError, match="which has only"):
        applier.clone(
            b"file",
            0,
            length=length,
            source=OTHER,
            source_path=b"d/letters",
            source_offset=offset,
        )


def test_nothing_is_cloned_if_nothing_is_to_be(top: Path, applier: Applier) -> None:
    applier.clone(b"file", 0, length=0, source=OTHER, source_path=b"d/letters", source_offset=0)
    assert (top / "file").read_bytes() == b""


def test_a_range_is_not_cloned_onto_itself(applier: Applier) -> None:
    applier.write(b"file", 0, memoryview(LETTERS))
    with pytest.raises(CorruptStreamError, match="itself"):
        applier.clone(
            b"file", BLOCK, length=2 * BLOCK, source=OWN, source_path=b"file", source_offset=0
        )


def test_an_unknown_snapshot_is_missing(applier: Applier) -> None:
    with pytest.raises(MissingError):
        applier.clone(
            b"file", 0, length=1, source=UUID(int=3), source_path=b"file", source_offset=0
        )


@pytest.mark.parametrize(
    "path", [b"link", b"linked/letters", b"fifo", b"../source/d/letters", b"/etc/hostname"]
)
def test_a_source_is_not_reached_through_links(applier: Applier, path: bytes) -> None:
    with pytest.raises(CorruptStreamError):
        applier.clone(b"file", 0, length=1, source=OTHER, source_path=path, source_offset=0)


def test_a_source_that_is_not_there_is_not_found(applier: Applier) -> None:
    for path in (b"nothing", b"d/nothing", b"nothing/letters"):
        with pytest.raises(FileNotFoundError):
            applier.clone(b"file", 0, length=1, source=OTHER, source_path=path, source_offset=0)

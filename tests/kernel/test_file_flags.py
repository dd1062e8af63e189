"""Flags of inodes are set as the kernel's send tells them, in an order that harms nothing else."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from buttersink.btrfs import privileges
from buttersink.btrfs.applying.flags import FileFlags
from buttersink.errors import TransferError
from support.kernel_calls import create_subvolume
from support.receiver_flags import FREE, PINS, Flags, get_flags, set_flags

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from support.loopfs import LoopFs

# BTRFS_INODE_* of linux/btrfs_tree.h.
NODATASUM, NODATACOW, NOCOMPRESS, PREALLOC, SYNC = 1, 2, 8, 16, 32
IMMUTABLE, APPEND, NODUMP, NOATIME, DIRSYNC, COMPRESS = 64, 128, 256, 512, 1024, 2048
VERITY = 1 << 32

TOP_INODE = 256
COMPRESSION = "btrfs.compression"

UNPROTECTED = {
    SYNC: Flags.SYNC,
    NODUMP: Flags.NODUMP,
    NOATIME: Flags.NOATIME,
    NODUMP | SYNC: Flags.NODUMP | Flags.SYNC,
    NOCOMPRESS: Flags.NOCOMP,
    NOCOMPRESS | NOATIME: Flags.NOCOMP | Flags.NOATIME,
}
PROTECTED = {
    IMMUTABLE: Flags.IMMUTABLE,
    APPEND: Flags.APPEND,
    IMMUTABLE | APPEND: Flags.IMMUTABLE | Flags.APPEND,
}


@pytest.fixture
def root(fs_a: LoopFs) -> Iterator[Path]:
    """Return a subvolume with a file that has data, an empty one and a directory."""
    path = fs_a.path / "new"
    create_subvolume(path)
    (path / "directory").mkdir()
    (path / "directory/file").write_bytes(b"data")
    (path / "empty").touch()
    yield path
    for below in (path, *path.rglob("*")):
        if not below.is_symlink():
            set_flags(os.fsencode(below), Flags(0))


@contextmanager
def opened(path: Path) -> Iterator[int]:
    fd = os.open(path, os.O_RDONLY)
    try:
        yield fd
    finally:
        os.close(fd)


@pytest.fixture
def flags(root: Path) -> Iterator[FileFlags]:
    with opened(root) as root_fd:
        yield FileFlags(root_fd)


def give(flags: FileFlags, path: Path, wanted: int) -> None:
    with opened(path) as fd:
        flags.set(fd, wanted)


def soften(flags: FileFlags, path: Path) -> bool:
    with opened(path) as fd:
        return flags.soften(fd)


def flags_of(path: Path) -> Flags:
    return get_flags(os.fsencode(path))


def inode(path: Path) -> int:
    return path.stat().st_ino


@pytest.mark.parametrize("name", ["directory", "directory/file", "empty"])
@pytest.mark.parametrize("wanted", UNPROTECTED)
def test_what_protects_nothing_is_set_at_once(
    root: Path, flags: FileFlags, name: str, wanted: int
) -> None:
    give(flags, root / name, wanted)

    assert flags_of(root / name) == UNPROTECTED[wanted]
    assert flags.pending == {}


@pytest.mark.parametrize("name", ["directory", "directory/file", "empty"])
def test_what_is_not_among_the_flags_is_cleared(root: Path, flags: FileFlags, name: str) -> None:
    everything = Flags.SYNC | Flags.NODUMP | Flags.NOATIME | Flags.NOCOMP | PINS
    set_flags(os.fsencode(root / name), everything)

    give(flags, root / name, 0)

    assert flags_of(root / name) == Flags(0)
    assert flags.pending == {}


@pytest.mark.parametrize("name", ["directory", "directory/file"])
@pytest.mark.parametrize("wanted", PROTECTED)
def test_what_protects_waits_for_the_end(
    root: Path, flags: FileFlags, name: str, wanted: int
) -> None:
    give(flags, root / name, wanted | NODUMP)

    assert flags_of(root / name) == Flags.NODUMP
    assert flags.pending == {inode(root / name): wanted}

    flags.finish()

    assert flags_of(root / name) == PROTECTED[wanted] | Flags.NODUMP


def test_everything_can_be_changed_until_the_end(root: Path, flags: FileFlags) -> None:
    give(flags, root / "directory", IMMUTABLE)
    give(flags, root / "directory/file", APPEND)

    (root / "directory/file").write_bytes(b"changed")
    (root / "directory/file").rename(root / "directory/renamed")
    os.setxattr(root / "directory", "user.name", b"value")
    flags.finish()

    assert flags_of(root / "directory") == Flags.IMMUTABLE
    assert flags_of(root / "directory/renamed") == Flags.APPEND


def test_what_waits_is_found_by_its_number_in_another_run(root: Path, flags: FileFlags) -> None:
    give(flags, root / "directory", IMMUTABLE)
    give(flags, root / "empty", APPEND)
    (root / "empty").rename(root / "directory/moved")

    with opened(root) as root_fd:
        FileFlags(root_fd, flags.pending).finish()

    assert flags_of(root / "directory") == Flags.IMMUTABLE
    assert flags_of(root / "directory/moved") == Flags.APPEND


def test_what_is_gone_by_the_end_is_passed_over(root: Path, flags: FileFlags) -> None:
    give(flags, root / "empty", IMMUTABLE)
    give(flags, root / "directory/file", IMMUTABLE)
    (root / "empty").unlink()

    flags.finish()

    assert flags_of(root / "directory/file") == Flags.IMMUTABLE


def test_a_file_with_several_names_is_found(root: Path, flags: FileFlags) -> None:
    for number in range(300):
        os.link(root / "empty", root / f"directory/{number:0250}")
    give(flags, root / "empty", IMMUTABLE)
    (root / "empty").unlink()

    flags.finish()

    assert flags_of(root / f"directory/{7:0250}") == Flags.IMMUTABLE


def test_a_link_in_place_of_a_directory_is_not_followed(
    root: Path, flags: FileFlags, fs_a: LoopFs
) -> None:
    (fs_a.path / "outside").mkdir()
    (fs_a.path / "outside/file").touch()
    give(flags, root / "directory/file", IMMUTABLE)
    (root / "directory").rename(root / "elsewhere")
    (root / "directory").symlink_to("../outside")

    flags.finish()

    assert flags_of(fs_a.path / "outside/file") == Flags(0)
    assert flags_of(root / "elsewhere/file") == Flags.IMMUTABLE


def test_the_last_word_counts(root: Path, flags: FileFlags) -> None:
    give(flags, root / "empty", IMMUTABLE)
    give(flags, root / "empty", APPEND)
    give(flags, root / "directory", IMMUTABLE)
    give(flags, root / "directory", 0)

    flags.finish()

    assert flags_of(root / "empty") == Flags.APPEND
    assert flags_of(root / "directory") == Flags(0)


@pytest.mark.parametrize("pins", [Flags.IMMUTABLE, Flags.APPEND, PINS])
def test_what_was_protected_can_be_softened(root: Path, flags: FileFlags, pins: Flags) -> None:
    set_flags(os.fsencode(root / "empty"), pins | Flags.NODUMP)

    assert soften(flags, root / "empty")

    assert flags_of(root / "empty") == Flags.NODUMP
    (root / "empty").write_bytes(b"data")
    flags.finish()
    assert flags_of(root / "empty") == pins | Flags.NODUMP


def test_nothing_is_softened_that_is_soft(root: Path, flags: FileFlags) -> None:
    set_flags(os.fsencode(root / "empty"), Flags.NODUMP)

    assert not soften(flags, root / "empty")

    assert flags.pending == {}


def test_what_was_softened_gets_what_is_said_later(root: Path, flags: FileFlags) -> None:
    for name in ("empty", "directory"):
        set_flags(os.fsencode(root / name), Flags.IMMUTABLE)
        assert soften(flags, root / name)

    give(flags, root / "empty", 0)
    give(flags, root / "directory", APPEND)
    flags.finish()

    assert flags_of(root / "empty") == Flags(0)
    assert flags_of(root / "directory") == Flags.APPEND


def test_a_protected_file_with_new_flags_can_be_changed_until_the_end(
    root: Path, flags: FileFlags
) -> None:
    set_flags(os.fsencode(root / "empty"), Flags.IMMUTABLE)

    give(flags, root / "empty", IMMUTABLE | NODUMP)
    os.utime(root / "empty", ns=(1, 2))
    flags.finish()

    assert flags_of(root / "empty") == Flags.IMMUTABLE | Flags.NODUMP


@pytest.mark.parametrize("pins", [Flags(0), Flags.IMMUTABLE, Flags.APPEND])
def test_the_top_directory_stays_free_to_be_renamed(
    root: Path, flags: FileFlags, pins: Flags
) -> None:
    set_flags(os.fsencode(root), pins)

    give(flags, root, IMMUTABLE | NOATIME)
    assert flags.pending == {}
    flags.finish()

    assert flags_of(root) == Flags.NOATIME
    root.rename(root.parent / "renamed").rename(root)


def test_the_top_directory_is_freed_of_what_came_with_the_parent(
    root: Path, flags: FileFlags
) -> None:
    set_flags(os.fsencode(root), Flags.IMMUTABLE)

    flags.finish()

    assert flags_of(root) == Flags(0)
    assert inode(root) == TOP_INODE


@pytest.mark.parametrize("value", [b"zlib", b"lzo", b"zstd"])
@pytest.mark.parametrize("wanted", [NODUMP, NODUMP | IMMUTABLE, IMMUTABLE, DIRSYNC, NODATACOW, 0])
@pytest.mark.parametrize("name", ["directory", "directory/file", "empty"])
def test_compression_is_what_the_attribute_says(
    root: Path, flags: FileFlags, *, name: str, wanted: int, value: bytes
) -> None:
    os.setxattr(root / name, COMPRESSION, value)

    give(flags, root / name, wanted | COMPRESS)
    flags.finish()

    assert os.getxattr(root / name, COMPRESSION) == value
    found = flags_of(root / name)
    assert found & Flags.COMPR
    assert bool(found & Flags.NODUMP) == bool(wanted & NODUMP)
    assert bool(found & Flags.IMMUTABLE) == bool(wanted & IMMUTABLE)


@pytest.mark.parametrize("wanted", [NOCOMPRESS | NODUMP, NOCOMPRESS | DIRSYNC | IMMUTABLE, 0])
def test_no_compression_is_what_the_attribute_says(
    root: Path, flags: FileFlags, wanted: int
) -> None:
    os.setxattr(root / "directory", COMPRESSION, b"none")

    give(flags, root / "directory", wanted)
    flags.finish()

    assert os.getxattr(root / "directory", COMPRESSION) == b"none"
    assert flags_of(root / "directory") & Flags.NOCOMP


@pytest.mark.parametrize("wanted", [COMPRESS, COMPRESS | NODUMP, NOCOMPRESS, DIRSYNC])
def test_no_attribute_comes_by_flags(root: Path, flags: FileFlags, wanted: int) -> None:
    give(flags, root / "directory", wanted)

    with pytest.raises(OSError, match="No data"):
        os.getxattr(root / "directory", COMPRESSION)


@pytest.mark.parametrize("name", ["directory", "empty"])
def test_copying_on_write_is_set_where_there_is_no_data(
    root: Path, flags: FileFlags, name: str
) -> None:
    give(flags, root / name, NODATACOW | NODATASUM)
    assert flags_of(root / name) == Flags.NOCOW

    give(flags, root / name, NOCOMPRESS)
    assert flags_of(root / name) == Flags.NOCOMP

    give(flags, root / name, NODATACOW | NODATASUM)
    assert flags_of(root / name) == Flags.NOCOW

    give(flags, root / name, 0)
    assert flags_of(root / name) == Flags(0)


def test_copying_on_write_stays_as_it_is_where_there_is_data(root: Path, flags: FileFlags) -> None:
    give(flags, root / "directory/file", NODATACOW | NODATASUM | NODUMP)

    assert flags_of(root / "directory/file") == Flags.NODUMP


def test_a_file_with_data_that_is_not_copied_on_write_keeps_to_that(
    root: Path, flags: FileFlags
) -> None:
    set_flags(os.fsencode(root / "empty"), Flags.NOCOW)
    (root / "empty").write_bytes(b"data")

    give(flags, root / "empty", NOCOMPRESS | NOATIME)

    assert flags_of(root / "empty") == Flags.NOCOW | Flags.NOATIME


def test_all_flags_of_a_directory_arrive(root: Path, flags: FileFlags) -> None:
    give(
        flags,
        root / "directory",
        SYNC | IMMUTABLE | APPEND | NODUMP | NOATIME | DIRSYNC | NODATACOW,
    )
    flags.finish()

    assert flags_of(root / "directory") == FREE | Flags.NOCOW


def test_flags_that_nobody_can_set_are_passed_over(root: Path, flags: FileFlags) -> None:
    give(flags, root / "directory/file", PREALLOC | VERITY | 1 << 31 | 1 << 63 | NODUMP)

    assert flags_of(root / "directory/file") == Flags.NODUMP


def test_nothing_is_touched_where_nothing_changes(root: Path, flags: FileFlags) -> None:
    set_flags(os.fsencode(root / "empty"), Flags.NODUMP | Flags.IMMUTABLE)
    before = (root / "empty").stat().st_ctime_ns

    give(flags, root / "empty", NODUMP | IMMUTABLE | PREALLOC)

    assert (root / "empty").stat().st_ctime_ns == before
    assert flags.pending == {}


@pytest.mark.parametrize("verb", ["soften", "set", "finish"])
def test_a_missing_privilege_is_told(root: Path, flags: FileFlags, verb: str) -> None:
    path = root / "empty"
    if verb == "finish":
        give(flags, path, IMMUTABLE)
    else:
        set_flags(os.fsencode(path), Flags.IMMUTABLE)
    act: dict[str, Callable[[], object]] = {
        "soften": lambda: soften(flags, path),
        "set": lambda: give(flags, path, 0),
        "finish": flags.finish,
    }

    child = os.fork()
    if not child:
        try:
            privileges.keep_only([privileges.CAP_SYS_ADMIN, privileges.CAP_FOWNER])
            with pytest.raises(TransferError, match="immutable") as raised:
                act[verb]()
            assert "CAP_LINUX_IMMUTABLE" in raised.value.hint
        except BaseException:  # noqa: BLE001 - nothing of the child may go on in the parent's code
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(child, 0)

    assert status == 0

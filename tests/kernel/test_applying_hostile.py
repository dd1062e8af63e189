"""Whatever a stream makes and names, nothing outside the snapshot is touched, and nothing hangs."""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING

import pytest

from buttersink.errors import CorruptStreamError, TransferError
from support.applying import OWN, applying, new_subvolume
from support.seccomp import run_without
from support.tree import describe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from buttersink.btrfs.applying.applier import Applier
    from support.loopfs import LoopFs

pytestmark = pytest.mark.kernel

DATA = memoryview(b"toast")

Act = tuple[str, "Callable[[Applier, bytes], None]"]


def _clone_to(applier: Applier, path: bytes) -> None:
    applier.clone(path, 0, length=5, source=OWN, source_path=b"inside", source_offset=0)


def _clone_from(applier: Applier, path: bytes) -> None:
    applier.clone(b"inside", 0, length=5, source=OWN, source_path=path, source_offset=0)


def _encoded_write(applier: Applier, path: bytes) -> None:
    applier.encoded_write(
        path,
        0,
        DATA,
        file_length=4096,
        unencoded_length=4096,
        unencoded_offset=0,
        compression=2,
        encryption=0,
    )


def _enable_verity(applier: Applier, path: bytes) -> None:
    applier.enable_verity(path, algorithm=1, block_size=4096, salt=b"", signature=b"")


CONTENT: dict[str, Callable[[Applier, bytes], None]] = {
    "write": lambda applier, path: applier.write(path, 0, DATA),
    "truncate": lambda applier, path: applier.truncate(path, 0),
    "fallocate": lambda applier, path: applier.fallocate(path, 0, offset=0, size=4096),
    "encoded_write": _encoded_write,
    "enable_verity": _enable_verity,
    "clone to": _clone_to,
    "clone from": _clone_from,
}
ATTRIBUTES: dict[str, Callable[[Applier, bytes], None]] = {
    "chmod": lambda applier, path: applier.chmod(path, 0o4777),
    "chown": lambda applier, path: applier.chown(path, 12, 34),
    "utimes": lambda applier, path: applier.utimes(path, atime=1, mtime=2),
    "set_xattr": lambda applier, path: applier.set_xattr(path, b"trusted.x", DATA),
    "remove_xattr": lambda applier, path: applier.remove_xattr(path, b"trusted.was"),
    "fileattr": lambda applier, path: applier.fileattr(path, 0),
}
NAMES: dict[str, Callable[[Applier, bytes], None]] = {
    "mkfile": lambda applier, path: applier.mkfile(path + b".new"),
    "mkdir": lambda applier, path: applier.mkdir(path + b".new"),
    "mknod": lambda applier, path: applier.mknod(path + b".new", stat.S_IFCHR, 0x103),
    "mkfifo": lambda applier, path: applier.mkfifo(path + b".new"),
    "mksock": lambda applier, path: applier.mksock(path + b".new"),
    "symlink": lambda applier, path: applier.symlink(path + b".new", b"target"),
    "rename from": lambda applier, path: applier.rename(path, b"stolen"),
    "rename to": lambda applier, path: applier.rename(b"inside", path),
    "link to": lambda applier, path: applier.link(path + b".new", b"inside"),
    "link from": lambda applier, path: applier.link(b"stolen", path),
    "unlink": lambda applier, path: applier.unlink(path),
    "rmdir": lambda applier, path: applier.rmdir(path),
}
ALL = {**CONTENT, **ATTRIBUTES, **NAMES}


@pytest.fixture
def outside(fs_a: LoopFs) -> Path:
    """Return what must not be touched."""
    directory = fs_a.path / "outside"
    directory.mkdir()
    (directory / "file").write_bytes(b"precious")
    os.setxattr(directory / "file", "trusted.was", b"there")
    (directory / "empty").mkdir()
    return directory


@pytest.fixture
def applier(fs_a: LoopFs, outside: Path) -> Iterator[Applier]:
    """Return an applier whose snapshot has a file; `outside` has to stay what it was."""
    before = describe(outside)
    with applying(new_subvolume(fs_a.path)) as applier:
        applier.mkfile(b"inside")
        applier.write(b"inside", 0, memoryview(bytes(8192)))
        yield applier
    assert describe(outside) == before


def _targets(outside: Path) -> list[bytes]:
    """Return targets that lead from the top of the snapshot to a directory outside."""
    return [os.fsencode(outside), b"../../outside"]


@pytest.mark.parametrize("act", ALL)
def test_no_command_goes_through_a_link_in_the_middle(
    applier: Applier, outside: Path, act: str
) -> None:
    for number, target in enumerate(_targets(outside)):
        link = b"link%d" % number
        applier.symlink(link, target)
        for path in (link + b"/file", link + b"/empty"):
            with pytest.raises(CorruptStreamError, match="symbolic link"):
                ALL[act](applier, path)


@pytest.mark.parametrize("act", ALL)
def test_no_command_goes_through_a_link_to_a_place_inside(applier: Applier, act: str) -> None:
    applier.mkdir(b"d")
    applier.mkfile(b"d/file")
    applier.symlink(b"link", b"d")
    with pytest.raises(CorruptStreamError, match="symbolic link"):
        ALL[act](applier, b"link/file")


@pytest.mark.parametrize("act", ALL)
def test_no_command_goes_up(applier: Applier, act: str) -> None:
    applier.mkdir(b"d")
    for path in (b"../outside/file", b"d/../../../outside/file", b"/etc/hostname/x"):
        with pytest.raises(CorruptStreamError):
            ALL[act](applier, path)


@pytest.mark.parametrize("act", [*CONTENT, *ATTRIBUTES])
@pytest.mark.parametrize("name", [b".", b"..", b"d/.", b"d/..", b"d/"])
def test_no_command_has_a_name_that_is_none(applier: Applier, act: str, name: bytes) -> None:
    applier.mkdir(b"d")
    with pytest.raises(CorruptStreamError):
        ALL[act](applier, name)


@pytest.mark.parametrize("act", CONTENT)
def test_content_is_not_reached_through_a_link(applier: Applier, outside: Path, act: str) -> None:
    applier.symlink(b"link", os.fsencode(outside / "file"))
    with pytest.raises(CorruptStreamError, match="symbolic link"):
        CONTENT[act](applier, b"link")


@pytest.mark.parametrize("act", ATTRIBUTES)
def test_attributes_are_not_reached_through_a_link(
    applier: Applier, outside: Path, act: str
) -> None:
    applier.symlink(b"link", os.fsencode(outside / "file"))
    if act == "chmod":
        with pytest.raises(CorruptStreamError, match="mode for the symbolic link"):
            ATTRIBUTES[act](applier, b"link")
    elif act == "remove_xattr":
        with pytest.raises(OSError, match="No data"):
            ATTRIBUTES[act](applier, b"link")
    else:
        ATTRIBUTES[act](applier, b"link")  # it is the link's own that changes


def test_a_link_to_a_link_is_a_name_more_for_the_link(applier: Applier, outside: Path) -> None:
    applier.symlink(b"link", os.fsencode(outside / "file"))
    applier.link(b"name", b"link")
    with pytest.raises(CorruptStreamError, match="symbolic link"):
        applier.write(b"name", 0, DATA)


@pytest.mark.parametrize("act", CONTENT)
def test_what_is_no_file_is_neither_written_nor_waited_for(applier: Applier, act: str) -> None:
    applier.mkfifo(b"fifo")
    applier.mksock(b"socket")
    applier.mknod(b"device", stat.S_IFCHR, 1 << 8 | 3)  # /dev/null
    for path in (b"fifo", b"socket", b"device"):
        with pytest.raises(CorruptStreamError, match="used as a file"):
            CONTENT[act](applier, path)


def test_a_device_is_a_device(applier: Applier) -> None:
    for kind in (stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK, stat.S_IFIFO, 0):
        with pytest.raises(CorruptStreamError, match="device"):
            applier.mknod(b"device", kind | 0o777, 0)


@pytest.mark.parametrize(
    "act", ["mkfile", "mkdir", "mknod", "mkfifo", "mksock", "symlink", "link to"]
)
def test_what_is_there_is_not_made_again(applier: Applier, outside: Path, act: str) -> None:
    applier.symlink(b"link.new", os.fsencode(outside / "no such"))
    applier.mkdir(b"directory.new")
    applier.mkfile(b"file.new")
    for name in (b"link", b"directory", b"file"):
        with pytest.raises(FileExistsError):
            NAMES[act](applier, name)


def test_a_directory_that_was_used_is_not_found_under_its_old_name(applier: Applier) -> None:
    applier.mkdir(b"a")
    applier.mkfile(b"a/one")
    applier.rename(b"a", b"b")
    with pytest.raises(FileNotFoundError):
        applier.mkfile(b"a/two")
    applier.mkfile(b"b/two")
    applier.unlink(b"b/one")


def test_a_directory_that_became_a_link_is_not_followed(applier: Applier, outside: Path) -> None:
    for gone in ("renamed", "removed"):
        applier.mkdir(b"a")
        applier.mkfile(b"a/one")
        applier.unlink(b"a/one")
        if gone == "renamed":
            applier.rename(b"a", b"aside")
        else:
            applier.rmdir(b"a")
        applier.symlink(b"a", os.fsencode(outside))
        for act in ALL.values():
            with pytest.raises(CorruptStreamError):
                act(applier, b"a/file")
        applier.unlink(b"a")


def test_a_directory_that_was_replaced_is_the_new_one(applier: Applier, fs_a: LoopFs) -> None:
    applier.mkdir(b"a")
    applier.mkfile(b"a/file")
    applier.unlink(b"a/file")
    applier.mkdir(b"b")
    applier.mkfile(b"b/file")
    applier.rename(b"b", b"a")  # over the empty one
    applier.write(b"a/file", 0, DATA)
    (new,) = fs_a.path.glob("*/new")
    assert (new / "a" / "file").read_bytes() == DATA


def test_what_is_below_a_renamed_directory_is_found_anew(applier: Applier, outside: Path) -> None:
    applier.mkdir(b"a")
    applier.mkdir(b"a/b")
    applier.mkdir(b"a/b/c")
    applier.mkfile(b"a/b/c/file")
    applier.rename(b"a", b"z")
    applier.mkdir(b"a")
    applier.symlink(b"a/b", os.fsencode(outside))
    with pytest.raises(CorruptStreamError):
        applier.mkfile(b"a/b/c/other")
    with pytest.raises(CorruptStreamError):
        applier.mkfile(b"a/b/other")
    applier.write(b"z/b/c/file", 0, DATA)


def test_an_open_file_is_not_found_under_an_old_name(applier: Applier) -> None:
    def is_gone(path: bytes) -> None:
        with pytest.raises(FileNotFoundError):
            applier.clone(b"inside", 0, length=1, source=OWN, source_path=path, source_offset=0)
        applier.write(b"inside", 0, DATA)
        with pytest.raises(FileNotFoundError):
            applier.write(path, 0, DATA)

    def open_both(path: bytes) -> None:
        applier.clone(b"inside", 0, length=0, source=OWN, source_path=path, source_offset=0)
        applier.write(path, 0, DATA)

    applier.mkdir(b"a")
    applier.mkfile(b"a/file")
    open_both(b"a/file")
    applier.rename(b"a/file", b"a/other")
    with pytest.raises(FileNotFoundError):
        applier.write(b"a/file", 0, DATA)
    is_gone(b"a/file")
    open_both(b"a/other")
    applier.rename(b"a", b"b")
    with pytest.raises(FileNotFoundError):
        applier.write(b"a/other", 0, DATA)
    is_gone(b"a/other")
    open_both(b"b/other")
    applier.unlink(b"b/other")
    with pytest.raises(FileNotFoundError):
        applier.write(b"b/other", 0, DATA)
    is_gone(b"b/other")


def test_what_is_read_is_what_has_the_name_now(applier: Applier, fs_a: LoopFs) -> None:
    def clone(source: bytes) -> None:
        applier.clone(b"inside", 0, length=4096, source=OWN, source_path=source, source_offset=0)

    (new,) = fs_a.path.glob("*/new")
    for name, letter in ((b"one", b"1"), (b"two", b"2")):
        applier.mkfile(name)
        applier.write(name, 0, memoryview(letter * 4096))
    clone(b"one")
    applier.rename(b"two", b"one")
    clone(b"one")
    assert (new / "inside").read_bytes().startswith(b"2" * 4096)
    applier.unlink(b"one")
    with pytest.raises(FileNotFoundError):
        clone(b"one")


def test_impossible_numbers_are_errors_of_the_stream(applier: Applier) -> None:
    most = (1 << 64) - 1
    with pytest.raises(CorruptStreamError, match="impossible value"):
        applier.write(b"inside", most, DATA)
    with pytest.raises(CorruptStreamError, match="impossible value"):
        applier.truncate(b"inside", most)
    with pytest.raises(CorruptStreamError, match="impossible value"):
        applier.utimes(b"inside", atime=most * 10**9, mtime=0)
    with pytest.raises(CorruptStreamError, match="impossible value"):
        applier.chown(b"inside", most, 0)
    with pytest.raises(CorruptStreamError, match="impossible value"):
        applier.set_xattr(b"inside", b"trusted.\0", DATA)


def test_what_is_mounted_is_not_entered(fs_a: LoopFs, fs_b: LoopFs) -> None:
    top = new_subvolume(fs_a.path)
    fs_b.mount_again(top / "mounted")
    with applying(top) as applier, pytest.raises(CorruptStreamError):
        applier.mkfile(b"mounted/file")
    assert list(fs_b.path.iterdir()) == []


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.EPERM])
def test_without_a_safe_way_nothing_is_applied(fs_a: LoopFs, number: int) -> None:
    top = new_subvolume(fs_a.path)

    def attempt() -> None:
        with pytest.raises(TransferError, match="openat2"), applying(top):
            pass

    run_without({"openat2": number}, attempt)

"""Each command does what it says, and nothing else."""

from __future__ import annotations

import errno
import os
import stat
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from buttersink.errors import CorruptStreamError
from support.applying import CAP_NET_RAW, CAPABILITY, applying, new_subvolume
from support.kernel_calls import snapshot_read_only
from support.loopfs import run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from buttersink.btrfs.applying.applier import Applier
    from support.loopfs import LoopFs

pytestmark = pytest.mark.kernel

DATA = memoryview(b"toast")


@pytest.fixture
def top(fs_a: LoopFs) -> Path:
    return new_subvolume(fs_a.path)


@pytest.fixture
def applier(top: Path) -> Iterator[Applier]:
    with applying(top) as applier:
        yield applier


def test_files_are_made_for_their_owner_alone(top: Path, applier: Applier) -> None:
    applier.mkfile(b"file")
    applier.mkdir(b"directory")
    applier.mkfifo(b"fifo")
    applier.mksock(b"socket")
    modes = {entry.name: entry.lstat().st_mode for entry in top.iterdir()}
    assert modes == {
        "file": stat.S_IFREG | 0o600,
        "directory": stat.S_IFDIR | 0o700,
        "fifo": stat.S_IFIFO | 0o600,
        "socket": stat.S_IFSOCK | 0o600,
    }


@pytest.mark.parametrize("kind", [stat.S_IFCHR, stat.S_IFBLK])
@pytest.mark.parametrize(("major", "minor"), [(1, 3), (259, 3), (8, 300), (4095, 0xFFFFF)])
def test_device_numbers_beyond_a_byte_are_kept(
    top: Path, applier: Applier, kind: int, major: int, minor: int
) -> None:
    rdev = minor & 0xFF | major << 8 | (minor & ~0xFF) << 12
    applier.mknod(b"device", kind | 0o644, rdev)
    status = (top / "device").lstat()
    assert stat.S_IFMT(status.st_mode) == kind
    assert (os.major(status.st_rdev), os.minor(status.st_rdev)) == (major, minor)


def test_device_numbers_are_those_of_the_kernels_send(fs_a: LoopFs, fs_b: LoopFs) -> None:
    """What `btrfs receive` makes of the kernel's stream is what such a number means."""
    source = new_subvolume(fs_a.path)
    os.mknod(source / "device", stat.S_IFCHR | 0o600, os.makedev(300, 70_000))
    snapshot_read_only(source, fs_a.path / "snapshot")
    stream = fs_a.path / "stream"
    run("btrfs", "send", "-q", "-f", stream, fs_a.path / "snapshot")
    assert (70_000 & 0xFF | 300 << 8 | (70_000 & ~0xFF) << 12).to_bytes(
        8, "little"
    ) in stream.read_bytes()
    run("btrfs", "receive", "-q", "-f", stream, fs_b.path)
    received = (fs_b.path / "snapshot" / "device").stat().st_rdev
    assert (os.major(received), os.minor(received)) == (300, 70_000)


def test_a_link_has_its_target_untouched(top: Path, applier: Applier) -> None:
    applier.symlink(b"link", b"/no/../such\xff")
    assert os.readlink(os.fsencode(top / "link")) == b"/no/../such\xff"


def test_data_is_written_where_it_belongs(top: Path, applier: Applier) -> None:
    applier.mkfile(b"file")
    applier.write(b"file", 3, DATA)
    applier.write(b"file", 1, memoryview(b""))
    applier.write(b"file", 0, memoryview(b"but"))
    assert (top / "file").read_bytes() == b"buttoast"


def test_a_file_is_written_on_under_its_new_name(top: Path, applier: Applier) -> None:
    applier.mkdir(b"d")
    applier.mkfile(b"o257-7-0")
    applier.rename(b"o257-7-0", b"d/file")
    applier.write(b"d/file", 0, DATA)
    applier.chmod(b"d/file", 0o644)
    assert (top / "d" / "file").read_bytes() == DATA
    assert stat.S_IMODE((top / "d" / "file").stat().st_mode) == 0o644


def test_a_new_file_under_an_old_name_is_another_file(top: Path, applier: Applier) -> None:
    applier.mkfile(b"a")
    applier.write(b"a", 0, DATA)
    applier.rename(b"a", b"b")
    applier.mkfile(b"a")
    applier.write(b"a", 0, memoryview(b"jam"))
    applier.write(b"b", 0, memoryview(b"T"))
    assert (top / "a").read_bytes() == b"jam"
    assert (top / "b").read_bytes() == b"Toast"


def test_a_file_that_was_replaced_is_not_written_to(top: Path, applier: Applier) -> None:
    applier.mkfile(b"new")
    applier.write(b"new", 0, DATA)
    applier.mkfile(b"old")
    applier.write(b"old", 0, memoryview(b"mouldy"))
    applier.rename(b"new", b"old")
    applier.write(b"old", 0, memoryview(b"T"))
    assert (top / "old").read_bytes() == b"Toast"


def test_a_file_below_a_directory_that_was_renamed_is_found(top: Path, applier: Applier) -> None:
    applier.mkdir(b"d")
    applier.mkfile(b"d/file")
    applier.write(b"d/file", 0, DATA)
    applier.rename(b"d", b"e")
    applier.mkdir(b"d")
    applier.mkfile(b"d/file")
    applier.write(b"e/file", 0, memoryview(b"T"))
    applier.write(b"d/file", 0, memoryview(b"jam"))
    assert (top / "e" / "file").read_bytes() == b"Toast"
    assert (top / "d" / "file").read_bytes() == b"jam"


def test_a_name_more_is_of_the_same_file(top: Path, applier: Applier) -> None:
    applier.mkdir(b"d")
    applier.mkfile(b"file")
    applier.link(b"d/other", b"file")
    applier.symlink(b"link", b"file")
    applier.link(b"other link", b"link")
    assert (top / "file").samefile(top / "d" / "other")
    assert (top / "other link").lstat().st_ino == (top / "link").lstat().st_ino


def test_names_and_directories_go(top: Path, applier: Applier) -> None:
    applier.mkdir(b"d")
    applier.mkfile(b"d/file")
    applier.symlink(b"d/link", b"file")
    applier.unlink(b"d/link")
    applier.unlink(b"d/file")
    applier.rmdir(b"d")
    assert list(top.iterdir()) == []


def test_a_file_gets_its_size(top: Path, applier: Applier) -> None:
    applier.mkfile(b"file")
    applier.write(b"file", 0, DATA)
    applier.truncate(b"file", 3)
    assert (top / "file").read_bytes() == b"toa"
    applier.truncate(b"file", 5)
    assert (top / "file").read_bytes() == b"toa\0\0"


@pytest.mark.parametrize("open_file", [True, False], ids=["open", "closed"])
def test_attributes_of_anything_are_set(top: Path, applier: Applier, *, open_file: bool) -> None:
    applier.mkdir(b"directory")
    applier.mkfifo(b"fifo")
    applier.mksock(b"socket")
    applier.mkfile(b"file")
    if not open_file:
        applier.flush()
    for name in (b"file", b"directory", b"fifo", b"socket"):
        applier.set_xattr(name, b"trusted.x", memoryview(name))
        applier.chown(name, 12, 34)
        applier.chmod(name, 0o6741)
        applier.utimes(name, atime=1_000_000_001, mtime=-5)
        path = os.path.join(os.fsencode(top), name)
        status = os.lstat(path)
        assert (status.st_uid, status.st_gid) == (12, 34)
        assert stat.S_IMODE(status.st_mode) == 0o6741
        assert (status.st_atime_ns, status.st_mtime_ns) == (1_000_000_001, -5)
        assert os.getxattr(path, "trusted.x", follow_symlinks=False) == name
        applier.remove_xattr(name, b"trusted.x")
        assert "trusted.x" not in os.listxattr(path, follow_symlinks=False)


def test_attributes_of_a_link_are_its_own(top: Path, applier: Applier) -> None:
    applier.mkfile(b"file")
    applier.symlink(b"link", b"file")
    before = (top / "file").stat()
    applier.chown(b"link", 12, 34)
    applier.utimes(b"link", atime=1, mtime=2)
    applier.set_xattr(b"link", b"trusted.x", DATA)
    status = (top / "link").lstat()
    assert (status.st_uid, status.st_gid, status.st_mtime_ns) == (12, 34, 2)
    assert os.getxattr(top / "link", "trusted.x", follow_symlinks=False) == DATA
    assert (top / "file").stat() == before
    assert "trusted.x" not in os.listxattr(top / "file")


def test_the_working_directory_stays(applier: Applier) -> None:
    before = os.getcwd()
    applier.mkdir(b"d")
    applier.mkdir(b"d/e")
    applier.set_xattr(b"d/e", b"trusted.x", DATA)
    with pytest.raises(FileNotFoundError):
        applier.set_xattr(b"d/f", b"trusted.x", DATA)
    assert os.getcwd() == before


def test_a_removed_attribute_that_is_not_there_is_an_error(applier: Applier) -> None:
    applier.mkfile(b"file")
    for _ in range(2):
        with pytest.raises(OSError, match="No data available") as caught:
            applier.remove_xattr(b"file", b"trusted.x")
        assert caught.value.errno == errno.ENODATA
        applier.flush()


@pytest.mark.parametrize("open_file", [True, False], ids=["open", "closed"])
def test_a_new_owner_leaves_mode_and_capabilities(
    top: Path, applier: Applier, *, open_file: bool
) -> None:
    applier.mkfile(b"file")
    applier.chmod(b"file", 0o6755)
    applier.set_xattr(b"file", CAPABILITY.encode(), memoryview(CAP_NET_RAW))
    if not open_file:
        applier.flush()
    applier.chown(b"file", 12, 34)
    assert stat.S_IMODE((top / "file").stat().st_mode) == 0o6755
    assert os.getxattr(top / "file", CAPABILITY) == CAP_NET_RAW


def test_a_new_owner_leaves_the_mode_of_special_files(top: Path, applier: Applier) -> None:
    applier.mkfifo(b"fifo")
    applier.chmod(b"fifo", 0o6755)
    applier.chown(b"fifo", 12, 34)
    assert stat.S_IMODE((top / "fifo").stat().st_mode) == 0o6755


def test_the_top_directory_has_mode_and_owner_at_once(top: Path, applier: Applier) -> None:
    applier.chown(b"", 12, 34)
    applier.chmod(b"", 0o2751)
    applier.set_xattr(b"", b"trusted.x", DATA)
    applier.set_xattr(b"", b"trusted.y", DATA)
    applier.remove_xattr(b"", b"trusted.y")
    status = top.stat()
    assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (12, 34, 0o2751)
    assert os.listxattr(top) == ["trusted.x"]


def test_space_is_reserved(top: Path, applier: Applier) -> None:
    applier.mkfile(b"file")
    applier.fallocate(b"file", 0, offset=4096, size=8192)
    status = (top / "file").stat()
    assert status.st_size == 12_288
    assert status.st_blocks * 512 == 8192


def test_more_directories_than_are_kept_open(top: Path, applier: Applier) -> None:
    names = [b"d%d" % number for number in range(200)]
    for name in names:
        applier.mkdir(name)
        applier.mkfile(name + b"/file")
    for one, two in pairwise(names):
        applier.rename(one + b"/file", two + b"/from " + one)
    assert not (top / "d0" / "file").exists()
    assert {path.name for path in (top / "d100").iterdir()} == {"from d99"}


def test_nothing_stays_open(fs_a: LoopFs) -> None:
    top = new_subvolume(fs_a.path)
    before = os.listdir("/proc/self/fd")
    with applying(top) as applier:
        for number in range(100):
            directory = b"d%d" % number
            applier.mkdir(directory)
            applier.mkfile(directory + b"/file")
            applier.write(directory + b"/file", 0, DATA)
            applier.mkfifo(directory + b"/fifo")
            with pytest.raises(CorruptStreamError):
                applier.write(directory + b"/fifo", 0, DATA)
        applier.finish()
    assert len(os.listdir("/proc/self/fd")) == len(before)
